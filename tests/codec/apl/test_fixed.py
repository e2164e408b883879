"""Fixed data structure of CI 73 and 77, and the records that stand for it."""

from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openmetering.codec.apl import fixed as fixed_structure
from openmetering.codec.apl.fixed import SIZE, FixedData, FixedStatus, decode, records
from openmetering.codec.apl.records import encode, parse
from openmetering.errors import NotRepresentable, OutOfRange, Truncated
from openmetering.tables import FIXED_UNITS
from tests.codec.apl.protocol_vectors import octets_of, of_kind, own, shared


@pytest.mark.parametrize("vector", own("apl_protocols.toml", "fixed"))
def test_own_vectors(vector):
    octets = octets_of(vector)
    fixed = decode(octets)
    assert fixed.identification == vector["identification"]
    assert fixed.access_number == vector["access_number"]
    assert fixed.medium_name == vector["medium"]
    assert [counter.value for counter in fixed.counters] == vector["values"]
    assert [counter.unit for counter in fixed.counters] == vector["units"]
    assert [counter.exponent for counter in fixed.counters] == vector["exponents"]
    made = records(fixed)
    assert [f"{record.value:f}" for record in made] == vector["records"]
    assert [record.storage for record in made] == vector["storages"]
    assert fixed.encode() == octets
    for end in range(len(octets)):
        with pytest.raises(Truncated) as fault:
            decode(octets[:end])
        assert fault.value.layer == "apl"


@pytest.mark.parametrize("vector", shared("application.json", of_kind("mbus-fixed-data")))
def test_shared_vectors(vector):
    octets, expected = octets_of(vector)[7:-2], vector["expected"]
    fixed = decode(octets)
    assert fixed.identification == expected["ident"]
    assert fixed.access_number == expected["acc"]
    assert fixed.status == int(expected["status"], 16)
    assert fixed.medium == expected["medium"]
    for counter, stated in zip(fixed.counters, (expected["counter1"], expected["counter2"]), strict=True):
        assert counter.raw.hex().upper() == stated["raw"]
        assert f"{counter.code:02X}" == stated["unit_code"]
        assert counter.value == int(stated["value"])
        assert counter.historic == ("historic" in stated["unit"])
    assert fixed.encode() == octets


def build(unit_1, unit_2=0x3F, *, status=0, medium=2, first="12345678", second="00000000"):
    """Sixteen octets of a meter with these unit codes."""
    units = bytes((unit_1 | (medium & 3) << 6, unit_2 | (medium >> 2) << 6))
    return bytes.fromhex("78563412") + bytes((1, status)) + units + bytes.fromhex(first)[::-1] + bytes.fromhex(second)[::-1]


@pytest.mark.parametrize("code", [code for code in range(0x02, 0x3A) if FIXED_UNITS[code] is not None])
@pytest.mark.parametrize("status", [0, 1])
def test_every_unit_has_a_record_of_the_same_value(code, status):
    fixed = decode(build(code, status=status, first="00004711"))
    counter = fixed.counters[0]
    record = records(fixed)[0]
    assert counter.value == (0x4711 if status else 4711)
    assert record.value == Decimal(counter.value).scaleb(counter.exponent)
    assert record.unit == counter.unit
    if counter.quantity != "temperature":
        assert record.quantity == {"HCA units": "HCA units"}.get(counter.quantity, counter.quantity)
    assert encode(parse(record.octets()).records) == record.octets()
    assert parse(record.octets()).records[0].value == record.value


@pytest.mark.parametrize("code", [0x00, 0x01, 0x3A, 0x3D])
def test_times_dates_and_reserved_units_give_no_record(code):
    fixed = decode(build(code, 0x2C))
    assert [record.quantity for record in records(fixed)] == ["volume"]
    assert fixed.counters[0].raw.hex() == "78563412"


def test_reserved_unit_and_medium_are_kept():
    fixed = decode(build(0x3A, medium=15))
    assert (fixed.counters[0].quantity, fixed.medium_name) == ("unknown", "reserved")
    assert fixed.encode() == build(0x3A, medium=15)


