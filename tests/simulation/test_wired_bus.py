"""The wired segment: times to the bit, collisions, rates, noise, power."""

from __future__ import annotations

import hashlib
import random
from itertools import pairwise

import pytest

from openmetering.codec.link.wired import WiredFrame
from openmetering.protocol.events import Octets, PowerUp, Transmit
from openmetering.protocol.wired.timing import LineRate
from openmetering.simulation.kernel import Kernel
from openmetering.simulation.wired_bus import Converter, SlaveLine, WiredBus
from tests.simulation.scripted_slave import DetectingSlave, ScriptedSlave

ASK = WiredFrame.short(0x5B, 1).encode()
ANSWER = WiredFrame.long(0x08, 1, bytes([0x78, *range(30)])).encode()
CHARACTER = 11 / 2400
SIMPLE = Converter(collision=None)


class Host:
    """Notes what comes from the segment."""

    def __init__(self, bus: WiredBus) -> None:
        self.heard: list[tuple[float, bytes, bool]] = []
        self.forget = bus.master.listen(lambda event, now: self.heard.append((now, event.octets, event.disturbed)))

    @property
    def octets(self) -> bytes:
        return b"".join(octets for _, octets, _ in self.heard)

    @property
    def disturbed(self) -> bool:
        return any(disturbed for _, _, disturbed in self.heard)


def segment(*delays: float, answer: bytes = b"\xe5", **options: object) -> tuple[WiredBus, Host, list[ScriptedSlave]]:
    bus = WiredBus(Kernel(), **options)  # type: ignore[arg-type]
    slaves = [ScriptedSlave({ASK: answer}, delay) for delay in delays]
    for slave in slaves:
        bus.attach(slave)
    return bus, Host(bus), slaves


# -- one slave --------------------------------------------------------------------------------------


def test_a_request_is_heard_at_its_last_stop_bit() -> None:
    bus, _, (slave,) = segment(0.005)
    bus.kernel.run(1.0)
    assert slave.power_ups == [0.0]
    assert bus.master.send(ASK, not_before=2.0) == pytest.approx(2.0 + 5 * CHARACTER)
    bus.kernel.run(3.0)
    assert slave.heard == [(pytest.approx(2.0 + 5 * CHARACTER), ASK, False)]


@pytest.mark.parametrize("baud", [300, 2400, 9600])
def test_the_time_of_an_answer(baud: int) -> None:
    bus = WiredBus(Kernel(), baud=baud, lump=None)
    bus.attach(DetectingSlave({ASK: ANSWER}, 0.02, bauds=(300, 2400, 9600)))
    host = Host(bus)
    bus.master.send(ASK)
    bus.kernel.run(10.0)
    assert host.heard == [(pytest.approx((5 + len(ANSWER)) * 11 / baud + 0.02), ANSWER, False)]
    assert bus.quiet_at == pytest.approx((5 + len(ANSWER)) * 11 / baud + 0.02)


def test_an_answer_comes_in_lumps() -> None:
    """First character, then what has come every 50 ms (10 characters at 2400 Bd), then the rest."""
    bus, host, _ = segment(0.005, answer=ANSWER)
    bus.master.send(ASK)
    bus.kernel.run(1.0)
    start = 5 * CHARACTER + 0.005
    sizes = [1, 10, 10, 10, 8]
    assert [len(octets) for _, octets, _ in host.heard] == sizes
    assert [now for now, _, _ in host.heard] == [pytest.approx(start + sum(sizes[: at + 1]) * CHARACTER) for at in range(5)]
    assert host.octets == ANSWER


def test_an_answer_character_by_character() -> None:
    bus, host, _ = segment(0.005, answer=ANSWER, lump=0.0)
    bus.master.send(ASK)
    bus.kernel.run(1.0)
    assert [octets for _, octets, _ in host.heard] == [ANSWER[at : at + 1] for at in range(len(ANSWER))]
    gaps = [later[0] - earlier[0] for earlier, later in pairwise(host.heard)]
    assert gaps == [pytest.approx(CHARACTER)] * (len(ANSWER) - 1)


def test_the_master_sends_without_gaps() -> None:
    bus, _, (slave,) = segment(0.005)
    bus.master.send(ASK[:2])
    bus.master.send(ASK[2:])
    bus.kernel.run(1.0)
    assert [(now, octets) for now, octets, _ in slave.heard] == [
        (pytest.approx(2 * CHARACTER), ASK[:2]),
        (pytest.approx(5 * CHARACTER), ASK[2:]),
    ]


