"""UC-12, application management: due dates and ownership number (Annex M release C M.2.10). Issue 5.0.1 only."""

from __future__ import annotations

import datetime as dt

import pytest

from openmetering.codec.apl.security_transfer import target_time
from openmetering.errors import NotRepresentable, OutOfRange
from openmetering.protocol.operator import billing
from openmetering.protocol.operator.billing import DueDates
from tests.protocol.operator.scripted import DEVICE
from tests.usecases.bench import LINK_FAULTS, NEW_WAYS, POWER_CUTS, Bench
from tests.usecases.cases import Case, one_fault, other_keys, refused, replayed, risks, succeed
from tests.usecases.raw import plain, records, secured

LAST, NEXT, WANTED = dt.date(2023, 12, 31), dt.date(2024, 12, 31), dt.date(2026, 12, 31)
TODAY = dt.date(2024, 1, 1)


def in_use(bench: Bench) -> None:
    bench.memory.due_date_last, bench.memory.due_date_next = bytes.fromhex("FF2C"), bytes.fromhex("1F3C")
    bench.memory.ownership = "987654"


def untouched(bench: Bench) -> bool:
    memory = bench.memory
    return (memory.due_date_last.hex(), memory.due_date_next.hex(), memory.ownership) == ("ff2c", "1f3c", "987654")


SET_DATE = Case(
    "set next due date",
    lambda h, i: billing.set_next_due_date(h, DEVICE, WANTED, today=TODAY, issue=i),
    lambda b: b.memory.due_date_next == bytes.fromhex("5F3C") and b.memory.ownership == "987654",
    untouched,
    {"due-date": 1, "executed": 1},
    in_use,
)
SET_OWNER = Case(
    "set ownership number",
    lambda h, i: billing.set_ownership_number(h, DEVICE, "123456", issue=i),
    lambda b: b.memory.ownership == "123456" and b.memory.due_date_next == bytes.fromhex("1F3C"),
    untouched,
    {"ownership": 1, "executed": 1},
    in_use,
)
GET_DATES = Case("get due dates", lambda h, i: billing.read_due_dates(issue=i), untouched, effects={"executed": 0}, setup=in_use)
GET_OWNER = Case(
    "get ownership number", lambda h, i: billing.read_ownership_number(issue=i), untouched, effects={"executed": 0}, setup=in_use
)
CASES = [SET_DATE, SET_OWNER, GET_DATES, GET_OWNER]


@pytest.mark.parametrize(
    ("case", "expected"),
    [(SET_DATE, WANTED), (SET_OWNER, "123456"), (GET_DATES, DueDates(LAST, NEXT)), (GET_OWNER, "987654")],
    ids=lambda value: getattr(value, "name", ""),
)
@pytest.mark.parametrize("way", NEW_WAYS)
def test_success(way, case, expected):
    assert succeed(case, way) == expected


@pytest.mark.parametrize("digits", ["12", "1234", "123456", "12345678", "123456789012"])
@pytest.mark.parametrize("way", ["wire none", "C B"])
def test_ownership_numbers(way, digits):
    bench = SET_OWNER.bench(way)
    bench.run(lambda h: billing.set_ownership_number(h, DEVICE, digits))
    assert bench.memory.ownership == digits
    assert int(bench.run(lambda h: billing.read_ownership_number())) == int(digits)


@pytest.mark.parametrize("way", ["wire none", "wire B"])
def test_the_due_date_comes(way):
    """When its day has come it is the last one, and the next is a year later."""
    bench = SET_DATE.bench(way)
    soon = dt.date(2024, 1, 3)
    bench.run(lambda h: billing.set_next_due_date(h, DEVICE, soon, today=TODAY))
    bench.wait(3 * 86_400.0)
    assert bench.run(lambda h: billing.read_due_dates()) == DueDates(soon, dt.date(2025, 1, 3))


@pytest.mark.parametrize("kind", LINK_FAULTS + POWER_CUTS)
@pytest.mark.parametrize(("way", "case"), risks(SET_DATE, SET_OWNER, GET_DATES, GET_OWNER, ways=NEW_WAYS))
def test_one_fault_at_every_frame(way, case, kind):
    assert one_fault(case, way, kind) >= 2


