"""What all commands of ``oms device`` share: address, link, keys, state, dry run, errors in words and exit codes."""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import Awaitable, Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Concatenate, Final, ParamSpec, TypeVar, cast, get_type_hints

import msgspec
import typer

from openmetering.codec.address import Address
from openmetering.errors import (
    DecodeError,
    EncodeError,
    ExchangeFailed,
    InputError,
    OmsError,
    Refused,
    SecurityError,
    TransportError,
)
from openmetering.interfaces.cli.decode import ring_of
from openmetering.interfaces.cli.device_link import open_performer, rehearsal
from openmetering.interfaces.cli.device_progress import Talk
from openmetering.interfaces.cli.octets import write_stdout
from openmetering.protocol.operator.head_end import HeadEnd
from openmetering.protocol.operator.steps import Procedure
from openmetering.security import KeyRing
from openmetering.services.operation import Performer, Setup
from openmetering.services.operator_state import DEFAULT_STATE, OperatorState
from openmetering.transport.source_address import duration

__all__ = ["Call", "Report", "Shown", "command_of", "read_address"]

P = ParamSpec("P")
R = TypeVar("R")
_REFUSED, _UNKNOWN = 5, 6


class Issue(StrEnum):
    """Issues of OMS Volume 2."""

    v4 = "4.3.3"
    v5 = "5.0.1"


class ProfileName(StrEnum):
    """Security profiles."""

    none = "none"
    A = "A"
    B = "B"
    D = "D"


class RowFormat(StrEnum):
    """What is written."""

    text = "text"
    jsonl = "jsonl"


#: what is written as JSON
Shown = dict[str, "str | int | bool | list[str] | list[dict[str, str | int | None]] | None"]


class Report(msgspec.Struct, frozen=True):
    """The result of a command: lines for people, values for programs. ``passed`` False: the device is not as it should be."""

    lines: tuple[str, ...]
    values: Shown
    passed: bool = True


