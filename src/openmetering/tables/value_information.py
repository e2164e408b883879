"""VIF and VIFE: quantity, unit and scale of a record.

Source   EN 13757-3:2018, primary VIF table, extensions and combinable VIFE (clauses to confirm);
         OMS Volume 2 Annex B release G 4.6.1, B.3.2 for the codes behind FD FD
"""

from __future__ import annotations

import msgspec

from openmetering.tables._load import Row, affine, hexadecimal, rows

__all__ = [
    "ACTIONS",
    "RECORD_ERRORS",
    "VIFE",
    "VIFE_FC",
    "VIF_FB",
    "VIF_FB_LEGACY",
    "VIF_FD",
    "VIF_FDFD",
    "VIF_MAIN",
    "ValueInformation",
    "ValueInformationExtension",
]

_LEGACY = "2004"


class ValueInformation(msgspec.Struct, frozen=True):
    """One code of a VIF table: value = raw * 10**exponent * 2**scale2 in ``unit``.

    ``data_type`` says how a binary data field is read: ``B`` signed, ``C`` unsigned, ``D`` bits,
    ``date`` by data field (2 G, 3 J, 4 F, 6 I, D M), ``K``, ``L``, ``raw`` octets in natural
    order. ``edition`` names the edition where the editions differ.
    """

    code: int
    quantity: str
    unit: str
    exponent: int
    scale2: int = 0
    data_type: str = "B"
    edition: str = ""
    confidence: str = "V"


class ValueInformationExtension(msgspec.Struct, frozen=True):
    """One code of a VIFE table.

    ``kind``: ``error`` (record error from the meter), ``action`` (means something towards the
    meter only), ``qualifier``, ``scale`` (times 10**exponent), ``offset`` (plus 10**exponent),
    ``limit``, ``date``, ``duration`` (in ``unit``), ``count``, ``profile``, ``standard``,
    ``obis``, ``type``, ``future``, ``extension``, ``manufacturer``.
    """

    code: int
    kind: str
    name: str
    exponent: int = 0
    unit: str = ""
    confidence: str = "V"


def _values(row: Row) -> list[ValueInformation]:
    codes = hexadecimal(row["code"])
    units = row["unit"].split() if len(codes) > 1 and " " in row["unit"] else [row["unit"]] * len(codes)
    return [
        ValueInformation(
            code,
            row["quantity"],
            unit,
            affine(row["exponent"], n),
            affine(row["binary_exponent"] or "0", n),
            row["data_type"],
            row["edition"],
            row["confidence"],
        )
        for n, (code, unit) in enumerate(zip(codes, units, strict=True))
    ]


def _vif(name: str, *, legacy: bool = False) -> tuple[ValueInformation | None, ...]:
    """One table; where two editions define a code the newer one wins unless ``legacy``."""
    table: list[ValueInformation | None] = [None] * 128
    for row in rows(name):
        for value in _values(row):
            known = table[value.code]
            if known is None or (value.edition == _LEGACY) == legacy:
                table[value.code] = value
    return tuple(table)


def _vife(lines: list[Row]) -> tuple[ValueInformationExtension | None, ...]:
    table: list[ValueInformationExtension | None] = [None] * 128
    for row in lines:
        codes = hexadecimal(row["code"])
        units = row["unit"].split() or [""] * len(codes)
        for n, (code, unit) in enumerate(zip(codes, units, strict=True)):
            table[code] = ValueInformationExtension(
                code, row["kind"], row["name"], affine(row["exponent"], n), unit, row["confidence"]
            )
    return tuple(table)


def _actions(lines: list[Row]) -> tuple[str | None, ...]:
    table: list[str | None] = [None] * 0x10
    for row in lines:
        if row["action"]:
            table[int(row["code"], 16)] = row["action"]
    return tuple(table)


def _record_errors(lines: list[Row]) -> tuple[str | None, ...]:
    table: list[str | None] = [None] * 0x1D
    for row in lines:
        if row["kind"] == "error" or row["code"] == "00":
            table[int(row["code"], 16)] = row["name"]
    return tuple(table)


#: seven-bit codes; None is reserved
VIF_MAIN: tuple[ValueInformation | None, ...] = _vif("vif_main.csv")
VIF_FB: tuple[ValueInformation | None, ...] = _vif("vif_fb.csv")
#: the same with the US gallon codes of the editions before 2004 wherever two editions differ
VIF_FB_LEGACY: tuple[ValueInformation | None, ...] = _vif("vif_fb.csv", legacy=True)
VIF_FD: tuple[ValueInformation | None, ...] = _vif("vif_fd.csv")
VIF_FDFD: tuple[ValueInformation | None, ...] = _vif("vif_fdfd.csv")

_LINES = rows("vife.csv")
VIFE: tuple[ValueInformationExtension | None, ...] = _vife(_LINES)
VIFE_FC: tuple[ValueInformationExtension | None, ...] = _vife(rows("vife_fc.csv"))
#: VIFE 00 to 0F towards the meter
ACTIONS: tuple[str | None, ...] = _actions(_LINES)
#: VIFE 00 to 1C from the meter; 00 is "none"
RECORD_ERRORS: tuple[str | None, ...] = _record_errors(_LINES)
