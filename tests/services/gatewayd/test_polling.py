"""Plans of wired lines, and one master for readings and commands."""

from __future__ import annotations

import pytest

from openmetering.codec.address import Address
from openmetering.protocol.events import Octets, PowerUp, Transmit
from openmetering.protocol.exchange import Answered, Exchange, Failed, Submit
from openmetering.protocol.gateway.events import GatewayConfig
from openmetering.protocol.gateway.wired_gateway import RegisterSlave, SlaveLink, WiredGateway, WiredOutput
from openmetering.protocol.wired.orders import AnswerReceived, ReadoutDone, ReadoutFailed, ReadPrimary
from openmetering.services.gatewayd.polling import PolledLine, PollPlan, Schedule
from openmetering.services.operation import DEFAULT_GATEWAY
from tests.fleet import address, wired

DAY = 86_400.0
ONE, TWO = ReadPrimary(1), ReadPrimary(2)


@pytest.mark.parametrize(
    ("every", "at", "now", "due"),
    [
        (900.0, (), 0.0, 900.0),
        (900.0, (), 899.9, 900.0),
        (900.0, (), 900.0, 1800.0),
        (None, (3600.0,), 10.0, 3600.0),
        (None, (3600.0,), 3600.0, DAY + 3600.0),
        (None, (3600.0, 7200.0), DAY + 4000.0, DAY + 7200.0),
        (86_400.0, (3600.0,), 10.0, 3600.0),
        (86_400.0, (3600.0,), 4000.0, DAY),
    ],
)
def test_times_of_a_plan(every: float | None, at: tuple[float, ...], now: float, due: float) -> None:
    assert PollPlan(ONE, every, at).following(now) == due


def test_rounds() -> None:
    assert PollPlan(ONE, 60.0).round == 60.0
    assert PollPlan(ONE, None, (0.0, 100.0)).round == DAY / 2


def test_everything_is_read_at_the_start_one_after_the_other() -> None:
    schedule = Schedule([PollPlan(ONE), PollPlan(TWO, 60.0)], 100.0)
    assert schedule.deadline == 100.0
    assert schedule.due(99.0) is None
    assert schedule.due(100.0) == ONE
    schedule.done(ONE, 101.0)
    assert schedule.due(101.0) == TWO
    schedule.done(TWO, 102.0)
    assert schedule.due(110.0) is None
    assert schedule.deadline == 120.0


def test_retries_then_the_next_time_then_rounds_left_out() -> None:
    schedule = Schedule([PollPlan(ONE, 900.0, retries=2, retry_after=10.0, longest=4000.0)], 1.0)
    assert schedule.failed(ONE, 5.0) == 15.0
    assert schedule.failed(ONE, 16.0) == 36.0
    assert schedule.failed(ONE, 37.0) == 900.0  # the round is lost
    times = []
    now = 900.0
    for _ in range(6):
        for _ in range(2):
            schedule.failed(ONE, now)
        now = schedule.failed(ONE, now)
        times.append(now)
    assert times == [2700.0, 6300.0, 10_800.0, 15_300.0, 19_800.0, 24_300.0]  # 1, 3, then 4000 s at most left out
    schedule.done(ONE, now)
    for _ in range(2):
        schedule.failed(ONE, now)
    assert schedule.failed(ONE, now) == now + 900.0


def test_no_plan() -> None:
    assert Schedule([], 0.0).deadline is None
    assert Schedule([], 0.0).due(1.0) is None


# -- one line for both -----------------------------------------------------------------------------------


class Line:
    """A polled line with slaves that answer at once, or not at all."""

    def __init__(self, *plans: PollPlan, answers: dict[int, bytes] | None = None) -> None:
        gateway = WiredGateway(GatewayConfig(DEFAULT_GATEWAY), lambda: 0.5)
        self.machine = PolledLine(gateway, Schedule(plans, 0.0))
        self.now = 0.0
        self.answers = {5: wired(1234, primary=5)} if answers is None else answers
        self.told: list[WiredOutput] = []
        self.sent: list[bytes] = []
        self.take(self.machine.receive(PowerUp(), self.now))

    def take(self, events: list[WiredOutput]) -> None:
        for event in events:
            if isinstance(event, Transmit):
                self.now = max(self.now, event.not_before)
                self.sent.append(event.frame)
                answer = self.answer(event.frame)
                if answer:
                    self.now += 0.05
                    self.take(self.machine.receive(Octets(answer), self.now))
            else:
                self.told.append(event)

    def answer(self, frame: bytes) -> bytes | None:
        if frame[:1] != b"\x10" or frame[2] not in self.answers:
            return None
        return b"\xe5" if frame[1] == 0x40 else self.answers[frame[2]]

    def run(self, until: float) -> None:
        while (due := self.machine.deadline) is not None and due <= until:
            self.now = max(self.now, due)
            self.take(self.machine.timeout(self.now))
        self.now = max(self.now, until)

    def kinds(self) -> list[type]:
        return [type(event) for event in self.told]


