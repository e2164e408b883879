"""What ``oms listen`` shows: a live table on a terminal, else a line per telegram."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Protocol

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, JustifyMethod, OverflowMethod
from rich.live import Live
from rich.table import Table
from rich.text import Text

from openmetering.codec.apl.records import Record
from openmetering.interfaces.cli.octets import write_stdout
from openmetering.interfaces.cli.text import value_text
from openmetering.services.listen import Heard, Totals
from openmetering.storage.reading_rows import device_address
from openmetering.tables import status_flags
from openmetering.telegram import Telegram, answer_json
from openmetering.transport.reception import BadLine, Notice

__all__ = ["JsonLines", "LiveTable", "TextLines", "View", "telegram_line", "values_text"]

_COLOURS = {"plain": "yellow", "decrypted": "green", "already-plain": "yellow", "key-missing": "red", "failed": "red"}
_NOTICE_COLOURS = {"warning": "yellow", "error": "red"}
_VALUES = 3  #: values shown per meter
_REFRESH = 0.25
_EVENTS = 5  #: lines of news under the table
#: name, and its width on a wide and on a narrow terminal: None takes what is left, 0 leaves it out.
#: A meter takes one line, so that the table fits.
_COLUMNS = (
    ("meter", 18, 18),
    ("medium", 19, 0),
    ("last values", None, None),
    ("RSSI", 7, 7),
    ("security", 18, 9),
    ("faults", 25, 14),
    ("telegrams", 9, 0),
)
_WIDE = 140
_NUMBERS = frozenset(("RSSI", "telegrams"))


class View(Protocol):
    """Shows what a listener tells."""

    def heard(self, items: Sequence[Heard]) -> None:
        """Receptions that are stored."""

    def notice(self, notice: Notice) -> None:
        """News of a door."""

    def bad_line(self, line: BadLine) -> None:
        """Input that is no telegram."""

    def open(self) -> None:
        """Start showing."""

    def close(self, totals: Totals) -> None:
        """Stop showing."""


_TELLING = (
    "energy", "volume", "HCA units", "power", "volume flow", "flow temperature", "return temperature", "external temperature",
    "relative humidity", "mass", "pressure", "voltage", "current", "on time", "operating time",
)  # fmt: skip
_MUTE = frozenset((
    "manufacturer", "fabrication no", "error flags", "actuality duration", "averaging duration", "date", "date time",
    "sub device types",
))  # fmt: skip


def _worth(record: Record) -> tuple[bool, bool, bool, int, int, bool]:
    """Sort key: present totals of telling quantities first."""
    quantity = record.quantity
    rank = _TELLING.index(quantity) if quantity in _TELLING else len(_TELLING)
    poor = record.error is not None or quantity in _MUTE
    return (poor, record.storage != 0, record.function != "instantaneous", rank, record.tariff, bool(record.qualifiers))


def values_text(telegram: Telegram, count: int = _VALUES) -> str:
    """The most telling values of a telegram, one of each quantity."""
    found: dict[str, Record] = {}
    for record in sorted(telegram.records, key=_worth):
        found.setdefault(record.quantity, record)
    shown = [record for record in found.values() if record.quantity not in _MUTE] or list(found.values())
    return ", ".join(f"{record.quantity} {record.error or value_text(record)}" for record in shown[:count])


def _clock(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _fault(telegram: Telegram) -> str:
    """What is wrong: the error, or the flags of the meter's status."""
    if telegram.error is not None:
        return telegram.error.code
    transport = telegram.transport
    flags = status_flags(transport.status) if transport is not None and telegram.uplink and transport.header != "none" else ()
    return ", ".join(flags)


def _level(rssi: float | None) -> str:
    return "" if rssi is None else f"{rssi:.0f} dBm"


def _security(telegram: Telegram) -> str:
    report = telegram.security
    profile = "" if report.profile in (None, "none") else f" {report.profile}"
    return report.state + profile + (f" ({report.proof})" if report.proof else "")


def telegram_line(item: Heard, telegram: Telegram) -> str:
    """One line for one telegram."""
    name = device_address(telegram, item.reception.source) or "no address"
    medium = "" if telegram.address is None else telegram.address.medium
    state = typer.style(_security(telegram), fg=_COLOURS.get(telegram.security.state))
    fault = _fault(telegram)
    parts = [_clock(item.reception.received_at), typer.style(name, bold=True), medium, _level(item.reception.rssi_dbm), state]
    if fault:
        parts.append(typer.style(fault, fg="red"))
    parts.append(values_text(telegram))
    return "  ".join(part for part in parts if part)


class _Talk:
    """Notices and bad lines on the error output."""

    def __init__(self, verbose: bool) -> None:
        self.verbose = verbose

    def notice(self, notice: Notice) -> None:
        """News of a door."""
        if notice.level != "debug" or self.verbose:
            typer.secho(f"{notice.source}: {notice.message}", err=True, fg=_NOTICE_COLOURS.get(notice.level))

    def bad_line(self, line: BadLine) -> None:
        """Input that is no telegram."""
        typer.secho(f"{line.source or 'input'}: {line.error.message} ({line.error.code})", err=True, fg="yellow")

    def open(self) -> None:
        """Nothing to start."""

    def close(self, totals: Totals) -> None:
        """Nothing to stop."""


class TextLines(_Talk):
    """One line of text per telegram."""

    def heard(self, items: Sequence[Heard]) -> None:
        """Telegrams; copies of known ones are not told again."""
        for item in items:
            if item.telegram is not None:
                typer.echo(telegram_line(item, item.telegram))


