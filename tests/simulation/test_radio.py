"""The channel: times, who hears what, every cause of loss, and an account that adds up exactly."""

from __future__ import annotations

import math

import pytest

from openmetering.protocol.events import Transmit
from openmetering.simulation.account import CAUSES, FATES, Account, Line
from openmetering.simulation.airtime import air_interface, airtime
from openmetering.simulation.chance import Stream
from openmetering.simulation.kernel import Kernel
from openmetering.simulation.propagation import Environment, Place
from openmetering.simulation.radio import Antenna, RadioChannel
from tests.simulation.channel_tools import Ear, Yard, frame_of

C_47 = airtime(air_interface("C"), 47)


def fates(yard: Yard, receiver: str = "gateway", medium: str | None = None) -> dict[str, int]:
    line = yard.channel.account.total(receiver, medium)
    return {name: count for name, count in zip(FATES, line.counts, strict=True) if count}


def test_a_frame_arrives_when_its_last_chip_ends() -> None:
    yard = Yard()
    gateway, meter = yard.gateway(), yard.meter()
    yard.send(meter, 5.0)
    yard.run()
    ((now, heard),) = gateway.heard
    assert heard.started == 5.0
    assert now == pytest.approx(5.0 + C_47)
    assert heard.frame == frame_of(47)
    ((sent_at, sent),) = meter.sent
    assert (sent_at, sent.started, sent.frame) == (now, 5.0, heard.frame)
    assert fates(yard) == {"received": 1}


def test_rssi_is_power_minus_path_loss_in_half_decibels() -> None:
    yard = Yard()
    gateway, meter = yard.gateway(), yard.meter(x=100.0)
    yard.send(meter, 0.0)
    yard.run()
    expected = 10.0 - (20 * math.log10(868.95) + 40.0 - 27.55)
    assert gateway.heard[0][1].rssi == pytest.approx(expected, abs=0.25)


def test_not_before_is_kept_and_not_after_drops() -> None:
    yard = Yard()
    gateway, meter = yard.gateway(), yard.meter()
    meter.station.transmit(Transmit(frame_of(20, 1), 3.0, 3.5))
    yard.kernel.call_at(10.0, lambda now: meter.station.transmit(Transmit(frame_of(20, 2), 0.0, 9.9)))
    yard.run()
    assert [heard.started for _, heard in gateway.heard] == [3.0]
    assert fates(yard) == {"received": 1, "late": 1}
    assert len(meter.sent) == 1


def test_a_station_sends_one_frame_after_the_other() -> None:
    yard = Yard()
    gateway, meter = yard.gateway(), yard.meter()
    for mark in (1, 2, 3):
        meter.station.transmit(Transmit(frame_of(47, mark), 1.0))
    meter.station.transmit(Transmit(frame_of(47, 4), 1.0, 1.001))
    yard.run()
    assert [heard.started for _, heard in gateway.heard] == pytest.approx([1.0, 1.0 + C_47, 1.0 + 2 * C_47])
    assert fates(yard) == {"received": 3, "late": 1}


def test_a_power_cut_forgets_what_was_waiting() -> None:
    yard = Yard()
    gateway, meter = yard.gateway(), yard.meter()
    meter.station.transmit(Transmit(frame_of(47), 10.0))
    yard.kernel.call_at(5.0, lambda now: meter.station.switch(False))
    yard.kernel.call_at(6.0, lambda now: meter.station.transmit(Transmit(frame_of(47), 6.0)))
    yard.kernel.call_at(7.0, lambda now: meter.station.switch(True))
    yard.send(meter, 20.0, mark=9)
    yard.run()
    assert gateway.frames == [frame_of(47, 9)]
    assert yard.channel.account.expected == 1


# -- causes of loss --------------------------------------------------------------------------


def test_out_of_reach() -> None:
    yard = Yard()
    near, far = yard.gateway("near"), yard.gateway("far", x=5_000_000.0)
    yard.send(yard.meter(), 1.0)
    yard.run()
    assert (len(near.heard), len(far.heard)) == (1, 0)
    assert fates(yard, "far") == {"out-of-reach": 1}


def distance_for(ecn0: float, yard: Yard) -> float:
    """Metres at which a mode C frame arrives with so many dB Ec/N0 on the open field."""
    floor = yard.channel.stations[0].receiver.floor(100_000.0)
    return 10 ** ((10.0 - floor - ecn0 - 20 * math.log10(868.95) + 27.55) / 20)


