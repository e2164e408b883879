"""What an order of the wired master means before anything is sent: whom it is for, how it ends, whether it can be carried out."""

from __future__ import annotations

from openmetering.codec.address import Selection
from openmetering.codec.link.wired import BROADCAST, SELECTED, WiredFrame
from openmetering.errors import ProtocolError
from openmetering.protocol.wired.frames import RATES, SND_UD
from openmetering.protocol.wired.orders import (
    Deselect,
    Order,
    ReadPrimary,
    ReadSecondary,
    SelectSecondary,
    SetBaud,
    Target,
    Transact,
)
from openmetering.protocol.wired.steps import State

__all__ = ["check", "leaves", "names_one", "primary_address", "target_of"]

_WITH_DATA = ("SND-UD", "SND-UD2")


def target_of(order: Order) -> Target:
    """The slave of an order; for ``Deselect`` whoever is selected."""
    if isinstance(order, Transact | SetBaud):
        return order.target
    if isinstance(order, SelectSecondary):
        return ReadSecondary(order.selection)
    return ReadPrimary(SELECTED) if isinstance(order, Deselect) else order


def primary_address(order: Order) -> int:
    """The A field of its frames: 253 for a slave that is selected."""
    target = target_of(order)
    return target.address if isinstance(target, ReadPrimary) else SELECTED


def leaves(order: Order) -> bool:
    """True if the order ends with SND-NKE to 253."""
    reset = isinstance(order, Transact) and order.kind == "SND-NKE" and primary_address(order) == SELECTED
    return isinstance(order, Deselect | ReadSecondary) or reset


def names_one(selection: Selection) -> bool:
    """True for a selection with fabrication number whose rest has no wildcard."""
    pattern = selection.pattern
    wild = (
        "F" in pattern.identification.upper() or pattern.manufacturer == 0xFFFF or 0xFF in (pattern.version, pattern.device_type)
    )
    return selection.fabrication is not None and not wild


def check(order: Order) -> None:
    """Raise before anything is changed if an order cannot be carried out.

    Raises   ProtocolError for addresses, rates and data that make no sense; OutOfRange and NotRepresentable for
             data and selections that do not fit a frame
    """
    target = target_of(order)
    if isinstance(target, ReadSecondary):
        target.selection.encode()
    elif not _can_be_asked(order, target.address):
        raise ProtocolError(State.IDLE.name, f"{type(order).__name__}({target.address})")
    if isinstance(order, SetBaud) and order.baud not in RATES:
        raise ProtocolError(State.IDLE.name, f"SetBaud({order.baud})")
    if isinstance(order, Transact):
        if (order.data is None) == (order.kind in _WITH_DATA) and (order.kind != "REQ-UD2"):
            raise ProtocolError(State.IDLE.name, f"Transact({order.kind})")
        WiredFrame.long(SND_UD, 0, order.data or b"\x00").encode()


def _can_be_asked(order: Order, address: int) -> bool:
    if isinstance(order, Deselect):
        return True
    to_all = isinstance(order, SetBaud) or (isinstance(order, Transact) and order.kind in ("SND-UD", "SND-NKE"))
    return 0 <= address <= 255 and address != SELECTED and (address != BROADCAST or to_all)
