"""What is published for telegrams: merged state, discovery when something is new, availability, memory."""

from __future__ import annotations

import json

import pytest

from openmetering.errors import InputError
from openmetering.interfaces.mqtt.discovery import Topics
from openmetering.interfaces.mqtt.meters import Heard, Message, Meters, Rules, silence
from openmetering.telegram import Telegram, decode, examine
from tests.fleet import radio
from tests.interfaces.mqtt.discovery_rules import faults
from tests.interfaces.mqtt.samples import NOON, medium_telegram, record_telegram

ADDRESS = "EXS-12345678-01-07"
VOLUME, TEMPERATURE, VERSION = "0C 13 78 56 34 12", "02 65 D0 07", "02 FD 0E 07 00"
STATE, CONFIG = f"openmetering/meters/{ADDRESS}/state", f"homeassistant/device/openmetering_{ADDRESS}/config"
AVAILABILITY, METADATA = f"openmetering/meters/{ADDRESS}/availability", f"openmetering/meters/{ADDRESS}/metadata"


def meters(**rules: bool) -> Meters:
    return Meters(Topics(), Rules(**rules))  # type: ignore[arg-type]


def heard(records: str = VOLUME, at: float = NOON, **options: object) -> Heard:
    return Heard(ADDRESS, record_telegram(records), at, **options)  # type: ignore[arg-type]


def topics(messages: list[Message]) -> list[str]:
    return [message.topic for message in messages]


def payload(messages: list[Message], topic: str) -> dict:
    return json.loads(next(message.payload for message in messages if message.topic == topic))


def test_the_first_telegram_says_everything_the_next_only_its_state() -> None:
    book = meters()
    first = book.heard(heard())
    assert topics(first) == [METADATA, CONFIG, STATE, AVAILABILITY]
    assert all(message.retain and message.qos == 1 for message in first)
    assert payload(first, STATE)["volume_m3"] == 12345.678
    assert payload(first, STATE)["last_heard"] == "2026-01-14T12:00:00+00:00"
    assert payload(first, STATE)["security"] == "plain"
    assert first[-1].payload == b"online"
    second = book.heard(heard("0C 13 79 56 34 12", NOON + 60))
    assert topics(second) == [STATE]
    assert payload(second, STATE)["volume_m3"] == 12345.679
    assert len(book) == 1


def test_numbers_keep_their_digits_in_the_state() -> None:
    state = next(one for one in meters().heard(heard("0C 13 00 00 00 10")) if one.topic == STATE)
    assert b'"volume_m3":10000.000,' in state.payload


def test_what_another_telegram_shows_is_added() -> None:
    book = meters()
    book.heard(heard())
    messages = book.heard(heard(TEMPERATURE, NOON + 1, rssi=-70.4))
    assert CONFIG in topics(messages)
    state = payload(messages, STATE)
    assert (state["volume_m3"], state["external_temperature_c"], state["rssi"]) == (12345.678, 20.0, -70)
    config = payload(messages, CONFIG)
    assert set(config["components"]) == set(state)
    assert faults(CONFIG, config) == []


def test_an_old_telegram_only_adds() -> None:
    """Late keys open the past: what is newer stays."""
    book = meters()
    book.heard(heard())
    state = payload(book.heard(heard("0C 13 00 00 00 00 " + TEMPERATURE, NOON - 3600)), STATE)
    assert (state["volume_m3"], state["external_temperature_c"]) == (12345.678, 20.0)
    assert state["last_heard"] == "2026-01-14T12:00:00+00:00"


def test_the_finer_precision_stays() -> None:
    book = meters()
    book.heard(heard())
    assert topics(book.heard(heard("0C 14 34 12 00 00", NOON + 1))) == [STATE]
    coarse = meters()
    coarse.heard(heard("0C 14 34 12 00 00"))
    assert CONFIG in topics(coarse.heard(heard(VOLUME, NOON + 1)))


def test_versions_name_the_device() -> None:
    book = meters()
    book.heard(heard())
    assert "sw_version" not in payload(book.heard(heard(TEMPERATURE, NOON + 1)), CONFIG)["device"]
    assert payload(book.heard(heard(VERSION, NOON + 2)), CONFIG)["device"]["sw_version"] == "7"
    assert payload(book.heard(heard("02 3B 00 00", NOON + 3)), CONFIG)["device"]["sw_version"] == "7"
    assert payload(book.heard(heard("02 FD 0D 03 00", NOON + 4)), CONFIG)["device"]["hw_version"] == "3"


def locked() -> Telegram:
    """A telegram whose key nobody has."""
    return examine(radio(profile="A", device_type=0x07))


def test_a_meter_without_key_is_shown_with_what_is_known() -> None:
    book = meters()
    telegram = locked()
    assert telegram.error is not None
    messages = book.heard(Heard(ADDRESS, telegram, NOON, rssi=-80.0))
    state = payload(messages, STATE)
    assert set(state) == {"last_heard", "security", "rssi"}
    assert state["security"] == "key-missing"
    assert faults(CONFIG, payload(messages, CONFIG)) == []
    opened = book.heard(heard(at=NOON + 1))
    assert payload(opened, STATE)["volume_m3"] == 12345.678


def test_commands_are_nobodys_state() -> None:
    request = decode(bytes.fromhex("10 5B 01 5C 16"))
    assert not request.uplink
    assert meters().heard(Heard(ADDRESS, request, NOON)) == []


# -- availability ---------------------------------------------------------------------------


def test_silence() -> None:
    assert silence(None) == 172_800.0
    assert silence(900.0) == 4500.0
    assert silence(16.0) == 3600.0


