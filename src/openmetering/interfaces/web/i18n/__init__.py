"""The words of the pages in all languages.

``catalogue.toml`` holds one list per key, with one text per language in the order of ``LOCALES``; ``terms.toml`` the
German of what the tables of the standard call things (media, quantities, units of words). A term without translation
stays as the standard has it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from typing import Final

__all__ = ["DEFAULT_LOCALE", "LOCALES", "LOCALE_NAMES", "Words", "catalogue", "choose_locale", "terms"]

LOCALES: Final = ("en", "de")
LOCALE_NAMES: Final = {"en": "English", "de": "Deutsch"}
DEFAULT_LOCALE: Final = "en"


def _flat(table: Mapping[str, object], prefix: str = "") -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for name, entry in table.items():
        if isinstance(entry, dict):
            found |= _flat(entry, f"{prefix}{name}.")
        elif isinstance(entry, list):
            found[prefix + name] = tuple(str(text) for text in entry)
        else:
            raise TypeError(f"{prefix}{name} is neither a table nor a list of texts")
    return found


@cache
def catalogue() -> dict[str, tuple[str, ...]]:
    """Key -> text per locale."""
    return _flat(tomllib.loads(files(__package__).joinpath("catalogue.toml").read_text(encoding="utf-8")))


@cache
def terms() -> dict[str, str]:
    """English term of the tables -> German."""
    loaded = tomllib.loads(files(__package__).joinpath("terms.toml").read_text(encoding="utf-8"))
    return {term: str(text) for group in loaded.values() for term, text in group.items()}


def choose_locale(accepted: str) -> str:
    """The best of our languages for an ``Accept-Language`` header; the first one named wins.

    Source   RFC 9110, clause 12.5.4 (weights after ``;q=``, 1 if missing)
    """
    ranked: list[tuple[float, int, str]] = []
    for position, entry in enumerate(accepted.split(",")):
        tag, _, weight = entry.strip().partition(";q=")
        try:
            rank = float(weight) if weight else 1.0
        except ValueError:
            continue
        language = tag.split("-")[0].lower()
        if language in LOCALES and rank > 0:
            ranked.append((-rank, position, language))
    return min(ranked)[2] if ranked else DEFAULT_LOCALE


class Words:
    """The words of one language. Raises KeyError for a key that is not in the catalogue."""

    __slots__ = ("_index", "locale")

    def __init__(self, locale: str) -> None:
        self.locale = locale if locale in LOCALES else DEFAULT_LOCALE
        self._index = LOCALES.index(self.locale)

    def __call__(self, key: str, **values: object) -> str:
        """The text of a key with its values filled in."""
        text = catalogue()[key][self._index]
        return text.format(**values) if values else text

    def count(self, key: str, number: int, **values: object) -> str:
        """A text that depends on a number: ``key.one`` or ``key.other``."""
        return self(f"{key}.{'one' if number == 1 else 'other'}", number=number, **values)

    def has(self, key: str) -> bool:
        """True if there is such a key."""
        return key in catalogue()

    def name(self, group: str, value: str) -> str:
        """The word for a value of a closed list (``state.active``); the value itself where the list has grown."""
        key = f"{group}.{value}"
        return self(key) if self.has(key) else value

    def names(self, group: str, values: Iterable[str]) -> list[tuple[str, str]]:
        """Values of a closed list with their words, for a choice."""
        return [(value, self.name(group, value)) for value in values]

    def term(self, text: str) -> str:
        """A term of the tables (medium, quantity) in this language."""
        return terms().get(text, text) if self.locale == "de" else text
