"""Packing compact profiles: element widths, invalid marks, refusals, round trips."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openmetering.codec.apl.header import encode_dib, header_of
from openmetering.codec.apl.profile import Spacing, expand, pack, single_records
from openmetering.codec.apl.records import make, parse
from openmetering.errors import NotRepresentable, OutOfRange


def base(data_field=4, vib="13", number="1.000", storage=8):
    header = header_of(encode_dib(data_field, storage=storage), bytes.fromhex(vib))
    return make(header, Decimal(number))


@pytest.mark.parametrize(
    ("values", "mode", "element"),
    [
        (["1.254"], "increments", 1),
        (["1.255"], "increments", 2),  # FFh is the mark of an invalid element
        (["66.534"], "increments", 2),
        (["66.535"], "increments", 3),
        (["16778.216"], "increments", 4),
        (["4294968.296"], "increments", 6),
        (["0.873"], "differences", 1),
        (["0.872"], "differences", 2),
        (["0.127", "-0.127"], "absolute", 1),
        (["0.128"], "absolute", 2),
        (["-0.128"], "absolute", 2),
    ],
)
def test_the_smallest_element_is_chosen(values, mode, element):
    start = base()
    values = [Decimal(value) for value in values]
    record = pack(start, values, spacing=Spacing.of(1, "h", mode=mode))
    assert record.raw[0] & 0x0F == element
    (series,) = expand([start, record])
    assert [point.value for point in series.points] == values


def test_bcd_bases_get_bcd_elements():
    start = base(0x0C)
    for last, element in (("1.099", 9), ("1.100", 10), ("11.000", 11), ("1001.000", 12), ("100001.000", 14)):
        assert pack(start, [Decimal(last)], spacing=Spacing.of(1, "h")).raw[0] & 0x0F == element
    assert pack(start, [Decimal("1.255")], spacing=Spacing.of(1, "h", element=2)).raw[0] & 0x0F == 2
    assert pack(start, [Decimal("0.991")], spacing=Spacing.of(1, "h", mode="differences")).raw.hex() == "e901f9"


def test_real_bases_get_real_elements():
    start = make(header_of(b"\x05", b"\x13"), Decimal("10"))
    for mode in ("absolute", "increments", "differences"):
        record = pack(start, [Decimal("22.5"), None], spacing=Spacing.of(1, "h", mode=mode))
        (series,) = expand([start, record])
        assert [point.value for point in series.points] == [Decimal("22.5")]
        assert series.invalid_at == 1


@pytest.mark.parametrize("mode", ["absolute", "increments", "decrements", "differences"])
@pytest.mark.parametrize("data_field", [4, 0x0C])
def test_an_invalid_last_value(mode, data_field):
    start = base(data_field)
    record = pack(start, [Decimal("1.000"), None, None], spacing=Spacing.of(1, "h", mode=mode))
    (series,) = expand([start, record])
    assert ([point.value for point in series.points], series.invalid_at) == ([Decimal("1.000")], 1)


@pytest.mark.parametrize(
    ("start", "values", "spacing", "kind", "error"),
    [
        (base(), ["1"], Spacing.of(1, "h"), "sideways", NotRepresentable),
        (base(), ["1"], Spacing(1, 0, 1, 251), "forward", NotRepresentable),
        (base(), ["1"], Spacing(1, 0, 13, 1), "forward", NotRepresentable),
        (base(), ["1"], Spacing(1, 0, 8, 1), "forward", NotRepresentable),
        (base(), ["1.0001"], Spacing.of(1, "h"), "forward", NotRepresentable),
        (base(), ["0.999"], Spacing.of(1, "h"), "forward", OutOfRange),
        (base(), ["1.001"], Spacing.of(1, "h"), "inverse", OutOfRange),
        (base(), ["1.255"], Spacing.of(1, "h", element=1), "forward", OutOfRange),
        (base(), [None, "1"], Spacing.of(1, "h"), "forward", NotRepresentable),
        (base(), ["1"] * 190, Spacing.of(1, "h"), "forward", OutOfRange),
        (base(0x0C), ["1"] * 20, Spacing.of(1, "h", element=14), "forward", None),
        (base(), [Decimal(2) ** 70], Spacing.of(1, "h"), "forward", OutOfRange),
        (parse(bytes.fromhex("041300000080")).records[0], ["1"], Spacing.of(1, "h"), "forward", NotRepresentable),
        (parse(bytes.fromhex("026C1F11")).records[0], ["1"], Spacing.of(1, "h"), "forward", NotRepresentable),
    ],
)
def test_what_cannot_be_packed(start, values, spacing, kind, error):
    values = [None if value is None else Decimal(value) for value in values]
    if error is None:
        assert len(pack(start, values, spacing=spacing, kind=kind).raw) == 122
        return
    with pytest.raises(error):
        pack(start, values, spacing=spacing, kind=kind)


def test_a_full_record():
    record = pack(base(), [Decimal(1)] * 189, spacing=Spacing.of(1, "h"))
    assert record.lvar == 0xBF
    (series,) = expand([base(), record])
    assert len(series.points) == 189


NUMBERS = st.integers(-(10**6), 10**6)


@given(
    st.sampled_from(["absolute", "differences"]),
    st.sampled_from(["forward", "inverse", "registers"]),
    st.sampled_from([(4, "13"), (0x0C, "13"), (7, "03"), (0x0E, "FB0D"), (6, "FD48")]),
    st.integers(-999_999, 10**6),
    st.lists(NUMBERS, max_size=25),
    st.integers(0, 300),
)
def test_pack_and_expand_are_inverse(mode, kind, place, start, numbers, storage):
    data_field, vib = place
    header = header_of(encode_dib(data_field, storage=storage), bytes.fromhex(vib))
    first = make(header, Decimal(f"{start}E{header.exponent}"))
    values = [Decimal(f"{number}E{header.exponent}") for number in numbers]
    record = pack(first, values, spacing=Spacing.of(1, "d", mode=mode), kind=kind)
    (series,) = expand(parse(first.octets() + record.octets()).records)
    assert [point.value for point in series.points] == values
    assert [point.storage for point in series.points] == [storage + 1 + index for index in range(len(values))]
    assert [single.value for single in single_records(series)] == values
    again = pack(first, values, spacing=series.spacing, kind=kind)
    assert again.octets() == record.octets()


@given(
    st.sampled_from(["forward", "inverse"]),
    st.sampled_from(["increments", "decrements"]),
    st.lists(st.integers(0, 10**5), max_size=25),
)
def test_unsigned_modes(kind, mode, steps):
    up = (kind == "forward") == (mode == "increments")
    values, value = [], 10**7
    for step in steps:
        value += step if up else -step
        values.append(Decimal(value).scaleb(-3))
    start = base(number="10000.000")
    record = pack(start, values, spacing=Spacing.of(15, "min", mode=mode), kind=kind)
    (series,) = expand([start, record])
    assert [point.value for point in series.points] == values
