"""Application layer: errors, message applications, variable length, image transfer, old fixed frames.

Source   EN 13757-3:2018 (clauses to confirm); OMS Volume 2 issue 5.0.1, Tables 40 and 41;
         OMS Volume 2 Annex M release C 1.1.1, Figure M.2; The M-Bus: A Documentation, rev. 4.8
"""

from __future__ import annotations

import msgspec

from openmetering.tables._load import affine, flag, hexadecimal, rows

__all__ = [
    "APPLICATIONS",
    "APPLICATION_ERRORS",
    "FIXED_MEDIA",
    "FIXED_UNITS",
    "IMAGE_FUNCTIONS",
    "IMAGE_STATES",
    "LVAR",
    "Application",
    "ApplicationError",
    "FixedMedium",
    "FixedUnit",
    "ImageFunction",
    "VariableLength",
]


class ApplicationError(msgspec.Struct, frozen=True):
    """One application error code; ``note`` gives a typical cause."""

    code: int
    name: str
    meaning: str
    note: str


class Application(msgspec.Struct, frozen=True):
    """One message application; ``content`` and ``content_index`` are bits of the configuration.

    ``selectable`` says whether its coding in an application select is public.
    """

    number: int
    name: str
    content: str
    content_index: str
    selectable: bool


class VariableLength(msgspec.Struct, frozen=True):
    """One LVAR octet: ``text``, ``positive BCD``, ``negative BCD``, ``binary`` or ``reserved``."""

    code: int
    kind: str
    length: int | None


class ImageFunction(msgspec.Struct, frozen=True):
    """One function of the image transfer.

    ``allowed`` holds the states in which the command is accepted, None meaning any state (or,
    for a function OMS does not use, not known); ``next`` holds the states it may lead to.
    """

    code: int
    name: str
    mandatory: str
    optional: str
    response: str
    allowed: tuple[int, ...] | None
    next: tuple[int, ...]


class FixedUnit(msgspec.Struct, frozen=True):
    """One unit code of the fixed data structure."""

    code: int
    quantity: str
    unit: str
    exponent: int


class FixedMedium(msgspec.Struct, frozen=True):
    """One medium of the fixed data structure."""

    code: int
    name: str
    msb_first: bool


def _applications() -> dict[int, Application]:
    return {
        int(row["number"]): Application(
            int(row["number"]), row["name"], row["content"], row["content_index"], flag(row["selectable"])
        )
        for row in rows("applications.csv")
    }


def _lvar() -> tuple[VariableLength, ...]:
    return tuple(
        VariableLength(code, row["kind"], affine(row["length"], n) if row["length"] else None)
        for row in rows("lvar.csv")
        for n, code in enumerate(hexadecimal(row["code"]))
    )


def _states(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split())


def _fixed_units() -> tuple[FixedUnit | None, ...]:
    table: list[FixedUnit | None] = [None] * 64
    for row in rows("fixed_units.csv"):
        for n, code in enumerate(hexadecimal(row["code"])):
            table[code] = FixedUnit(code, row["quantity"], row["unit"], affine(row["exponent"], n))
    return tuple(table)


def _fixed_media() -> tuple[FixedMedium | None, ...]:
    table: list[FixedMedium | None] = [None] * 16
    for row in rows("fixed_media.csv"):
        code = int(row["code"], 16)
        table[code] = FixedMedium(code, row["name"], flag(row["msb_first"]))
    return tuple(table)


#: code -> error; codes that are missing here are kept as they are
APPLICATION_ERRORS: dict[int, ApplicationError] = {
    int(row["code"], 16): ApplicationError(int(row["code"], 16), row["name"], row["meaning"], row["note"])
    for row in rows("application_errors.csv")
}
#: number -> message application
APPLICATIONS: dict[int, Application] = _applications()
#: indexed by the octet
LVAR: tuple[VariableLength, ...] = _lvar()

_IMAGE = rows("image_transfer.csv")
#: function field of the command; the response is the command plus 80h
IMAGE_FUNCTIONS: dict[int, ImageFunction] = {
    int(row["code"], 16): ImageFunction(
        int(row["code"], 16),
        row["name"],
        row["mandatory"],
        row["optional"],
        row["response"],
        _states(row["allowed"]) if row["allowed"] not in {"", "any"} else None,
        _states(row["next"]),
    )
    for row in _IMAGE
    if row["kind"] == "function"
}
#: state number -> name; 0 and 1 are not used
IMAGE_STATES: dict[int, str] = {int(row["code"], 16): row["name"] for row in _IMAGE if row["kind"] == "state"}

#: indexed by the six-bit unit code; None is reserved
FIXED_UNITS: tuple[FixedUnit | None, ...] = _fixed_units()
#: indexed by the four-bit medium; None is reserved
FIXED_MEDIA: tuple[FixedMedium | None, ...] = _fixed_media()
