"""The bundled recording as a door: both files in the order of their times, at a chosen speed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path

from openmetering.transport.doors import Emit
from openmetering.transport.lines import LineReader
from openmetering.transport.reception import BadLine, Reception

__all__ = ["RADIO", "WIRED", "Replay", "bundled"]

RADIO, WIRED = "radio", "wired"  #: sources of the recording
_FILES = {RADIO: ("building.log", "rtl-wmbus"), WIRED: ("building-wired.jsonl", "jsonl")}
_NAP = 0.005  #: seconds; shorter waits are not worth it


def bundled(name: str) -> Path:
    """The place of a file of the recording."""
    return Path(str(resources.files(__package__).joinpath(name)))


def _read(source: str, text: str, fmt: str) -> list[tuple[float, Reception | BadLine]]:
    """The lines of a file with their times; a line that is no telegram has the time of the one before."""
    reader, moment = LineReader(fmt, source), 0.0
    timed: list[tuple[float, Reception | BadLine]] = []
    for line in text.splitlines():
        item = reader.line(line, moment)
        if item is not None:
            moment = item.received_at if isinstance(item, Reception) else moment
            timed.append((moment, item))
    return timed


class Replay:
    """Plays the recording.

    ``speed`` is how many recorded seconds go into one; None plays as fast as it is taken.
    ``files`` names other content per source (radio, wired).
    """

    name = "recording"

    def __init__(
        self,
        speed: float | None = None,
        files: Mapping[str, str] | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        texts = files or {source: bundled(name).read_text(encoding="utf-8") for source, (name, _) in _FILES.items()}
        timed = [pair for source, text in texts.items() for pair in _read(source, text, _FILES[source][1])]
        self.items = sorted(timed, key=lambda pair: pair[0])
        self.speed = speed
        self._clock = clock

    @property
    def start(self) -> float:
        """Time of the first telegram, in seconds since 1970."""
        return self.items[0][0]

    @property
    def length(self) -> float:
        """Recorded seconds."""
        return self.items[-1][0] - self.start

    async def run(self, emit: Emit) -> None:
        """Deliver all items, each at its time."""
        begun = self._clock()
        for moment, item in self.items:
            if self.speed is not None:
                wait = begun + (moment - self.start) / self.speed - self._clock()
                if wait > _NAP:
                    await asyncio.sleep(wait)
            await emit(item)