def test_noise_takes_the_share_of_the_error_rate() -> None:
    yard = Yard(duty=False)
    gateway = yard.gateway()
    points = gateway.station.receiver.thresholds["C"]
    meter = yard.meter(x=distance_for(points[0], yard))
    for number in range(3000):
        yard.send(meter, number * 1.0, size=20)
    yard.run()
    counts = fates(yard)
    assert counts["noise"] + counts["received"] == 3000
    assert counts["noise"] / 3000 == pytest.approx(0.2, abs=4 * math.sqrt(0.16 / 3000))
    assert len(gateway.heard) == counts["received"]


def test_equal_powers_that_overlap_are_both_lost() -> None:
    yard = Yard()
    gateway = yard.gateway()
    yard.send(yard.meter(10.0, "water"), 1.0)
    yard.send(yard.meter(-10.0, "heat"), 1.0 + C_47 / 2)
    yard.run()
    assert not gateway.heard
    assert fates(yard) == {"collision": 2}


def test_frames_that_only_touch_do_not_collide() -> None:
    yard = Yard()
    gateway = yard.gateway()
    yard.send(yard.meter(10.0), 1.0)
    yard.send(yard.meter(-10.0), 1.0 + C_47 + 1e-6)
    yard.run()
    assert len(gateway.heard) == 2


@pytest.mark.parametrize(("receiver", "strong_first", "arrives"), [("soft", True, 1), ("soft", False, 1), ("rtl_wmbus", True, 1)])
def test_the_stronger_frame_is_captured(receiver: str, strong_first: bool, arrives: int) -> None:
    yard = Yard()
    gateway = yard.gateway(receiver=receiver)
    strong, weak = yard.meter(10.0), yard.meter(-40.0)  # 12 dB
    yard.send(strong, 1.0 if strong_first else 1.002, mark=1)
    yard.send(weak, 1.002 if strong_first else 1.0, mark=2)
    yard.run()
    assert gateway.frames == [frame_of(47, 1)] * arrives
    assert fates(yard) == {"received": 1, "collision": 1}


def test_a_receiver_without_resync_loses_a_strong_frame_behind_a_weak_one() -> None:
    lost = 0
    for seed in range(40):
        yard = Yard(seed=seed)
        gateway = yard.gateway(receiver="rtl_wmbus")
        yard.send(yard.meter(-40.0), 1.0, mark=2)
        yard.send(yard.meter(10.0), 1.002, mark=1)
        yard.run()
        lost += not gateway.heard
    assert 24 <= lost <= 39  # 81 % of 40 is 32


def test_interferers_add_up() -> None:
    yard = Yard()
    gateway = yard.gateway()
    yard.send(yard.meter(10.0), 1.0, mark=1)
    for metre in (-35.0, -36.0, -37.0, -38.0, -39.0, -41.0, -42.0):  # 11 dB each, together about 3 dB
        yard.send(yard.meter(metre), 1.001)
    yard.run(10.0)
    alone = Yard()
    ear = alone.gateway()
    alone.send(alone.meter(10.0), 1.0, mark=1)
    alone.send(alone.meter(-35.0), 1.001)
    alone.run(10.0)
    assert len(ear.heard) == 1
    assert fates(yard)["collision"] >= 7
    assert len(gateway.heard) <= 1


def test_other_channels_do_not_collide() -> None:
    yard = Yard()
    gateway = yard.gateway()
    yard.send(yard.meter(10.0, mode="C"), 1.0, mark=1)
    yard.send(yard.meter(-10.0, mode="S"), 1.0, mark=2)
    yard.run()
    assert sorted(gateway.frames) == [frame_of(47, 1), frame_of(47, 2)]
    assert {air.mode for air in gateway.airs} == {"C", "S"}


def test_t_and_c_collide() -> None:
    yard = Yard()
    gateway = yard.gateway()
    yard.send(yard.meter(10.0, mode="C"), 1.0)
    yard.send(yard.meter(-10.0, mode="T"), 1.0)
    yard.run()
    assert not gateway.heard


def test_a_gateway_is_deaf_while_it_sends() -> None:
    yard = Yard()
    gateway = yard.gateway()
    yard.send(gateway, 1.0, size=200, downlink=True)
    yard.send(yard.meter(10.0), 1.01)
    yard.run()
    assert not gateway.heard
    assert fates(yard) == {"half-duplex": 1}


def test_it_is_deaf_too_if_it_starts_to_send_meanwhile() -> None:
    yard = Yard()
    gateway = yard.gateway()
    yard.send(yard.meter(10.0), 1.0, size=200)
    yard.send(gateway, 1.001, size=10, downlink=True)
    yard.run()
    assert fates(yard) == {"half-duplex": 1}


