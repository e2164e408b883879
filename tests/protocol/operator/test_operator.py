"""The machine that drives a procedure: every row of its table, and no other."""

from __future__ import annotations

import pytest

from openmetering.errors import ExchangeFailed, NotRepresentable, ProtocolError, Refused
from openmetering.protocol.exchange import Answered, Command, Exchange, Failed, GiveKey, Submit, Withdraw
from openmetering.protocol.operator.operator import (
    Aborted,
    Elapsed,
    Finished,
    Operator,
    OperatorState,
    Start,
    Stop,
    Waiting,
)
from openmetering.protocol.operator.steps import Ask, Pause, Progress, Provide
from openmetering.security import KeyRing
from tests.protocol.operator.scripted import DEVICE

COMMAND = Command("m-bus", b"\x2f")
KEYS = KeyRing.single(bytes(16))


def asking(*, catch: bool = False):
    """Asks twice and returns both payloads."""
    got = []
    for _ in range(2):
        try:
            got.append((yield Ask(COMMAND)).payload)
        except ExchangeFailed as failure:
            if not catch:
                raise
            got.append(failure)
    return got


def everything():
    yield Progress(0, 1, "begin")
    yield Provide(KEYS, 0, 1)
    yield Pause(10.0)
    answer = yield Ask(None, answer=False)
    return answer.status


def refused():
    yield Ask(COMMAND)
    raise Refused("no", error=0x15)


def answered(token: int, payload: bytes = b"") -> Answered:
    return Answered(token, 0, "m-bus", payload)


def test_a_procedure_from_start_to_end():
    operator = Operator(DEVICE)
    assert operator.receive(Start(asking()), 0.0) == [Submit(0, Exchange(DEVICE, COMMAND))]
    assert operator.state is OperatorState.ASKING
    assert operator.receive(answered(0, b"a"), 1.0) == [Submit(1, Exchange(DEVICE, COMMAND))]
    assert operator.receive(answered(1, b"b"), 2.0) == [Finished([b"a", b"b"])]
    assert operator.state is OperatorState.IDLE
    assert operator.deadline is None


def test_every_step_comes_out():
    operator = Operator(DEVICE)
    out = operator.receive(Start(everything()), 5.0)
    assert out == [Progress(0, 1, "begin"), GiveKey(DEVICE, KEYS, 0, 1), Waiting(15.0)]
    assert (operator.state, operator.deadline) == (OperatorState.PAUSED, 15.0)
    assert operator.timeout(14.9) == []
    assert operator.timeout(15.0) == [Submit(0, Exchange(DEVICE, None, False))]
    assert operator.deadline is None
    assert operator.timeout(99.0) == []
    assert operator.receive(Answered(0, 3), 16.0) == [Finished(3)]


def test_a_failure_is_raised_in_the_procedure():
    operator = Operator(DEVICE)
    operator.receive(Start(asking(catch=True)), 0.0)
    operator.receive(Failed(0, "no-access", False), 1.0)
    ((done,),) = [operator.receive(Failed(1, "busy", True), 2.0)]
    first, second = done.result
    assert (first.reason, first.delivered, second.reason, second.delivered) == ("no-access", False, "busy", True)
    assert "never opened a window" in first.message
    assert first.code == "exchange.no_access"


@pytest.mark.parametrize(
    "reason",
    ["no-answer", "no-access", "refused-link", "busy", "security", "withdrawn", "not-selected", "disturbed", "power"],
)
def test_a_failure_ends_a_procedure_that_does_not_care(reason):
    operator = Operator(DEVICE)
    operator.receive(Start(asking()), 0.0)
    (aborted,) = operator.receive(Failed(0, reason), 1.0)
    assert isinstance(aborted, Aborted)
    assert isinstance(aborted.error, ExchangeFailed)
    assert aborted.error.reason == reason
    assert len(aborted.error.message) > len(str(DEVICE)) + len(reason) + 2
    assert operator.state is OperatorState.IDLE


def test_a_refusal():
    operator = Operator(DEVICE)
    operator.receive(Start(refused()), 0.0)
    (aborted,) = operator.receive(answered(0), 1.0)
    assert aborted.error.error == 0x15


def test_a_procedure_that_sends_nothing():
    def wrong():
        raise NotRepresentable("no")
        yield

    operator = Operator(DEVICE)
    (aborted,) = operator.receive(Start(wrong()), 0.0)
    assert isinstance(aborted.error, NotRepresentable)

    def nothing():
        return 1
        yield

    assert operator.receive(Start(nothing()), 0.0) == [Finished(1)]