def test_a_silent_meter_is_offline_and_comes_back() -> None:
    book = meters()
    book.heard(heard(interval=900.0))
    assert book.deadline == NOON + 4500
    book.heard(heard(at=NOON + 900, interval=900.0))
    assert book.timeout(NOON + 4500) == []  # heard since: put off
    assert book.deadline == NOON + 900 + 4500
    gone = book.timeout(NOON + 5400)
    assert gone == [Message(AVAILABILITY, b"offline")]
    assert book.timeout(NOON + 99_999) == []
    back = book.heard(heard(at=NOON + 100_000, interval=900.0))
    assert back[-1] == Message(AVAILABILITY, b"online")
    assert book.deadline == NOON + 104_500


def test_one_wait_for_each_meter() -> None:
    book = meters()
    for number in range(1000):
        book.heard(heard(at=NOON + number, interval=16.0))
    assert len(book._due) == 1


def test_nothing_waits_in_the_beginning() -> None:
    assert meters().deadline is None
    assert meters().timeout(NOON) == []


# -- other views --------------------------------------------------------------------------------


def test_views_where_they_are_wanted() -> None:
    book = meters(home_assistant=False, wmbusmeters=True, telegrams=True)
    messages = book.heard(heard(label="Kitchen cold", source="stick", rssi=-70.0))
    assert topics(messages) == [STATE, AVAILABILITY, f"openmetering/meters/{ADDRESS}/telegram", "wmbusmeters/Kitchen_cold"]
    telegram, view = messages[-2:]
    assert not telegram.retain
    assert not view.retain
    assert json.loads(telegram.payload)["records"][0]["value"] == 12345.678
    assert json.loads(view.payload)["total_m3"] == 12345.678
    assert json.loads(view.payload)["device"] == "stick"
    assert book.everything() == messages[:2]


def test_no_view_of_what_cannot_be_read() -> None:
    book = meters(wmbusmeters=True)
    assert not [one for one in book.heard(Heard(ADDRESS, locked(), NOON)) if one.topic.startswith("wmbusmeters")]


def test_the_view_of_a_meter_without_label_has_its_number() -> None:
    assert "wmbusmeters/12345678" in topics(meters(wmbusmeters=True).heard(heard()))


# -- changes ------------------------------------------------------------------------------------


def test_rename() -> None:
    book = meters()
    assert book.rename(ADDRESS, "Kitchen") == []  # not heard yet
    book.heard(heard())
    messages = book.rename(ADDRESS, "Kitchen", "Flat 3")
    device = payload(messages, CONFIG)["device"]
    assert (device["name"], device["suggested_area"]) == ("Kitchen", "Flat 3")
    assert book.rename(ADDRESS, "Kitchen", "Flat 3") == []
    assert book.rename(ADDRESS, "") == []  # no label: the name stays


def test_forget() -> None:
    book = meters()
    book.heard(heard())
    messages = book.forget(ADDRESS)
    assert {message.topic for message in messages} == {STATE, CONFIG, AVAILABILITY, METADATA}
    assert all(message.retain and message.payload == b"" for message in messages)
    assert book.forget(ADDRESS) == []
    assert book.timeout(NOON + 1e9) == []
    assert len(book) == 0


def test_everything_again() -> None:
    book = meters()
    book.heard(heard())
    again = book.everything()
    assert topics(again) == ["homeassistant/device/openmetering_bridge/config", METADATA, CONFIG, STATE, AVAILABILITY]
    book.timeout(NOON + 1e9)
    assert book.everything()[-1].payload == b"offline"


def test_a_device_without_address_of_its_own() -> None:
    """A wired slave that only has a primary address: named by source and number."""
    frame = bytes.fromhex("68 09 09 68 08 05 78") + bytes.fromhex(VOLUME)
    telegram = decode(frame + bytes((sum(frame[4:]) & 0xFF, 0x16)))
    assert telegram.error is None
    assert telegram.address is None
    messages = meters().heard(Heard("tcp://bus#5", telegram, NOON))
    config = json.loads(messages[1].payload)
    assert faults(messages[1].topic, config) == []
    assert config["device"]["name"] == "tcp://bus#5"
    assert config["components"]["volume_m3"]["device_class"] == "volume"
    assert not [key for key in config["components"] if key.startswith("status_")]


# -- memory -------------------------------------------------------------------------------------


def test_a_restart_forgets_nothing() -> None:
    book = meters()
    book.heard(Heard(ADDRESS, medium_telegram("cold water"), NOON, label="Kitchen", interval=900.0))
    assert book.changed
    memory = book.snapshot()
    assert not book.changed
    again = meters()
    again.restore(memory)
    assert again.everything() == book.everything()
    messages = again.heard(heard(VERSION, NOON + 60, label="Kitchen"))
    before = payload(book.everything(), f"homeassistant/device/openmetering_{ADDRESS}/config")
    assert set(payload(messages, CONFIG)["components"]) >= set(before["components"])
    assert again.timeout(NOON + 60 + 4500) == [Message(AVAILABILITY, b"offline")]


def test_a_restart_waits_for_meters_it_has_not_heard() -> None:
    book = meters()
    book.heard(heard(interval=900.0))
    again = meters()
    again.restore(book.snapshot())
    assert again.deadline == NOON + 4500
    again.restore(book.snapshot())  # what is known stays
    assert again.timeout(NOON + 5000) == [Message(AVAILABILITY, b"offline")]


@pytest.mark.parametrize("octets", [b"", b"{", b'{"a":1}', b"\xff"])
def test_a_broken_memory_is_refused(octets: bytes) -> None:
    with pytest.raises(InputError) as caught:
        meters().restore(octets)
    assert caught.value.code == "mqtt.memory"
