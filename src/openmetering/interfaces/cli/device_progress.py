"""What is told while a use case runs: a bar on a terminal, else what is worth a line on the error output."""

from __future__ import annotations

from types import TracebackType
from typing import Self

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from openmetering.protocol.gateway.events import Alarm
from openmetering.protocol.operator.operator import Waiting
from openmetering.protocol.operator.steps import Progress as Step

__all__ = ["Talk"]

_ALARMS = {
    "replayed": "an old message of the device came again (a replay, or an echo of a repeater)",
    "counter": "its message counter nears the end: change the key",
    "unprotected": "an answer came without the protection of its security profile; it was not believed",
    "key": "the device uses the new key",
}


class Talk:
    """Shows progress while it is entered. ``quiet`` leaves out everything but what is wrong."""

    def __init__(self, *, quiet: bool = False, console: Console | None = None) -> None:
        self.quiet = quiet
        self._console = console or Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
            disable=quiet or not self._console.is_terminal,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        self._bar.start()
        if not self._bar.disable:
            self._task = self._bar.add_task("talking to the device", total=None)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.stop()

    def notice(self, text: str) -> None:
        """News of a door."""
        if not self.quiet:
            self._say(text, None)

    def tell(self, event: object) -> None:
        """Something of the operator or the gateway; what nobody needs to know is left out."""
        if isinstance(event, Step):
            self._update(event.text, event.done, event.total)
        elif isinstance(event, Waiting):
            self._update("waiting for the device", None, None)
        elif isinstance(event, Alarm):
            self._say(f"{event.address}: {_ALARMS[event.reason]}", None if event.reason == "key" else "yellow")

    def _update(self, text: str, done: int | None, total: int | None) -> None:
        if self._task is not None:
            self._bar.update(self._task, description=text, completed=done, total=total)

    def _say(self, text: str, colour: str | None) -> None:
        if self._bar.disable:
            typer.secho(text, err=True, fg=colour)
        else:
            self._bar.console.print(text, style=colour or "", markup=False, highlight=False)