def test_errors_that_are_not_ours_come_through():
    def broken():
        yield Ask(None)
        raise ZeroDivisionError

    operator = Operator(DEVICE)
    operator.receive(Start(broken()), 0.0)
    with pytest.raises(ZeroDivisionError):
        operator.receive(answered(0), 0.0)


def test_stop_withdraws_the_exchange():
    closed = []

    def careful():
        try:
            yield Ask(COMMAND)
        finally:
            closed.append(True)

    operator = Operator(DEVICE)
    operator.receive(Start(careful()), 0.0)
    withdraw, aborted = operator.receive(Stop(), 1.0)
    assert withdraw == Withdraw(0)
    assert aborted.error.reason == "withdrawn"
    assert closed == [True]
    assert operator.receive(Failed(0, "withdrawn"), 2.0) == []
    assert operator.receive(Start(asking()), 3.0) == [Submit(1, Exchange(DEVICE, COMMAND))]
    assert operator.receive(answered(0), 4.0) == []
    assert operator.state is OperatorState.ASKING


def test_stop_ends_a_pause():
    operator = Operator(DEVICE)
    operator.receive(Start(everything()), 0.0)
    (aborted,) = operator.receive(Stop(), 1.0)
    assert isinstance(aborted, Aborted)
    assert operator.deadline is None
    assert operator.state is OperatorState.IDLE


def test_tokens_are_a_range_of_their_own():
    operators = [Operator(DEVICE, range(100, 102)), Operator.numbered(DEVICE, 3)]
    tokens = []
    for operator in operators:
        (submit,) = operator.receive(Start(asking()), 0.0)
        tokens.append(submit.token)
        (submit,) = operator.receive(answered(submit.token), 0.0)
        tokens.append(submit.token)
        operator.receive(answered(submit.token), 0.0)
    assert tokens == [100, 101, 3 << 16, (3 << 16) + 1]
    (submit,) = operators[0].receive(Start(asking()), 0.0)
    assert submit.token == 100


# -- the table -----------------------------------------------------------------------------------------------

#: how to get to a state that can be seen
READY = {
    OperatorState.IDLE: lambda: Operator(DEVICE),
    OperatorState.ASKING: lambda: _started(asking()),
    OperatorState.PAUSED: lambda: _started(everything()),
}
EVENTS = {
    Start: lambda: Start(asking()),
    Stop: Stop,
    Answered: lambda: answered(0),
    Failed: lambda: Failed(0, "busy"),
    Elapsed: Elapsed,
    Ask: lambda: Ask(None),
    Pause: lambda: Pause(1.0),
    Provide: lambda: Provide(KEYS, 0, 1),
    Progress: lambda: Progress(0, 1, ""),
    Finished: lambda: Finished(None),
    Aborted: lambda: Aborted(Refused("")),
}


def _started(procedure) -> Operator:
    operator = Operator(DEVICE)
    operator.receive(Start(procedure), 0.0)
    return operator


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.__name__)
@pytest.mark.parametrize("state", READY, ids=lambda state: state.name)
def test_every_pair(state, event):
    operator = READY[state]()
    assert operator.state is state
    operator._token = 0
    if (state, event) in Operator.TRANSITIONS:
        if event is Elapsed:
            assert operator.timeout(10.0)
        else:
            assert operator.receive(EVENTS[event](), 1.0) is not None
        return
    with pytest.raises(ProtocolError) as caught:
        operator.receive(EVENTS[event](), 1.0)
    assert (caught.value.state, caught.value.event) == (state.name, event.__name__)


def test_every_row_of_running_is_visited():
    visited: set[tuple[object, type]] = set()

    class Watched(Operator):
        def _step(self, event, now):
            visited.add((self.state, type(event)))
            return super()._step(event, now)

    def whole():
        yield from everything()
        yield Ask(COMMAND)

    operator = Watched(DEVICE)
    operator.receive(Start(whole()), 0.0)
    operator.timeout(10.0)
    operator.receive(answered(0), 11.0)
    operator.receive(answered(1), 11.0)
    operator.receive(Start(refused()), 12.0)
    operator.receive(answered(2), 12.0)
    operator.receive(Start(asking()), 12.0)
    operator.receive(Failed(3, "busy"), 12.0)
    for procedure in (asking(), everything()):
        operator.receive(Start(procedure), 13.0)
        operator.receive(Stop(), 13.0)
    assert visited == set(Operator.TRANSITIONS)
