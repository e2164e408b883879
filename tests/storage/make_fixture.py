"""Makes ``data/store_vN.db``: a database of the newest schema as it stays in the repository.

    python -m tests.storage.make_fixture

Run it once per schema version; the files of older versions are never made again.
"""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from pathlib import Path

from openmetering.storage import Place, Store, audit_rows, mdm_rows, registry_rows
from openmetering.storage.database import Database
from openmetering.storage.migrations import VERSION
from openmetering.storage.model import MeteringPoint, Node, Tenant
from openmetering.telegram import Decoder
from openmetering.transport.reception import Reception
from tests.fleet import bare_wired, compact, radio, ring, wired

DATA = Path(__file__).parent / "data"
START = 1_700_000_000.0
LOCKED = bytes(range(16, 32))


def content() -> list[Reception]:
    """One reception of every kind."""
    frames = [
        (radio(1234), "door-a", -71.0),
        (radio(1234), "door-b", -88.5),
        (radio(2345, number=22222222, profile="A", access_number=7), "door-a", -60.0),
        (radio(3456, number=33333333, profile="A", key=LOCKED), "door-a", None),
        (compact(4567, number=44444444, records=bytes.fromhex("0C1367450000" + "0B3B230100")), "door-a", None),
        (wired(5678, number=55555555), "bus", None),
        (bare_wired(6789, 3), "bus", None),
        (radio(1)[:-1], "door-a", None),
    ]
    return [
        Reception(frame, START + number * (0.5 if number < 2 else 60.0), source, rssi_dbm=level)
        for number, (frame, source, level) in enumerate(frames)
    ]


def domain(path: Path) -> None:
    """What a head-end keeps besides (schema version 2): a tenant with a point, a device there, a line in the trail; since
    version 3 what is agreed about the point."""
    now = datetime.fromtimestamp(START, UTC)
    with Database.open(str(path)) as database, database.transaction() as connection:
        tenant = registry_rows.tenants.add(connection, Tenant(0, "Elm Street"), now)
        node = registry_rows.nodes.add(connection, Node(0, None, tenant.id, "unit", "left"), now)
        point = registry_rows.points.add(connection, MeteringPoint(0, node.id, "gas", "gas"), now)
        heard = registry_rows.HeardDevice("ELS-12345678-33-03", now, now, "gas")
        (device,) = registry_rows.heard(connection, [heard], now)
        registry_rows.assign(connection, device.id, point.id, now, now)
        audit_rows.append(connection, now, None, "start", "head-end")
        mdm_rows.put_point_data(connection, mdm_rows.PointData(0, point.id, "G4", identifier="DE01"), now)


def make(path: Path) -> None:
    """Write the database."""
    path.unlink(missing_ok=True)
    domain(path)
    with Store.open(str(path)) as store:
        store.append(content(), places={"file:log": Place(1000, "4:00ff")})
        store.catch_up(Decoder(ring()))
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = DELETE")
    connection.execute("PRAGMA page_size = 1024")
    connection.execute("VACUUM")
    connection.close()


if __name__ == "__main__":
    DATA.mkdir(exist_ok=True)
    make(DATA / f"store_v{VERSION}.db")
