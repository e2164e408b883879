"""Application errors: codes, names, empty answers, records of dynamic errors."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openmetering.codec.apl.application_error import ApplicationError, decode
from openmetering.errors import NotRepresentable, OutOfRange
from openmetering.tables import APPLICATION_ERRORS
from tests.codec.apl.protocol_vectors import octets_of, own, shared


@pytest.mark.parametrize("vector", own("apl_protocols.toml", "error"))
def test_own_vectors(vector):
    octets = octets_of(vector)
    error = decode(octets)
    assert error.code == vector["code"]
    assert error.name == vector["title"]
    assert error.additional == octets[1:]
    assert error.encode() == octets


@pytest.mark.parametrize("vector", shared("application.json", lambda v: v["name"].startswith("constructed_app_error")))
def test_shared_vectors(vector):
    octets = octets_of(vector)[1:]
    error = decode(octets)
    assert error.code == int(vector["expected"]["error_code"], 16)
    assert error.code in APPLICATION_ERRORS
    assert error.meaning
    assert error.encode() == octets


@pytest.mark.parametrize("vector", shared("annex_n_extra.json", lambda v: v["name"] == "N.9 application error answer"))
def test_annex_n(vector):
    octets = octets_of(vector)[-1:]
    assert f"{decode(octets).code:02X}" == vector["expected"]["error"]


def test_an_empty_answer_means_unspecified():
    error = decode(b"")
    assert (error.code, error.name, error.empty) == (0, "unspecified error", True)
    assert error.encode() == b""
    assert decode(b"\x00") == ApplicationError(0)
    assert decode(b"\x00").encode() == b"\x00"


@pytest.mark.parametrize("error", [ApplicationError(1, b"", empty=True), ApplicationError(0, b"\x01", empty=True)])
def test_an_empty_answer_carries_nothing(error):
    with pytest.raises(NotRepresentable):
        error.encode()


@pytest.mark.parametrize("code", [-1, 256])
def test_the_code_is_one_octet(code):
    with pytest.raises(OutOfRange):
        ApplicationError(code).encode()


def test_a_dynamic_error_carries_records():
    error = decode(bytes.fromhex("F00413E8030000"))
    assert [(record.quantity, str(record.value)) for record in error.records] == [("volume", "1.000")]
    assert decode(bytes.fromhex("150413E8030000")).records == ()


def test_unknown_codes_have_no_meaning():
    assert (decode(b"\x99").name, decode(b"\x99").meaning) == ("reserved", "")


@given(st.binary(max_size=20))
def test_octets_survive(octets):
    assert decode(octets).encode() == octets