def test_a_slave_does_not_talk_over_itself() -> None:
    bus, host, _ = segment(0.0, answer=ANSWER)
    bus.master.send(ASK)
    bus.master.send(ASK)
    bus.kernel.run(2.0)
    assert host.octets == ANSWER + ANSWER
    assert (bus.account.overlaps, bus.account.answers) == (0, 2)


def test_a_burst_whose_time_is_over_is_not_sent() -> None:
    bus = WiredBus(Kernel())
    bus.attach(ScriptedSlave({ASK: b"\xe5"}, 0.005, not_after=0.01))
    host = Host(bus)
    bus.master.send(ASK)
    bus.kernel.run(1.0)
    assert (host.heard, bus.account.late) == ([], 1)


def test_an_echoing_converter() -> None:
    bus, host, _ = segment(0.005, converter=Converter(echo=True))
    bus.master.send(ASK)
    bus.kernel.run(1.0)
    assert host.octets == ASK + b"\xe5"


def test_events_of_a_slave_and_its_departure() -> None:
    bus = WiredBus(Kernel())
    told: list[tuple[object, float]] = []
    port = bus.attach(ScriptedSlave({ASK: b"\xe5"}), on_event=lambda event, now: told.append((event, now)))
    host = Host(bus)
    assert told == [("awake", 0.0)]
    bus.master.send(ASK)
    bus.kernel.run(5 * CHARACTER + 0.001)
    port.detach()
    bus.kernel.run(1.0)
    assert host.heard == []
    host.forget()
    assert bus.slaves == []


class OnceMaster:
    """Asks at its deadline, notes the answer."""

    def __init__(self) -> None:
        self.deadline: float | None = 1.0

    def receive(self, event: Octets, now: float) -> list[Transmit | str | LineRate]:
        return [f"{event.octets.hex()} at {now:.6f}", LineRate(300)]

    def timeout(self, now: float) -> list[Transmit | str | LineRate]:
        self.deadline = None
        return [Transmit(ASK, now + 0.5)]


def test_a_machine_as_master() -> None:
    bus, _, _ = segment(0.005)
    told: list[str | LineRate] = []
    bus.master.drive(OnceMaster(), lambda event, now: told.append(event))  # type: ignore[arg-type]
    bus.kernel.run(2.0)
    assert told == [f"e5 at {1.5 + 6 * CHARACTER + 0.005:.6f}", LineRate(300)]
    assert bus.master.baud == 300


# -- several slaves ------------------------------------------------------------------------------------


@pytest.mark.parametrize("slaves", [2, 40])
def test_equal_answers_at_once_read_as_one_where_nobody_measures(slaves: int) -> None:
    bus, host, _ = segment(*[0.005] * slaves, converter=SIMPLE)
    bus.master.send(ASK)
    bus.kernel.run(1.0)
    assert host.heard == [(pytest.approx(6 * CHARACTER + 0.005), b"\xe5", False)]
    assert (bus.account.overlaps, bus.account.collisions) == (slaves - 1, 0)


def test_shifted_answers_are_garbage() -> None:
    bus, host, _ = segment(0.005, 0.005 + 1 / 2400, converter=SIMPLE)
    bus.master.send(ASK)
    bus.kernel.run(1.0)
    assert host.heard
    assert host.octets != b"\xe5" or host.disturbed
    assert bus.account.disturbed > 0


def test_answers_one_after_the_other_are_two() -> None:
    bus, host, _ = segment(0.005, 0.015, converter=SIMPLE)
    bus.master.send(ASK)
    bus.kernel.run(1.0)
    assert [(octets, disturbed) for _, octets, disturbed in host.heard] == [(b"\xe5", False), (b"\xe5", False)]
    assert bus.account.overlaps == 0


def test_a_second_talker_in_the_middle() -> None:
    """What came before is right, what comes while both talk is the superposition, what comes after is right again."""
    late = ScriptedSlave({ASK: b"\x00\x00\x00"}, 0.005 + 12 * CHARACTER)
    bus, host, _ = segment(0.005, answer=ANSWER, converter=SIMPLE)
    bus.attach(late)
    bus.master.send(ASK)
    bus.kernel.run(1.0)
    assert len(host.octets) == len(ANSWER)
    assert host.octets[:12] == ANSWER[:12]
    assert host.octets[12:15] == b"\x00\x00\x00"
    assert host.octets[15:] == ANSWER[15:]
    assert bus.account.overlaps == 1


