"""UC-14, data selection: which data points a message application holds.

    setMM6!       01 FD FD 80 00 sub-code      the application and block that is meant, always first
    arl...!       DIB VIB 0C                   add the tag to its list
    drl...!       DIB VIB 0D                   take the tag out of it

ASP10 with key 25h, PID 01. The answer holds every point of the application and block; points the device does
not know are left out without an error; if it grows too long, application error 03h comes. The selection of the
application is temporary, the changed list is not.
Source: OMS Volume 2 Annex M release C, Table M.38; Annex B B.2.4.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from openmetering.codec.address import Address
from openmetering.codec.apl.application_select import sub_code
from openmetering.codec.apl.records import Record
from openmetering.errors import NotRepresentable
from openmetering.protocol.operator.answers import read_records
from openmetering.protocol.operator.differences import require_use_case
from openmetering.protocol.operator.head_end import HeadEnd, Order
from openmetering.protocol.operator.secured import execute
from openmetering.protocol.operator.steps import Procedure
from openmetering.protocol.operator.tags import command_header

__all__ = ["Selected", "select_data"]

_SELECTION_KEY = 0x25
_PID = 1
#: octets of a sub code -> data field
_DATA_FIELD = {1: 1, 2: 2, 3: 3, 4: 4}


class Selected(msgspec.Struct, frozen=True):
    """The records of the application and block as they are now; empty where the answer was lost."""

    records: tuple[Record, ...]
    proof: str


def select_data(
    head_end: HeadEnd,
    device: Address,
    application: int,
    block: int = 0,
    *,
    add: Sequence[str] = (),
    remove: Sequence[str] = (),
    raw: bytes | None = None,
    issue: str = "5.0.1",
) -> Procedure[Selected]:
    """UC-14: add tags to the list of an application and take tags out of it, e.g. ``add=["DP3!"]``.

    More than one tag in a command is optional for devices. ``raw`` is the coding of an application above 15.
    Source   OMS Volume 2 Annex M release C, Table M.38
    Raises   NotRepresentable, OutOfRange before anything is sent; Refused, ExchangeFailed, KeyNotFound, DecodeError
    """
    require_use_case(issue, "UC-14")
    code = sub_code(application, block, raw=raw)
    field = _DATA_FIELD.get(len(code))
    if field is None:
        raise NotRepresentable("a sub code has one to four octets", field="raw", value=len(code), layer="apl")
    changes = [command_header(tag, action) for action, tags in (("arl", add), ("drl", remove)) for tag in tags]
    apdu = command_header("MM6!", "set", field) + code + b"".join(changes)
    order = Order(_SELECTION_KEY, _PID, apdu, meaning=f"data selection, application {application} block {block}")
    confirmation = yield from execute(head_end, device, order, issue=issue)
    return Selected(read_records(confirmation.apdu), confirmation.proof)
