"""The JSON answer back into octets: unchanged answers give the same telegram, changed values go out."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from openmetering import Answer, EncodeError, InputError, OmsError, answer, answer_json, decode, encode, examine
from openmetering.telegram.recompose import telegram_of
from tests.telegram.building import ADAPTER, KEY, KEYS, METER, WATER, fragments, frame, wired, wireless
from tests.telegram.test_own_vectors import CANONICAL, VECTORS, frames_of, key_of, read

Change = Callable[[dict[str, Any]], None]


def again(octets: bytes, key: bytes | None = None, change: Change | None = None) -> bytes:
    """Octets to an answer, changed as JSON, and back to octets."""
    said = json.loads(answer_json(examine(octets, key)))
    if change is not None:
        change(said)
    return encode(telegram_of(msgspec.json.decode(json.dumps(said).encode(), type=Answer)), key)


SINGLE = [name for name in CANONICAL if "hex" in VECTORS[name] and VECTORS[name]["expected"]["state"] != "failed"]


@pytest.mark.parametrize("name", SINGLE)
def test_an_unchanged_answer_gives_the_same_octets(name: str) -> None:
    (telegram,), (octets,), key = read(VECTORS[name]), frames_of(VECTORS[name]), key_of(VECTORS[name])
    made = telegram_of(answer(telegram))
    assert encode(made, key) == octets
    assert made.transport == telegram.transport or telegram.transport is None or telegram.transport.header == "none"
    assert made.payload == (telegram.payload or b"")


#: records that stand inside another structure (SITP) or break off are not laid out anew
RECORDS = [
    name for name in SINGLE if "records" in (stated := VECTORS[name]["expected"]) and not {"application", "error"} & set(stated)
]


@pytest.mark.parametrize("name", RECORDS)
def test_records_alone_are_enough(name: str) -> None:
    """Without ``payload`` the application octets are laid out from the records: the same records come back."""
    (octets,), key = frames_of(VECTORS[name]), key_of(VECTORS[name])
    before = examine(octets, key)
    telegram = decode(again(octets, key, lambda said: said.pop("payload")), key)
    assert [record.octets() for record in telegram.records] == [record.octets() for record in before.records]
    assert telegram.manufacturer_data == before.manufacturer_data


@pytest.mark.parametrize("profile", ["none", "A", "B", "D"])
def test_a_changed_value_goes_out(profile: str) -> None:
    def change(said: dict[str, Any]) -> None:
        said["records"][0]["value"] = 99999.99
        said["transport"]["access_number"] = 77

    telegram = decode(again(frame(profile=profile, counter=3), KEY, change), KEY)
    assert str(telegram.records[0].value) == "99999.99"
    assert telegram.transport is not None
    assert telegram.transport.access_number == 77
    assert telegram.records[1:] == decode(frame()).records[1:]


@pytest.mark.parametrize(
    ("octets", "value", "raw"),
    [
        ("0C1427048502", 28504.27, "27048502"),
        ("0C1427048502", 1, "00010000"),
        ("055B00005041", 13.5, "00005841"),
        ("426CBF2C", "2022-01-31", "DF21"),
        ("426CBF2C", "*-*-*", "E0FF"),
        ("046D32371F15", "2024-02-29T12:34", "222C1D32"),
        ("036D1E2D0D", "01:02:03", "030201"),
        ("466D0A2B0C3F1C00", "2024-02-29T12:34:56", None),
        ("0D780443424120", "XY", "5958"),
        ("0FAABB", None, None),
        ("0C14EEEEEEEE", None, "EEEEEEEE"),
        ("0C14EEEEEEEE", 2, "00020000"),
    ],
)
def test_values_of_every_kind(octets: str, value: object, raw: str | None) -> None:
    start = wired("78" + octets)

    def change(said: dict[str, Any]) -> None:
        for item in said["records"]:
            item["value"] = value

    telegram = decode(again(start, None, change))
    if raw is not None:
        assert telegram.records[0].raw.hex().upper() == raw
    elif value is not None:
        assert json.loads(answer_json(telegram))["records"][0]["value"] == value


def test_the_relative_time_of_a_load_profile_is_kept() -> None:
    """Data type M is written as a duration and stays the octets it was."""
    octets = wired("78" + "CD016DE20330" + WATER.hex())
    assert again(octets) == octets
    assert again(octets, None, lambda said: said.pop("payload")) == octets


def test_octets_of_profiles_and_texts() -> None:
    octets = wired("788C04136500000082046C1F118D04931F0A7AFE4401140232035802")

    def change(said: dict[str, Any]) -> None:
        block = next(item for item in said["records"] if item["raw"].startswith("7A"))
        block["value"] = "7AFE44011402"
        block["raw"] = ""

    telegram = decode(again(octets, None, change))
    assert telegram.records[2].raw.hex().upper() == "7AFE44011402"


def test_a_maker_block_is_put_back() -> None:
    octets = frame(WATER + b"\x0f\x01\x02", profile="A")
    made = decode(again(octets, KEY, lambda said: said.pop("payload")), KEY)
    assert made.manufacturer_data is not None
    assert made.manufacturer_data[:2] == b"\x01\x02"
    tail = frame(profile="A", clear=b"\x0cx\x01\x02\x03\x04")
    clear = decode(again(tail, KEY, lambda said: said.pop("payload")), KEY)
    assert len(clear.records) == 4


def test_all_blocks() -> None:
    octets = frame(WATER * 14, profile="A")
    assert decode(again(octets, KEY, lambda said: said.pop("payload")), KEY).records == decode(octets, KEY).records


def test_a_short_description_is_enough() -> None:
    """What a person writes: no control, no configuration, no header, no payload."""
    said = {
        "ok": True,
        "link": {"kind": "wireless", "frame_format": None, "crc": False, "message": "SND-NR", "address": str(METER)},
        "transport": {"ci": "7A", "access_number": 5, "status": None, "mode": 0},
        "records": [{"quantity": "volume", "value": 28504.27, "unit": "m3", "dib": "0C", "vib": "14"}],
    }
    octets = encode(telegram_of(msgspec.json.decode(json.dumps(said).encode(), type=Answer)))
    telegram = decode(octets)
    assert telegram.address == METER
    assert str(telegram.records[0]) == "volume: 28504.27 m3"
    said["link"] = {"kind": "wired", "frame_format": None, "crc": True, "message": "RSP-UD", "address": 3}
    said["transport"] = {"ci": "72", "access_number": 5, "status": {"raw": "04"}, "mode": 0}
    said["address"] = {"manufacturer": "OMG", "identification": "12345678", "version": 1, "device_type": 7, "medium": "water"}
    wire = decode(encode(telegram_of(msgspec.json.decode(json.dumps(said).encode(), type=Answer))))
    assert wire.address == METER
    assert wire.transport is not None
    assert wire.transport.status == 4


def test_frames_without_application() -> None:
    for octets in (b"\xe5", bytes.fromhex("1040054516"), wireless(b"", control=0x40), wireless("8C2001", control=0x5B)):
        assert again(octets) == octets


def set_to(*path: object, value: object) -> Change:
    """A change of one place of an answer."""

    def change(said: dict[str, Any]) -> None:
        part: Any = said
        for name in path[:-1]:
            part = part[name]
        part[path[-1]] = value

    return change


LONG = frame(adapter=ADAPTER)


@pytest.mark.parametrize(
    ("octets", "change", "error"),
    [
        (frame(), set_to("link", value=None), InputError),
        (frame(), set_to("link", "address", value=None), InputError),
        (frame(), set_to("link", "control", value="XY"), InputError),
        (wired("78" + WATER.hex(), control=0x00), set_to("link", "message", value="HELLO"), InputError),
        (frame(), set_to("transport", "ci", value="7"), InputError),
        (frame(), set_to("transport", "mode", value=5), InputError),
        (LONG, set_to("address", value=None), InputError),
        (frame(), set_to("records", 0, "dib", value=""), OmsError),
        (frame(), lambda said: said["records"][0].update(dib="", vib=""), InputError),
        (frame(), set_to("records", 0, "value", value="many"), OmsError),
        (frame(), set_to("records", 0, "value", value=0.001), EncodeError),
        (frame(), set_to("records", 0, "raw", value="0"), InputError),
        (frame(), set_to("payload", value="0"), InputError),
        (wired("78426CBF2C"), set_to("records", 0, "value", value="soon"), InputError),
        (wired("78426CBF2C"), set_to("records", 0, "value", value="2024-02-30"), EncodeError),
        (wired("78" + WATER.hex()), set_to("transport", value=None), EncodeError),
        (frame(profile="A"), lambda said: None, EncodeError),
        (frame(profile="D", counter=1), lambda said: None, EncodeError),
        (fragments()[1], lambda said: None, EncodeError),
        (wireless("81AABB"), lambda said: None, EncodeError),
    ],
)
def test_what_cannot_be_sent_is_refused(octets: bytes, change: Change, error: type[Exception]) -> None:
    """The last cases: content that the answer does not hold is never sent as if it were empty."""

    def both(said: dict[str, Any]) -> None:
        change(said)
        if said["records"] and said["payload"] and said["payload"] != "0":
            said["payload"] = None

    with pytest.raises(error):
        again(octets, None, both)


def test_a_broken_number_is_an_input_error() -> None:
    typed = answer(decode(frame()))
    bad = msgspec.structs.replace(typed.records[0], value=msgspec.Raw(b"true"))
    with pytest.raises(InputError):
        telegram_of(msgspec.structs.replace(typed, records=(bad,)))


def test_a_header_without_access_number_is_none() -> None:
    """CI 78 has no transport header, whatever the answer says beside."""
    typed = answer(decode(wired(b"\x78" + WATER)))
    assert typed.transport is not None
    odd = msgspec.structs.replace(typed, transport=msgspec.structs.replace(typed.transport, mode=0))
    assert encode(telegram_of(odd)) == wired(b"\x78" + WATER)


def test_security_may_be_left_out() -> None:
    typed = msgspec.structs.replace(answer(decode(frame())), security=None)
    assert encode(telegram_of(typed), KEYS) == frame()