def test_a_mode_the_receiver_does_not_listen_to() -> None:
    yard = Yard()
    yard.gateway(hears=("T", "C"))
    yard.send(yard.meter(10.0, mode="S"), 1.0)
    yard.run()
    assert fates(yard) == {"receiver-mode": 1}


def test_a_receiver_without_power() -> None:
    yard = Yard()
    gateway = yard.gateway()
    gateway.station.switch(False)
    yard.send(yard.meter(10.0), 1.0)
    yard.run()
    assert fates(yard) == {"receiver-off": 1}


def test_the_share_of_the_hour_is_kept_and_comes_back() -> None:
    yard = Yard()
    gateway = yard.gateway()
    meter = yard.meter(10.0, mode="T")
    for number in range(1000):
        yard.send(meter, number * 0.1)
    yard.send(meter, 7200.0)
    yard.run(8000.0)
    counts = fates(yard)
    assert counts["received"] == len(gateway.heard)
    assert counts["received"] - 1 == int((3.6 + 100 * 0.001) / airtime(air_interface("T"), 47))
    assert counts["duty-cycle"] == 1001 - counts["received"]


def test_injected_losses_and_corruption() -> None:
    yard = Yard()
    gateway = yard.gateway()
    meter, other = yard.meter(10.0, "water"), yard.meter(12.0, "heat")
    meter.station.loss = 0.5
    other.station.corrupt = 1.0
    for number in range(200):
        yard.send(meter, number * 1.0, size=20, mark=1)
        yard.send(other, number * 1.0 + 0.5, size=20, mark=2)
    yard.run()
    lost = fates(yard, medium="water")["injected"]
    assert 70 < lost < 130
    damaged = [frame for frame in gateway.frames if frame[1:] != frame_of(20, 1)[1:]]
    assert len(damaged) == 200
    good = frame_of(20, 2)
    for frame in damaged:
        changed = [a ^ b for a, b in zip(frame, good, strict=True) if a != b]
        assert len(changed) == 1
        assert changed[0].bit_count() == 1
        assert frame[0] == good[0]


# -- downlink -----------------------------------------------------------------------------------


def test_downlink_goes_to_devices_with_an_open_window() -> None:
    yard = Yard()
    gateway = yard.gateway()
    other = yard.gateway("other", x=20.0)
    awake = yard.meter(10.0, downlink=True, hears=("C",), receiver="chip")
    asleep = yard.meter(11.0, downlink=True, hears=("C",), receiver="chip")
    mute = yard.meter(12.0)
    awake.station.listening = lambda now: now == 1.0
    asleep.station.listening = lambda now: False
    awake.station.account_name = asleep.station.account_name = "devices"
    yard.send(gateway, 1.0, size=30, downlink=True)
    yard.run()
    assert awake.frames == [frame_of(30)]
    assert awake.airs[0].channel == 869.525
    assert not asleep.heard
    assert not mute.heard
    assert not other.heard
    assert fates(yard, "devices", "gateway") == {"received": 1, "receiver-off": 1}


def test_s_mode_downlink_disturbs_uplink_at_another_gateway() -> None:
    yard = Yard()
    sender = yard.gateway("sender", x=12.0, mode="S")
    listener = yard.gateway("listener")
    yard.send(yard.meter(-10.0, mode="S"), 1.0)
    yard.send(sender, 1.001, downlink=True)
    yard.run()
    assert not listener.heard
    assert fates(yard, "listener") == {"collision": 1}


def test_a_station_may_choose_the_mode_for_a_frame() -> None:
    yard = Yard()
    gateway = yard.gateway()
    gateway.station.mode_of = lambda event: "T" if event.frame[2] == 7 else "C"
    meters = {mode: yard.meter(10.0, mode=mode, downlink=True, hears=(mode,), receiver="chip") for mode in ("T", "C")}
    yard.send(gateway, 1.0, mark=7, downlink=True)
    yard.send(gateway, 2.0, mark=8, downlink=True)
    yard.run()
    assert meters["T"].frames == [frame_of(47, 7)]
    assert meters["C"].frames == [frame_of(47, 8)]


def test_taps_hear_what_the_station_hears() -> None:
    yard = Yard()
    gateway = yard.gateway()
    lines: list[str] = []
    gateway.station.taps.append(lambda heard, air: lines.append(f"{air.mode} {heard.frame.hex()}"))
    yard.send(yard.meter(), 1.0, size=12)
    yard.run()
    assert lines == ["C " + frame_of(12).hex()]


