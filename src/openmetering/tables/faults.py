"""Every error code of openmetering in words: where it arises, what it means, what to do."""

from __future__ import annotations

import msgspec

from openmetering.tables._load import rows

__all__ = ["FAULTS", "FaultText"]


class FaultText(msgspec.Struct, frozen=True):
    """One stable error code and its remedy."""

    code: str
    error: str
    layer: str
    meaning: str
    remedy: str


#: code -> text
FAULTS: dict[str, FaultText] = {
    row["code"]: FaultText(row["code"], row["error"], row["layer"], row["meaning"], row["remedy"]) for row in rows("faults.csv")
}
