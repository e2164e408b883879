"""Every entry of annex_n_extra.json: tags and OBIS codes, fragments, profiles, SITP blocks, exchanges."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest

from openmetering import Decoder, KeyRing, Record, Telegram, answer, encode, encode_fragments, examine
from openmetering.codec.apl.application_error import ApplicationError
from openmetering.codec.apl.clock import ClockSynchronisation
from openmetering.codec.apl.security_transfer import (
    SecuredData,
    SecurityTransfer,
)
from openmetering.codec.link.wireless import WirelessFrame
from openmetering.security import (
    BlockCipher,
    derive,
)
from openmetering.telegram.encoder import encode_message
from tests.telegram.building import general
from tests.telegram.shared_vectors import (
    TAG_DEVIATIONS,
    Vector,
    read,
    vectors,
)
from tests.telegram.vector_checks import (
    check_asp10_mac,
    check_sitp,
    first_of,
    sizes_of,
    text_of,
    unpadded,
    whole_raw,
)

pytestmark = pytest.mark.corpus


def states(*names: str) -> Any:
    return vectors("annex_n_extra.json", lambda vector: set(names) <= set(vector["expected"]))


@pytest.mark.parametrize("vector", states("data_points", "device_type"))
def test_data_points(vector: Vector) -> None:
    """Tags of Annex B and OBIS codes of Annex A stand in the answer."""
    key, stated = bytes.fromhex(vector["key"]), vector["expected"]
    telegram = examine(bytes.fromhex(vector["hex"]), key)
    assert telegram.ok
    assert telegram.security.mode == stated["security_mode"]
    assert telegram.address is not None
    assert f"{telegram.address.device_type:02X}" == stated["device_type"]
    assert (telegram.payload or b"").hex().upper() == stated["plaintext"]
    check_points(vector, telegram, stated["data_points"])
    assert encode(telegram, key) == bytes.fromhex(vector["hex"])


def check_points(vector: Vector, telegram: Telegram, points: Sequence[Vector]) -> None:
    answers = [record for record in answer(telegram).records if not record.derived]
    assert len(answers) == len(points)
    for record, written, point in zip(telegram.records, answers, points, strict=True):
        header = record.header
        assert (header.dib + header.vib).hex().upper() == point["dib"] + point["vib"]
        assert point["raw"] in (record.raw.hex().upper(), whole_raw(record))
        assert (written.dib, written.vib, written.raw) == (point["dib"], point["vib"], record.raw.hex().upper())
        if "profile" in point:
            assert header.profile == point["profile"]
            continue
        assert (written.storage, written.tariff) == (point["storage"], point["tariff"])
        assert written.tag == TAG_DEVIATIONS.get((vector["name"], point["dib"] + point["vib"]), (point["tag"],))[0]
        assert (written.obis or "").split() == point["obis"]
        if point["vib_type"] != "DT01" or point["tag"] is not None:
            check_point_value(record, point["value"])


def check_point_value(record: Record, stated: str) -> None:
    """``28504.27 m3``, ``1.9960 kWh`` or a text without unit."""
    number, _, unit = stated.partition(" ")
    factor = 1000 if unit.startswith("k") else 1
    if isinstance(record.value, Decimal):
        assert record.value == Decimal(number) * factor
        if unit:
            assert unit.removeprefix("k") in (record.unit, record.quantity)
    else:
        assert text_of(record) == stated


@pytest.mark.parametrize("vector", states("fragments", "series"))
def test_messages_in_fragments(vector: Vector) -> None:
    stated, key = vector["expected"], bytes.fromhex(vector["key"])
    name = vector["name"].split()[0] + " reassembled message (3 fragments)"
    source = next(item for item in read("security.json") if item["name"] == name)
    frames = [bytes.fromhex(text) for text in source["fragments"]]
    decoder = Decoder(key)
    telegrams = [decoder.decode(octets) for octets in frames]
    telegram = telegrams[-1]
    message, _ = encode_message(telegram, KeyRing.single(key))
    assert message.hex().upper() == vector["hex"]
    assert len(message) == stated["message_length"]
    for octets, item, size in zip(frames, stated["fragments"], sizes_of(frames), strict=True):
        afl = general(octets).afl
        assert afl is not None
        assert (afl.fragmentation.fragment_id, afl.fragmentation.more_fragments) == (item["fid"], item["mf"])
        assert f"{afl.fragmentation:04X}" == item["fcl"]
        assert (len(afl.encode()) - 2, size) == (item["afl_length"], item["length"])
    assert (telegram.payload or b"").hex().upper() == stated["plaintext"]
    assert telegram.security.counter == stated.get("counter")
    check_points(vector, telegram, stated["data_points"])
    (series,) = telegram.profiles
    assert series.base_time is not None
    assert series.base_time.isoformat() == stated["base_date"]
    months = [(8, stated["base_date"][:7], series.base_value)]
    months += [(point.storage, (point.time or "")[:7], point.value) for point in series.points]
    assert months == [(item["storage"], item["month"], Decimal(item["litres"]) / 1000) for item in stated["series"]]
    assert encode_fragments(first_of(telegrams), key, sizes_of(frames)) == frames


@pytest.mark.parametrize("vector", states("points", "actuality_s"))
def test_expanded_profiles(vector: Vector) -> None:
    stated = vector["expected"]
    telegram = examine(bytes.fromhex(vector["hex"]), bytes.fromhex(vector["key"]))
    imported, exported = telegram.profiles
    for series, name in ((imported, "import_wh"), (exported, "export_wh")):
        assert series.reference == "reception"
        found = [(series.base_offset, series.base_value)] + [(point.offset, point.value) for point in series.points]
        assert found == [(item["offset_s"], Decimal(item[name])) for item in stated["points"]]
        assert len(found) == stated["values"]
        assert series.base_offset == -stated["actuality_s"]
        assert series.spacing is not None
        assert (series.spacing.value, f"{series.spacing.encode()[0]:02X}") == (stated["spacing_s"], stated["spacing_control"])


@pytest.mark.parametrize("vector", states("derivation_constants"))
def test_session_keys(vector: Vector) -> None:
    stated = vector["expected"]
    cipher, number = BlockCipher(bytes.fromhex(vector["key"])), bytes.fromhex(stated["ident_octets"])
    assert stated["counter"].to_bytes(4, "little").hex().upper() == stated["counter_octets"]
    keys = [derive(cipher, int(constant, 16), stated["counter"], number) for constant in stated["derivation_constants"]]
    assert [key.hex().upper() for key in keys] == [stated["encryption_key"], stated["mac_key"]]


@pytest.mark.parametrize("vector", states("sitp", "application_key"))
def test_sitp_telegram(vector: Vector) -> None:
    stated, key = vector["expected"], bytes.fromhex(vector["key"])
    telegram = examine(bytes.fromhex(vector["hex"]), key)
    assert telegram.ok
    assert telegram.security.proof == "mac"
    assert telegram.transport is not None
    assert (telegram.payload or b"").hex().upper() in (stated["plaintext"], unpadded(stated["plaintext"], telegram.transport))
    check_sitp(telegram, stated["sitp"])
    transfer = telegram.application
    assert isinstance(transfer, SecurityTransfer)
    block = transfer.blocks[0]
    assert (f"{block.key_id:02X}", f"{block.key_version:02X}") == (
        stated["application_key_id"],
        stated["application_key_version"],
    )
    content = block.read()
    if isinstance(content, SecuredData):
        check_asp10_mac(content, stated["application_key"])
    if "apdu_tag" in stated["sitp"] and telegram.uplink:
        (written,) = answer(telegram).records
        assert written.tag == stated["sitp"]["apdu_tag"]
        assert (written.obis or "").split() == stated["sitp"]["apdu_obis"]
    assert encode(telegram, key) == bytes.fromhex(vector["hex"])


@pytest.mark.parametrize("vector", states("time_type_J"))
def test_clock_adjustment(vector: Vector) -> None:
    stated = vector["expected"]
    telegram = examine(bytes.fromhex(vector["hex"]), bytes.fromhex(vector["key"]))
    clock = telegram.application
    assert isinstance(clock, ClockSynchronisation)
    assert (telegram.payload or b"").hex().upper() == stated["plaintext"]
    assert (f"{clock.function:02X}", clock.time[:3].hex().upper()) == (stated["tc"], stated["time_type_J"])
    assert (clock.seconds, clock.too_large) == (stated["seconds"], True)
    assert clock.encode().hex().upper() == stated["plaintext"][4:]


def telegrams_of(vector: Vector) -> list[Telegram]:
    key = bytes.fromhex(vector["key"]) or None
    found = []
    for text in vector["hex"].split(" / "):
        telegram = examine(bytes.fromhex(text), key)
        assert encode(telegram, key) == bytes.fromhex(text)
        found.append(telegram)
    return found


@pytest.mark.parametrize("vector", vectors("annex_n_extra.json", lambda vector: " / " in vector["hex"]))
def test_pairs(vector: Vector) -> None:
    names = [name for name in ("demand", "command", "snd_ir", "ack", "cnf_ir") if name in vector["expected"]]
    for telegram, name in zip(telegrams_of(vector), names, strict=True):
        assert telegram.ok
        check_exchange(telegram, vector["expected"][name])


@pytest.mark.parametrize("vector", states("ci", "status"))
def test_single_exchanges(vector: Vector) -> None:
    stated = vector["expected"]
    (telegram,) = telegrams_of(vector)
    check_exchange(telegram, stated)
    if "error" in stated:
        assert isinstance(telegram.application, ApplicationError)
        assert f"{telegram.application.code:02X}" == stated["error"]
        assert (telegram.error and telegram.error.code) == "application.error"


def check_exchange(telegram: Telegram, stated: Vector) -> None:
    """C field, control octets, access numbers, status and reception level of a frame."""
    link, transport, ell = telegram.link, telegram.transport, telegram.ell
    assert isinstance(link, WirelessFrame)
    assert transport is not None
    assert ell is not None
    found = {
        "c": f"{link.control:02X}",
        "cc": f"{ell.communication_control:02X}",
        "ell_acc": f"{ell.access_number:02X}",
        "ci": f"{transport.ci:02X}",
        "tpl_acc": f"{transport.access_number:02X}",
        "status": f"{transport.status:02X}",
        "header": transport.header,
        "ala_device_type": f"{telegram.address.device_type:02X}" if telegram.address else "",
        "lla_device_type": f"{link.address.device_type:02X}",
    }
    for name in set(found) & set(stated):
        assert found[name] == stated[name], name
    if "rssi_dbm" in stated:
        written = answer(telegram).transport
        assert written is not None
        assert written.status is not None
        assert written.status.rssi_dbm == stated["rssi_dbm"]
    if "content_of_message" in stated:
        assert f"{transport.content:02b} static" == stated["content_of_message"]
