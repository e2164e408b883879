"""One table and the struct of its rows: the fields of the struct are columns of the same name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Generic, TypeVar

import msgspec
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    RowMapping,
    Table,
    bindparam,
    cast,
    column,
    delete,
    func,
    insert,
    select,
    update,
    values,
)
from sqlalchemy.types import TypeEngine

from openmetering.storage.model import Page
from openmetering.storage.parts import parts

__all__ = ["LARGEST_PAGE", "TOGETHER", "Rows", "change_many"]

LARGEST_PAGE = 1000  #: rows of one page, whatever is asked for

TOGETHER = 1000  #: rows in one statement

T = TypeVar("T", bound=msgspec.Struct)
Where = ColumnElement[bool]


class Rows(Generic[T]):
    """The rows of a table with ``id`` and ``created_at``."""

    __slots__ = ("_columns", "kind", "table")

    def __init__(self, table: Table, kind: type[T]) -> None:
        self.table = table
        self.kind = kind
        self._columns = [table.c[name] for name in kind.__struct_fields__]

    def of(self, row: RowMapping) -> T:
        """The value of a row."""
        return self.kind(*(row[column] for column in self._columns))

    def add(self, connection: Connection, item: T, now: datetime) -> T:
        """A new row; the number of ``item`` does not matter, the value that is returned has the new one.

        Raises sqlalchemy.exc.DBAPIError, which ``Database.transaction`` turns into InputError (``storage.conflict``)
        """
        values = {name: getattr(item, name) for name in self.kind.__struct_fields__ if name != "id"}
        if values.get("created_at") is None:
            values["created_at"] = now
        return self.of(connection.execute(insert(self.table).values(values).returning(*self._columns)).mappings().one())

    def get(self, connection: Connection, number: int) -> T | None:
        """The row with this number."""
        return self.find(connection, self.table.c.id == number)

    def find(self, connection: Connection, *where: Where) -> T | None:
        """The first row that fits."""
        row = connection.execute(select(*self._columns).where(*where).order_by(self.table.c.id).limit(1)).mappings().first()
        return None if row is None else self.of(row)

    def all(self, connection: Connection, *where: Where) -> list[T]:
        """Every row that fits, by number."""
        rows = connection.execute(select(*self._columns).where(*where).order_by(self.table.c.id)).mappings()
        return [self.of(row) for row in rows]

    def page(
        self, connection: Connection, *where: Where, after: int | None = None, limit: int = 100, newest: bool = False
    ) -> Page[T]:
        """``limit`` rows behind number ``after``; ``newest`` counts backwards. ``Page.after`` leads to the next page."""
        number = self.table.c.id
        limit = max(1, min(limit, LARGEST_PAGE))
        query = select(*self._columns).where(*where).order_by(number.desc() if newest else number).limit(limit + 1)
        if after is not None:
            query = query.where(number < after if newest else number > after)
        rows = connection.execute(query).mappings().all()
        items = tuple(self.of(row) for row in rows[:limit])
        return Page(items, int(rows[limit - 1]["id"]) if len(rows) > limit else None)

    def change(self, connection: Connection, number: int, *where: Where, **values: object) -> T | None:
        """Change columns of a row, if it (still) fits ``where``; None if there is no such row."""
        table = self.table
        changed = connection.execute(update(table).where(table.c.id == number, *where).values(values).returning(*self._columns))
        row = changed.mappings().first()
        return None if row is None else self.of(row)

    def remove(self, connection: Connection, number: int) -> bool:
        """Take a row away; False if it was not there. A row that others refer to is a conflict."""
        return connection.execute(delete(self.table).where(self.table.c.id == number)).rowcount > 0

    def count(self, connection: Connection, *where: Where) -> int:
        """How many rows fit."""
        return int(connection.execute(select(func.count()).select_from(self.table).where(*where)).scalar_one())

    def by_numbers(self, connection: Connection, numbers: Iterable[int]) -> dict[int, T]:
        """Rows by number."""
        wanted = sorted(set(numbers))
        found: dict[int, T] = {}
        for part in parts(wanted, LARGEST_PAGE):
            where = self.table.c.id.in_(part)
            for row in connection.execute(select(*self._columns).where(where)).mappings():
                found[int(row["id"])] = self.of(row)
        return found


def change_many(
    connection: Connection,
    table: Table,
    kinds: Mapping[str, TypeEngine[Any]],
    rows: Sequence[tuple[Any, ...]],
    changes: Callable[[Mapping[str, ColumnElement[Any]]], dict[str, ColumnElement[Any]]],
) -> None:
    """Change many rows, each by its own values: (number of the row, then a value for each of ``kinds``).

    ``changes`` makes columns of the values. With PostgreSQL a thousand rows are one statement: one message each costs as much as
    the work itself.
    """
    if connection.dialect.name != "postgresql":
        bound = {name: bindparam(f"new_{name}", type_=kind) for name, kind in kinds.items()}
        change = update(table).where(table.c.id == bindparam("number")).values(changes(bound))
        names = ["number", *(f"new_{name}" for name in kinds)]
        connection.execute(change, [dict(zip(names, row, strict=True)) for row in rows])
        return
    for part in parts(rows, TOGETHER):
        columns = [column("number", BigInteger), *(column(name, kind) for name, kind in kinds.items())]
        new = values(*columns, name="new").data(list(part))
        typed = {name: cast(new.c[name], kind) for name, kind in kinds.items()}
        connection.execute(update(table).where(table.c.id == cast(new.c.number, BigInteger)).values(changes(typed)))
