"""Messages of other gateways. Examples follow the public manuals of the makers; telegrams are our own."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openmetering.errors import InputError
from openmetering.services.gatewayd.formats import MESSAGE_FORMATS, LoraParts, MessageReader
from openmetering.telegram import Decoder
from openmetering.transport.reception import BadLine, Reception
from tests.fleet import bare_wired, radio, wired, with_crc

NOW = 1_700_000_000.0
FRAME = radio(1234)
DEVICE = "70B3D5E050000001"


def read(fmt: str, message: object, reader: MessageReader | None = None) -> list[Reception | BadLine]:
    octets = (
        message if isinstance(message, bytes) else message.encode() if isinstance(message, str) else json.dumps(message).encode()
    )
    return (reader or MessageReader(fmt, "inlet")).read(octets, NOW)


def one(fmt: str, message: object) -> Reception:
    (item,) = read(fmt, message)
    assert isinstance(item, Reception), item
    return item


def bad(fmt: str, message: object) -> str:
    (item,) = read(fmt, message)
    assert isinstance(item, BadLine)
    assert item.source == "inlet"
    return item.error.message


# -- Lobaro over MQTT ---------------------------------------------------------------------------------


def batch(*rows: dict[str, object], query: str = "data") -> dict[str, object]:
    return {"i": DEVICE, "n": 7, "q": query, "d": {"batch": list(rows)}}


@pytest.mark.parametrize("name", ["telegram", "data", "raw", "frame", "payload"])
@pytest.mark.parametrize("text", [FRAME.hex(), base64.b64encode(FRAME).decode()])
def test_a_batch_of_lobaro(name: str, text: str) -> None:
    item = one("lobaro", batch({"timestamp": 1_699_999_990, "mode": "T", "rssi": -81, name: text}))
    assert (item.frame, item.received_at, item.mode, item.rssi_dbm) == (FRAME, 1_699_999_990.0, "T", -81.0)
    assert (item.address_hint, item.source) == (DEVICE, "inlet")


def test_batches_with_little_in_them() -> None:
    item = one("lobaro", batch({"telegram": FRAME.hex()}))
    assert (item.received_at, item.mode, item.rssi_dbm) == (NOW, None, None)
    assert read("lobaro", batch()) == []
    assert read("lobaro", batch({"telegram": FRAME.hex()}, query="config")) == []
    assert read("lobaro", {"q": "data", "d": {}}) == []


def test_rows_that_cannot_be_read_do_not_stop_the_others() -> None:
    items = read(
        "lobaro",
        batch(
            {"mode": "T"},
            {"mode": "X", "telegram": FRAME.hex()},
            {"telegram": "zz"},
            {"telegram": 5},
            {"timestamp": "late", "telegram": FRAME.hex()},
            {"rssi": "low", "telegram": FRAME.hex()},
            {"telegram": FRAME.hex()},
        ),
    )
    assert [type(item) for item in items] == [BadLine] * 6 + [Reception]
    messages = [item.error.message for item in items if isinstance(item, BadLine)]
    assert "no telegram" in messages[0]
    assert messages[1] == "mode X is no wireless M-Bus"
    assert "no base64" in messages[2]


# -- Lobaro over LoRaWAN ------------------------------------------------------------------------------


def chirpstack(port: int, octets: bytes, counter: int = 1) -> dict[str, object]:
    data = base64.b64encode(octets).decode()
    return {"deviceInfo": {"devEui": DEVICE}, "fPort": port, "fCnt": counter, "data": data, "rxInfo": [{"rssi": -100}]}


def chirpstack_3(port: int, octets: bytes, counter: int = 1) -> dict[str, object]:
    return {"devEUI": DEVICE, "fPort": port, "fCnt": counter, "data": base64.b64encode(octets).decode()}


def things(port: int, octets: bytes, counter: int = 1) -> dict[str, object]:
    payload = base64.b64encode(octets).decode()
    return {"end_device_ids": {"device_id": DEVICE}, "uplink_message": {"f_port": port, "f_cnt": counter, "frm_payload": payload}}


@pytest.mark.parametrize("server", [chirpstack, chirpstack_3, things])
def test_a_whole_telegram_in_one_uplink(server: object) -> None:
    item = one("lobaro", server(11, FRAME))  # type: ignore[operator]
    assert (item.frame, item.received_at, item.rssi_dbm, item.address_hint) == (FRAME, NOW, None, DEVICE)


@pytest.mark.parametrize("parts", [2, 3, 9])
def test_parts_by_port(parts: int) -> None:
    reader = MessageReader("lobaro", "inlet")
    size = -(-len(FRAME) // parts)
    for part in range(parts):
        message = chirpstack((part + 1) * 10 + parts, FRAME[part * size : (part + 1) * size], 100 + part)
        items = read("lobaro", message, reader)
        assert len(items) == (part == parts - 1)
    assert items[0].frame == FRAME  # type: ignore[union-attr]


def test_time_and_level_in_front() -> None:
    stamp = bytes.fromhex("005E53F31A")
    plain = one("lobaro", chirpstack(101, b"\x03" + stamp + FRAME))
    assert (plain.frame, plain.received_at, plain.rssi_dbm) == (FRAME, 1_582_560_026.0, None)
    level = one("lobaro", things(102, b"\x03" + stamp + b"\x51" + FRAME))
    assert (level.frame, level.received_at, level.rssi_dbm) == (FRAME, 1_582_560_026.0, -81.0)


def test_parts_by_flags() -> None:
    reader = MessageReader("lobaro", "inlet")
    whole = bytes.fromhex("005E53F31A") + FRAME
    assert read("lobaro", chirpstack(101, b"\x01" + whole[:7], 519), reader) == []
    assert read("lobaro", chirpstack(101, b"\x00" + whole[7:9], 520), reader) == []
    (item,) = read("lobaro", chirpstack(101, b"\x02" + whole[9:], 521), reader)
    assert isinstance(item, Reception)
    assert item.frame == FRAME


def test_a_missing_part_drops_the_telegram() -> None:
    reader = MessageReader("lobaro", "inlet")
    read("lobaro", chirpstack(101, b"\x01abc", 123), reader)
    (item,) = read("lobaro", chirpstack(101, b"\x02def", 125), reader)
    assert isinstance(item, BadLine)
    assert "missing in front of frame counter 125" in item.error.message
    (item,) = read("lobaro", chirpstack(101, b"\x02def", 126), reader)
    assert isinstance(item, BadLine)
    assert read("lobaro", chirpstack(12, FRAME[:5], 1), reader) == []
    (item,) = read("lobaro", chirpstack(23, FRAME[5:], 2), reader)  # a part of three behind a part of two
    assert isinstance(item, BadLine)


def test_a_status_message_is_no_telegram() -> None:
    assert read("lobaro", chirpstack(1, bytes(7))) == []


def test_the_limits_of_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = LoraParts()
    for counter in range(40):
        assert parts.take("a", 101, counter, (b"\x01" if not counter else b"\x00") + bytes(100)) is None
    with pytest.raises(InputError, match="more than 4096"):
        parts.take("a", 101, 40, b"\x00" + bytes(100))
    monkeypatch.setattr("openmetering.services.gatewayd.formats._DEVICES", 2)
    for device in "abc":
        parts.take(device, 12, 1, b"x")
    assert set(parts._open) == {"b", "c"}


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("no JSON", "no message of this format"),
        ("[1]", "no message of this format"),
        ({"hello": "world"}, "no message of a Lobaro gateway"),
        ({"d": 5}, "no message of this format"),
        ({"data": "*", "fPort": 11}, "no base64"),
        (chirpstack(99, b""), "a part of a telegram"),
        (chirpstack(101, b""), "no octets"),
        (chirpstack(101, b"\x03\x00\x01"), "hold no telegram"),
        (chirpstack(5, b"x"), "port 5 carries no telegram"),
        (chirpstack(200, b"x"), "port 200 carries no telegram"),
        (things(0, b""), "port 0 carries no telegram"),
    ],
)
def test_messages_that_are_none_of_lobaro(message: object, words: str) -> None:
    assert words in bad("lobaro", message)


# -- Elvaco --------------------------------------------------------------------------------------------

HEADINGS = "serial-number;device-identification;created;value-data-count;mbus-raw-value\n"


def report(octets: bytes, text: str = "2023-11-14 22:00:00") -> str:
    return f"00000161;05047168;{text};00;{octets.hex()}"


def test_a_raw_report_of_elvaco() -> None:
    frame = wired(4711, primary=20)
    raw = frame[4:-2].hex()
    item = one("elvaco", f"{HEADINGS}00000161;05047168;2023-11-14 22:00:00;00;{raw[:40]} {raw[40:]}\r\n")
    assert (item.frame, item.mode, item.crc, item.address_hint) == (frame, "wired", True, "05047168")
    assert item.received_at == datetime(2023, 11, 14, 22, tzinfo=UTC).timestamp()
    assert Decoder().examine(item.frame).error is None


def test_rows_of_several_meters() -> None:
    items = read("elvaco", "\n".join([report(wired(1)[4:-2]), "", report(bare_wired(2)[4:-2])]))
    assert [item.frame for item in items if isinstance(item, Reception)] == [wired(1), bare_wired(2)]


def test_a_raw_report_of_a_wireless_meter() -> None:
    item = one("elvaco", report(FRAME[1:]))
    assert (item.frame, item.mode) == (FRAME, None)


@pytest.mark.parametrize(
    ("mode", "name", "frame"),
    [(" T", "T", FRAME), ("Ca", "C", with_crc(FRAME)), ("Cb", "C", FRAME), (" S", "S", FRAME), ("??", None, FRAME)],
)
def test_a_line_of_a_cmex50(mode: str, name: str | None, frame: bytes) -> None:
    item = one("elvaco", f"00028954; ELV;20;1B;00; -83;{mode};{frame.hex()};\r\n")
    assert (item.frame, item.mode, item.rssi_dbm, item.address_hint, item.received_at) == (frame, name, -83.0, "00028954", NOW)
    assert one("elvaco", f"00028954; ELV;20;1B;00;    ;{mode};{frame.hex()};").rssi_dbm is None


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("a;b", "5 or 8 fields between semicolons, this one has 2"),
        (report(FRAME, "today"), "no time of the form"),
        ("1;2;2023-11-14 22:00:00;0;xy", "no hexadecimal digit"),
        ("1;2;2023-11-14 22:00:00;0;", "5 or 8 fields"),
        (report(b"\x08\x01"), "no wired frame"),
        (report(b"\x08" + bytes(300)), "no wired frame"),
        (report(b"\x44" + bytes(300)), "no wireless frame"),
        ("00028954; ELV;20;1B;00; -83; T;;", "this one has 7"),
    ],
)
def test_lines_that_are_none_of_elvaco(message: str, words: str) -> None:
    assert words in bad("elvaco", message)


# -- lines, and anything ---------------------------------------------------------------------------------


def test_lines_of_any_tool() -> None:
    assert one("auto", FRAME.hex()).frame == FRAME
    assert one("hex", f"{FRAME.hex()}\n").frame == FRAME
    assert one("jsonl", {"telegram": FRAME.hex(), "rssi_dbm": -5}).rssi_dbm == -5
    assert len(read("auto", f"{FRAME.hex()}\n\n{FRAME.hex()}")) == 2
    assert "no telegram in any known format" in bad("auto", "hello world")


def test_a_format_that_is_none() -> None:
    with pytest.raises(InputError, match="no format of messages"):
        MessageReader("raw-serial", "x")
    assert "raw-serial" not in MESSAGE_FORMATS


@given(
    st.sampled_from(MESSAGE_FORMATS), st.binary(max_size=200) | st.text(alphabet='{}[]":;,0123456789abcdefdqi \n').map(str.encode)
)
def test_nothing_is_raised_whatever_comes(fmt: str, octets: bytes) -> None:
    for item in MessageReader(fmt, "x").read(octets, NOW):
        assert isinstance(item, Reception | BadLine)


@given(st.integers(0, 255), st.integers(0, 300), st.binary(max_size=20))
def test_no_uplink_breaks_the_parts(port: int, counter: int, octets: bytes) -> None:
    for item in MessageReader("lobaro", "x").read(json.dumps(chirpstack(port, octets, counter)).encode(), NOW):
        assert isinstance(item, Reception | BadLine)
