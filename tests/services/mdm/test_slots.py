"""Register slots out of the store: the meters of a world with profiles for TAF 7, and others; reports, MSCONS, bved."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

import pytest
from pydifact.segmentcollection import Interchange as Foreign

from openmetering.errors import InputError
from openmetering.mdm import arge, mscons
from openmetering.mdm.quality import Quality
from openmetering.mdm.slots.status import Check
from openmetering.services.headend.headend import HeadEnd, HeadEndRules
from openmetering.services.headend.registry import DeviceChange
from openmetering.services.headend.vault import Vault
from openmetering.services.mdm.exchange import Partners
from openmetering.services.mdm.reports import Scope
from openmetering.services.mdm.slot_reports import SwitchRule, TariffRules
from openmetering.services.mdm.slots import PointSlots
from openmetering.simulation.plan import parse_plan
from openmetering.simulation.post import DevicePost
from openmetering.simulation.world import World
from openmetering.storage.archive import Archive, close_month
from openmetering.storage.database import Database
from openmetering.storage.mdm_rows import NodeData, PointData
from openmetering.transport.reception import Reception

pytestmark = pytest.mark.filterwarnings("ignore:segments.xml not found")

PLAN = """
[world]
seed = "grid"
start = 2026-03-28
[[building]]
name = "A"
floors = 1
flats = 1
[[gateway]]
name = "gw"
building = "A"
modes = ["C"]
[[meters]]
medium = "electricity"
per = "building"
profile = "B"
taf7 = true
[[meters]]
medium = "heat"
per = "flat"
profile = "none"
"""
ZONE = ZoneInfo("Europe/Berlin")
#: a world has no summer time of its own: its second 0 is the midnight of the first day
BEGIN = datetime(2026, 3, 28, tzinfo=ZONE)
END = datetime(2026, 3, 31, tzinfo=ZONE)
EVERY = 120.0
LOST = range(37, 41)  #: telegrams in a row that nobody heard
MARKET = "DE0001234567890123456789012345678"
PROPERTY = "0000123450003"
PARTNERS = Partners("9900123000007", "9900456000004")
RULES = HeadEndRules(
    tariff=TariffRules(
        (
            SwitchRule(("mon", "tue", "wed", "thu", "fri"), time(6), "HT"),
            SwitchRule(("mon", "tue", "wed", "thu", "fri"), time(22), "NT"),
        )
    )
)


class Grid(NamedTuple):
    """A head-end that heard the meters of a world for three days."""

    head_end: HeadEnd
    database: Database
    tenant: int
    power: DevicePost
    heat: DevicePost


def telegrams(post: DevicePost, every: float, until: float) -> Iterator[tuple[float, bytes]]:
    for number in range(int(until / every)):
        if number not in LOST:
            at = number * every + 0.25
            yield BEGIN.timestamp() + at, post.said(at, number + 1)


def build(folder: Path) -> Iterator[Grid]:
    world = World(parse_plan(PLAN))
    power, heat = world.devices.values()
    assert isinstance(power, DevicePost)
    assert isinstance(heat, DevicePost)
    with Database.open(f"sqlite:///{folder / 'grid.db'}") as database:
        now = END.astimezone(UTC) + timedelta(hours=3)
        vault = Vault(database, bytes(16), lambda: now)
        head_end = HeadEnd(database, vault, lambda: now, rules=RULES, archive=Archive(folder / "archive"))
        tenant = head_end.registry.add_tenant("Elm Court").id
        unit = head_end.registry.add_node(tenant, None, "unit", "Flat 1")
        for post, name, medium in ((power, "main electricity", "electricity"), (heat, "heat", "heat")):
            address = str(post.spec.address)
            for key in post.spec.description.keys:
                vault.add(address, key.octets, key.key_id, tenant_id=tenant)
            device = head_end.registry.register(address, tenant, DeviceChange())
            point = head_end.registry.add_point(unit.id, name, medium)
            head_end.registry.assign(device, point, BEGIN - timedelta(days=1))
            head_end.mdm.put_point_data(PointData(0, point.id, identifier=MARKET if post is power else ""))
        head_end.mdm.put_node_data(NodeData(0, unit.id, 60.0, identifier=PROPERTY))
        head_end.keys_changed()
        length = (END - BEGIN).total_seconds() + 1200.0
        heard = [*telegrams(power, EVERY, length), *telegrams(heat, 3600.0, length)]
        for at in range(0, len(heard), 500):
            part = [Reception(frame, when, "stick", -70.0, mode="C") for when, frame in heard[at : at + 500]]
            head_end.ingest(part, gateway="cellar")
        head_end.ingestor.flush()
        yield Grid(head_end, database, tenant, power, heat)
        head_end.close()


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Grid]:
    yield from build(tmp_path_factory.mktemp("grid"))


def found(grid: Grid) -> dict[str, PointSlots]:
    slots = grid.head_end.mdm.slots.of(grid.tenant, BEGIN.timestamp(), END.timestamp())
    return {one.place.name: one for one in slots}


def true_value(post: DevicePost, at: float) -> int:
    return int(post.metrology.register(round(at - BEGIN.timestamp())))


def test_profiles_fill_the_grid_over_the_day_of_23_hours(grid: Grid) -> None:
    one = found(grid)["main electricity"]
    assert (one.obis, one.unit, one.length) == ("1-0:1.8.0*255", "Wh", 900)
    # midnight at the end counts as well; the day before the change has 96 quarters, the day of it 92
    assert len(one.slots) == 96 + 92 + 96 + 1
    assert one.slots[0].at == BEGIN.timestamp()
    for slot in one.slots:
        assert slot.value is not None
        assert slot.held_at is not None
        assert (slot.checks, slot.valid) == (Check(0), True)
        assert slot.value == true_value(grid.power, slot.held_at)
    # the four telegrams behind 01:15 were lost; the fifth tells of it
    assert [slot.at - BEGIN.timestamp() for slot in one.slots if slot.late] == [75 * 60]


def test_other_meters_fill_what_they_told_in_the_window(grid: Grid) -> None:
    one = found(grid)["heat"]
    assert one.length == 3600
    hours = [slot for slot in one.slots if slot.value is not None]
    assert len(one.slots) == 24 + 23 + 24 + 1
    assert len(one.slots) - len(hours) == len(LOST)
    assert all(slot.received_at == slot.held_at for slot in hours)


def test_slots_of_closed_months_are_the_same(tmp_path: Path) -> None:
    for one in build(tmp_path):
        before = found(one)
        close_month(one.database, tmp_path / "archive", 2026, 3)
        with one.database.transaction() as connection:
            assert connection.exec_driver_sql("SELECT count(*) FROM readings WHERE received_at < 1774900000").scalar() == 0
        assert found(one) == before


def test_reports(grid: Grid) -> None:
    reports, scope = grid.head_end.mdm.reports, Scope(grid.tenant, "Elm Court")
    slots = reports.slots(scope, BEGIN, END)
    names = [column.name for column in slots.columns]
    rows = [dict(zip(names, row, strict=True)) for row in slots.rows]
    assert len(rows) == 285 + 72
    first = rows[0]
    assert (first["meter-status"], first["status-word"], first["quality"], first["source"], first["obis"]) == (
        "00", "A000000020000000", "measured", "meter", "1-0:1.8.0*255",
    )  # fmt: skip
    assert {row["quality"] for row in rows if row["point"] == "heat"} == {"measured", "missing"}
    assert slots.notes[0].values == {"registers": "2", "points": "2", "slots": "357", "share": "98.9%"}
    tariff = reports.tariff(scope, BEGIN, END)
    names = [column.name for column in tariff.columns]
    found_rows = [dict(zip(names, row, strict=True)) for row in tariff.rows]
    power = {(row["use-case"], row["part"]): row for row in found_rows if row["point"] == "main electricity"}
    assert set(power) == {("TAF 2", "HT"), ("TAF 2", "NT"), ("TAF 6", "2026-03-28 00:00"), ("TAF 6", "2026-03-31 00:00")}
    ends = [power["TAF 6", f"2026-03-{day} 00:00"]["value"] for day in (28, 31)]
    high, low = (power["TAF 2", zone]["value"] for zone in ("HT", "NT"))
    assert high + low == ends[1] - ends[0]  # type: ignore[operator]
    # a Saturday, a Sunday and a Monday: only the Monday has high tariff
    monday = BEGIN.timestamp() + (24 + 23) * 3600
    truth = true_value(grid.power, monday + 22 * 3600) - true_value(grid.power, monday + 6 * 3600)
    assert abs(high - truth) <= 20  # type: ignore[operator]
    assert {row["use-case"] for row in found_rows if row["point"] == "heat"} == {"TAF 6"}


def test_too_many_slots_are_refused(grid: Grid) -> None:
    reports, scope = grid.head_end.mdm.reports, Scope(grid.tenant, "Elm Court")
    with pytest.raises(InputError, match="shorter time"):
        reports.slots(scope, BEGIN, BEGIN + timedelta(days=367))
    for report in (reports.slots, reports.tariff):
        assert [note.key for note in report(scope, END + timedelta(days=1), END + timedelta(days=2)).notes] == [
            "report.note.no-slots"
        ]


def test_a_market_partner_gets_the_slots_and_the_due_date(grid: Grid) -> None:
    exchange = grid.head_end.mdm.exchange
    file = exchange.series(grid.tenant, BEGIN, END, PARTNERS)
    assert (file.points, file.left_out) == (1, 1)
    read = mscons.read(file.octets)
    (location,) = read.messages[0].locations
    (item,) = location.items
    assert (location.identifier, location.device, item.obis) == (MARKET, str(grid.power.spec.address), "1-0:1.8.0")
    slots = found(grid)["main electricity"].slots
    assert [(one.at, one.value) for one in item.values] == [
        (datetime.fromtimestamp(slot.at, UTC), slot.value / 1000 if slot.value is not None else None) for slot in slots
    ]
    foreign = Foreign.from_str(file.octets.decode("latin-1"))
    assert len([one for one in foreign.segments if one.tag == "QTY"]) == len(slots)
    due = mscons.read(exchange.due_dates(grid.tenant, date(2026, 3, 30), PARTNERS).octets)
    (location,) = due.messages[0].locations
    ((value,),) = (one.values for one in location.items)
    assert due.messages[0].check == "13017"
    assert value.at == END.astimezone(UTC)
    assert value.quality is Quality.MEASURED
    assert value.source == "reception: received 0 min after the due date"
    assert abs(value.value - Decimal(true_value(grid.power, END.timestamp())) / 1000) < Decimal("0.1")  # type: ignore[operator]


def test_a_property_manager_gets_consumption(grid: Grid) -> None:
    file = grid.head_end.mdm.exchange.results(grid.tenant, BEGIN, END, "0000004711")
    assert (file.points, file.left_out) == (2, 0)
    lines = list(arge.read(file.octets, arge.load_layout()))
    assert {line.values["unit"] for line in lines} == {arge.UNIT_KEYS["kWh"]}
    assert {line.values["property_unit"] for line in lines} == {PROPERTY}
    assert {line.values["end"] for line in lines} == {date(2026, 3, 30)}
    truth = Decimal(true_value(grid.power, END.timestamp()) - true_value(grid.power, BEGIN.timestamp())) / 1000
    assert any(abs(line.values["consumption"] - truth) < Decimal("0.2") for line in lines)  # type: ignore[operator]


def test_without_an_identifier_nothing_goes_out(grid: Grid) -> None:
    with pytest.raises(InputError, match="identifier"):
        grid.head_end.mdm.exchange.due_dates(grid.tenant, date(2026, 3, 30), PARTNERS, wanted=lambda one: one.name == "heat")
