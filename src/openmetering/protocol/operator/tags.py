"""Tags of Annex B as octets: the headers of commands, and records found in answers by their tag.

    command   DIB of the tag (data field of the command), VIB with the action VIFE behind it
    answer    the first record whose VIB type, function and storage number are those of the tag

Source: OMS Volume 2 Annex B release G 4.6.1, B.1.4 (order: true VIF, VIFE, action last) and B.2.4.
"""

from __future__ import annotations

from collections.abc import Iterable

from openmetering.codec.apl.header import encode_dib
from openmetering.codec.apl.records import Record
from openmetering.errors import DecodeError, NotRepresentable
from openmetering.tables import ACTIONS, DataPoint, data_point_rows, vib_type, vib_type_rows

__all__ = ["NO_DATA", "action_vib", "command_header", "find", "require", "vib_octets"]

_PLAIN_TEXT = 0x7C
NO_DATA = 0  #: data field of commands without data: get, arl, drl, clr


def _point(tag: str) -> DataPoint:
    point = data_point_rows().get(tag)
    if point is None or not point.vib_types:
        raise NotRepresentable(f"Annex B has no data point {tag!r}", field="tag", value=tag, layer="apl")
    return point


def vib_octets(tag: str) -> bytes:
    """The first VIB type of a tag with all n bits 0, the form that every device must know. Raises NotRepresentable."""
    pattern = vib_type_rows()[_point(tag).vib_types[0]].vib
    return bytes(int(part.partition("-")[0], 16) for part in pattern.split())


def action_vib(vib: bytes, action: str) -> bytes:
    """A VIB with an action VIFE behind it; the octet in front gets its extension bit. Raises NotRepresentable.

    The text of a plain text VIF (7Ch, length, text) stands behind the action.
    """
    if action not in ACTIONS:
        raise NotRepresentable(f"there is no action {action!r}", field="action", value=action, layer="apl")
    if vib[0] == _PLAIN_TEXT:
        return bytes((_PLAIN_TEXT | 0x80, ACTIONS.index(action))) + vib[1:]
    return vib[:-1] + bytes((vib[-1] | 0x80, ACTIONS.index(action)))


def command_header(tag: str, action: str, data_field: int = NO_DATA) -> bytes:
    """DIB and VIB of a command on a tag, e.g. ``00 FD 91 0F`` for get of ID4!. Raises NotRepresentable."""
    point = _point(tag)
    storage = point.storage[0].start if point.storage else 0
    tariff = point.tariff[0].start if point.tariff else 0
    dib = encode_dib(data_field, function=point.function or 0, storage=storage, tariff=tariff, final_dife=point.final_dife)
    return dib + action_vib(vib_octets(tag), action)


def find(records: Iterable[Record], tag: str) -> Record | None:
    """The first record of a tag, whatever its subunit; None if there is none. Raises NotRepresentable."""
    point = _point(tag)
    for record in records:
        header = record.header
        placed = header.function == (point.function or 0) and any(header.storage in numbers for numbers in point.storage)
        if placed and header.final_dife == point.final_dife and vib_type(header.vib) in point.vib_types:
            return record
    return None


def require(records: Iterable[Record], tag: str) -> Record:
    """As ``find``. Raises DecodeError (``answer.data``) if the answer does not hold the tag."""
    record = find(records, tag)
    if record is None:
        raise DecodeError(f"the answer does not hold {tag}", layer="apl", code="answer.data")
    return record
