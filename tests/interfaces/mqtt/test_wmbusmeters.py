"""The view with the field names of wmbusmeters, medium by medium."""

from __future__ import annotations

import msgspec
import pytest

from openmetering.codec.apl.records import read_header
from openmetering.interfaces.mqtt.wmbusmeters import field_name, status_text, view_json
from openmetering.simulation.metrology import MEDIA
from openmetering.tables import DEVICE_TYPES
from tests.interfaces.mqtt.samples import NOON, medium_telegram, record_telegram

WATER, HEAT, ELECTRICITY, GAS, ALLOCATOR = 0x07, 0x04, 0x02, 0x03, 0x08
_ALWAYS = {"_", "media", "meter", "name", "id", "status", "timestamp"}

#: medium -> the word of the tool for it, the fields of its telegrams
FIELDS = {
    "cold water": ("cold water", {"total_m3", "target_m3", "target_date", "volume_flow_m3h"}),
    "warm water": ("warm water", {"total_m3", "target_m3", "target_date", "volume_flow_m3h"}),
    "gas": ("gas", {"total_m3", "volume_flow_m3h"}),
    "electricity": ("electricity", {"total_energy_consumption_kwh", "current_power_consumption_kw", "current_at_phase_1_a"}),
    "feed-in": (
        "electricity",
        {"total_energy_consumption_kwh", "total_energy_production_kwh", "current_power_production_kw"},
    ),
    "heat": (
        "heat",
        {
            "total_energy_consumption_kwh", "total_volume_m3", "volume_flow_m3h", "power_kw", "flow_temperature_c",
            "return_temperature_c", "target_energy_kwh", "target_date",
        },
    ),
    "heat cost allocator": (
        "heat cost allocation",
        {
            "current_consumption_hca", "consumption_at_set_date_hca", "set_date", "flow_temperature_c",
            "external_temperature_c",
        },
    ),
}  # fmt: skip


def view(records: str, device_type: int = WATER, **options: int) -> dict[str, object]:
    telegram = record_telegram(records, device_type, **options)  # type: ignore[arg-type]
    return msgspec.json.decode(view_json(telegram, "meter", NOON))


@pytest.mark.parametrize("medium", sorted(FIELDS))
def test_fields_of_a_medium(medium: str) -> None:
    word, fields = FIELDS[medium]
    found = msgspec.json.decode(view_json(medium_telegram(medium, history=False), "Kitchen", NOON, source="stick", rssi=-71.6))
    assert set(found) - {"device", "rssi_dbm"} == _ALWAYS | fields
    assert (found["_"], found["media"], found["meter"]) == ("telegram", word, "oms")
    assert (found["name"], found["id"], found["timestamp"]) == ("Kitchen", "12345678", "2026-01-14T12:00:00Z")
    assert (found["device"], found["rssi_dbm"], found["status"]) == ("stick", -72, "OK")


@pytest.mark.parametrize("medium", sorted(MEDIA))
def test_every_medium_has_a_view(medium: str) -> None:
    found = msgspec.json.decode(view_json(medium_telegram(medium), medium, NOON))
    assert set(found) >= _ALWAYS


def test_numbers_have_the_digits_of_the_telegram() -> None:
    telegram = record_telegram("0C 13 78 56 34 12 4C 13 00 00 00 10 42 6C DF 3C")
    assert b'"total_m3":12345.678,"target_m3":10000.000,"target_date":"2030-12-31"' in view_json(telegram, "", NOON)
    assert view("0C 05 34 12 00 00", HEAT)["total_energy_consumption_kwh"] == 123.4
    assert view("04 FB 00 07 00 00 00", HEAT)["total_energy_consumption_kwh"] == 700
    assert view("04 0E 07 00 00 00", HEAT)["total_energy_consumption_mj"] == 7
    assert view("0C 13 FF FF FF FF")["total_m3"] is None


