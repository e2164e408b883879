"""Application error, CI 6E, 6F, 70: a code and, for some codes, more data.

The same code octets 10h to 16h had other meanings in stacks of the OMS 2.0 era; names are
those of OMS Volume 2 issue 5.0.1 Table 40.
"""

from __future__ import annotations

import msgspec

from openmetering.codec.apl.records import Record, parse
from openmetering.errors import NotRepresentable, OutOfRange
from openmetering.tables import APPLICATION_ERRORS

__all__ = ["ApplicationError", "decode"]

_LAYER = "apl"
_DYNAMIC = 0xF0  #: records that describe the error follow


class ApplicationError(msgspec.Struct, frozen=True):
    """An error answer; ``empty`` if not even the code was sent, which means code 0."""

    code: int
    additional: bytes = b""
    empty: bool = False

    @property
    def name(self) -> str:
        """Short name; "reserved" for codes without one."""
        entry = APPLICATION_ERRORS.get(self.code)
        return entry.name if entry is not None else "reserved"

    @property
    def meaning(self) -> str:
        """What the device says; empty where the standard is silent."""
        entry = APPLICATION_ERRORS.get(self.code)
        return entry.meaning if entry is not None else ""

    @property
    def records(self) -> tuple[Record, ...]:
        """The records of a dynamic application error (code F0h)."""
        return tuple(parse(self.additional).records) if self.code == _DYNAMIC else ()

    def encode(self) -> bytes:
        """The octets behind the transport header. Raises OutOfRange or NotRepresentable."""
        if not 0 <= self.code <= 0xFF:
            raise OutOfRange(f"an error code is one octet, got {self.code}", field="code", value=self.code, layer=_LAYER)
        if not self.empty:
            return bytes((self.code,)) + self.additional
        if self.code or self.additional:
            raise NotRepresentable("an empty error answer has neither code nor data", field="empty", value=True, layer=_LAYER)
        return b""


def decode(octets: bytes) -> ApplicationError:
    """Read an application error.

    Octets   0    error code; nothing at all means 00h, unspecified
             1..  data specific to the code
    Source   EN 13757-3, application errors (clause to confirm); OMS Volume 2 issue 5.0.1 Table 40
    Units    none
    Raises   nothing: codes that are not listed are kept
    """
    if not octets:
        return ApplicationError(0, b"", empty=True)
    return ApplicationError(octets[0], octets[1:])
