"""Types of what stands in the addresses of pages: numbers of things, where a list goes on, words to search for."""

from __future__ import annotations

from typing import Annotated

from litestar.params import PathParameter, QueryParameter

__all__ = ["After", "Before", "Id", "OptionalId", "Secret", "State", "Text"]

_LARGEST = 2**53 - 1
_LINE = r"^[^\x00-\x1f\x7f]*$"  #: PostgreSQL knows no NUL in a text

Id = Annotated[int, PathParameter(ge=1, le=_LARGEST)]
Secret = Annotated[str, PathParameter(max_length=200)]
OptionalId = Annotated[int | None, QueryParameter(ge=1, le=_LARGEST, required=False)]
Before = OptionalId
After = Annotated[int, QueryParameter(ge=0, le=_LARGEST)]
Text = Annotated[str, QueryParameter(max_length=300, pattern=_LINE)]
State = Annotated[str, QueryParameter(name="state", max_length=40)]