@pytest.mark.parametrize("lump", [None, 0.0, 0.05])
def test_nothing_is_lost_or_doubled_when_a_second_one_begins_inside_a_lump(lump: float | None) -> None:
    late = ScriptedSlave({ASK: b"\xff"}, 0.005 + 17.4 * CHARACTER)
    bus, host, _ = segment(0.005, answer=ANSWER, converter=SIMPLE, lump=lump)
    bus.attach(late)
    bus.master.send(ASK)
    bus.kernel.run(1.0)
    assert host.octets[:17] == ANSWER[:17]
    assert host.octets[19:] == ANSWER[19:]
    assert len(host.octets) == len(ANSWER)


def test_a_collision_is_noticed_by_its_current_and_broken_off() -> None:
    bus, host, slaves = segment(0.005, 0.005, answer=ANSWER)
    bus.master.send(ASK)
    bus.kernel.run(1.0)
    begin = 5 * CHARACTER + 0.005
    assert host.heard == [(pytest.approx(begin + 0.5 / 2400 + CHARACTER), b"\x00", True)]
    assert bus.account.collisions == 1
    for slave in slaves:  # they hear the break at its end
        assert slave.heard[-1] == (pytest.approx(begin + 0.5 / 2400 + 0.05), b"\x00", True)


def test_characters_before_a_collision_stand() -> None:
    bus, host, _ = segment(0.005, 0.005 + 4 * CHARACTER, answer=ANSWER)
    bus.master.send(ASK)
    bus.kernel.run(1.0)
    assert host.octets == ANSWER[:4] + b"\x00"
    assert host.heard[-1][2] is True


def test_the_limit_of_the_current_decides() -> None:
    bus, host, _ = segment(0.005, 0.005, converter=Converter(collision=50.0))
    bus.master.send(ASK)
    bus.kernel.run(1.0)
    assert (host.octets, bus.account.collisions) == (b"\xe5", 0)  # 30 mA
    bus.attach(ScriptedSlave({ASK: b"\xe5"}, 0.005))
    bus.attach(ScriptedSlave({ASK: b"\xe5"}, 0.005))
    bus.master.send(ASK)
    bus.kernel.run(2.0)
    assert (host.octets, bus.account.collisions) == (b"\xe5\x00", 1)  # 60 mA


def test_who_begins_during_the_break_is_not_heard() -> None:
    bus, host, _ = segment(0.005, 0.005, 0.030)
    bus.master.send(ASK)
    bus.kernel.run(1.0)
    assert host.octets == b"\x00"
    assert bus.account.answers == 2


def test_a_break_of_the_master_silences_a_talker() -> None:
    bus, host, (slave,) = segment(0.005, answer=ANSWER)
    bus.master.send(ASK)
    bus.kernel.run(5 * CHARACTER + 0.005 + 7.5 * CHARACTER)
    bus.master.send_break(0.05)
    bus.kernel.run(1.0)
    assert host.octets == ANSWER[:7]
    assert slave.heard[-1][1:] == (b"\x00", True)
    bus.master.send(ASK)
    bus.kernel.run(2.0)
    assert host.octets == ANSWER[:7] + ANSWER


def test_a_request_cut_by_a_break_is_not_heard() -> None:
    bus, host, (slave,) = segment(0.005)
    bus.master.send(ASK)
    bus.kernel.run(2 * CHARACTER)
    bus.master.send_break()
    bus.kernel.run(1.0)
    assert [octets for _, octets, _ in slave.heard] == [b"\x00"]
    assert host.heard == []


# -- rates ------------------------------------------------------------------------------------------


def test_a_slave_that_detects_the_rate_follows() -> None:
    bus = WiredBus(Kernel(), baud=300)
    slave = DetectingSlave({ASK: b"\xe5"}, 0.05)
    port = bus.attach(slave)
    host = Host(bus)
    assert port.baud == 2400
    bus.master.send(ASK)
    bus.kernel.run(5.0)
    assert slave.heard == [(pytest.approx(55 / 300), ASK, False)]
    assert host.heard == [(pytest.approx(66 / 300 + 0.05), b"\xe5", False)]
    assert port.baud == 300


