"""VIB types, tags and OBIS codes, with expectations from the printed annexes."""

from __future__ import annotations

import pytest

from openmetering.tables import UNITS, VIF_MAIN, command, data_point, data_point_rows, obis, obis_rows, vib_type, vib_type_rows

WATER, GAS, ELECTRICITY, HEAT, COOLING, COMBINED, ALLOCATOR, BREAKER, SMOKE, SENSOR = (
    0x07, 0x03, 0x02, 0x04, 0x0A, 0x0D, 0x08, 0x20, 0x1A, 0x1F,
)  # fmt: skip


def tag(
    device_type: int, vib: str, *, data_field: int = 4, function: int = 0, storage: int = 0, tariff: int = 0, final: bool = False
) -> str | None:
    name = vib_type(bytes.fromhex(vib))
    assert name is not None
    return data_point(
        device_type,
        vib_type=name,
        data_field=data_field,
        function=function,
        storage=storage,
        tariff=tariff,
        subunit=0,
        final_dife=final,
    )


# --- VIB types --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("vib", "name"),
    [
        ("00", "EW01"),
        ("07", "EW01"),
        ("FB01", "EW02"),
        ("FB817D", "EW03"),
        ("833C", "EW04"),
        ("FB80FD3C", "EW06"),
        ("85FC10", "EW07"),
        ("FB80FDFC10", "EW09"),
        ("13", "VM01"),
        ("937D", "VM02"),
        ("93FD3A", "VM04"),
        ("6D", "DT01"),
        ("6C", "DT02"),
        ("EC7E", "DT05"),
        ("EEFC11", "HC02"),
        ("FD17", "MM02"),
        ("FD971D", "MM03"),
        ("FD1F", "CL01"),
        ("FD1A", "CL02"),
        ("FD9F1D", "CT01"),
        ("FDFD00", "MM17"),
        ("FDFD3B", "DI03"),
        ("FDD9FC02", "CA02"),
        ("FBAAFC05", "PD01"),
        ("FB82F53C", "RE04"),
        ("E8C873", "PR06"),
        ("3F", "VF01"),
        ("30", "PJ01"),
    ],
)
def test_vib_types(vib: str, name: str) -> None:
    assert vib_type(bytes.fromhex(vib)) == name


@pytest.mark.parametrize(
    ("vib", "name", "quantity"),
    [
        ("7C03495523", "AD04", "dismount counter"),
        ("7C0444435323", "AD10", "smoke chamber defect counter"),
        ("7C03534225", "MM12", "battery status"),
        ("7C03315344", "MM13", "status pressure sensor"),
        ("7C02786C", "LT01", "illuminance"),
        ("7C024870", "PH01", "pH"),
        ("7C03325450", "PT02", "PM1"),
        ("7C03324852", "RH02", "moisture"),
    ],
)
def test_plain_text_sensors(vib: str, name: str, quantity: str) -> None:
    assert vib_type(bytes.fromhex(vib)) == name
    assert vib_type_rows()[name].quantity == quantity
    octets = bytes.fromhex(vib)
    assert octets[1] == len(octets) - 2
    assert octets[:1:-1].decode("ascii") == vib_type_rows()[name].text


@pytest.mark.parametrize(
    "vib",
    [
        "",
        "7F",
        "6F",
        "FD0C",
        "FB23",
        "FD3B",
        "FDFD7F",
        "7C03414243",
        "FC740325485225",
        "9312",
        "FDFDFF",
        "80",
        "FD",
        "FDFD",
        "FC10",
    ],
)
def test_no_vib_type(vib: str) -> None:
    assert vib_type(bytes.fromhex(vib)) is None


@pytest.mark.parametrize(
    ("vib", "name"), [("90BA7D", "VM04"), ("FB80BC7D", "EW06"), ("E8F348", "PR06"), ("FB80FC907D", "EW09"), ("FB82BC73", "RE04")]
)
def test_the_order_of_the_extensions_does_not_matter(vib: str, name: str) -> None:
    assert vib_type(bytes.fromhex(vib)) == name


@pytest.mark.parametrize(
    ("vib", "name"),
    [("931F", "VM01"), ("9313", "VM01"), ("931E", "VM01"), ("83BC13", "EW04"), ("FB80FD1F", "EW03"), ("90BAFD1F", "VM04")],
)
def test_a_compact_profile_is_left_out_of_account(vib: str, name: str) -> None:
    assert vib_type(bytes.fromhex(vib)) == name


