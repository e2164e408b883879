"""Every entry of application.json: telegrams, application octets, commands, compact frames, both directions."""

from __future__ import annotations

from decimal import Decimal

import pytest

from openmetering import Decoder, Telegram, answer, encode, examine
from openmetering.codec.address import Selection
from openmetering.codec.apl.application_error import ApplicationError
from openmetering.codec.apl.application_select import ApplicationReset
from openmetering.codec.apl.clock import ClockSynchronisation
from openmetering.codec.apl.fixed import FixedData
from openmetering.codec.apl.format import CompactFrame, FormatStore, RecordFormat
from openmetering.codec.apl.image_transfer import ImageMessage
from openmetering.codec.link.wireless import WirelessFrame
from tests.telegram.building import wired
from tests.telegram.shared_vectors import (
    APDUS,
    TELEGRAMS,
    Vector,
    key_of,
    layer,
    of_kind,
    read,
    vectors,
)
from tests.telegram.vector_checks import (
    check_address,
    check_profiles,
    check_record,
    check_records,
    check_sitp,
    text_of,
)

pytestmark = pytest.mark.corpus


@pytest.mark.parametrize("vector", vectors("application.json", of_kind(*TELEGRAMS)))
def test_telegram(vector: Vector) -> None:
    stated, key = vector["expected"], key_of(vector)
    octets = bytes.fromhex(vector["hex"])
    telegram = examine(octets, key)
    answers_error = stated.get("error") or stated.get("error_code")
    assert (telegram.error and telegram.error.code) == ("application.error" if answers_error else None)
    if answers_error:
        assert isinstance(telegram.application, ApplicationError)
        assert f"{telegram.application.code:02X}" == answers_error
    check_application_link(telegram, stated)
    if "ell" in stated:
        assert (telegram.ell.encode().hex().upper() if telegram.ell else None) == stated["ell"]
    if "afl" in stated:
        assert telegram.afl is not None
        assert telegram.afl.encode().hex().upper() == stated["afl"]
        assert (telegram.afl.counter, telegram.security.proof) == (stated["mcr"], "mac")
    if "plaintext" in stated:
        tail = stated.get("unencrypted_tail", "")
        length = len(bytes.fromhex(stated["plaintext"]))
        payload = telegram.payload or b""
        assert payload[:length].hex().upper() == stated["plaintext"]
        assert payload[length:].hex().upper() == tail or not tail
    if stated.get("records") is not None:
        check_records(vector, telegram, stated["records"])
    if "profiles" in stated:
        check_profiles(telegram, stated["profiles"])
    if "apdu" in stated:
        assert (telegram.payload or b"").hex().upper() == stated["apdu"]
    check_commands(telegram, stated)
    assert encode(telegram, key) == octets
    answer(telegram)


def check_application_link(telegram: Telegram, stated: Vector) -> None:
    link, transport = stated.get("link", {}), stated.get("tpl", {})
    assert telegram.link is not None
    if "C" in link:
        assert f"{telegram.link.control:02X}" == link["C"]
    if "A" in link:
        assert telegram.link.address == link["A"]
    if "L" in link:
        assert isinstance(telegram.link, WirelessFrame)
        assert telegram.link.octets()[0] == link["L"]
        check_address(telegram.link.address, link)
    ci = stated.get("ci") or link.get("CI") or (transport.get("CI") if isinstance(transport, dict) else None)
    if ci is not None:
        assert telegram.transport is not None
        assert f"{telegram.transport.ci:02X}" == ci
    if isinstance(transport, dict) and "cf" in transport:
        assert telegram.transport is not None
        assert (telegram.transport.access_number, f"{telegram.transport.status:02X}") == (transport["acc"], transport["status"])
        assert f"{telegram.transport.configuration:04X}" == transport["cf"]
    if isinstance(transport, dict) and "ident" in transport:
        check_address(telegram.address, transport)


