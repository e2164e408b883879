"""Telegrams that belong together: fragments, compact frames and their formats, readouts."""

from __future__ import annotations

import msgspec
import pytest

from openmetering import (
    Decoder,
    FormatStore,
    decode,
    encode,
    encode_fragments,
    examine,
)
from openmetering.codec.apl import big_endian
from openmetering.codec.apl.fixed import FixedData
from openmetering.codec.apl.format import CompactFrame
from openmetering.codec.link.wireless import WirelessFrame
from openmetering.tables import FAULTS
from openmetering.telegram import Readout
from openmetering.wire.crc import crc16
from tests.telegram.building import (
    COMPACT,
    FORMAT,
    GATEWAY,
    HEADER,
    KEY,
    KEYS,
    LONG,
    METER,
    OTHER_MAKER,
    WATER,
    built,
    codes,
    fragments,
    longer,
    ring,
    sealed,
    session_link,
    wired,
    wireless,
)

# -- fragments --------------------------------------------------------------------------------------------------------


def test_fragments_in_order() -> None:
    decoder = Decoder(KEYS)
    telegrams = [decoder.decode(octets) for octets in fragments()]
    assert [codes(telegram) for telegram in telegrams] == [["afl.incomplete"], ["afl.incomplete"], []]
    assert [len(telegram.records) for telegram in telegrams] == [0, 0, 9]
    assert telegrams[-1].security.proof == "mac"
    whole = telegrams[-1]
    assert whole.afl is not None
    assert not whole.afl.fragmented
    assert decode(encode(whole, KEYS), KEYS).payload == whole.payload


def test_a_missing_fragment_drops_the_message() -> None:
    decoder = Decoder(KEYS)
    first, second, third = fragments()
    decoder.decode(first)
    missing = decoder.examine(third)
    assert (missing.error and missing.error.code) == "afl.fragment_missing"
    assert missing.records == ()
    assert (decoder.examine(second).error or missing).code == "afl.fragment_missing"  # type: ignore[union-attr]
    assert [decoder.decode(octets).ok for octets in (first, second, third)] == [True] * 3


def test_duplicates_of_fragments_do_no_harm() -> None:
    """A second receiver delivers every fragment again."""
    decoder = Decoder(KEYS)
    first, second, third = fragments()
    for octets in (first, first, second, first, second):
        assert decoder.decode(octets).fragment
    assert len(decoder.decode(third).records) == 9


def test_a_new_message_replaces_a_partial_one() -> None:
    decoder = Decoder(KEYS)
    older, newer = fragments(21, WATER * 3), fragments(22, WATER * 3)
    decoder.decode(older[0])
    telegrams = [decoder.decode(octets) for octets in newer]
    assert telegrams[-1].security.counter == 22


def test_out_of_order() -> None:
    decoder = Decoder(KEYS)
    first, second, third = fragments()
    assert decoder.examine(second).error is not None
    assert decoder.examine(first).ok
    assert decoder.examine(third).error is not None


def test_time_out() -> None:
    first, second, third = fragments()
    decoder = Decoder(KEYS, fragment_timeout=10.0)
    decoder.decode(first, now=100.0)
    decoder.decode(second, now=109.0)
    assert decoder.decode(third, now=110.0).ok
    decoder.decode(first, now=200.0)
    late = decoder.examine(second, now=210.5)
    assert (late.error and late.error.code) == "afl.fragment_missing"


def test_fragments_of_the_wrong_length() -> None:
    decoder = Decoder(KEYS)
    first, second, third = fragments()
    decoder.decode(first)
    decoder.decode(second)
    wrong = decoder.examine(longer(third))
    assert (wrong.error and wrong.error.code) == "afl.message_length"
    assert wrong.records == ()
    assert [decoder.decode(octets).ok for octets in (first, second, third)] == [True] * 3


