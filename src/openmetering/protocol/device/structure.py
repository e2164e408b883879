"""Which application error says what is wrong with the records of a command.

Source: EN 13757-3:2018, application error codes (clause to confirm); OMS Volume 2 5.0.1 Table 40.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from openmetering.protocol.device.refusals import NO_FUNCTION, PREMATURE_END, TOO_MANY_DIFE, TOO_MANY_VIFE

if TYPE_CHECKING:
    from openmetering.codec.apl.records import ParsedRecords

__all__ = ["record_fault"]

_LONGEST = 11  #: octets with extension bit from which on a chain is too long


def record_fault(parsed: ParsedRecords) -> int | None:
    """The application error for records that break off; None if they are whole.

    04h  the last record is not complete
    05h  more than ten DIFE, 06h more than ten VIFE
    11h  a data field or length that is reserved
    """
    fault = parsed.fault
    if fault is None:
        return None
    if fault.code == "record.too_many_extensions":
        chain = parsed.rest[:_LONGEST]
        return TOO_MANY_DIFE if len(chain) == _LONGEST and all(octet & 0x80 for octet in chain) else TOO_MANY_VIFE
    return PREMATURE_END if fault.code == "record.truncated" else NO_FUNCTION
