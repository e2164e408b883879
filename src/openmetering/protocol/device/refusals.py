"""How a device refuses: application errors (CI 6E, 6F, 70) and status octets of SITP (DSI 22), by name.

Source: OMS Volume 2 5.0.1 Table 40 (application errors); Annex F release C Table F.A.7 and Annex N
N.12.4 (status octets). The words for both stand in ``tables``.
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "APPLICATION_BUSY",
    "DATA_ERROR",
    "INADEQUATE_SECURITY",
    "NO_FUNCTION",
    "NOT_NOW",
    "PARAMETER_ERROR",
    "PREMATURE_END",
    "SECURITY_ERROR",
    "STATUS_COMMAND",
    "STATUS_KEY",
    "STATUS_OTHER_BLOCK",
    "STATUS_SCHEDULED",
    "STATUS_SUCCESS",
    "STATUS_TARGET_TIME",
    "STRUCTURE_ERROR",
    "TOO_MANY_DIFE",
    "TOO_MANY_RECORDS",
    "TOO_MANY_VIFE",
    "UNKNOWN_CI",
    "UNSUPPORTED_SECURITY",
    "is_refusal",
]

UNKNOWN_CI: Final = 0x01
TOO_MANY_RECORDS: Final = 0x03
PREMATURE_END: Final = 0x04
TOO_MANY_DIFE: Final = 0x05
TOO_MANY_VIFE: Final = 0x06
APPLICATION_BUSY: Final = 0x08
NOT_NOW: Final = 0x10
NO_FUNCTION: Final = 0x11
DATA_ERROR: Final = 0x12
PARAMETER_ERROR: Final = 0x15
STRUCTURE_ERROR: Final = 0x17
SECURITY_ERROR: Final = 0x20
UNSUPPORTED_SECURITY: Final = 0x21
INADEQUATE_SECURITY: Final = 0x22

STATUS_SUCCESS: Final = 0x00
STATUS_SCHEDULED: Final = 0x01
STATUS_OTHER_BLOCK: Final = 0x09
STATUS_COMMAND: Final = 0x11
STATUS_KEY: Final = 0x19
STATUS_TARGET_TIME: Final = 0x23


def is_refusal(status: int) -> bool:
    """True for a status octet that reports that nothing was done.

    09h says that another block was refused; 00h, 01h and the reserved 0Ah to 0Fh are no errors.
    Source   OMS Volume 2 Annex F release C 1.1.1 Table F.A.7
    """
    return status == STATUS_OTHER_BLOCK or status >= 0x10
