"""Records as entities of Home Assistant: classes, units, state classes, names and exact values."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openmetering.codec.apl.header import RecordHeader
from openmetering.interfaces.mqtt.entities import Entity, Shown, meter_time, shown, slug
from openmetering.interfaces.mqtt.vocabulary import BINARY, measure, quantity
from openmetering.simulation.metrology import MEDIA
from openmetering.tables import UNITS
from openmetering.telegram import decode
from openmetering.wire.types import MeterTime
from tests.interfaces.mqtt.discovery_rules import BINARY_CLASSES, SENSOR_CLASSES
from tests.interfaces.mqtt.samples import frame_of, medium_telegram, meter_address, record_telegram

ELECTRICITY, GAS, HEAT, WATER, ALLOCATOR, SMOKE, BREAKER, VALVE, SENSOR = 0x02, 0x03, 0x04, 0x07, 0x08, 0x1A, 0x20, 0x21, 0x1F


def by_key(records: str, device_type: int = WATER, **options: object) -> dict[str, Shown]:
    zone = options.pop("zone", None)
    telegram = record_telegram(records, device_type, **options)  # type: ignore[arg-type]
    assert telegram.error is None, telegram.error
    return {one.entity.key: one for one in shown(telegram, zone)}  # type: ignore[arg-type]


def only(records: str, device_type: int = WATER, zone: dt.tzinfo | None = None) -> Shown:
    """The one record's entity, without the bits of the status octet."""
    found = [one for key, one in by_key(records, device_type, zone=zone).items() if one.meaning is not None]
    assert len(found) == 1
    return found[0]