def test_a_receiver_that_comes_later_is_counted_from_then_on() -> None:
    yard = Yard()
    yard.gateway("first")
    meter = yard.meter()
    yard.send(meter, 1.0)
    yard.kernel.run(2.0)
    yard.gateway("second", x=3.0)
    yard.send(meter, 3.0)
    yard.run()
    assert fates(yard, "first") == {"received": 2}
    assert fates(yard, "second") == {"received": 1}
    assert yard.channel.account.balanced


# -- the account ------------------------------------------------------------------------------


def crowd(seed: int, *, meters: int = 60, hours: float = 1.0) -> tuple[RadioChannel, list[Ear], list[bytes]]:
    """A crowded yard with every cause of loss; returns all frames heard in order."""
    kernel = Kernel()
    channel = RadioChannel(kernel, seed, Environment(sigma=8.0, exponent=3.2))
    order: list[bytes] = []
    ears = []
    for number in range(3):
        hears = ("T", "C") if number else ("C", "S")
        station = channel.attach(f"gw{number}", Place(x=400.0 * number), Antenna(hears=hears, uplink=True), "gateway")
        ears.append(Ear(station))
        station.taps.append(lambda heard, air: order.append(heard.frame))
    dice = Stream("crowd", seed)
    for number in range(meters):
        mode = ("T", "C", "S")[number % 3]
        place = Place(x=dice() * 1200 - 200, y=dice() * 300, building=1 + number % 5)
        antenna = Antenna(mode=mode, downlink=True, hears=(mode,), receiver="chip")
        station = channel.attach(f"m{number}", place, antenna, ("water", "heat", "gas")[number % 4 % 3], account_name="devices")
        station.loss = 0.05 if number % 7 == 0 else 0.0
        station.listening = lambda now: False
        at = dice() * 4
        while at < hours * 3600:
            frame = frame_of(int(20 + dice() * 80), number)
            not_after = at + 0.001 if dice() < 0.1 else None
            kernel.call_at(at, lambda now, s=station, f=frame, a=at, n=not_after: s.transmit(Transmit(f, a, n)))
            at += 0.5 + dice() * (3 if number % 10 == 0 else 20)
    for number, ear in enumerate(ears):
        for index in range(int(hours * 600)):
            event = Transmit(frame_of(60, number), 6.0 * index + number, None, downlink=True)
            kernel.call_at(6.0 * index + number, lambda now, s=ear.station, e=event: s.transmit(e))
    kernel.call_at(600.0, lambda now: ears[2].station.switch(False))
    kernel.call_at(1200.0, lambda now: ears[2].station.switch(True))
    kernel.run(hours * 3600 + 10)
    channel.settle()
    return channel, ears, order


def test_the_account_adds_up_exactly() -> None:
    channel, ears, _ = crowd(3)
    account = channel.account
    assert account.balanced
    total = account.total()
    for cause in CAUSES:
        if cause != "late":
            assert total.lost(cause) > 0, cause
    for ear in ears:
        line = account.total(ear.station.name)
        assert line.received == len(ear.heard)
        assert line.total == sum(account.on_air[medium] for medium in ("water", "heat", "gas")) + line.lost(
            "duty-cycle"
        ) + line.lost("late")
    assert sum(one.total for one in account.lines()) == account.expected
    assert channel.transmissions == sum(account.on_air.values())


def test_the_same_seed_gives_the_same_run() -> None:
    first, second, other = (crowd(seed, meters=30, hours=0.3)[2] for seed in (5, 5, 6))
    assert first == second
    assert len(first) > 500
    assert first != other


def test_nothing_is_kept_of_frames_that_are_over() -> None:
    channel, _, _ = crowd(4, meters=10, hours=0.1)
    assert channel._active
    assert not any(channel._active.values())
    assert len(channel.kernel) <= 2  # the gateways have frames waiting


def test_lines_of_the_account() -> None:
    account = Account()
    account.row("b", "gas")[0] += 2
    account.row("a", "gas")[3] += 1
    account.sent("gas", 0.5)
    account.sent("gas", 0.5)
    assert [(line.receiver, line.medium, line.total) for line in account.lines()] == [("a", "gas", 1), ("b", "gas", 2)]
    assert account.total(medium="gas") == Line("", "gas", (2, 0, 0, 1, 0, 0, 0, 0, 0, 0))
    assert account.total("a").lost("collision") == 1
    assert account.seconds == {"gas": 1.0}
    assert not account.balanced
