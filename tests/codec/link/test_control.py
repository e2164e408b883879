"""C fields: names and directions against a table in the words of the standard."""

from __future__ import annotations

import pytest
from hypothesis import given

from openmetering.codec.link.control import ControlField, is_uplink, message_name
from openmetering.tables import C_FIELD
from tests.strategies import control_fields

# OMS Volume 2 5.0.1 Tables 15, 16 and 28; EN 60870-5-2 (clause to confirm): name, codes from the gateway, codes from the meter
MESSAGES = [
    ("SND-NKE", (0x40,), ()),
    ("SND-UD2", (0x43,), ()),
    ("SND-UD3", (0x45,), ()),
    ("SND-UD", (0x53, 0x73), ()),
    ("REQ-UD1", (0x5A, 0x7A), ()),
    ("REQ-UD2", (0x5B, 0x7B), ()),
    ("CNF-IR", (0x06,), ()),
    ("SND-NR", (), (0x44,)),
    ("SND-IR", (), (0x46,)),
    ("ACC-NR", (), (0x47,)),
    ("ACC-DMD", (), (0x48,)),
    ("ACK", (), (0x00, 0x10, 0x20, 0x30)),
    ("NACK", (), (0x01, 0x11, 0x21, 0x31)),
    ("RSP-UD", (), (0x08, 0x18, 0x28, 0x38)),
]
ROWS = [(name, code, False) for name, down, _ in MESSAGES for code in down] + [
    (name, code, True) for name, _, up in MESSAGES for code in up
]


@pytest.mark.parametrize(("name", "code", "uplink"), ROWS, ids=[f"{code:02X}" for _, code, _ in ROWS])
def test_messages(name, code, uplink):
    assert message_name(code) == name
    assert is_uplink(code) is uplink


@pytest.mark.parametrize("row", C_FIELD, ids=lambda row: f"{row.medium}-{row.code:02X}-{row.direction}")
def test_the_table_of_c_fields_says_the_same(row):
    assert message_name(row.code) == row.name
    assert ControlField(row.code).primary_message == row.prm
    if (row.code, row.direction) != (0x00, "down"):  # the gateway's ACK has the octet of the meter's
        assert is_uplink(row.code) is (row.direction == "up")


def test_codes_of_no_message():
    known = {code for _, code, _ in ROWS}
    names = {name for name, _, _ in MESSAGES}
    for code in range(256):
        name = message_name(code)
        if code & 0x80 or code & 0x0F in (0x2, 0x9, 0xC, 0xD, 0xE, 0xF):
            assert name == f"C={code:02X}"
        else:
            assert name == f"C={code:02X}" or name in names
        if code in known:
            assert name in names


@given(control_fields())
def test_bits_have_a_name_for_each_direction(control):
    assert control.function == control & 0x0F
    assert control.frame_count_valid == control.data_flow_control == control >> 4 & 1
    assert control.frame_count_bit == control.access_demand == control >> 5 & 1
    assert control.primary_message == control >> 6 & 1
    assert control.reserved == control >> 7


@pytest.mark.parametrize(("code", "name"), [(0x53, "SND-UD"), (0x5B, "REQ-UD2"), (0x5A, "REQ-UD1")])
def test_the_frame_count_bit_does_not_change_the_message(code, name):
    control = ControlField(code)
    assert message_name(control.replace(frame_count_bit=1)) == message_name(control) == name
    assert control.replace(frame_count_bit=1) == code | 0x20


@pytest.mark.parametrize(("code", "demand", "busy"), [(0x08, 0, 0), (0x18, 0, 1), (0x28, 1, 0), (0x38, 1, 1)])
def test_the_answer_tells_alarm_and_load(code, demand, busy):
    control = ControlField(code)
    assert (control.access_demand, control.data_flow_control) == (demand, busy)
    assert message_name(control) == "RSP-UD"
