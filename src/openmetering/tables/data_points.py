"""OMS data points: VIB type, tag and OBIS code of a record. Loaded on first use.

A record is named in two steps: its value information block has a VIB type (``EW01``), and the
VIB type together with function, storage number, tariff and final DIFE has a tag (``EW1!R``).
Tag and device type give the OBIS codes.

Source   OMS Volume 2 Annex A release F 1.2.1 (OBIS), Annex B release G 4.6.1 (tags, VIB types)
"""

from __future__ import annotations

from functools import cache
from itertools import product

import msgspec

from openmetering.tables._load import Row, hexadecimal, rows
from openmetering.tables.value_information import ACTIONS

__all__ = [
    "DataPoint",
    "ObisRow",
    "VibType",
    "command",
    "data_point",
    "data_point_rows",
    "obis",
    "obis_rows",
    "vib_type",
    "vib_type_rows",
]

_PROFILES = frozenset({0x13, 0x1E, 0x1F})
_NUMBER = frozenset({1, 2, 3, 4, 6, 7, 9, 0xA, 0xB, 0xC, 0xD, 0xE})
# data fields a printed data type stands for; binary and BCD are taken for each other, and a
# variable length number (LVAR C0 and above, or the elements of a profile) for both
_FIELDS: dict[str, frozenset[int]] = {
    "INT": _NUMBER,
    "BCD": _NUMBER,
    "8INT": frozenset({1, 9}),
    "64INT": frozenset({7}),
    "8BCD": frozenset({4, 0xC}),
    "VarLen": frozenset({0xD}),
    "TypeF": frozenset({4}),
    "TypeG": frozenset({2}),
    "TypeI": frozenset({6}),
    "TypeJ": frozenset({3}),
    "TypeM": frozenset({0xD}),
    "NoData": frozenset({0}),
}


class VibType(msgspec.Struct, frozen=True):
    """One VIB type: pattern of its octets, what it measures; ``text`` is the plain text form.

    ``status`` is ``valid`` or ``withdrawn``; ``exponent`` is a number or a range in ``unit``.
    """

    id: str
    vib: str
    text: str
    quantity: str
    unit: str
    exponent: str
    status: str
    remark: str


class DataPoint(msgspec.Struct, frozen=True):
    """One tag of Annex B: ``kind`` is ``data`` or ``command``.

    ``storage`` and ``tariff`` are ranges of the numbers allowed; ``fields`` are the data fields
    accepted for the VIB types; ``also`` holds further pairs (VIB type, data field) seen in the
    examples of OMS; ``devices`` maps a device type, or sensor and sub type such as ``1F.12``, to
    its mark (M, A1, X1, O, C, E).
    """

    tag: str
    kind: str
    name: str
    fields: frozenset[int]
    also: frozenset[tuple[str, int]]
    function: int | None
    storage: tuple[range, ...]
    tariff: tuple[range, ...]
    final_dife: bool
    vib_types: tuple[str, ...]
    action: str
    devices: dict[str, str]
    encryption: str
    condition: str
    status: str
    remark: str

    def serves(self, device_type: int) -> bool:
        """Whether Annex B lists the tag for the device type."""
        key = f"{device_type:02X}"
        return any(device.partition(".")[0] == key for device in self.devices)


class ObisRow(msgspec.Struct, frozen=True):
    """One row of Annex A: ``kind`` is ``record``, ``gateway`` (made by the gateway) or ``heading``.

    ``device_types`` is empty for objects of all devices; ``averaging`` says whether the row needs
    an averaging duration in the message (``present``), its absence (``absent``) or neither.
    """

    obis: str
    device_types: tuple[int, ...]
    part: str
    kind: str
    tags: tuple[str, ...]
    mark: str
    averaging: str


@cache
def vib_type_rows() -> dict[str, VibType]:
    """All VIB types by name, the withdrawn ones too."""
    names = ("vib", "text", "quantity", "unit", "exponent", "status", "remark")
    return {row["id"]: VibType(row["id"], *(row[name] for name in names)) for row in rows("vib_types.csv")}


def _ranges(text: str) -> tuple[range, ...]:
    """``"0..99 101..124"``, ``"3"``: the numbers a cell allows."""
    return tuple(range(int(first), int(last or first) + 1) for first, _, last in (part.partition("..") for part in text.split()))


def _also(text: str) -> frozenset[tuple[str, int]]:
    pairs = (part.split("/") for part in text.split())
    return frozenset((name, field) for name, data in pairs for field in _FIELDS[data])


