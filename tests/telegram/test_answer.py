"""The JSON answer: its shape, its digits, and that the quick way writes what the definition writes."""

from __future__ import annotations

import json
import struct
import sys
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openmetering import Address, Answer, Decoder, Record, Telegram, answer, answer_json, encode, examine
from openmetering.codec.apl.header import FUNCTIONS
from openmetering.codec.apl.opaque import Opaque
from openmetering.codec.ell import CommunicationControl
from openmetering.errors import Fault
from openmetering.telegram import answer as answer_function
from openmetering.wire.types import MeterTime
from tests.telegram.building import (
    ADAPTER,
    GATEWAY,
    KEY,
    KEYS,
    METER,
    OTHER_MAKER,
    WATER,
    afl_of,
    built,
    frame,
    record,
    sealed,
    session_telegram,
    water,
    wired,
    wireless,
)

#: the fields that the project's description asks for
ASKED = {
    "": ["ok", "error", "warnings", "telegram", "link", "address", "transport", "security", "records", "manufacturer_data"],
    "error": ["code", "layer", "offset", "message"],
    "link": ["kind", "frame_format", "crc", "message", "address"],
    "address": ["manufacturer", "identification", "version", "device_type", "medium", "din"],
    "transport": ["ci", "access_number", "status", "mode"],
    "status": ["raw", "flags"],
    "security": ["profile", "mode", "state", "proof", "key", "counter"],
    "key": ["id", "version"],
    "record": [
        "quantity", "value", "unit", "function", "storage", "tariff", "subunit",
        "qualifiers", "obis", "tag", "dib", "vib", "raw", "error",
    ],
}  # fmt: skip
#: what we add, so that an answer can be encoded again and a profile be followed in time
ADDED = {
    "": ["payload", "application"],
    "link": ["control", "ell", "afl"],
    "transport": ["header", "configuration", "extension"],
    "status": ["rssi_dbm"],
    "record": ["lvar", "time", "derived"],
}
STATES = {"plain", "decrypted", "already-plain", "key-missing", "failed"}

TELEGRAMS: dict[str, tuple[bytes, object]] = {
    "plain": (frame(), None),
    "profile A": (frame(profile="A"), KEYS),
    "profile B": (frame(profile="B", counter=7, communication_control=CommunicationControl.build(hop=1)), KEYS),
    "profile D": (frame(profile="D", counter=7, adapter=ADAPTER), KEYS),
    "ELL": (encode(session_telegram(), KEY), KEYS),
    "key missing": (frame(profile="A"), None),
    "wired": (frame(primary=3, status=0x0C), None),
    "ACK": (b"\xe5", None),
    "short": (bytes.fromhex("1040054516"), None),
    "noise": (b"\xff\x01", None),
    "command": (frame(adapter=GATEWAY, ci=0x5B, control=0x53, status=0x17), None),
    "error": (wired("7015AABB"), None),
    "select": (wired("5278563412FFFFFFFF", control=0x53), None),
    "clock": (wired("6C78563412A73D01072A000000011E0000", control=0x53), None),
    "fixed": (wired("73785634120A00E97E0100000035010000"), None),
    "SITP": (wired("C578563412A73D01072A000000070000A00022200019"), None),
    "maker": (wireless("A2010203"), None),
    "maker block": (frame(WATER + b"\x0f\x01\x02"), None),
    "MAC in the clear": (encode(sealed(0, 0, WATER, afl=afl_of()), KEY), KEYS),
    "profile": (wired("788C04136500000082046C1F118D04931F0A7AFE4401140232035802"), None),
    "profile without time": (wired("788C0413650000008D04931F087AFE440114023203"), None),
    "broken": (wired("780C14270485020C14"), None),
    "fragment": (wireless("9009017865B30A00005600" + "7A0500"), None),
    "trailing": (frame() + b"\x00", None),
}


def telegram_of(name: str) -> Telegram:
    octets, keys = TELEGRAMS[name]
    return examine(octets, keys)  # type: ignore[arg-type]


