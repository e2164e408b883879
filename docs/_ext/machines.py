"""The page of the protocol machines: for each table of transitions its drawing and its rows, read from the package."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from typing import TYPE_CHECKING, Any, NamedTuple

from drawing import Arrow, transitions
from pages import escape, literal, table, write

import openmetering.protocol

if TYPE_CHECKING:
    from collections.abc import Iterator
    from enum import Enum

    from sphinx.application import Sphinx


class Found(NamedTuple):
    """A table of transitions and where it stands."""

    module: str
    name: str
    about: str
    rows: list[tuple[Enum, type, object, Enum]]


def tables() -> Iterator[Found]:
    """All tables of the package: ``TRANSITIONS`` of a class or of a module."""
    for info in sorted(pkgutil.walk_packages(openmetering.protocol.__path__, "openmetering.protocol."), key=lambda one: one.name):
        module = importlib.import_module(info.name)
        about = (inspect.getdoc(module) or "").split("\n")[0]
        owners = [item for item in vars(module).values() if inspect.isclass(item) and item.__module__ == info.name]
        found = [(owner.__name__, vars(owner)["TRANSITIONS"]) for owner in owners if vars(owner).get("TRANSITIONS")]
        if not found and getattr(module, "TRANSITIONS", None):
            found = [(info.name.rpartition(".")[2].replace("_", " ").capitalize(), module.TRANSITIONS)]
        for name, rows in found:
            for variant, table_of in _variants(rows):
                yield Found(info.name.removeprefix("openmetering."), f"{name}{variant}", about, table_of)


def _variants(rows: dict[Any, Any]) -> Iterator[tuple[str, list[tuple[Enum, type, object, Enum]]]]:
    """The rows of a table; of one that is two tables, for a direct and a manual disconnector, each with its name."""
    if isinstance(next(iter(rows)), bool):
        for manual, inner in rows.items():
            yield f", {'manual' if manual else 'direct'} type", [(state, event, "", end) for (state, event), end in inner.items()]
        return
    yield "", [(state, event, *row) for (state, event), row in rows.items()]


def _name(item: object) -> str:
    return str(getattr(item, "name", None) or getattr(item, "__name__", item)).replace("_", " ").strip()


def section(found: Found) -> list[str]:
    """One machine: heading, drawing, rows."""
    states = list(dict.fromkeys(_name(state) for row in found.rows for state in (row[0], row[3])))
    arrows = [Arrow(_name(state), _name(end), _name(event)) for state, event, _, end in found.rows]
    cells = [
        [escape(_name(state)), literal(_name(event)), escape(_name(action)), escape(_name(end))]
        for state, event, action, end in found.rows
    ]
    return [
        f"## {escape(found.name)}",
        "",
        f"{escape(found.about)} Module `{found.module}`.",
        "",
        "```{raw} html",
        transitions(states, arrows, f"Transitions of {found.name}"),
        "```",
        "",
        *table(["state", "event", "action", "next state"], cells),
    ]


def generate(_app: Sphinx, _config: object) -> None:
    lines: list[str] = []
    for found in tables():
        lines += section(found)
    write("_machines.md", lines)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("config-inited", generate)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
