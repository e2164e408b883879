"""Compact profiles: expansion, equivalent records, packing."""

from decimal import Decimal
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openmetering.codec.apl import profile
from openmetering.codec.apl.header import DATA_LENGTH, encode_dib
from openmetering.codec.apl.profile import Spacing, expand, is_profile, pack, plain_vib, single_records
from openmetering.codec.apl.records import Record, encode, parse
from openmetering.errors import EncodeError, NotRepresentable, OutOfRange
from openmetering.tables import FAULTS
from openmetering.wire.types import MeterTime
from tests.codec.apl.protocol_vectors import octets_of, own, shared


def records_of(octets):
    parsed = parse(octets)
    assert parsed.fault is None
    return parsed.records


def expand_hex(*parts):
    return expand(records_of(bytes.fromhex("".join(parts))))


def points_of(series):
    return [[point.storage, point.time or "", f"{point.value:f}"] for point in series.points]


# -- vectors ----------------------------------------------------------------------------------


@pytest.mark.parametrize("vector", own("apl_profiles.toml", "profile"))
def test_own_vectors(vector):
    records = records_of(octets_of(vector))
    (series,) = expand(records)
    assert (series.kind, series.spacing.mode_name, series.unit) == (vector["kind"], vector["mode"], vector["unit"])
    assert f"{series.base_value:f}" == vector["base"]
    assert points_of(series) == vector["points"]
    assert (series.fault, series.invalid_at, series.reference) == (None, None, "base")
    assert series.quantity in ("volume", "energy")


@pytest.mark.parametrize("vector", own("apl_profiles.toml", "profile"))
def test_own_vectors_pack_back(vector):
    records = records_of(octets_of(vector))
    (record,) = filter(is_profile, records)
    (series,) = expand(records)
    spacing = Spacing.of(*vector["spacing"], mode=vector["mode"], element=vector.get("element", 0))
    values = [point.value for point in series.points]
    assert pack(series.base, values, spacing=spacing, kind=series.kind).octets() == record.octets()


@pytest.mark.parametrize("vector", own("apl_profiles.toml", "profile"))
def test_single_records_parse_as_normal_ones(vector):
    (series,) = expand(records_of(octets_of(vector)))
    singles = single_records(series)
    again = records_of(encode(singles))
    assert [(record.storage, f"{record.value:f}") for record in again] == [(row[0], row[2]) for row in vector["points"]]
    assert {record.header.vib for record in again} == {series.base.header.vib}
    assert {record.header.profile for record in again} == {None}
    assert [record.number_text() for record in singles] == [row[2] for row in vector["points"]]


@pytest.mark.parametrize("vector", own("apl_profiles.toml", "profile"))
def test_cut_vectors_never_raise(vector):
    octets = octets_of(vector)
    for end in range(len(octets)):
        for series in expand(parse(octets[:end]).records):
            assert len(series.points) <= len(vector["points"])


def _has_profiles(vector):
    return bool(vector.get("expected", {}).get("profiles"))


@pytest.mark.parametrize("vector", shared("application.json", _has_profiles))
def test_shared_vectors(vector):
    expected = vector["expected"]
    octets = bytes.fromhex(expected.get("plaintext", vector["hex"]))
    if "plaintext" not in expected:  # CI 78 alone, or a clear frame with a short header, or records alone
        octets = octets[{"apdu-with-ci": 1, "wmbus-no-crc": 15}.get(vector["kind"], 0) :]
    series_list = expand(parse(octets).records)
    assert len(series_list) == len(expected["profiles"])
    for series, stated in zip(series_list, expected["profiles"], strict=True):
        assert series.header.octets.hex().upper() == stated["dib"] + stated["vib"]
        assert series.kind == {"with-registers": "registers"}.get(stated["kind"], stated["kind"])
        assert series.spacing.encode().hex().upper() == stated["spacing_control"] + f"{stated['spacing_value']:02X}"
        assert (series.spacing.mode, series.spacing.element) == (stated["increment_mode"], stated["element_data_field"])
        assert series.header.storage == stated["base_storage"]
        assert series.base_value == Decimal(stated["base_value"])
        if isinstance(stated["base_time"], str):
            assert series.base_time.isoformat() == stated["base_time"]
        for point, row in zip(series.points, stated["series"], strict=True):
            assert (point.storage, point.value) == (row["storage"], Decimal(row["value"]))
            if isinstance(row.get("time"), str) and isinstance(stated["base_time"], str):
                assert point.time == row["time"]
        packed = pack(series.base, [point.value for point in series.points], spacing=series.spacing, kind=series.kind)
        assert packed.octets() in octets


