"""Operator and gateway as one machine."""

from __future__ import annotations

from openmetering.codec.address import Address
from openmetering.errors import ExchangeFailed
from openmetering.protocol.events import Octets, Transmit
from openmetering.protocol.exchange import Answered, Command, Failed, GiveKey, Submit, Withdraw
from openmetering.protocol.operator.operator import Aborted, Finished, Operator, Start, Stop, Waiting
from openmetering.protocol.operator.steps import Ask, Pause, Procedure, Progress, Provide
from openmetering.security import KeyRing
from openmetering.services.dialogue import Dialogue

METER = Address.parse("ELS-12345678-33-07")


class Gateway:
    """Sends for every exchange and answers with what comes; fails after 5 s."""

    def __init__(self) -> None:
        self.deadline: float | None = None
        self.token = -1
        self.heard: list[object] = []

    def receive(self, event: Octets | Submit | Withdraw | GiveKey, now: float) -> list[object]:
        self.heard.append(event)
        if isinstance(event, Submit):
            self.token, self.deadline = event.token, now + 5.0
            return ["persist", Transmit(b"frame", now)]
        if isinstance(event, Octets):
            self.deadline = None
            return ["alarm", Answered(self.token, 0, "m-bus", event.octets), "behind"]
        return []

    def timeout(self, now: float) -> list[object]:
        if self.deadline is None or now < self.deadline:
            return []
        self.deadline = None
        return [Failed(self.token, "no-answer", delivered=None)]


def procedure() -> Procedure[bytes]:
    yield Progress(0, 2, "first")
    first = yield Ask(Command("m-bus", b"\x01"))
    yield Provide(KeyRing(), 0, 1)
    yield Pause(3.0)
    second = yield Ask(None)
    assert first is not None
    assert second is not None
    return first.payload + second.payload


def test_a_whole_procedure_in_order() -> None:
    gateway = Gateway()
    dialogue: Dialogue[Octets, object] = Dialogue(gateway, Operator(METER))
    assert dialogue.deadline is None
    out = dialogue.receive(Start(procedure()), 0.0)
    assert [type(event).__name__ for event in out] == ["Progress", "str", "Transmit"]
    assert dialogue.deadline == 5.0
    out = dialogue.receive(Octets(b"a"), 1.0)
    assert out == ["alarm", Waiting(4.0), "behind"]
    assert isinstance(gateway.heard[-1], GiveKey)
    assert dialogue.deadline == 4.0
    assert dialogue.timeout(3.9) == []
    out = dialogue.timeout(4.0)
    assert out == ["persist", Transmit(b"frame", 4.0)]
    assert dialogue.receive(Octets(b"b"), 5.0) == ["alarm", Finished(b"ab"), "behind"]


def test_a_failure_of_the_gateway_ends_the_procedure() -> None:
    dialogue: Dialogue[Octets, object] = Dialogue(Gateway(), Operator(METER))
    dialogue.receive(Start(procedure()), 0.0)
    (end,) = dialogue.timeout(5.0)
    assert isinstance(end, Aborted)
    assert isinstance(end.error, ExchangeFailed)
    assert end.error.reason == "no-answer"


def test_stop_withdraws() -> None:
    gateway = Gateway()
    dialogue: Dialogue[Octets, object] = Dialogue(gateway, Operator(METER))
    dialogue.receive(Start(procedure()), 0.0)
    (end,) = dialogue.receive(Stop(), 1.0)
    assert isinstance(end, Aborted)
    assert isinstance(gateway.heard[-1], Withdraw)
