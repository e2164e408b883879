"""Key management, UC-08, in a device: SITP blocks that transfer, activate, list and destroy keys.

    BCF  command                structure (wrapped)        effect
    00   transfer               DSI 01 (ASP01)             the key is stored under its KeyID and KeyVersion, not active
    03   destroy                DSI 02 (ASP01)             a key that is not active is gone; issue 4.3.3 only
    04   combined activation    DSI 03 (ASP01)             the new key becomes active, the old one stays stored
    08   list of active keys    DSI 00                     DSI 21
    09   the same with counters DSI 00                     DSI 23

    status  11h  another command, or a structure that does not belong to it
            19h  wrapper key unknown, not active, of another version; or it does not open the structure
            21h  KeyID or KeyVersion in the structure (see below); or the structure is none
            23h  target time: "invalid" belongs to a transfer, "immediate" to everything else

A wrapper opens only keys of its class (``WRAPPED_BY``). Refused with 21h are KeyVersion FFh, a version equal
to the active one in a transfer (F.4.2: "n' = n"), an older one than the active if the settings say so, an
activation that names two KeyIDs, a key that is not stored or another active version than the one in use, the
master key without option 1, and everything that would overwrite or destroy an active key or MK0.

Counters belong to keys: a new key starts with 0, so that option 1 is fulfilled when it becomes active. A key
that was in use before keeps its counter, and nothing that is repeated resets one: otherwise a recorded
activation would open the way for recorded commands. Without option 1 (KeyIDs from 01h) the new key goes on
from the counter of the old one.

An activation that has already been carried out is answered with success and does nothing. The annexes leave
it open; what is asked for holds, and an operator who lost the answer and asks again in a new session learns
the truth. A transfer of the active version is refused all the same, as Annex F prints it.
Source: OMS Volume 2 Annex M release C 1.1.1, M.2.9 (clause to confirm), Tables M.28 to M.30; release A 1.0.3,
M.2.10, Tables M.27 to M.29; Annex F release C 1.1.1, F.4.2, F.A.2, Tables F.A.3, F.A.5, F.A.7, F.A.8; OMS
Volume 2 5.0.1 Table 45.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar, Literal, TypeVar

import msgspec

from openmetering.codec.apl import security_transfer
from openmetering.codec.apl.security_transfer import (
    IMMEDIATE,
    INVALID_TIME,
    Activation,
    CombinedActivation,
    KeyEntry,
    KeyList,
    KeyTransfer,
    SitpBlock,
)
from openmetering.errors import DecodeError, WrongKey
from openmetering.protocol.device.function import Function
from openmetering.protocol.device.interface import DeviceEvent, Instruction, Outcome
from openmetering.protocol.device.memory import DeviceMemory, KeySlot
from openmetering.protocol.device.refusals import (
    STATUS_COMMAND,
    STATUS_KEY,
    STATUS_SUCCESS,
    STATUS_TARGET_TIME,
    STRUCTURE_ERROR,
)
from openmetering.security import BlockCipher, asp01_unwrap

__all__ = ["MASTER_KEY", "WRAPPED_BY", "KeyFeature", "KeySettings"]

MASTER_KEY = 0x00
ROOT_WRAPPER, COMMUNICATION_WRAPPER, APPLICATION_WRAPPER = 0x10, 0x12, 0x14
MANUFACTURER_KEYS = range(0x01, 0x08)  #: communication keys of the maker: may be wrapped by 12h
NO_VERSION = 0xFF  #: unused: never the version of a key

#: KeyID of a wrapper -> KeyIDs it wraps. Releases A and C also print 11h, 13h and 15h as wrappers, without
#: saying what they wrap; 16h may be the maker's [?]. They are unknown wrappers here.
#: Source: OMS Volume 2 5.0.1 Table 45
WRAPPED_BY: dict[int, frozenset[int]] = {
    ROOT_WRAPPER: frozenset(range(0x10, 0x17)),
    COMMUNICATION_WRAPPER: frozenset((MASTER_KEY, *MANUFACTURER_KEYS, *range(0x08, 0x10))),
    APPLICATION_WRAPPER: frozenset(range(0x18, 0x30)),
}

STATUS_CONTENT_KEY = 0x21  #: status: KeyID or KeyVersion inside the structure

_END_TO_END = 0x20  # BCF of secured application data: not key management
_OPTIONS = (0, 1)
_MOST_ENTRIES = 256

_Service = tuple[int, Callable[["KeyFeature", list[KeySlot], SitpBlock], Outcome] | None, tuple[str, ...]]
_NO_SERVICE: _Service = (-1, None, ())
_BOTH_ISSUES = ("4.3.3", "5.0.1")

Structure = TypeVar("Structure", KeyTransfer, Activation, CombinedActivation)


class KeySettings(msgspec.Struct, frozen=True):
    """How a device manages its keys.

    ``oms_issue``           4.3.3 has the step "destroy" and key lists with ASP01
    ``refuse_older``        a KeyVersion below the active one is refused ("may be refused", M.2.10 note 2). It
                            makes sure that no recorded block is ever carried out again: ASP01 has no counter
    ``manufacturer_keys``   wrapper 12h also wraps KeyIDs 01h to 07h (optional, Table 45)
    """

    oms_issue: Literal["4.3.3", "5.0.1"] = "5.0.1"
    refuse_older: bool = True
    manufacturer_keys: bool = True


class _Refusal(Exception):
    """A block is not carried out; the status says why."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status:02X}h")
        self.status = status