def test_remote_control_is_no_profile() -> None:
    """FD 1F is a true VIF; only behind it would 1F be a profile."""
    assert vib_type(b"\xfd\x1f") == "CL01"
    assert vib_type(b"\xfd\x9f\x1f") == "CL01"
    assert vib_type(b"\x1f") is None


def test_every_pattern_comes_out() -> None:
    for row in vib_type_rows().values():
        if row.status == "withdrawn":
            assert row.vib == ""
            continue
        for pick in (0, -1):
            octets = bytes(int(part.split("-")[pick], 16) for part in row.vib.split())
            assert vib_type(octets) == row.id


def test_vib_types_and_vif_tables_agree_on_units() -> None:
    for row in vib_type_rows().values():
        first = row.vib.split()[:1]
        if len(row.vib.split()) == 1 and row.unit in UNITS:
            value = VIF_MAIN[int(first[0].partition("-")[0], 16)]
            assert value is not None
            assert (value.quantity, value.unit) == (row.quantity, row.unit)
            assert value.exponent == int(row.exponent.partition("..")[0])


def test_withdrawn_types_name_their_successor() -> None:
    assert {row.id for row in vib_type_rows().values() if row.status == "withdrawn"} == {
        "DP04",
        "MM05",
        "MM07",
        "MM08",
        "MM11",
        "PF01",
    }
    assert vib_type_rows()["DP04"].remark == "until 4.1.2, now YD03"


# --- tags -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("device_type", "vib", "where", "expected"),
    [
        (WATER, "13", {}, "VM1!"),
        (WATER, "13", {"data_field": 0xC}, "VM1!"),
        (WATER, "13", {"storage": 1}, "VM1!D"),
        (WATER, "13", {"storage": 8}, "VM1!P"),
        (WATER, "13", {"storage": 199}, "VM1!P"),
        (WATER, "13", {"storage": 200}, None),
        (WATER, "13", {"storage": 3}, "VM1!B"),
        (WATER, "13", {"storage": 7}, None),
        (WATER, "13", {"data_field": 5}, None),
        (WATER, "13", {"function": 3}, None),
        (WATER, "933B", {}, "VM4!"),
        (GAS, "933A", {"storage": 12, "final": True}, "VM2!R"),
        (GAS, "933E", {"storage": 124, "final": True, "tariff": 15}, "VM3!RT"),
        (GAS, "933E", {"storage": 100, "final": True}, None),
        (ELECTRICITY, "03", {"tariff": 2}, "EW1!T"),
        (ELECTRICITY, "03", {"tariff": 16}, None),
        (ELECTRICITY, "03", {"storage": 5, "final": True}, "EW1!R"),
        (ELECTRICITY, "2B", {"function": 1}, "PW1!A"),
        (ELECTRICITY, "2B", {"function": 1, "tariff": 1, "storage": 3, "final": True}, "PW1!ART"),
        (ELECTRICITY, "FBFA3C", {"function": 1, "tariff": 4}, "PW6!ACT"),
        (ELECTRICITY, "ABFC0C", {}, "PW8!"),
        (COMBINED, "03", {"tariff": 1}, "EW1!T"),
        (COMBINED, "03", {"tariff": 1, "storage": 1}, "EW1!DT"),
        (COMBINED, "833C", {}, "EW2!"),
        (ALLOCATOR, "6E", {"data_field": 0xB, "storage": 1}, "HC1!D"),
        (ALLOCATOR, "EC7E", {"data_field": 2, "storage": 1}, "DT2!N"),
        (ALLOCATOR, "6C", {"data_field": 2, "storage": 1}, "DT2!D"),
        (BREAKER, "FD1F", {"data_field": 1}, "DC1!"),
        (BREAKER, "FD1A", {"data_field": 1}, "DC2!"),
        (SMOKE, "FDFD2C", {"data_field": 1, "storage": 4}, "AD4!"),
        (SMOKE, "7C03495523", {"data_field": 1, "storage": 4}, "AD4!"),
        (SMOKE, "FDFD2C", {"data_field": 1}, None),
        (SENSOR, "FDFD01", {"data_field": 0xD}, "ID11!"),
        (WATER, "FD71", {"data_field": 1, "function": 2}, "MM1!I"),
        (WATER, "FD71", {"data_field": 1, "function": 3}, "MM1!E"),
        (WATER, "FDFD02", {"data_field": 2}, "MM8!"),
        (WATER, "FD28", {"data_field": 1, "storage": 8}, "YD2!P"),
        (WATER, "FD21", {"data_field": 0, "storage": 8}, "YD3!P"),
        (WATER, "FD22", {"data_field": 0, "storage": 8}, None),
    ],
)
def test_tags(device_type: int, vib: str, where: dict[str, int], expected: str | None) -> None:
    assert tag(device_type, vib, **where) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("vib", "data_field", "expected"),
    [
        ("78", 0xC, "ID1!"),
        ("78", 4, "ID1!"),
        ("78", 0xD, "ID7!"),
        ("78", 0xE, None),
        ("79", 7, "ID2!"),
        ("79", 0xC, "ID2!"),
        ("79", 0xD, "ID8!"),
        ("7A", 1, "ID3!"),
        ("7A", 2, None),
        ("FD10", 0xD, "ID5!"),
        ("6D", 4, "DT1!"),
        ("6D", 6, "DT1!"),
        ("6D", 3, "DT5!"),
        ("6D", 0xD, None),
        ("6C", 2, "DT2!"),
        ("6C", 4, None),
    ],
)
def test_the_data_type_tells_tags_apart(vib: str, data_field: int, expected: str | None) -> None:
    assert tag(ELECTRICITY, vib, data_field=data_field) == expected


