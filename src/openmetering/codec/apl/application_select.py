"""Application reset and select (CI 50, 53, 57), request (54, 55, 56), response (66, 67, 68).

    no octet   reset, or request of what is selected
    1 octet    sub code: application 7..4, block 3..0 (block 0: all blocks or the first)

OMS message applications above 15 exist (Table 41), their coding is not public: they are sent
only as octets that the caller gives.
"""

from __future__ import annotations

import msgspec

from openmetering.codec.apl.records import ParsedRecords, Record, parse
from openmetering.errors import NotRepresentable, OutOfRange
from openmetering.tables import APPLICATIONS

__all__ = [
    "ApplicationRequest",
    "ApplicationReset",
    "ApplicationResponse",
    "decode_request",
    "decode_reset",
    "decode_response",
    "sub_code",
]

_LAYER = "apl"
_HIGHEST_CODED = 15


def sub_code(application: int, block: int = 0, *, raw: bytes | None = None) -> bytes:
    """The parameter that names an application and a block of it.

    Octets   0  application 7..4, block 3..0
    Source   EN 13757-3, application select (clause to confirm); OMS Volume 2 Annex M Table M.38
    Units    none
    Raises   NotRepresentable (``application.coding``) above application 15 unless ``raw`` gives the
             octets, OutOfRange for a block above 15 or a negative number
    """
    if raw is not None:
        return raw
    if application > _HIGHEST_CODED:
        raise NotRepresentable(
            f"the coding of message application {application} is not public; give its octets",
            field="application",
            value=application,
            layer=_LAYER,
            code="application.coding",
        )
    if application < 0 or not 0 <= block <= 15:
        raise OutOfRange("application and block are 0 to 15", field="block", value=block, layer=_LAYER)
    return bytes((application << 4 | block,))


class _Parameter(msgspec.Struct, frozen=True):
    """Base of reset and request: the parameter octets and their reading."""

    parameter: bytes = b""

    @property
    def application(self) -> int | None:
        """Number of the application, None without a parameter or for one that is longer than an octet."""
        return self.parameter[0] >> 4 if len(self.parameter) == 1 else None

    @property
    def block(self) -> int | None:
        """Number of the block, None as for ``application``."""
        return self.parameter[0] & 0x0F if len(self.parameter) == 1 else None

    @property
    def name(self) -> str:
        """Name of the application, empty where there is none."""
        entry = APPLICATIONS.get(-1 if self.application is None else self.application)
        return entry.name if entry is not None else ""

    def encode(self) -> bytes:
        """The octets behind the transport header."""
        return self.parameter


class ApplicationReset(_Parameter, frozen=True):
    """Reset (no parameter) or selection of an application."""

    @property
    def reset(self) -> bool:
        """True if the standard response is asked for."""
        return not self.parameter

    @classmethod
    def select(cls, application: int, block: int = 0, *, raw: bytes | None = None) -> ApplicationReset:
        """Select an application. Raises as ``sub_code``."""
        return cls(sub_code(application, block, raw=raw))


class ApplicationRequest(_Parameter, frozen=True):
    """Request of the selected application, or of the one the parameter names."""


class ApplicationResponse(msgspec.Struct, frozen=True):
    """Response of the selected application: records."""

    octets: bytes

    def parsed(self) -> ParsedRecords:
        """The records with faults and manufacturer data."""
        return parse(self.octets)

    @property
    def records(self) -> tuple[Record, ...]:
        """The records alone."""
        return tuple(self.parsed().records)

    def encode(self) -> bytes:
        """The octets behind the transport header."""
        return self.octets


def decode_reset(octets: bytes) -> ApplicationReset:
    """Read an application reset or select.

    Octets   0  optional sub code: application 7..4, block 3..0; a longer parameter is kept raw
    Source   EN 13757-3, application reset and select (clause to confirm)
    Units    none
    Raises   nothing
    """
    return ApplicationReset(octets)


def decode_request(octets: bytes) -> ApplicationRequest:
    """Read a request of the selected application.

    Octets   0  optional sub code as in a select
    Source   EN 13757-3, application select (clause to confirm)
    Units    none
    Raises   nothing
    """
    return ApplicationRequest(octets)


def decode_response(octets: bytes) -> ApplicationResponse:
    """Read a response of the selected application.

    Octets   0..  records
    Source   EN 13757-3, application select (clause to confirm)
    Units    those of the records
    Raises   nothing; structural faults stand in ``parsed().fault``
    """
    return ApplicationResponse(octets)
