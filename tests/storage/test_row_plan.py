"""The compiled rows of a plan are those of the general way, for every fleet, format and odd value."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.fleet import FLEETS, fleet
from openmetering.storage.reading_rows import readings_of
from openmetering.storage.row_plan import Line, row_plan
from openmetering.telegram import Decoder, Telegram
from tests.fleet import radio, ring, volume

PLANNED = ("mixed", "plain", "with CRC")  #: the decoder reads these by plans
AT, FRAME = 1_700_000_000.25, 77


def by_plan(telegram: Telegram) -> list[Line] | None:
    if telegram.plan is None or telegram.payload is None:
        return None
    plan = row_plan(telegram.plan, None if telegram.address is None else telegram.address.device_type)
    if plan is None:
        return None
    assert list(plan.keys) == [item.series for item in readings_of(telegram)]
    return plan.lines(telegram.payload, tuple(range(100, 100 + len(plan.keys))), AT, FRAME)


def one_by_one(telegram: Telegram) -> list[Line]:
    return [
        (100 + place, AT, FRAME, place, item.value, item.mantissa, item.exponent, item.time, item.error)
        for place, item in enumerate(readings_of(telegram))
    ]


@pytest.mark.parametrize("name", sorted(FLEETS))
def test_fleets(name: str) -> None:
    part = fleet(name, 32, 6)
    decoder = Decoder(part.ring)
    for frame in part.frames:
        decoder.examine(frame)
    planned = 0
    for frame in part.frames:
        telegram = decoder.examine(frame)
        lines = by_plan(telegram)
        planned += lines is not None
        assert lines is None or lines == one_by_one(telegram)
    assert name not in PLANNED or planned > len(part.frames) // 2


RECORDS = [
    "0414D2040000",
    "04140000000080",  # invalid: the smallest number
    "0C1402000080",  # no decimal digit
    "0C13010000F0",  # negative
    "0C7899999999",
    "0214FFFF",
    "07" + "06" + "FFFFFFFFFFFFFF7F",
    "07" + "03" + "0100000000000000",
    "0714" + "00000000000000C0",
    "053B0000803F",
    "053B0000C07F",
    "0D78" + "03" + "434241",
    "046D32371F15",
    "046D00000000",  # no date
    "426C1F15",
    "426C0000",
    "01FD1702",
    "04FD1700000080",
    "0265FF7F",
    "02FD7483FF",
    "0413F10200",
    "440614000000",
    "04067B000000",
    "0215" + "00",
]


def decoded(*records: str) -> Telegram:
    decoder = Decoder(ring())
    frame = radio(records=bytes.fromhex("".join(records)))
    decoder.examine(frame)
    return decoder.examine(frame)


@pytest.mark.parametrize("record", RECORDS)
def test_odd_values(record: str) -> None:
    telegram = decoded(record)
    lines = by_plan(telegram)
    assert lines is None or lines == one_by_one(telegram)


@pytest.mark.parametrize(
    "records",
    [
        ("046D32371F15", "426C1F1C", "0C1413000000", "4C1412000000", "8C011411000000"),
        ("426C1F1C", "426C1E1C", "4C1412000000"),  # two times of one storage: none
        ("426C1F1C", "426C1F1C", "4C1412000000"),  # twice the same
        ("426C1F1C", "426C0000", "4C1412000000"),  # one of them is none
        ("426C0000", "4C1412000000"),
        ("526C1F1C", "4C1412000000"),  # a maximum is no time of the value
    ],
)
def test_times_of_storages(records: tuple[str, ...]) -> None:
    telegram = decoded(*records)
    assert by_plan(telegram) == one_by_one(telegram)


def test_a_date_with_a_record_error_goes_the_general_way() -> None:
    telegram = decoded("02EC151F1C", "0C1413000000")
    lines = by_plan(telegram)
    assert lines is None or lines == one_by_one(telegram)


def test_compact_profiles_have_no_plan() -> None:
    from decimal import Decimal

    from openmetering.codec.apl.profile import Spacing, pack
    from openmetering.codec.apl.records import parse

    base = bytes.fromhex("426C1F1C") + volume(400, storage=True)
    record = pack(parse(base).records[-1], [Decimal("4.10")], spacing=Spacing.of(1, "month"), kind="forward")
    telegram = decoded((base + record.octets()).hex())
    assert telegram.plan is not None
    assert row_plan(telegram.plan, 3) is None
    assert len(list(readings_of(telegram))) > 2


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(("01", "02", "03", "04", "06", "07", "09", "0A", "0B", "0C", "0E")),
    st.sampled_from(("03", "06", "10", "13", "14", "16", "5A", "65", "78", "FD17", "FD74", "933C", "863B", "95FD00")),
    st.binary(min_size=8, max_size=8),
)
def test_any_number(field: str, unit: str, octets: bytes) -> None:
    size = {"01": 1, "02": 2, "03": 3, "04": 4, "06": 6, "07": 8, "09": 1, "0A": 2, "0B": 3, "0C": 4, "0E": 6}[field]
    telegram = decoded(field, unit, octets[:size].hex())
    lines = by_plan(telegram)
    assert lines is None or lines == one_by_one(telegram)