def test_forms_the_examples_of_oms_use_besides_the_printed_ones() -> None:
    """Corrections to Annex B: type M for the base time, type G for the date of a periodic set."""
    assert tag(ELECTRICITY, "6D", data_field=0xD, storage=3) == "DT1!B"
    assert tag(ELECTRICITY, "6D", data_field=3, storage=3) == "DT5!B"
    assert tag(WATER, "6C", data_field=2, storage=40) == "DT1!P"
    assert tag(WATER, "6D", data_field=4, storage=8) == "DT1!P"


def test_the_column_of_the_device_goes_first() -> None:
    assert tag(SMOKE, "6D", data_field=4, storage=8) == "DT1!Xn"
    assert tag(WATER, "6D", data_field=4, storage=8) == "DT1!P"
    assert tag(SMOKE, "6D", data_field=4, storage=3) == "DT1!Xn"
    assert tag(WATER, "6D", data_field=4, storage=3) == "DT1!B"


def test_a_device_without_a_column_still_gets_the_tag() -> None:
    assert tag(0x28, "13") == "VM1!"
    assert tag(0x00, "03") == "EW1!"
    assert not data_point_rows()["VM1!"].serves(0x28)


def test_sub_types_of_a_sensor_count_for_the_sensor() -> None:
    assert data_point_rows()["TB1!"].devices == {"1F.15": "M"}
    assert data_point_rows()["TB1!"].serves(0x1F)
    assert not data_point_rows()["TB1!"].serves(0x15)


def test_channels_do_not_change_the_tag() -> None:
    for subunit in (0, 1, 7):
        name = data_point(
            ELECTRICITY, vib_type="EW01", data_field=4, function=0, storage=0, tariff=0, subunit=subunit, final_dife=False
        )
        assert name == "EW1!"
    with pytest.raises(ValueError, match="subunit"):
        data_point(ELECTRICITY, vib_type="EW01", data_field=4, function=0, storage=0, tariff=0, subunit=-1, final_dife=False)


def test_an_unknown_vib_type_has_no_tag() -> None:
    name = data_point(WATER, vib_type="ZZ99", data_field=4, function=0, storage=0, tariff=0, subunit=0, final_dife=False)
    assert name is None


def test_marks_and_encryption() -> None:
    points = data_point_rows()
    assert points["EW1!"].devices["02"] == "A1"
    assert points["EW1!"].devices["04"] == "X1"
    assert points["VM1!"].devices["07"] == "M"
    assert points["DC2!"].devices["21"] == "M"
    assert points["ID1!"].encryption == "not allowed"
    assert points["ID4!"].encryption == "optional"
    assert points["MM7!"].encryption == "mandatory"
    assert points["DT1!A"].encryption == "mandatory"
    assert points["DT1!P"].encryption == "optional"
    withdrawn = {point.tag for point in points.values() if point.status == "withdrawn"}
    assert withdrawn == {"DP4!", "ID9!", "MM5!", "PF1!", "XMM2!", "XMM3!", "XMM4!"}


