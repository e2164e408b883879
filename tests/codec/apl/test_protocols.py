"""The table of protocols: complete, only our errors, encode gives the octets back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openmetering.codec.apl.opaque import Opaque
from openmetering.codec.apl.protocols import PROTOCOLS
from openmetering.tables import CONTROL_INFORMATION, FAULTS, SITP_PID
from tests.codec.apl.protocol_vectors import attempt

#: read by the record parser and the layers, not by this table
ELSEWHERE = {"m-bus", "compact", "format", "big-endian", "application-response", "ell", "nwl", "afl"}


def test_every_protocol_of_the_ci_table_has_a_reader():
    named = {entry.protocol for entry in CONTROL_INFORMATION if entry is not None}
    assert named == set(PROTOCOLS) | ELSEWHERE
    assert not set(PROTOCOLS) & ELSEWHERE
    assert set(SITP_PID.values()) <= named


@pytest.mark.parametrize("protocol", ["dlms", "sml", "manufacturer", "network-management", "none", "baud-rate", "dlms-segment"])
def test_opaque_protocols_know_their_name(protocol):
    assert PROTOCOLS[protocol](b"\x01\x02") == Opaque(protocol, b"\x01\x02")


def test_a_device_is_selected_by_its_address():
    octets = bytes.fromhex("78563412931533030C7844332211")
    selection = PROTOCOLS["select-device"](octets)
    assert str(selection.pattern) == "ELS-12345678-33-03"
    assert selection.encode() == octets


@pytest.mark.parametrize("protocol", sorted(PROTOCOLS))
@given(octets=st.binary(max_size=64))
def test_any_octets(protocol, octets):
    message, fault = attempt(PROTOCOLS[protocol], octets)
    if fault is not None:
        assert fault.code in FAULTS
        assert fault.layer
        return
    assert message.encode() == octets