class JsonLines(_Talk):
    """One JSON object per telegram: reception and answer. A line that is written is a frame that is stored."""

    def heard(self, items: Sequence[Heard]) -> None:
        """Telegrams; copies of known ones are not told again."""
        write_stdout(b"".join(_json_line(item, item.telegram) for item in items if item.telegram is not None))


def _json_line(item: Heard, telegram: Telegram) -> bytes:
    reception = item.reception
    moment = datetime.fromtimestamp(reception.received_at, UTC).isoformat().replace("+00:00", "Z")
    level = "null" if reception.rssi_dbm is None else f"{reception.rssi_dbm:g}"
    source = reception.source.replace("\\", "\\\\").replace('"', '\\"')
    head = f'{{"frame_id":{item.stored.frame_id},"received_at":"{moment}","source":"{source}","rssi_dbm":{level},'
    return head.encode() + answer_json(telegram)[1:] + b"\n"


class _Row:
    __slots__ = ("count", "fault", "heard_at", "level", "medium", "security", "state", "values")

    def __init__(self) -> None:
        self.count = 0
        self.values = self.level = self.medium = self.security = self.state = self.fault = ""
        self.heard_at = 0.0

    def take(self, item: Heard) -> None:
        """One more reception; values of an earlier telegram do not outlive one that cannot be read."""
        telegram, reception = item.telegram, item.reception
        if reception.rssi_dbm is not None:
            self.level = _level(reception.rssi_dbm)
        if telegram is None:
            return
        self.count += 1
        self.heard_at = reception.received_at
        self.medium = "" if telegram.address is None else telegram.address.medium
        self.security, self.state, self.fault = _security(telegram), telegram.security.state, _fault(telegram)
        if telegram.error is not None or telegram.records:
            self.values = values_text(telegram)

    def cells(self, name: str) -> dict[str, Text]:
        """What the table shows, by column."""
        return {
            "meter": Text(name),
            "medium": Text(self.medium),
            "last values": Text(self.values),
            "RSSI": Text(self.level),
            "security": Text(self.security, style=_COLOURS.get(self.state, "")),
            "faults": Text(self.fault, style="red"),
            "telegrams": Text(str(self.count)),
        }


class LiveTable(_Talk):
    """A table of meters that changes in place, with the latest news under it."""

    def __init__(self, title: str, *, console: Console | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(verbose=False)
        self.title = title
        self.console = console or Console()
        self._rows: dict[str, _Row] = {}
        self._frames: dict[int, str] = {}
        self._news: list[Text] = []
        self._receptions = 0
        self._clock = clock
        self._shown = float("-inf")
        self._live = Live(console=self.console, auto_refresh=False, transient=False)

    def open(self) -> None:
        """Start showing."""
        self._live.start()
        self._show()

    def close(self, totals: Totals) -> None:
        """Show the last state and leave it on the terminal."""
        self._show()
        self._live.stop()

    def heard(self, items: Sequence[Heard]) -> None:
        """Receptions that are stored."""
        for item in items:
            self._receptions += 1
            number = item.stored.frame_id
            if item.telegram is not None:
                name = device_address(item.telegram, item.reception.source)
                if name is None:
                    continue
                self._frames[number] = name
            known = self._frames.get(number)
            if known is not None:
                self._rows.setdefault(known, _Row()).take(item)
        if len(self._frames) > 10_000:
            self._frames.clear()
        self._refresh()

    def notice(self, notice: Notice) -> None:
        """News of a door."""
        if notice.level != "debug":
            self._tell(f"{notice.source}: {notice.message}", _NOTICE_COLOURS.get(notice.level, "dim"))

    def bad_line(self, line: BadLine) -> None:
        """Input that is no telegram."""
        self._tell(f"{line.source or 'input'}: {line.error.message} ({line.error.code})", "yellow")

    def _tell(self, text: str, style: str) -> None:
        self._news = [*self._news[1 - _EVENTS :], Text(text, style=style)]
        self._refresh()

    def _refresh(self) -> None:
        now = self._clock()
        if now - self._shown >= _REFRESH:
            self._shown = now
            self._show()

    def _show(self) -> None:
        self._live.update(self.render(), refresh=True)

    def render(self) -> Group:
        """Table and news."""
        room = max(3, self.console.size.height - _EVENTS - 6) if self.console.is_terminal else len(self._rows)
        names = sorted(self._rows)
        if len(names) > room:  # the ones heard last
            names = sorted(sorted(names, key=lambda name: -self._rows[name].heard_at)[:room])
        table = Table(title=self.title, expand=True, box=SIMPLE_HEAD, pad_edge=False, caption=self._caption(len(names)))
        wide = self.console.width >= _WIDE
        columns = {name: broad if wide else small for name, broad, small in _COLUMNS if wide or small != 0}
        for column, width in columns.items():
            side: JustifyMethod = "right" if column in _NUMBERS else "left"
            cut: OverflowMethod = "crop" if column == "security" and not wide else "ellipsis"
            table.add_column(column, justify=side, no_wrap=True, overflow=cut, width=width, ratio=None if width else 1)
        for name in names:
            cells = self._rows[name].cells(name)
            table.add_row(*(cells[column] for column in columns))
        return Group(table, *self._news)

    def _caption(self, shown: int) -> str:
        hidden = len(self._rows) - shown
        more = f", {hidden} more not shown" if hidden else ""
        return f"{len(self._rows)} meters{more}, {self._receptions} receptions stored; Ctrl-C ends"