def test_two_peers_interleaved() -> None:
    keys = ring((METER, KEY), (OTHER_MAKER, KEY))
    decoder = Decoder(keys)
    ours = fragments()
    theirs = encode_fragments(built(WATER * 3, meter=OTHER_MAKER, profile="B", counter=8), keys, 25)
    last = [decoder.decode(octets) for pair in zip(ours, theirs, strict=False) for octets in pair][-2:]
    assert [telegram.address for telegram in last] == [METER, OTHER_MAKER]
    assert [len(telegram.records) for telegram in last] == [9, 9]


def test_the_plain_functions_remember_nothing() -> None:
    """``examine`` is a function of frame and keys: fragments and formats of other calls do not count."""
    first, second, _ = fragments()
    assert examine(first, KEYS).fragment
    assert not examine(second, KEYS).ok
    examine(wired("78" + WATER.hex()))
    examine(wired(b"\x69" + FORMAT))
    assert (examine(wired(b"\x79" + COMPACT)).error or FAULTS["key.missing"]).code == "compact.unknown_format"


def test_addresses_of_wired_peers() -> None:
    """Fragments on the wire are told apart by the primary address."""
    decoder = Decoder(KEYS)
    ours = encode_fragments(built(WATER * 3, profile="B", counter=8, primary=1), KEYS, 30)
    other = encode_fragments(built(WATER * 3, profile="B", counter=9, primary=2), KEYS, 30)
    last = [decoder.decode(octets) for pair in zip(ours, other, strict=True) for octets in pair][-2:]
    assert [telegram.security.counter for telegram in last] == [8, 9]


def test_destination_is_part_of_the_peer() -> None:
    """ELL-III names whom the meter answers: two gateways may read fragments at the same time."""
    decoder = Decoder(KEYS)
    frames = []
    for gateway, counter in ((GATEWAY, 5), (OTHER_MAKER, 6)):
        made = built(WATER * 3, profile="B", counter=counter)
        link = msgspec.structs.replace(session_link(), ci=0x8E, destination=gateway, session_number=None, payload_crc=None)
        frames.append(encode_fragments(msgspec.structs.replace(made, ell=link), KEYS, 30))
    last = [decoder.decode(octets) for pair in zip(*frames, strict=True) for octets in pair][-2:]
    assert [telegram.security.counter for telegram in last] == [5, 6]


# -- compact frames -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("teacher", [b"\x78" + WATER, b"\x69" + FORMAT], ids=["full frame", "format frame"])
def test_unknown_format_then_learnt(teacher: bytes) -> None:
    decoder = Decoder(formats=FormatStore())
    octets = wireless(b"\x79" + COMPACT)
    unknown = decoder.examine(octets)
    assert (unknown.error and unknown.error.code) == "compact.unknown_format"
    assert isinstance(unknown.application, CompactFrame)
    assert encode(unknown) == octets
    decoder.decode(wireless(teacher))
    learnt = decoder.decode(octets)
    assert [item.octets() for item in learnt.records] == [WATER[:6], WATER[6:11], WATER[11:]]
    assert decoder.formats.changed
    assert len(decoder.formats) == 1
    assert next(iter(decoder.formats.stored())).source == str(METER)


@pytest.mark.parametrize("ci", ["7B" + HEADER, "73" + LONG])
def test_compact_frames_with_a_header(ci: str) -> None:
    decoder = Decoder()
    decoder.decode(wireless(b"\x78" + WATER))
    telegram = decoder.decode(wireless(bytes.fromhex(ci) + COMPACT))
    assert len(telegram.records) == 3
    assert telegram.transport is not None
    assert telegram.transport.access_number == 42


