"""The control field of both link layers.

    bit     7   6    5        4        3..0
    master  0   PRM  FCB      FCV      function
    slave   0   PRM  ACD      DFC      function

On the radio both partners start exchanges, so PRM is 1 in SND-NR, SND-IR, ACC-NR and
ACC-DMD of a meter as well. Source: EN 60870-5-2; OMS Volume 2 5.0.1 Tables 15 and 16.
"""

from __future__ import annotations

from openmetering.wire import BitField, Bits

__all__ = ["ControlField", "is_uplink", "message_name"]


class ControlField(BitField):
    """One octet C; bits 5 and 4 have a name for each direction."""

    function = Bits(0, 4)
    frame_count_valid = Bits(4)
    frame_count_bit = Bits(5)
    data_flow_control = Bits(4)
    access_demand = Bits(5)
    primary_message = Bits(6)
    reserved = Bits(7)


_PRIMARY = {
    0x0: "SND-NKE",
    0x3: "SND-UD",
    0x4: "SND-NR",
    0x5: "SND-UD3",
    0x6: "SND-IR",
    0x7: "ACC-NR",
    0x8: "ACC-DMD",
    0xA: "REQ-UD1",
    0xB: "REQ-UD2",
}
_SECONDARY = {0x0: "ACK", 0x1: "NACK", 0x6: "CNF-IR", 0x8: "RSP-UD"}
_FROM_METER = frozenset((0x44, 0x46, 0x47, 0x48))


def message_name(control: int) -> str:
    """The standard's name of the message of a C field; reserved codes give ``C=xx``."""
    if control & 0x80:
        return f"C={control:02X}"
    if control == 0x43:
        return "SND-UD2"
    names = _PRIMARY if control & 0x40 else _SECONDARY
    return names.get(control & 0x0F, f"C={control:02X}")


def is_uplink(control: int) -> bool:
    """True if the message comes from the end-device (meter, adapter).

    CNF-IR (06h) has PRM = 0 but is sent by the gateway. ACK (00h) is sent by both; the
    gateway's ACK answers ACC-DMD only, so it is read as uplink.
    """
    return control in _FROM_METER if control & 0x40 else control != 0x06
