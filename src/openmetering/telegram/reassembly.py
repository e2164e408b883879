"""Fragments of the AFL to messages, and readouts of several telegrams to one.

A message starts with fragment 1 (an older partial message of the same peer is dropped) and
goes on with consecutive numbers; a repeated number is a duplicate. It ends with MF = 0 and
must then have the announced length. Source: OMS Volume 2 5.0.1 clause 6.3 (clause to confirm),
Annex N.3 to N.5. No time-out is printed in the sources [?]: ``timeout`` seconds are ours.
"""

from __future__ import annotations

import msgspec

from openmetering.codec.afl import AuthenticationFragmentation
from openmetering.errors import DecodeError

__all__ = ["FRAGMENT_TIMEOUT", "Readout", "Reassembler", "Whole"]

#: Seconds after which a partial message is dropped [?]; equals the time a gateway must not reuse an access number.
FRAGMENT_TIMEOUT = 300.0
_LIMIT = 4096  # partial messages kept at a time


class Whole(msgspec.Struct, frozen=True):
    """A reassembled message: its octets from the transport CI on, and the layer as one frame would carry it."""

    afl: AuthenticationFragmentation
    message: bytes


class _Partial(msgspec.Struct):
    first: AuthenticationFragmentation
    octets: bytes
    last: int
    started: float


class Reassembler:
    """Collects fragments by peer; a peer is any hashable name (addresses of sender and receiver)."""

    __slots__ = ("_partials", "timeout")

    def __init__(self, timeout: float = FRAGMENT_TIMEOUT) -> None:
        self._partials: dict[bytes, _Partial] = {}
        self.timeout = timeout

    def add(self, peer: bytes, afl: AuthenticationFragmentation, octets: bytes, now: float = 0.0) -> Whole | None:
        """Take one fragment; the whole message when it is complete, else None.

        ``now`` is the receive time in seconds. Raises DecodeError (``afl.fragment_missing``,
        ``afl.message_length``); the partial message is then dropped.
        """
        number = int(afl.fragmentation.fragment_id)
        partial = self._partials.get(peer)
        if partial is not None and now - partial.started > self.timeout:
            partial = None
        if number <= 1 and not (partial is not None and partial.first == afl and partial.octets.startswith(octets)):
            if len(self._partials) >= _LIMIT:
                self._partials.clear()
            partial = self._partials[peer] = _Partial(afl, octets, number, now)
        elif partial is None or number > partial.last + 1:
            self._partials.pop(peer, None)
            missing = 1 if partial is None else partial.last + 1
            raise DecodeError(
                f"fragment {number} came, but fragment {missing} is missing",
                layer="afl",
                offset=1,
                octets=octets,
                code="afl.fragment_missing",
            )
        elif number <= partial.last:
            return None
        else:
            partial.octets += octets
            partial.last = number
        if afl.fragmentation.more_fragments:
            return None
        del self._partials[peer]
        return self._finish(partial, afl)

    @staticmethod
    def _finish(partial: _Partial, last: AuthenticationFragmentation) -> Whole:
        first = partial.first
        if first.message_length is not None and first.message_length != len(partial.octets):
            raise DecodeError(
                f"the message has {len(partial.octets)} octets, {first.message_length} were announced",
                layer="afl",
                offset=None,
                octets=partial.octets,
                code="afl.message_length",
            )
        layer = AuthenticationFragmentation.build(
            message_control=first.message_control,
            key_information=first.key_information,
            counter=first.counter,
            mac=last.mac if last.mac is not None else first.mac,
            message_length=first.message_length,
        )
        return Whole(layer, partial.octets)

    def __len__(self) -> int:
        return len(self._partials)


class Readout:
    """Collects the telegrams of one wired readout (DIF 1F asks for more) in the order of arrival."""

    __slots__ = ("complete", "telegrams")

    def __init__(self) -> None:
        self.telegrams: list[object] = []
        self.complete = False

    def add(self, telegram: object, more_follows: bool) -> bool:
        """Take the next telegram; True when the readout is complete."""
        self.telegrams.append(telegram)
        self.complete = not more_follows
        return self.complete