def parsed(telegram: Telegram) -> dict[str, Any]:
    """The answer read by the standard library: numbers stay text."""
    said: dict[str, Any] = json.loads(answer_json(telegram), parse_float=str, parse_int=str)
    return said


def definition(telegram: Telegram) -> bytes:
    """The answer of the same telegram with its records made: written record by record."""
    return answer_json(msgspec.structs.replace(telegram, plan=None, read_records=telegram.records))


# -- shape -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TELEGRAMS)
def test_valid_json_with_exactly_these_fields(name: str) -> None:
    said = parsed(telegram_of(name))
    assert list(said) == ASKED[""] + ADDED[""]
    for part in ("error", "link", "address", "transport", "security"):
        if said[part] is not None:
            assert list(said[part]) == ASKED[part] + ADDED.get(part, [])
    if said["transport"] is not None and said["transport"]["status"] is not None:
        assert list(said["transport"]["status"]) == ASKED["status"] + ADDED["status"]
    if said["security"]["key"] is not None:
        assert list(said["security"]["key"]) == ASKED["key"]
    assert said["security"]["state"] in STATES
    for item in said["records"]:
        assert list(item)[:14] == ASKED["record"]
        assert set(item) - set(ASKED["record"]) <= set(ADDED["record"])
        assert item["function"] in FUNCTIONS
    for fault in said["warnings"]:
        assert list(fault) == ASKED["error"]
    assert b"\n" not in answer_json(telegram_of(name))


@pytest.mark.parametrize("name", TELEGRAMS)
def test_the_answer_as_a_type_says_the_same(name: str) -> None:
    telegram = telegram_of(name)
    typed = answer(telegram)
    assert isinstance(typed, Answer)
    again = msgspec.json.decode(msgspec.json.encode(typed), type=Answer)
    assert again == typed
    plain = json.loads(msgspec.json.encode(typed), parse_float=str, parse_int=str)
    said = parsed(telegram)
    for item in said["records"]:
        for extra in set(ADDED["record"]) - set(item):
            item[extra] = False if extra == "derived" else None
    assert plain == said
    assert answer_function is answer


@pytest.mark.parametrize("name", TELEGRAMS)
def test_contents(name: str) -> None:
    telegram = telegram_of(name)
    typed = answer(telegram)
    assert typed.telegram == telegram.frame.hex().upper()
    assert typed.ok == (telegram.error is None)
    assert typed.error == telegram.error
    assert typed.warnings == telegram.warnings
    assert typed.payload == (None if telegram.payload is None else telegram.payload.hex().upper())
    assert typed.manufacturer_data == (None if telegram.manufacturer_data is None else telegram.manufacturer_data.hex().upper())
    sent = [item for item in typed.records if not item.derived]
    assert [bytes.fromhex(item.raw) for item in sent] == [item.raw for item in telegram.records]
    for item, source in zip(sent, telegram.records, strict=True):
        assert (item.quantity, item.unit, item.function) == (source.quantity, source.unit, source.function)
        assert (item.storage, item.tariff, item.subunit) == (source.storage, source.tariff, source.subunit)
        assert bytes.fromhex(item.dib + item.vib) == source.header.octets
        assert item.error == source.error
        assert item.lvar == (None if source.lvar is None else f"{source.lvar:02X}")
    if typed.address is not None:
        assert telegram.address is not None
        assert typed.address.identification == telegram.address.identification
        assert (typed.address.manufacturer, typed.address.medium) == ("OMG", "water")
        assert typed.address.din == "8OMG0112345678"


