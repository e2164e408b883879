"""The page of the documentation shows the pictures that the walk takes: all of them, each with words for who cannot see it."""

from __future__ import annotations

import re
from pathlib import Path

from tests.interfaces.web.walks import PICTURES

_DOCS = Path(__file__).parents[3] / "docs"
_TEXT = "".join((_DOCS / "howto" / name).read_text(encoding="utf-8") for name in ("page.md", "billing.md"))
_SHOWN = re.findall(r"!\[([^\]]*)\]\(\.\./_static/page/([a-z-]+)\.webp\)", _TEXT)


def test_every_picture_is_shown_once_and_is_there() -> None:
    names = [name for _, name in _SHOWN]
    assert sorted(names) == sorted(PICTURES.values())
    files = {file.stem: file for file in (_DOCS / "_static/page").iterdir()}
    assert set(files) == set(names)
    assert all(file.read_bytes()[8:12] == b"WEBP" for file in files.values())


def test_every_picture_has_words() -> None:
    words = [text for text, _ in _SHOWN]
    assert all(len(text) > 20 for text in words)
    assert len(set(words)) == len(words)
