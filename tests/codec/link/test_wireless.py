"""Wireless frames: formats A and B, CRCs given and taken, L rewritten between them, every block size."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from openmetering.codec.address import Address
from openmetering.codec.link.control import ControlField
from openmetering.codec.link.wireless import FORMATS, WirelessFrame, frame, strip_crc, unframe
from openmetering.errors import BadChecksum, DecodeError, NotRepresentable, OutOfRange, Truncated
from openmetering.wire import crc16_octets
from tests.strategies import addresses, control_fields, wireless_frames
from tests.vector_files import assert_ours, assert_prefixes_raise, octets, own, shared

METER = Address.parse("ELS-12345678-33-03")


def filled(count, frame_format=None, *, crc=True):
    """A frame with that many octets behind the address."""
    data = bytes(11 * at + count & 0xFF for at in range(count))
    return WirelessFrame(ControlField(0x44), METER, data, frame_format, crc and frame_format is not None)


@pytest.mark.parametrize("vector", own("spec/link_wireless.toml", "frame"))
def test_both_directions(vector):
    plain = octets(vector["plain"])
    link = WirelessFrame(ControlField(vector["control"]), Address.parse(vector["address"]), plain[10:])
    assert unframe(plain) == unframe(plain, crc=False) == (link, b"")
    assert (link.octets(), link.encode()) == (plain, plain)
    assert link.message == vector["message"]
    assert type(unframe(plain)[0].control) is ControlField
    assert_prefixes_raise(unframe, plain, "link")
    for name in FORMATS:
        if name.lower() not in vector:
            continue
        on_air = octets(vector[name.lower()])
        checked = replace(link, frame_format=name, crc=True)
        assert frame(plain, name) == on_air
        assert strip_crc(on_air, name) == plain
        assert unframe(on_air, name) == unframe(on_air, name, crc=True) == (checked, b"")
        assert checked.encode() == on_air
        assert checked.octets() == plain
        assert unframe(on_air + b"\x01\x02", name) == (checked, b"\x01\x02")
        if link.data:  # without data the only CRC of format B stands where format A has its first one
            assert unframe(on_air) == (checked, b"")
            assert unframe(on_air + b"\x01\x02") == (checked, b"\x01\x02")
        assert_prefixes_raise(lambda data, name=name: unframe(data, name), on_air, "link")


@pytest.mark.parametrize("vector", own("malformed/link_wireless.toml", "frame"))
def test_malformed(vector):
    data = octets(vector["hex"])
    with pytest.raises(DecodeError) as caught:
        unframe(data, vector.get("as"))
    error = caught.value
    assert (error.code, error.layer, error.offset) == (vector["code"], "link", vector["offset"])
    assert isinstance(error, BadChecksum) == (error.code == "frame.crc")
    assert isinstance(error, Truncated) == (error.code == "frame.truncated")


def test_a_checksum_error_names_both_values():
    disturbed = b"\x2e\x45" + octets("931578563412330333637A2A0020255923C95AAA26D1B2E7493BC2AD") + bytes(25)
    with pytest.raises(BadChecksum, match=f"CRC 3363h, computed {crc16_octets(disturbed[:10]).hex().upper()}h"):
        unframe(disturbed, "A")


@pytest.mark.parametrize("vector", shared("security.json", lambda row: "hex_with_crc" in row))
def test_shared_frames(vector):
    on_air, plain, expected = octets(vector["hex_with_crc"]), octets(vector["hex"]), vector["expected"]
    name = "B" if vector["frame_format"] == "B" else "A"
    link, rest = unframe(on_air)
    assert (link.frame_format, link.crc, rest) == (name, True, b"")
    assert (link.octets(), link.encode()) == (plain, on_air)
    assert frame(plain, name) == on_air
    assert replace(link, frame_format=None, crc=False) == unframe(plain)[0]
    assert int(link.control) == int(expected.get("c_field", f"{int(link.control):02X}"), 16)
    assert link.message == expected.get("message", link.message)
    assert on_air[0] == int(expected.get("l_field", f"{on_air[0]:02X}"), 16)
    if "lla" in expected:
        lla = expected["lla"]
        address = link.address
        assert address.link_octets()[:2] == octets(lla["manufacturer_hex"])
        assert (address.flag, address.identification) == (lla["manufacturer"], lla["ident"])
        assert (address.version, address.device_type) == (lla["version"], int(lla["device_type"], 16))
    if "second_crc" in expected:
        assert on_air[-2:] == octets(expected["second_crc"])
        at = expected["first_crc_after_byte"]
        assert crc16_octets(on_air[:at]) == on_air[at : at + 2]


@pytest.mark.parametrize("vector", shared("application.json", lambda row: row["kind"].startswith("wmbus")))
def test_shared_application_frames(vector):
    data = octets(vector["hex"])
    link, rest = unframe(data)
    assert (rest, link.encode()) == (b"", data)
    assert link.crc == vector["kind"].endswith("with-crc")
    assert link.octets() == octets(vector.get("stripped", link.octets().hex()))
    expected = vector["expected"].get("link")
    if expected:
        assert (link.octets()[0], f"{int(link.control):02X}") == (expected["L"], expected["C"])
        assert (link.address.flag, link.address.identification) == (expected["manufacturer"], expected["ident"])


# -- sizes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", range(247))
def test_format_a_of_every_length(count):
    link = filled(count, "A")
    on_air = link.encode()
    blocks = 1 + -(-count // 16)
    assert on_air[0] == 9 + count
    assert len(on_air) == 10 + count + 2 * blocks
    assert unframe(on_air) == (link, b"")
    at, left = 0, 10 + count
    for size in [10] + [16] * (blocks - 1):
        block = on_air[at : at + min(size, left)]
        assert on_air[at + len(block) :][:2] == crc16_octets(block)
        at, left = at + len(block) + 2, left - len(block)
    assert at == len(on_air)


def test_the_longest_frame_has_290_octets_on_air():
    on_air = filled(246, "A").encode()
    assert (on_air[0], len(on_air)) == (255, 290)
    for name in (None, "A"):
        with pytest.raises(OutOfRange) as caught:
            filled(247, name).encode()
        assert caught.value.field == "data"


@pytest.mark.parametrize("count", range(243))
def test_format_b_of_every_length(count):
    link = filled(count, "B")
    on_air = link.encode()
    crcs = 1 if count <= 116 else 2
    assert on_air[0] == len(on_air) - 1 == 9 + count + 2 * crcs
    assert unframe(on_air, "B") == (link, b"")
    if count:
        assert unframe(on_air) == (link, b"")
    assert on_air[0] <= 127 if crcs == 1 else on_air[0] >= 130
    first = min(len(on_air) - 2, 126)
    assert on_air[first : first + 2] == crc16_octets(on_air[:first])
    if crcs == 2:
        assert on_air[-2:] == crc16_octets(on_air[128:-2])


def test_format_b_holds_four_octets_less():
    assert filled(242, "B").encode()[0] == 255
    with pytest.raises(OutOfRange) as caught:
        filled(243, "B").encode()
    assert (caught.value.field, caught.value.value) == ("length", 256)


@given(wireless_frames("B"))
def test_L_is_rewritten_between_the_formats(link):
    plain = link.octets()
    as_a, as_b = frame(plain, "A"), frame(plain, "B")
    assert as_a[0] == plain[0]
    assert as_b[0] - as_a[0] in (2, 4)
    assert strip_crc(as_a, "A") == strip_crc(as_b, "B") == plain
    assert replace(unframe(as_a, "A")[0], frame_format="B").encode() == as_b
    assert replace(unframe(as_b, "B")[0], frame_format="A").encode() == as_a
    assert replace(unframe(as_b, "B")[0], frame_format=None, crc=False).encode() == plain


# -- detection ---------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 5, 15, 16, 17, 40, 100, 246])
def test_a_frame_whose_first_crc_was_taken_away(count):
    """Some receivers check the first block and deliver the others with their CRCs."""
    on_air = filled(count, "A").encode()
    assert unframe(on_air[:10] + on_air[12:]) == (filled(count, "A"), b"")


def test_a_frame_of_that_length_without_crcs_stays_as_it_is():
    plain = filled(20).octets()
    assert unframe(plain + b"\x00\x00\x00\x00") == (filled(20), b"\x00\x00\x00\x00")


@pytest.mark.parametrize("count", [30, 40, 100, 200])
def test_ci_and_access_number_may_look_like_the_first_crc(count):
    """One frame without CRCs in 65 536: the block behind shows that they are none."""
    plain = filled(count).octets()
    plain = plain[:10] + crc16_octets(plain[:10]) + plain[12:]
    assert unframe(plain) == unframe(plain, crc=False)
    assert unframe(plain)[0].frame_format is None
    assert unframe(frame(plain, "A"))[0].octets() == plain


@given(wireless_frames("A") | wireless_frames("B") | wireless_frames(None, crc=False))
def test_named_formats_round_trip(link):
    data = link.encode()
    if link.crc:
        assert unframe(data, link.frame_format) == (link, b"")
    else:
        assert unframe(data, crc=False) == (link, b"")


@given(wireless_frames("A"))
def test_format_a_is_found(link):
    data = link.encode()
    assert unframe(data) == (link, b"")


@given(control_fields(), addresses(), st.binary(max_size=60), st.sampled_from(FORMATS), st.booleans())
def test_a_format_may_be_named_for_octets_without_crcs(control, address, data, name, crc):
    link = WirelessFrame(control, address, data, name, crc)
    assert unframe(link.encode(), name, crc=crc) == (link, b"")


@given(wireless_frames("A") | wireless_frames("B"), st.data())
def test_a_changed_octet_never_passes_a_named_format(link, draws):
    data = bytearray(link.encode())
    at = draws.draw(st.integers(1, len(data) - 1))
    data[at] ^= draws.draw(st.integers(1, 255))
    with pytest.raises(BadChecksum) as caught:
        unframe(bytes(data), link.frame_format)
    assert_ours(caught.value, "link", bytes(data))
    assert caught.value.offset >= at - 126


@given(
    st.binary(max_size=60) | st.tuples(st.integers(9, 40), st.binary(min_size=9, max_size=60)).map(lambda p: bytes(p[:1]) + p[1])
)
def test_any_octets_raise_only_our_errors(data):
    for name in (None, *FORMATS):
        try:
            link, rest = unframe(data, name)
        except DecodeError as error:
            assert_ours(error, "link", data)
        else:
            if link.crc and len(link.encode()) + len(rest) == len(data):
                assert link.encode() + rest == data
            else:
                assert link.octets()[1:] in data or name is None


# -- what cannot be ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["C", "a", "", "AB"])
def test_unknown_formats(name):
    for change in (frame, strip_crc):
        with pytest.raises(NotRepresentable) as caught:
            change(filled(3).octets(), name)
        assert (caught.value.field, caught.value.value) == ("frame_format", name)


def test_a_control_field_takes_one_octet():
    with pytest.raises(OutOfRange):
        WirelessFrame(ControlField(0x144), METER, b"").encode()


def test_an_address_that_does_not_fit():
    with pytest.raises(OutOfRange):
        WirelessFrame(ControlField(0x44), Address(0x10000, "12345678", 0, 0), b"").encode()


@pytest.mark.parametrize("size", [2, 5, 16, 17, 32, 40])
def test_the_last_crc_alone_with_l_two_too_small(size):
    """As rtl_433 prints frames: the CRC of the last block proves what was done; without it the octets are a rest."""
    plain = bytes((9 + size, 0x44)) + bytes.fromhex("9315785634123303") + bytes(range(size))
    last = frame(plain, "A")[-2:]
    shifted = bytes((plain[0] - 2,)) + plain[1:] + last
    link, rest = unframe(shifted)
    assert (link.octets(), link.frame_format, rest) == (plain, "A", b"")
    changed = shifted[:-1] + bytes((shifted[-1] ^ 1,))
    if 3 <= size <= 18:  # as long as a frame of format A with two CRCs, which then are wrong
        with pytest.raises(BadChecksum):
            unframe(changed)
    else:
        link, rest = unframe(changed)
        assert (link.crc, rest) == (False, changed[-4:])
