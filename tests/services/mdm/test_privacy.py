"""Erasure leaves nothing personal in database, closed months, spool, logs and later backups, and the totals of the building stay;
exports, reports and their delivery over the same property."""

from __future__ import annotations

import json
import logging
import re
import socketserver
import threading
import zipfile
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from typing import ClassVar, NamedTuple

import duckdb
import pandas
import polars
import pyarrow.parquet
import pypdf
import pytest

from openmetering.interfaces.assembly.property import settle_property
from openmetering.interfaces.reports.clerk import ReportClerk
from openmetering.interfaces.reports.delivery import Mailer, MailSettings, content
from openmetering.interfaces.reports.records import RECORD_SCHEMA, record_octets, record_schema
from openmetering.interfaces.web.i18n import Words
from openmetering.services.gatewayd.spool import Spool
from openmetering.services.headend.headend import HeadEnd, HeadEndRules
from openmetering.services.headend.model import User, moment
from openmetering.services.headend.vault import Vault
from openmetering.services.mdm.exports import COLUMNS
from openmetering.services.mdm.reports import REPORTS, Scope
from openmetering.simulation.property import PropertyYear
from openmetering.storage.archive import SCHEMA, Archive, close_month, erase_from, schema
from openmetering.storage.database import Database
from openmetering.storage.portable import write
from tests.fleet import KEY, radio
from tests.services.headend.desk import Desk, address_of
from tests.storage.conftest import postgres_server, shared_database, url

__all__ = ["postgres_server", "shared_database", "url"]

ZONE_BEGIN = datetime(2024, 12, 31, 23, tzinfo=UTC)
NOW = datetime(2026, 1, 9, tzinfo=UTC)
NAME = "Hannelore-Mustermann"


class Home(NamedTuple):
    """A property of forty meters in a head-end, its first months closed."""

    year: PropertyYear
    head_end: HeadEnd
    tenant: int
    administrator: User
    archive: Path


def build(address: str, folder: Path, days: int = 365) -> Iterator[Home]:
    year = PropertyYear(2025, meters=40)
    if days < 365:
        year.end = year.begin + days * 86_400.0
    database = Database.open(address)
    archive = Archive(folder / "archive")
    head_end = HeadEnd(database, Vault(database, bytes(16), lambda: NOW), lambda: NOW, archive=archive)
    administrator = head_end.accounts.add("administrator", "correct horse battery", "admin")
    tenant, _ = settle_property(head_end, year, administrator)
    for month in range(1, 4):
        if month * 31 <= days:
            close_month(database, archive.folder, 2025, month)
    try:
        yield Home(year, head_end, tenant.id, administrator, archive.folder)
    finally:
        head_end.close()
        database.close()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    folder = tmp_path_factory.mktemp("home")
    yield from build(str(folder / "home.db"), folder)


# -- exports ---------------------------------------------------------------------------------------------


def test_the_archive_opens_everywhere_with_its_schema(home: Home) -> None:
    files = sorted(home.archive.rglob("*.parquet"))
    assert [str(one.relative_to(home.archive)) for one in files] == [
        f"readings/year=2025/month={month:02d}/part-0.parquet" for month in (1, 2, 3)
    ]
    names = [name for name, _, _ in SCHEMA]
    table = pyarrow.parquet.read_table(files[0], partitioning=None)
    assert table.schema.equals(schema())
    assert table.schema.field("value").metadata[b"description"] == b"exact digits, a time in ISO 8601, text"
    folder = f"{home.archive}/readings/*/*/*.parquet"
    found = duckdb.sql(
        f"SELECT count(*), min(quality), max(quality), count(DISTINCT source) FROM read_parquet('{folder}')"
    ).fetchall()[0]
    assert found[0] > 20_000
    assert found[1:] == ("measured", "measured", 2)
    assert polars.scan_parquet(files[0]).collect_schema().names()[: len(names)] == names
    assert list(pandas.read_parquet(files[0]).columns)[: len(names)] == names