@pytest.mark.parametrize("vector", shared("annex_n_extra.json", lambda v: "series" in v["expected"]))
def test_annex_n_monthly_series(vector):
    plain = bytes.fromhex(vector["expected"]["plaintext"])
    (series,) = expand(parse(plain).records)
    stated = vector["expected"]["series"]
    assert series.base_time.isoformat() == vector["expected"]["base_date"]
    assert series.base_value * 1000 == stated[0]["litres"]
    assert [(point.storage, point.time[:7], int(point.value * 1000)) for point in series.points] == [
        (row["storage"], row["month"], row["litres"]) for row in stated[1:]
    ]


# -- Annex R ----------------------------------------------------------------------------------


@pytest.mark.parametrize("vector", own("apl_profiles.toml", "taf7"))
def test_taf7(vector):
    consumption, supply = expand(records_of(octets_of(vector)))
    for series, first, last in (
        (consumption, vector["import_first"], vector["import_last"]),
        (supply, vector["export_first"], vector["export_last"]),
    ):
        assert (series.kind, series.reference, series.base_offset) == ("inverse", "reception", -vector["age"])
        assert len(series.points) == vector["elements"]
        values = [str(series.base_value), *(str(point.value) for point in series.points)]
        assert values[: len(first)] == first
        assert values[-1] == last
        offsets = [series.base_offset, *(point.offset for point in series.points)]
        assert offsets[0] == -vector["age"]
        assert {late - early for early, late in pairwise(offsets)} == {-vector["spacing"]}
        assert {point.time for point in series.points} == {None}
        assert [point.storage for point in series.points] == list(range(4, 50))
        packed = pack(series.base, [point.value for point in series.points], spacing=series.spacing, kind="inverse")
        assert packed.octets() in octets_of(vector)
    assert supply.base.header.qualifiers
    assert set(supply.base.header.qualifiers) <= set(supply.header.qualifiers)
    assert single_records(supply)[0].header.qualifiers == supply.base.header.qualifiers


@pytest.mark.parametrize("vector", shared("annex_n_extra.json", lambda v: v["name"] == "N.13 expanded TAF7 profiles"))
@pytest.mark.parametrize("message", shared("application.json", lambda v: v["name"] == "annexN_N.13_taf7_inverse_profiles"))
def test_annex_n_taf7(message, vector):
    consumption, supply = expand(parse(bytes.fromhex(message["expected"]["plaintext"])).records)
    stated = vector["expected"]["points"]
    assert len(stated) == vector["expected"]["values"] == 47
    for series, name in ((consumption, "import_wh"), (supply, "export_wh")):
        found = [(series.base_offset, series.base_value), *((point.offset, point.value) for point in series.points)]
        assert found == [(row["offset_s"], row[name]) for row in stated]


BASE_WH = "CE0103951900000000"  # storage 3, 1995 Wh
INVERSE_WH = "CD018313"


def test_the_age_may_come_as_actuality_duration():
    (series,) = expand_hex(BASE_WH, "C1017402", INVERSE_WH, "0441080103")
    assert (series.base_offset, series.reference, series.base_time) == (-2, "reception", None)
    assert [point.offset for point in series.points] == [-10, -18]


@pytest.mark.parametrize(("vif", "age"), [("74", 5), ("75", 300), ("76", 18000), ("77", 432000)])
def test_units_of_the_age(vif, age):
    (series,) = expand_hex(BASE_WH, "C101", vif, "05", INVERSE_WH, "03410801")
    assert series.base_offset == -age


