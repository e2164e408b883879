"""The table from application protocol to its reader.

Names are those of the column ``protocol`` of ``CONTROL_INFORMATION``. Each reader takes the
octets behind the transport header and raises only errors of openmetering; each struct it
makes has ``encode``. Records (m-bus, compact, format, big-endian, application-response) are
read by ``records``, ``format``, ``fixed`` and ``big_endian``.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from openmetering.codec.address import Selection
from openmetering.codec.apl import alarm, application_error, application_select, clock, image_transfer, security_transfer
from openmetering.codec.apl.opaque import opaque

__all__ = ["PROTOCOLS"]

_OPAQUE = (
    "synchronise",
    "security-management",
    "dlms",
    "dlms-segment",
    "sml",
    "none",
    "network-management",
    "baud-rate",
    "manufacturer",
    "mbal",
)

#: protocol -> reader
PROTOCOLS: dict[str, Callable[[bytes], msgspec.Struct]] = {
    "application-reset": application_select.decode_reset,
    "application-request": application_select.decode_request,
    "select-device": Selection.decode,
    "clock": clock.decode,
    "application-error": application_error.decode,
    "alarm": alarm.decode,
    "image": image_transfer.decode,
    "sitp": security_transfer.decode,
} | {name: opaque(name) for name in _OPAQUE}