def test_link() -> None:
    radio = answer(telegram_of("profile B")).link
    assert radio is not None
    assert (radio.kind, radio.frame_format, radio.crc, radio.message) == ("wireless", None, False, "SND-NR")
    assert radio.address == str(METER)
    assert radio.control == "44"
    assert (radio.ell, radio.afl) == ("8C1000", examine(frame(profile="B", counter=7)).afl.encode().hex().upper())  # type: ignore[union-attr]
    wire = answer(telegram_of("wired")).link
    assert wire is not None
    assert (wire.kind, wire.frame_format, wire.crc, wire.message, wire.address) == ("wired", "long", True, "RSP-UD", 3)
    single = answer(telegram_of("ACK")).link
    assert single is not None
    assert (single.frame_format, single.message, single.address) == ("single", "ACK", None)
    checked = answer(examine(frame(frame_format="B", crc=True))).link
    assert checked is not None
    assert (checked.frame_format, checked.crc) == ("B", True)


def test_transport_and_status() -> None:
    wire = answer(telegram_of("wired")).transport
    assert wire is not None
    assert wire.status is not None
    assert (wire.ci, wire.access_number, wire.mode, wire.header) == ("72", 0, 0, "long")
    assert wire.status.raw == "0C"
    assert len(wire.status.flags) == 2
    command = answer(telegram_of("command")).transport
    assert command is not None
    assert command.status is not None
    assert (command.status.flags, command.status.rssi_dbm) == ((), -84)
    none = answer(telegram_of("maker")).transport
    assert none is not None
    assert (none.access_number, none.status, none.mode, none.header) == (None, None, None, "none")
    fixed = answer(telegram_of("fixed")).transport
    assert fixed is not None
    assert (fixed.access_number, fixed.mode) == (10, None)
    authentic = answer(telegram_of("profile D")).transport
    assert authentic is not None
    assert (authentic.mode, authentic.extension[:4]) == (10, "1001")


def test_security() -> None:
    protected = answer(telegram_of("profile B")).security
    assert protected is not None
    assert protected.key is not None
    assert (protected.profile, protected.proof, protected.counter, protected.key.id) == ("B", "mac", 7, 0)
    clear = answer(telegram_of("MAC in the clear")).security
    assert clear is not None
    assert (clear.state, clear.proof, clear.key is not None) == ("plain", "mac", True)
    for name in ("plain", "key missing", "noise"):
        said = answer(telegram_of(name)).security
        assert said is not None
        assert said.key is None


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("error", "ApplicationError"),
        ("select", "Selection"),
        ("clock", "ClockSynchronisation"),
        ("fixed", "FixedData"),
        ("SITP", "SecurityTransfer"),
    ],
)
def test_applications_without_records(name: str, kind: str) -> None:
    said = json.loads(bytes(answer(telegram_of(name)).application))
    assert said["type"] == kind
    assert len(said) > 1


def test_octets_inside_applications_are_hexadecimal() -> None:
    said = json.loads(bytes(answer(telegram_of("SITP")).application))
    assert said["blocks"][0]["header"] == "2000"
    assert json.loads(bytes(answer(telegram_of("error")).application))["additional"] == "AABB"


def test_profiles_are_expanded() -> None:
    """Values, dates and changes of the points stand behind the records and are marked as derived."""
    records = answer(telegram_of("profile")).records
    points = [item for item in records if item.derived]
    assert {item.time for item in points} == {"2008-02-29", "2008-03-31", "2008-04-30", "2008-05-31"}
    volumes = [(item.storage, bytes(item.value)) for item in points if item.quantity == "volume" and not item.qualifiers]
    assert volumes == [(9, b"0.209"), (10, b"0.423"), (11, b"0.755"), (12, b"1.013")]
    dates = [(item.storage, bytes(item.value)) for item in points if item.quantity == "date"]
    assert dates[0] == (9, b'"2008-02-29"')
    changes = [bytes(item.value) for item in points if item.qualifiers]
    assert changes == [b"0.144", b"0.214", b"0.332", b"0.258"]
    timeless = [item for item in answer(telegram_of("profile without time")).records if item.derived]
    assert {item.time for item in timeless} == {None}
    assert bytes(timeless[0].value) == b"0.209"
    assert all(item.quantity == "volume" for item in timeless)