def _data_point(row: Row) -> DataPoint:
    return DataPoint(
        tag=row["tag"],
        kind=row["kind"],
        name=row["name"],
        fields=frozenset().union(*(_FIELDS[data] for data in row["data"].split())),
        also=_also(row["also"]),
        function=int(row["function"]) if row["function"] else None,
        storage=_ranges(row["storage"]),
        tariff=_ranges(row["tariff"]),
        final_dife=row["final_dife"] == "yes",
        vib_types=tuple(row["vib_types"].split()),
        action=row["action"],
        devices=dict(part.split(":") for part in row["devices"].split()),
        encryption=row["encryption"],
        condition=row["condition"],
        status=row["status"],
        remark=row["remark"],
    )


@cache
def data_point_rows() -> dict[str, DataPoint]:
    """All tags in the order of Annex B, commands and withdrawn tags too."""
    return {row["tag"]: _data_point(row) for row in rows("datapoints.csv")}


@cache
def obis_rows() -> tuple[ObisRow, ...]:
    """All rows of Annex A in its order."""
    return tuple(
        ObisRow(
            row["obis"],
            () if row["device_types"] == "all" else tuple(int(code, 16) for code in row["device_types"].split()),
            row["part"],
            row["kind"],
            tuple(row["tags"].split()),
            row["mark"],
            row["averaging"],
        )
        for row in rows("obis.csv")
    )


# --- value information block -> VIB type ------------------------------------------------------


def _true_length(vib: bytes) -> int:
    """Octets of the true VIF in front of the VIFE: 1, 2 behind FB and FD, 3 behind FD FD."""
    return 3 if vib[:2] == b"\xfd\xfd" else 2 if vib[0] in {0xFB, 0xFD} else 1


def _extensions(vib: bytes) -> list[bytes]:
    """The VIFE behind the true VIF, extension bits cleared; FC keeps its second octet."""
    found: list[bytes] = []
    position = _true_length(vib)
    while position < len(vib):
        width = 2 if vib[position] == 0xFC else 1
        found.append(bytes(octet & 0x7F for octet in vib[position : position + width]))
        position += width
    return found


def _canonical(vib: bytes) -> tuple[bytes, tuple[bytes, ...]]:
    """The same for every order of the VIFE."""
    true = vib[: _true_length(vib)]
    return bytes([*true[:-1], true[-1] & 0x7F]), tuple(sorted(_extensions(vib)))


@cache
def _by_vib() -> dict[bytes, str]:
    """Every octet string of every pattern."""
    index: dict[bytes, str] = {}
    for row in vib_type_rows().values():
        for octets in product(*(hexadecimal(part) for part in row.vib.split())) if row.vib else ():
            index[bytes(octets)] = row.id
    return index


@cache
def _by_canonical() -> dict[tuple[bytes, tuple[bytes, ...]], str]:
    return {_canonical(vib): name for vib, name in _by_vib().items() if vib[0] != 0x7C}


def _without_last(vib: bytes) -> bytes:
    """The chain without its last VIFE: the one before loses its extension bit."""
    return bytes([*vib[:-2], vib[-2] & 0x7F])


def _without_profile(vib: bytes) -> bytes:
    """13, 1E and 1F mean a compact profile only behind a complete true VIF (FD 1F is none)."""
    return _without_last(vib) if vib[-1] in _PROFILES and len(vib) > _true_length(vib) else vib


def vib_type(vib: bytes) -> str | None:
    """The OMS VIB type of a value information block, None if Annex B has none.

    Octets   VIF and VIFE without an action VIFE, in any order of the VIFE; a compact profile
             VIFE at the end is left out of account. For a plain text VIF also the length octet
             and the text as transmitted, last character first.
    Source   OMS Volume 2 Annex B release G 4.6.1, B.3.2
    Units    none
    Raises   nothing
    """
    if not vib:
        return None
    found = _by_vib().get(vib)
    if found is not None or vib[0] & 0x7F == 0x7C:
        return found
    if vib[-1] & 0x80:
        return None
    chain = _without_profile(vib)
    return _by_vib().get(chain) or _by_canonical().get(_canonical(chain))


# --- VIB type -> tag --------------------------------------------------------------------------


@cache
def _by_type() -> dict[tuple[str, str, str], tuple[DataPoint, ...]]:
    """(kind, VIB type, action) -> candidates in the order of Annex B."""
    index: dict[tuple[str, str, str], tuple[DataPoint, ...]] = {}
    for point in data_point_rows().values():
        for name in {*point.vib_types, *(name for name, _ in point.also)}:
            key = point.kind, name, point.action
            index[key] = (*index.get(key, ()), point)
    return index


def _placed(point: DataPoint, function: int, storage: int, tariff: int, final_dife: bool) -> bool:
    return (
        point.function == function
        and point.final_dife == final_dife
        and any(storage in numbers for numbers in point.storage)
        and any(tariff in numbers for numbers in point.tariff)
    )


