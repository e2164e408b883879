"""What goes wrong on time: each kind of fault and what it does to devices, telegrams and the account."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from openmetering.errors import InputError
from openmetering.protocol.gateway.events import Alarm, Demanded, Installed, Received
from openmetering.simulation.faults import FAULTS, LEAKAGE
from openmetering.simulation.plan import parse_plan
from openmetering.simulation.post import DevicePost
from openmetering.simulation.wired_post import AdapterPost, SlavePost
from openmetering.simulation.world import World

BASE = """
[world]
seed = "faults"
[[building]]
name = "A"
floors = 1
flats = 1
[[gateway]]
name = "gw"
building = "A"
[[segment]]
name = "bus"
[[meters]]
medium = "cold water"
label = "water"
interval = 60
[[meters]]
medium = "smoke"
interval = 1800
[[meters]]
medium = "electricity"
label = "power"
interval = 60
bidirectional = true
functions = ["supervision", "clock"]
[[meters]]
medium = "heat"
label = "wired"
segment = "bus"
primary = 1
[[meters]]
medium = "gas"
label = "adapted"
interval = 60
adapter = true
"""
WATER, SMOKE, POWER, WIRED, ADAPTED = (f"{name} A/0.1" for name in ("water", "smoke", "power", "wired", "adapted"))


def world(*faults: str) -> tuple[World, list[tuple[float, object]]]:
    """A world with faults (lines of TOML) and everything its gateway tells."""
    made = World(parse_plan(BASE + "".join(f"[[fault]]\n{fault}\n" for fault in faults)))
    told: list[tuple[float, object]] = []
    made.gateways["gw"].events.append(lambda event, now: told.append((now, event)))
    return made, told


def fault(kind: str, target: str, at: str = "00:10", **more: float | str) -> str:
    lines = [f'kind = "{kind}"', f'target = "{target}"', f'at = "{at}"']
    lines += [f'{name} = "{value}"' if isinstance(value, str) else f"{name} = {value}" for name, value in more.items()]
    return "\n".join(lines)


def device(made: World, name: str) -> DevicePost:
    found = made.device(name)
    assert isinstance(found, DevicePost)
    return found


def received(told: list[tuple[float, object]], made: World, name: str) -> list[tuple[float, Received]]:
    """What the gateway received of a device."""
    octets = made.device(name).spec.address.link_octets()
    return [(now, event) for now, event in told if isinstance(event, Received) and event.frame[2:10] == octets]


def test_every_kind_is_tested_here() -> None:
    text = Path(__file__).read_text(encoding="utf-8")
    assert all(f'"{kind}"' in text for kind in FAULTS)


@pytest.mark.parametrize("target", [WATER, "gw"])
def test_loss_for_a_while(target: str) -> None:
    made, told = world(fault("loss", target, until="00:20", value=1.0))
    made.run(1800.0)
    times = [now for now, _ in received(told, made, WATER)]
    assert any(now < 600 for now in times)
    assert not any(600 < now < 1200 for now in times)
    assert any(now > 1200 for now in times)
    assert made.summary().lost["gw", "cold water"]["injected"] == 10


def test_corruption_is_seen_by_security() -> None:
    made, told = world(fault("corruption", WATER, value=1.0, until="00:30"))
    made.run(3600.0)
    verdicts = Counter(event.verdict for now, event in told if isinstance(event, Received) and 600 < now < 1800)
    assert verdicts["unreadable"] >= 5
    assert Counter(event.verdict for now, event in received(told, made, WATER) if now > 1860)["unreadable"] == 0


def test_a_clock_drifts() -> None:
    made, _ = world(fault("clock-drift", POWER, value=500.0, until="02:00"))
    made.run(10_000.0)
    assert device(made, POWER).memory.clock_offset == pytest.approx(500e-6 * 6600, abs=0.7)


@pytest.mark.parametrize("kind", ["reboot", "power-cut"])
def test_a_device_without_power_is_silent_and_comes_back(kind: str) -> None:
    made, told = world(fault(kind, POWER, value=300))
    made.run(1800.0)
    times = [now for now, _ in received(told, made, POWER)]
    assert not any(601 < now < 900 for now in times)
    after = [event for now, event in received(told, made, POWER) if now > 900]
    assert {event.verdict for event in after} == {"new"}  # message counters went on
    assert len(after) >= 10


def test_a_gateway_goes_on_from_what_it_wrote_down() -> None:
    made, told = world(fault("power-cut", "gw", until="00:20"))
    made.run(1800.0)
    assert made.summary().lost["gw", "cold water"]["receiver-off"] == 10
    after = [event.verdict for now, event in received(told, made, WATER) if now > 1200]
    assert set(after) == {"new"}
    assert len(after) >= 9


def test_wired_devices_reboot_too() -> None:
    made, _ = world(fault("reboot", WIRED, value=5))
    slave = made.device(WIRED)
    assert isinstance(slave, SlavePost)
    before = slave.port.node.machine
    made.run(602.0)
    assert slave.port.node.machine.deadline is None
    made.run(700.0)
    assert slave.port.node.machine is not before


def test_battery_low() -> None:
    made, told = world(fault("battery-low", SMOKE, at="01:00"))
    made.run(7200.0)
    telegrams = [event.telegram for _, event in received(told, made, SMOKE)]
    statuses = [one.transport.status for one in telegrams if one is not None and one.transport is not None]
    assert statuses[0] & 0x04 == 0
    assert statuses[-1] & 0x04
    assert telegrams[-1] is not None
    assert [record.value for record in telegrams[-1].records if record.quantity == "remaining battery"] == [60]


def test_a_leak_runs_and_shows_a_flag() -> None:
    made, _ = world(fault("leak", WATER, value=36.0, until="01:10"))
    sound, _ = world()
    made.run(4000.0)
    assert made.device(WATER).memory.error_flags == LEAKAGE
    made.run(10_000.0)
    leaked = made.truth(WATER)["VM1!"] - sound.truth(WATER, 10_000.0)["VM1!"]
    assert float(leaked) == pytest.approx(0.036, abs=0.0011)
    assert made.device(WATER).memory.error_flags == 0


@pytest.mark.parametrize("target", [POWER, ADAPTED, WIRED])
def test_tampering_leaves_its_mark(target: str) -> None:
    made, _ = world(fault("tampering", target, value=2))
    made.run(700.0)
    memory = made.device(target).memory
    assert memory.permanent_flags == memory.error_flags == 2
    assert memory.status_bits & 0x08


def test_an_alarm_is_told_at_once() -> None:
    made, told = world(fault("alarm", SMOKE, until="00:12"))
    made.run(900.0)
    alarms = [(now, event) for now, event in received(told, made, SMOKE) if now >= 600]
    (begun, first), (ended, second) = alarms[0], alarms[-1]
    assert begun == pytest.approx(600.0, abs=0.1)
    assert ended == pytest.approx(720.0, abs=0.1)
    assert first.telegram is not None
    assert second.telegram is not None
    assert first.telegram.records[0].value == 1
    assert second.telegram.records[0].value == 0


def test_a_bidirectional_device_demands_access() -> None:
    made, told = world(fault("alarm", POWER))
    made.run(900.0)
    demanded = [now for now, event in told if isinstance(event, Demanded)]
    assert demanded
    assert 600 <= demanded[0] < 700


@pytest.mark.parametrize("target", [WATER, ADAPTED])
def test_a_frozen_register_stands_still_and_goes_on(target: str) -> None:
    made, _ = world(fault("frozen", target, until="12:00"))
    made.run(50_000.0)
    tag = next(iter(made.truth(target)))
    assert made.truth(target)[tag] >= made.truth(target, 43_000.0)[tag]
    frozen = made.device(target)
    metrology = frozen.meter.metrology if isinstance(frozen, AdapterPost) else frozen.metrology
    assert not metrology.state.causes
    assert metrology.register(43_200.0) == pytest.approx(metrology.register(600.0), abs=1e-6)


def test_a_replayed_frame_is_recognised() -> None:
    made, told = world(fault("replay", WATER, value=400))
    made.run(1800.0)
    assert [event.verdict for _, event in received(told, made, WATER)].count("replayed") == 1
    assert [event.reason for _, event in told if isinstance(event, Alarm)] == ["replayed"]
    assert made.summary().sent["replay"] == 1


def test_a_frame_said_again_at_once_is_a_copy() -> None:
    made, told = world(fault("replay", WATER))
    made.run(1800.0)
    assert [event.verdict for _, event in received(told, made, WATER)].count("duplicate") == 1


def test_a_forged_frame_is_not_believed() -> None:
    made, told = world(fault("forge", WATER))
    made.run(1800.0)
    verdicts = Counter(event.verdict for _, event in received(told, made, WATER))
    assert verdicts["unreadable"] == 1
    assert made.summary().sent["forge"] == 1


def test_somebody_presses_the_button() -> None:
    made, told = world(fault("button", POWER))
    made.run(1200.0)
    installed = [(now, event) for now, event in told if isinstance(event, Installed)]
    assert installed
    assert 600 <= installed[0][0] <= 661
    assert installed[0][1].registered


def test_a_supply_is_closed_by_hand() -> None:
    made, _ = world(fault("closed", WATER, until="05:00"))
    made.run(20_000.0)
    assert made.truth(WATER, 17_000.0) == made.truth(WATER, 700.0)
    assert made.truth(WATER)["VM1!"] >= made.truth(WATER, 17_000.0)["VM1!"]


@pytest.mark.parametrize(("text", "message"), [
    (fault("earthquake", WATER), r"fault\[0\].kind: 'earthquake' is none of loss"),
    (fault("loss", "nobody"), r"fault\[0\].target: nothing is named 'nobody'"),
    (fault("leak", "gw"), "fault 'leak' needs a device, 'gw' is none"),
    (fault("alarm", ADAPTED), "fault 'alarm' needs a device"),
    (fault("loss", WIRED), "fault 'loss' needs a radio"),
    (fault("replay", "gw"), "fault 'replay' needs a device"),
    (fault("leak", WATER, at="noon"), "is no time"),
])  # fmt: skip
def test_faults_that_cannot_happen(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        world(text)
