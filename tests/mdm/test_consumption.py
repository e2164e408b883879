"""Consumption through roll-over and exchange, due dates, estimates, versions: pure, and by property."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openmetering.errors import InputError
from openmetering.mdm.consumption import advance_of, rolled_over, step, worst
from openmetering.mdm.due_dates import due_moment, due_value
from openmetering.mdm.estimation import Hole, Material, billed, estimate, share
from openmetering.mdm.evidence import Stay, Stored
from openmetering.mdm.findings import Version
from openmetering.mdm.quality import Quality, better, ranks
from openmetering.mdm.series import Register, Sample, Series
from openmetering.mdm.versions import checked_chain, edited, newest, overlaid

DAY = 86_400.0
CAPACITY = 10**6


def series(mantissas: list[int], *, device: str = "A", begin: float = 0.0, every: float = DAY, digits: int = 6) -> Series:
    register = Register(device, "VM1!", "cold water", "volume", "m3", None, digits)
    return Series(register, -3, tuple(Sample(begin + every * place, one % 10**digits) for place, one in enumerate(mantissas)))


def ramp(first: int, rate: int, days: int) -> list[int]:
    return [first + rate * day for day in range(days + 1)]


STEPS = st.lists(st.integers(0, 5000), min_size=1, max_size=40)


@given(st.integers(0, CAPACITY - 1), STEPS)
def test_roll_over_anywhere_changes_no_sum(first: int, steps: list[int]) -> None:
    totals = [first]
    for one in steps:
        totals.append(totals[-1] + one)
    advance = advance_of([series(totals)])
    assert advance.totals[-1] == totals[-1] - first
    assert list(advance.totals) == sorted(advance.totals)


@given(st.integers(0, 500_000), STEPS, st.integers(0, 40), st.integers(0, 50))
def test_an_exchange_hides_only_what_lies_between(first: int, steps: list[int], place: int, start: int) -> None:
    """The new device begins near zero; the sum is that of both, and the doubt covers what was not seen."""
    totals = [first]
    for one in steps:
        totals.append(totals[-1] + one)
    cut = 1 + place % len(totals)
    old = series(totals[:cut], device="A")
    new_values = [one - totals[cut - 1] + start for one in totals[cut - 1 :]]
    new = series(new_values, device="B", begin=(cut - 1) * DAY + 1.0)
    advance = advance_of([old, new], begins={"B": (cut - 1) * DAY + 0.5})
    whole = advance.totals[-1] - (totals[-1] - first)
    assert -50 <= whole <= start
    assert advance.devices[0] == "A"
    assert advance.devices[-1] == "B"


@given(STEPS, st.floats(0, 1), st.floats(0, 1))
def test_parts_add_up(steps: list[int], one: float, other: float) -> None:
    totals = [0]
    for step_ in steps:
        totals.append(totals[-1] + step_)
    advance = advance_of([series(totals)])
    end = DAY * len(steps)
    first, second = sorted((one * end, other * end))
    parts = [advance.amount(0.0, first), advance.amount(first, second), advance.amount(second, end)]
    whole = advance.amount(0.0, end)
    assert whole.value == Decimal(totals[-1]).scaleb(-3)
    total = sum((part.value for part in parts if part.value is not None), Decimal(0))
    assert abs(total - (whole.value or 0)) < Decimal("1e-9")


def test_a_value_between_two_others_is_in_doubt_by_where_it_lies() -> None:
    advance = advance_of([series([0, 1000])])
    middle, near = advance.reading(DAY / 2), advance.reading(DAY / 100)
    assert (middle.value, middle.quality) == (Decimal("0.5"), Quality.INTERPOLATED)
    assert abs(middle.uncertainty - Decimal("0.5")) < Decimal("0.001")
    assert near.quality is Quality.MEASURED
    assert near.uncertainty < Decimal("0.11")
    assert advance.reading(-901.0).quality is Quality.MISSING
    assert advance.reading(-901.0, edge=1000.0).value == 0
    assert advance_of([]).amount(0, 1).quality is Quality.MISSING


def test_registers_of_different_units_are_not_added() -> None:
    other = Series(Register("B", "EW1!", "heat", "energy", "Wh"), 0, (Sample(0.0, 1),))
    with pytest.raises(InputError):
        advance_of([series([1, 2]), other])


@pytest.mark.parametrize(
    ("before", "after", "capacity", "over", "gone"),
    [
        (999_990, 5, CAPACITY, True, 15), (500_000, 5, CAPACITY, False, -499_995), (999_990, 5, None, False, -999_985),
        (950_000, 90_000, CAPACITY, True, 140_000), (899_999, 5, CAPACITY, False, -899_994),
    ],
)  # fmt: skip
def test_a_fall_is_a_roll_over_only_at_the_end(before: int, after: int, capacity: int | None, over: bool, gone: int) -> None:
    assert rolled_over(before, after, capacity) is over
    assert step(before, after, capacity) == gone


def test_qualities_are_ranked() -> None:
    assert set(ranks) == set(Quality)
    assert better(Quality.MEASURED, Quality.PEERS)
    assert worst((Quality.MEASURED, Quality.AREA, Quality.LATE)) is Quality.AREA
    assert worst(()) is Quality.MISSING


# -- due dates -------------------------------------------------------------------------------------------

MOMENT = 10 * DAY


def due(values: Series | None, stored: tuple[Stored, ...] = (), versions: tuple[Version, ...] = ()) -> tuple[str, Quality, str]:
    found = due_value("1", MOMENT, [] if values is None else [values], stored, (Stay("A", 0.0),), versions)
    return str(found.value), found.quality, found.source


def test_the_end_of_the_due_date_is_local_midnight() -> None:
    zone = ZoneInfo("Europe/Berlin")
    assert due_moment(date(2025, 12, 31), zone) == 1767222000.0
    assert due_moment(date(2025, 3, 30), zone) - due_moment(date(2025, 3, 29), zone) == 23 * 3600


def test_what_counts_at_a_due_date() -> None:
    stored = Stored("due", "A", MOMENT, 4242, -3, MOMENT + DAY)
    late = Stored("due", "A", MOMENT, 4242, -3, MOMENT + 60 * DAY)
    between = series(ramp(0, 1000, 20), begin=0.5 * DAY)
    exact = series(ramp(0, 1000, 20), begin=100.0)
    version = edited("1", MOMENT, Decimal("7.5"), "m3", "photograph", "user 4", 0.0)
    assert due(between, (stored,)) == ("4.242", Quality.MEASURED, "meter")
    assert due(between, (late,)) == ("4.242", Quality.LATE, "meter")
    assert due(between, (stored,), (version,)) == ("7.5", Quality.EDITED, "person")
    assert due(exact) == ("10.000", Quality.MEASURED, "reception")
    assert due(between) == ("9.500", Quality.INTERPOLATED, "interpolation")
    assert due(series([1, 2], begin=0.0)) == ("None", Quality.MISSING, "")
    assert due(None) == ("None", Quality.MISSING, "")
    assert due(between, (Stored("due", "B", MOMENT, 1, -3, MOMENT),))[0] == "9.500"


# -- estimates -------------------------------------------------------------------------------------------


def test_a_hole_is_filled_by_what_comparable_points_used() -> None:
    own = ramp(0, 100, 60) + [6000] * 30 + ramp(6100, 100, 60)
    peers = [advance_of([series(ramp(0, rate, 150), device=f"P{rate}")]) for rate in (90, 150, 200, 310)]
    material = Material(advance_of([series(own)]), tuple(peers), (50.0, 60.0, 70.0, 80.0), 65.0)
    hole = Hole(60 * DAY, 90 * DAY, "the register stood still")
    amount = billed(material, 0.0, 150 * DAY, [hole])
    assert amount.value is not None
    assert abs(amount.value - Decimal(15)) < Decimal("0.2")
    assert amount.quality is Quality.PEERS
    assert "stood still" in amount.reason
    silent = billed(Material(advance_of([series(own[:60])]), tuple(peers)), 0.0, 150 * DAY)
    assert silent.value is not None
    assert abs(silent.value - Decimal(15)) < 2 * silent.uncertainty + Decimal("0.2")


def test_the_order_of_methods() -> None:
    year = series(ramp(0, 10, 500))
    peers = tuple(advance_of([series(ramp(0, rate, 500), device=f"P{rate}")]) for rate in (10, 12, 14))
    begin, end = 400 * DAY, 430 * DAY
    before = estimate(Material(advance_of([year]), peers), begin, end)
    young = estimate(Material(advance_of([series(ramp(0, 10, 40), begin=360 * DAY)]), peers), begin, end)
    nothing = estimate(Material(advance_of([]), peers, (10.0, 10.0, 10.0), 20.0), begin, end)
    assert before is not None
    assert young is not None
    assert nothing is not None
    assert (before.quality, young.quality, nothing.quality) == (Quality.HISTORY, Quality.PEERS, Quality.AREA)
    assert nothing.value == Decimal("0.72")
    assert estimate(Material(advance_of([]), peers), begin, end) is None
    assert billed(Material(advance_of([])), begin, end).quality is Quality.MISSING


def test_a_quarter_of_the_area_may_be_estimated() -> None:
    assert not share([(25.0, True), (75.0, False)]).exceeded
    told = share([(25.1, True), (74.9, False)])
    assert told.exceeded
    assert round(told.part, 3) == Decimal("0.251")
    assert share([]).part == 0


# -- versions --------------------------------------------------------------------------------------------


def test_versions_lie_over_a_register() -> None:
    raw = series([1000, 9000, 1200, 1300])
    bad = Version("1", DAY, 1, None, "m3", Quality.INVALID, Decimal(0), "rate", "too much", "openmetering", 0.0)
    mine = Version("1", DAY, 2, Decimal("1.1005"), "m3", Quality.EDITED, Decimal(0), "person", "seen", "user 1", 0.0)
    assert [one.mantissa for one in overlaid(raw, [bad]).samples] == [1000, 1200, 1300]
    both = overlaid(raw, [mine, bad])
    assert [str(both.value(one)) for one in both.samples] == ["1.0000", "1.1005", "1.2000", "1.3000"]
    assert overlaid(raw, []) is raw
    assert newest([bad, mine])[DAY] is mine
    assert raw.samples[1].mantissa == 9000


def test_an_edit_needs_a_reason_and_a_chain_has_no_gap() -> None:
    with pytest.raises(InputError):
        edited("1", 0.0, Decimal(1), "m3", "  ", "user", 0.0)
    with pytest.raises(InputError):
        edited("1", 0.0, Decimal("nan"), "m3", "why", "user", 0.0)
    one = edited("1", 0.0, Decimal(1), "m3", "why", "user", 0.0)
    with pytest.raises(InputError):
        checked_chain([one])