def test_an_invalid_relative_time_falls_back_to_the_age():
    (series,) = expand_hex("CD016DE50000008030", BASE_WH, "C1017407", INVERSE_WH, "03410801")
    assert (series.base_time, series.base_offset) == (None, -7)


def test_a_negative_age_is_none():
    (series,) = expand_hex(BASE_WH, "C10174FF", INVERSE_WH, "03410801")
    assert (series.base_offset, series.reference) == (0, "base")


def test_without_any_base_time_offsets_count_from_the_base():
    (series,) = expand_hex(BASE_WH, INVERSE_WH, "0441080103")
    assert [(point.time, point.offset) for point in series.points] == [(None, -8), (None, -16)]
    assert series.reference == "base"


# -- bases --------------------------------------------------------------------------------------

VALUE = "0413E8030000"  # 1.000 m3, storage 0


def test_without_a_base_value_only_absolute_elements_have_values():
    (counted,) = expand_hex("026C1F11", "0D931F0471FE0102")
    assert [(point.value, point.record, point.time) for point in counted.points] == [
        (None, None, "2008-02-29"),
        (None, None, "2008-03-31"),
    ]
    assert single_records(counted) == ()
    (absolute,) = expand_hex("026C1F11", "0D931F0431FE0102")
    assert points_of(absolute) == [[1, "2008-02-29", "0.001"], [2, "2008-03-31", "0.002"]]
    assert (absolute.base, absolute.base_value) == (None, None)


@pytest.mark.parametrize("base", ["041300000080", "0C13FFFFFFFF", "0593130000803F"])
def test_an_unusable_base_gives_no_values(base):
    (series,) = expand_hex(base, "0D931F0371FE01")
    assert [point.value for point in series.points] == [None]
    assert series.base_value is None


def test_a_base_with_a_record_error_is_no_base():
    (series,) = expand_hex("04931501000000", "0D931F0371FE01")
    assert series.base is None


@pytest.mark.parametrize(
    "other",
    ["4413E8030000", "1413E8030000", "841013E8030000", "844013E8030000", "0414E8030000", "04933CE8030000"],
    ids=["storage", "function", "tariff", "subunit", "vif", "vife"],
)
def test_the_base_value_has_the_same_place_and_meaning(other):
    (series,) = expand_hex(other, "0D931F0371FE01")
    assert series.base is None


def test_the_base_may_stand_behind_the_profile_and_the_first_one_counts():
    (series,) = expand_hex("0D931F0371FE01", VALUE, "026C1F11", "026CFF2C", "0413FF000000")
    assert points_of(series) == [[1, "2008-02-29", "1.001"]]


def test_registers_match_registers_first():
    register, storage = "8480001364000000", "848000" + "13" + "C8000000"
    assert register != storage
    (series,) = expand_hex(VALUE, register, "8D8000931E0371FE01")
    assert (series.kind, series.base_value) == ("registers", Decimal("0.100"))
    assert single_records(series)[0].header.final_dife
    assert single_records(series)[0].octets().hex().upper() == "C4001365000000"
    (fallback,) = expand_hex(VALUE, "8D8000931E0371FE01")
    assert fallback.base_value == Decimal("1.000")


@pytest.mark.parametrize(
    ("dates", "spacing", "time"),
    [
        ("026C1F11", "7101", "2008-02-01"),
        ("026C1F11", "6101", None),  # a date has no hours
        ("026C1F11046D00001F15", "6101", "2008-05-31T01:00"),  # date and time before date
        ("066D0000001F1100", "6101", "2008-01-31T01:00:00"),
        ("82106C1F11", "7101", "2008-02-01"),  # any tariff
        ("82406C1F11", "7101", "2008-02-01"),  # any subunit
        ("426C1F11", "7101", None),  # not of another storage number
        ("026CFFFF", "7101", None),
        ("02EC7E1F11", "7101", None),  # a future date is another quantity
    ],
)
def test_base_times(dates, spacing, time):
    (series,) = expand_hex(VALUE, dates, "0D931F03", spacing, "01")
    assert [(point.time, str(point.value)) for point in series.points] == [(time, "1.001")]