class Call:
    """One call of a command for one device."""

    def __init__(
        self,
        name: str,
        address: str,
        via: str,
        keys: Path | None,
        key: str | None,
        profile: ProfileName | None,
        adapter: str | None,
        enhanced: str | None,
        oms_issue: Issue,
        state: Path | None,
        patience: str,
        idis: bool,
        dry_run: bool,
        yes: bool,
        format: RowFormat,
    ) -> None:
        self.name = name
        self.via = via
        self.issue: str = oms_issue.value
        self.dry_run = dry_run
        self.ring: KeyRing = ring_of(key, keys)
        self._address = address
        self._profile = "" if profile is None else profile.value
        self._adapter = None if adapter is None else read_address(adapter)
        self._enhanced = enhanced
        self._state = state or (None if via.startswith("world:") else Path(DEFAULT_STATE))
        self._patience = duration(patience)
        self.idis = idis
        self._yes = yes
        self._jsonl = format is RowFormat.jsonl
        self.device = read_address(address)
        self.largest = 155  #: L field that the device can receive

    @property
    def setup(self) -> Setup:
        """The device and how it is reached."""
        return Setup(
            self.device,
            self.ring,
            self._profile,
            self._adapter,
            self._enhanced,
            self._patience,
            idis=self.idis,
            largest=self.largest,
        )

    def run(
        self,
        make: Callable[[HeadEnd], Procedure[R]],
        show: Callable[[R], Report],
        *,
        meaning: str,
        danger: str = "",
    ) -> None:
        """Carry out a use case and print what came of it; with --dry-run print what would be sent.

        ``make`` makes the procedure, ``show`` turns its result into words; ``danger`` is asked about on a terminal.
        """

        async def work(performer: Performer, tell: Callable[[object], None]) -> Report:
            return show(await performer.perform(self.device, make(performer.head_end), tell))

        with self.errors(meaning):
            if self.dry_run:
                self._rehearse(make, meaning)
                return
            self.ask(danger)
            self.finish(self.perform(work), meaning)

    def do(self, work: Callable[[Performer, Callable[[object], None]], Awaitable[Report]], *, meaning: str) -> None:
        """Something that is no procedure: do it and print what came of it. Raises InputError for a dry run."""
        with self.errors(meaning):
            if self.dry_run:
                raise InputError("nothing would be sent before the device is heard")
            self.finish(self.perform(work), meaning)

    def perform(self, work: Callable[[Performer, Callable[[object], None]], Awaitable[R]]) -> R:
        """Open the link, do the work, close it."""

        async def run() -> R:
            with OperatorState.open(self._state) as state, Talk(quiet=self._jsonl) as talk:
                async with open_performer(self.via, self.setup, state, talk.notice) as performer:
                    return await work(performer, talk.tell)

        return asyncio.run(run())

    def ask(self, danger: str) -> None:
        """Ask before something that cannot be taken back, if somebody is there to answer."""
        if danger and not self._yes and _somebody():
            typer.confirm(f"{danger} Go on?", abort=True, err=True)

    def finish(self, report: Report, meaning: str) -> None:
        """Print a result. Raises typer.Exit where the device is not as it should be."""
        if self._jsonl:
            self._write({"device": str(self.device), "command": meaning, "ok": report.passed, "result": report.values})
        else:
            for line in report.lines:
                typer.echo(line)
        if not report.passed:
            raise typer.Exit(_REFUSED)

    def _rehearse(self, make: Callable[[HeadEnd], Procedure[R]], meaning: str) -> None:
        with OperatorState.open(self._state) as state:
            planned = rehearsal(self.via, self.setup, state, make)
        for number, row in enumerate(planned.rows, 1):
            if self._jsonl:
                told = {"meaning": row.meaning, "ci": row.ci, "octets": row.octets, "frames": row.frames}
                self._write({"device": str(self.device), "command": meaning, "number": number, **told})
                continue
            typer.echo(f"{number:3}  {row.meaning}")
            typer.echo(f"     CI {row.ci or '-'}  application octets {row.octets or '-'}")
            for frame in row.frames:
                typer.echo(f"     frame {frame}")
        if not self._jsonl:
            sent = "1 command, nothing was sent" if len(planned.rows) == 1 else f"{len(planned.rows)} commands, nothing was sent"
            typer.echo(sent)
            if not planned.complete:
                typer.echo(planned.stopped)

    def _write(self, row: object) -> None:
        write_stdout(msgspec.json.encode(row) + b"\n")

    def errors(self, meaning: str) -> _Errors:
        """Errors in the block become a line and an exit code."""
        return _Errors(self, meaning)

    def fail(self, error: OmsError, meaning: str) -> typer.Exit:
        """Tell an error; returns the exit."""
        if self._jsonl:
            told = {"code": error.code, "message": error.message}
            for name in ("error", "status", "delivered"):
                value = getattr(error, name, None)
                if value is not None:
                    told[name] = value
            self._write({"device": str(self.device), "command": meaning, "ok": False, "error": told})
        else:
            words = error.message.removeprefix(f"{self.device}: ")
            typer.secho(f"{self.device}: {words}{_hint(error)}", err=True, fg="red")
        return typer.Exit(next(code for kind, code in _EXIT_CODES if isinstance(error, kind)))


class _Errors:
    """Turns our errors into a line and an exit code."""

    def __init__(self, call: Call, meaning: str) -> None:
        self._call, self._meaning = call, meaning

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OmsError):
            raise self._call.fail(error, self._meaning) from None
        if isinstance(error, KeyboardInterrupt):
            stopped = ExchangeFailed("stopped; what was sent may have been executed", reason="withdrawn", delivered=None)
            raise self._call.fail(stopped, self._meaning) from None


#: first class that fits -> exit code (docs/reference/exit-codes.md)
_EXIT_CODES: Final[tuple[tuple[type[OmsError], int], ...]] = (
    (Refused, _REFUSED),
    (ExchangeFailed, _UNKNOWN),
    (TransportError, 1),
    (InputError, 2),
    (EncodeError, 2),
    (SecurityError, 4),
    (DecodeError, 3),
    (OmsError, 3),
)