# -- digits ------------------------------------------------------------------------------------------------


def value_of(octets: str) -> str:
    (item,) = parsed(examine(wired("78" + octets)))["records"]
    return str(item["value"])


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        ("0C1427048502", "28504.27"),
        ("0C1400000000", "0.00"),
        ("0C1010000000", "0.000010"),
        ("0C0627048502", "2850427000"),
        ("0C0600000000", "0"),
        ("04FB010A000000", "10"),
        ("025A9CFF", "-10.0"),
        ("025AFFFF", "-0.1"),
        ("07030000000000000010", "1152921504606846976"),
        ("0703FFFFFFFFFFFFFF7F", "9223372036854775807"),
        ("055B0000A041", "20"),
        ("053B0000803F", "0.001"),
        ("05030000C0FF", "None"),
        ("0503" + struct.pack("<f", 3.4e38).hex(), "3.4E+38"),
        ("0503" + struct.pack("<f", float("inf")).hex(), "None"),
        ("426CBF2C", "2021-12-31"),
        ("046D32371F15", "2008-05-31T23:50"),
        ("0D780422434241", 'ABC"'),
    ],
)
def test_numbers_carry_the_digits_of_the_telegram(octets: str, text: str) -> None:
    if "E+" in text:
        assert Decimal(value_of(octets)) == Decimal(text)
        assert "E" not in value_of(octets)
    else:
        assert value_of(octets) == text


def test_text_is_written_safely() -> None:
    """Quotes, backslashes and octets above 7Fh in texts of a meter, in values and in units."""
    text = 'a"b\\c\x01\xe9'
    octets = b"\x0d\x78" + bytes((len(text),)) + text.encode("latin-1")[::-1]
    (item,) = parsed(examine(wired(b"\x78" + octets)))["records"]
    assert item["value"] == text
    unit = b"\x02\xfc\x74\x03" + b'"\\R' + b"\x44\x0d"
    (item,) = parsed(examine(wired(b"\x78" + unit)))["records"]
    assert item["unit"] == 'R\\"'


def test_percent_signs_in_units() -> None:
    for _ in range(3):
        telegram = DECODER.examine(frame([record("FB1A", Decimal("54.0"), field=2), record("14", Decimal("1.00"))]))
        assert parsed(telegram)["records"][0]["value"] == "54.0"
        assert answer_json(telegram) == definition(telegram)
    assert telegram.plan is not None


# -- the quick way -------------------------------------------------------------------------------------------

DECODER = Decoder(KEYS)


def odd(number: int) -> list[Record]:
    """Records whose text takes every branch: negative, scaled, marked invalid, dates, texts, no data."""
    return [
        record("14", Decimal(number) / 100),
        record("5A", Decimal(number % 4001 - 2000) / 10, field=2),
        record("13", Decimal(-(number % 999)) / 1000, field=0x0A) if number % 2 else record("13", None, field=0x0A),
        record("06", number * 1000, field=4),
        record("10", Decimal(number) / 10**6, field=6),
        record("6C", None, field=2) if number % 3 == 0 else record("5B", number % 100, field=1),
        record("78", f"N°{number}%", field=0x0D) if number % 1000 > 99 else record("78", f"N°{number:03d}%", field=0x0D),
        record("5E", Decimal(number % 7), field=5),
        record("FD3A", None, field=0),
        record("947A", Decimal(number) / 100, field=4),
        record("9310", Decimal(number) / 1000, field=4),
    ]


