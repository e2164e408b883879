"""UC-03, disconnection and reconnection: the states of a breaker or valve, and how to set them.

    00  closed, disconnected     01  open, connected     02  released: may be switched on by hand

    get   Seq_SND-UDx [App-Reset, MBus-Data]     DC1! control state, DC2! output state
    set   Seq_SND-UDx [SITP-Cmd, SITP-Rsp]       XDC1!, ASP10 with key 20h, PID 01, immediate or with a delay

Source: OMS Volume 2 Annex M release C, Tables M.8 to M.10; release A, Tables M.8 to M.10; Annex N release E N.12.
"""

from __future__ import annotations

from typing import Final

import msgspec

from openmetering.codec.address import Address
from openmetering.codec.apl.header import encode_dib
from openmetering.codec.apl.records import Record
from openmetering.codec.apl.security_transfer import target_time
from openmetering.errors import NotRepresentable
from openmetering.protocol.exchange import Command
from openmetering.protocol.operator.answers import exchange, read_records
from openmetering.protocol.operator.head_end import Confirmation, HeadEnd, Order
from openmetering.protocol.operator.secured import execute_then
from openmetering.protocol.operator.steps import Procedure
from openmetering.protocol.operator.tags import find, vib_octets

__all__ = ["STATES", "DisconnectorState", "SetDisconnector", "read_disconnector", "set_disconnector"]

#: name of a control state -> value
STATES: Final[dict[str, int]] = {"disconnected": 0, "connected": 1, "released": 2}
_DISCONNECTOR_KEY = 0x20
_PID = 1


class DisconnectorState(msgspec.Struct, frozen=True):
    """``control`` state (DC1!) and ``output`` state (DC2!): 0, 1, 2; None where the device does not tell."""

    control: int | None
    output: int | None


class SetDisconnector(msgspec.Struct, frozen=True):
    """What became of the command. ``proof`` as in ``Confirmation``; ``scheduled`` for a delayed one."""

    state: DisconnectorState
    scheduled: bool
    proof: str


def _state(records: tuple[Record, ...]) -> DisconnectorState:
    found = (find(records, tag) for tag in ("DC1!", "DC2!"))
    return DisconnectorState(*(record.raw[0] if record is not None and record.raw else None for record in found))


def read_disconnector() -> Procedure[DisconnectorState]:
    """UC-03, get: the standard response holds control state and output state.

    Source   OMS Volume 2 Annex M release C, Table M.9
    Raises   Refused, ExchangeFailed, DecodeError
    """
    octets = yield from exchange(Command("application-reset", b""))
    return _state(read_records(octets))


def set_disconnector(
    head_end: HeadEnd, device: Address, state: str, *, part_of_meter: bool = False, delay: int = 0, issue: str = "5.0.1"
) -> Procedure[SetDisconnector]:
    """UC-03, set: disconnected, connected or released, at once or after ``delay`` seconds.

    A disconnector inside a meter has subunit 1. If the answer was lost and the key counter shows that the device took
    the command, its state is read. A device need not know delays: it refuses them with status 23h.

    Octets   01 FD 1F vv, in a meter 81 40 FD 1F vv
    Source   OMS Volume 2 Annex M release C, Table M.10; Annex N release E, N.12.2
    Raises   NotRepresentable, OutOfRange before anything is sent; Refused, ExchangeFailed, KeyNotFound
    """
    value = STATES.get(state)
    if value is None:
        raise NotRepresentable(f"a disconnector is {', '.join(STATES)}, got {state!r}", field="state", value=state, layer="apl")
    apdu = encode_dib(1, subunit=int(part_of_meter)) + vib_octets("DC1!") + bytes((value,))
    order = Order(_DISCONNECTOR_KEY, _PID, apdu, target_time(delay), f"disconnector: {state}")

    def look(confirmation: Confirmation) -> Procedure[SetDisconnector]:
        if confirmation.proof == "counter" and not delay:
            now = yield from read_disconnector()
            return SetDisconnector(now, False, confirmation.proof)
        return SetDisconnector(_state(read_records(confirmation.apdu)), bool(delay), confirmation.proof)

    return (yield from execute_then(head_end, device, order, look, issue=issue))
