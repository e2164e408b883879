"""Alarms: what telegrams say, hysteresis, the life of an alarm, silence and water that never stops."""

from __future__ import annotations

from datetime import timedelta

import pytest

from openmetering.errors import InputError
from openmetering.services.headend.alarms import TRANSITIONS
from openmetering.services.headend.bus import AlarmChanged
from openmetering.services.headend.conditions import KINDS, Finding, judge
from openmetering.services.headend.flow import FlowRules, FlowWatch
from openmetering.services.headend.liveness import Liveness, LivenessRules
from openmetering.services.headend.model import Alarm
from openmetering.telegram import Decoder, examine
from tests.fleet import KEY, radio, ring, volume, wired
from tests.services.headend.desk import Desk, address_of


def flags(value: int) -> bytes:
    """A record of standard error flags, MM3!."""
    return bytes.fromhex("02FD971D") + value.to_bytes(2, "little")


def said(records: bytes = b"", *, status: int = 0, device_type: int = 0x07, key: bytes | None = KEY, **more: object) -> Finding:
    """The finding of a telegram."""
    frame = radio(records=volume(1) + records, status=status, device_type=device_type, **more)  # type: ignore[arg-type]
    finding = judge(examine(frame, None if key is None else ring(key)))
    assert finding is not None
    return finding


def open_kinds(desk: Desk) -> list[str]:
    """The kinds of open alarms of the meter."""
    return sorted(alarm.kind for alarm in desk.head_end.alarms.open_of(desk.device().id))


# -- conditions -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kinds"),
    [
        (0x00, set()),
        (0x01, set()),  # busy with a command
        (0x02, set()),  # error of a command
        (0x03, {"abnormal"}),
        (0x04, {"power-low"}),
        (0x08, {"permanent-error"}),
        (0x10, {"temporary-error"}),
        (0x1F, {"abnormal", "power-low", "permanent-error", "temporary-error"}),
        (0xE0, set()),  # manufacturer
    ],
)
def test_the_status_octet(status: int, kinds: set[str]) -> None:
    finding = said(status=status)
    assert set(finding.holds) == kinds
    assert set(finding.clear) >= {"abnormal", "power-low", "permanent-error", "temporary-error"} - kinds
    assert not set(finding.clear) & kinds


@pytest.mark.parametrize(
    ("records", "holds", "clear"),
    [
        (flags(0), {}, {"leak", "smoke", "error-flags"}),
        (flags(1 << 10), {"leak": "water leakage"}, {"error-flags"}),
        (flags(1 << 3), {"error-flags": "bit 3"}, {"leak"}),
        (flags(0x0C), {"error-flags": "bit 2, bit 3"}, {"leak"}),
        (bytes.fromhex("01FD1705"), {"manufacturer-flags": "5h"}, set()),
        (bytes.fromhex("01FD1700"), {}, {"manufacturer-flags"}),
        (bytes.fromhex("42FD971D0004"), {}, set()),  # of the past: storage 1
    ],
)
def test_error_flags(records: bytes, holds: dict[str, str], clear: set[str]) -> None:
    finding = said(records)
    assert finding.holds == holds
    assert clear <= set(finding.clear)


@pytest.mark.parametrize(
    ("record", "device_type", "holds"),
    [
        ("02FDFD410100", 0x1A, {"smoke": "status 1h"}),
        ("02FDFD410000", 0x1A, {}),
        ("02FDFD410300", 0x1A, {"smoke": "status 3h", "alarm-device": "status 3h"}),
        ("02FDFD420100", 0x1D, {"carbon-monoxide": "status 1h"}),
        ("02FDFD430100", 0x1E, {"heat": "status 1h"}),
    ],
)
def test_alarm_devices(record: str, device_type: int, holds: dict[str, str]) -> None:
    finding = said(bytes.fromhex(record), device_type=device_type)
    assert finding.holds == holds