def _hint(error: OmsError) -> str:
    """What to do about an outcome that is not known."""
    if isinstance(error, ExchangeFailed) and error.delivered is None:
        return "; call the same command again: it finds out, and nothing is executed twice"
    return ""


def _somebody() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


def read_address(text: str) -> Address:
    """An address as ELS-12345678-33-03 or in the form of DIN 43863-5. Raises InputError."""
    for read in (Address.parse, Address.from_din):
        try:
            return read(text)
        except EncodeError:
            continue
    raise InputError(f"{text!r} is no address; write it as ELS-12345678-33-03 or 1ELS3312345678", code="address.invalid")


# -- the options of all commands ---------------------------------------------------------------------


def _options(
    address: Annotated[str, typer.Argument(help="The device: ELS-12345678-33-03 or 7ELS3312345678.", metavar="ADDRESS")],
    via: Annotated[
        str,
        typer.Option(
            "--via",
            "-V",
            help="The link: mbus:DEVICE, mbus+tcp://HOST:PORT, serial:DEVICE?stick=im871a, tcp://HOST:PORT?stick=im871a, "
            "world:FILE.toml.",
            metavar="LINK",
        ),
    ],
    keys: Annotated[
        Path | None, typer.Option("--keys", "-K", help="Key file with KeyIDs (see oms keys).", exists=True, dir_okay=False)
    ] = None,
    key: Annotated[str | None, typer.Option("--key", "-k", help="One key for everything, 32 hexadecimal digits.")] = None,
    profile: Annotated[
        ProfileName | None, typer.Option("--profile", help="Security profile (default: B with a key, else none).")
    ] = None,
    adapter: Annotated[str | None, typer.Option("--adapter", help="Address of the radio adapter in front of it.")] = None,
    enhanced: Annotated[
        str | None, typer.Option("--enhanced", help="Wired: fabrication number for the enhanced selection.", metavar="NUMBER")
    ] = None,
    oms_issue: Annotated[Issue, typer.Option("--oms-issue", help="Issue of OMS Volume 2 that the device follows.")] = Issue.v5,
    state: Annotated[
        Path | None,
        typer.Option("--state", help=f"File of counters (default: {DEFAULT_STATE}, for a world none).", dir_okay=False),
    ] = None,
    patience: Annotated[
        str, typer.Option("--patience", help="Radio: wait so long for a window of the device.", metavar="TIME")
    ] = "4h",
    idis: Annotated[bool, typer.Option("--idis", help="Follow the rules of IDIS (OMS Volume 2 Annex E).")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Print the frames, send nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before something that cannot be taken back.")] = False,
    format: Annotated[RowFormat, typer.Option("--format", "-f", help="What is written.")] = RowFormat.text,
) -> None:
    """The options that every command has; only its signature counts."""


def command_of(name: str, function: Callable[Concatenate[Call, P], None]) -> Callable[..., None]:
    """A function for Typer: the address, then the arguments of ``function``, then the options of all commands."""
    hints = get_type_hints(function, include_extras=True)
    shared_hints = get_type_hints(_options, include_extras=True)
    shared = [_resolved(one, shared_hints) for one in inspect.signature(_options).parameters.values()]
    own = [_resolved(one, hints) for one in list(inspect.signature(function).parameters.values())[1:]]
    parameters = [shared[0], *own, *shared[1:]]
    names = {parameter.name for parameter in shared}

    def run(**arguments: object) -> None:
        call = Call(name, **{key: arguments.pop(key) for key in names})  # type: ignore[arg-type]
        cast("Callable[..., None]", function)(call, **arguments)

    run.__name__, run.__doc__ = function.__name__, function.__doc__
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _resolved(parameter: inspect.Parameter, hints: dict[str, object]) -> inspect.Parameter:
    return parameter.replace(annotation=hints[parameter.name], kind=inspect.Parameter.KEYWORD_ONLY)