def test_encrypted_compact_frame() -> None:
    decoder = Decoder(KEYS)
    decoder.decode(wireless(b"\x78" + WATER))
    made = sealed(5, 0x10 * ((len(COMPACT) + 17) // 16), (b"\x2f\x2f" + COMPACT).ljust((len(COMPACT) + 17) // 16 * 16, b"\x2f"))
    assert made.transport is not None
    octets = encode(msgspec.structs.replace(made, transport=msgspec.structs.replace(made.transport, ci=0x7B)), KEY)
    telegram = decoder.decode(octets)
    assert (len(telegram.records), telegram.security.state) == (3, "decrypted")
    assert decoder.decode(octets).records == telegram.records


def test_fixed_data_structure_and_compact_frame_share_a_ci() -> None:
    fixed = wired("73" + "785634120A00E97E0100000035010000")
    telegram = decode(fixed)
    assert isinstance(telegram.application, FixedData)
    assert [str(item) for item in telegram.records] == ["volume: 0.001 m3", "volume: 0.135 m3"]
    assert encode(telegram) == fixed
    assert telegram.transport is not None
    assert telegram.transport.access_number == 10
    compact = examine(wired(bytes.fromhex("73" + LONG) + COMPACT))
    assert isinstance(compact.application, CompactFrame)
    big = decode(wired("77" + "123456780A00E97E0000000100000135"))
    assert [str(item) for item in big.records] == ["volume: 0.001 m3", "volume: 0.135 m3"]
    short = examine(wired("77" + "123456780A00E97E00000001000001"))
    assert (short.error and short.error.code) == "record.truncated"


def test_most_significant_octet_first() -> None:
    """CI 76: the same telegram as CI 72 with every number turned round."""
    ordered = bytes.fromhex(LONG) + WATER
    octets = wired(b"\x76" + big_endian.to_big_endian(ordered))
    telegram = decode(octets)
    assert telegram.address == METER
    assert [item.octets() for item in telegram.records] == [WATER[:6], WATER[6:11], WATER[11:]]
    assert telegram.transport is not None
    assert telegram.transport.access_number == 42
    assert encode(telegram) == octets
    short = examine(wired("76" + "1234"))
    assert (short.error and short.error.code) == "frame.truncated"


def test_encryption_in_that_order_is_not_known() -> None:
    ordered = bytes.fromhex(LONG.replace(HEADER, "2A002005")) + bytes(32)
    telegram = examine(wired(b"\x76" + big_endian.to_big_endian(ordered)), KEY)
    assert (telegram.error and telegram.error.code) == "security.unsupported"
    assert telegram.records == ()


# -- readouts of several telegrams -----------------------------------------------------------------------------------------


def test_readout_of_several_telegrams() -> None:
    readout = Readout()
    first = decode(wired("72" + LONG + WATER.hex() + "1F"))
    second = decode(wired("72" + LONG + WATER.hex() + "0FAABB"))
    assert (first.more_follows, first.manufacturer_data) == (True, b"")
    assert (second.more_follows, second.manufacturer_data) == (False, b"\xaa\xbb")
    assert not readout.add(first, first.more_follows)
    assert not readout.complete
    assert readout.add(second, second.more_follows)
    assert readout.telegrams == [first, second]


# -- frames without CRCs that look as if they had some ---------------------------------------------------------------------


def test_a_decoder_that_is_told_does_not_look_for_crcs() -> None:
    """One frame without CRCs in 65 536 ends like one of format B. A gateway takes CRCs off itself and knows."""
    address = METER.link_octets()
    body = bytes((0x44,)) + address + b"\x7a\x2a\x00\x00\x00\x0d\x7c\x08" + b"abcdef"
    frame = bytes((len(body) + 2,)) + body
    frame += crc16(frame).to_bytes(2, "big")
    guessed, told = Decoder().examine(frame), Decoder(crc=False).examine(frame)
    assert guessed.link is not None
    assert told.link is not None
    assert len(told.link.data) == len(guessed.link.data) + 2
    assert isinstance(told.link, WirelessFrame)
    assert not told.link.crc
    again = Decoder(crc=False)
    assert all(again.examine(frame).link == told.link for _ in range(3))


def test_a_frame_that_cannot_be_format_b_is_read_without_crcs() -> None:
    """Its last two octets pass as CRC by chance; a record would be cut short. Found by a replay of 200 000 telegrams."""
    frame = bytes.fromhex("144493153803001033037a2b0000000c1438750100")
    for _ in range(3):
        telegram = Decoder().examine(frame)
        assert telegram.error is None
        assert [str(record.value) for record in telegram.records] == ["175.38"]
