"""Readings as line protocol, read back by a small reader of our own, and sent to a server that fails now and then."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openmetering.errors import InputError, TransportError
from openmetering.services.headend.bus import Bus, ReadingsStored
from openmetering.services.headend.influx import InfluxSettings, InfluxWriter, lines
from openmetering.services.headend.model import Device
from openmetering.simulation.metrology import MEDIA
from openmetering.storage.reading_rows import Reading, SeriesKey, readings_of
from openmetering.telegram import Telegram, decode
from tests.fleet import radio, volume
from tests.interfaces.mqtt.samples import medium_telegram, record_telegram
from tests.services.headend.http_listener import Listener, listening

AT = 1_768_392_000.123
METER = Device(1, "ELS-12345678-33-03", label="Kitchen, cold", medium="gas")
SERIES = SeriesKey("volume", "m3", "instantaneous", 0, 0, 0, "", "", "", "0C", "13")


def event(telegram: Telegram, device: Device | None = METER, at: float = AT) -> ReadingsStored:
    return ReadingsStored(device, telegram, tuple(readings_of(telegram)), at, 1, "stick")


def of_reading(reading: Reading, device: Device | None = METER) -> ReadingsStored:
    return ReadingsStored(device, decode(radio()), (reading,), AT, 1, "stick")


def read(line: str) -> tuple[str, dict[str, str], dict[str, str | Decimal], int]:
    """Measurement, tags, fields and time of a line. Source: InfluxDB, line protocol reference, special characters"""
    head, fields, moment = re.fullmatch(r"((?:\\.|[^ \\])+) (\w+=(?:\"(?:\\.|[^\"\\])*\"|[^ ]+)) (\d+)", line).groups()  # type: ignore[union-attr]
    parts = re.findall(r"(?:\\.|[^,\\])+", head)
    tags = {}
    for part in parts[1:]:
        name, value = re.fullmatch(r"((?:\\.|[^=\\])+)=((?:\\.|[^=\\])+)", part).groups()  # type: ignore[union-attr]
        tags[name] = re.sub(r"\\([,= ])", r"\1", value)
    name, _, value = fields.partition("=")
    if value.startswith('"'):
        return (
            parts[0],
            tags,
            {name: re.sub(r"\\(.)", lambda match: {"n": "\n", "r": "\r"}.get(match[1], match[1]), value[1:-1])},
            int(moment),
        )
    return parts[0], tags, {name: Decimal(value)}, int(moment)


def test_a_line() -> None:
    (line,) = lines(event(decode(radio(1234))))
    assert line.startswith(r"openmetering,address=ELS-12345678-33-03,label=Kitchen\,\ cold,medium=gas,quantity=volume,unit=m3,")
    measurement, tags, fields, moment = read(line)
    assert (measurement, fields, moment) == ("openmetering", {"value": Decimal("12.34")}, 1_768_392_000_123_000_000)
    assert tags["label"] == "Kitchen, cold"
    assert not {"storage", "tariff", "subunit", "function", "qualifiers"} & set(tags)


def test_places_are_tags_where_they_are_not_the_usual_ones() -> None:
    found = [read(line)[1] for line in lines(event(record_telegram("9C 50 13 00 00 00 00 4C 13 00 00 00 00")))]
    odd = next(tags for tags in found if "function" in tags)
    assert (odd["function"], odd["tariff"], odd["subunit"]) == ("maximum", "1", "1")
    assert next(tags for tags in found if "function" not in tags)["storage"] == "1"


def test_texts_and_dates_are_texts() -> None:
    found = [read(line)[2] for line in lines(event(record_telegram("42 6C DF 3C 0D FD 11 04 22 5C 62 61")))]
    assert found == [{"text": "2030-12-31"}, {"text": 'ab\\"'}]


def test_what_has_no_value_has_no_line() -> None:
    assert list(lines(event(record_telegram("0C 13 FF FF FF FF")))) == []


def test_frames_of_nobody_have_no_line() -> None:
    assert list(lines(event(decode(bytes.fromhex("10 5B 01 5C 16")), None))) == []


def test_a_device_that_is_not_registered_goes_by_its_address() -> None:
    (line,) = lines(event(decode(radio(1234)), None), "my meters")
    measurement, tags, _, _ = read(line)
    assert (measurement, tags["address"], tags["medium"]) == (r"my\ meters", "ELS-12345678-33-03", "gas")
    assert "label" not in tags


@pytest.mark.parametrize("medium", sorted(MEDIA))
def test_every_medium(medium: str) -> None:
    telegram = medium_telegram(medium)
    found = [read(line) for line in lines(event(telegram, None))]
    assert found
    keys = [tuple(sorted(tags.items())) for _, tags, _, _ in found]
    assert len(set(keys)) == len(keys), "two lines of one series and time would overwrite each other"
    assert not [tags for _, tags, _, _ in found if "profile" in tags.get("qualifiers", "")]
    names = ("quantity", "storage", "qualifiers")
    values = {tuple(tags.get(name, "") for name in names): fields.get("value") for _, tags, fields, _ in found}
    for record in telegram.records:
        if record.header.profile is None and isinstance(record.value, Decimal):
            assert values[record.quantity, str(record.storage or ""), "; ".join(record.qualifiers)] == record.value


_words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)


@given(_words, _words)
def test_any_text_survives(label: str, text: str) -> None:
    reading = Reading(SERIES, text, None, None, None, None)
    (line,) = lines(of_reading(reading, msgspec.structs.replace(METER, label=label)))
    assert "\n" not in line
    _, tags, fields, _ = read(line)
    assert fields == {"text": text}
    kept = re.sub(r"[\n\r]", " ", label).rstrip("\\")
    assert tags.get("label", "") == kept


@given(st.decimals(allow_nan=False, allow_infinity=False, places=3))
def test_numbers_are_exact(number: Decimal) -> None:
    (line,) = lines(of_reading(Reading(SERIES, f"{number:f}", None, -3, None, None)))
    assert read(line)[2] == {"value": number}


# -- the writer -----------------------------------------------------------------------------------


@pytest.fixture
def listener() -> Iterator[Listener]:
    with listening() as found:
        yield found


def settings(listener: Listener | None = None, **options: object) -> InfluxSettings:
    return InfluxSettings("http://x" if listener is None else listener.url, "my org", "meters", **options)  # type: ignore[arg-type]


def test_lines_arrive_with_the_token(listener: Listener, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("secret-token\n")
    writer = InfluxWriter(settings(listener, token_file=str(token)))
    writer.take(event(decode(radio(records=volume(1) + volume(2, storage=True)))))
    assert len(writer) == 2
    assert writer.flush() == 2
    path, headers, body = listener.posts[0]
    assert path == "/api/v2/write?org=my+org&bucket=meters&precision=ns"
    assert headers["authorization"] == "Token secret-token"
    assert len(body.decode().splitlines()) == 2
    assert (len(writer), writer.written) == (0, 2)
    assert writer.flush() == 0
    assert "secret" not in repr(writer.settings)


def test_batches(listener: Listener) -> None:
    writer = InfluxWriter(settings(listener, batch=3))
    for number in range(7):
        writer.take(event(decode(radio(number)), at=AT + number))
    assert writer.flush() == 7
    assert [len(body.decode().splitlines()) for _, _, body in listener.posts] == [3, 3, 1]


@pytest.mark.parametrize("status", [401, 404, 429, 503])
def test_lines_stay_while_the_server_will_not_have_them(listener: Listener, status: int) -> None:
    writer = InfluxWriter(settings(listener))
    writer.take(event(decode(radio(1))))
    listener.answers = [status]
    with pytest.raises(TransportError, match=str(status)) as caught:
        writer.flush()
    assert caught.value.code == "influx.failed"
    assert len(writer) == 1
    assert writer.flush() == 1


def test_lines_that_are_called_malformed_go(listener: Listener) -> None:
    writer = InfluxWriter(settings(listener, batch=1))
    for number in range(2):
        writer.take(event(decode(radio(number)), at=AT + number))
    listener.answers = [400]
    assert writer.flush() == 1
    assert (writer.refused, writer.written, len(writer)) == (1, 1, 0)


def test_nobody_there() -> None:
    writer = InfluxWriter(InfluxSettings("http://127.0.0.1:9", "o", "b"))
    writer.take(event(decode(radio(1))))
    with pytest.raises(TransportError, match="InfluxDB") as caught:
        writer.flush()
    assert caught.value.code == "influx.failed"


def test_the_oldest_go_when_there_are_too_many() -> None:
    writer = InfluxWriter(settings(buffer=2))
    for number in range(5):
        writer.take(event(decode(radio(number)), at=AT + number))
    assert (len(writer), writer.dropped) == (2, 3)
    assert [read(line)[2]["value"] for line in writer._lines] == [Decimal("0.03"), Decimal("0.04")]


def test_what_is_dropped_under_way_is_dropped_once() -> None:
    writer = InfluxWriter(settings(buffer=2))

    class Slow:
        def post(self, url: str, headers: dict[str, str], body: bytes, *, private: bool) -> int:
            if len(posts) == 0:
                for number in (8, 9):
                    writer.take(event(decode(radio(number)), at=AT + number))
            posts.append(body)
            return 204

    posts: list[bytes] = []
    writer._poster = Slow()
    writer.take(event(decode(radio(1))))
    assert writer.flush() == 3
    assert b"".join(posts).count(b"value=") == 3


def test_a_token_that_cannot_be_read(tmp_path: Path) -> None:
    writer = InfluxWriter(settings(token_file=str(tmp_path / "missing")))
    writer.take(event(decode(radio(1))))
    with pytest.raises(InputError) as caught:
        writer.flush()
    assert caught.value.code == "influx.token"


def test_settings_are_strict() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"url": "ftp://x", "organization": "o", "bucket": "b"}, InfluxSettings)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"url": "http://x", "organization": "o", "bucket": "b", "token": "t"}, InfluxSettings)


def test_the_bus_and_the_thread(listener: Listener, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openmetering.services.headend.influx._PAUSES", (0.01,))
    writer, bus, stop = InfluxWriter(settings(listener)), Bus(), threading.Event()
    end = writer.attach(bus)
    listener.answers = [503, 503]
    thread = threading.Thread(target=writer.run, args=(stop, 0.01))
    thread.start()
    bus.publish(event(decode(radio(1))))
    for _ in range(300):
        if writer.written:
            break
        time.sleep(0.01)
    stop.set()
    thread.join(5)
    end()
    assert (writer.written, len(listener.posts)) == (1, 3)
    assert "503" in caplog.text
