"""Devices from CSV files: preview, all or nothing, and back."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from openmetering.errors import InputError
from openmetering.services.headend.csv_import import COLUMNS, ImportPlan, ImportRow
from tests.services.headend.desk import START, Desk, address_of

HEAD = "address,label,site,building,unit,room,point,valid_from"
FILE = f"""# meters of Elm Street
{HEAD}
{address_of(1)},hall,Elm Street,1,left,,gas,2026-01-01
{address_of(2)},kitchen,Elm Street,1,left,kitchen,cold water,2026-01-01T00:00:00+01:00
{address_of(3)},store,Elm Street,,,,,
"""


def plan_of(desk: Desk, tenant: int, text: str) -> ImportPlan:
    """What a text would do."""
    return desk.admin.preview_import(text.encode(), tenant)


def reasons(desk: Desk, tenant: int, *rows: str, head: str = HEAD) -> list[str]:
    """Why rows are refused."""
    return [row.words for row in plan_of(desk, tenant, "\n".join((head, *rows))).rows if row.action == "refused"]


def test_a_preview_changes_nothing(desk: Desk) -> None:
    tenant = desk.tenant()
    before = desk.actions()
    plan = plan_of(desk, tenant, FILE)
    assert (plan.new, plan.changed, plan.same, plan.refused) == (3, 0, 0, 0)
    assert plan.places == (
        "site Elm Street", "building 1", "unit left", "point gas in left", "room kitchen", "point cold water in kitchen",
    )  # fmt: skip
    assert plan.rows[0] == ImportRow(3, address_of(1), "new", "measures gas from 2026-01-01T00:00:00+00:00")
    assert desk.admin.devices().items == ()
    assert desk.admin.nodes() == ()
    assert desk.actions() == before


def test_what_the_preview_shows_is_what_happens(desk: Desk) -> None:
    tenant = desk.tenant()
    plan = plan_of(desk, tenant, FILE)
    report = desk.admin.apply_import(FILE.encode(), tenant)
    assert report.plan == plan
    assert report.words() == "3 new, 0 changed, 0 the same, 0 refused"
    assert [device.label for device in report.devices] == ["hall", "kitchen", "store"]
    assert [device.state for device in desk.admin.devices().items] == ["registered"] * 3
    (assignment,) = desk.admin.assignments(device_id=desk.device(2).id)
    assert assignment.valid_from == datetime(2025, 12, 31, 23, tzinfo=UTC)
    assert "import devices: tenant 1" in desk.actions()
    again = plan_of(desk, tenant, FILE)
    assert (again.new, again.changed, again.same, again.refused) == (0, 0, 3, 0)
    assert again.places == ()


def test_changes_are_told(desk: Desk) -> None:
    tenant = desk.tenant()
    desk.admin.apply_import(FILE.encode(), tenant)
    text = f"address;label;profile\n{address_of(1)};cellar;B\n{address_of(2)};;\n"
    plan = plan_of(desk, tenant, text)
    assert [(row.action, row.words) for row in plan.rows] == [("changed", "label cellar, profile B"), ("same", "")]
    report = desk.admin.apply_import(text.encode(), tenant)
    assert [device.label for device in report.devices] == ["cellar"]
    assert desk.device(2).label == "kitchen"


def test_a_device_moves_to_another_point(desk: Desk) -> None:
    tenant = desk.tenant()
    desk.admin.apply_import(FILE.encode(), tenant)
    text = f"{HEAD}\n{address_of(1)},,Elm Street,1,right,,gas,2026-02-01\n"
    assert plan_of(desk, tenant, text).rows[0].action == "changed"
    desk.admin.apply_import(text.encode(), tenant)
    old, new = desk.admin.assignments(device_id=desk.device(1).id)
    assert old.valid_to == new.valid_from == datetime(2026, 2, 1, tzinfo=UTC)


def test_a_point_is_not_taken_from_another_device(desk: Desk) -> None:
    tenant = desk.tenant()
    desk.admin.apply_import(FILE.encode(), tenant)
    row = f"{address_of(4)},,Elm Street,1,left,,gas,2026-02-01"
    assert reasons(desk, tenant, row) == ["point gas is measured by another device in that time"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("nonsense,,,,,,,", "is no DIN 43863-5 number"),
        (f"{address_of(1)},,,,,,gas,", "a point needs a place"),
        (f"{address_of(1)},,S,,,,gas,yesterday", "valid_from is a day"),
        (f"{address_of(1)},,S,,,,gas,2026-01-01T10:00", "valid_from is a day"),
        (f"{address_of(1)},,S,,,,gas,9999-12-31T23:00:00-12:00", "valid_from is a day"),
        (f"{address_of(1)}" + "," * 20, "the row has 21 cells"),
        (f'{address_of(1)},"open', "the row cannot be read"),
        (f"{address_of(1)},{'x' * 300},,,,,,", "a text has at most"),
        (f"{address_of(1)},,{'x' * 300},,,,,", "a name has 1 to"),
    ],
)
def test_rows_that_are_refused(desk: Desk, row: str, reason: str) -> None:
    (found,) = reasons(desk, desk.tenant(), row)
    assert reason in found


@pytest.mark.parametrize(
    ("columns", "cells", "reason"),
    [
        ("bidirectional", "perhaps", "bidirectional is yes or no"),
        ("wired_primary", "-1", "wired_primary is a number"),
        ("wired_primary", "251", "between 0 and 250"),
        ("wired_primary", "99999999", "wired_primary is a number"),
        ("adapter", "somebody", "no DIN 43863-5 number"),
    ],
)
def test_cells_that_are_refused(desk: Desk, columns: str, cells: str, reason: str) -> None:
    (found,) = reasons(desk, desk.tenant(), f"{address_of(1)},{cells}", head=f"address,{columns}")
    assert reason in found


def test_particulars_are_read(desk: Desk) -> None:
    tenant = desk.tenant()
    text = (
        f"address\tmedium\tadapter\tmode\tbidirectional\twired_primary\n{address_of(1)}\theat\t{address_of(9, 0x37)}\tC\tJa\t5\n"
    )
    desk.admin.apply_import(text.encode("utf-8-sig"), tenant)
    device = desk.device(1)
    assert (device.medium, device.adapter, device.mode, device.bidirectional, device.wired_primary) == (
        "heat", address_of(9, 0x37), "C", True, 5,
    )  # fmt: skip


def test_the_same_device_twice_is_refused(desk: Desk) -> None:
    assert reasons(desk, desk.tenant(), f"{address_of(1)},a,,,,,,", f"{address_of(1)},b,,,,,,") == [
        "line 2 is about the same device"
    ]


def test_devices_of_others_are_refused_without_telling(desk: Desk) -> None:
    tenant, others = desk.tenant(), desk.tenant("others")
    desk.meter(others, 7, label="secret")
    (reason,) = reasons(desk, tenant, f"{address_of(7)},mine now,,,,,,")
    assert reason == f"device {address_of(7)} cannot be registered here"
    assert desk.device(7).label == "secret"


def test_a_refused_row_leaves_nothing_behind(desk: Desk) -> None:
    tenant = desk.tenant()
    text = f"{HEAD}\n{address_of(1)},,Oak Street,1,,,gas,2026-01-01\n{address_of(2)},,Oak Street,2,,,gas,nonsense\n" + (
        f"{address_of(3)},,Oak Street,1,,,gas,2026-01-01\n{address_of(4)},,Oak Street,3,,,gas,2026-01-01\n"
    )
    plan = plan_of(desk, tenant, text)
    assert [row.action for row in plan.rows] == ["new", "refused", "refused", "new"]
    assert "building 2" not in plan.places
    with pytest.raises(InputError) as caught:
        desk.admin.apply_import(text.encode(), tenant)
    assert caught.value.code == "access.conflict"
    assert "line 3" in caught.value.message
    assert desk.admin.devices().items == ()
    report = desk.admin.apply_import(text.encode(), tenant, partly=True)
    assert report.plan == plan
    assert [node.name for node in desk.admin.nodes()] == ["Oak Street", "1", "3"]
    assert [device.address for device in desk.admin.devices().items] == [address_of(1), address_of(4)]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the file is empty"),
        (b"# nothing\n\n", "the file is empty"),
        (b"name,label\n", "one of them is address"),
        (b"address,colour\n", "there is no column 'colour'"),
        (b"address,address\n", "named twice"),
        (b"address\n\x00\n", "no text"),
        (b"address\n" + b"x" * (17 << 20), "larger than 16 MiB"),
        (b"address\n" + b"x\n" * 200_001, "more than 200000 rows"),
    ],
)
def test_files_that_are_none(desk: Desk, data: bytes, reason: str) -> None:
    tenant = desk.tenant()
    with pytest.raises(InputError) as caught:
        desk.admin.preview_import(data, tenant)
    assert caught.value.code == "import.format"
    assert reason in caught.value.message


def test_files_of_old_programs(desk: Desk) -> None:
    tenant = desk.tenant()
    desk.admin.apply_import(f"address,label\r\n{address_of(1)},Küche\r\n".encode("cp1252"), tenant)
    assert desk.device(1).label == "Küche"


def test_an_export_reads_back_as_the_same(desk: Desk) -> None:
    tenant = desk.tenant()
    desk.admin.apply_import(FILE.encode(), tenant)
    text = desk.admin.export_devices()
    assert text.splitlines()[0] == ",".join(COLUMNS)
    plan = plan_of(desk, tenant, text)
    assert (plan.same, plan.refused) == (3, 0)
    fresh = desk.tenant("elsewhere")
    assert plan_of(desk, fresh, text).refused == 3


def test_an_export_is_harmless_for_spreadsheets(desk: Desk) -> None:
    tenant = desk.tenant()
    desk.meter(tenant, 1, label="=HYPERLINK(1)")
    desk.meter(tenant, 2, label="-5 °C, cellar")
    text = desk.admin.export_devices()
    assert "'=HYPERLINK(1)" in text
    assert plan_of(desk, tenant, text).same == 2


def test_without_a_time_the_device_measures_from_now_on(desk: Desk) -> None:
    tenant = desk.tenant()
    desk.admin.apply_import(f"{HEAD}\n{address_of(1)},,S,,,,gas,\n".encode(), tenant)
    (assignment,) = desk.admin.assignments(device_id=desk.device(1).id)
    assert assignment.valid_from == START
    assert plan_of(desk, tenant, f"{HEAD}\n{address_of(1)},,S,,,,gas,\n").same == 1