@settings(max_examples=120, deadline=None)
@given(number=st.integers(0, 99999), access=st.integers(0, 255), status=st.integers(0, 255), case=st.integers(0, 5))
def test_the_quick_way_writes_what_the_definition_writes(number: int, access: int, status: int, case: int) -> None:
    options: dict[str, object] = [
        {"profile": "A"},
        {"profile": "none"},
        {"profile": "A", "adapter": ADAPTER},
        {"profile": "A", "communication_control": CommunicationControl(0x20)},
        {"profile": "none", "clear": b"\x0f" + bytes((access, status))},
        {"profile": "A", "crc": True, "frame_format": "A"},
    ][case]
    octets = frame(odd(number), access_number=access, status=status, **options)
    for telegram in (DECODER.examine(octets), DECODER.examine(octets)):
        assert answer_json(telegram) == definition(telegram)
    fresh = Decoder(KEYS).examine(octets)
    assert answer_json(DECODER.examine(octets)) == answer_json(fresh)
    assert telegram.records == fresh.records
    assert answer_json(telegram) == definition(telegram)


def test_quick_answers_of_different_meters_do_not_mix() -> None:
    decoder = Decoder()
    meters = [Address(METER.manufacturer, f"{number:08d}", number, (3, 7, 4)[number % 3]) for number in range(30)]
    for turn in range(3):
        for meter in meters:
            telegram = decoder.examine(frame(odd(turn), meter=meter, access_number=turn))
            said = answer(telegram)
            assert said.address is not None
            assert said.address.identification == meter.identification
            assert answer_json(telegram) == definition(telegram)


def test_tags_and_codes_follow_the_device_type() -> None:
    by_type = {}
    for kind in (0x03, 0x07, 0x1B, 0xFE):
        said = answer(examine(frame(meter=Address(METER.manufacturer, "12345678", 1, kind)))).records[0]
        by_type[kind] = (said.tag, said.obis)
    assert by_type[0x03] == ("VM1!", "7-0:3.1.0*255")
    assert by_type[0x07] == ("VM1!", "8-0:1.0.0*255")
    assert by_type[0xFE][1] is None
    assert answer(examine(wired(b"\x78" + WATER))).records[0].tag is None


def test_gas_flow_with_an_averaging_duration() -> None:
    """The averaging duration selects other OBIS codes (Annex A, notes 9 to 11)."""
    gas = Address(METER.manufacturer, "12345678", 1, 0x03)
    flow, duration = record("3B", Decimal("1.5"), field=0x0C), record("72", 1, field=1)
    alone = answer(examine(frame([flow], meter=gas))).records[0].obis
    averaged = answer(examine(frame([flow, duration], meter=gas))).records[0].obis
    assert alone is not None
    assert averaged is not None
    assert alone != averaged
    decoder = Decoder()
    for _ in range(2):
        assert answer(decoder.examine(frame([flow, duration], meter=gas))).records[0].obis == averaged


def test_a_telegram_that_was_changed_is_written_by_the_definition() -> None:
    """The quick way counts only for what the shortcut read."""
    decoder = Decoder(KEYS)
    decoder.decode(frame(profile="A"))
    quick = decoder.decode(frame(profile="A"))
    assert quick.plan is not None
    changes: list[dict[str, object]] = [
        {"error": Fault("frame.crc", "link", 1, "damaged")},
        {"warnings": (Fault("frame.trailing", "link", 1, "more"),)},
        {"application": Opaque("sml", b"\x01")},
        {"link": None},
    ]
    for change in changes:
        changed = msgspec.structs.replace(quick, **change)
        assert answer_json(changed) == definition(changed)
        assert answer_json(changed) != answer_json(quick)


def test_profiles_with_gaps() -> None:
    """An element marked invalid ends the increments; what stands before it is written, nothing is invented."""
    telegram = examine(wired("788C0413650000008D04931F0A7AFE4401EEEE32035802"))
    (series,) = telegram.profiles
    derived = [item for item in answer(telegram).records if item.derived]
    assert series.invalid_at == 1
    assert {bytes(item.value) for item in derived} == {b"0.209", b"0.144"}
    absolute = examine(wired("788C0413650000008D04931E0A3AFE4401EEEE32035802"))
    values = [bytes(item.value) for item in answer(absolute).records if item.derived]
    assert len(values) == len([point for found in absolute.profiles for point in found.points if point.record is not None])