def test_security_faults() -> None:
    assert said(profile="A", key=None).holds == {"key-missing": "key.missing"}
    assert said(profile="A", key=bytes(16)).holds == {"wrong-key": "key.mismatch.verification"}
    good = said(profile="A")
    assert good.holds == {}
    assert {"key-missing", "wrong-key", "replay", "undecodable"} <= set(good.clear)
    # a wrong key says nothing of what is inside
    assert "leak" not in said(flags(1 << 10), profile="A", key=bytes(16)).clear


def test_what_says_nothing() -> None:
    assert judge(examine(bytes.fromhex("105B056016"))) is None  # a request to a device
    broken = judge(examine(radio(records=bytes.fromhex("0C"))))
    assert broken is not None
    assert set(broken.holds) == {"undecodable"}


def test_a_frame_without_status_does_not_judge_it() -> None:
    finding = judge(examine(radio(ci=0x78)))
    assert finding is not None
    assert "power-low" not in finding.clear


def test_plans_are_looked_up_once() -> None:
    decoder = Decoder()
    for number in range(4):
        frame = radio(records=volume(number) + flags(1 << 10), access_number=number)
        finding = judge(decoder.examine(frame))
        assert finding is not None
        assert finding.holds == {"leak": "water leakage"}
    plain = [judge(decoder.examine(radio(number, access_number=number))) for number in range(4)]
    assert [one.holds for one in plain if one] == [{}] * 4


def test_every_kind_is_whole() -> None:
    for name, kind in KINDS.items():
        assert name == kind.kind
        assert kind.severity in ("information", "warning", "critical")
        assert kind.raise_after >= 1
        assert kind.clear_after >= 1
        assert kind.text


# -- hysteresis ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "status"), [("abnormal", 3), ("power-low", 4), ("permanent-error", 8), ("temporary-error", 16)])
def test_an_alarm_needs_as_many_telegrams_as_its_kind_says(desk: Desk, kind: str, status: int) -> None:
    desk.meter(desk.tenant())
    for count in range(KINDS[kind].raise_after):
        assert open_kinds(desk) == []
        desk.hear(radio(status=status, access_number=count), after=60)
    assert open_kinds(desk) == [kind]
    for count in range(KINDS[kind].clear_after):
        assert open_kinds(desk) == [kind]
        desk.hear(radio(access_number=100 + count), after=60)
    assert open_kinds(desk) == []
    events = [event.alarm.state for event in desk.told(AlarmChanged)]  # type: ignore[attr-defined]
    assert events == ["raised", "cleared"]


def test_a_state_that_flickers_raises_one_alarm(desk: Desk) -> None:
    desk.meter(desk.tenant())
    for count in range(40):
        desk.hear(radio(status=3 if count % 2 == 0 else 0, access_number=count), after=60)
    assert len(desk.head_end.alarms.page().items) == 1
    assert open_kinds(desk) == ["abnormal"]


def test_a_state_that_flickers_raises_none_where_several_are_needed(desk: Desk) -> None:
    desk.meter(desk.tenant())
    for count in range(40):
        desk.hear(radio(status=16 if count % 3 else 0, access_number=count), after=60)
    assert open_kinds(desk) == []


def test_what_comes_back_is_a_new_alarm(desk: Desk) -> None:
    desk.meter(desk.tenant())
    for count in range(10):
        desk.hear(radio(status=3 if count in (0, 6) else 0, access_number=count), after=60)
    states = [alarm.state for alarm in desk.head_end.alarms.page().items]
    assert states == ["cleared", "cleared"]
    assert len({alarm.id for alarm in desk.head_end.alarms.page().items}) == 2


def test_another_value_renews_the_alarm(desk: Desk) -> None:
    desk.meter(desk.tenant())
    for count, value in enumerate((4, 4, 4, 12)):
        desk.hear(radio(records=volume(1) + flags(value), access_number=count), after=60)
    (alarm,) = desk.head_end.alarms.open_of(desk.device().id)
    assert (alarm.kind, alarm.value, alarm.state) == ("error-flags", "bit 2, bit 3", "raised")
    assert len(desk.told(AlarmChanged)) == 2


