"""The SITP container on the device: prove the command, carry it out once, answer in kind.

    command                                   answer
    BCF 20 DSI 32  counter time PID APDU MAC  BCF A0 DSI 32 with the answer's APDU, or DSI 22 with a status
    other BCF      content                    BCF + 80h, the structure of the service, or DSI 22

All blocks of a message are one transaction: every block is opened and rehearsed before the first
one is carried out. What is wrong with a block by its header or content is said by a status octet
(the others then say 09h); a proof that fails and a counter that does not advance are application
error 20h. The key counter is stored before the command takes effect.

Source: EN 13757-7:2018 (SITP); OMS Volume 2 Annex F release C F.A, Annex M release C, Annex N
release E N.12.2 to N.12.4.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import msgspec

from openmetering.codec.apl.records import Record, parse
from openmetering.codec.apl.security_transfer import (
    IMMEDIATE,
    INVALID_TIME,
    SecuredData,
    SecurityTransfer,
    SitpBlock,
    StatusResponse,
    decode,
)
from openmetering.errors import AuthenticationFailed, DecodeError
from openmetering.protocol.device.interface import DeviceEvent, Feature, Instruction, Outcome
from openmetering.protocol.device.memory import DeviceMemory, KeySlot
from openmetering.protocol.device.refusals import (
    NO_FUNCTION,
    SECURITY_ERROR,
    STATUS_COMMAND,
    STATUS_KEY,
    STATUS_OTHER_BLOCK,
    STATUS_SUCCESS,
    STATUS_TARGET_TIME,
    STRUCTURE_ERROR,
    is_refusal,
)
from openmetering.protocol.device.structure import record_fault
from openmetering.security import BlockCipher, asp10_mac, check_asp10

__all__ = ["NO_AUTOMATIC_ACTION", "FAILED_PROOF", "Carried", "carry_out", "has_application_keys"]

#: time of execution of a command whose target time carries the invalid mark: it starts nothing by itself
NO_AUTOMATIC_ACTION: Final = math.inf
#: [?] the answer to a MAC that fails or a key counter that does not advance: the list of status octets (EN 13757-7
#: Table A.13) is not public, OMS Table 40 names 20h for counter and authentication
FAILED_PROOF: Final = Outcome(error=SECURITY_ERROR)

_END_TO_END = 0x20
_ASP10 = 0x32
_STATUS = 0x22
_APPLICATION_KEYS = range(0x18, 0x50)
_FIRST_APPLICATION_KEY = 0x10
#: service -> structure of its answer and the DSH that goes with it (None: that of the command)
_ANSWERS: dict[int, tuple[int, bytes | None]] = {
    0x06: (0x10, None),
    0x07: (0x20, None),
    0x08: (0x21, b"\xff\xff"),
    0x09: (0x23, b"\xff\xff"),
}

#: gives an instruction to the function it is for, which answers; None if there is none
Dispatch = Callable[[Instruction], "tuple[Feature, Outcome] | None"]


class Carried(msgspec.Struct, frozen=True):
    """What became of a message.

    ``error``   application error for the whole message; None: ``payload`` is the answer
    ``refused`` True if a status octet in it reports an error (status bits 10)
    ``late``    the function that has not finished, and how its later outcome becomes an answer
    """

    error: int | None = None
    payload: bytes = b""
    refused: bool = False
    busy: bool = False
    events: tuple[DeviceEvent, ...] = ()
    late: tuple[Feature, Callable[[Outcome], Carried]] | None = None


class _Step(msgspec.Struct, frozen=True):
    """One block on its way: its instruction, or the outcome that refuses it; ``slot`` is the key of ASP10."""

    block: SitpBlock
    instruction: Instruction | None
    refusal: Outcome | None = None
    data: SecuredData | None = None
    slot: KeySlot | None = None


def has_application_keys(memory: DeviceMemory) -> bool:
    """True if the device has a key for SITP at all; without one its CI is not implemented (error 01h)."""
    return any(slot.key_id >= _FIRST_APPLICATION_KEY for slot in memory.keys)


def carry_out(payload: bytes, memory: DeviceMemory, now: float, dispatch: Dispatch) -> Carried:
    """Carry out a SITP message.

    Octets   as ``codec.apl.security_transfer.decode``
    Source   OMS Volume 2 Annex F release C F.A (all blocks or none); Annex M M.1.4
    Raises   nothing: a message that cannot be read is application error 17h
    """
    try:
        blocks = decode(payload).blocks
        steps = _opened(blocks, memory, now)
    except DecodeError:
        return Carried(error=STRUCTURE_ERROR)
    if not steps:
        return Carried(error=STRUCTURE_ERROR)
    rehearsed = [_rehearse(step, dispatch) for step in steps]
    refused = _refused(steps, rehearsed)
    if refused is not None:
        return refused
    return _execute(steps, memory, dispatch)


# -- opening -----------------------------------------------------------------------------------------


def _opened(blocks: tuple[SitpBlock, ...], memory: DeviceMemory, now: float) -> list[_Step]:
    highest: dict[tuple[int, int], int] = {}
    return [_open(block, memory, now, highest) for block in blocks]


def _open(block: SitpBlock, memory: DeviceMemory, now: float, highest: dict[tuple[int, int], int]) -> _Step:
    """Prove one block. ``highest`` holds the counters that earlier blocks of the message use."""
    if block.control != _END_TO_END:
        return _Step(block, Instruction("sitp-block", block.encode(), at=now))
    if block.structure != _ASP10:
        return _Step(block, None, Outcome(status=STATUS_COMMAND))
    slot = _slot(block, memory)
    if slot is None:
        return _Step(block, None, Outcome(status=STATUS_KEY))
    data = SecuredData.decode(block.content)
    name = (slot.key_id, slot.version)
    if not _proven(data, slot) or data.counter <= highest.get(name, slot.counter):
        return _Step(block, None, FAILED_PROOF)
    highest[name] = data.counter
    at = _time_of(data, now)
    if at is None:
        return _Step(block, None, Outcome(status=STATUS_TARGET_TIME))
    return _instruct(block, data, slot, at)


def _slot(block: SitpBlock, memory: DeviceMemory) -> KeySlot | None:
    """The active application key that the header names."""
    if block.key_id not in _APPLICATION_KEYS:
        return None
    slot = memory.key(block.key_id, block.key_version)
    return slot if slot is not None and slot.active else None


def _proven(data: SecuredData, slot: KeySlot) -> bool:
    try:
        check_asp10(
            BlockCipher(slot.octets),
            data.mac,
            key_counter=data.counter,
            target_time=data.target_time,
            pid=data.pid,
            apdu=data.apdu,
        )
    except AuthenticationFailed:
        return False
    return True


def _time_of(data: SecuredData, now: float) -> float | None:
    """Time of execution in seconds; None for a target time that is not understood.

    Source   OMS Volume 2 Annex M release C Tables M.10 and M.21; 30h as relative seconds from Annex N N.13
    """
    if data.target_time == IMMEDIATE:
        return now
    if data.target_time == INVALID_TIME:
        return NO_AUTOMATIC_ACTION
    moment = data.time
    return None if moment is None or moment.relative is None else now + moment.relative


def _instruct(block: SitpBlock, data: SecuredData, slot: KeySlot, at: float) -> _Step:
    protocol = data.protocol
    if not protocol:
        return _Step(block, None, Outcome(error=NO_FUNCTION))
    records: tuple[Record, ...] = ()
    if protocol == "m-bus":
        parsed = parse(data.apdu, uplink=False)
        fault = record_fault(parsed)
        if fault is not None:
            return _Step(block, None, Outcome(error=fault))
        records = tuple(parsed.records)
    instruction = Instruction(protocol, data.apdu, records, slot.key_id, at)
    return _Step(block, instruction, None, data, slot)


# -- the transaction ---------------------------------------------------------------------------------


def _rehearse(step: _Step, dispatch: Dispatch) -> Outcome:
    if step.instruction is None:
        return step.refusal or Outcome(error=STRUCTURE_ERROR)
    found = dispatch(msgspec.structs.replace(step.instruction, rehearse=True))
    return found[1] if found is not None else _unknown(step)


def _unknown(step: _Step) -> Outcome:
    """No function is meant: a command of a use case that is not there, or a service that is not."""
    return Outcome(error=NO_FUNCTION) if step.data is not None else Outcome(status=STATUS_COMMAND)


def _refused(steps: list[_Step], outcomes: list[Outcome]) -> Carried | None:
    """The answer if one block at least is refused; None if all may be carried out."""
    for outcome in outcomes:
        if outcome.error is not None:
            return Carried(error=outcome.error)
    wrong = [outcome.status is not None and is_refusal(outcome.status) for outcome in outcomes]
    if not any(wrong):
        return None
    answers = [
        _status(step.block, outcome.status or STATUS_SUCCESS if bad else STATUS_OTHER_BLOCK)
        for step, outcome, bad in zip(steps, outcomes, wrong, strict=True)
    ]
    return Carried(payload=SecurityTransfer(tuple(answers)).encode(), refused=True)


def _execute(steps: list[_Step], memory: DeviceMemory, dispatch: Dispatch) -> Carried:
    """Carry out what was rehearsed.

    [?] Whether a refused command uses up its key counter is not said: here only what is carried out does,
    so that the list of counters (BCF 09) tells what was carried out.
    """
    answers: list[SitpBlock] = []
    events: list[DeviceEvent] = []
    busy, refused = False, False
    late: tuple[Feature, Callable[[Outcome], Carried]] | None = None
    for step in steps:
        if step.data is not None and step.slot is not None:
            step.slot.counter = step.data.counter
        assert step.instruction is not None
        found = dispatch(step.instruction)
        feature, outcome = found if found is not None else (None, _unknown(step))
        events += outcome.events
        if outcome.error is not None:
            return Carried(error=outcome.error, events=tuple(events))
        wrong = outcome.status is not None and is_refusal(outcome.status)
        if step.data is not None and not wrong:
            memory.executed += 1
            events.append(DeviceEvent("executed", f"key {step.block.key_id:02X}h", step.data.counter))
        answers.append(_answer(step, outcome))
        refused = refused or wrong
        if outcome.busy and feature is not None:
            busy = True
            if len(steps) == 1:
                late = feature, _Later(step)
    return Carried(None, SecurityTransfer(tuple(answers)).encode(), refused, busy, tuple(events), late)


class _Later:
    """How the outcome of a function that finished later becomes the answer to its block."""

    __slots__ = ("_step",)

    def __init__(self, step: _Step) -> None:
        self._step = step

    def __call__(self, outcome: Outcome) -> Carried:
        if outcome.error is not None:
            return Carried(error=outcome.error, events=outcome.events)
        wrong = outcome.status is not None and is_refusal(outcome.status)
        payload = SecurityTransfer((_answer(self._step, outcome),)).encode()
        return Carried(None, payload, wrong, outcome.busy, outcome.events)


# -- answers -----------------------------------------------------------------------------------------


def _status(block: SitpBlock, status: int) -> SitpBlock:
    """BCF + 80h, DSI 22, the DSH of the command, one octet (Annex N N.12.4)."""
    return block.answer(_STATUS, StatusResponse(status).encode())


def _answer(step: _Step, outcome: Outcome) -> SitpBlock:
    block, data = step.block, step.data
    if outcome.status is not None or outcome.payload is None:
        return _status(block, outcome.status or STATUS_SUCCESS)
    if data is None or step.slot is None:
        structure, header = _ANSWERS.get(block.control, (_STATUS, None))
        answer = block.answer(structure, outcome.payload)
        return answer if header is None else msgspec.structs.replace(answer, header=header)
    mac = asp10_mac(BlockCipher(step.slot.octets), data.counter, data.target_time, data.pid, outcome.payload)
    content = SecuredData(data.target_time, data.counter, data.pid, outcome.payload, mac)
    return block.answer(_ASP10, content.encode())