def test_two_meters_share_the_text_of_a_layout() -> None:
    decoder = Decoder()
    for meter in (METER, OTHER_MAKER):
        for turn in range(3):
            octets = frame(meter=meter, access_number=turn)
            text, _ = decoder.answer(octets)
            assert text == answer_json(Decoder().examine(octets))


def test_bounded_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    module = sys.modules["openmetering.telegram.answer"]  # its function hides the module
    for name in ("_PIECES", "_sheets"):
        monkeypatch.setattr(module, name, {})
    for name in ("_PIECE_LIMIT", "_SHEET_LIMIT"):
        monkeypatch.setattr(module, name, 2)
    decoder = Decoder()
    for turn in range(2):
        for number in range(6):
            meter = Address(METER.manufacturer, f"{number:08d}", 1, 7)
            telegram = decoder.examine(frame(odd(number)[: 2 + number], meter=meter, access_number=turn))
            assert answer_json(telegram) == definition(telegram)
    pieces, sheets = module._PIECES, module._sheets  # type: ignore[attr-defined]
    assert 0 < len(pieces) <= 2
    assert 0 < sum(map(len, sheets.values())) <= 2


def test_bounded_memory_of_dates(monkeypatch: pytest.MonkeyPatch) -> None:
    module = sys.modules["openmetering.telegram.sheet"]
    monkeypatch.setattr(module, "_DATE_LIMIT", 3)
    decoder = Decoder()
    for day in range(1, 29):
        moment = MeterTime("G", 2024, 2, day)
        telegram = decoder.examine(frame([record("6C", moment, field=2), record("14", Decimal("1.00"))]))
        assert answer_json(telegram) == definition(telegram)
    assert len(module._DATES) <= 3  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "options",
    [
        {"profile": "A"},
        {"profile": "none"},
        {"profile": "A", "adapter": ADAPTER},
        {"profile": "A", "communication_control": CommunicationControl(0x20)},
        {"profile": "A", "clear": b"\x0f\x01\x02"},
        {"profile": "none", "clear": b"\x0f\x01\x02", "communication_control": CommunicationControl(0x20)},
        {"profile": "A", "clear": bytes.fromhex("8C04136500000082046C1F118D04931F087AFE440114023203")},
        {"profile": "A", "crc": True, "frame_format": "A"},
        {"profile": "A", "crc": True, "frame_format": "B"},
        {"profile": "B", "counter": 3},
        {"primary": 4},
    ],
)
@pytest.mark.parametrize("key", [None, KEY], ids=["ring", "given key"])
def test_frames_straight_to_answers(options: dict[str, object], key: bytes | None) -> None:
    """``Decoder.answer`` writes what ``examine`` and ``answer_json`` write."""
    decoder = Decoder(KEYS if key is None else None)
    for number in range(12):
        octets = frame(odd(number)[: 3 + number // 4], access_number=number * 20, status=number, **options)
        text, fault = decoder.answer(octets, key)
        fresh = Decoder(KEYS).examine(octets) if key is None else Decoder().examine(octets, key)
        assert (text, fault) == (answer_json(fresh), None)
    for number in range(5):
        octets = frame(water(f"{number}.25"), access_number=number * 51, status=number, **options)
        text, fault = decoder.answer(octets, key)
        fresh = Decoder(KEYS).examine(octets) if key is None else Decoder().examine(octets, key)
        assert (text, fault) == (answer_json(fresh), None)
    broken, fault = decoder.answer(octets[:-1], key)
    assert fault is not None
    assert json.loads(broken)["error"]["code"] == fault.code
    other, fault = decoder.answer(octets[:15] + bytes(len(octets) - 15), key)
    assert json.loads(other)["ok"] == (fault is None)


def test_telegrams_that_were_not_read_are_written_too() -> None:
    """A telegram that was composed has no frame yet."""
    said = answer(built())
    assert (said.telegram, said.payload, said.ok) == ("", WATER.hex().upper(), True)
