"""A property of 203 meters over a year: every fault is found by the rule meant for it, its faultless twin has none, and what is
billed is what was consumed, within the printed uncertainty. The same with closed months in Parquet."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import pytest

from openmetering.interfaces.assembly.property import settle_property
from openmetering.mdm.quality import Quality
from openmetering.services.headend.headend import HeadEnd, now_utc
from openmetering.services.headend.model import moment
from openmetering.services.headend.vault import Vault
from openmetering.services.mdm.validation import Checked
from openmetering.simulation.property import FAULT_KINDS, PropertyYear
from openmetering.storage.archive import Archive, close_month
from openmetering.storage.database import Database

DAY = 86_400.0
#: meters of the property: 203 with ``make property``, fewer in the daily run
METERS = int(os.environ.get("OPENMETERING_PROPERTY_METERS", "83"))
#: (kind of fault, another rule that may speak of it): what is silent for good is a gap as well
ALSO = {("unregistered", "gap")}


class Lived(NamedTuple):
    """A year in a head-end."""

    year: PropertyYear
    head_end: HeadEnd
    tenant: int
    numbers: Mapping[str, int]
    checked: Checked


def lived(folder: Path, faults: tuple[str, ...]) -> Iterator[Lived]:
    year = PropertyYear(2025, meters=METERS, faults=faults)
    with (
        Database.open(str(folder / "property.db")) as database,
        HeadEnd(database, Vault(database, bytes(16), now_utc), now_utc) as head_end,
    ):
        administrator = head_end.accounts.add("administrator", "correct horse battery", "admin")
        tenant, numbers = settle_property(head_end, year, administrator)
        checked = head_end.mdm.validation.check(tenant.id, year.begin, year.end + 7 * DAY)
        yield Lived(year, head_end, tenant.id, numbers, checked)


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lived]:
    yield from lived(tmp_path_factory.mktemp("faulty"), FAULT_KINDS)


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lived]:
    yield from lived(tmp_path_factory.mktemp("twin"), ())


def test_the_faultless_twin_has_no_finding(twin: Lived) -> None:
    assert twin.checked.values > 1000 * METERS
    assert [(one.rule, one.reason) for one in twin.checked.findings] == []


def test_every_fault_is_found_by_its_rule_and_nothing_else_is(faulty: Lived) -> None:
    labels = {number: label for label, number in faulty.numbers.items()}
    found = {(labels[int(one.point)], one.rule) for one in faulty.checked.findings}
    meant = {(one.label, one.rule) for one in faulty.year.injected if one.rule is not None}
    also = {(one.label, rule) for one in faulty.year.injected for kind, rule in ALSO if one.kind == kind}
    assert len(meant) == len(FAULT_KINDS) - 1
    assert meant <= found
    assert found - meant <= also


def test_findings_name_the_time_and_the_numbers(faulty: Lived) -> None:
    for injected in faulty.year.injected:
        mine = [
            one for one in faulty.checked.findings
            if injected.rule == one.rule and faulty.numbers.get(injected.label) == int(one.point)
        ]  # fmt: skip
        assert bool(mine) == (injected.rule is not None)
        for one in mine:
            assert one.begin <= injected.end + 8 * DAY
            assert one.end >= injected.begin - DAY
            assert any(sign.isdigit() for sign in one.reason), one.reason


def test_the_neighbour_is_in_no_report(faulty: Lived) -> None:
    (neighbour,) = (one for one in faulty.year.injected if one.kind == "neighbour")
    export = faulty.head_end.mdm.exports.records(faulty.tenant, moment(faulty.year.begin), moment(faulty.year.begin + 3 * DAY))
    assert neighbour.what not in {one.device for one in export}
    assert faulty.head_end.mdm.privacy.drop_foreign(moment(faulty.year.begin + 40 * DAY)) > 100


@pytest.mark.parametrize("which", ["twin", "faulty"])
def test_what_is_billed_is_what_was_consumed(which: str, request: pytest.FixtureRequest) -> None:
    one: Lived = request.getfixturevalue(which)
    year = one.year
    one.head_end.mdm.validation.run(one.tenant, moment(year.begin), moment(year.end + 7 * DAY))
    billed = one.head_end.mdm.amounts.of(one.tenant, year.begin, year.end)
    assert len(billed) == len(year.points)
    outside = []
    for found in billed:
        truth, amount = year.points[found.place.name].truth(year.end), found.amount
        assert amount.value is not None, found.place.name
        # two standard uncertainties: 95 of 100
        if abs(amount.value - truth) > amount.expanded:
            outside.append((found.place.name, amount.value, truth, amount.expanded))
        assert amount.expanded < max(
            Decimal("0.4") * truth, Decimal(3) * Decimal(1).scaleb(year.points[found.place.name].medium.exponent)
        )
    assert len(outside) <= len(billed) // 20, outside
    qualities = Counter(found.amount.quality for found in billed)
    assert qualities[Quality.PEERS] == (2 if which == "faulty" else 0)


def test_a_second_run_adds_no_version(faulty: Lived) -> None:
    year, mdm = faulty.year, faulty.head_end.mdm

    def versions() -> int:
        return sum(
            len(mdm.versions(number, moment(year.begin), moment(year.end + 8 * DAY))) for number in faulty.numbers.values()
        )

    mdm.validation.run(faulty.tenant, moment(year.begin), moment(year.end + 7 * DAY))
    before = versions()
    assert before > 100
    mdm.validation.run(faulty.tenant, moment(year.begin), moment(year.end + 7 * DAY))
    assert versions() == before


def test_closed_months_change_no_answer(faulty: Lived, tmp_path: Path) -> None:
    """The last test of the module: the readings leave the database."""
    year, head_end = faulty.year, faulty.head_end
    label = "Flat 7 cold water"
    device = str(year.points[label].devices[0].address)
    amounts = head_end.mdm.amounts.of(faulty.tenant, year.begin, year.end)
    before = [head_end.readings.values(one.id, None, None, None, 10_000) for one in head_end.readings.series(device)]
    for month in range(1, 13):
        close_month(head_end.database, tmp_path, 2025, month)
    with HeadEnd(head_end.database, head_end.vault, now_utc, archive=Archive(tmp_path)) as again:
        assert again.mdm.amounts.of(faulty.tenant, year.begin, year.end) == amounts
        assert [again.readings.values(one.id, None, None, None, 10_000) for one in again.readings.series(device)] == before
        daily = again.readings.values(again.readings.series(device)[0].id, None, None, DAY, 10_000)
        assert 360 < len(daily) < 376
        assert len(head_end.mdm.amounts.of(faulty.tenant, year.begin, year.end)) == len(amounts)
        assert head_end.mdm.amounts.of(faulty.tenant, year.begin, year.end) != amounts
