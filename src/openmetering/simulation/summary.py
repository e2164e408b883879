"""What happened in a world so far, as numbers and as text."""

from __future__ import annotations

import msgspec

from openmetering.simulation.account import CAUSES, Account

__all__ = ["Summary", "summary_of"]


class Summary(msgspec.Struct, frozen=True):
    """What happened so far.

    ``sent``      medium -> telegrams on air;  ``airtime`` medium -> seconds
    ``received``  (gateway, medium) -> telegrams;  ``lost`` (gateway, medium) -> cause -> telegrams
    ``verdicts``  gateway -> verdict -> telegrams
    """

    seconds: float
    events: int
    transmissions: int
    sent: dict[str, int]
    airtime: dict[str, float]
    received: dict[tuple[str, str], int]
    lost: dict[tuple[str, str], dict[str, int]]
    verdicts: dict[str, dict[str, int]]

    def total_lost(self, gateway: str | None = None, medium: str | None = None) -> dict[str, int]:
        """Losses by cause, added up over gateways and media unless they are named."""
        total = dict.fromkeys(CAUSES, 0)
        for (name, kind), causes in self.lost.items():
            if gateway in (None, name) and medium in (None, kind):
                for cause, number in causes.items():
                    total[cause] += number
        return total

    def total_received(self, gateway: str | None = None, medium: str | None = None) -> int:
        """Telegrams received, added up."""
        return sum(number for (name, kind), number in self.received.items() if gateway in (None, name) and medium in (None, kind))

    def __str__(self) -> str:
        lines = [f"{self.seconds / 3600:.1f} h, {self.transmissions} telegrams on air, {self.events} events"]
        lines += [f"  {medium:22} {number:9} sent {self.airtime[medium]:10.1f} s" for medium, number in sorted(self.sent.items())]
        for name in sorted({name for name, _ in self.received}):
            losses = ", ".join(f"{cause} {number}" for cause, number in self.total_lost(name).items() if number)
            lines.append(f"  {name:22} {self.total_received(name):9} received; lost: {losses or 'none'}")
        return "\n".join(lines)


def summary_of(account: Account, gateways: dict[str, dict[str, int]], seconds: float, events: int, transmissions: int) -> Summary:
    """The summary of an account that is settled; ``gateways`` verdicts by name."""
    lines = [line for line in account.lines() if line.receiver in gateways]
    return Summary(
        seconds,
        events,
        transmissions,
        dict(account.on_air),
        dict(account.seconds),
        {(line.receiver, line.medium): line.received for line in lines},
        {(line.receiver, line.medium): {cause: line.lost(cause) for cause in CAUSES} for line in lines},
        gateways,
    )
