"""Application reset, select, request and response."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openmetering.codec.apl.application_select import (
    ApplicationRequest,
    ApplicationReset,
    decode_request,
    decode_reset,
    decode_response,
    sub_code,
)
from openmetering.errors import NotRepresentable, OutOfRange
from tests.codec.apl.protocol_vectors import octets_of, own, shared


@pytest.mark.parametrize("vector", own("apl_protocols.toml", "select"))
@pytest.mark.parametrize("decode", [decode_reset, decode_request])
def test_own_vectors(decode, vector):
    octets = octets_of(vector)
    selection = decode(octets)
    assert (selection.application, selection.block, selection.name) == (vector["application"], vector["block"], vector["title"])
    assert selection.encode() == octets
    assert sub_code(selection.application, selection.block) == octets


@pytest.mark.parametrize("vector", shared("application.json", lambda v: "subcode" in v.get("expected", {})))
def test_shared_vectors(vector):
    octets = octets_of(vector)[7:-2]
    selection = decode_reset(octets)
    assert selection == ApplicationReset.select(int(vector["expected"]["subcode"][0], 16))
    assert selection.encode() == octets == bytes.fromhex(vector["expected"]["subcode"])


def test_no_parameter_is_a_reset():
    reset = decode_reset(b"")
    assert reset.reset
    assert (reset.application, reset.block, reset.name, reset.encode()) == (None, None, "", b"")
    assert not decode_reset(b"\x00").reset


def test_a_longer_parameter_is_kept_raw():
    selection = decode_request(b"\x10\x20")
    assert (selection.application, selection.block, selection.name) == (None, None, "")
    assert selection == ApplicationRequest(b"\x10\x20")


@pytest.mark.parametrize("application", [16, 18, 57, 255])
def test_applications_above_15_have_no_public_coding(application):
    with pytest.raises(NotRepresentable) as fault:
        ApplicationReset.select(application)
    assert fault.value.code == "application.coding"
    assert fault.value.value == application
    assert ApplicationReset.select(application, raw=b"\xab\xcd").encode() == b"\xab\xcd"


@pytest.mark.parametrize(("application", "block"), [(-1, 0), (0, -1), (0, 16)])
def test_numbers_out_of_range(application, block):
    with pytest.raises(OutOfRange):
        sub_code(application, block)


def test_a_response_carries_records():
    response = decode_response(bytes.fromhex("0C13270485022F0F0102"))
    assert [str(record) for record in response.records] == ["volume: 2850.427 m3"]
    assert response.parsed().manufacturer_data == b"\x01\x02"
    assert response.encode().hex() == "0c13270485022f0f0102"


@given(st.integers(0, 15), st.integers(0, 15))
def test_all_sub_codes(application, block):
    selection = decode_reset(sub_code(application, block))
    assert (selection.application, selection.block) == (application, block)
    assert selection.name
