"""Reference pages from the tables of the package: one page per CSV file, an index, and the error codes by exception."""

from __future__ import annotations

import csv
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from pages import SOURCE, escape, forget, literal, table, write

if TYPE_CHECKING:
    from pathlib import Path

    from sphinx.application import Sphinx

TITLES = {
    "ci": "Control information (CI)",
    "device_types": "Device types",
    "faults": "Fault codes",
    "manufacturers": "Manufacturers",
    "obis": "OBIS codes",
    "radio_modes": "Radio modes",
    "security_modes": "Security modes",
    "status": "Status",
    "units": "Units",
    "vif_main": "Value information (VIF), main table",
    "vif_fb": "Value information (VIF), extension FB",
    "vif_fd": "Value information (VIF), extension FD",
    "vife": "Value information, combinable extensions (VIFE)",
}


class Source(NamedTuple):
    """One CSV file: the remarks at its head (lines starting with ``#``), its header and its rows."""

    name: str
    remarks: list[str]
    header: list[str]
    rows: list[list[str]]

    @property
    def title(self) -> str:
        return TITLES.get(self.name, self.name.replace("_", " ").capitalize())


def read(path: Path) -> Source:
    lines = path.read_text(encoding="utf-8").splitlines()
    remarks = [line.lstrip("# ").strip() for line in lines if line.startswith("#")]
    header, *rows = csv.reader(line for line in lines if line.strip() and not line.startswith("#"))
    width = len(header)
    return Source(path.stem, remarks, header, [(row + [""] * width)[:width] for row in rows])


def table_page(source: Source) -> list[str]:
    """A page of its own for one table of the package."""
    count = f"{len(source.rows)} rows" if len(source.rows) != 1 else "1 row"
    header = [escape(name.replace("_", " ")) for name in source.header]
    return [
        f"# {escape(source.title)}",
        "",
        *([escape(" ".join(source.remarks)), ""] if source.remarks else []),
        f"Made from `openmetering/tables/{source.name}.csv`, {count}.",
        "",
        *table(header, ([escape(cell) for cell in row] for row in source.rows)),
    ]


def index_page(sources: list[Source]) -> list[str]:
    """The list of all tables."""
    return [
        "# Tables",
        "",
        "The codes this package knows, as they stand in its data files. The decoder reads the same files.",
        "",
        *(["```{toctree}", ":maxdepth: 1", "", *(f"table-{source.name}" for source in sources), "```"] if sources else []),
    ]


def faults_part(faults: Source) -> list[str]:
    """The fault codes, grouped by the exception that carries them; included by ``reference/errors.md``."""
    columns = [faults.header.index(name) for name in ("error", "code", "layer", "meaning", "remedy")]
    rows = sorted([row[place] for place in columns] for row in faults.rows)
    lines: list[str] = []
    for error, group in groupby(rows, lambda row: row[0]):
        cells = [[literal(code), *map(escape, rest)] for _, code, *rest in group]
        lines += [f"### {escape(error)}", "", *table(["code", "layer", "meaning", "what to do"], cells)]
    return lines


def generate(_app: Sphinx, _config: object) -> None:
    sources = [read(path) for path in sorted((SOURCE / "tables").glob("*.csv"))]
    for source in sources:
        write(f"table-{source.name}.md", table_page(source))
        if source.name == "faults":
            write("_faults.md", faults_part(source))
    write("tables.md", index_page(sources))
    forget("table-*.md", {f"table-{source.name}.md" for source in sources})


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("config-inited", generate)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