def test_every_export_carries_quality_and_source(home: Home, tmp_path: Path) -> None:
    def records(**more: object) -> list[object]:
        return list(
            home.head_end.mdm.exports.records(home.tenant, ZONE_BEGIN, ZONE_BEGIN + timedelta(days=90), **more)  # type: ignore[arg-type]
        )

    days = records(every="day")
    assert len(days) == 90 * len(home.year.points)
    total = sum((one.value for one in days if one.point == "Flat 1 cold water" and one.value is not None), Decimal(0))  # type: ignore[attr-defined]
    truth = home.year.points["Flat 1 cold water"].truth(home.year.begin + 90 * 86_400)
    assert abs(total - truth) < Decimal("0.05")
    lines, kind = record_octets(iter(days), "jsonl")  # type: ignore[arg-type]
    first = json.loads(lines.splitlines()[0])
    assert kind == "application/x-ndjson"
    assert tuple(first) == COLUMNS
    assert first["quality"]
    assert first["source"]
    path = tmp_path / "values.parquet"
    path.write_bytes(record_octets(iter(records()), "parquet")[0])  # type: ignore[arg-type]
    assert pyarrow.parquet.read_schema(path).equals(record_schema())
    assert polars.read_parquet(path).columns == [name for name, _ in RECORD_SCHEMA]
    assert len(pandas.read_parquet(path)) == duckdb.sql(f"SELECT count(*) FROM '{path}'").fetchall()[0][0] > 10_000
    csv, _ = record_octets(iter(records(every="month", pseudonymous=True)), "csv")  # type: ignore[arg-type]
    assert b"Flat 1" not in csv
    assert b"ELS-" not in csv
    assert csv.count(b"\r\n") == 3 * len(home.year.points) + 1
    assert csv == record_octets(iter(records(every="month", pseudonymous=True)), "csv")[0]  # type: ignore[arg-type]


# -- reports ---------------------------------------------------------------------------------------------


def test_every_report_in_every_format_and_language(home: Home) -> None:
    reports, scope = home.head_end.mdm.reports, Scope(home.tenant, "Elm Court")
    since, until = ZONE_BEGIN + timedelta(days=100), ZONE_BEGIN + timedelta(days=130)
    made = {
        "due-dates": reports.due_dates(scope, date(2025, 12, 31)),
        "monthly": reports.monthly(scope, date(2025, 6, 15)),
        "consumption": reports.consumption(scope, since, until),
        "findings": reports.findings(scope, since, until),
        "alarms": reports.alarms(scope, since, until),
        "radio": reports.radio(scope, since, until),
        "slots": reports.slots(scope, since, since + timedelta(days=3)),
        "tariff": reports.tariff(scope, since, until),
    }
    assert set(made) == set(REPORTS)
    for kind, report in made.items():
        assert report.kind == kind
        assert all(len(row) == len(report.columns) for row in report.rows)
        for locale in ("en", "de"):
            words = Words(locale)
            pages = pypdf.PdfReader(BytesIO(content(report, "pdf", words))).pages
            text = "".join(page.extract_text() for page in pages)
            assert words(f"report.title.{kind}").split()[0] in text
            if report.rows:
                # only this one was heard within the window of a slot
                assert ("Main electricity" if kind in ("slots", "tariff") else "Flat 1") in text.replace("\n", " ")
        assert content(report, "csv", Words("en")).startswith(",".join(one.name for one in report.columns).encode())
        assert content(report, "jsonl", Words("en")).count(b"\n") == len(report.rows)
    values = {row[1]: row for row in made["due-dates"].rows}
    assert len(values) == len(home.year.points)
    assert values["Flat 1 cold water"][7:9] == ("measured", "meter")
    month = {row[1]: row for row in made["monthly"].rows}["Flat 2 heat"]
    point = home.year.points["Flat 2 heat"]
    begin = datetime(2025, 5, 31, 22, tzinfo=UTC).timestamp()
    end = datetime(2025, 6, 30, 22, tzinfo=UTC).timestamp()
    truth = (point.truth(end) - point.truth(begin)) / 1000
    assert month[3] == "kWh"
    assert isinstance(month[4], Decimal)
    assert abs(month[4] - truth) < 2
    assert month[6] is None
    assert isinstance(month[7], Decimal)


class Post(socketserver.StreamRequestHandler):
    """A mail server that keeps what it is given."""

    mails: ClassVar[list[bytes]] = []

    def handle(self) -> None:
        self.wfile.write(b"220 test\r\n")
        lines: list[bytes] | None = None
        for line in self.rfile:
            if lines is not None:
                if line == b".\r\n":
                    self.mails.append(b"".join(lines))
                    lines = None
                    self.wfile.write(b"250 kept\r\n")
                else:
                    lines.append(line)
                continue
            word = line[:4].upper()
            if word == b"DATA":
                lines = []
            self.wfile.write({b"DATA": b"354 go on\r\n", b"QUIT": b"221 bye\r\n"}.get(word, b"250 yes\r\n"))
            if word == b"QUIT":
                return


