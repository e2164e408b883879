"""Image transfer in the provisional layout, and the door for another one."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openmetering.codec.apl import image_transfer
from openmetering.codec.apl.image_transfer import LAYOUTS, ImageMac, ImageMessage, decode, register, use
from openmetering.errors import InputError, NotRepresentable, OutOfRange, Truncated
from tests.codec.apl.protocol_vectors import assert_prefixes, attempt, octets_of, of_kind, own, shared


@pytest.mark.parametrize("vector", own("apl_protocols.toml", "image"))
def test_own_vectors(vector):
    octets = octets_of(vector)
    message = decode(octets)
    assert message.function == octets[0]
    for field, stated in vector["expected"].items():
        found = getattr(message, field)
        found = found.hex().upper() if isinstance(found, bytes) else list(found) if isinstance(found, tuple) else found
        assert found == stated, field
    assert message.provisional
    assert message.layout == "P0"
    assert message.encode() == octets
    assert_prefixes(decode, octets)


@pytest.mark.parametrize("vector", shared("application.json", of_kind("image-transfer-apdu")))
def test_shared_vectors(vector):
    octets, expected = octets_of(vector), vector["expected"]
    message = decode(octets)
    assert message.function == int(expected["function"], 16)
    assert message.provisional
    if "image_id" in expected:
        assert message.identifier == expected["image_id"].encode()
    for field in ("image_size", "block_size", "block", "lost_total"):
        if field in expected:
            assert getattr(message, field) == expected[field]
    if "lost" in expected:
        assert list(message.lost) == expected["lost"]
    if "length" in expected:
        assert len(message.data) == expected["length"]
    if "mac" in expected:
        mac = ImageMac(expected["mac_alg"], int(expected["key_id"], 16), expected["key_version"], bytes.fromhex(expected["mac"]))
        assert message.mac == mac
    assert message.encode() == octets


def test_names():
    assert decode(b"\x84\x01A\x09").state_name == "validation successful"
    assert decode(b"\x84\x01A\x01").state_name == "reserved"
    assert decode(b"\x84\x01A").state_name == ""
    assert decode(b"\x84\x01A").name == "state"
    assert decode(b"\x84\x01A").response
    assert not decode(b"\x07\x01A").response
    assert decode(b"\x7f").name == "reserved"


def test_functions_without_known_fields_are_kept():
    message = decode(b"\x01\xaa\xbb")
    assert (message.name, message.identifier, message.additional) == ("synchronise", None, b"\xaa\xbb")
    assert message.encode() == b"\x01\xaa\xbb"


def test_octets_behind_the_fields_are_kept():
    message = decode(b"\x07\x01A\x02")
    assert message.additional == b"\x02"
    assert message.encode() == b"\x07\x01A\x02"


def test_a_list_of_lost_blocks_may_be_cut():
    message = decode(bytes.fromhex("83014105000100020003"))
    assert (message.lost_total, message.lost, message.additional) == (5, (1, 2), b"\x03")  # a datagram holds what it holds
    assert message.encode() == bytes.fromhex("83014105000100020003")


@pytest.mark.parametrize(
    ("octets", "offset"),
    [("", 0), ("00", 1), ("000556", 2), ("00015601000000", 7), ("000156010000000100", 9), ("0601560000", 3), ("0201560A", 3)],
)
def test_truncation_names_the_offset(octets, offset):
    with pytest.raises(Truncated) as fault:
        decode(bytes.fromhex(octets))
    assert (fault.value.layer, fault.value.offset, fault.value.code) == ("apl", offset, "frame.truncated")


MAC = ImageMac(4, 0x18, 0, bytes(16))


@pytest.mark.parametrize(
    ("message", "error"),
    [
        (ImageMessage(256), OutOfRange),
        (ImageMessage(4), OutOfRange),
        (ImageMessage(4, b"x" * 256), OutOfRange),
        (ImageMessage(0, b"A", mac=MAC), OutOfRange),
        (ImageMessage(0, b"A", 1 << 32, 1, MAC), OutOfRange),
        (ImageMessage(0, b"A", 1, 1), NotRepresentable),
        (ImageMessage(0, b"A", 1, 1, msgspec.structs.replace(MAC, mac=b"")), OutOfRange),
        (ImageMessage(0, b"A", 1, 1, msgspec.structs.replace(MAC, key_id=-1)), OutOfRange),
        (ImageMessage(2, b"A", block=65536), OutOfRange),
        (ImageMessage(6, b"A"), OutOfRange),
        (ImageMessage(6, b"A", time=b"1234"), OutOfRange),
        (ImageMessage(0x83, b"A", lost_total=1, lost=(65536,)), OutOfRange),
        (ImageMessage(0x84, b"A", state=256), OutOfRange),
        (ImageMessage(4, b"A", layout="P9"), InputError),
    ],
)
def test_what_cannot_be_sent(message, error):
    with pytest.raises(error):
        message.encode()


class FirstOctetOnly:
    """A layout that knows nothing but the function."""

    name = "test"

    def decode(self, octets):
        return ImageMessage(octets[0], additional=octets[1:], layout=self.name, provisional=False)

    def encode(self, message):
        return message.additional


@pytest.fixture
def other_layout():
    register(FirstOctetOnly())
    use("test")
    yield
    use("P0")
    del LAYOUTS["test"]


def test_another_layout_can_be_switched_in(other_layout):
    octets = bytes.fromhex("070456312E32")
    message = decode(octets)
    assert (message.layout, message.provisional, message.identifier) == ("test", False, None)
    assert message.encode() == octets
    use("P0")
    assert decode(octets).identifier == b"V1.2"
    assert message.encode() == octets  # a message is written in the layout it was read with


def test_a_layout_must_be_known():
    with pytest.raises(InputError) as fault:
        use("EN")
    assert fault.value.code == "image.layout"
    assert "P0" in str(fault.value)
    assert image_transfer.decode(b"\x07\x01A").layout == "P0"


NUMBERS = st.integers(0, 0xFFFF)


@given(st.binary(max_size=255), NUMBERS, st.binary(max_size=200))
def test_transfer_round_trip(identifier, block, data):
    message = ImageMessage(2, identifier, block=block, data=data)
    assert decode(message.encode()) == message


@given(st.binary(max_size=20), st.lists(NUMBERS, max_size=20).map(tuple))
def test_completion_round_trip(identifier, lost):
    message = ImageMessage(0x83, identifier, lost_total=len(lost), lost=lost)
    assert decode(message.encode()) == message


@given(st.binary(max_size=60))
def test_any_octets(octets):
    message, fault = attempt(decode, octets)
    if fault is not None:
        assert fault.layer == "apl"
        return
    assert message.encode() == octets
