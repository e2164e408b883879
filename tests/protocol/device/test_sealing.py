"""Messages of devices: octet for octet what ``compose`` and ``encode`` make, in every profile and with every header."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openmetering.codec.afl import AuthenticationFragmentation
from openmetering.codec.ell import CommunicationControl
from openmetering.errors import NotRepresentable
from openmetering.protocol.device.sealing import RESPONSE_CI, Content, Sealer
from openmetering.security import Key, KeyRing
from openmetering.telegram import Decoder, Meter, Telegram, compose, encode, encode_fragments
from openmetering.telegram.encoder import encode_message
from tests.protocol.device.partner import DEVICE, GATEWAY, MASTER, PROFILES

KEY = Key(MASTER, 0, 7)
RING = KeyRing.single(MASTER)
COUNTER = 2801
ELL = CommunicationControl(0)
HEAD = 10 + 3  # octets of a wireless frame without CRCs in front of what stands behind its ELL-I


def meter(profile: str, *, long: bool, wired: bool = False, version: int | None = None) -> Meter:
    return Meter(DEVICE, profile, GATEWAY if long else None, 5 if wired else None, None if wired else ELL, 0, version)


def sealer(profile: str, *, long: bool = False, wired: bool = False) -> Sealer:
    return Sealer(DEVICE, profile, long_header=long, wired=wired)


def general(
    profile: str, payload: bytes, *, long: bool = False, wired: bool = False, version: int | None = None, protocol: str = "m-bus"
) -> Telegram:
    ci = RESPONSE_CI[protocol][2 if wired else int(long)]
    return compose(
        meter(profile, long=long, wired=wired, version=version),
        payload,
        access_number=81,
        status=2,
        counter=COUNTER,
        control=0x08,
        ci=ci,
    )


def cut(frame: bytes, wired: bool) -> bytes:
    """What stands behind the link layer."""
    return frame[6:-2] if wired else frame[HEAD:]


@pytest.mark.parametrize("size", [1, 13, 14, 15, 46, 222, 239, 254, 255, 256, 300])
@pytest.mark.parametrize("protocol", ["m-bus", "sitp", "image", "alarm"])
@pytest.mark.parametrize("profile", PROFILES)
def test_octets_are_those_of_the_general_encoder_for_every_size(profile: str, protocol: str, size: int) -> None:
    payload = bytes(range(256))[:size] if size <= 256 else bytes(size)
    made = sealer(profile).seal(payload, 81, 2, Content(protocol), KEY, COUNTER)
    telegram = general(profile, payload, protocol=protocol)
    message, afl = encode_message(telegram, RING)
    assert made == (b"" if afl is None else afl.encode()) + message


@pytest.mark.parametrize(("long", "wired"), [(False, False), (True, False), (True, True), (False, True)])
@pytest.mark.parametrize("profile", PROFILES)
def test_headers_of_radio_adapter_and_wire(profile: str, long: bool, wired: bool) -> None:
    payload = bytes.fromhex("0C1378563412")
    made = sealer(profile, long=long, wired=wired).seal(payload, 81, 2, Content(), KEY, COUNTER)
    assert made == cut(encode(general(profile, payload, long=long, wired=wired), RING), wired)


@pytest.mark.parametrize(("content", "index"), [(0, 0), (2, 0), (0, 3), (1, 2)])
@pytest.mark.parametrize("profile", ["B", "D"])
def test_content_class_and_index(profile: str, content: int, index: int) -> None:
    made = sealer(profile).seal(b"\x2f", 81, 2, Content("m-bus", content, index), KEY, COUNTER)
    telegram = compose(
        meter(profile, long=False), b"\x2f", access_number=81, status=2, counter=COUNTER, content=content, content_index=index
    )
    assert made == cut(encode(telegram, RING), False)


@pytest.mark.parametrize("profile", ["none", "A"])
def test_link_bits_stand_in_the_configuration_field(profile: str) -> None:
    made = sealer(profile).seal(b"\x2f", 1, 0, Content(content_class=2, link_bits=0xA000), KEY, 0)
    assert made[3] & 0x0C == 0x08
    assert made[4] & 0xE0 == 0xA0


@pytest.mark.parametrize("profile", ["B", "D"])
def test_key_version_is_shown(profile: str) -> None:
    made = sealer(profile).seal(b"\x0c\x13\0\0\0\0", 81, 2, Content(key_version=7), KEY, COUNTER)
    assert made == cut(encode(general(profile, b"\x0c\x13\0\0\0\0", version=7), RING), False)


def test_key_version_of_profile_a_stands_in_an_afl_without_proof() -> None:
    made = sealer("A").seal(b"\x2f", 81, 2, Content(key_version=7), KEY, 0)
    assert made[:7] == bytes.fromhex("90 05 00 22 10 10 07")
    assert made[7:] == sealer("A").seal(b"\x2f", 81, 2, Content(), KEY, 0)


def test_first_octets_of_profile_b_as_printed() -> None:
    made = sealer("B").seal(b"\x2f", 81, 2, Content(), KEY, COUNTER)
    assert made[:9] == bytes.fromhex("90 0F 00 2C 25") + COUNTER.to_bytes(4, "little")


# -- fragments ------------------------------------------------------------------------------------------


def sizes_of(items: tuple[bytes, ...]) -> list[int]:
    """Message octets of each fragment."""
    return [len(item) - 2 - item[1] for item in items]


@pytest.mark.parametrize("largest", [24, 37, 60, 100])
@pytest.mark.parametrize(("profile", "version"), [("none", None), ("A", None), ("B", None), ("B", 7), ("D", None), ("D", 7)])
def test_fragments_are_those_of_the_general_encoder(profile: str, version: int | None, largest: int) -> None:
    payload = bytes(range(150))
    items = sealer(profile).seal_items(payload, 81, 2, Content(key_version=version), KEY, COUNTER, largest)
    assert len(items) > 1
    assert all(len(item) <= largest for item in items)
    telegram = general(profile, payload, version=version)
    frames = encode_fragments(telegram, RING, sizes_of(items))
    assert [cut(frame, False) for frame in frames] == list(items)


def test_printed_headers_of_fragments() -> None:
    """Annex N N.3 and N.5: first, between, last."""
    b = sealer("B").seal_items(bytes(150), 5, 0, Content(), KEY, 2739, 60)
    assert b[0][:5] == bytes.fromhex("90 09 01 78 65")
    assert b[1][:4] == bytes.fromhex("90 02 02 40")
    assert b[-1][:4] == bytes((0x90, 0x0A, len(b), 0x04))
    a = sealer("A").seal_items(bytes(150), 5, 0, Content(), KEY, 0, 60)
    assert a[0][:5] == bytes.fromhex("90 05 01 70 40")
    assert a[-1][:4] == bytes((0x90, 0x02, len(a), 0x00))


@settings(max_examples=60, deadline=None)
@given(
    profile=st.sampled_from(PROFILES),
    payload=st.binary(min_size=1, max_size=400),
    largest=st.integers(24, 240),
    long=st.booleans(),
)
def test_any_message_is_read_back_from_its_items(profile: str, payload: bytes, largest: int, long: bool) -> None:
    maker = sealer(profile, long=long)
    items = maker.seal_items(payload, 9, 0, Content("image"), KEY, COUNTER, largest)
    decoder = Decoder(RING)
    sender = (GATEWAY if long else DEVICE).link_octets()
    telegram = None
    for item in items:
        body = b"\x08" + sender + b"\x8c\x00\x01" + item
        telegram = decoder.examine(bytes((len(body),)) + body)
    assert telegram is not None
    found = telegram.payload or b""
    assert (found[2:] if profile in "AB" else found)[: len(payload)] == payload


@settings(max_examples=60, deadline=None)
@given(
    profile=st.sampled_from(PROFILES),
    largest=st.integers(1, 260),
    long=st.booleans(),
    shown=st.booleans(),
)
def test_capacity_is_exact(profile: str, largest: int, long: bool, shown: bool) -> None:
    maker = sealer(profile, long=long)
    room = maker.capacity(largest, key_shown=shown)
    version = 7 if shown and profile != "none" else None
    if room:
        assert len(maker.seal(bytes(room), 9, 0, Content(key_version=version), KEY, 1)) <= largest
    assert len(maker.seal(bytes(room + 1), 9, 0, Content(key_version=version), KEY, 1)) > largest or largest < 20


def test_no_fragment_fits() -> None:
    with pytest.raises(NotRepresentable, match="no fragment fits into 12 octets"):
        sealer("B").seal_items(bytes(100), 1, 0, Content(), KEY, 1, 12)


def test_a_short_message_still_leaves_something_for_the_last_fragment() -> None:
    items = sealer("none").seal_items(b"\x2f" * 10, 1, 0, Content(), None, 0, 14)
    assert sizes_of(items) == [7, 8]


# -- the rest ---------------------------------------------------------------------------------------------


def test_pure_headers() -> None:
    assert sealer("B").pure(0x7D, 2) == bytes.fromhex("8A 7D 02 00 00")
    assert sealer("B", long=True).pure(0x7D, 2) == bytes.fromhex("8B 78563412 3A63 55 20 7D 02 00 00")
    assert sealer("A").pure(1, 0, 0xA000) == bytes.fromhex("8A 01 00 00 A0")


def test_errors_are_in_the_clear() -> None:
    assert sealer("B").plain("application-error", b"\x15", 2, 2) == bytes.fromhex("6E 02 02 00 00 15")
    assert sealer("D", long=True).plain("application-error", b"\x15", 2, 2)[0] == 0x6F
    assert sealer("B", wired=True).plain("application-error", b"\x15", 2, 2) == b"\x70\x15"


@pytest.mark.parametrize("profile", ["A", "B", "D"])
def test_a_key_is_needed(profile: str) -> None:
    with pytest.raises(NotRepresentable, match="needs a communication key"):
        sealer(profile).seal(b"\x2f", 1, 0, Content(), None, 1)


def test_profiles_have_names() -> None:
    with pytest.raises(NotRepresentable, match="profile is none, A, B or D, got 'C'"):
        sealer("C")


def test_an_afl_without_proof_reads_as_such() -> None:
    made = sealer("A").seal(b"\x2f", 81, 2, Content(key_version=7), KEY, 0)
    decoder = Decoder(RING)
    body = b"\x08" + DEVICE.link_octets() + b"\x8c\x00\x01" + made
    telegram = decoder.decode(bytes((len(body),)) + body)
    assert isinstance(telegram.afl, AuthenticationFragmentation)
    assert telegram.afl.key_information is not None
    assert int(telegram.afl.key_information.key_version) == 7