def test_the_same_tariff_before_any_other():
    (series,) = expand_hex("841013E8030000", "026C1F11", "82106C1F15", "8D10931F0371FE01")
    assert series.points[0].time == "2008-06-30"


def test_seconds_of_a_type_i_base():
    (series,) = expand_hex(VALUE, "066D1E0000411100", "0D931F04410A0102")
    assert [point.time for point in series.points] == ["2010-01-01T00:00:40", "2010-01-01T00:00:50"]


def test_a_time_of_day_is_a_base_too():
    (series,) = expand_hex(VALUE, "036D3B3017", "0D931F03610101")
    assert series.points[0].time == "00:48:59"


def test_a_periodic_date_is_no_base_time():
    (series,) = expand_hex(VALUE, "026CE0F1", "0D931F0371FE01")
    assert series.base_time is not None
    assert series.points[0].time is None


# -- spacing ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("unit", "value", "time", "offset"),
    [
        (0, 1, "2008-01-31T00:00:01", 1),
        (0, 250, "2008-01-31T00:04:10", 250),
        (1, 15, "2008-01-31T00:15", 900),
        (2, 1, "2008-01-31T01:00", 3600),
        (3, 1, "2008-02-01T00:00", 86400),
        (3, 253, "2008-02-15T00:00", None),
        (3, 254, "2008-02-29T00:00", None),
        (2, 254, "2008-04-30T00:00", None),
        (1, 254, "2008-07-31T00:00", None),
        (0, 0, None, None),
        (3, 0, None, None),
    ],
)
def test_spacings(unit, value, time, offset):
    control = Spacing(1, unit, 1, value).encode().hex()
    (series,) = expand_hex(VALUE, "046D00001F11", "0D931F03", control, "01")
    assert [(point.time, point.offset, str(point.value)) for point in series.points] == [(time, offset, "1.001")]
    assert series.fault is None


@pytest.mark.parametrize(("unit", "value"), [(0, 251), (1, 252), (2, 255), (0, 254), (0, 253), (1, 253), (2, 253), (3, 255)])
def test_reserved_spacings_keep_the_values(unit, value):
    control = Spacing(1, unit, 1, value).encode().hex()
    (series,) = expand_hex(VALUE, "046D00001F11", "0D931F03", control, "01")
    assert series.fault.code == "profile.spacing"
    assert series.fault.code in FAULTS
    assert [(point.time, point.offset, str(point.value)) for point in series.points] == [(None, None, "1.001")]
    assert series.spacing.reserved


@pytest.mark.parametrize(
    ("every", "unit", "octets"),
    [
        (1, "s", "4001"),
        (15, "min", "500f"),
        (250, "h", "60fa"),
        (1, "d", "7001"),
        (1, "half month", "70fd"),
        (1, "month", "70fe"),
        (1, "quarter", "60fe"),
        (1, "half-year", "50fe"),
        (1, "none", "4000"),
    ],
)
def test_spacings_in_words(every, unit, octets):
    assert Spacing.of(every, unit).encode().hex() == octets
    assert Spacing.decode(bytes.fromhex(octets)) == Spacing.of(every, unit)
    assert not Spacing.of(every, unit).reserved


@pytest.mark.parametrize(
    ("arguments", "error"),
    [((0, "h"), OutOfRange), ((251, "h"), OutOfRange), ((2, "month"), NotRepresentable), ((1, "week"), NotRepresentable)],
)
def test_spacings_that_do_not_exist(arguments, error):
    with pytest.raises(error):
        Spacing.of(*arguments)


def test_modes_that_do_not_exist():
    with pytest.raises(NotRepresentable):
        Spacing.of(1, "h", mode="sums")
    for spacing in (Spacing(4, 0, 1, 1), Spacing(0, 4, 1, 1), Spacing(0, 0, 16, 1), Spacing(0, 0, 1, 256)):
        with pytest.raises(OutOfRange):
            spacing.encode()