def test_open_alarms_are_known_after_a_restart(desk: Desk) -> None:
    meter = desk.meter(desk.tenant())
    desk.hear(radio(status=3))
    again = Desk(desk.database, clock=desk.clock)
    assert [alarm.kind for alarm in again.head_end.alarms.open_of(meter.id)] == ["abnormal"]
    again.hear(radio(status=3, access_number=2), after=60)
    assert len(again.head_end.alarms.page().items) == 1
    again.close()


def test_devices_of_nobody_raise_nothing(desk: Desk) -> None:
    for count in range(5):
        desk.hear(radio(status=0x1F, access_number=count), after=60)
    assert desk.head_end.alarms.page().items == ()
    assert len(desk.head_end.ingestor.liveness) == 0


def test_a_missing_and_a_wrong_key(desk: Desk) -> None:
    tenant = desk.tenant()
    desk.meter(tenant)
    desk.hear(radio(profile="A"), after=60)
    assert open_kinds(desk) == ["key-missing"]
    assert desk.device().state == "registered"
    wrong = desk.admin.add_key(address_of(), bytes(16).hex(), tenant_id=tenant)
    for count in range(3):
        desk.hear(radio(profile="A", access_number=10 + count), after=60)
    assert open_kinds(desk) == ["wrong-key"]
    desk.admin.retire_key(wrong.id)
    desk.admin.add_key(address_of(), KEY.hex(), tenant_id=tenant)
    for count in range(2):
        desk.hear(radio(profile="A", access_number=20 + count), after=60)
    assert open_kinds(desk) == []
    assert desk.device().state == "active"


# -- life ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "step"), [(state, step) for state in ("raised", "acknowledged", "cleared") for step in ("acknowledge", "clear")]
)
def test_every_step_of_an_alarm(desk: Desk, state: str, step: str) -> None:
    meter = desk.meter(desk.tenant())
    alarms, now = desk.head_end.alarms, desk.clock.now
    (alarm,) = alarms.set(meter.id, "leak", now.timestamp())
    if state != "raised":
        alarm = alarms.acknowledge(alarm, desk.root.id, now)
    if state == "cleared":
        (alarm,) = alarms.clear_all(meter.id, now.timestamp())
    wanted = TRANSITIONS.get((state, step))
    if step == "clear":
        done = alarms.clear_all(meter.id, now.timestamp() + 5)
        assert [one.state for one in done] == ([] if wanted is None else [wanted])
    elif wanted is None:
        with pytest.raises(InputError) as caught:
            alarms.acknowledge(alarm, desk.root.id, now)
        assert caught.value.code == "access.conflict"
    else:
        made = alarms.acknowledge(alarm, desk.root.id, now)
        assert (made.state, made.acknowledged_by, made.acknowledged_at) == (wanted, desk.root.id, now)


def test_an_acknowledged_alarm_keeps_its_acknowledgement(desk: Desk) -> None:
    desk.meter(desk.tenant())
    desk.hear(radio(status=3))
    (alarm,) = desk.admin.alarms().items
    desk.admin.acknowledge_alarm(alarm.id)
    for count in range(4):
        desk.hear(radio(access_number=2 + count), after=60)
    (done,) = desk.admin.alarms().items
    assert (done.state, done.acknowledged_by) == ("cleared", desk.root.id)
    assert done.cleared_at is not None
    assert done.cleared_at > done.raised_at


def test_the_same_alarm_is_not_raised_twice(desk: Desk) -> None:
    meter = desk.meter(desk.tenant())
    assert len(desk.head_end.alarms.set(meter.id, "silent", 1.0)) == 1
    assert desk.head_end.alarms.set(meter.id, "silent", 2.0) == []
    assert desk.head_end.alarms.open_counts() == {meter.id: {"warning": 1}}


def test_a_retired_device_has_no_alarms(desk: Desk) -> None:
    meter = desk.meter(desk.tenant())
    desk.hear(radio(status=3))
    desk.admin.step_device(meter.id, "retire")
    assert open_kinds(desk) == []
    desk.hear(radio(status=3, access_number=2), after=60)
    assert open_kinds(desk) == []
    assert desk.device().state == "retired"


