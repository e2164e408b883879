"""The command line ``oms``: one Typer application, a module per command.

Exit codes: 0 all decoded, 1 a door or file failed, 2 usage, 3 some input not decodable,
4 only key or authentication failures, 5 a device refused, 6 no answer or an outcome nobody knows.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from openmetering import __version__
from openmetering.errors import InputError, OmsError, TransportError

__all__ = ["app", "main"]

COMMANDS = (
    "decode",
    "explain",
    "encode",
    "keys",
    "listen",
    "doctor",
    "readings",
    "formats",
    "demo",
    "bus",
    "device",
    "simulate",
    "gateway",
    "headend",
    "up",
    "backup",
)

app = typer.Typer(
    name="oms",
    help="Read, write and collect telegrams of the Open Metering System (OMS) and M-Bus, wired and wireless.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"oms {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    """Read, write and collect telegrams of the Open Metering System (OMS) and M-Bus, wired and wireless."""


def _needed(arguments: Sequence[str]) -> Sequence[str]:
    """The modules to load: the one whose command is called, or all of them (for help and completion)."""
    return arguments[:1] if arguments and arguments[0] in COMMANDS else COMMANDS


for _name in _needed(["backup"] if sys.argv[1:2] == ["restore"] else sys.argv[1:]):
    importlib.import_module(f"openmetering.interfaces.cli.{_name}").register(app)


def main() -> None:
    """Run the command line; our errors become one line on stderr and an exit code."""
    try:
        app()
    except (InputError, TransportError) as error:
        typer.secho(f"oms: {error.message}", err=True, fg="red")
        sys.exit(2 if isinstance(error, InputError) else 1)
    except OmsError as error:
        typer.secho(f"oms: {error.message} ({error.code})", err=True, fg="red")
        sys.exit(3)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