# -- elements -----------------------------------------------------------------------------------

#: mode, kind, signed elements of one octet after base 1000, values
MODES = [
    ("absolute", "1F", "05FB", [5, -5]),
    ("absolute", "13", "05FB", [5, -5]),
    ("increments", "1F", "05FB", [1005, 1256]),
    ("increments", "13", "05FB", [995, 744]),
    ("decrements", "1F", "05FB", [995, 744]),
    ("decrements", "13", "05FB", [1005, 1256]),
    ("differences", "1F", "05FB", [1005, 1000]),
    ("differences", "13", "05FB", [995, 1000]),
]


@pytest.mark.parametrize(("mode", "vife", "elements", "values"), MODES)
def test_modes(mode, vife, elements, values):
    control = Spacing.of(1, "h", mode=mode, element=1).encode().hex()
    (series,) = expand_hex(VALUE, "0D93", vife, "04", control, elements)
    assert [int(point.value * 1000) for point in series.points] == values
    packed = pack(series.base, [point.value for point in series.points], spacing=series.spacing, kind=series.kind)
    assert packed.octets().hex() == ("0D93" + vife + "04" + control + elements).lower()


@pytest.mark.parametrize(
    ("element", "octets", "value"),
    [
        (1, "7F", 127),
        (2, "E803", 1000),
        (3, "FFFF7F", 8388607),
        (4, "FFFFFF7F", 2147483647),
        (6, "FFFFFFFFFF7F", 140737488355327),
        (7, "FFFFFFFFFFFFFF7F", 9223372036854775807),
        (9, "99", 99),
        (10, "3412", 1234),
        (11, "563412", 123456),
        (12, "78563412", 12345678),
        (14, "907856341200", 1234567890),
    ],
)
@pytest.mark.parametrize("mode", ["absolute", "increments", "differences"])
def test_element_widths(element, octets, value, mode):
    control = Spacing.of(1, "h", mode=mode, element=element).encode().hex()
    (series,) = expand_hex("0713" + "00" * 8, "0D931F", f"{2 + len(octets) // 2:02X}", control, octets)
    assert series.points[0].value == Decimal(value).scaleb(-3)
    assert series.points[0].raw == bytes.fromhex(octets)
    assert series.fault is None


def test_real_elements():
    (absolute,) = expand_hex("0D931F06250100004841")
    assert absolute.points[0].value == Decimal("0.0125")
    (counted,) = expand_hex("0513000020410D931F06650100004841")
    assert counted.points[0].value == Decimal("0.0225")
    assert counted.points[0].record.octets().hex() == "45130000b441"
    (nothing,) = expand_hex("051300002041", "0D931F0665010000C07F")
    assert (nothing.points, nothing.invalid_at) == ((), 0)


def test_real_increments_on_an_integer_base_have_a_value_but_no_integer_record():
    (series,) = expand_hex(VALUE, "0D931F06650100004841")
    assert series.points[0].value == Decimal("1.0125")
    assert single_records(series) == ()


@pytest.mark.parametrize(
    ("mode", "element", "octets", "ends"),
    [
        ("increments", 1, "01FF02", 1),
        ("increments", 2, "0100FFFF0200", 1),
        ("decrements", 1, "FF01", 0),
        ("differences", 1, "01FF8002", 2),
        ("differences", 2, "00800100", 0),
        ("increments", 9, "010AF1", 1),
        ("increments", 9, "F1", 0),  # increments have no sign
        ("absolute", 9, "010A02", 1),
        ("absolute", 1, "0580", 1),
        ("absolute", 12, "00000000FFFFFFFF11000000", 1),
    ],
)
def test_an_invalid_element_ends_the_series(mode, element, octets, ends):
    control = Spacing.of(1, "h", mode=mode, element=element).encode().hex()
    (series,) = expand_hex(VALUE, "0D931F", f"{2 + len(octets) // 2:02X}", control, octets)
    assert (len(series.points), series.invalid_at) == (ends, ends)
    assert series.fault is None