def test_every_vib_type_of_a_tag_exists_and_every_name_is_set() -> None:
    for point in data_point_rows().values():
        assert set(point.vib_types) <= set(vib_type_rows())
        assert (point.name == "") == (point.status == "withdrawn")
        assert {name for name, _ in point.also} <= set(vib_type_rows())


# --- commands ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("device_type", "vib", "where", "expected"),
    [
        (WATER, "FD9100", {"data_field": 0xB}, "setID4!"),
        (WATER, "FD910F", {"data_field": 0}, "getID4!"),
        (ELECTRICITY, "8600", {"data_field": 4}, "setEW1!"),
        (ELECTRICITY, "06", {"data_field": 4}, "setEW1!"),
        (WATER, "9301", {"data_field": 0xA}, "addVM1!"),
        (WATER, "9302", {"data_field": 0xA}, "subVM1!"),
        (WATER, "900F", {"data_field": 0}, "getVM1!"),
        (WATER, "FD9706", {"data_field": 2}, "notMM2!"),
        (WATER, "FD979D06", {"data_field": 2}, "notMM3!"),
        (WATER, "FD979D07", {"data_field": 0}, "clrMM3!"),
        (WATER, "FDFD8000", {"data_field": 1}, "setMM6!"),
        (WATER, "FDFD800F", {"data_field": 0}, "getMM6!"),
        (HEAT, "EC0F", {"data_field": 0, "storage": 1}, "getDT2!D"),
        (HEAT, "ECFE0F", {"data_field": 0, "storage": 1}, "getDT2!N"),
        (HEAT, "ECFE00", {"data_field": 2, "storage": 1}, "setDT2!N"),
        (WATER, "900C", {"data_field": 0, "storage": 1}, "arlVM1!D"),
        (WATER, "93FD0D", {"data_field": 0, "storage": 1}, "drlVM1!D"),
        (WATER, "FDBC0C", {"data_field": 0}, "arlDP3!"),
        (WATER, "FDF40D", {"data_field": 0}, "drlMM8!"),
        (ELECTRICITY, "838C13", {"data_field": 0, "storage": 3}, "arlEW1!B"),
        (BREAKER, "FD1F", {"data_field": 1}, "XDC1!"),
        (WATER, "FD9F1D", {"data_field": 2}, "XCT1!"),
        (WATER, "FD9F1D", {"data_field": 0xD}, "XCT1!"),
        (WATER, "7A", {"data_field": 1}, "XID3!"),
        (WATER, "79", {"data_field": 7}, "XID2!"),
        (WATER, "79", {"data_field": 0xC}, "XID11!"),
        (WATER, "F900", {"data_field": 7}, "setID2!"),
        (WATER, "F900", {"data_field": 0xC}, "setID11!"),
        (WATER, "FD8900", {"data_field": 1}, "setID10!"),
        (WATER, "FD09", {"data_field": 1}, "XID10!"),
        (WATER, "", {"data_field": 1}, None),
        (WATER, "FD0C", {"data_field": 1}, None),
        (WATER, "930E", {"data_field": 1}, None),
        (WATER, "9303", {"data_field": 1}, None),
        (WATER, "930C", {"data_field": 0, "storage": 7}, None),
        (WATER, "14", {"data_field": 4, "storage": 1}, None),
        (WATER, "7C03495523", {"data_field": 1, "storage": 4}, None),
    ],
)
def test_commands(device_type: int, vib: str, where: dict[str, int], expected: str | None) -> None:
    assert command(device_type, vib=bytes.fromhex(vib), **where) == expected  # type: ignore[arg-type]


