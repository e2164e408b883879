"""Lists that come in parts, and the tabs above them: addresses of this part, of the first one and of the next."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlencode

import msgspec

__all__ = ["Part", "chosen", "part"]


class Part(msgspec.Struct, frozen=True):
    """Where a list is: the address of what is shown, of the first part and of the next one (empty where there is none)."""

    self: str
    first: str = ""
    next: str = ""


def chosen(tabs: Mapping[str, object], which: str) -> str:
    """The tab that an address names; the first one where it names none."""
    return which if which in tabs else next(iter(tabs))


def part(
    path: str, query: Mapping[str, str | int | None], place: int | None, onward: int | None, *, name: str = "before"
) -> Part:
    """The addresses of a list filtered by ``query`` and shown from ``place`` on; ``name`` is how addresses call places."""
    kept = {key: value for key, value in query.items() if value}

    def address(at: int | None) -> str:
        wanted = {**kept, name: at} if at else kept
        return f"{path}?{urlencode(wanted)}" if wanted else path

    return Part(address(place), address(None) if place else "", address(onward) if onward is not None else "")