@pytest.mark.parametrize(
    ("vib", "control", "elements", "changes"),
    [
        ("13", "6101", "0507", ["0.005", "0.007"]),
        ("13", "A101", "0507", ["0.005", "0.007"]),
        ("13", "E101", "05FB", ["0.005", "-0.005"]),
        ("FB68", "6101", "01", ["0.000244140625"]),
        ("13", "2101", "0507", [None, None]),
    ],
)
def test_changes_as_sent(vib, control, elements, changes):
    profile_vib = (bytes.fromhex(vib)[:-1] + bytes((bytes.fromhex(vib)[-1] | 0x80,))).hex() + "1F"
    (series,) = expand_hex("04", vib, "E8030000", "0D", profile_vib, f"{2 + len(elements) // 2:02X}", control, elements)
    assert [None if point.change is None else f"{point.change:f}" for point in series.points] == changes


def test_signed_differences_of_bcd_have_a_sign():
    (series,) = expand_hex(VALUE, "0D931F04E901F105")
    assert [str(point.value) for point in series.points] == ["0.999", "1.004"]
    assert [record.number_text() for record in single_records(series)] == ["0.999", "1.004"]


def test_the_two_marks_can_be_switched(monkeypatch):
    monkeypatch.setattr(profile, "ALL_ONES_IS_INVALID", False)
    (series,) = expand_hex(VALUE, "0D931F036101FF")
    assert str(series.points[0].value) == "1.255"
    monkeypatch.setattr(profile, "INVALID_ENDS_ABSOLUTE_SERIES", False)
    (series,) = expand_hex("0D931F052101018002")
    assert [point.value for point in series.points] == [Decimal("0.001"), None, Decimal("0.002")]
    assert [record.storage for record in single_records(series)] == [1, 3]


def test_dates_in_a_profile():
    (series,) = expand_hex("0DEC1F0622011F111F15")
    assert [point.value for point in series.points] == [None, None]
    assert [record.value.isoformat() for record in single_records(series)] == ["2008-01-31", "2008-05-31"]
    assert isinstance(series.points[0].record.value, MeterTime)


@pytest.mark.parametrize(
    ("record", "code"),
    [
        ("0D931F00", "profile.length"),
        ("0D931F0161", "profile.length"),
        ("0D931FE26101", "profile.length"),
        ("0D931F036001FF", "profile.element"),
        ("0D931F036801FF", "profile.element"),
        ("0D931F036D01FF", "profile.element"),
        ("0D931F036F01FF", "profile.element"),
        ("0D931F056201010002", "profile.length"),
    ],
)
def test_faults_of_the_record(record, code):
    (series,) = expand_hex(VALUE, record)
    assert series.fault.code == code
    assert series.fault.layer == "apl"
    assert code in FAULTS
    assert len(series.points) == (1 if "0102" in record else 0) or series.points[0].raw == b"\x01\x00"


def test_a_profile_without_elements():
    (series,) = expand_hex(VALUE, "0D931F026101")
    assert (series.points, series.fault) == ((), None)


def test_records_of_fixed_length_are_no_profiles():
    assert expand_hex("04931F01000000", VALUE) == ()
    assert expand_hex(VALUE) == ()


def test_wider_fields_where_the_base_is_too_small():
    (series,) = expand_hex("0113" + "64", "0D931F0361011B" + "0D931F03610101")[:1]
    assert [record.octets().hex() for record in single_records(series)] == ["41137f"]
    (series,) = expand_hex("011364", "0D931F036101" + "1C")
    assert [record.octets().hex() for record in single_records(series)] == ["441380000000"]
    (series,) = expand_hex("091399", "0D931F036901" + "01")
    assert [record.octets().hex() for record in single_records(series)] == ["4c1300010000"]
    (series,) = expand_hex("0713FFFFFFFFFFFFFF7F", "0D931F036101" + "01")
    assert single_records(series) == ()
    assert series.points[0].value == Decimal(2**63).scaleb(-3)


