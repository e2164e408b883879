"""CI 76: everything most significant octet first, turned into the order of CI 72."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openmetering.codec.apl.big_endian import HEADER_SIZE, to_big_endian, to_little_endian
from openmetering.codec.apl.records import parse
from openmetering.errors import OmsError, Truncated

HEADER_LITTLE = bytes.fromhex("78563412931533032A000125")
HEADER_BIG = bytes.fromhex("12345678159333032A002501")

#: record as CI 72 sends it, as CI 76 sends it
RECORDS = [
    ("0C1427048502", "0C1402850427"),  # BCD
    ("026C1F15", "026C151F"),  # date
    ("046D32371F15", "046D151F3732"),  # date and time
    ("055B0000C841", "055B41C80000"),  # real
    ("01FD1700", "01FD1700"),  # one octet
    ("8B6004010203", "8B6004030201"),  # DIFE
    ("C8137E", "C8137E"),  # no data
    ("0D7806414243313233", "0D7806333231434241"),  # text: last character first only in CI 72
    ("0DFD3B03010203", "0DFD3B03010203"),  # container: raw
    ("0D931F056901030211", "0D931F056901030211"),  # compact profile: raw
    ("0D13E2D204", "0D13E204D2"),  # binary of variable length
    ("0D13C21234", "0D13C23412"),  # BCD of variable length
    ("047C0263610D0C0B0A", "047C0261630A0B0C0D"),  # plain text unit
    ("02FC74026341140D", "02FC740241630D14"),  # plain text unit with extension
    ("02FC0348522574440D", "02FC03255248740D44"),  # plain text in front of the extension
]


@pytest.mark.parametrize(("little", "big"), RECORDS, ids=[big for _, big in RECORDS])
def test_records(little, big):
    little, big = bytes.fromhex(little), bytes.fromhex(big)
    assert to_little_endian(HEADER_BIG + big) == HEADER_LITTLE + little
    assert to_big_endian(HEADER_LITTLE + little) == HEADER_BIG + big


def test_fillers_and_a_block_of_the_maker_stay():
    big = HEADER_BIG + bytes.fromhex("2F2F0413000003E82F7F0F01020304")
    little = HEADER_LITTLE + bytes.fromhex("2F2F0413E80300002F7F0F01020304")
    assert to_little_endian(big) == little


def test_the_ordinary_parser_reads_the_result():
    payload = to_little_endian(HEADER_BIG + bytes.fromhex("026C23120C0F005853403A3D0263"))
    parsed = parse(payload, HEADER_SIZE)
    assert [str(record) for record in parsed.records] == ["date: 2016-03-18", "energy: 5853400000000 J", "volume flow: 26.3 m3/h"]


@pytest.mark.parametrize(
    "tail",
    ["0413000003", "0413", "04", "0DFD", "0D13CAFF", "0D13", "04" + "93" * 12 + "13", "3F0102"],
)
def test_a_structural_fault_is_left_to_the_parser(tail):
    good, bad = bytes.fromhex("0413000003E8"), bytes.fromhex(tail)
    payload = to_little_endian(HEADER_BIG + good + bad)
    assert payload == HEADER_LITTLE + bytes.fromhex("0413E8030000") + bad
    parsed = parse(payload, HEADER_SIZE)
    assert parsed.fault is not None
    assert parsed.rest == bad


@pytest.mark.parametrize("end", range(HEADER_SIZE))
def test_a_short_header(end):
    with pytest.raises(Truncated) as fault:
        to_little_endian(HEADER_BIG[:end])
    assert (fault.value.layer, fault.value.offset) == ("apl", 0)


@given(st.lists(st.sampled_from([little for little, _ in RECORDS]), max_size=8))
def test_the_exchange_is_its_own_inverse(records):
    octets = HEADER_LITTLE + bytes.fromhex("".join(records))
    assert to_little_endian(to_big_endian(octets)) == octets


@given(st.binary(max_size=80))
def test_any_octets_keep_their_length(octets):
    try:
        turned = to_little_endian(octets)
    except OmsError:
        assert len(octets) < HEADER_SIZE
        return
    assert len(turned) == len(octets)
    assert sorted(turned) == sorted(octets)