# --- OBIS -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("device_type", "name", "where", "codes"),
    [
        (GAS, "VM1!", {}, ("7-0:3.1.0*255",)),
        (GAS, "VM1!T", {"tariff": 2}, ("7-0:3.1.2*255",)),
        (GAS, "VM1!RT", {"tariff": 2, "storage": 15}, ("7-0:3.1.2*15",)),
        (GAS, "DT1!", {}, ("7-0:0.9.1*255", "7-0:0.9.2*255")),
        (GAS, "DP1!", {}, ("7-0:0.1.2*255",)),
        (GAS, "DT2!R", {"storage": 3}, ("7-0:0.1.2*3",)),
        (GAS, "VF2!", {}, ("7-0:43.15.0*255",)),
        (GAS, "VF1!", {}, ("7-0:43.16.0*255",)),
        (GAS, "VF3!", {}, ("7-0:43.17.0*255",)),
        (GAS, "VF2!", {"averaging": True}, ("7-0:43.63.0*255",)),
        (GAS, "VF1!", {"averaging": True}, ("7-0:43.64.0*255",)),
        (GAS, "VF3!", {"averaging": True}, ("7-0:43.65.0*255",)),
        (GAS, "VM1!", {"averaging": True}, ("7-0:3.1.0*255",)),
        (ELECTRICITY, "EW1!", {}, ("1-0:1.8.0*255",)),
        (ELECTRICITY, "EW1!", {"subunit": 2}, ("1-2:1.8.0*255",)),
        (ELECTRICITY, "EW1!R", {"storage": 5}, ("1-0:1.8.0*5",)),
        (ELECTRICITY, "EW2!RT", {"storage": 5, "tariff": 3}, ("1-0:2.8.3*5",)),
        (ELECTRICITY, "DT5!", {}, ("1-0:0.9.1*255",)),
        (ELECTRICITY, "MM7!", {}, ("1-0:0.1.0",)),
        (ELECTRICITY, "PD2!", {}, ("1-0:81.7.12*255",)),
        (ELECTRICITY, "PW8!", {}, ("1-0:16.7.0*255",)),
        (ELECTRICITY, "DP2!", {}, ("1-0:0.8.0*255",)),
        (ALLOCATOR, "DT2!D", {"storage": 1}, ("4-0:0.1.10*255",)),
        (ALLOCATOR, "HC1!D", {"storage": 1}, ("4-0:1.2.0*255",)),
        (ALLOCATOR, "DP1!", {}, ("4-0:0.9.3*255",)),
        (WATER, "VM1!", {}, ("8-0:1.0.0*255",)),
        (0x16, "VM1!D", {"storage": 1}, ("8-0:1.2.0*255",)),
        (0x15, "DP2!", {}, ("9-0:0.8.6*255",)),
        (COOLING, "EJ1!", {}, ("5-0:1.0.0*255",)),
        (0x0C, "PW1!", {}, ("6-0:8.0.0*255",)),
        (COMBINED, "EW1!", {}, ("6-0:1.0.0*255",)),
        (COMBINED, "EW1!T", {"tariff": 1}, ("5-0:1.0.0*255",)),
        (COMBINED, "EJ2!D", {"storage": 1}, ("5-0:1.2.0*255",)),
        (COMBINED, "TC1!", {}, ("6-0:10.0.0*255",)),
        (COMBINED, "DT1!", {}, ("6-0:0.9.1*255", "6-0:0.9.2*255")),
        (COMBINED, "VF1!T", {"tariff": 1}, ("5-0:9.0.0*255",)),
        (BREAKER, "DC1!", {}, ("0-0:96.3.19*255",)),
        (WATER, "ID1!", {}, ("0-0:96.1.0*255",)),
        (SMOKE, "ID4!", {"subunit": 1}, ("0-1:96.1.9*255",)),
        (WATER, "DC1!", {}, ()),
        (WATER, "VM4!", {}, ()),
        (ELECTRICITY, "EW1!P", {"storage": 8}, ()),
        (WATER, "MM2!", {}, ()),
    ],
)
def test_obis(device_type: int, name: str, where: dict[str, int], codes: tuple[str, ...]) -> None:
    arguments = {"storage": 0, "tariff": 0, "subunit": 0, **where}
    assert obis(device_type, name, **arguments) == codes  # type: ignore[arg-type]


def test_rows_of_annex_a() -> None:
    rows = obis_rows()
    assert len(rows) == 160
    assert {row.kind for row in rows} == {"record", "gateway", "heading"}
    assert [row.obis for row in rows if row.kind == "gateway"] == [
        "0-0:0.9.1*255",
        "0-0:0.9.2*255",
        "0-0:96.1.1*255",
        "0-0:96.1.2*255",
        "0-0:97.97.0*255",
    ]
    tags = {name for row in rows for name in row.tags}
    assert tags <= set(data_point_rows())