def test_reports_go_out_by_mail_and_failures_are_tried_again(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    session = home.head_end.as_user(home.administrator)
    item = session.add_report_schedule("monthly", "pdf", 8, "mail", "office@example.org", tenant_id=home.tenant)
    monkeypatch.setattr(home.head_end, "now", lambda: item.next_at + timedelta(minutes=1))
    assert ReportClerk(home.head_end, {}).send_due() == 0
    (failed,) = home.head_end.mdm.schedules(home.tenant)
    assert "nobody delivers by mail" in str(failed.error)
    monkeypatch.setattr(home.head_end, "now", lambda: failed.next_at + timedelta(minutes=1))
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Post) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        mailer = Mailer(MailSettings("127.0.0.1", "meters@example.org", port=server.server_address[1], tls="none"))
        clerk = ReportClerk(home.head_end, {"mail": mailer})
        assert clerk.send_due() == 1
        assert clerk.send_due() == 0
        server.shutdown()
    (mail,) = Post.mails
    assert b"Subject: Monthly consumption information: Elm Court" in mail
    assert b"application/pdf" in mail
    (sent,) = home.head_end.mdm.schedules(home.tenant)
    assert (sent.error, sent.next_at.day, sent.last_at is None) == (None, 8, False)
    session.remove_report_schedule(item.id)


# -- retention and erasure ---------------------------------------------------------------------------------


def octets_of(folder: Path) -> bytes:
    """Every octet of every file; what is compressed, opened."""
    found = []
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".parquet":
            found.append(pandas.read_parquet(path).to_csv().encode())
        elif path.is_file() and zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                found += (archive.read(name) for name in archive.namelist())
        elif path.is_file():
            found.append(path.read_bytes())
    return b"\n".join(found)