def check_commands(telegram: Telegram, stated: Vector) -> None:
    """What commands and the fixed data structure state."""
    application = telegram.application
    if "subcode" in stated:
        assert isinstance(application, ApplicationReset)
        assert application.parameter.hex().upper() == stated["subcode"]
    if "ident" in stated and stated.get("ci") == "52":
        assert isinstance(application, Selection)
        assert application.pattern.identification == stated["ident"]
    if "tc" in stated:
        assert isinstance(application, ClockSynchronisation)
        assert f"{application.function:02X}" == stated["tc"]
    if "counter1" in stated:
        assert isinstance(application, FixedData)
        assert (application.identification, application.access_number) == (stated["ident"], stated["acc"])
        assert (application.medium, f"{application.status:02X}") == (stated["medium"], stated["status"])
        for counter, item in zip(application.counters, (stated["counter1"], stated["counter2"]), strict=True):
            assert counter.raw.hex().upper() == item["raw"]
            assert (f"{counter.code:02X}", str(counter.value)) == (item["unit_code"], item["value"])
        assert [text_of(record) for record in telegram.records] == ["0.001", "0.135"]
    if "sitp" in stated:
        check_sitp(telegram, stated["sitp"])
    if "inner_records" in stated:
        for record, item in zip(telegram.records, stated["inner_records"], strict=True):
            check_record({"name": ""}, record, item)


#: application octets that go to the device: actions are read there, record errors in answers
_COMMANDS = ("annexB_B.3_set", "annexB_B.3_get", "annexB_B.4_arl", "annexB_B.4_drl", "annexM_M", "annexM_UC20", "p2_clear")


def apdu_frame(vector: Vector) -> bytes:
    """The application octets in a wired frame without transport header, command or response."""
    octets = bytes.fromhex(vector["hex"])
    if layer(vector) == "apdu-with-ci":
        return wired(octets)
    down = vector["name"].startswith(_COMMANDS)
    return wired((b"\x51" if down else b"\x78") + octets, control=0x53 if down else 0x08)


@pytest.mark.parametrize("vector", vectors("application.json", of_kind(*APDUS)))
def test_application_octets(vector: Vector) -> None:
    stated, octets = vector["expected"], apdu_frame(vector)
    telegram = examine(octets)
    if "error_code" in stated:
        assert isinstance(telegram.application, ApplicationError)
        assert f"{telegram.application.code:02X}" == stated["error_code"]
        assert (telegram.error and telegram.error.code) == "application.error"
    else:
        assert telegram.ok
        check_records(vector, telegram, stated["records"])
        actions = [item["vife"][-1] for item in stated["records"] if "vife" in item and not telegram.uplink]
        assert len([record for record in telegram.records if record.header.action]) == len(actions)
    check_profiles(telegram, stated.get("profiles", []))
    assert encode(telegram) == octets
    again = b"".join(record.octets() for record in telegram.records)
    assert again in (telegram.payload or b"")


@pytest.mark.parametrize("vector", vectors("application.json", of_kind("reassembled-message")))
def test_reassembled_message(vector: Vector) -> None:
    stated = vector["expected"]
    source = next(item for item in read("security.json") if item["name"] == vector["security_vector"])
    decoder = Decoder(bytes.fromhex(vector["key"]))
    telegram = [decoder.decode(bytes.fromhex(text)) for text in source["fragments"]][-1]
    assert (telegram.payload or b"").hex().upper() == stated["plaintext"]
    check_records(vector, telegram, stated["records"])
    check_profiles(telegram, stated["profiles"])
    printed = [part.split()[0] for part in stated["published_series"].split(": ")[1].split(", ")[:11]]
    assert [point.value for series in telegram.profiles for point in series.points] == [Decimal(text) for text in printed]


@pytest.mark.parametrize("vector", vectors("application.json", of_kind("frame-set")))
def test_full_format_and_compact_frame(vector: Vector) -> None:
    """A compact frame is unknown until the full or the format frame of its meter came."""
    stated = vector["expected"]
    full, compact = bytes.fromhex(stated["full_frame"]), bytes.fromhex(stated["compact_frame"])
    records = stated.get("compact_records", stated.get("records"))
    teachers = [full] + ([bytes.fromhex(stated["format_frame"])] if "format_frame" in stated else [])
    for teacher in teachers:
        decoder = Decoder(formats=FormatStore())
        unknown = decoder.examine(wired(compact))
        assert unknown.error is not None
        assert unknown.error.code == "compact.unknown_format"
        taught = decoder.decode(wired(teacher))
        learnt = decoder.decode(wired(compact))
        check_records(vector, learnt, records)
        assert encode(learnt) == wired(compact)
        assert encode(taught) == wired(teacher)
        frame = learnt.application
        assert isinstance(frame, CompactFrame)
        assert f"{frame.signature:04X}" == stated["format_signature"]
        assert f"{frame.full_frame_crc:04X}" == stated.get("full_frame_crc", stated.get("compact_full_frame_crc"))
        assert CompactFrame.of(learnt.records) == frame
        assert RecordFormat.of(learnt.records).signature == frame.signature
    if "full_records" in stated:
        check_records(vector, examine(wired(full)), stated["full_records"])
        assert b"".join(record.octets() for record in learnt.records).hex().upper() == stated["expanded"]