def test_pages_of_alarms(desk: Desk) -> None:
    tenant = desk.tenant()
    numbers = []
    for number in range(1, 6):
        numbers.append(desk.meter(tenant, number).id)
        desk.hear(radio(number=number, status=3), after=1)
    first = desk.head_end.alarms.page(limit=2)
    second = desk.head_end.alarms.page(limit=3, before=first.after)
    assert [alarm.device_id for alarm in (*first.items, *second.items)] == numbers[::-1]
    assert second.after is None
    assert desk.head_end.alarms.page(states=("cleared",)).items == ()
    assert len(desk.head_end.alarms.page(device_id=numbers[2]).items) == 1
    assert desk.head_end.alarms.page(tenant_id=99).items == ()


# -- silence ------------------------------------------------------------------------------------------


def test_an_interval_is_learned(desk: Desk) -> None:
    desk.meter(desk.tenant())
    for count in range(8):
        desk.hear(radio(access_number=count), after=900)
    assert desk.device().interval_learned == 900.0


def test_a_lost_telegram_does_not_disturb_what_is_learned() -> None:
    liveness, at = Liveness(), 0.0
    told = []
    for gap in (0, 60, 60, 180, 60, 60, 60, 120, 60, 60):
        at += gap
        told.append(liveness.heard(1, at))
    assert [one for one in told if one is not None] == [60.0]


def test_another_interval_is_told() -> None:
    liveness, at, told = Liveness(), 0.0, []
    for gap in (60,) * 12 + (300,) * 20:
        at += gap
        told.append(liveness.heard(1, at))
    assert next(one for one in told if one is not None) == 60.0
    assert [one for one in told if one is not None][-1] == 300.0


def test_telegrams_together_teach_nothing() -> None:
    liveness = Liveness()
    for at in (0.0, 0.5, 1.0, 60.0, 59.0, 60.2, 120.0):
        liveness.heard(1, at)
    assert liveness.last_heard(1) == 120.0
    assert liveness.heard(1, 119.0) is None
    assert liveness.last_heard(1) == 120.0


@pytest.mark.parametrize(("interval", "limit"), [(None, 172_800.0), (60.0, 3600.0), (900.0, 4500.0), (86_400.0, 432_000.0)])
def test_the_limit_of_silence(interval: float | None, limit: float) -> None:
    liveness = Liveness()
    liveness.know(7, 1000.0, interval)
    assert liveness.limit(7) == limit
    assert list(liveness.silent(1000.0 + limit)) == []
    assert list(liveness.silent(1001.0 + limit)) == [(7, 1000.0, limit)]
    liveness.forget(7)
    assert list(liveness.silent(1e12)) == []
    assert liveness.limit(7) is None
    assert liveness.last_heard(7) is None
    liveness.know(8, None, 60.0)
    assert len(liveness) == 0


def test_a_silent_device_is_faulty_until_it_is_heard_again(desk: Desk) -> None:
    desk.meter(desk.tenant())
    for count in range(8):
        desk.hear(radio(access_number=count), after=900)
    desk.clock.forward(seconds=4400)
    desk.head_end.tick()
    assert open_kinds(desk) == []
    desk.clock.forward(seconds=200)
    desk.head_end.tick()
    desk.head_end.tick()
    assert open_kinds(desk) == ["silent"]
    assert desk.device().state == "faulty"
    desk.hear(radio(access_number=50), after=60)
    assert desk.device().state == "faulty"
    desk.hear(radio(access_number=51), after=900)
    assert open_kinds(desk) == []
    assert desk.device().state == "active"


def test_silence_is_found_after_a_restart(desk: Desk) -> None:
    desk.meter(desk.tenant())
    desk.hear(radio())
    desk.head_end.ingestor.close()
    desk.clock.forward(days=3)
    again = Desk(desk.database, clock=desk.clock)
    again.head_end.tick()
    assert open_kinds(again) == ["silent"]
    again.close()


