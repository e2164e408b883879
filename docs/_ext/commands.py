"""The reference of the command line: the help of every command, as the command itself prints it."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from pages import write

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sphinx.application import Sphinx

WIDTH = 100
_STYLE = re.compile(r"\[/?(?:bold|dim|italic|green|red|yellow|cyan|blue|magenta)(?: [a-z]+)*\]")


def walk(command: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The words that call each command, groups before their members."""
    yield path
    for name, member in getattr(command, "commands", {}).items():
        if not member.hidden:
            yield from walk(member, (*path, name))


def generate(_app: Sphinx, _config: object) -> None:
    os.environ["TYPER_USE_RICH"] = "0"  # plain help, without boxes; read when Typer is imported
    import typer
    from typer.main import get_command
    from typer.testing import CliRunner

    from openmetering.interfaces.cli import main

    program = next(value for value in vars(main).values() if isinstance(value, typer.Typer))
    runner = CliRunner()
    lines: list[str] = []
    for path in walk(get_command(program), ("oms",)):
        answer = runner.invoke(program, [*path[1:], "--help"], prog_name="oms", terminal_width=WIDTH, max_content_width=WIDTH)
        if answer.exit_code:
            raise RuntimeError(f"{' '.join(path)} --help ended with {answer.exit_code}: {answer.output}")
        lines += [f"## {' '.join(path)}", "", "```text", *_STYLE.sub("", answer.output).strip().splitlines(), "```", ""]
    write("_commands.md", lines)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("config-inited", generate)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