@pytest.mark.parametrize("vector", vectors("application.json", of_kind("apdu-quirk")))
def test_text_before_extension(vector: Vector) -> None:
    stated = vector["expected"]
    telegram = examine(wired("78" + vector["hex"]))
    (record,) = telegram.records
    assert (record.unit, text_of(record), record.raw.hex().upper()) == (stated["text"], stated["value"], stated["raw"])
    assert record.header.exponent == stated["exponent"]
    assert [warning.code for warning in telegram.warnings] == ["record.text_before_extension"]
    assert encode(telegram) == wired("78" + vector["hex"])


@pytest.mark.parametrize("vector", vectors("application.json", of_kind("clock-sync-apdu")))
def test_clock(vector: Vector) -> None:
    stated, apdu = vector["expected"], bytes.fromhex(vector["hex"])
    octets = wired(b"\x6c" + bytes.fromhex("78563412931533032B000000") + apdu, control=0x53)
    telegram = examine(octets)
    clock = telegram.application
    assert isinstance(clock, ClockSynchronisation)
    assert telegram.ok
    assert not telegram.uplink
    assert f"{clock.function:02X}" == stated["tc"]
    if "time" in stated:
        assert clock.moment is not None
        assert clock.moment.isoformat() == stated["time"]
        if "dow" in stated:
            assert (clock.moment.day_of_week, clock.moment.week) == (stated["dow"], stated["week"])
        assert clock.moment.leap_year == bool(stated.get("leap", 0))
    if "type_j" in stated:
        hour, minute, second = (int(part) for part in stated["type_j"].split(":"))
        seconds = hour * 3600 + minute * 60 + second
        assert clock.time == bytes((second, minute, hour))
        if clock.function in (1, 2):
            assert clock.seconds == (seconds if clock.function == 1 else -seconds)
            assert clock.too_large == (seconds > 60)
    assert encode(telegram) == octets


@pytest.mark.parametrize("vector", vectors("application.json", of_kind("image-transfer-apdu")))
def test_image_transfer(vector: Vector) -> None:
    """The layout inside is provisional: it is our reading, and every message says so."""
    stated, apdu = vector["expected"], bytes.fromhex(vector["hex"])
    response = apdu[0] & 0x80
    ci, control = (b"\xc2", 0x08) if response else (b"\xc0", 0x53)
    octets = wired(ci + bytes.fromhex("78563412931533032B000000") + apdu, control=control)
    telegram = examine(octets)
    image = telegram.application
    assert isinstance(image, ImageMessage)
    assert image.provisional
    assert telegram.uplink == bool(response)
    assert f"{image.function:02X}" == stated["function"]
    for name in ("image_size", "block_size", "block", "lost_total"):
        if name in stated:
            assert getattr(image, name) == stated[name]
    if "image_id" in stated:
        assert image.identifier == stated["image_id"].encode()
    if "length" in stated:
        assert len(image.data or b"") == stated["length"]
    if "lost" in stated:
        assert list(image.lost or ()) == stated["lost"]
    if "mac" in stated:
        assert image.mac is not None
        assert (image.mac.algorithm, f"{image.mac.key_id:02X}", image.mac.key_version) == (
            stated["mac_alg"],
            stated["key_id"],
            stated["key_version"],
        )
        assert image.mac.mac.hex().upper() == stated["mac"]
    if "datetime" in stated:
        assert image.time == bytes.fromhex("0000000030")
    assert encode(telegram) == octets