@pytest.mark.parametrize(
    ("header", "device_type", "name"),
    [
        ("0C 13", WATER, "total_m3"),
        ("0C 13", HEAT, "total_volume_m3"),
        ("4C 13", HEAT, "target_volume_m3"),
        ("8C 10 13", WATER, "total_tariff1_m3"),
        ("8C 20 03", ELECTRICITY, "total_energy_consumption_tariff_2_kwh"),
        ("8C 20 83 3C", ELECTRICITY, "total_energy_production_tariff_2_kwh"),
        ("04 93 3C", WATER, "total_backward_m3"),
        ("04 93 3B", WATER, "total_forward_m3"),
        ("8C 04 13", WATER, "total_at_storage_8_m3"),
        ("8C 40 13", WATER, "total_counter1_m3"),
        ("12 3B", WATER, "max_volume_flow_m3h"),
        ("22 3B", WATER, "min_volume_flow_m3h"),
        ("32 26", HEAT, "at_error_operating_time_h"),
        ("02 27", HEAT, "operating_time_h"),
        ("02 23", HEAT, "on_time_h"),
        ("02 FD 48 FC 08".replace("48 FC 08", "C8 FC 02"), ELECTRICITY, "voltage_at_phase_2_v"),
        ("0B AB 3C", HEAT, "power_backward_kw"),
        ("0B 2B", HEAT, "power_kw"),
        ("1B 2B", ELECTRICITY, "max_current_power_consumption_kw"),
        ("82 20 3B", WATER, "volume_flow_tariff_2_m3h"),
        ("42 3B", WATER, "volume_flow_at_storage_1_m3h"),
        ("02 62", HEAT, "flow_return_temperature_difference_c"),
        ("02 FB 1A", 0x1F, "current_relative_humidity_rh"),
        ("02 FD 74", WATER, "battery_d"),
        ("02 53", HEAT, None),  # mass flow: no common suffix
        ("02 FB 34", ELECTRICITY, None),  # apparent power
        ("02 FD 4C", ELECTRICITY, "voltage_v"),
        ("01 FD 60", WATER, None),  # a counter without unit
        ("0D 93 1F", WATER, None),  # a compact profile
        ("02 93 15", WATER, None),  # a record error
        ("02 FB 68", ALLOCATOR, None),
        ("02 FB 74", HEAT, None),  # a limit has a unit, but no common name
    ],
)
def test_names(header: str, device_type: int, name: str | None) -> None:
    found, _ = read_header(bytes.fromhex(header), 0)
    assert field_name(found, device_type) == name


def test_dates() -> None:
    assert view("04 6D 00 0C 2E 31")["meter_datetime"] == "2025-01-14 12:00"
    assert view("02 6C DF 3C")["meter_date"] == "2030-12-31"
    assert view("42 6C DF 3C", ALLOCATOR)["set_date"] == "2030-12-31"
    assert view("44 6D 1E 0C 2E 31", HEAT)["target_datetime"] == "2025-01-14 12:30"
    for odd in ("82 04 6C DF 3C", "03 6D 1E 2D 0C", "04 6D 80 00 00 00", "82 10 6C DF 3C", "12 6C DF 3C", "04 93 6A 00 0C 2E 31"):
        assert set(view(odd)) == _ALWAYS, odd


def test_texts() -> None:
    found = view("0C 78 78 56 34 02 0D FD 11 03 63 62 61 02 FD 0E 07 00 0D FD 10 02 42 41")
    assert (found["fabrication_no"], found["customer"]) == ("2345678", "abc")
    assert (found["firmware_version"], found["location"]) == ("7", "AB")


def test_the_first_of_two_fields_counts() -> None:
    assert view("02 5A 64 00 02 5A 65 00", HEAT)["flow_temperature_c"] == 10.0


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (0x00, "OK"),
        (0x01, "BUSY"),
        (0x02, "ERROR"),
        (0x03, "ALARM"),
        (0x04, "POWER_LOW"),
        (0x1C, "POWER_LOW PERMANENT_ERROR TEMPORARY_ERROR"),
        (0x25, "BUSY POWER_LOW UNKNOWN_0x20"),
    ],
)
def test_status(status: int, text: str) -> None:
    assert status_text(status) == text
    assert view("0C 13 00 00 00 00", status=status)["status"] == text


def test_every_device_type_has_a_word() -> None:
    for kind in DEVICE_TYPES[:0x40]:
        found = msgspec.json.decode(view_json(record_telegram("01 FD 60 07", kind.code), "x", NOON))
        assert isinstance(found["media"], str)
        assert found["media"]
