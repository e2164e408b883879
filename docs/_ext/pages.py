"""What the generators of reference pages share: escaping, MyST tables, writing without needless change."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

DOCS = Path(__file__).resolve().parent.parent
SOURCE = DOCS.parent / "src" / "openmetering"
GENERATED = DOCS / "reference" / "generated"

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|$~^])")


def escape(text: str) -> str:
    """Plain text as MyST: nothing in it is read as markup, and it stays on one line."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def literal(text: str) -> str:
    """Code inside a table cell: backquotes and bars made harmless."""
    return f"`{text.replace('`', chr(0x27)).replace('|', chr(0x5C) + '|')}`" if text else ""


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a MyST table; the cells are markup already."""
    lines = [f"| {' | '.join(header)} |", f"|{'|'.join(' --- ' for _ in header)}|"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return [*lines, ""]


def write(name: str, lines: Iterable[str]) -> None:
    """Write one generated page, and leave the file alone if nothing changed (Sphinx then keeps its own result)."""
    GENERATED.mkdir(parents=True, exist_ok=True)
    page = GENERATED / name
    text = "\n".join(lines).rstrip() + "\n"
    if not page.is_file() or page.read_text(encoding="utf-8") != text:
        page.write_text(text, encoding="utf-8")


def forget(pattern: str, keep: set[str]) -> None:
    """Remove generated pages whose origin is gone."""
    for page in GENERATED.glob(pattern):
        if page.name not in keep:
            page.unlink()
