"""A wired slave as small as can be: answers by a table, after a fixed delay. For tests of the wire itself."""

from __future__ import annotations

from openmetering.protocol.events import Octets, PowerUp, Transmit


class ScriptedSlave:
    """Answers octets that it has an answer to; notes everything it hears with the time."""

    def __init__(self, answers: dict[bytes, bytes], delay: float = 0.005, *, not_after: float | None = None) -> None:
        self.answers = answers
        self.delay = delay
        self.not_after = not_after
        self.heard: list[tuple[float, bytes, bool]] = []
        self.power_ups: list[float] = []
        self.deadline: float | None = None

    def receive(self, event: PowerUp | Octets, now: float) -> list[Transmit | str]:
        if isinstance(event, PowerUp):
            self.power_ups.append(now)
            return ["awake"]
        self.heard.append((now, event.octets, event.disturbed))
        answer = None if event.disturbed else self.answers.get(event.octets)
        if answer is None:
            return []
        return [Transmit(answer, now + self.delay, self.not_after)]

    def timeout(self, now: float) -> list[Transmit | str]:
        raise AssertionError("it has no deadline")


class DetectingSlave(ScriptedSlave):
    """Takes over the rates it supports."""

    def __init__(self, answers: dict[bytes, bytes], delay: float = 0.005, *, bauds: tuple[int, ...] = (300, 2400)) -> None:
        super().__init__(answers, delay)
        self.bauds = bauds
        self.baud = 2400

    def tune(self, baud: int) -> bool:
        if baud in self.bauds:
            self.baud = baud
        return baud == self.baud