def test_erasing_a_tenant_leaves_nothing_personal(url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """In the database, closed months, spool, logs and backups made afterwards; the building's totals stay right."""
    caplog.set_level(logging.DEBUG)
    for home in build(url, tmp_path, days=70):
        year, head_end = home.year, home.head_end
        session = head_end.as_user(home.administrator)
        unit = next(node for node in session.nodes() if node.name == "Flat 3")
        building = next(node for node in session.nodes() if node.kind == "building")
        since, until = moment(year.begin - 86_400.0), moment(year.begin + 50 * 86_400.0)
        person = session.add_user(NAME, "correct horse battery", "consumer", home.tenant)
        session.add_occupancy(person.id, unit.id, since)
        devices = {str(point.devices[0].address) for label, point in year.points.items() if label.startswith("Flat 3 ")}
        spool = Spool(tmp_path / "spool")
        spool.close()

        def values_of(names: set[str], since: datetime | None, until: datetime | None, head_end: HeadEnd = head_end) -> set[str]:
            return {
                str(value.value)
                for name in names
                for series in head_end.readings.series(name)
                for value in head_end.readings.values(series.id, since, until, None, 10_000)
            }

        everybody = {str(point.devices[0].address) for point in year.points.values()}
        others = "\n".join(values_of(everybody - devices, None, None) | values_of(devices, until, None))
        # what only the person's own time has, not even as a part of another value
        alone = {value for value in values_of(devices, since, until) if len(value) > 5 and value not in others}
        assert len(alone) > 200
        begin, end = moment(year.begin), moment(year.begin + 65 * 86_400.0)
        totals = head_end.mdm.privacy.totals(home.tenant, building.id, begin, end)
        file = session.subject_access(person.id)
        assert file.name == NAME
        assert len(file.values) > 500
        assert json.loads(file.octets())["places"][0]["place"] == "Flat 3"

        erased = session.erase(unit.id, since, until, person.id)
        assert erased.frames > 300
        assert erased.archived > 500
        assert erased.kept > 4

        backup = tmp_path / "later.backup"
        write(head_end.database, backup, now=NOW.timestamp(), made_by="test")
        head_end.audit.note(None, "test", "done")
        assert not values_of(devices, None, until)
        stored = octets_of(tmp_path) + caplog.text.encode()
        if "://" in url:
            stored += dump(head_end.database)
        assert NAME.encode() not in stored
        # as numbers of their own: the fraction of a time of reception may have the same digits
        numbers = set(re.findall(rb"(?<![0-9.])[0-9]+(?:\.[0-9]+)?(?![0-9])", stored))
        assert sorted(value for value in alone if value.encode() in numbers) == []
        again = head_end.mdm.privacy.totals(home.tenant, building.id, begin, end)
        assert set(again) == set(totals)
        for key, total in totals.items():
            assert abs(again[key] - total) < max(Decimal("0.01") * total, Decimal(2)), key
        assert session.devices(limit=500).items


def dump(database: Database) -> bytes:
    """Every text in a PostgreSQL database."""
    found = []
    with database.reading() as connection:
        for table in ("users", "readings", "alarms", "audit", "occupancies", "jobs", "findings", "versions", "nodes"):
            found += [repr(tuple(row)) for row in connection.exec_driver_sql(f"SELECT * FROM {table}")]
    return "\n".join(found).replace("'", '"').encode()


def test_retention_closes_months_and_ends_raw_telegrams(tmp_path: Path) -> None:
    for home in build(str(tmp_path / "home.db"), tmp_path, days=70):
        privacy = home.head_end.mdm.privacy
        privacy.set_retention(home.tenant, "raw", 330)
        before = home.head_end.store.counts()
        found = privacy.enforce(home.tenant)
        # 9 January less 330 days: January is over and kept raw no longer, February is not
        assert found.closed == ("2024-12", "2025-01") or found.closed == ("2025-01",)
        assert found.frames > 1000
        after = home.head_end.store.counts()
        assert after.frames == before.frames - found.frames
        with home.head_end.database.reading() as connection:
            lost = connection.exec_driver_sql("SELECT count(*) FROM readings WHERE frame_id NOT IN (SELECT id FROM frames)")
            assert lost.scalar_one() == 0
        device = str(home.year.points["Flat 1 cold water"].devices[0].address)
        series = next(one for one in home.head_end.readings.series(device) if one.storage == 0 and one.tag == "VM1!")
        days = home.head_end.readings.values(series.id, None, None, 86_400.0, 1000)
        assert len(days) >= 70
        privacy.set_retention(home.tenant, "readings", 320)
        ended = privacy.enforce(home.tenant)
        assert ended.archived > 1000
        assert len(home.head_end.readings.values(series.id, None, None, 86_400.0, 1000)) < len(days)


def test_what_foreign_meters_say_is_dropped_by_the_clerk() -> None:
    with Database.open(":memory:") as database:
        desk = Desk(database, rules=HeadEndRules(foreign=10))
        tenant = desk.tenant()
        desk.meter(tenant, 11)
        numbers = (11, 12, 13)
        desk.admin.add_key(address_of(13), KEY.hex(), label="", tenant_id=tenant)
        for number in numbers:
            desk.hear(radio(number, number=number, profile="A" if number == 13 else "none"))
        desk.head_end.ingestor.flush()
        clerk = ReportClerk(desk.head_end, {})

        def heard() -> set[int]:
            readings = desk.head_end.readings
            return {number for number in numbers if readings.telegrams(address_of(number), None, 10).items}

        clerk.sweep()
        assert heard() == {11, 12, 13}
        desk.clock.forward(days=11)
        clerk.sweep()
        assert heard() == {11, 13}
        assert "drop foreign: telegrams" in desk.actions()
        desk.close()


def test_closing_a_month_twice_or_after_a_crash_doubles_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for home in build(str(tmp_path / "home.db"), tmp_path, days=40):
        database, folder = home.head_end.database, home.archive

        def rows(database: Database = database) -> int:
            with database.reading() as connection:
                return int(connection.exec_driver_sql("SELECT count(*) FROM readings").scalar_one())

        device = str(home.year.points["Flat 2 electricity"].devices[0].address)
        (series,) = (one for one in home.head_end.readings.series(device) if one.tag == "EW1!")
        whole = home.head_end.readings.values(series.id, None, None, None, 10_000)
        before = rows()
        steps = ["os.replace", "os.fsync", "transaction"]
        for step in steps:
            with monkeypatch.context() as patch:

                def broken(*_: object, **__: object) -> None:
                    raise KeyboardInterrupt

                patch.setattr("openmetering.storage.database.Database.transaction" if step == "transaction" else step, broken)
                with pytest.raises(KeyboardInterrupt):
                    close_month(database, folder, 2025, 2)
            assert rows() == before
        closed = close_month(database, folder, 2025, 2)
        assert rows() == before - closed.rows
        assert close_month(database, folder, 2025, 2) == closed
        with HeadEnd(database, home.head_end.vault, lambda: NOW, archive=Archive(folder)) as again:
            assert again.readings.values(series.id, None, None, None, 10_000) == whole
        assert erase_from(folder, [device], 0.0, 4e9) > 100
        assert erase_from(folder, [device], 0.0, 4e9) == 0