@pytest.mark.parametrize("case", [SET_DATE, SET_OWNER], ids=lambda case: case.name)
@pytest.mark.parametrize("way", NEW_WAYS)
def test_a_replay_changes_nothing(way, case):
    replayed(case, way)


# -- refusals ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "date",
    ["FF2C", "0131", "403C", "5F3F", "FFFC", "5F3D", "5E32", "0000"],
    ids=["past", "today", "every day", "every month", "every year", "month 13", "30 February", "no date"],
)
@pytest.mark.parametrize("way", NEW_WAYS)
def test_dates_that_are_not_future_dates(way, date):
    """It must lie in the future, in the calendar, and be without wildcards."""
    make = lambda h, i: secured(h, 0x26, f"42ECFE00{date}", issue=i)  # noqa: E731
    refused(Case("date", make, untouched, untouched, setup=in_use), way, error=0x15)


@pytest.mark.parametrize("apdu", ["42ECFE005F3C", "0B FD 91 00 56 34 12"])
@pytest.mark.parametrize("way", NEW_WAYS)
def test_the_plain_form_is_refused(way, apdu):
    refused(Case("plain", lambda h, i: plain(apdu), untouched, untouched, setup=in_use), way, error=0x22)


@pytest.mark.parametrize("apdu", ["42ECFE005F3C", "0B FD 91 00 56 34 12"])
@pytest.mark.parametrize("way", NEW_WAYS)
def test_key_and_target_time(way, apdu):
    make = lambda h, i: secured(h, 0x25, apdu, issue=i)  # noqa: E731
    refused(Case("key", make, untouched, untouched, setup=in_use), way, error=0x22)
    make = lambda h, i: secured(h, 0x26, apdu, issue=i, time=target_time(60))  # noqa: E731
    refused(Case("later", make, untouched, untouched, setup=in_use), way, status=0x23)


@pytest.mark.parametrize("case", [GET_DATES, GET_OWNER], ids=lambda case: case.name)
@pytest.mark.parametrize("way", NEW_WAYS)
def test_nothing_was_ever_set(way, case):
    """Application error 12h: there are no such data."""
    refused(Case(case.name, case.make, lambda b: True), way, error=0x12)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("way", NEW_WAYS)
def test_a_device_without_the_use_case(way, case):
    refused(case, way, error=0x11, functions={"conformance": {}, "keys": {}})


@pytest.mark.parametrize("apdu", ["40EC0F", "40ECFE0F", "00FD910F"])
@pytest.mark.parametrize("way", ["wire none 4.3.3", "C A 4.3.3", "C B 4.3.3", "T B 4.3.3"])
def test_issue_433_does_not_know_it(way, apdu):
    refused(Case("absent", lambda h, i: records(apdu), untouched, untouched, setup=in_use), way, error=0x11)
    bench = Bench(way)
    for make in (billing.read_due_dates, billing.read_ownership_number):
        with pytest.raises(NotRepresentable):
            bench.run(lambda h, make=make: make(issue="4.3.3"))
    assert bench.count == 0


@pytest.mark.parametrize("case", [SET_DATE, SET_OWNER], ids=lambda case: case.name)
@pytest.mark.parametrize("way", NEW_WAYS)
def test_wrong_keys(way, case):
    refused(case, way, error=0x20, office_keys=other_keys())
    refused(case, way, status=0x19, application_keys=(0x24,))


@pytest.mark.parametrize("way", [name for name, way in NEW_WAYS.items() if way.profile != "none"])
def test_a_wrong_link_key(way):
    refused(SET_DATE, way, error=0x20, gateway_key=bytes(16))
    refused(GET_OWNER, way, error=0x20, gateway_key=bytes(16))


def test_what_is_not_even_sent():
    bench = Bench("C B")
    with pytest.raises(OutOfRange):
        bench.run(lambda h: billing.set_next_due_date(h, DEVICE, TODAY, today=TODAY))
    with pytest.raises(OutOfRange):
        bench.run(lambda h: billing.set_ownership_number(h, DEVICE, "12A4"))
    assert bench.count == 0
