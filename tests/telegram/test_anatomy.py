"""The anatomy of telegrams: every octet in exactly one segment, with the right words."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openmetering import STRICT, Decoder, encode, examine
from openmetering.codec.ell import SessionNumber
from openmetering.codec.link.wireless import frame as add_crc
from openmetering.codec.tpl import ConfigurationB
from openmetering.security import Key
from openmetering.security.modes import seal_ell

# X
from openmetering.telegram.anatomy import FRAME, Anatomy
from openmetering.telegram.anatomy.canvas import Canvas
from tests.telegram import building
from tests.telegram.anatomy_checks import (
    at,
    bits,
    clean,
    covered,
    mutated,
    octets_of,
    of,
    payload,
    rows,
    written,
)
from tests.telegram.building import (
    ADAPTER,
    HEADER,
    KEY,
    LONG,
    METER,
    WATER,
    frame,
    record,
    sealed,
    water,
    wired,
    wireless,
)
from tests.telegram.test_own_vectors import VECTORS, frames_of, key_of, read
from tests.vector_files import shared

GAS = "spec/annex_n_2_3_gas_profile_b.toml"


# -- every octet once ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", VECTORS)
def test_own_vectors_are_covered(name: str) -> None:
    for telegram in read(VECTORS[name]):
        covered(telegram)
        clean(telegram)


def _frames(row: dict[str, Any]) -> list[bytes]:
    """All frames of a shared vector, in hexadecimal or several of them."""
    texts = [row.get(name) for name in ("hex", "hex_with_crc", "stripped")] + list(row.get("fragments") or [])
    found = []
    for text in texts:
        for piece in (text if isinstance(text, str) else "").split("/"):
            digits = piece.replace(" ", "")
            if digits and re.fullmatch(r"([0-9A-Fa-f]{2})+", digits):
                found.append(bytes.fromhex(digits))
    return found


@pytest.mark.corpus
@pytest.mark.parametrize("file", ["security.json", "application.json", "annex_n_extra.json"])
def test_shared_vectors_are_covered(file: str) -> None:
    seen = 0
    for parameter in shared(file, lambda row: True):
        row = parameter.values[0]
        if row is None:
            pytest.skip("the shared vectors are absent; OPENMETERING_CORPUS names their folder")
        text = row.get("key")
        key = bytes.fromhex(text) if isinstance(text, str) and re.fullmatch(r"[0-9A-Fa-f]{32}", text) else None
        decoder = Decoder()
        for octets in _frames(row):
            for given_key in {key, None}:
                covered(decoder.examine(octets, given_key))
                clean(decoder.examine(octets, given_key))
            seen += 1
    assert seen > 30


@given(mutated(), st.booleans())
def test_mutated_frames_are_covered(case: tuple[bytes, bytes | None], strict: bool) -> None:
    octets, key = case
    telegram = (Decoder(policy=STRICT) if strict else Decoder()).examine(octets, key)
    covered(telegram)
    clean(telegram)


@given(st.binary(max_size=60))
def test_any_octets_are_covered(octets: bytes) -> None:
    clean(examine(octets))


@given(
    st.binary(max_size=80),
    st.sampled_from(["72" + LONG, "7A" + HEADER, "78", "5B" + LONG, "79", "69", "C3" + LONG, "C0" + LONG, "76" + LONG]),
)
def test_any_content_is_covered(content: bytes, head: str) -> None:
    clean(examine(wired(bytes.fromhex(head) + content)))


def test_octets_stand_once_in_the_json_too() -> None:
    item = of(frame(profile="B", counter=3), KEY)
    again = msgspec.json.decode(msgspec.json.encode(item), type=Anatomy)
    assert again == item
    assert octets_of(again.parts[0]) == frame(profile="B", counter=3)


def test_what_nobody_takes_stands_at_the_end() -> None:
    canvas = Canvas(FRAME, "a frame", bytes(5))
    canvas.section("link", "Link layer")
    canvas.take(2, "first")
    part = canvas.part()
    assert [section.title for section in part.sections] == ["Link layer", "Not explained"]
    assert [(segment.offset, segment.size) for segment in part.segments] == [(0, 2), (2, 3)]


# -- link layer -------------------------------------------------------------------------------------------


def test_wireless_header() -> None:
    item = of(frame())
    assert rows(item)[:6] == [
        (0, "length (L)", str(len(frame()) - 1)),
        (1, "control (C)", "44h"),
        (2, "manufacturer", "OMG"),
        (4, "identification number", "12345678"),
        (8, "version", "01h"),
        (9, "device type", "07h"),
    ]
    control = at(item, 1)
    assert control.meaning == "SND-NR: data without answer"
    assert bits(control)["6"] == ("primary message", 1, "starts an exchange")
    assert bits(control)["5"][0] == "frame count bit"
    assert bits(control)["3..0"] == ("function", 4, "SND-NR")
    assert at(item, 9).meaning == "water"


def test_an_answer_has_the_bits_of_an_answer() -> None:
    control = at(of(wired(bytes.fromhex("78") + WATER, control=0x28)), 4)
    assert bits(control)["5"] == ("access demand", 1, "alarm data waiting, ask with REQ-UD1")
    assert bits(control)["4"] == ("data flow control", 0, "ready for more")


@pytest.mark.parametrize(
    ("frame_format", "size", "places"),
    [
        ("A", 5, [10, 17]),
        ("A", 16, [10, 28]),
        ("A", 40, [10, 28, 46, 56]),
        ("B", 40, [50]),
        ("B", 116, [126]),
        ("B", 140, [126, 152]),
    ],
)
def test_crcs_stand_between_the_fields(frame_format: str, size: int, places: list[int]) -> None:
    plain = wireless(b"\xa0" + bytes(range(1, size)))
    octets = add_crc(plain, frame_format)
    item = of(octets)
    found = [segment for segment in item.segments if segment.field == "CRC"]
    assert [segment.offset for segment in found] == places
    assert all(segment.size == 2 and segment.meaning.endswith("correct") for segment in found)
    assert b"".join(bytes.fromhex(segment.octets) for segment in item.segments if segment.field != "CRC")[1:] == plain[1:]


def test_a_field_across_a_crc_goes_on() -> None:
    octets = add_crc(frame([record("14", 1), record("14", 1234567, field=0x07)]))  # eight octets across offset 28
    item = of(octets)
    pieces = [segment for segment in item.segments if segment.field.startswith("data")][1:]
    assert [(piece.field, piece.value) for piece in pieces] == [("data", "1234567.00 m3"), ("data, continued", "")]
    assert [piece.offset for piece in pieces] == [25, 30]
    assert sum(piece.size for piece in pieces) == 8


def test_format_a_without_its_first_crc() -> None:
    octets = add_crc(frame(water() * 2))
    item = of(octets[:10] + octets[12:])
    assert next(segment.offset for segment in item.segments if segment.field == "CRC") == 26


def test_a_soft_address_and_an_unknown_maker() -> None:
    soft = msgspec.structs.replace(METER, manufacturer=METER.manufacturer | 0x8000)
    assert "only in this installation" in at(of(wireless("78" + WATER.hex(), address=soft)), 2).meaning
    assert at(of(wireless("78" + WATER.hex(), address=building.OTHER_MAKER)), 2).meaning == "FLAG code of the manufacturer"


def test_wired_frames() -> None:
    item = of(wired("78" + WATER.hex(), address=5))
    assert rows(item)[:6] == [
        (0, "start", "68h"),
        (1, "length (L)", "20"),
        (2, "length, repeated", "20"),
        (3, "start, repeated", "68h"),
        (4, "control (C)", "08h"),
        (5, "address (A)", "5"),
    ]
    assert [row[1] for row in rows(item)[-2:]] == ["checksum", "stop"]
    assert rows(of(bytes.fromhex("105B015C16")))[1:3] == [(1, "control (C)", "5Bh"), (2, "address (A)", "1")]
    assert rows(of(b"\xe5")) == [(0, "single character", "E5h")]


@pytest.mark.parametrize(
    ("address", "word"), [(0, "not configured"), (253, "secondary address"), (254, "test"), (255, "none answers")]
)
def test_special_primary_addresses_are_named_and_no_identity(address: int, word: str) -> None:
    octets = bytes((0x10, 0x5B, address, 0x5B + address & 0xFF, 0x16))
    segment = at(of(octets), 2)
    assert word in segment.meaning
    assert segment.secret == ""


def test_octets_behind_the_frame() -> None:
    item = of(frame() + b"\x12\x34")
    assert at(item, len(frame())).field == "trailing octets"
    assert item.warnings[0].code == "frame.trailing"
    wired_item = of(wired("78") + b"\x00")
    assert rows(wired_item)[-1][1] == "trailing octets"


def test_baud_rate_and_pure_transport() -> None:
    item = payload("BB", "")
    assert item.parts[0].sections[-1].title == "Link layer, end of the frame"
    assert [section.title for section in of(wireless("8A2A000000")).parts[0].sections] == ["Link layer", "Transport layer"]


# -- faulty frames ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("octets", "code", "fields"),
    [
        (bytes.fromhex("1F44A73D"), "frame.truncated", ["not decoded"]),
        (bytes(12), "frame.length", ["not decoded"]),
        (wired("78" + WATER.hex())[:-1] + b"\x17", "frame.stop", ["address (A)", "not read", "not decoded"]),
        (wired("78" + WATER.hex())[:12], "frame.truncated", ["address (A)", "not decoded"]),
        (bytes.fromhex("105B015D16"), "frame.checksum", ["address (A)", "not decoded"]),
        (bytes.fromhex("68030368080178"), "frame.truncated", ["control (C)", "address (A)", "not decoded"]),
        (bytes.fromhex("6803036808"), "frame.truncated", ["start, repeated", "control (C)"]),
        (bytes.fromhex("68030368"), "frame.truncated", ["length, repeated", "start, repeated"]),
        (add_crc(frame())[:-1] + b"\x00", "frame.crc", ["device type", "not read", "not decoded"]),
        (frame()[:-3], "frame.truncated", ["device type", "not decoded"]),
    ],
)
def test_a_frame_with_a_fault_is_explained_up_to_it(octets: bytes, code: str, fields: list[str]) -> None:
    telegram = examine(octets)
    assert telegram.error is not None
    assert telegram.error.code == code
    item = covered(telegram)
    assert [row[1] for row in rows(item)][-len(fields) :] == fields
    faulty = [segment for segment in item.segments if segment.fault]
    assert [(segment.fault, segment.meaning) for segment in faulty] == [(code, telegram.error.message)] * (
        fields[-1] == "not decoded"
    )


def test_an_empty_frame() -> None:
    item = of(b"")
    assert item.title == "Octets that are no telegram"
    assert [part.size for part in item.parts] == [0]


@pytest.mark.parametrize(
    ("data", "code", "octets"),
    [
        ("40010203", "ci.unknown", "40010203"),
        ("8C20018C2002", "ci.order", "8C2002"),
        ("8C20", "frame.truncated", "20"),
        ("862001AABB", "ell.unsupported", "2001AABB"),
        ("9006002C25010000007A2A000000", "afl.length", "06002C25010000007A2A000000"),
        ("90090404AABBCC", "frame.truncated", "090404AABBCC"),
        ("7A2A00", "frame.truncated", "2A00"),
        ("780C1427", "record.truncated", "27"),
        ("780C", "record.truncated", "0C"),
        ("780D14CA00", "record.lvar", "CA00"),
        ("783F0102", "record.reserved_dif", "3F0102"),
        ("788C8080808080808080808080800014", "record.too_many_extensions", "8C8080808080808080808080800014"),
        ("79CC678A922704850200002301000000", "compact.unknown_format", "2704850200002301000000"),
        ("790102", "frame.truncated", "0102"),
        ("6905", "frame.truncated", "05"),
        ("690500000C14", "frame.truncated", "0500000C14"),
        ("71", "frame.truncated", ""),
    ],
)
def test_faults_behind_the_link_layer(data: str, code: str, octets: str) -> None:
    telegram = examine(wireless(data))
    assert telegram.error is not None
    assert telegram.error.code == code
    item = covered(telegram)
    faulty = "".join(segment.octets for segment in item.segments if segment.fault)
    assert faulty == octets
    assert all(segment.fault == code for segment in item.segments if segment.fault)


def test_too_few_encrypted_octets() -> None:
    item = of(wireless("7A2A00F005AABB"), KEY)
    last = list(item.segments)[-1]
    assert (last.octets, last.fault) == ("AABB", "security.length")


# -- extended link layer, AFL, network layer -------------------------------------------------------------------


def test_extended_link_layers() -> None:
    item = of(wireless("8EA412" + ADAPTER.link_octets().hex() + "78" + WATER.hex()))
    assert [row[1] for row in rows(item)][6:13] == [
        "CI", "communication control", "access number", "manufacturer", "identification number", "version", "device type",
    ]  # fmt: skip
    control = at(item, 11)
    assert control.meaning == "unlimited access until the next transmission; at the regular time of the sender"
    assert bits(control)["7"] == ("bidirectional", 1, "also receives")


@pytest.mark.parametrize("ci", [0x8D, 0x8F])
def test_an_encrypted_extended_link_layer_is_opened(ci: int) -> None:
    telegram = building.session_telegram(ell=building.session_link(ci=ci))
    octets = encode(telegram, building.KEYS)
    item = of(octets, KEY)
    assert [part.where for part in item.parts] == ["frame", "plaintext"]
    sealed_part = list(item.parts[0].segments)[-1]
    assert (sealed_part.field, sealed_part.encrypted, sealed_part.secret) == ("encrypted octets", True, "cipher")
    assert rows(item, 1)[:2][0][1] == "payload CRC"
    assert rows(item, 1)[1] == (2, "CI", "78h")
    assert all(segment.encrypted for segment in item.parts[1].segments)
    assert "28504.27 m3" in written(item)
    assert bits(at(item, 21 if ci == 0x8F else 13))["31..29"] == ("encryption", 1, "AES-128-CTR")


def test_an_extended_link_layer_without_key_stays_closed() -> None:
    octets = encode(building.session_telegram(), building.KEYS)
    item = of(octets)
    last = list(item.segments)[-1]
    assert (last.field, last.fault, last.encrypted) == ("encrypted octets", "key.missing", True)
    assert "no key" in last.meaning
    assert len(item.parts) == 1


def test_an_extended_link_layer_in_the_clear() -> None:
    octets = encode(building.session_telegram(ell=building.session_link(encryption=0)), building.KEYS)
    item = of(octets)
    assert "payload CRC" in [row[1] for row in rows(item)]
    assert len(item.parts) == 1
    broken = octets[:-1] + bytes((octets[-1] ^ 1,))
    faulty = list(of(broken).segments)[-1]
    assert faulty.fault == "ell.crc"


def test_a_session_that_was_decrypted_before() -> None:
    octets = encode(building.session_telegram(ell=building.session_link(encryption=0)), building.KEYS)
    claimed = octets[:16] + bytes((octets[16] | 0x20,)) + octets[17:]
    telegram = examine(claimed)
    assert telegram.security.state == "already-plain"
    item = covered(telegram)
    assert len(item.parts) == 1
    assert "28504.27 m3" in written(item)


def test_both_layers_encrypt() -> None:
    inner = encode(building.built(profile="A"), KEY)[10:]
    number = SessionNumber.build(session=3, minutes=4711, encryption=1)
    secret = seal_ell(Key(KEY).cipher, METER.link_octets(), 0x20, int(number).to_bytes(4, "little"), inner)
    octets = wireless(bytes.fromhex("8D2009") + int(number).to_bytes(4, "little") + secret)
    item = of(octets, KEY)
    assert [part.where for part in item.parts] == ["frame", "plaintext", "plaintext"]
    assert item.parts[2].title.startswith("The payload, opened by the key")
    assert "28504.27 m3" in written(item)
    locked = of(octets)
    assert len(locked.parts) == 1


def test_authentication_and_fragmentation() -> None:
    item = of(frames_of(VECTORS[GAS])[0], key_of(VECTORS[GAS]))
    names = [segment.field for segment in item.parts[0].segments if segment.layer == "afl"]
    assert names == [
        "CI", "length (AFLL)", "fragmentation control", "message control", "message counter", "MAC", "MAC, continued",
    ]  # fmt: skip
    control = at(item, 17)
    assert bits(control)["10"] == ("MAC present", 1, "in this frame")
    assert bits(at(item, 19))["3..0"] == ("authentication type", 5, "AES-CMAC-128, 8 octets")
    assert at(item, 24).meaning == "verified: key and origin are proven"
    assert at(of(frames_of(VECTORS[GAS])[0]), 24).meaning == "not verified"


def test_fragments_are_joined() -> None:
    decoder = Decoder(KEY)
    first, second, third = [covered(decoder.examine(octets)) for octets in building.fragments()]
    for number, item in enumerate((first, second), 1):
        assert len(item.parts) == 1
        assert item.parts[0].sections[-1].title == f"Fragment {number} of a message"
        assert list(item.segments)[-1].field == "part of the message"
        assert not any(segment.fault for segment in item.segments)
    assert [part.title.split(":")[0] for part in third.parts] == [
        "The frame as received", "The joined message", "The payload, opened by the key",
    ]  # fmt: skip
    assert rows(third, 1)[0] == (0, "CI", "7Ah")
    assert written(third).count("28504.27 m3") >= 3
    assert "message length" in [row[1] for row in rows(first)]


def test_a_missing_fragment_is_a_fault() -> None:
    item = of(building.fragments()[1], KEY)
    last = list(item.segments)[-1]
    assert last.fault == "afl.fragment_missing"


def test_the_network_layer_is_kept() -> None:
    item = of(wireless("81AABBCC"))
    assert rows(item)[-1] == (11, "octets", "3 octets")
    assert item.parts[0].sections[-1].layer == "nwl"


# -- transport layer and security --------------------------------------------------------------------------------


def test_short_and_long_header() -> None:
    item = of(frame(adapter=ADAPTER))
    assert [row[1] for row in rows(item)][6:14] == [
        "CI", "identification number", "manufacturer", "version", "device type", "access number", "status", "configuration",
    ]  # fmt: skip
    assert [fact.value for fact in item.facts if fact.name == "sent by"] == [str(ADAPTER)]


def test_status_of_a_meter_and_of_a_gateway() -> None:
    meter = at(of(frame(status=0x06)), 12)
    assert meter.meaning == "application error, power low"
    assert bits(meter)["2"][:2] == ("power low", 1)
    assert bits(meter)["1..0"] == ("application", 2, "application error")
    gateway = of(wireless("5B78563412A73D0107" + "2A17000000", control=0x53))
    status = at(gateway, 20)
    assert status.meaning == "the gateway hears the meter at -84 dBm"
    assert bits(status)["5..0"] == ("reception level", 0x17, "-84 dBm")
    silent = at(of(wireless("5B78563412A73D0107" + "2A00000000", control=0x53)), 20)
    assert silent.meaning == "reception level not available"


@pytest.mark.parametrize(("profile", "places", "proof"), [("A", 0, "2F 2F"), ("B", 0, "MAC"), ("D", 0, "tag")])
def test_profiles_are_opened(profile: str, places: int, proof: str) -> None:
    octets = frame(profile=profile, counter=9)
    item = of(octets, KEY)
    assert len(item.parts) == 2
    assert proof in item.parts[1].note
    assert "28504.27 m3" in written(item)
    assert all(segment.encrypted for segment in item.parts[1].segments)
    cipher = [segment for segment in item.parts[0].segments if segment.encrypted]
    assert sum(segment.size for segment in cipher) == item.parts[1].size
    first = next(iter(item.parts[1].segments))
    assert (first.field == "verification octets") == (profile != "D")
    closed = of(octets)
    assert len(closed.parts) == 1
    assert any(segment.fault == "key.missing" for segment in closed.segments)
    wrong = of(octets, building.WRONG_KEY)
    assert any(segment.fault and segment.fault.startswith("key.mismatch") for segment in wrong.segments)


def test_clear_octets_behind_the_encrypted_ones() -> None:
    clear = record("14", 5).octets()
    item = of(frame(profile="A", clear=clear), KEY)
    assert at(item, item.parts[0].size - 1).field == "clear octets"
    flags = [segment.encrypted for segment in item.parts[1].segments]
    assert flags == sorted(flags, reverse=True)
    assert flags[-1] is False
    assert "octets were encrypted" in item.parts[1].note


def test_profile_d_with_key_version_and_tag() -> None:
    item = of(frame(profile="D", counter=9, key_version=4, keys=building.ring((METER, KEY, 0, 4))), KEY)
    fields = {row[1]: row[2] for row in rows(item)}
    assert fields["KeyVersion"] == "4"
    assert fields["message counter"] == "9"
    assert fields["CCM tag"] == "8 octets"
    assert bits(next(s for s in item.segments if s.field == "extension, continued"))["1..0"] == ("option", 1, "tag of 8 octets")


def test_profile_d_without_counter() -> None:
    item = of(building.octets_with(10, 0xFF, b"\x10\x01", bytes(24)), KEY)
    assert item.error is not None
    assert "message counter" not in [row[1] for row in rows(item)]


def test_mode_9() -> None:
    extension = bytes((len(WATER), 0)) + (77).to_bytes(4, "big")
    octets = encode(sealed(9, 0x2000 | 0x01, WATER, extension=extension), building.ring((METER, KEY, 1, None)))
    item = of(octets, KEY)
    fields = {row[1]: row[2] for row in rows(item)}
    assert fields["encrypted length (LenE)"] == str(len(WATER))
    assert fields["clear length (LenU)"] == "0"
    assert fields["message counter"] == "77"
    assert fields["GCM tag"] == "12 octets"
    assert len(item.parts) == 2
    wide = of(building.octets_with(0x69, 0x01, bytes.fromhex("1000100000000001"), bytes(28)))
    assert "lengths, continued" in [row[1] for row in rows(wide)]
    behind = of(octets[:0] + bytes((octets[0] + 1,)) + octets[1:] + b"\x00", KEY)
    assert rows(behind)[-1][1] == "octets behind the tag"


@pytest.mark.parametrize(("mode", "extension"), [(1, b""), (3, b""), (8, b"\x10"), (13, b"\x01"), (15, b"")])
def test_modes_that_stay_closed(mode: int, extension: bytes) -> None:
    item = of(building.octets_with(mode, 0x20, extension), KEY)
    last = list(item.segments)[-1]
    assert (last.field, last.fault, last.size) == ("encrypted octets", "security.unsupported", 16)
    assert bits(at(item, 13))["12..8"][1] == mode


def test_mode_2_and_a_reserved_mode() -> None:
    plain = b"\x2f\x2f" + WATER
    plain += b"\x2f" * (-len(plain) % 8)
    octets = encode(sealed(2, len(plain) // 8 << 4, plain), building.ring((METER, building.DES_KEY)))
    item = covered(Decoder(building.ring((METER, building.DES_KEY))).examine(octets))
    assert len(item.parts) == 2
    reserved = of(building.octets_with(6, 0, b"", WATER))
    assert len(reserved.parts) == 1
    assert "28504.27 m3" in written(reserved)


def test_a_payload_that_was_decrypted_before() -> None:
    plain = b"\x2f\x2f" + WATER + b"\x2f" * (-len(WATER) - 2 & 15)
    item = of(building.octets_with(5, len(plain) & 0xF0, b"", plain))
    assert len(item.parts) == 1
    assert "verification octets" in [row[1] for row in rows(item)]
    assert "28504.27 m3" in written(item)


def test_padding_of_the_transport_layer() -> None:
    content = b"\x2f\x2f" + WATER
    blocks = (len(content) + 16) // 16
    configuration = ConfigurationB.build(mode=7, blocks=blocks, padding=1)
    telegram = sealed(7, int(configuration), content, extension=b"\x10", afl=building.afl_of())
    item = of(encode(telegram, building.KEYS), KEY)
    last = list(item.parts[1].segments)[-1]
    assert last.field == "padding"
    assert last.size == 16 * blocks - len(content)
    assert set(bytes.fromhex(last.octets)) == {last.size}


# -- the whole ---------------------------------------------------------------------------------------------------------


def test_facts_of_a_telegram() -> None:
    item = of(frame(profile="B", counter=9), KEY)
    facts = {fact.name: fact.value for fact in item.facts}
    assert facts["manufacturer"] == "OMG"
    assert facts["security"] == "decrypted, profile B, mode 7, proof mac"
    assert facts["message counter"] == "9"
    assert facts["records"] == "3"
    assert {fact.name for fact in item.facts if fact.secret} == {"identification number", "DIN 43863-5"}
    assert item.title == "SND-NR, wireless, water"
    assert of(wired("78")).title == "RSP-UD, wired"
    ell = {fact.name: fact.value for fact in of(encode(building.session_telegram(), building.KEYS), KEY).facts}
    assert "encryption of the extended link layer" in ell["security"]
    assert "nothing is authenticated" in ell["security"]
