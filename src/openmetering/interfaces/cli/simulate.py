"""``oms simulate``: a world of meters in virtual time, with doors for programs that are not ours."""

from __future__ import annotations

from enum import StrEnum
from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from openmetering.errors import InputError

__all__ = ["StickKind", "Written", "needs_numpy", "register"]

EPILOG = """\b
Examples
  oms simulate --example > house.toml                     a small world to begin with
  oms simulate house.toml --days 7                        a week, as fast as it goes
  oms simulate house.toml --days 1 --record day.log --keys-out keys.csv
  oms decode day.log --keys keys.csv                      what was heard in it
  oms simulate house.toml --wired pty                     a bus behind a pseudo-terminal, in real time
  oms simulate house.toml --wired tcp:4001 --speed max    answers come at once
  oms simulate house.toml --stick tcp:4002 --speed 60     an iM871A that hears an hour in a minute
  oms simulate house.toml --stick pty:/tmp/stick --stick-kind rtl_wmbus

\b
Outlets
  pty  pty:PATH (a symbolic link to it)  tcp:PORT (this machine only)  tcp:HOST:PORT; tcp:0 takes a free port
  with several segments or gateways: NAME=pty
"""

_EXAMPLE = ("openmetering.simulation", "worlds/example.toml")


class Written(StrEnum):
    """What is written at the end."""

    text = "text"
    jsonl = "jsonl"


class StickKind(StrEnum):
    """Host interfaces of simulated receivers."""

    im871a = "im871a"
    rtl_wmbus = "rtl_wmbus"


def needs_numpy(error: ImportError) -> InputError:
    """The error of a world that cannot be loaded because a package is missing. Raises other import errors again."""
    if error.name is None or error.name.partition(".")[0] != "numpy":
        raise error
    return InputError("simulated worlds need the package numpy: pip install numpy", code="input.extra")


def _example() -> None:
    package, path = _EXAMPLE
    typer.echo(resources.files(package).joinpath(path).read_text(encoding="utf-8"), nl=False)


def register(app: typer.Typer) -> None:
    """Add the command to the application."""

    @app.command(epilog=EPILOG, no_args_is_help=True)
    def simulate(
        world: Annotated[Path | None, typer.Argument(help="Description of the world, TOML.", metavar="WORLD.toml")] = None,
        days: Annotated[
            float | None, typer.Option("--days", "-d", min=0, help="Virtual days (default: 1; with doors: no end).")
        ] = None,
        speed: Annotated[
            str | None, typer.Option("--speed", help="Virtual seconds in a second, or max (default: max; with doors: 1).")
        ] = None,
        wired: Annotated[
            list[str] | None, typer.Option("--wired", help="Open a segment for a foreign master.", metavar="OUTLET")
        ] = None,
        stick: Annotated[
            list[str] | None, typer.Option("--stick", help="Open a receiver beside a gateway.", metavar="OUTLET")
        ] = None,
        stick_kind: Annotated[StickKind, typer.Option("--stick-kind", help="What the receiver is.")] = StickKind.im871a,
        record: Annotated[
            Path | None, typer.Option("--record", help="Write what gateways hear: rtl_wmbus lines, or JSON lines (.jsonl).")
        ] = None,
        keys_out: Annotated[
            Path | None, typer.Option("--keys-out", help="Write the keys of all devices, for oms listen, decode and device.")
        ] = None,
        format: Annotated[Written, typer.Option("--format", "-f", help="What is written at the end.")] = Written.text,
        example: Annotated[bool, typer.Option("--example", help="Print a world to begin with.")] = False,
    ) -> None:
        """Run a world of meters, gateways and repeaters that does not exist.

        Without doors time passes as fast as the machine can. With --wired or --stick a program of anybody plugs in: then
        it passes in real time, or --speed times faster; with --speed max it waits for the program. Ctrl-C and SIGTERM end it
        in order, with the summary; exit code 0 then, 1 if a door cannot be opened, 2 for a world that cannot be read.
        """
        if example:
            _example()
            return
        if world is None:
            raise InputError("which world? oms simulate --example prints one to begin with")
        try:
            from openmetering.interfaces.cli.simulate_run import run_world
        except ImportError as error:
            raise needs_numpy(error) from None
        run_world(
            world,
            days=days,
            speed=speed,
            wired=wired or (),
            sticks=stick or (),
            kind=stick_kind,
            record=record,
            keys_out=keys_out,
            written=format,
        )
