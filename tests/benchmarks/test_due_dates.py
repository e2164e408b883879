"""The measurement of due dates, small: it fills, closes months, and finds every value."""

from __future__ import annotations

from pathlib import Path

from benchmarks.due_dates import DUE, fill, measure
from openmetering.mdm.quality import Quality
from openmetering.services.mdm.due_list import DueList
from openmetering.services.mdm.evidence import EvidenceLoader
from openmetering.storage.archive import Archive, close_month
from openmetering.storage.database import Database


def test_every_meter_has_its_value(tmp_path: Path) -> None:
    with Database.open(str(tmp_path / "due.db")) as database:
        fill(database, 30)
        before = DueList(database, EvidenceLoader(database)).of(1, DUE)
        close_month(database, tmp_path / "archive", 2025, 12)
        archive = Archive(tmp_path / "archive")
        found = measure(database, archive)
        again = DueList(database, EvidenceLoader(database, archive=archive)).of(1, DUE)
        archive.close()
    assert found.complete.by_quality == {Quality.MEASURED: 30}
    assert found.complete.share == 1.0
    assert found.values > 8000
    assert [line.value for line in again] == [line.value for line in before]
    assert {line.value.source for line in before} == {"meter"}
