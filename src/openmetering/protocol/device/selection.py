"""UC-14, data selection: which points a message application holds.

    setMM6!    01 FD FD 80 00 70       application 7, block 0: always first
    arl***!    00 FD BC 0C             add DP3!: DIB of the point with data field 0, its VIB, action 0C
    drl***!    00 FD F4 0D             remove MM8!

The answer holds MM6! and every point of the application and block as they are now. Points that the device
does not have are ignored; a list that is too long is refused (03h) and changes nothing. The
selection is for this answer alone (CI 50 or 53 selects permanently), the changed list is for good: it is
also what SND-NR of that application holds.
Source: OMS Volume 2 Annex M release C, M.2.11 (UC-14) and Table M.38; Annex B release G B.2.4.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from openmetering.codec.apl.header import RecordHeader
from openmetering.codec.apl.records import Record, encode
from openmetering.protocol.device.contents import Contents
from openmetering.protocol.device.function import Function, demand_key, demand_now, record_of, same_place
from openmetering.protocol.device.interface import DeviceEvent, Instruction, Outcome
from openmetering.protocol.device.refusals import NO_FUNCTION, PARAMETER_ERROR, TOO_MANY_RECORDS
from openmetering.tables import data_point, vib_type

__all__ = ["SELECTION_KEY", "SelectionFeature"]

SELECTION_KEY: Final = 0x25

_MM6 = b"\xfd\xfd\x00"
_ADD, _REMOVE = "arl", "drl"
_LISTED = frozenset((_ADD, _REMOVE))


class SelectionFeature(Function):
    """Data selection. ``limit`` octets an answer may have; ``device_type`` decides between tags that share octets."""

    __slots__ = ("_contents", "_device_type", "_limit")

    def __init__(self, contents: Contents, *, device_type: int, limit: int) -> None:
        self._contents = contents
        self._device_type = device_type
        self._limit = limit

    def execute(self, instruction: Instruction, now: float) -> Outcome | None:
        """setMM6! and what follows it."""
        records = instruction.records
        if instruction.protocol != "m-bus" or not records:
            return None
        first = records[0].header
        if (first.vib_before_action, first.action) != (_MM6, "set"):
            return None if first.action not in _LISTED else self._without_selection(instruction)
        refusal = demand_key(instruction, SELECTION_KEY) or demand_now(instruction, now)
        if refusal is not None:
            return refusal
        if first.data_field != 1:
            return Outcome(error=PARAMETER_ERROR)
        if any(record.header.action not in _LISTED for record in records[1:]):
            return Outcome(error=NO_FUNCTION)
        return self._change(records[0].raw[0], records[1:], instruction, now)

    def _without_selection(self, instruction: Instruction) -> Outcome:
        """arl and drl behind no setMM6!: a parameter is missing."""
        return demand_key(instruction, SELECTION_KEY) or Outcome(error=PARAMETER_ERROR)

    def _change(self, code: int, changes: Sequence[Record], instruction: Instruction, now: float) -> Outcome:
        contents = self._contents
        application, block = code >> 4, code & 0x0F
        if application not in contents.applications:
            code, application, block = 0, 0, 0  # as a reset: a wrong select is no error
        known = contents.catalogue(now)
        points = {record.header.octets: record for record in contents.records(application, block, now)}
        before = list(points)
        for change in changes:
            found = self._find(change.header, points if change.header.action == _REMOVE else known)
            if found is None:
                continue
            if change.header.action == _REMOVE:
                points.pop(found)
            else:
                points.setdefault(found, known[found])
        answer = record_of(b"\x01", _MM6, bytes((code,))).octets() + encode(tuple(points.values()))
        if len(answer) > self._limit:
            return Outcome(error=TOO_MANY_RECORDS)
        if instruction.rehearse:
            return Outcome()
        if list(points) != before:
            contents.keep(application, block, list(points))
        event = DeviceEvent("selection", f"application {application} block {block}: {len(points)} points", code)
        return Outcome(payload=answer, events=(event,))

    def _find(self, wanted: RecordHeader, points: dict[bytes, Record]) -> bytes | None:
        """The point that a command names: by the VIB it has, or by another VIB of the same tag."""
        for octets, record in points.items():
            header = record.header
            if not same_place(header, wanted):
                continue
            if header.vib == wanted.vib_before_action or self._same_tag(header, wanted.vib_before_action):
                return octets
        return None

    def _same_tag(self, header: RecordHeader, vib: bytes) -> bool:
        tag = self._tag(header, header.vib)
        return tag is not None and tag == self._tag(header, vib)

    def _tag(self, header: RecordHeader, vib: bytes) -> str | None:
        name = vib_type(vib)
        if name is None:
            return None
        return data_point(
            self._device_type,
            vib_type=name,
            data_field=header.data_field,
            function=header.function,
            storage=header.storage,
            tariff=header.tariff,
            subunit=header.subunit,
            final_dife=header.final_dife,
        )