# (records, device type) -> (key, device class, state class, unit, precision, value)
NUMBERS = [
    ("0C 13 78 56 34 12", WATER, "volume_m3", "water", "total_increasing", "m³", 3, b"12345.678"),
    ("0C 13 78 56 34 12", GAS, "volume_m3", "gas", "total_increasing", "m³", 3, b"12345.678"),
    ("0C 13 78 56 34 12", HEAT, "volume_m3", "volume", "total_increasing", "m³", 3, b"12345.678"),
    ("04 FB 21 0A 00 00 00", GAS, "volume_ft3", "gas", "total_increasing", "ft³", 1, b"1.0"),
    ("04 FB 22 0A 00 00 00", WATER, "volume_us_gal", "water", "total_increasing", "gal", 1, b"1.0"),
    ("04 FB 22 0A 00 00 00", GAS, "volume_us_gal", "volume", "total_increasing", "gal", 1, b"1.0"),
    ("04 03 D2 04 00 00", ELECTRICITY, "energy_wh", "energy", "total_increasing", "kWh", 3, b"1.234"),
    ("0C 06 34 12 00 00", HEAT, "energy_wh", "energy", "total_increasing", "kWh", 0, b"1234"),
    ("04 07 02 00 00 00", HEAT, "energy_wh", "energy", "total_increasing", "kWh", 0, b"20"),
    ("04 0D 02 00 00 00", HEAT, "energy_j", "energy", "total_increasing", "MJ", 1, b"0.2"),
    ("04 FB 00 07 00 00 00", HEAT, "energy_mwh", "energy", "total_increasing", "MWh", 1, b"0.7"),
    ("04 FB 08 07 00 00 00", HEAT, "energy_gj", "energy", "total_increasing", "GJ", 1, b"0.7"),
    ("04 FB 0D 07 00 00 00", HEAT, "energy_mcal", "energy", "total_increasing", "Mcal", 0, b"7"),
    ("02 2B F6 FF", ELECTRICITY, "power_w", "power", "measurement", "W", 0, b"-10"),
    ("02 3B 2C 01", WATER, "volume_flow_m3_h", "volume_flow_rate", "measurement", "m³/h", 3, b"0.300"),
    ("02 43 01 00", WATER, "volume_flow_m3_min", "volume_flow_rate", "measurement", "m³/h", 3, b"0.006"),
    ("02 4F 01 00", WATER, "volume_flow_m3_s", "volume_flow_rate", "measurement", "m³/h", 0, b"36"),
    ("02 FB 26 01 00", WATER, "volume_flow_us_gal_h", None, "measurement", "gal/h", 0, b"1"),
    ("02 53 01 00", HEAT, "mass_flow_kg_h", None, "measurement", "kg/h", 0, b"1"),
    ("02 1B 01 00", 0x05, "mass_kg", "weight", "total_increasing", "kg", 0, b"1"),
    ("02 FB 18 01 00", 0x05, "mass_t", "weight", "total_increasing", "kg", 0, b"100000"),
    ("0A 5A 21 06", HEAT, "flow_temperature_c", "temperature", "measurement", "°C", 1, b"62.1"),
    ("02 5E F6 FF", HEAT, "return_temperature_c", "temperature", "measurement", "°C", 1, b"-1.0"),
    ("02 62 64 00", HEAT, "temperature_difference_k", None, "measurement", "K", 1, b"10.0"),
    ("03 6E 39 30 00", ALLOCATOR, "hca_units", None, "total_increasing", None, 0, b"12345"),
    ("02 FD 48 FC 08", ELECTRICITY, "voltage_v", "voltage", "measurement", "V", 1, b"230.0"),
    ("03 FD D9 FC 01 E8 03 00", ELECTRICITY, "current_a_phase_l1", "current", "measurement", "A", 3, b"1.000"),
    ("02 FB 2E 88 13", ELECTRICITY, "frequency_hz", "frequency", "measurement", "Hz", 1, b"500.0"),
    ("02 FB 97 72 01 00", ELECTRICITY, "reactive_power_kvar", "reactive_power", "measurement", "var", 1, b"0.1"),
    ("02 FB 14 05 00", ELECTRICITY, "reactive_power_kvar", "reactive_power", "measurement", "var", 0, b"5"),
    ("02 FB 34 05 00", ELECTRICITY, "apparent_power_kva", "apparent_power", "measurement", "VA", 0, b"5"),
    ("04 FB 02 05 00 00 00", ELECTRICITY, "reactive_energy_kvarh", None, "total_increasing", "kvarh", 0, b"5"),
    ("02 FB 1A F4 01", SENSOR, "relative_humidity", "humidity", "measurement", "%", 1, b"50.0"),
    ("02 FD FD 10 90 01", SENSOR, "co2_ppm", "carbon_dioxide", "measurement", "ppm", 0, b"400"),
    ("02 FD FD 14 05 00", SENSOR, "voc_ppb", "volatile_organic_compounds_parts", "measurement", "ppb", 0, b"5"),
    ("02 FD FD 16 05 00", SENSOR, "voc_g_m3", "volatile_organic_compounds", "measurement", "µg/m³", 0, b"5"),
    ("02 FD FD 19 05 00", SENSOR, "pm2_5_g_m3", "pm25", "measurement", "µg/m³", 0, b"5"),
    ("02 FD FD 1D 05 00", SENSOR, "pm2_5_1_m3", None, "measurement", "p/m³", 0, b"500000"),
    ("02 FD FD 27 48 00", SENSOR, "ph_ph", "ph", "measurement", None, 1, b"7.2"),
    ("02 FD FD 23 05 00", SENSOR, "rainfall_l_m2", "precipitation", "measurement", "mm", 0, b"5"),
    ("02 FD 74 64 00", WATER, "remaining_battery_d", "duration", "measurement", "d", 0, b"100"),
    ("02 FD FD 02 64 00", WATER, "remaining_battery_month", None, "measurement", "months", 0, b"100"),
    ("01 FD 71 B0", WATER, "rf_level_dbm", "signal_strength", "measurement", "dBm", 0, b"-80"),
    ("05 5B 00 00 C8 41", HEAT, "flow_temperature_c", "temperature", "measurement", "°C", None, b"25"),
    ("03 26 10 27 00", WATER, "operating_time_h", "duration", "total_increasing", "h", 0, b"10000"),
    ("01 FD 60 07", WATER, "reset_counter", None, "total_increasing", None, 0, b"7"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("records", "device_type", "key", "device_class", "state_class", "unit", "precision", "value"),
    NUMBERS,
    ids=[f"{row[2]}-{row[1]:02X}-{index}" for index, row in enumerate(NUMBERS)],
)
def test_numbers(
    records: str, device_type: int, key: str, device_class: str | None, state_class: str | None, unit: str | None,
    precision: int | None, value: bytes,
) -> None:  # fmt: skip
    found = only(records, device_type)
    entity = found.entity
    assert (entity.key, entity.platform) == (key, "sensor")
    assert (entity.device_class, entity.state_class, entity.unit, entity.precision) == (
        device_class,
        state_class,
        unit,
        precision,
    )
    assert found.value == value


@pytest.mark.parametrize(
    ("records", "key", "state_class"),
    [
        ("4C 13 00 00 00 00", "volume_m3_storage_1", None),  # the value at the due date stands still
        ("1C 13 00 00 00 00", "volume_m3_maximum", None),
        ("3C 13 00 00 00 00", "volume_m3_error", None),
        ("8C 10 13 00 00 00 00", "volume_m3_tariff_1", "total_increasing"),
        ("8C 40 13 00 00 00 00", "volume_m3_subunit_1", "total_increasing"),
        ("04 93 3B 00 00 00 00", "volume_m3_forward", "total_increasing"),
        ("04 83 FC 0C 00 00 00 00", "energy_wh_delta_import_export", "total"),  # may fall
        ("04 83 FC 10 00 00 00 00", "energy_wh_absolute_sum", "total_increasing"),
        ("04 93 69 00 00 00 00", "volume_m3_leakage", None),
        ("02 BB 12 00 00", "volume_flow_m3_h_average", "measurement"),
        ("02 BB 48 00 00", "volume_flow_m3_h_upper_limit", None),
        ("12 3B 00 00", "volume_flow_m3_h_maximum", None),
    ],
)
def test_only_registers_of_now_are_for_statistics(records: str, key: str, state_class: str | None) -> None:
    entity = only(records).entity
    assert (entity.key, entity.state_class) == (key, state_class)


def test_other_units_are_not_guessed() -> None:
    """The table says m3, the qualifier says that it is another unit: no unit and no class."""
    entity = only("04 93 3D 01 00 00 00").entity
    assert (entity.unit, entity.device_class, entity.state_class) == (None, None, None)
    per_hour = only("02 83 22 05 00").entity  # Wh/h is no word of Home Assistant
    assert (per_hour.unit, per_hour.device_class) == ("Wh/h", None)


def test_names_come_from_the_data_point_else_from_the_quantity() -> None:
    assert only("0C 13 00 00 00 00").entity.name == "Volume"
    assert only("4C 13 00 00 00 00").entity.name == "Volume, due date"
    assert only("8C 20 13 00 00 00 00").entity.name == "Volume, tariff, tariff 2"
    assert only("8C 40 13 00 00 00 00").entity.name == "Volume, channel 1"
    assert only("8C 04 13 00 00 00 00").entity.name == "Volume, periodic, storage 8"
    assert only("02 BB 12 00 00").entity.name == "Volume flow, average"
    assert only("52 BB 12 00 00").entity.name == "Volume flow, average, maximum, storage 1"
    found = only("0C 13 00 00 00 00")
    assert found.meaning is not None
    assert (found.meaning.tag, found.meaning.obis) == ("VM1!", "8-0:1.0.0*255")


def test_history_is_there_but_switched_off() -> None:
    assert only("4C 13 00 00 00 00").entity.enabled
    assert not only("8C 04 13 00 00 00 00").entity.enabled


def test_gas_with_an_averaging_duration_has_other_codes() -> None:
    alone, averaged = by_key("02 BB 3A 00 00", GAS), by_key("02 BB 3A 00 00 01 71 05", GAS)
    codes = [found["volume_flow_m3_h_uncorrected"].meaning for found in (alone, averaged)]
    assert None not in codes
    assert len({code.obis for code in codes if code}) == 2


def test_a_record_that_stands_twice_is_shown_twice() -> None:
    found = by_key("02 5A 64 00 02 5A 65 00", HEAT)
    assert (found["flow_temperature_c"].value, found["flow_temperature_c_2"].value) == (b"10.0", b"10.1")
    assert found["flow_temperature_c_2"].entity.name == "Flow temperature (2)"


def test_what_is_no_value_is_null() -> None:
    assert only("0C 13 FF FF FF FF").value == b"null"  # invalid BCD
    assert only("02 5A 00 80", HEAT).value == b"null"  # type B: the most negative number
    assert not [one for one in shown(record_telegram("02 DA 15 00 00", HEAT)) if one.meaning]  # the device reports an error


def test_records_of_the_manufacturer_and_profiles_are_not_shown() -> None:
    assert [one for one in shown(record_telegram("02 FF 01 12 34 0F 55 66")) if one.meaning] == []
    keys = {one.entity.key for one in shown(medium_telegram("cold water")) if one.meaning}
    assert keys == {
        "volume_m3",
        "volume_m3_storage_1",
        "date_storage_1",
        "volume_flow_m3_h",
        "volume_m3_storage_8",
        "date_storage_8",
    }


# -- dates ------------------------------------------------------------------------------------


def test_dates() -> None:
    found = only("42 6C DF 3C")
    assert (found.entity.device_class, found.entity.category, found.value) == ("date", "diagnostic", b'"2030-12-31"')
    assert only("42 6C FF FF").value == b"null"  # every day of every year


@pytest.mark.parametrize(
    ("zone", "octets", "device_class", "value"),
    [
        (None, "00 0C 2E 31", None, b'"2025-01-14T12:00:00"'),
        (ZoneInfo("Europe/Berlin"), "00 0C 2E 31", "timestamp", b'"2025-01-14T12:00:00+01:00"'),
        (ZoneInfo("Europe/Berlin"), "00 0C 2E 37", "timestamp", b'"2025-07-14T12:00:00+01:00"'),  # standard time in July
        (ZoneInfo("Europe/Berlin"), "00 8C 2E 37", "timestamp", b'"2025-07-14T12:00:00+02:00"'),  # summer time flag
        (dt.UTC, "00 0C 2E 31", "timestamp", b'"2025-01-14T12:00:00+00:00"'),
    ],
)
def test_times_of_a_meter_have_a_class_where_their_zone_is_known(
    zone: dt.tzinfo | None, octets: str, device_class: str | None, value: bytes
) -> None:
    found = only(f"04 6D {octets}", zone=zone)
    assert (found.entity.device_class, found.value) == (device_class, value)


def test_time_of_day_and_periodic_times() -> None:
    assert only("03 6D 1E 2D 0C", zone=dt.UTC).value == b'"12:45:30"'
    assert only("03 6D 1E 2D 0C", zone=dt.UTC).entity.device_class is None
    assert meter_time(MeterTime("F", None, 1, 1, 12, 0), dt.UTC) is None
    assert meter_time(MeterTime("G", 2025, 1, 14), dt.UTC) == "2025-01-14"
    assert only("04 6D 80 00 00 00").value == b"null"  # marked invalid


# -- yes or no, enumerations, texts ----------------------------------------------------------------


@pytest.mark.parametrize(("octet", "value"), [("00", b'"OFF"'), ("01", b'"ON"'), ("04", b'"ON"')])
def test_alarm_states_are_on_for_all_but_zero(octet: str, value: bytes) -> None:
    found = only(f"02 FD FD 41 {octet} 00", SMOKE)
    assert (found.entity.platform, found.entity.device_class, found.value) == ("binary_sensor", "smoke", value)


def test_disconnector_states_by_name() -> None:
    found = only("01 FD 1F 00", VALVE)
    assert (found.entity.device_class, found.entity.options) == ("enum", ("closed", "open", "released"))
    assert found.value == b'"closed"'
    assert only("01 FD 1A 01", BREAKER).value == b'"open"'
    assert only("01 FD 1F 09", VALVE).value == b"null"


def test_error_flags_by_name() -> None:
    found = by_key("02 FD 97 1D 00 04", WATER)
    leak = found["flag_water_leakage"]
    assert (leak.entity.device_class, leak.value, leak.entity.enabled) == ("moisture", b'"ON"', True)
    assert found["error_flags_standard_conform"].value == b"1024"
    assert by_key("02 FD 97 1D 00 00", WATER)["flag_water_leakage"].value == b'"OFF"'
    assert not by_key("02 FD 97 1D 00 00", SMOKE)["flag_water_leakage"].entity.enabled  # no water in a smoke detector
    known = by_key("02 FD 97 1D 06 00", SMOKE, maker="LAS")
    assert (known["flag_smoke"].value, known["flag_low_battery"].value, known["flag_malfunction"].value) == (
        b'"ON"',
        b'"ON"',
        b'"OFF"',
    )
    assert not [key for key in by_key("42 FD 97 1D 00 04", WATER) if key.startswith("flag_")]  # flags of the past


def test_status_octet() -> None:
    found = by_key("0C 13 00 00 00 00", status=0x0C)
    on = {key for key, one in found.items() if one.value == b'"ON"'}
    assert on == {"status_power_low", "status_permanent_error"}
    assert {found[key].entity.category for key in on} == {"diagnostic"}
    assert found["status_power_low"].entity.device_class == "battery"
    assert by_key("0C 13 00 00 00 00", status=0x03)["status_abnormal_condition"].value == b'"ON"'


def test_identifiers_keep_their_zeros_and_texts_have_no_precision() -> None:
    assert only("0C 78 78 56 34 02").value == b'"02345678"'
    found = only("0D FD 11 03 63 62 61")
    assert (found.value, found.entity.precision, found.entity.unit) == (b'"abc"', None, None)
    assert only("0D FD 11 E2 39 30").value == b"12345"
    assert only("0D 78 04 34 33 32 31").value == b'"1234"'


def test_a_state_is_never_too_long() -> None:
    text = "0D FD 11 BF" + "41" * 0xBF
    assert len(only(text).value) == 0xBF + 2
    octets = "0D FD 17 80" + "00" * 0x80  # raw octets: 256 digits
    assert only(octets).value == b"null"


def test_frames_without_header_have_no_status() -> None:
    telegram = decode(frame_of(meter_address(WATER), bytes.fromhex("0C 13 00 00 00 00")))
    assert telegram.transport is not None
    keys = [one.entity.key for one in shown(telegram)]
    assert "status_power_low" in keys
    request = decode(bytes.fromhex("10 5B 01 5C 16"))
    assert list(shown(request)) == []


# -- the tables -----------------------------------------------------------------------------------


@pytest.mark.parametrize("medium", sorted(MEDIA))
def test_every_simulated_medium_shows_its_main_points(medium: str) -> None:
    found = {one.meaning.tag: one for one in shown(medium_telegram(medium)) if one.meaning is not None}
    assert {point.tag for point in MEDIA[medium].standard[: MEDIA[medium].main]} <= set(found)


def test_every_class_is_one_of_home_assistant() -> None:
    """Whatever quantity stands in whatever unit for whatever device: class and unit fit."""
    from openmetering.interfaces.mqtt.vocabulary import _QUANTITIES, FLAG_CLASSES, STATUS_CLASSES

    for name in (*_QUANTITIES, "VOC", "unknown"):
        for unit in ("", *UNITS):
            published = measure(unit).unit
            for device_type in (None, *range(256)):
                found = quantity(name, published, device_type)
                if found.device_class is not None:
                    assert published in SENSOR_CLASSES[found.device_class][0], (name, unit, found)
    assert {*BINARY.values(), *FLAG_CLASSES.values(), *STATUS_CLASSES.values(), "problem"} <= BINARY_CLASSES


def test_published_units_are_exact_multiples() -> None:
    """Where the published unit stands in the table of units, both ways to SI agree."""
    written = {measure(unit.text).unit: unit for unit in UNITS.values() if measure(unit.text).factor == 1}
    compared = 0
    for unit in UNITS.values():
        published = measure(unit.text)
        target = written.get(published.unit)
        if target is None or target is unit or unit.factor is None or target.factor is None:
            continue
        # left: unit -> published -> SI, right: unit -> SI; crosswise, for not all quotients are finite
        assert published.factor * target.factor * unit.divisor == unit.factor * target.divisor, unit.text
        compared += 1
    assert compared == 4  # t, m3/min, m3/s, l/m2
    for text, factor in (("Wh", "0.001"), ("J", "0.000001"), ("kvar", "1000"), ("kVA", "1000"), ("l/m2", "1")):
        assert measure(text).factor == Decimal(factor)


@given(st.integers(0, 10**8 - 1), st.integers(0, 7))
def test_values_are_exact(value: int, exponent: int) -> None:
    """Whatever the exponent of the VIF: the published number is the number, digit by digit."""
    digits = bytes.fromhex(f"{value:08d}")[::-1].hex()
    found = only(f"0C {exponent:02X} {digits}", ELECTRICITY)
    expected = value * 10**exponent * 1000  # VIF 00: 10^-3 Wh are 10^-6 kWh; counted in 10^-9 kWh
    text = found.value.decode()
    whole, _, decimals = text.partition(".")
    assert len(decimals) == (found.entity.precision or 0)
    assert int(whole + decimals.ljust(9, "0")) == expected


@given(st.binary(min_size=2, max_size=2), st.binary(min_size=1, max_size=8))
def test_any_header_makes_an_entity(dib: bytes, vib: bytes) -> None:
    """No header, however odd, is beyond the words that Home Assistant has."""
    from openmetering.interfaces.mqtt.entities import _Form

    vib = bytes(octet | 0x80 for octet in vib[:-1]) + bytes((vib[-1] & 0x7F,))
    if vib[0] & 0x7F == 0x7C:
        return
    header = RecordHeader(bytes((dib[0] | 0x80, dib[1] & 0x7F)), vib)
    entity: Entity = _Form(header, WATER, False, None).entity
    if entity.device_class is not None and entity.platform == "sensor":
        units, states = SENSOR_CLASSES[entity.device_class]
        assert entity.unit in units
        assert entity.state_class is None or entity.state_class in states
    assert entity.key == slug(entity.key)
    assert entity.name


def test_slug() -> None:
    assert slug("PM2.5 µg/m3") == "pm2_5_g_m3"
