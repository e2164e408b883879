"""Wired frames: every kind in both directions, limits, faults with their place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openmetering.codec.address import Address, Selection
from openmetering.codec.link.control import ControlField
from openmetering.codec.link.wired import ACK, BROADCAST, SELECTED, TEST, WiredFrame, looks_wired, unframe
from openmetering.errors import BadChecksum, DecodeError, NotRepresentable, OutOfRange, Truncated
from openmetering.tables import BAUD_RATES
from tests.strategies import octet, wired_frames
from tests.vector_files import assert_ours, assert_prefixes_raise, octets, own, shared


@pytest.mark.parametrize("vector", own("spec/link_wired.toml", "frame"))
def test_both_directions(vector):
    data = octets(vector["hex"])
    frame = WiredFrame(
        vector["kind"],
        ControlField(vector.get("control", 0)),
        vector.get("address", 0),
        octets(vector.get("data", "")),
    )
    assert unframe(data) == (frame, b"")
    assert frame.encode() == data
    assert frame.message == vector["message"]
    assert looks_wired(data)
    assert type(unframe(data)[0].control) is ControlField
    assert unframe(data + b"\x99\x98") == (frame, b"\x99\x98")
    assert_prefixes_raise(unframe, data, "link")


@pytest.mark.parametrize("vector", own("malformed/link_wired.toml", "frame"))
def test_malformed(vector):
    data = octets(vector["hex"])
    with pytest.raises(DecodeError) as caught:
        unframe(data)
    error = caught.value
    assert (error.code, error.layer, error.offset, error.octets) == (vector["code"], "link", vector["offset"], data)
    assert isinstance(error, Truncated) == (error.code == "frame.truncated")
    assert isinstance(error, BadChecksum) == (error.code == "frame.checksum")


def test_named_addresses():
    assert (SELECTED, TEST, BROADCAST, ACK) == (253, 254, 255, b"\xe5")


@pytest.mark.parametrize("vector", shared("security.json", lambda row: row["frame_format"] == "FT1.2"))
def test_shared_frames(vector):
    data, expected = octets(vector["hex"]), vector["expected"]
    frame, rest = unframe(data)
    assert rest == b""
    assert frame.encode() == data
    assert int(frame.control) == int(expected.get("c_field", f"{int(frame.control):02X}"), 16)
    assert frame.message == expected.get("message", frame.message)
    assert frame.address == expected.get("primary_address", frame.address)
    assert data[1] == expected.get("l_field", data[1])
    if "ci" in expected:
        assert (frame.kind, frame.data) == ("control", octets(expected["ci"]))
        assert BAUD_RATES[frame.data[0]] == 9600
    if "ident_pattern" in expected or "fabrication_pattern" in expected:
        assert frame.data[0] == 0x52
        selection = Selection.decode(frame.data[1:])
        assert selection.pattern.identification == expected.get("ident_pattern", expected.get("ident"))
        assert selection.fabrication == expected.get("fabrication_pattern")
        assert b"\x52" + selection.encode() == frame.data
    elif "fabrication_number" in expected:
        assert Address.from_transport(frame.data, 1).identification == expected["ident"]


@pytest.mark.parametrize(
    "vector",
    shared("application.json", lambda row: row["kind"] in ("mbus-long-frame", "mbus-command", "mbus-fixed-data")),
)
def test_shared_application_frames(vector):
    data = octets(vector["hex"])
    frame, rest = unframe(data)
    assert (rest, frame.encode()) == (b"", data)
    expected = vector["expected"]
    link = expected.get("link", {})
    assert int(frame.control) == int(link.get("C", f"{int(frame.control):02X}"), 16)
    assert frame.address == link.get("A", frame.address)
    ci = link.get("CI", expected.get("ci"))
    assert f"{frame.data[0]:02X}" == (ci or f"{frame.data[0]:02X}")


@pytest.mark.parametrize("length", [1, 2, 3, 15, 16, 127, 128, 252, 253])
def test_lengths(length):
    frame = WiredFrame.long(0x08, 5, bytes(at & 0xFF for at in range(length)))
    data = frame.encode()
    assert data[1] == data[2] == length + 2
    assert len(data) == length + 8
    assert frame.kind == ("control" if length == 1 else "long")
    assert unframe(data) == (frame, b"")
    assert looks_wired(data)


def test_the_longest_frame_has_255_octets_behind_L():
    with pytest.raises(OutOfRange) as caught:
        WiredFrame.long(0x08, 5, bytes(254)).encode()
    assert (caught.value.field, caught.value.value) == ("data", 254)


@pytest.mark.parametrize("frame", [WiredFrame.short(256, 1), WiredFrame.short(0x40, 256), WiredFrame.long(8, -1, b"\x72")])
def test_control_and_address_take_one_octet(frame):
    with pytest.raises(OutOfRange):
        frame.encode()


@pytest.mark.parametrize("frame", [WiredFrame("short", ControlField(0x40), 1, b"\x72"), WiredFrame.long(0x53, 1, b"")])
def test_user_data_belong_to_long_frames(frame):
    with pytest.raises(NotRepresentable) as caught:
        frame.encode()
    assert caught.value.field == "data"


@given(wired_frames())
def test_frames_round_trip(frame):
    data = frame.encode()
    assert unframe(data) == (frame, b"")
    assert looks_wired(data)


@given(wired_frames().filter(lambda frame: frame.kind != "single"), st.data())
def test_a_changed_octet_never_passes(frame, draws):
    data = bytearray(frame.encode())
    data[draws.draw(st.integers(0, len(data) - 1))] ^= draws.draw(st.integers(1, 255))
    try:
        found, rest = unframe(bytes(data))
    except DecodeError as error:
        assert_ours(error, "link", bytes(data))
    else:  # the start octet became a single character
        assert found == WiredFrame("single")
        assert rest == bytes(data[1:])


@given(st.binary(max_size=40) | st.tuples(st.sampled_from([b"\x10", b"\x68", b"\xe5"]), st.binary(max_size=40)).map(b"".join))
def test_any_octets_raise_only_our_errors(data):
    try:
        frame, rest = unframe(data)
    except DecodeError as error:
        assert_ours(error, "link", data)
    else:
        assert frame.encode() + rest == data


@given(octet, octet, st.binary(max_size=20), octet)
def test_frames_with_a_fitting_checksum(control, address, data, stop):
    """All structures of a long frame: the decoder agrees with the encoder about which are frames."""
    body = bytes((control, address)) + data
    text = bytes((0x68, len(body), len(body), 0x68)) + body + bytes((sum(body) & 0xFF, stop))
    good = len(body) >= 3 and stop == 0x16
    if good:
        assert unframe(text)[0].encode() == text
    else:
        with pytest.raises(DecodeError):
            unframe(text)


@pytest.mark.parametrize(
    ("text", "wired"),
    [
        ("E5", True),
        ("E5E5", False),
        ("1040014116", True),
        ("10400141", False),
        ("1040014117", False),
        ("104001411616", False),
        ("68030368", True),
        ("68040368", False),
        ("68030369", False),
        ("680303", False),
        ("2E4493157856341233", False),
        ("", False),
    ],
)
def test_looks_wired(text, wired):
    assert looks_wired(bytes.fromhex(text)) is wired


def test_a_wireless_frame_that_starts_like_a_wired_one() -> None:
    """L = 68h, SND-NR, manufacturer ZBD (6844h): 68 44 44 68; the stop octet or the length tells."""
    wireless = bytes.fromhex("68444468") + bytes(0x69 - 4)
    wired = WiredFrame.long(0x08, 1, bytes(0x42)).encode()
    assert not looks_wired(wireless)
    assert looks_wired(wired)
    assert looks_wired(wired[:-1])
    assert looks_wired(bytes.fromhex("68444468") + bytes(0x44 + 1) + b"\x16" + bytes(0x69 - 0x4A))
