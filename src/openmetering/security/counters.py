"""Message counters: which message is new, which is a copy, which is a replay.

Each peer is an address with a KeyID and a KeyVersion and has one entry, so the ledger
grows with the keys, not with the messages; a new KeyVersion starts its own entry, and
messages under the old one are still held against the old counter.
Source: OMS Volume 2 5.0.1, 9.3.2 and Annex M Appendix M.A. The exact accept conditions
stand there in figures that were not readable [?]; the rules used are written at ``accept``.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Literal

import msgspec

from openmetering.errors import OutOfRange, Replayed, SecurityError
from openmetering.security.aes import same
from openmetering.security.patterns import address_text

if TYPE_CHECKING:
    from typing import Final

__all__ = ["COUNTER_END", "SERVICE_CONDITION", "CounterLedger", "LedgerSnapshot", "PeerCounter", "message_digest"]

COUNTER_END: Final = 0xFFFFFFFF  #: the last counter; there is no wrap
SERVICE_CONDITION: Final = 0xFFFF0000  #: from here on a gateway raises a service condition
_LARGEST_STEP = 100

Role = Literal["gateway", "device"]
Verdict = Literal["new", "duplicate"]
_Peer = tuple[bytes, int, int | None]


class PeerCounter(msgspec.Struct, frozen=True):
    """The counters held about one peer under one key.

    ``own``: last counter used or taken over for own messages (CM of a device, CGW of a gateway).
    ``peer``: last verified counter of the peer, None before its first message.
    ``digest``: of the message that carried it.
    """

    address: bytes
    key_id: int
    version: int | None
    own: int = 0
    peer: int | None = None
    digest: bytes = b""


class LedgerSnapshot(msgspec.Struct, frozen=True):
    """A ledger as a value, for storage."""

    role: Role
    entries: tuple[PeerCounter, ...]


def message_digest(octets: bytes) -> bytes:
    """Sixteen octets that stand for a message: the start of its SHA-256."""
    return hashlib.sha256(octets).digest()[:16]


class CounterLedger:
    """The message counters of a gateway or of a device.

    Both take over the counter of a verified message if it is larger than their own, so
    the next own message goes beyond it and the counter of the device leads.
    """

    __slots__ = ("_entries", "_role")

    def __init__(self, role: Role = "gateway") -> None:
        self._role: Role = role
        self._entries: dict[_Peer, PeerCounter] = {}

    def accept(self, address: bytes, key_id: int, version: int | None, counter: int, digest: bytes) -> Verdict:
        """Judge a message whose MAC or tag is verified already, and remember it.

        new         the counter is higher than all before (a device: higher than its own counter)
        duplicate   the last counter again with the same octets: a repeater's copy or a repetition

        Nothing is changed when the message is refused.
        Source   OMS Volume 2 5.0.1, 9.3.2; Annex Q Q.3.4.3.2.3 (same rule for LPWAN); conditions partly [?]
        Raises   Replayed (``counter.replayed``) for a lower counter and for the last counter with other octets;
                 OutOfRange if the counter has more than 32 bits
        """
        if not 0 <= counter <= COUNTER_END:
            raise OutOfRange(f"a message counter has 32 bits, got {counter}", field="counter", value=counter)
        peer = (address, key_id, version)
        entry = self._entries.get(peer)
        if entry is None:
            entry = PeerCounter(address, key_id, version)
        if counter == entry.peer:
            if same(digest, entry.digest):
                return "duplicate"
            self._refuse(entry, counter, "was used for another message")
        # a gateway never refuses the first message it hears; a device starts at counter 0
        floor = entry.own if self._role == "device" else entry.peer
        if floor is not None and counter <= floor:
            self._refuse(entry, counter, f"is not above {floor}")
        self._entries[peer] = PeerCounter(address, key_id, version, max(entry.own, counter), counter, digest)
        return "new"

    @staticmethod
    def _refuse(entry: PeerCounter, counter: int, reason: str) -> None:
        named = address_text(entry.address)
        raise Replayed(f"message counter {counter} of {named} {reason}", address=named)

    def reserve(self, address: bytes, key_id: int = 0, version: int | None = None, *, step: int = 1) -> int:
        """Take the counter of the next own message; store the snapshot before sending.

        A device counts by 1, a gateway may step by 1..100.
        Source   OMS Volume 2 5.0.1, 9.3.2
        Raises   SecurityError (``counter.exhausted``) beyond FFFFFFFFh: sending stops, the counter never wraps;
                 OutOfRange for a step the role does not have
        """
        if not 1 <= step <= (1 if self._role == "device" else _LARGEST_STEP):
            raise OutOfRange(f"a {self._role} does not step its counter by {step}", field="step", value=step)
        peer = (address, key_id, version)
        entry = self._entries.get(peer, PeerCounter(address, key_id, version))
        following = entry.own + step
        if following > COUNTER_END:
            named = address_text(address)
            raise SecurityError(
                f"the message counter for {named} is used up, the key must be changed", address=named, code="counter.exhausted"
            )
        self._entries[peer] = msgspec.structs.replace(entry, own=following)
        return following

    def entry(self, address: bytes, key_id: int = 0, version: int | None = None) -> PeerCounter | None:
        """What is known about a peer, None if nothing."""
        return self._entries.get((address, key_id, version))

    def needs_service(self, address: bytes, key_id: int = 0, version: int | None = None) -> bool:
        """True if a counter has reached FFFF0000h and the key should be changed soon."""
        entry = self.entry(address, key_id, version)
        return entry is not None and max(entry.own, entry.peer or 0) >= SERVICE_CONDITION

    def reset(self, address: bytes, key_id: int = 0, version: int | None = None) -> None:
        """Forget a peer: its key was replaced with the option to reset the counter.

        Source   OMS Volume 2 Annex M Appendix M.A. The counter bound to the first master key
                 (profile C, CM0) must never be reset; that is the caller's to know
        """
        self._entries.pop((address, key_id, version), None)

    def snapshot(self) -> LedgerSnapshot:
        """All counters as a value."""
        return LedgerSnapshot(self._role, tuple(self._entries.values()))

    @classmethod
    def restore(cls, snapshot: LedgerSnapshot) -> CounterLedger:
        """The ledger of a snapshot; where a peer stands twice, its highest counters count."""
        ledger = cls(snapshot.role)
        for entry in snapshot.entries:
            peer = (entry.address, entry.key_id, entry.version)
            other = ledger._entries.get(peer, entry)
            newest = max(entry, other, key=lambda one: -1 if one.peer is None else one.peer)
            ledger._entries[peer] = msgspec.structs.replace(newest, own=max(entry.own, other.own))
        return ledger

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return f"<CounterLedger of a {self._role}, {len(self)} peers>"