def test_a_slave_without_detection_hears_garbage_or_nothing() -> None:
    bus = WiredBus(Kernel(), baud=300)
    slave = ScriptedSlave({ASK: b"\xe5"})
    bus.attach(slave)
    host = Host(bus)
    bus.master.send(ASK)
    bus.kernel.run(2.0)
    assert all(octets != ASK for _, octets, _ in slave.heard)
    assert any(disturbed for _, _, disturbed in slave.heard)
    assert host.heard == []


def test_a_rate_that_is_not_supported_is_not_detected() -> None:
    bus = WiredBus(Kernel(), baud=38400)
    slave = DetectingSlave({ASK: b"\xe5"})
    bus.attach(slave)
    host = Host(bus)
    bus.master.send(ASK)
    bus.kernel.run(1.0)
    assert host.heard == []
    assert ASK not in [octets for _, octets, _ in slave.heard]


def test_an_answer_at_another_rate_is_garbage_for_the_master() -> None:
    bus, host, _ = segment(0.05, answer=ANSWER)
    bus.master.send(ASK)
    bus.kernel.run(0.03)
    bus.master.baud = 9600  # the master goes on before the answer came
    bus.kernel.run(2.0)
    assert host.octets != ANSWER
    assert host.disturbed


class Switching(ScriptedSlave):
    """Acknowledges at the old rate, then changes."""

    def receive(self, event: PowerUp | Octets, now: float) -> list[Transmit | str | LineRate]:
        found: list[Transmit | str | LineRate] = list(super().receive(event, now))
        return [*found, LineRate(9600)] if isinstance(event, Octets) else found


def test_a_rate_is_changed_after_the_acknowledge() -> None:
    bus = WiredBus(Kernel())
    bus.attach(Switching({ASK: b"\xe5"}))
    host = Host(bus)
    bus.master.send(ASK)
    bus.kernel.run(1.0)
    assert host.heard == [(pytest.approx(6 * CHARACTER + 0.005), b"\xe5", False)]
    bus.master.baud = 9600
    bus.master.send(ASK)
    bus.kernel.run(2.0)
    assert host.heard[1] == (pytest.approx(1.0 + 66 / 9600 + 0.005), b"\xe5", False)


# -- noise ------------------------------------------------------------------------------------------


def noisy_run(seed: int, noise: float) -> tuple[str, WiredBus, Host]:
    bus = WiredBus(Kernel(), noise=noise, dice=random.Random(seed).random)
    bus.attach(ScriptedSlave({ASK: ANSWER}))
    host = Host(bus)
    for at in range(100):
        bus.master.send(ASK, float(at))
    bus.kernel.run(101.0)
    return hashlib.sha256(repr(host.heard).encode()).hexdigest(), bus, host


def test_noise_needs_dice() -> None:
    with pytest.raises(ValueError, match="dice"):
        WiredBus(Kernel(), noise=0.1)


def test_the_same_seed_is_the_same_run() -> None:
    assert noisy_run(1, 0.002)[0] == noisy_run(1, 0.002)[0]
    assert noisy_run(1, 0.002)[0] != noisy_run(2, 0.002)[0]


def test_noise_hits_as_often_as_it_should() -> None:
    """A request of 55 bits comes through with (1 - p)^55; 100 of them, p = 0.002: 89.6 +- 3.1."""
    _, bus, host = noisy_run(5, 0.002)
    assert 78 <= bus.account.answers <= 99
    assert host.disturbed
    whole = host.octets.count(ANSWER)
    expected = bus.account.answers * (1 - 0.002) ** (len(ANSWER) * 11)
    assert abs(whole - expected) < 4 * (expected * 0.5) ** 0.5 + 1


def test_one_wrong_bit_is_seen_as_disturbed() -> None:
    bits = iter([1.0 - 1e-9, 0.05, 1.0 - 1e-9])  # the request clean, one error early in the answer, no second one
    bus = WiredBus(Kernel(), noise=0.01, dice=lambda: next(bits))
    bus.attach(ScriptedSlave({ASK: ANSWER}))
    host = Host(bus)
    bus.master.send(ASK)
    bus.kernel.run(1.0)
    assert bus.account.bit_errors == 1
    assert host.disturbed
    assert host.octets[1:] == ANSWER[1:]


# -- power ------------------------------------------------------------------------------------------


