"""Raw octet streams: frames are found again after garbage, whatever the pieces."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openmetering.codec.link.wired import WiredFrame
from openmetering.transport.raw import RawReader
from openmetering.transport.reception import BadLine, Reception
from tests.fleet import radio, wired, with_crc

PLAIN = radio(1, number=11111111)
LONG = radio(2, number=22222222, records=bytes.fromhex("0D78") + b"\x60" + bytes(96))
ON_AIR = with_crc(PLAIN)
LONG_AIR = with_crc(LONG)
ON_AIR_B = with_crc(PLAIN, "B")
WIRED = wired(3)
SHORT = WiredFrame.short(0x5B, 5).encode()
FRAMES = [PLAIN, LONG, ON_AIR, LONG_AIR, ON_AIR_B, WIRED, SHORT]


def run(octets: bytes, size: int = 10_000, **options: bool) -> tuple[list[bytes], list[bytes]]:
    """Frames and garbage."""
    reader = RawReader("door", **options)
    items: list[Reception | BadLine] = []
    for at in range(0, len(octets), size):
        items += reader.feed(octets[at : at + size], at * 0.001)
    items += reader.close(99.0)
    frames = [item.frame for item in items if isinstance(item, Reception)]
    junk = [bytes.fromhex(item.line) for item in items if isinstance(item, BadLine)]
    return frames, junk


@pytest.mark.parametrize("frame", FRAMES, ids=["plain", "long", "A", "long A", "B", "wired", "short"])
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_one_frame_alone(frame: bytes, size: int) -> None:
    assert run(frame, size) == ([frame], [])


@pytest.mark.parametrize("size", [1, 5, 64, 10_000])
def test_frames_one_behind_the_other(size: int) -> None:
    assert run(b"".join(FRAMES), size) == (FRAMES, [])


@pytest.mark.parametrize("size", [1, 7, 10_000])
@pytest.mark.parametrize("junk", [b"\x00", b"\x68\x05", b"\xff\xfe\xe5\x01", bytes(40), b"\x10\x20\x30"])
def test_garbage_between_frames_is_told_and_passed(junk: bytes, size: int) -> None:
    frames, found = run(junk + WIRED + junk + ON_AIR + junk, size)
    assert frames == [WIRED, ON_AIR]
    assert found == [junk] * 3


def test_e5_alone_is_an_acknowledgement() -> None:
    frames, junk = run(b"\xe5" + WIRED + b"\xe5")
    assert (frames, junk) == ([b"\xe5", WIRED, b"\xe5"], [])


def test_a_damaged_wired_frame_does_not_swallow_the_next() -> None:
    damaged = bytearray(WIRED)
    damaged[-2] ^= 0xFF
    frames, junk = run(bytes(damaged) + WIRED)
    assert frames == [WIRED]
    assert junk[0] == bytes(damaged)


def test_a_cut_frame_is_given_up_after_silence() -> None:
    reader = RawReader("door", gap=2.0)
    assert reader.feed(WIRED[:10], 0.0) == []
    items = reader.feed(WIRED, 5.0)
    assert [item.frame for item in items if isinstance(item, Reception)] == [WIRED]
    (bad,) = [item for item in items if isinstance(item, BadLine)]
    assert bytes.fromhex(bad.line) == WIRED[:10]
    assert (bad.number, bad.error.code) == (0, "input.noise")


def test_without_silence_the_frame_goes_on() -> None:
    reader = RawReader("door", gap=2.0)
    assert reader.feed(WIRED[:10], 0.0) == []
    (item,) = reader.feed(WIRED[10:], 1.9)
    assert isinstance(item, Reception)
    assert (item.frame, item.received_at, item.mode, item.crc, item.position) == (WIRED, 1.9, "wired", True, len(WIRED))


def test_formats_are_named() -> None:
    reader = RawReader("door")
    items = reader.feed(ON_AIR + ON_AIR_B + PLAIN, 0.0) + reader.close(0.0)
    assert [(item.frame_format, item.mode) for item in items if isinstance(item, Reception)] == [
        ("A", None),
        ("B", None),
        (None, None),
    ]


@pytest.mark.parametrize(("options", "wanted"), [({"wired": False}, [PLAIN]), ({"wireless": False}, [WIRED])])
def test_one_kind_only(options: dict[str, bool], wanted: list[bytes]) -> None:
    frames, junk = run(WIRED + PLAIN, **options)
    assert frames == wanted
    assert len(junk) == 1


def test_two_equal_length_octets_that_are_no_wired_frame() -> None:
    frames, junk = run(b"\x68\x68\x68\x00" + WIRED)
    assert frames == [WIRED]
    assert junk == [b"\x68\x68\x68\x00"]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(st.sampled_from(FRAMES), st.binary(max_size=12)), max_size=8), st.integers(1, 40))
def test_every_octet_is_in_a_frame_or_told(parts: list[bytes], size: int) -> None:
    octets = b"".join(parts)
    frames, junk = run(octets, size)
    assert sum(map(len, frames)) + sum(map(len, junk)) == len(octets)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=600), st.integers(1, 50))
def test_the_pieces_do_not_matter(octets: bytes, size: int) -> None:
    """Of wired frames; a wireless one without CRCs is given out as soon as what is there behind it could be a start."""
    assert run(octets, 1, wireless=False) == run(octets, size, wireless=False)
