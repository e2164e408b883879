"""The head-end on SQLite and on PostgreSQL: the same story with the same end. And what a kill leaves behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from datetime import timedelta
from pathlib import Path

import pytest

from openmetering.errors import InputError
from openmetering.services.headend.csv_import import COLUMNS
from openmetering.storage.database import Database
from tests.fleet import KEY, radio, volume
from tests.services.headend.desk import PASSWORD, START, Desk, address_of
from tests.storage.conftest import postgres_server, shared_database, url

__all__ = ["postgres_server", "shared_database", "url"]

DAY = timedelta(days=1)


def test_a_story(url: str) -> None:
    with Database.open(url) as database:
        desk = Desk(database)
        tenant, others = desk.tenant(), desk.tenant("others")
        report = desk.admin.apply_import(
            f"address,label,site,unit,point,valid_from\n{address_of()},hall,Elm Street,left,gas,2026-01-01\n".encode(), tenant
        )
        (meter,) = report.devices
        unit = next(node for node in desk.admin.nodes() if node.kind == "unit")
        consumer = desk.user("consumer", tenant)
        desk.admin.add_occupancy(consumer.id, unit.id, START + 2 * DAY, START + 4 * DAY)

        # a month's telegrams, at first without key
        for day in range(6):
            desk.hear(radio(100 + day, profile="A", access_number=day, records=volume(100 + day)), source="roof")
            desk.head_end.ingest([desk.reception(radio(100 + day, profile="A", access_number=day), source="cellar", rssi=-50.0)])
            desk.clock.forward(days=1)
        assert [alarm.kind for alarm in desk.admin.alarms().items] == ["key-missing"]
        data = f"address,key\n{address_of()},{KEY.hex()}\n".encode()
        assert desk.admin.import_keys(data, tenant).words() == "1 new, 0 known, 0 in conflict"
        desk.head_end.tick()
        desk.hear(radio(106, profile="A", access_number=6, status=3))
        desk.head_end.tick()

        own = desk.head_end.as_user(consumer)
        assert [row.value for row in own.readings(meter.id)] == ["1.02", "1.03"]
        (series,) = desk.admin.series(meter.id)
        values = [point.value for point in desk.admin.series_values(series.id, resolution=2 * 86_400)]
        assert values == ["1.01", "1.03", "1.05", "1.06"]
        assert [row.value for row in desk.admin.latest_readings(meter.id)] == ["1.06"]
        assert [row.value for row in desk.admin.readings(meter.id, START + 1 * DAY, START + 3 * DAY)] == ["1.01", "1.02"]
        telegrams = desk.admin.telegrams(meter.id, limit=3)
        assert [(one.access_number, one.state, one.rssi) for one in telegrams.items] == [
            (6, "decoded", -70.0), (5, "decoded", -50.0), (4, "decoded", -50.0),
        ]  # fmt: skip
        assert desk.admin.telegram(telegrams.items[0].frame_id).records[0].value is not None
        assert {one.rssi for one in desk.admin.receivers(meter.id)} == {-70.0, -50.0}
        assert desk.device().state == "active"
        assert desk.admin.keys().items[0].uses == 1
        assert [alarm.kind for alarm in desk.admin.alarms(("raised",)).items] == ["abnormal"]
        desk.admin.acknowledge_alarm(desk.admin.alarms(("raised",)).items[0].id)
        assert desk.admin.overview().alarms == {"warning": 1}
        assert desk.admin.board()[0].readings[0].value == "1.06"

        # others
        stranger = desk.session("mso", others)
        assert stranger.devices().items == ()
        assert stranger.alarms().items == ()
        with pytest.raises(InputError):
            stranger.readings(meter.id)

        # keys, jobs, accounts
        fresh = desk.vault.generate(address_of(), 0, tenant_id=tenant)
        desk.vault.activate(fresh.id)
        assert desk.vault.rotate(bytes(range(16))).keys == 2
        job = desk.admin.create_job(meter.id, "disconnector", '{"state": "disconnected"}')
        assert desk.session("dso", tenant).approve_job(job.id).state == "queued"
        for _ in range(5):
            with pytest.raises(InputError):
                desk.head_end.accounts.login("root", "something else")
        with pytest.raises(InputError) as caught:
            desk.head_end.accounts.login("root", PASSWORD)
        assert caught.value.code == "login.locked"
        token, text = desk.admin.add_token(("read:*",), desk.clock.now + DAY)
        assert desk.head_end.accounts.token_user(text)[1].id == token.id  # type: ignore[index]
        assert desk.admin.export_devices().startswith(",".join(COLUMNS))
        trail = desk.actions()
        assert trail[:3] == ["add tenant: tenant 1", "add tenant: tenant 2", "import devices: tenant 1"]
        assert "decode again: telegrams" in trail
        desk.close()


def test_silence_after_a_restart(url: str) -> None:
    with Database.open(url) as database:
        desk = Desk(database)
        meter = desk.meter(desk.tenant())
        for count in range(8):
            desk.hear(radio(access_number=count), after=900)
        desk.close()
        desk.clock.forward(hours=2)
        again = Desk(database, clock=desk.clock)
        again.head_end.tick()
        assert [alarm.kind for alarm in again.admin.alarms().items] == ["silent"]
        assert again.head_end.registry.find_device(meter.id).state == "faulty"  # type: ignore[union-attr]
        again.close()


#: a process that takes in telegrams and says which batch it acknowledged
WORKER = textwrap.dedent(
    """
    import sys
    from tests.services.headend.desk import Desk
    from tests.fleet import radio
    from openmetering.storage.database import Database
    from openmetering.transport.reception import Reception

    desk = Desk(Database.open(sys.argv[1]))
    start = int(sys.argv[2])
    print("ready", flush=True)
    for batch in range(start, start + 10_000):
        receptions = [
            Reception(radio(batch, number=number, access_number=batch % 256, status=3 if batch % 40 < 5 else 0),
                      1_800_000_000.0 + 60 * batch + number, "stick", crc=True)
            for number in range(1, 6)
        ]
        desk.head_end.ingest(receptions)
        print(batch, flush=True)
    """
)


@pytest.mark.parametrize("kills", [4])
def test_killed_at_any_moment(tmp_path: Path, kills: int) -> None:
    path = tmp_path / "head.db"
    with Database.open(str(path)) as database:
        desk = Desk(database)
        tenant = desk.tenant()
        for number in range(1, 6):
            desk.meter(tenant, number)
        desk.close()
    done = -1
    for turn in range(kills):
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        with subprocess.Popen(
            [sys.executable, "-c", WORKER, str(path), str(done + 1)], stdout=subprocess.PIPE, text=True, env=environment
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            time.sleep(0.05 + 0.13 * turn)
            process.send_signal(signal.SIGKILL)
            done = max([done, *(int(line) for line in process.stdout.read().split())])
    with Database.open(str(path)) as database:
        desk = Desk(database)
        desk.head_end.recover()
        assert done >= 0
        for number in range(1, 6):
            rows = desk.head_end.readings.between(address_of(number), None, None, None, 100_000)
            values = [row.mantissa for row in rows]
            assert values[: done + 1] == list(range(done + 1))  # every acknowledged telegram, once, in order
            assert len(values) == len(set(values))
            alarms = desk.admin.alarms(device_id=desk.device(number).id).items
            assert len([alarm for alarm in alarms if alarm.state != "cleared"]) <= 1
            assert len(alarms) <= done // 40 + 2
        assert desk.head_end.store.counts().pending == 0
        desk.close()
