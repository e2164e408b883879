"""Encoding: what follows from other fields is computed, what cannot be sent is refused."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openmetering import (
    Decoder,
    EncodeError,
    KeyNotFound,
    NotRepresentable,
    OutOfRange,
    Telegram,
    decode,
    encode,
    encode_fragments,
    examine,
)
from openmetering.codec.afl import AuthenticationFragmentation
from openmetering.codec.ell import CommunicationControl, ExtendedLink
from openmetering.codec.link.wired import WiredFrame
from openmetering.telegram.encoder import encode_message
from tests.telegram.building import (
    ADAPTER,
    GATEWAY,
    KEY,
    KEYS,
    METER,
    WATER,
    afl_of,
    built,
    frame,
    ring,
    sealed,
    session_link,
    session_telegram,
    water,
    wired,
    wireless,
)


def replaced(telegram: Telegram, **fields: object) -> Telegram:
    return msgspec.structs.replace(telegram, **fields)


# -- computed fields -----------------------------------------------------------------------------------


def test_mac_and_length_are_computed() -> None:
    made = sealed(7, 0x20, (b"\x2f\x2f" + WATER).ljust(32, b"\x2f"), extension=b"\x10", afl=afl_of(length=True))
    telegram = decode(encode(made, KEY), KEY)
    message, afl = encode_message(telegram, KEYS)
    assert telegram.afl == afl
    assert afl is not None
    assert afl.message_length == len(message)
    assert afl.mac != bytes(8)


def test_payload_crc_is_computed() -> None:
    made = session_telegram(ell=session_link(encryption=0))
    assert made.ell is not None
    assert made.ell.payload_crc == 0
    telegram = decode(encode(made))
    assert telegram.ell is not None
    assert telegram.ell.payload_crc not in (0, None)


def test_length_and_crcs_of_the_link_are_computed() -> None:
    octets = frame(crc=True, frame_format="B")
    assert octets[0] == len(octets) - 1
    telegram = decode(octets)
    assert replaced(telegram, payload=b"").payload == b""
    shorter = encode(replaced(telegram, payload=b""))
    assert shorter[0] == len(shorter) - 1
    assert decode(shorter).records == ()


def test_the_fill_of_the_last_block_is_computed() -> None:
    """Octets that do not fill the announced blocks are filled with 2Fh."""
    made = sealed(5, 0x20, b"\x2f\x2f" + WATER)
    assert decode(encode(made, KEY), KEY).payload == (b"\x2f\x2f" + WATER).ljust(32, b"\x2f")


@settings(max_examples=80, deadline=None)
@given(
    payload=st.binary(max_size=120),
    profile=st.sampled_from(["none", "A", "B", "D"]),
    place=st.sampled_from([{}, {"adapter": ADAPTER}, {"primary": 9}, {"communication_control": CommunicationControl(0x44)}]),
    access=st.integers(0, 255),
    status=st.integers(0, 255),
    counter=st.integers(0, 2**32 - 1),
)
def test_decode_of_encode(payload: bytes, profile: str, place: dict[str, object], access: int, status: int, counter: int) -> None:
    """Whatever the application octets are: the same telegram comes back, and the same octets again."""
    made = built(payload, profile=profile, access_number=access, status=status, counter=counter, **place)
    octets = encode(made, KEYS)
    telegram = examine(octets, KEYS)
    assert telegram.payload == made.payload
    assert telegram.transport == made.transport
    assert telegram.security.state == ("plain" if profile == "none" else "decrypted")
    assert encode(telegram, KEYS) == octets


# -- refused --------------------------------------------------------------------------------------------

REFUSED: dict[str, tuple[Callable[[], object], type[Exception]]] = {
    "no device named": (lambda: encode(replaced(built(profile="A"), link=WiredFrame.long(8, 1, b"\0\0")), KEY), KeyNotFound),
    "no link": (lambda: encode(Telegram(b"")), EncodeError),
    "no key": (lambda: encode(built(profile="A")), KeyNotFound),
    "no key for the MAC": (lambda: encode(sealed(0, 0, WATER, afl=afl_of())), KeyNotFound),
    "no key for the ELL": (lambda: encode(session_telegram()), KeyNotFound),
    "key of another meter": (lambda: encode(session_telegram(), ring((GATEWAY, KEY))), KeyNotFound),
    "no verification octets": (lambda: encode(sealed(5, 0x20, WATER), KEY), NotRepresentable),
    "too few octets": (lambda: encode(sealed(5, 0x30, b"\x2f\x2f" + WATER), KEY), NotRepresentable),
    "no counter": (lambda: encode(sealed(7, 0x10, b"\x2f" * 16, extension=b"\x10"), KEY), NotRepresentable),
    "no access number": (
        lambda: encode(replaced(built(), transport=replaced_header(access_number=None))),
        NotRepresentable,
    ),
    "no address": (lambda: encode(replaced(built(adapter=ADAPTER), transport=replaced_header(header="long"))), NotRepresentable),
    "an encrypted ELL on the wire": (
        lambda: encode(replaced(session_telegram(), link=WiredFrame.long(8, 1, b"\x00\x00")), KEY),
        NotRepresentable,
    ),
    "an extended link of unknown layout": (
        lambda: encode(replaced(built(), ell=ExtendedLink(0x86, CommunicationControl(0), 1))),
        NotRepresentable,
    ),
    "too many octets": (lambda: encode(built(WATER * 15)), OutOfRange),
    "too many octets on the wire": (lambda: encode(built(WATER * 16, primary=1)), OutOfRange),
    "too many octets for format B": (lambda: frame(WATER * 14, crc=True, frame_format="B"), OutOfRange),
    "a message that was never opened": (lambda: encode(examine(frame(profile="A")), KEYS), NotRepresentable),
    "a message that failed": (lambda: encode(examine(frame(profile="D", counter=1), bytes(16)), KEYS), NotRepresentable),
}


def replaced_header(**fields: object) -> object:
    transport = built().transport
    assert transport is not None
    return msgspec.structs.replace(transport, **fields)


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    call, error = REFUSED[name]
    with pytest.raises(error) as caught:
        call()
    assert caught.value.code in ("encode.invalid", "encode.not_representable", "encode.range", "key.missing")  # type: ignore[attr-defined]
    assert KEY.hex() not in str(caught.value).lower()


def test_a_key_of_one_device_may_be_given_as_octets() -> None:
    assert encode(built(profile="A"), KEY) == encode(built(profile="A"), KEYS)


# -- fragments -------------------------------------------------------------------------------------------


def whole(**options: object) -> Telegram:
    return built(WATER * 4, profile="B", counter=11, **options)


@pytest.mark.parametrize("sizes", [20, 31, [10, 10, 60], [1, 2, 3, 74], [80]])
@pytest.mark.parametrize("place", ["radio", "wire", "extended link"])
def test_fragments(sizes: int | list[int], place: str) -> None:
    options: dict[str, object] = {
        "wire": {"primary": 5},
        "extended link": {"communication_control": CommunicationControl(0x80), "access_number": 254},
    }.get(place, {})  # type: ignore[assignment]
    made = whole(**options)
    message, _ = encode_message(made, KEYS)
    frames = encode_fragments(made, KEYS, sizes)
    if isinstance(sizes, int):
        assert len(frames) == -(-len(message) // sizes)
    else:
        assert len(frames) == len(sizes)
    decoder = Decoder(KEYS)
    telegrams = [decoder.decode(octets) for octets in frames]
    assert [telegram.fragment for telegram in telegrams] == [True] * (len(frames) - 1) + [False]
    last = telegrams[-1]
    assert last.payload == made.payload
    assert last.security.proof == "mac"
    assert last.afl is not None
    assert last.afl.message_length == len(message)
    if place == "extended link":
        numbers = [telegram.ell.access_number for telegram in telegrams if telegram.ell is not None]
        assert numbers == [(254 + index) % 256 for index in range(len(frames))]
    assert [encode(telegram) for telegram in telegrams[:-1]] == frames[:-1]
    again = encode_fragments(replaced(last, ell=telegrams[0].ell), KEYS, sizes)
    assert again == frames


def test_fragments_without_mac() -> None:
    made = built(WATER * 4, profile="A")
    frames = encode_fragments(made, KEYS, 40)
    decoder = Decoder(KEYS)
    last = [decoder.decode(octets) for octets in frames][-1]
    assert last.payload == made.payload
    assert last.security.proof == "2f2f"
    assert last.afl is not None
    assert last.afl.mac is None


def test_fragments_with_key_information() -> None:
    keys = ring((METER, KEY, 2, 4))
    made = built(WATER * 4, profile="B", counter=3, key_id=2, key_version=4)
    decoder = Decoder(keys)
    last = [decoder.decode(octets) for octets in encode_fragments(made, keys, 30)][-1]
    assert (last.security.key_id, last.security.key_version) == (2, 4)
    assert last.records[:3] == decode(frame()).records


@pytest.mark.parametrize("sizes", [0, -1, [], [10, 0], [500, 10], [90, 90, 90]])
def test_fragment_sizes_that_make_no_sense(sizes: int | list[int]) -> None:
    with pytest.raises(NotRepresentable) as caught:
        encode_fragments(whole(), KEYS, sizes)
    assert caught.value.field == "sizes"


def test_a_lone_fragment_is_sent_on_as_it_came() -> None:
    _, second, third = encode_fragments(whole(), KEYS, 30)[:3]
    for octets in (second, third):
        telegram = examine(octets)
        assert telegram.error is not None
        assert encode(telegram) == octets


def test_a_reassembled_message_fits_one_frame() -> None:
    decoder = Decoder(KEYS)
    last = [decoder.decode(octets) for octets in encode_fragments(whole(), KEYS, 30)][-1]
    telegram = decode(encode(last, KEYS), KEYS)
    assert telegram.payload == last.payload
    assert telegram.afl == last.afl
    assert telegram.security == last.security


# -- the simple frames ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "octets",
    [
        b"\xe5",
        WiredFrame.short(0x5B, 3).encode(),
        WiredFrame.long(0x53, 3, b"\xbd").encode(),
        wireless(b"", control=0x40),
        wireless("81ABCD"),
        wireless("8C2005" + "81ABCD"),
        wireless("A0DEAD"),
        wired("0F"),
        wired(b"\x78" + WATER),
    ],
)
def test_frames_that_come_back_as_they_are(octets: bytes) -> None:
    assert encode(examine(octets)) == octets


def test_afl_without_authentication_stays_as_it_is() -> None:
    layer = AuthenticationFragmentation.build(counter=5)
    octets = wireless(layer.encode() + b"\x7a\x01\x00\x00\x00" + WATER)
    telegram = decode(octets)
    assert telegram.security.counter == 5
    assert encode(telegram) == octets
    assert [record.octets() for record in telegram.records] == [record.octets() for record in water()]


def test_a_telegram_without_transport_layer() -> None:
    telegram = decode(wireless("8C2005", control=0x5B))
    assert encode_message(telegram) == (b"", None)