def _choose(candidates: list[DataPoint], device_type: int, vib_type: str, data_field: int | None) -> str | None:
    """The printed data types first, then what the examples of OMS send besides; own device first."""
    printed = [
        point for point in candidates if vib_type in point.vib_types and (data_field is None or data_field in point.fields)
    ]
    besides = [point for point in candidates if data_field is not None and (vib_type, data_field) in point.also]
    for group in (printed, besides):
        for point in group:
            if point.serves(device_type):
                return point.tag
        if group:
            return group[0].tag
    return None


def data_point(
    device_type: int,
    *,
    vib_type: str,
    data_field: int,
    function: int,
    storage: int,
    tariff: int,
    subunit: int,
    final_dife: bool,
) -> str | None:
    """The tag of a data record, None if Annex B has none.

    A tag that Annex B lists for the device type goes before the same point of another device; if
    no column fits, the tag of the other devices is given, for tags do not change their meaning.
    Integer and BCD are taken for each other. ``subunit`` names the channel and is accepted with
    every tag.

    Octets   none; the arguments are the decoded DIB and the result of ``vib_type``. For a
             compact profile ``data_field`` is that of its elements.
    Source   OMS Volume 2 Annex B release G 4.6.1, B.2.1 to B.2.3
    Units    none
    Raises   ValueError if the subunit is negative
    """
    if subunit < 0:
        raise ValueError("a subunit is never negative")
    candidates = [
        point for point in _by_type().get(("data", vib_type, ""), ()) if _placed(point, function, storage, tariff, final_dife)
    ]
    return _choose(candidates, device_type, vib_type, data_field)


def command(
    device_type: int,
    *,
    vib: bytes,
    data_field: int,
    function: int = 0,
    storage: int = 0,
    tariff: int = 0,
    final_dife: bool = False,
) -> str | None:
    """The command tag of a record sent to a device: ``setID4!``, ``arlVM1!D``, ``XDC1!``.

    Octets   VIF and VIFE as sent, action VIFE included; a compact profile VIFE may stand behind
             the action. Without an action VIFE the record writes.
    Source   OMS Volume 2 Annex B release G 4.6.1, B.1.4 and B.2.4
    Units    none
    Raises   nothing
    """
    chain = _without_profile(vib) if vib else vib
    action, chain = _action(chain)
    name = vib_type(chain)
    if name is None:
        return None
    if action in {"arl", "drl"}:
        points = [
            point for point in _by_type().get(("data", name, ""), ()) if _placed(point, function, storage, tariff, final_dife)
        ]
        tag = _choose(points, device_type, name, None)
        return None if tag is None else action + tag
    for verb in (action,) if action else ("", "set"):
        points = [
            point
            for point in _by_type().get(("command", name, verb), ())
            if _placed(point, function, storage, tariff, final_dife)
        ]
        tag = _choose(points, device_type, name, data_field)
        if tag is not None:
            return tag
    return None


def _action(vib: bytes) -> tuple[str, bytes]:
    """Split the action VIFE from the end of a chain; an empty action if there is none."""
    if not vib or vib[0] & 0x7F == 0x7C:
        return "", vib
    extensions = _extensions(vib)
    last = extensions[-1] if extensions else b""
    action = ACTIONS[last[0]] if len(last) == 1 and last[0] < len(ACTIONS) else None
    return ("", vib) if action is None else (action, _without_last(vib))


# --- tag -> OBIS ------------------------------------------------------------------------------


@cache
def _by_tag() -> dict[tuple[int | None, str], tuple[ObisRow, ...]]:
    index: dict[tuple[int | None, str], tuple[ObisRow, ...]] = {}
    for row in obis_rows():
        for key in product(row.device_types or (None,), row.tags):
            index[key] = (*index.get(key, ()), row)
    return index


def obis(device_type: int, tag: str, *, storage: int, tariff: int, subunit: int, averaging: bool = False) -> tuple[str, ...]:
    """The OBIS codes of a tag, in the order of Annex A; empty if it has none for the device.

    Group B is the subunit, group E the tariff and group F the storage number where Annex A leaves
    them open. ``averaging`` says whether the message holds an averaging duration (DP2!), which
    moves the volume flows of a gas meter.

    Octets   none
    Source   OMS Volume 2 Annex A release F 1.2.1, A.3
    Units    none
    Raises   nothing
    """
    unwanted = "absent" if averaging else "present"
    found = (*_by_tag().get((None, tag), ()), *_by_tag().get((device_type, tag), ()))
    return tuple(_fill(row.obis, storage, tariff, subunit) for row in found if row.averaging != unwanted)


def _fill(pattern: str, storage: int, tariff: int, subunit: int) -> str:
    medium, _, rest = pattern.partition("-0:")
    value, star, billing = rest.partition("*")
    value = value.replace("e", str(tariff))
    return f"{medium}-{subunit}:{value}{star}{storage if billing == 'f' else billing}"