def test_voltage_and_load() -> None:
    bus, _, _ = segment(*[0.005] * 100)
    assert bus.unit_loads == 100
    assert bus.voltage == pytest.approx(36 - 40 * 0.150)
    for _ in range(75):
        bus.attach(ScriptedSlave({}), SlaveLine(unit_loads=2))
    assert bus.unit_loads == 250
    assert bus.voltage == pytest.approx(21.0)
    assert bus.working


def test_too_many_slaves_brown_out_and_recover_without_power_up() -> None:
    bus, host, slaves = segment(*[0.005] * 250, converter=SIMPLE)
    extra = bus.attach(ScriptedSlave({ASK: b"\xe5"}))
    assert not bus.working
    bus.master.send(ASK)
    bus.kernel.run(1.0)
    assert host.heard == []
    extra.detach()
    assert bus.working
    bus.master.send(ASK)
    bus.kernel.run(2.0)
    assert host.octets == b"\xe5"
    assert slaves[0].power_ups == [0.0]  # more than 12 V all the time


def test_an_overload_below_12_volts_is_a_power_cut() -> None:
    bus, _, slaves = segment(*[0.005] * 200)
    heavy = [bus.attach(ScriptedSlave({}), SlaveLine(unit_loads=4)) for _ in range(60)]
    assert bus.voltage < 12
    bus.kernel.run(1.0)
    for port in heavy:
        port.detach()
    assert slaves[0].power_ups == [0.0, 1.0]


@pytest.mark.parametrize(("pause", "power_ups"), [(0.02, 1), (0.04, 2), (1.0, 2)])
def test_a_pause_of_the_source(pause: float, power_ups: int) -> None:
    """A slave bridges 0.1 s below 12 V; 12 V are back 71 ms after switching on, 21 V after 125 ms (168 V/s)."""
    bus, host, (slave,) = segment(0.005, answer=ANSWER)
    bus.master.send(ASK)
    bus.kernel.run(5 * CHARACTER + 0.005 + 3.5 * CHARACTER)
    bus.power_off()
    off = bus.kernel.now
    assert (bus.voltage, bus.working) == (0.0, False)
    bus.kernel.run(off + pause)
    bus.power_on()
    bus.power_on()
    bus.kernel.run(off + pause + 0.124)
    assert not bus.working
    bus.kernel.run(off + pause + 0.126)
    assert bus.working
    assert host.octets == ANSWER[:3]
    assert slave.power_ups == [0.0, pytest.approx(off + pause + 0.125)][:power_ups]
    assert bus.account.power_ups == power_ups
    bus.master.send(ASK)
    bus.kernel.run(off + pause + 1.0)
    assert host.octets == ANSWER[:3] + ANSWER


@pytest.mark.parametrize(("pause", "octets"), [(0.02, b"\xe5"), (0.04, b"")])
def test_what_was_to_be_sent_before_a_power_up_is_not_sent(pause: float, octets: bytes) -> None:
    """The answer is due when 21 V are back: a slave that bridged the pause gives it, one that has started anew does not."""
    bus, host, _ = segment(0.18)
    asked = bus.master.send(ASK) + 0.001
    bus.kernel.run(asked)
    bus.power_off()
    bus.kernel.run(asked + pause)
    bus.power_on()
    bus.kernel.run(1.0)
    assert host.octets == octets


def test_off_again_before_21_volts() -> None:
    bus, _, (slave,) = segment(0.005, powered=False)
    assert slave.power_ups == []
    bus.power_on()
    bus.kernel.run(0.1)
    bus.power_off()
    bus.kernel.run(1.0)
    assert slave.power_ups == []
    bus.power_on()
    bus.kernel.run(2.0)
    assert slave.power_ups == [pytest.approx(1.125)]


def test_without_power_nothing_is_heard() -> None:
    bus, host, (slave,) = segment(0.005, powered=False)
    bus.master.send(ASK)
    bus.kernel.run(1.0)
    assert (slave.heard, host.heard) == ([], [])


# -- size -------------------------------------------------------------------------------------------


def test_a_readout_of_one_slave_costs_few_events() -> None:
    bus, host, _ = segment(0.005, answer=ANSWER, lump=None)
    for at in range(100):
        bus.master.send(ASK, float(at))
    bus.kernel.run(101.0)
    assert host.octets == ANSWER * 100
    assert bus.kernel.events == 100 * 4  # call, its end, begin of the answer, its end