def test_a_value_that_is_the_mark_of_an_invalid_one_goes_to_a_wider_field():
    (series,) = expand_hex("011381", "0D931F03E101FF")
    assert [record.octets().hex() for record in single_records(series)] == ["441380ffffff"]


def test_a_base_of_variable_length():
    (series,) = expand_hex("0D13E2E803", "0D931F036101" + "01")
    assert single_records(series)[0].octets().hex() == "4d13e2e903"


def test_storage_numbers_without_coding():
    dib = encode_dib(0x0D, storage=(1 << 41) - 1).hex()
    (series,) = expand_hex(dib, "931F03210105")
    assert [(point.value, point.record) for point in series.points] == [(None, None)]
    dib_4 = encode_dib(4, storage=(1 << 41) - 1).hex()
    (series,) = expand_hex(dib_4, "13E8030000", dib, "931F03610105")
    assert (series.points[0].value, series.points[0].record) == (Decimal("1.005"), None)


# -- value information blocks -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("vib", "plain"),
    [
        ("931F", "13"),
        ("9313", "13"),
        ("ED1E", "6D"),
        ("83BC13", "833C"),
        ("FB8D1F", "FB0D"),
        ("FDC81F", "FD48"),
        ("FDFD821F", "FDFD02"),
        ("83FC931F", "83FC13"),  # FC 13 is another table
        ("939F3C", "933C"),  # the profile VIFE is not the last one, as it should be
        ("FC1F026341", "7C026341"),
        ("FCF41F026341", "FC74026341"),
        ("FC024163F41F", "FC02416374"),
    ],
)
def test_the_vib_of_the_base(vib, plain):
    (record,) = records_of(bytes.fromhex("0D" + vib + "03210105"))
    assert record.header.profile is not None
    assert plain_vib(record.header).hex().upper() == plain


@pytest.mark.parametrize("vib", ["13", "833C", "FB0D", "FD48", "FDFD02", "83FC10", "7C026341", "FC74026341", "FC0348522574"])
@pytest.mark.parametrize("kind", ["forward", "inverse", "registers"])
def test_pack_and_plain_vib_are_inverse(vib, kind):
    (base,) = records_of(bytes.fromhex("04" + vib + "E8030000"))
    record = pack(base, [base.value, base.value], spacing=Spacing.of(1, "h"), kind=kind)
    assert plain_vib(record.header) == base.header.vib
    again = records_of(base.octets() + record.octets())
    (series,) = expand(again)
    assert series.kind == kind
    assert [point.value for point in series.points] == [base.value, base.value]
    assert [single.header.vib for single in single_records(series)] == [base.header.vib] * 2


PROFILE_VIBS = st.sampled_from(["931F", "9313", "931E", "ED1F", "FDC81F", "83BC13", "FC1F026341", "FD97FC921F"])


@given(PROFILE_VIBS, st.binary(max_size=40), st.binary(max_size=60))
def test_any_elements_and_neighbours(vib, elements, neighbours):
    record = b"\x0d" + bytes.fromhex(vib) + bytes((len(elements),)) + elements
    parsed = parse(bytes.fromhex("0413E8030000026C1F11") + record + neighbours)
    series_list = expand(parsed.records)
    assert series_list
    for series in series_list:
        size = DATA_LENGTH[series.spacing.element] if series.spacing is not None and series.fault is None else 1
        assert len(series.points) * (size or 1) <= len(series.header.octets) + 191
        for single in single_records(series):
            assert parse(single.octets()).records == [single]
            assert single.header.profile is None


def test_series_are_values():
    (series,) = expand_hex(VALUE, "026C1F11", "0D931F0371FE01")
    assert msgspec.structs.replace(series, kind="forward") == series
    assert isinstance(series.points[0].record, Record)
    with pytest.raises(AttributeError):
        series.kind = "inverse"
    assert issubclass(OutOfRange, EncodeError)
