"""Text formats: every line becomes a reception, a bad line, or talk that is counted."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from openmetering.errors import InputError
from openmetering.transport.lines import FORMATS, LineReader, detect, parse_lines, restore_rtl433
from openmetering.transport.reception import BadLine, Reception, hex_octets, plausible_start, size_a
from tests.fleet import radio, with_crc

FRAME = radio(4711)
HEX = FRAME.hex()
NOW = 1_700_000_000.0
LOCAL = "2024-05-06 07:08:09.250"
LOCAL_SECONDS = datetime.fromisoformat(LOCAL).timestamp()
ON_AIR = with_crc(FRAME)
ON_AIR_B = with_crc(FRAME, "B")


def one(text: str, fmt: str = "auto") -> Reception:
    (item,) = parse_lines([text], fmt, source="door", received_at=NOW)
    assert isinstance(item, Reception), item
    return item


def bad(text: str, fmt: str = "auto") -> BadLine:
    (item,) = parse_lines([text], fmt, received_at=NOW)
    assert isinstance(item, BadLine), item
    return item


GOOD = [
    ("hex", HEX, {}),
    ("hex", HEX.upper(), {}),
    ("hex", f"  0x{HEX}\r\n", {}),
    ("hex", f"|{HEX}|", {}),
    ("hex", "_".join(HEX[at : at + 2] for at in range(0, len(HEX), 2)), {}),
    ("hex", " ".join(HEX[at : at + 2] for at in range(0, len(HEX), 2)), {}),
    ("jsonl", json.dumps({"telegram": HEX, "key": None}), {}),
    ("jsonl", json.dumps({"telegram": HEX, "key": "00" * 16, "extra": [1]}), {"key": "00" * 16}),
    ("jsonl", json.dumps({"_": "decode", "telegram": HEX, "key": "NOKEY", "driver": "auto", "format": "wmbus"}), {}),
    ("jsonl", json.dumps({"telegram": HEX, "received_at": 1.5, "rssi_dbm": -70.5, "mode": "T"}),
     {"received_at": 1.5, "rssi_dbm": -70.5, "mode": "T"}),
    ("jsonl", json.dumps({"telegram": HEX, "received_at": "2024-01-02T03:04:05Z"}),
     {"received_at": datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC).timestamp()}),
    ("rtl-wmbus", f"T1;1;1;{LOCAL};97;148;12345678;0x{HEX}",
     {"received_at": LOCAL_SECONDS, "rssi_raw": 97, "mode": "T", "crc": True, "address_hint": "12345678"}),
    ("rtl-wmbus", f"rla;C1;1;1;{LOCAL};97;148;12345678;0x{HEX}",
     {"received_at": LOCAL_SECONDS, "rssi_raw": 97, "mode": "C", "crc": True, "address_hint": "12345678"}),
    ("rtl-wmbus", f"S1;1;1;{LOCAL};97;148;12345678;0x{HEX};",
     {"received_at": LOCAL_SECONDS, "rssi_raw": 97, "mode": "S", "crc": True, "address_hint": "12345678"}),
    ("rtl-wmbus", f"T1;1;1;2024-01-01 00:00:00.00Z;-65;;;0x{HEX}",
     {"received_at": datetime(2024, 1, 1, tzinfo=UTC).timestamp(), "rssi_dbm": -65.0, "rssi_raw": -65, "mode": "T", "crc": True}),
    ("rtl-wmbus", f"T1;1;1;1970-01-01 00:00:07.00Z;-65;;;0x{HEX}",
     {"rssi_dbm": -65.0, "rssi_raw": -65, "mode": "T", "crc": True}),
    ("rtl-wmbus", f"T1;1;1;;;;;0x{HEX}", {"mode": "T", "crc": True}),
    ("wmbusmeters", f"telegram=|{HEX}|+12", {}),
    ("wmbusmeters", f"telegram={HEX}", {}),
    ("wmbusmeters", f"telegram=|{HEX[:20]}_{HEX[20:]}|+1234", {}),
    ("wmbusmeters", f"(wmbus) telegram=|{HEX}|", {}),
    ("wmbusmeters", f"|{HEX}|+7", {}),
]  # fmt: skip


@pytest.mark.parametrize(("fmt", "text", "wanted"), GOOD)
@pytest.mark.parametrize("auto", [False, True])
def test_a_line_gives_the_frame_and_what_the_receiver_said(fmt: str, text: str, wanted: dict[str, object], auto: bool) -> None:
    item = one(text, "auto" if auto else fmt)
    assert item.frame == FRAME
    assert item.source == "door"
    expected = {
        "received_at": NOW,
        "rssi_dbm": None,
        "rssi_raw": None,
        "mode": None,
        "crc": None,
        "key": None,
        "address_hint": None,
    }
    for name, value in (expected | wanted).items():
        assert getattr(item, name) == value, name


@pytest.mark.parametrize("text", [f"b{ON_AIR.hex()}", f"b{ON_AIR.hex()}\r"])
def test_cul_without_level(text: str) -> None:
    item = one(text)
    assert (item.frame, item.frame_format, item.rssi_dbm, item.mode) == (ON_AIR, "A", None, None)


def test_cul_with_lqi_and_rssi() -> None:
    item = one(f"b{ON_AIR.hex().upper()}38D1")
    assert (item.frame, item.rssi_dbm, item.rssi_raw) == (ON_AIR, (0xD1 - 256) / 2 - 74, 0xD1)


def test_cul_format_b() -> None:
    item = one(f"bY{ON_AIR_B.hex()}3810")
    assert (item.frame, item.frame_format, item.mode, item.rssi_dbm) == (ON_AIR_B, "B", "C", 0x10 / 2 - 74)


def test_cul_sample_of_the_reference() -> None:
    # the published transmit command for the same firmware, receive side
    item = one("b0F44AE0C7856341201074447780B12436587255D")
    assert len(item.frame) == 20


def test_cul_that_firmware_cut() -> None:
    item = bad(f"b{ON_AIR.hex()[:-8]}", "cul")
    assert item.error.code == "input.line"
    assert "cuts" in item.error.message


def test_cul_cut_in_the_middle_of_an_octet() -> None:
    assert bad(f"b{ON_AIR.hex()[:-1]}", "cul").error.code == "input.hex"


def test_cul_format_refuses_other_lines_but_knows_its_talk() -> None:
    assert bad("hello", "cul").error.code == "input.line"
    assert list(parse_lines(["V 1.67 nanoCUL868", "TMODE", "OFF"], "cul")) == []


def rtl433(data: str, **more: object) -> str:
    return json.dumps({"model": "Wireless-MBus", "mode": "T", "M": "ELS", "id": 12345678, "data": data, "mic": "CRC"} | more)


def test_rtl433_restores_the_length_field() -> None:
    # measured behaviour: L two too small, the last CRC behind the data
    data = bytes((FRAME[0] - 2,)) + FRAME[1:] + b"\xab\xcd"
    item = one(rtl433(data.hex(), time="2024-01-02T03:04:05Z"))
    assert item.frame == FRAME
    assert (item.mode, item.crc, item.address_hint) == ("T", True, "12345678")
    assert item.received_at == datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC).timestamp()


def test_rtl433_leaves_consistent_data_alone() -> None:
    assert restore_rtl433(FRAME) == FRAME
    assert one(rtl433(HEX, time=5.0, mic="none")).received_at == 5.0
    assert one(rtl433(HEX, mic="none")).crc is None


def test_rtl433_skips_other_sensors_and_counts_them() -> None:
    reader = LineReader("rtl433")
    assert reader.line(json.dumps({"model": "Acurite-Tower", "id": 5}), NOW) is None
    assert reader.skipped == 1


@pytest.mark.parametrize("text", ['{"model": "Wireless-MBus"}', "{", rtl433("00" * 11), rtl433("0x"), '{"model": 5}'])
def test_rtl433_bad_lines(text: str) -> None:
    assert bad(text, "rtl433").error.code in ("input.line", "input.hex")


BAD = [
    ("auto", "nothing known", "input.line"),
    ("auto", HEX[:-1], "input.hex"),
    ("hex", HEX + "XY", "input.hex"),
    ("hex", "0x", "input.hex"),
    ("jsonl", "{", "input.line"),
    ("jsonl", '{"telegram": 5}', "input.line"),
    ("jsonl", '{"key": null}', "input.line"),
    ("jsonl", '{"telegram": ""}', "input.hex"),
    ("jsonl", "[]", "input.line"),
    ("auto", '{"telegram": "zz"}', "input.hex"),
    ("rtl-wmbus", f"T1;0;1;{LOCAL};97;148;12345678;0x{HEX}", "input.crc"),
    ("rtl-wmbus", f"T1;1;0;{LOCAL};97;148;12345678;0x{HEX}", "input.crc"),
    ("rtl-wmbus", "T1;1", "input.line"),
    ("rtl-wmbus", f"T1;1;1;{LOCAL};97;148;12345678;0x{HEX[:-1]}", "input.hex"),
    ("wmbusmeters", "telegram=||+5", "input.hex"),
    ("wmbusmeters", "telegram=|abc|+5", "input.hex"),
]


@pytest.mark.parametrize(("fmt", "text", "code"), BAD)
def test_a_bad_line_names_its_number_and_reason(fmt: str, text: str, code: str) -> None:
    items = list(parse_lines(["# comment", "", text], fmt))
    (item,) = items
    assert isinstance(item, BadLine)
    assert item.number == 3
    assert item.error.code == code
    assert item.error.message.startswith("line 3: ")


def test_no_line_is_lost() -> None:
    texts = [HEX, "garbage", "# comment", "", "(config) loaded", HEX]
    reader = LineReader("auto")
    items = [reader.line(text, NOW) for text in texts]
    assert [type(item).__name__ for item in items] == ["Reception", "BadLine", "NoneType", "NoneType", "NoneType", "Reception"]
    assert (reader.number, reader.skipped) == (6, 1)


def test_log_talk_of_wmbusmeters_is_counted() -> None:
    reader = LineReader("wmbusmeters")
    for text in ("Started config rtlwmbus on stdin", "(meter) Water(0) : new", "anything"):
        assert reader.line(text, NOW) is None
    assert reader.skipped == 3


def test_replay_gives_simulation_lines_their_time() -> None:
    reader = LineReader("wmbusmeters", replay_start=1000.0)
    times = [reader.line(f"telegram=|{HEX}|{delay}", NOW) for delay in ("+0", "+12", "+2.5", "")]
    assert [item.received_at for item in times if isinstance(item, Reception)] == [1000.0, 1012.0, 1002.5, NOW]


@pytest.mark.parametrize("text", [HEX, f"T1;1;1;{LOCAL};-60;;;0x{HEX}"])
def test_esphome_sends_lines_or_plain_octets(text: str) -> None:
    assert one(text, "esphome").frame == FRAME


def test_unknown_format() -> None:
    with pytest.raises(InputError, match="choose one of") as info:
        LineReader("raw-serial")
    assert info.value.code == "input.format"
    assert set(FORMATS) >= {"auto", "hex", "jsonl", "rtl-wmbus", "rtl433", "wmbusmeters", "cul", "raw-serial"}


@pytest.mark.parametrize(
    ("text", "name"), [("", None), ("b12", "cul"), ("b123", "hex"), ("bY12", "cul"), ("12ab", "hex"), ("x", None)]
)
def test_detection(text: str, name: str | None) -> None:
    assert detect(text) == name


@pytest.mark.parametrize("size", [1, 2, 7, 100, 10_000])
def test_a_stream_in_pieces_gives_the_same_as_whole_lines(size: int) -> None:
    text = f"# start\n{HEX}\r\nbroken\n\n{HEX}\nlast {HEX}".encode()
    reader = LineReader("auto", "door")
    items: list[Reception | BadLine] = []
    for at in range(0, len(text), size):
        items += reader.feed(text[at : at + size], NOW)
    items += reader.close(NOW)
    assert [type(item).__name__ for item in items] == ["Reception", "BadLine", "Reception", "BadLine"]
    assert [item.position for item in items] == [
        text.index(b"broken"), text.index(b"broken") + 7, text.index(b"last"), len(text),
    ]  # fmt: skip
    assert reader.close(NOW) == []


def test_a_line_without_end_does_not_fill_the_memory() -> None:
    reader = LineReader("hex")
    items = reader.feed(b"z" * (LineReader.MAX_LINE + 1), NOW)
    assert [item.error.code for item in items if isinstance(item, BadLine)] == ["input.hex"]
    assert reader.feed(HEX.encode() + b"\n", NOW)[0].position == LineReader.MAX_LINE + 1 + len(HEX) + 1


def test_undecodable_octets_are_a_bad_line() -> None:
    (item,) = LineReader("auto").feed(b"\xff\xfe\xfd\n", NOW)
    assert isinstance(item, BadLine)


def test_keys_show_in_no_representation() -> None:
    secret = "00112233445566778899AABBCCDDEEFF"
    item = one(json.dumps({"telegram": HEX, "key": secret}))
    assert item.key == secret
    assert secret not in repr(item)
    broken = bad(json.dumps({"telegram": "x", "key": secret}))
    assert secret not in repr(broken)
    assert secret not in broken.error.message


def test_hex_octets_names_the_wrong_character() -> None:
    with pytest.raises(InputError, match="'g' is no hexadecimal digit"):
        hex_octets("0g")
    with pytest.raises(InputError, match="3 hexadecimal digits"):
        hex_octets("012")


@pytest.mark.parametrize("length", [9, 10, 24, 25, 26, 41, 42, 154, 255])
def test_size_of_format_a(length: int) -> None:
    frame = bytes((length,)) + bytes(length)
    assert size_a(length) == len(with_crc(frame))


@pytest.mark.parametrize(
    ("octets", "wanted"),
    [("08", False), ("09", True), ("0944", True), ("0941", False), ("09449315", True), ("09440000", False), ("", True)],
)
def test_plausible_start(octets: str, wanted: bool) -> None:
    assert plausible_start(bytes.fromhex(octets)) is wanted