def _require(checks: Iterable[tuple[bool, int]]) -> None:
    for right, status in checks:
        if not right:
            raise _Refusal(status)


def _find(slots: Sequence[KeySlot], key_id: int, version: int) -> KeySlot | None:
    return next((slot for slot in slots if (slot.key_id, slot.version) == (key_id, version)), None)


def _active(slots: Sequence[KeySlot], key_id: int) -> KeySlot | None:
    return next((slot for slot in slots if slot.key_id == key_id and slot.active), None)


def _event(slot: KeySlot, what: str) -> tuple[DeviceEvent, ...]:
    return (DeviceEvent("key", f"key {slot.key_id:02X}h version {slot.version} {what}", slot.key_id),)


def _is_first_master_key(key_id: int, version: int) -> bool:
    """MK0 is kept (Annex F, renewal rules; clause to confirm)."""
    return (key_id, version) == (MASTER_KEY, 0)


class KeyFeature(Function):
    """Key management of a device (``Feature``), for instructions of the protocol ``sitp-block``.

    Slots of the memory are changed in place, so that counters which others hold stay true. An event
    ``key`` tells every change: whoever derived something from the keys derives it anew.
    """

    __slots__ = ("_memory", "_rehearsed", "_settings")

    def __init__(self, memory: DeviceMemory, settings: KeySettings | None = None) -> None:
        self._memory = memory
        self._settings = settings or KeySettings()
        self._rehearsed: tuple[float, int, list[KeySlot]] | None = None

    def execute(self, instruction: Instruction, now: float) -> Outcome | None:
        """Carry out a block; None if it is not a block, or one with secured application data.

        The outcome has a status for DSI 22, or as payload the content of DSI 21 or 23, whose DSH is FF FF.
        """
        if instruction.protocol != "sitp-block":
            return None
        try:
            blocks = security_transfer.decode(instruction.payload).blocks
        except DecodeError:
            return Outcome(error=STRUCTURE_ERROR)
        if len(blocks) != 1:
            return Outcome(error=STRUCTURE_ERROR)
        block = blocks[0]
        if block.control == _END_TO_END:
            return None
        if instruction.rehearse:
            outcome = self._carry_out(self._rehearsal(now, block.block_id), block)
            if outcome.status not in (None, STATUS_SUCCESS):
                self._rehearsed = None
            return outcome
        self._rehearsed = None
        return self._carry_out(self._memory.keys, block)

    def _rehearsal(self, now: float, block_id: int) -> list[KeySlot]:
        """Copies of the slots, the same for all blocks of one message: their numbers rise, their time is one."""
        old = self._rehearsed
        going_on = old is not None and old[0] == now and old[1] < block_id
        slots = old[2] if old is not None and going_on else [copy.copy(slot) for slot in self._memory.keys]
        self._rehearsed = (now, block_id, slots)
        return slots

    def _carry_out(self, slots: list[KeySlot], block: SitpBlock) -> Outcome:
        structure, service, issues = self._SERVICES.get(block.control, _NO_SERVICE)
        if service is None or block.structure != structure or self._settings.oms_issue not in issues:
            return Outcome(status=STATUS_COMMAND)
        try:
            return service(self, slots, block)
        except _Refusal as refusal:
            return Outcome(status=refusal.status)

    # -- what every wrapped structure must be ------------------------------------------------------

    def _open(
        self, slots: Sequence[KeySlot], block: SitpBlock, read: Callable[[bytes], Structure], time: bytes
    ) -> tuple[Structure, frozenset[int]]:
        """The structure under the wrapper of the header, and the KeyIDs that this wrapper may change."""
        wrapper = _find(slots, block.key_id, block.key_version)
        if wrapper is None or not wrapper.active or block.key_id not in WRAPPED_BY:
            raise _Refusal(STATUS_KEY)
        try:
            plain = asp01_unwrap(BlockCipher(wrapper.octets), block.content)
        except WrongKey:
            raise _Refusal(STATUS_KEY) from None
        try:
            structure = read(plain)
        except DecodeError:
            raise _Refusal(STATUS_CONTENT_KEY) from None
        optional = frozenset() if self._settings.manufacturer_keys else frozenset(MANUFACTURER_KEYS)
        _require(((structure.target_time == time, STATUS_TARGET_TIME),))
        return structure, WRAPPED_BY[block.key_id] - optional

    def _not_older(self, version: int, active: KeySlot | None) -> bool:
        return active is None or version >= active.version or not self._settings.refuse_older

    # -- services ----------------------------------------------------------------------------------

    def _transfer(self, slots: list[KeySlot], block: SitpBlock) -> Outcome:
        """BCF 00: store a key. A slot that is not active is overwritten; the same key again changes nothing."""
        new, allowed = self._open(slots, block, KeyTransfer.decode, INVALID_TIME)
        active, slot = _active(slots, new.key_id), _find(slots, new.key_id, new.key_version)
        _require(
            (
                (new.key_id in allowed and new.key_version != NO_VERSION, STATUS_CONTENT_KEY),
                (active is None or new.key_version != active.version, STATUS_CONTENT_KEY),
                (self._not_older(new.key_version, active), STATUS_CONTENT_KEY),
                (slot is None or not _is_first_master_key(new.key_id, new.key_version), STATUS_CONTENT_KEY),
            )
        )
        if slot is None:
            slot = KeySlot(new.key_id, new.key_version, new.key)
            slots.append(slot)
        elif slot.octets != new.key:
            slot.octets, slot.counter = new.key, 0
        return Outcome(status=STATUS_SUCCESS, events=_event(slot, "transferred"))

    def _activate(self, slots: list[KeySlot], block: SitpBlock) -> Outcome:
        """BCF 04: one version of a KeyID takes the place of the active one."""
        change, allowed = self._open(slots, block, CombinedActivation.decode, IMMEDIATE)
        key_id, version = change.activated_key_id, change.activated_version
        active, slot = _active(slots, key_id), _find(slots, key_id, version)
        options = _OPTIONS[1:] if key_id == MASTER_KEY else _OPTIONS
        _require(
            (
                (key_id in allowed and change.deactivated_key_id == key_id, STATUS_CONTENT_KEY),
                (slot is not None and version not in (NO_VERSION, change.deactivated_version), STATUS_CONTENT_KEY),
                (change.option in options, STATUS_CONTENT_KEY),
            )
        )
        assert slot is not None, "checked above"
        replaced = change.deactivated_version
        if slot.active and (replaced == NO_VERSION or _find(slots, key_id, replaced) is not None):
            return Outcome(status=STATUS_SUCCESS)
        _require(
            (
                (replaced == (NO_VERSION if active is None else active.version), STATUS_CONTENT_KEY),
                (self._not_older(version, active), STATUS_CONTENT_KEY),
            )
        )
        if active is not None:
            active.active = False
            if not change.resets_counter:
                slot.counter = max(slot.counter, active.counter)
        slot.active = True
        return Outcome(status=STATUS_SUCCESS, events=_event(slot, "activated"))

    def _destroy(self, slots: list[KeySlot], block: SitpBlock) -> Outcome:
        """BCF 03: a stored key is gone. Active keys are not destroyed (F.A.2.4), nor is MK0."""
        old, allowed = self._open(slots, block, Activation.decode, IMMEDIATE)
        slot = _find(slots, old.key_id, old.key_version)
        _require(
            (
                (old.key_id in allowed and slot is not None and not slot.active, STATUS_CONTENT_KEY),
                (not _is_first_master_key(old.key_id, old.key_version), STATUS_CONTENT_KEY),
            )
        )
        assert slot is not None, "checked above"
        slots.remove(slot)
        return Outcome(status=STATUS_SUCCESS, events=_event(slot, "destroyed"))

    def _check_list_header(self, slots: Sequence[KeySlot], block: SitpBlock) -> None:
        """What the header of a list command must name.

        Octets   DSH1, DSH2  issue 4.3.3: an active wrapper key and its version; issue 5.0.1: anything
        Source   OMS Volume 2 Annex M release A 1.0.3, Table M.27 demands ASP01, release C none. How a command
                 without content is wrapped, and whether its answer is, is not public [?]: the header names the
                 wrapper, nothing is wrapped, and the answer stands plain since DSI 21 and 23 have the header FF FF
        """
        wrapper = _find(slots, block.key_id, block.key_version)
        named = wrapper is not None and wrapper.active and block.key_id in WRAPPED_BY
        _require(((named or self._settings.oms_issue != "4.3.3", STATUS_KEY),))

    def _list(self, slots: Sequence[KeySlot], block: SitpBlock, *, counters: bool) -> Outcome:
        self._check_list_header(slots, block)
        active = sorted((slot for slot in slots if slot.active), key=lambda slot: slot.key_id)
        entries = [KeyEntry(slot.key_id, slot.version, slot.counter if counters else None) for slot in active]
        return Outcome(payload=KeyList(tuple(entries[:_MOST_ENTRIES])).encode())

    def _list_keys(self, slots: list[KeySlot], block: SitpBlock) -> Outcome:
        """BCF 08: KeyID and KeyVersion of the active keys."""
        return self._list(slots, block, counters=False)

    def _list_counters(self, slots: list[KeySlot], block: SitpBlock) -> Outcome:
        """BCF 09: the same with the key counter, for communication keys the message counter."""
        return self._list(slots, block, counters=True)

    #: BCF -> structure of the command, what is done, and the issues that know it
    _SERVICES: ClassVar[dict[int, _Service]] = {
        0x00: (0x01, _transfer, _BOTH_ISSUES),
        0x03: (0x02, _destroy, ("4.3.3",)),
        0x04: (0x03, _activate, _BOTH_ISSUES),
        0x08: (0x00, _list_keys, _BOTH_ISSUES),
        0x09: (0x00, _list_counters, _BOTH_ISSUES),
    }

    def power_up(self, now: float) -> None:
        """A rehearsal is forgotten; the keys are persistent."""
        self._rehearsed = None