def test_a_slave_is_read_by_plan() -> None:
    line = Line(PollPlan(ReadPrimary(5), 60.0))
    line.run(0.5)
    assert line.kinds() == [AnswerReceived, ReadoutDone]
    assert line.machine.deadline == 60.0
    line.run(130.0)
    assert line.kinds() == [AnswerReceived, ReadoutDone] * 3


def test_a_slave_that_is_silent() -> None:
    line = Line(PollPlan(ReadPrimary(9), 600.0, retries=1, retry_after=5.0), PollPlan(ReadPrimary(5), 600.0))
    line.run(30.0)
    assert line.kinds() == [ReadoutFailed, AnswerReceived, ReadoutDone, ReadoutFailed]
    assert line.machine.deadline == 600.0


def enrolled(*plans: PollPlan, answers: dict[int, bytes] | None = None) -> Line:
    line = Line(*plans, answers=answers)
    line.take(line.machine.receive(RegisterSlave(SlaveLink(address(), 5)), line.now))
    line.run(1.0)
    line.told.clear()
    return line


REQUEST = Exchange(address(), None)


def test_a_command_goes_between_readings() -> None:
    line = enrolled(PollPlan(ReadPrimary(5), 60.0))
    line.take(line.machine.receive(Submit(7, REQUEST), line.now))
    line.run(2.0)
    (answered,) = [event for event in line.told if isinstance(event, Answered)]
    assert (answered.token, answered.protocol) == (7, "m-bus")
    line.run(61.0)
    assert line.kinds()[-2:] == [AnswerReceived, ReadoutDone]


def test_a_command_that_comes_during_a_reading_waits() -> None:
    line = enrolled(PollPlan(ReadPrimary(9), 60.0, retries=0), PollPlan(ReadPrimary(5), 60.0))
    line.run(59.0)
    line.told.clear()
    line.now = 60.0
    line.take(line.machine.timeout(60.0))  # slave 9 is asked and does not answer
    line.take(line.machine.receive(Submit(8, REQUEST), line.now))
    assert line.kinds() == []
    line.run(63.0)
    kinds = [kind for kind in line.kinds() if kind in (ReadoutFailed, Answered, ReadoutDone)]
    assert kinds[:3] == [ReadoutFailed, Answered, ReadoutDone]


def test_a_command_to_a_stranger_fails_at_once() -> None:
    line = enrolled(PollPlan(ReadPrimary(5), 60.0))
    stranger = Exchange(Address.parse("ELS-00000001-33-07"), None)
    line.take(line.machine.receive(Submit(9, stranger), line.now))
    assert Failed(9, "no-access", delivered=False) in line.told


def test_the_next_reading_waits_for_a_command() -> None:
    line = enrolled(PollPlan(ReadPrimary(9), 60.0), answers={})
    line.run(50.0)
    line.told.clear()
    line.take(line.machine.receive(Submit(1, REQUEST), 59.9))
    line.now = 59.9
    line.run(65.0)
    kinds = [kind for kind in line.kinds() if kind in (ReadoutFailed, Failed)]
    assert kinds[0] is Failed


def test_a_lost_line_counts_as_a_failure() -> None:
    line = Line(PollPlan(ReadPrimary(9), 600.0, retry_after=30.0), answers={})
    line.take(line.machine.timeout(0.0))
    assert line.machine.deadline is not None
    line.machine.line_lost(0.1)
    assert line.machine.deadline == pytest.approx(30.1)
    line.machine.line_lost(0.2)
    assert line.machine.deadline == pytest.approx(30.1)
    line.run(40.0)
    assert line.kinds() == [ReadoutFailed]