def test_a_device_that_was_taken_out_is_not_waited_for(desk: Desk) -> None:
    meter = desk.meter(desk.tenant())
    desk.hear(radio())
    desk.head_end.registry.step(desk.device(), "retire")
    desk.clock.forward(days=3)
    desk.head_end.tick()
    assert not desk.head_end.alarms.is_open(meter.id, "silent")
    assert len(desk.head_end.ingestor.liveness) == 0


def test_a_permanent_error_makes_faulty(desk: Desk) -> None:
    desk.meter(desk.tenant())
    states = []
    for count, status in enumerate((8, 8, 0, 0, 0)):
        desk.hear(radio(status=status, access_number=count), after=60)
        states.append(desk.device().state)
    assert states == ["active", "faulty", "faulty", "faulty", "active"]


def test_other_rules_of_silence() -> None:
    liveness = Liveness(LivenessRules(intervals=2.0, least=10.0, unlearned=100.0))
    liveness.know(1, 0.0, 20.0)
    assert liveness.limit(1) == 40.0


# -- water that never stops -----------------------------------------------------------------------------


def water(litres: int, at: int, device_type: int = 0x07) -> bytes:
    """A water meter's register in litres."""
    record = bytes.fromhex("0C13") + bytes.fromhex(f"{litres:08d}")[::-1]
    return radio(records=record, device_type=device_type, access_number=at % 256)


def test_water_that_runs_for_a_day(desk: Desk) -> None:
    desk.meter(desk.tenant(), device_type=0x07)
    for hour in range(25):
        desk.hear(water(1000 + 20 * hour, hour), after=3600)
    (alarm,) = desk.head_end.alarms.page().items
    assert (alarm.kind, alarm.state, alarm.value) == ("continuous-flow", "raised", "for 24 h")
    desk.hear(water(1480, 30), after=3600)  # it stands still
    (alarm,) = desk.head_end.alarms.page().items
    assert alarm.state == "cleared"


def test_a_pause_is_enough() -> None:
    watch, found = FlowWatch(), []
    litres = 0
    for hour in range(72):
        litres += 0 if hour % 24 == 3 else 20
        found.append(watch.heard(1, examine(water(litres, hour)), hour * 3600.0))
    assert not any(one and one[0] for one in found)


def test_what_is_not_watched() -> None:
    watch = FlowWatch()
    assert watch.heard(1, examine(radio()), 0.0) is None  # gas
    assert watch.heard(1, examine(wired()), 0.0) is None
    assert watch.heard(1, examine(water(1, 1)), 0.0) is None
    assert watch.heard(1, examine(water(2, 2)), 1800.0) is None  # within the slot
    assert watch.heard(1, examine(water(0, 3)), 7200.0) is None  # another register, it begins again
    assert watch.heard(1, examine(radio(profile="A", device_type=0x07)), 9e9) is None
    assert watch.heard(1, examine(radio(records=bytes.fromhex("0C06") + bytes(4), device_type=0x07)), 9e9) is None


def test_a_drip_is_no_flow() -> None:
    watch = FlowWatch(FlowRules(hours=2.0))
    found = [watch.heard(1, examine(water(hour, hour)), hour * 3600.0) for hour in range(30)]
    assert found[1:] == [(False, "")] * 29


def test_plans_of_registers_are_kept() -> None:
    decoder, watch = Decoder(), FlowWatch(FlowRules(hours=2.0))
    found = [watch.heard(1, decoder.examine(water(100 * hour, hour)), hour * 3600.0) for hour in range(5)]
    assert found == [None, (False, ""), (True, "for 2 h"), (True, "for 3 h"), (True, "for 4 h")]


def test_an_alarm_carries_the_time_of_the_telegram(desk: Desk) -> None:
    desk.meter(desk.tenant())
    desk.head_end.ingest([desk.reception(radio(status=3), at=-7200)])
    (alarm,) = desk.admin.alarms().items
    assert isinstance(alarm, Alarm)
    assert alarm.raised_at == desk.clock.now - timedelta(hours=2)
