"""The CI field: which header, which layer, which application protocol.

Source   EN 13757-7:2018, CI field table (clause to confirm); OMS Volume 2 issue 5.0.1, Table 1
"""

from __future__ import annotations

import msgspec

from openmetering.tables._load import hexadecimal, rows

__all__ = ["CONTROL_INFORMATION", "ControlInformation"]


class ControlInformation(msgspec.Struct, frozen=True):
    """One code of the CI field.

    ``direction`` is ``up`` (from the meter), ``down`` or ``both``; ``header`` is the transport
    header ``none``, ``short`` or ``long``; ``layer`` is ``tpl``, ``ell``, ``afl``, ``nwl``,
    ``link`` or ``mbal``; ``protocol`` names what the layer carries; ``followers`` lists, for a
    layer below the transport layer, which layers may come next; ``oms`` holds C (wireless mode
    C), W (wired) and L (LPWAN) where OMS uses the code.
    """

    code: int
    name: str
    direction: str
    header: str
    layer: str
    protocol: str
    followers: str
    oms: str
    confidence: str


def _load() -> tuple[ControlInformation | None, ...]:
    table: list[ControlInformation | None] = [None] * 256
    for row in rows("ci.csv"):
        for code in hexadecimal(row["code"]):
            table[code] = ControlInformation(
                code,
                row["name"],
                row["direction"],
                row["header"],
                row["layer"],
                row["protocol"],
                row["followers"],
                row["oms"],
                row["confidence"],
            )
    return tuple(table)


#: indexed by the octet; None is reserved
CONTROL_INFORMATION: tuple[ControlInformation | None, ...] = _load()
