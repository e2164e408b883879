"""Which telegrams go up: every one, the best of a slot, or those that tell a change of status.

    every    all
    best     one of each kind a device sends, for each slot of 15 or 60 minutes: the CRC-checked one nearest to the end
             of the slot, where values are wanted; besides it every telegram whose status differs from the one before
    status   the first, every one whose status differs from the one before, and one after every ``heartbeat``

The first rule whose pattern fits decides; without one every telegram goes up. Never thinned: installation, access
demands, answers on the radio, parts of longer messages, and what has no address. A kind is control field, CI fields and
length, so that a meter with two kinds of telegrams loses neither. The status is the octet of the transport layer; where it is not
readable (a sealed extended link layer, no header) it counts as unchanged. Slots lie on the clock (UTC).

The gateway needs no keys for this, and raw receptions stay in the spool as long as that keeps them.
Source: OMS Volume 2 5.0.1, status field of the transport header (clause to confirm).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final, Literal

import msgspec

from openmetering.codec.link.wired import WiredFrame
from openmetering.security import AddressPattern
from openmetering.services.gatewayd.merge import Numbered
from openmetering.telegram import Decoder, Telegram

__all__ = ["Rule", "Thinner"]

_SND_NR: Final = 0x44
_RSP_UD: Final = 0x08


class Rule(msgspec.Struct, frozen=True):
    """What is kept of the devices that a pattern fits; ``slot`` and ``heartbeat`` in seconds."""

    pattern: AddressPattern
    keep: Literal["every", "best", "status"] = "every"
    slot: float = 900.0
    heartbeat: float = 86_400.0


class _Status:
    """What is known about a device."""

    __slots__ = ("status", "told_at")

    def __init__(self, status: int | None, told_at: float) -> None:
        self.status = status
        self.told_at = told_at


class _Held:
    """The best telegram of a slot so far. ``ends`` of the slot, in the time of reception."""

    __slots__ = ("ends", "first", "item", "rank", "until")

    def __init__(self, item: Numbered, rank: tuple[bool, float], ends: float, until: float) -> None:
        self.first = item.number
        self.item = item
        self.rank = rank
        self.ends = ends
        self.until = until


class Thinner:
    """Decides about telegrams in the order in which they come."""

    __slots__ = ("_decoder", "_devices", "_held", "_rules", "_rules_of", "left_out")

    def __init__(self, rules: Sequence[Rule] = ()) -> None:
        self._rules = tuple(rules)
        self._rules_of: dict[bytes, Rule | None] = {}
        self._decoder = Decoder()
        self._devices: dict[bytes, _Status] = {}
        self._held: dict[tuple[bytes, bytes], _Held] = {}
        self.left_out = 0

    @property
    def oldest(self) -> int | None:
        """The smallest number that is held."""
        return min((held.first for held in self._held.values()), default=None)

    @property
    def deadline(self) -> float | None:
        """When the next slot ends, in the time of the gateway."""
        return min((held.until for held in self._held.values()), default=None)

    def push(self, item: Numbered) -> list[Numbered]:
        """A telegram; returns those that go up now."""
        if not self._rules:
            return [item]
        telegram = self._decoder.examine(item.entry.frame, now=item.entry.received_at)
        address = telegram.address
        if address is None or not _regular(telegram):
            return [item]
        octets = address.link_octets()
        rule = self._rule(octets)
        if rule is None:
            return [item]
        return _KEEPS[rule.keep](self, item, octets, telegram, rule)

    def release(self, now: float) -> list[Numbered]:
        """The best of slots that are over."""
        over = [name for name, held in self._held.items() if held.until <= now]
        return [self._held.pop(name).item for name in over]

    def _rule(self, octets: bytes) -> Rule | None:
        if octets not in self._rules_of:
            self._rules_of[octets] = next((rule for rule in self._rules if rule.pattern.matches(octets)), None)
        return self._rules_of[octets]

    def _changed(self, octets: bytes, telegram: Telegram, now: float) -> bool:
        """True if the status of a device is another one than before; the first one is no change."""
        status = _status(telegram)
        known = self._devices.get(octets)
        if known is None:
            self._devices[octets] = _Status(status, now)
            return False
        if status is None or status == known.status:
            return False
        changed = known.status is not None
        known.status = status
        return changed

    def _every(self, item: Numbered, octets: bytes, telegram: Telegram, rule: Rule) -> list[Numbered]:
        return [item]

    def _best(self, item: Numbered, octets: bytes, telegram: Telegram, rule: Rule) -> list[Numbered]:
        entry = item.entry
        if self._changed(octets, telegram, entry.received_at):
            return [item]
        ends = (math.floor(entry.received_at / rule.slot) + 1) * rule.slot
        rank = (entry.crc is True or entry.frame_format is not None, entry.received_at)
        name = (octets, _kind(telegram))
        held = self._held.get(name)
        # a live slot ends on the clock; one of the past when its device goes on to the next, or after a slot of silence
        until = entry.arrived_at + max(0.0, min(ends - entry.received_at, rule.slot))
        if held is not None and held.ends == ends:
            self.left_out += 1
            if rank > held.rank:
                held.item, held.rank = item, rank
            return []
        self._held[name] = _Held(item, rank, ends, until)
        return [] if held is None else [held.item]

    def _on_status(self, item: Numbered, octets: bytes, telegram: Telegram, rule: Rule) -> list[Numbered]:
        now = item.entry.received_at
        known = octets in self._devices
        changed = self._changed(octets, telegram, now)
        device = self._devices[octets]
        if known and not changed and now - device.told_at < rule.heartbeat:
            self.left_out += 1
            return []
        device.told_at = now
        return [item]


_KEEPS: Final[dict[str, Callable[[Thinner, Numbered, bytes, Telegram, Rule], list[Numbered]]]] = {
    "every": Thinner._every,
    "best": Thinner._best,
    "status": Thinner._on_status,
}


def _regular(telegram: Telegram) -> bool:
    """True for a whole message that a device sends by itself, or a readout of a wired slave."""
    link = telegram.link
    part = telegram.fragment or telegram.more_follows or bool(telegram.opened)
    if link is None or part or (telegram.afl is not None and telegram.afl.fragmentation.fragment_id):
        return False
    control = int(link.control)
    return control == _SND_NR or (isinstance(link, WiredFrame) and control & 0x4F == _RSP_UD)


def _status(telegram: Telegram) -> int | None:
    transport = telegram.transport
    return None if transport is None or transport.header == "none" else int(transport.status)


def _kind(telegram: Telegram) -> bytes:
    """What tells the kinds of telegrams of one device: C, whether there are ELL and AFL, CI, length."""
    transport = telegram.transport
    layers = (telegram.ell is not None) | (telegram.afl is not None) << 1
    ci = 0 if transport is None else transport.ci
    control = 0 if telegram.link is None else int(telegram.link.control)
    return bytes((control, layers, ci)) + len(telegram.frame).to_bytes(2, "big")
