"""SITP: blocks, structures, what a MAC covers, no keys in texts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openmetering.codec.apl.security_transfer import (
    IMMEDIATE,
    INVALID_TIME,
    Activation,
    CombinedActivation,
    KeyEntry,
    KeyList,
    KeyTransfer,
    SecuredData,
    SecurityTransfer,
    SitpBlock,
    StatusResponse,
    decode,
    target_time,
)
from openmetering.errors import DecodeError, NotRepresentable, OutOfRange, Truncated
from tests.codec.apl.protocol_vectors import assert_prefixes, attempt, octets_of, own, shared

KEY = bytes.fromhex("F0E1D2C3B4A5968778695A4B3C2D1E0F")


@pytest.mark.parametrize("vector", own("apl_protocols.toml", "sitp"))
def test_own_vectors(vector):
    octets = octets_of(vector)
    message = decode(octets)
    (block,) = message.blocks
    assert (block.control, block.structure, block.header.hex()) == (vector["control"], vector["structure"], vector["header"])
    assert message.rest.hex().upper() == vector.get("rest", "")
    content = block.read()
    if "status" in vector:
        assert content == StatusResponse(vector["status"])
    else:
        assert content.counter == vector["counter"]
        assert content.target_time.hex().upper() == vector["target_time"]
        assert content.immediate
        assert content.time.relative == 0
        assert (content.pid, content.protocol) == (vector["pid"], "m-bus")
        assert content.apdu.hex().upper() == vector["apdu"]
        assert content.mac.hex().upper() == vector["mac"]
        assert content.mac_input().hex().upper() == vector["mac_input"]
    assert content.encode() == block.content
    assert message.encode() == octets
    assert_prefixes(decode, octets)


PLAIN = {"key": KeyTransfer, "combined": CombinedActivation}


@pytest.mark.parametrize("vector", own("apl_protocols.toml", "sitp_plain"))
def test_plain_structures(vector):
    octets, kind = octets_of(vector), PLAIN[vector["kind"]]
    assert kind.decode(octets).encode() == octets
    for end in range(len(octets)):
        with pytest.raises(Truncated):
            kind.decode(octets[:end])
    with pytest.raises(DecodeError) as fault:
        kind.decode(octets + b"\x00")
    assert fault.value.code == "sitp.structure"


def _sitp(vector):
    return vector["frame_format"] == "sitp" or "sitp" in vector["expected"] or "sitp" in vector


@pytest.mark.parametrize("vector", shared("security.json", _sitp))
def test_shared_vectors(vector):
    expected = vector["expected"].get("sitp", vector["expected"])
    if "hex" in vector and vector["frame_format"] == "sitp":
        octets = octets_of(vector)
    else:
        octets = bytes.fromhex(vector["expected"]["tpl"]["plaintext"]).removeprefix(b"\x2f\x2f")
    message = decode(octets)
    (block,) = message.blocks
    assert len(block.content) + 6 == expected["bl"]
    for field, found in (("bid", block.block_id), ("recipient", block.recipient)):
        if field in expected:
            assert int(str(expected[field]), 16) == found
    for field, found in (("bcf", block.control), ("dsi", block.structure)):
        if field in expected:
            assert int(expected[field], 16) == found
    if "plain_structure" in expected:
        plain = bytes.fromhex(expected["plain_structure"])
        kind = KeyTransfer if block.structure == 1 else CombinedActivation
        assert kind.decode(plain).encode() == plain
        assert f"{kind.decode(plain).target_time[::-1].hex().upper()}" == expected["target_time"]
        assert block.wrapped
        assert block.content.hex().upper() == expected["wrapped"]
    if "icv" in expected:
        assert not block.wrapped
    if "status" in expected:
        assert block.read() == StatusResponse(int(expected["status"], 16))
    if "mac" in expected:
        data = block.read()
        assert data.counter == expected["key_counter"]
        assert data.mac.hex().upper() == expected["mac"]
        assert data.mac_input().hex().upper() == expected.get("mac_input", data.mac_input().hex().upper())
    assert message.encode() == octets


@pytest.mark.parametrize(
    "vector", shared("security.json", lambda v: "sitp_vector" in v or v["name"].startswith("RSP-UD key transfer"))
)
def test_blocks_of_complete_frames(vector):
    octets = bytes.fromhex(vector["expected"]["tpl"]["plaintext"]).removeprefix(b"\x2f\x2f")
    message = decode(octets)
    assert len(message.blocks) == 1
    assert message.rest == bytes((len(message.rest),)) * len(message.rest)
    assert message.encode() == octets


@pytest.mark.parametrize("vector", shared("annex_n_extra.json", lambda v: "sitp" in v["expected"]))
def test_annex_n(vector):
    expected = vector["expected"]["sitp"]
    message = decode(bytes.fromhex(vector["expected"]["plaintext"]).removeprefix(b"\x2f\x2f"))
    (block,) = message.blocks
    assert message.rest.hex() == expected["rest"]
    assert block.header.hex() == expected["dsh"]
    if "status" in expected:
        assert block.read().encode().hex() == expected["status"]
    else:
        data = block.read()
        assert (data.counter, data.target_time.hex(), f"{data.pid:02X}") == (
            expected["key_counter"],
            expected["target_time"],
            expected["pid"],
        )
        assert (data.apdu.hex().upper(), data.mac.hex().upper()) == (expected["apdu"], expected["mac"])


STATUS = SitpBlock(0, 0x80, 0x22, b"\x12\x00", b"\x00")


def test_several_blocks_and_the_end_mark():
    second = SitpBlock(1, 0x84, 0x22, b"\x12\x00", b"\x09", recipient=7)
    octets = STATUS.encode() + second.encode() + b"\x00\x00\x2f\x2f"
    message = decode(octets)
    assert message.blocks == (STATUS, second)
    assert message.rest == b"\x00\x00\x2f\x2f"
    assert message.encode() == octets


@pytest.mark.parametrize("rest", ["01", "0202", "05" * 5, "0F" * 15, "2F", "2F2F2F", "0000", "000000"])
def test_padding_and_end_behind_the_blocks(rest):
    message = decode(STATUS.encode() + bytes.fromhex(rest))
    assert (message.blocks, message.rest.hex().upper()) == ((STATUS,), rest)


@pytest.mark.parametrize(
    ("octets", "offset"),
    [
        ("", 0),
        ("07", 0),
        ("0700", 0),
        ("07000080002212", 0),
        ("070000800022120000" + "07", 9),
        ("070000800022120000" + "0505", 9),
    ],
)
def test_truncation(octets, offset):
    with pytest.raises(Truncated) as fault:
        decode(bytes.fromhex(octets))
    assert (fault.value.layer, fault.value.offset) == ("apl", offset)


def test_padding_alone_is_no_message():
    with pytest.raises(Truncated):
        decode(b"\x05" * 5)
    assert decode(b"\x00\x00") == SecurityTransfer((), b"\x00\x00")


@pytest.mark.parametrize("length", [1, 5])
def test_a_block_needs_its_header(length):
    with pytest.raises(DecodeError) as fault:
        decode(bytes((length, 0)) + bytes(length))
    assert (fault.value.code, fault.value.offset) == ("sitp.block", 0)


def test_the_answer_repeats_id_recipient_and_header():
    command = SitpBlock(3, 0x20, 0x32, b"\x20\x01", b"", recipient=9)
    answer = command.answer(0x22, StatusResponse(0x19).encode())
    assert answer == SitpBlock(3, 0xA0, 0x22, b"\x20\x01", b"\x19", recipient=9)
    assert (command.response, answer.response) == (False, True)
    assert (answer.key_id, answer.key_version) == (0x20, 1)
    assert answer.service == command.service == "end-to-end secured application data"
    assert answer.structure_name == "status response"


def test_unknown_services_and_structures_are_kept():
    block = SitpBlock(0, 0x4F, 0x4F, b"\x00\x00", b"abc")
    assert (block.service, block.structure_name, block.read()) == ("", "", None)
    assert decode(block.encode()).blocks == (block,)


def test_key_lists():
    pairs = KeyList((KeyEntry(0, 1), KeyEntry(0x20, 0xFF)))
    counters = KeyList((KeyEntry(0, 1, 0), KeyEntry(0x20, 2, 0x01020304)))
    assert pairs.encode().hex() == "000120ff"
    assert counters.encode().hex() == "000100000000" + "200204030201"
    assert SitpBlock(0, 0x88, 0x21, b"\xff\xff", pairs.encode()).read() == pairs
    assert SitpBlock(0, 0x89, 0x23, b"\xff\xff", counters.encode()).read() == counters
    for structure in (0x21, 0x23):
        with pytest.raises(Truncated) as fault:
            SitpBlock(0, 0x88, structure, b"\xff\xff", bytes(7)).read()
        assert fault.value.offset == 6
    with pytest.raises(NotRepresentable):
        KeyList((KeyEntry(0, 1), KeyEntry(0, 1, 0))).encode()
    with pytest.raises(OutOfRange):
        KeyList((KeyEntry(0, 1, 1 << 32),)).encode()


def test_status_responses():
    assert (StatusResponse(0).success, StatusResponse(1).success, StatusResponse(0x19).success) == (True, True, False)
    assert StatusResponse(0x23).name == "TargetTime error"
    assert StatusResponse.decode(b"\x00\x2f") == StatusResponse(0, b"\x2f")
    assert StatusResponse(0, b"\x2f").encode() == b"\x00\x2f"
    with pytest.raises(Truncated):
        StatusResponse.decode(b"")


def test_secured_data_with_the_long_mac():
    data = SecuredData(IMMEDIATE, 1, 6, b"\x04\x01A", bytes(range(16)))
    assert SitpBlock(0, 0x20, 0x33, b"\x23\x00", data.encode()).read() == data
    assert data.protocol == "image"
    assert SecuredData(IMMEDIATE, 1, 0x77, b"", bytes(8)).protocol == ""
    assert SecuredData.decode(bytes(18)).apdu == b""
    for reader, size in ((SecuredData.decode, 18), (SecuredData.decode_long, 26)):
        with pytest.raises(Truncated):
            reader(bytes(size - 1))


def test_target_times():
    assert target_time(0) == IMMEDIATE
    assert target_time(120).hex() == "7800000030"
    assert Activation(INVALID_TIME, 0x20, 1).time is None
    assert Activation(target_time(120), 0x20, 1).time.relative == 120
    assert not Activation(target_time(120), 0x20, 1).immediate
    for seconds in (-1, 1 << 31):
        with pytest.raises(OutOfRange):
            target_time(seconds)


def test_activations():
    one = Activation(INVALID_TIME, 0x81, 0xFF)
    assert one.encode().hex() == "000000803081ff"
    assert Activation.decode(one.encode()) == one
    both = CombinedActivation(IMMEDIATE, 0, 1, 0, 0, 1)
    assert both.resets_counter
    assert CombinedActivation.decode(both.encode()) == both


@pytest.mark.parametrize(
    "structure",
    [
        KeyTransfer(IMMEDIATE, b"short", 0, 0),
        KeyTransfer(b"", KEY, 0, 0),
        KeyTransfer(IMMEDIATE, KEY, 256, 0),
        Activation(b"", 0, 0),
        Activation(IMMEDIATE, 0, -1),
        CombinedActivation(IMMEDIATE, 0, 0, 0, 0, 256),
        StatusResponse(256),
        KeyList((KeyEntry(256, 0),)),
        SecuredData(IMMEDIATE, 1 << 32, 1, b"", bytes(8)),
        SecuredData(IMMEDIATE, 0, 256, b"", bytes(8)),
        SecuredData(b"", 0, 1, b"", bytes(8)),
        SecuredData(IMMEDIATE, 0, 1, b"", bytes(9)),
        SitpBlock(256, 0, 0, b"\x00\x00", b""),
        SitpBlock(0, 0, 0, b"\x00", b""),
        SitpBlock(0, 0, 0, b"\x00\x00", bytes(65530)),
    ],
)
def test_what_cannot_be_sent(structure):
    with pytest.raises(OutOfRange):
        structure.encode()


@pytest.mark.parametrize("header", [b"\xff\xff", b"\x12\x00"])
def test_keys_stay_out_of_texts(header):
    transfer = KeyTransfer(INVALID_TIME, KEY, 0, 1)
    block = SitpBlock(0, 0, 0x01, header, transfer.encode())
    texts = [
        repr(transfer),
        repr(block),
        repr(SecurityTransfer((block,))),
        str(transfer.__rich_repr__()),
        str(block.__rich_repr__()),
    ]
    for text in texts:
        assert KEY.hex() not in text.lower()
        assert repr(KEY) not in text
    assert "<23 octets>" in repr(block)
    assert "19" in repr(SitpBlock(0, 0x80, 0x22, b"\x12\x00", b"\x19"))
    for octets in (KEY, transfer.encode() + b"\x00"):
        with pytest.raises(DecodeError) as fault:
            KeyTransfer.decode(octets)
        assert KEY not in fault.value.octets
    assert "F0" not in repr(transfer).upper()


OCTET = st.integers(0, 255)
BLOCKS = st.builds(SitpBlock, OCTET, OCTET, OCTET, st.binary(min_size=2, max_size=2), st.binary(max_size=40), OCTET)


@given(st.lists(BLOCKS, min_size=1, max_size=5).map(tuple))
def test_blocks_round_trip(blocks):
    assert decode(SecurityTransfer(blocks).encode()) == SecurityTransfer(blocks)


@given(
    st.builds(
        SecuredData,
        st.binary(min_size=5, max_size=5),
        st.integers(0, 0xFFFFFFFF),
        OCTET,
        st.binary(max_size=60),
        st.binary(min_size=8, max_size=8),
    )
)
def test_secured_data_round_trip(data):
    assert SecuredData.decode(data.encode()) == data


@given(st.binary(max_size=80))
def test_any_octets(octets):
    message, fault = attempt(decode, octets)
    if fault is not None:
        assert fault.layer == "apl"
        return
    assert message.encode() == octets
    for block in message.blocks:
        try:
            content = block.read()
        except DecodeError:
            continue
        assert content is None or content.encode() == block.content