def test_no_unit_is_dimensionless():
    fixed = decode(build(0x3F))
    assert [(str(record.value), record.unit, record.quantity) for record in records(fixed)] == [
        ("12345678", "", "dimensionless"),
        ("0", "", "dimensionless"),
    ]


def test_a_temperature_has_the_unit_but_no_place():
    (record, _) = records(decode(build(0x38)))
    assert (f"{record.value:f}", record.unit) == ("12345.678", "°C")


def test_two_historic_counters_have_no_unit():
    fixed = decode(build(0x3E, 0x3E))
    assert [counter.quantity for counter in fixed.counters] == ["unknown", "unknown"]
    assert records(fixed) == ()


def test_first_counter_historic_in_the_unit_of_the_second():
    fixed = decode(build(0x3E, 0x05))
    assert fixed.counters[0].historic
    assert [(record.unit, record.storage) for record in records(fixed)] == [("Wh", 1), ("Wh", 0)]


def test_digits_that_are_none_give_no_value():
    fixed = decode(build(0x05, first="12A45678"))
    assert fixed.counters[0].value is None
    assert records(fixed)[0].value is None
    assert records(fixed)[0].error == "value.invalid"


def test_status_bits():
    status = decode(build(0x05, status=0b10111110)).status
    assert status == FixedStatus.build(fixed_date=1, power_low=1, permanent_error=1, temporary_error=1, manufacturer=5)
    assert not status.binary
    assert all(counter.fixed_date for counter in decode(build(0x05, status=2)).counters)


def test_most_significant_octet_first():
    small = build(0x05, 0x29, first="00001234", second="00000056")
    big = small[3::-1] + small[4:8] + small[11:7:-1] + small[15:11:-1]
    one, other = decode(small), decode(big, big_endian=True)
    assert other.big_endian
    assert other.identification == one.identification == "12345678"
    assert [counter.value for counter in other.counters] == [1234, 56]
    assert [record.value for record in records(other)] == [record.value for record in records(one)]
    assert other.encode() == big


def test_the_order_of_medium_and_units_can_be_switched(monkeypatch):
    monkeypatch.setattr(fixed_structure, "MEDIUM_IS_LITTLE_ENDIAN", False)
    octets = bytes.fromhex("123456780100") + bytes((0x29, 0x85)) + bytes.fromhex("0000123400000056")
    fixed = decode(octets, big_endian=True)
    assert (fixed.medium, [counter.code for counter in fixed.counters]) == (2, [0x05, 0x29])
    assert fixed.encode() == octets


@pytest.mark.parametrize("medium", [0xA, 0xD])
def test_media_of_mode_2_turn_the_counters(medium):
    octets = bytes.fromhex("123456780100") + bytes((0x29 | (medium & 3) << 6, 0x3F | (medium >> 2) << 6))
    fixed = decode(octets + bytes.fromhex("0000123400000000"))
    assert fixed.big_endian
    assert (fixed.identification, fixed.counters[0].value) == ("12345678", 1234)
    assert fixed.encode() == octets + bytes.fromhex("0000123400000000")


def test_octets_behind_the_structure_are_kept():
    octets = build(0x05) + b"\x2f\x2f"
    assert decode(octets).additional == b"\x2f\x2f"
    assert decode(octets).encode() == octets


def test_what_cannot_be_sent():
    fixed = decode(build(0x05))
    with pytest.raises(NotRepresentable):
        msgspec.structs.replace(fixed, identification="123").encode()
    with pytest.raises(NotRepresentable):
        msgspec.structs.replace(fixed, identification="water").encode()
    with pytest.raises(OutOfRange):
        msgspec.structs.replace(fixed, medium=16).encode()
    with pytest.raises(OutOfRange):
        msgspec.structs.replace(fixed, access_number=-1).encode()


@given(st.binary(min_size=SIZE, max_size=SIZE + 3), st.booleans())
def test_any_sixteen_octets_survive(octets, big_endian):
    fixed = decode(octets, big_endian)
    assert isinstance(fixed, FixedData)
    assert fixed.encode() == octets
    assert len(records(fixed)) <= 2
