"""The scripts and the metadata describe the same tables, in both databases."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import inspect
from sqlalchemy.sql.schema import Column, Table, UniqueConstraint
from sqlalchemy.types import Boolean, Double, Integer, LargeBinary, Text, TypeDecorator, TypeEngine

from openmetering.storage import tables
from openmetering.storage.database import Database

#: filled by COPY: no references there (see the head of the script)
BULK = frozenset(("frames", "receptions", "pending", "telegrams", "readings"))


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    with Database.open(url) as opened:
        yield opened


def family(kind: TypeEngine[object]) -> str:
    """What counts of a type: integer, real, text, octets, truth."""
    plain = kind.impl_instance if isinstance(kind, TypeDecorator) else kind
    for name, base in (("truth", Boolean), ("integer", Integer), ("real", Double), ("text", Text), ("octets", LargeBinary)):
        if isinstance(plain, base):
            return name
    return {"REAL": "real", "FLOAT": "real", "DOUBLE_PRECISION": "real", "BYTEA": "octets"}.get(type(plain).__name__, repr(plain))


def expected(column: Column[object], dialect: str) -> str:
    found = family(column.type)
    return "integer" if found == "truth" and dialect == "sqlite" else found


def test_every_table_is_there_and_no_other(database: Database) -> None:
    names = set(inspect(database.engine).get_table_names()) - {"sqlite_sequence"}
    assert names == set(tables.metadata.tables)
    assert set(inspect(database.engine).get_view_names()) == {"devices", "meter_readings"}


@pytest.mark.parametrize("name", sorted(tables.metadata.tables))
def test_a_table_is_the_one_of_the_metadata(database: Database, name: str) -> None:
    table, found = tables.metadata.tables[name], inspect(database.engine)
    columns = {column["name"]: column for column in found.get_columns(name)}
    assert list(columns) == [column.name for column in table.columns]
    for column in table.columns:
        known = columns[column.name]
        assert family(known["type"]) == expected(column, database.dialect), column
        if not column.primary_key:
            assert known["nullable"] is column.nullable, column
            has_default = known["default"] is not None
            assert has_default is (column.server_default is not None), column
    assert found.get_pk_constraint(name)["constrained_columns"] == [column.name for column in table.primary_key.columns]
    assert references(database, name) == (
        set() if database.dialect == "postgresql" and name in BULK else wanted_references(table)
    )
    uniques = {tuple(item["column_names"]) for item in found.get_unique_constraints(name)}
    assert uniques == {
        tuple(column.name for column in item.columns) for item in table.constraints if isinstance(item, UniqueConstraint)
    }
    indexes = {
        (item["name"], tuple(item["column_names"]), bool(item["unique"]))
        for item in found.get_indexes(name)
        if not item.get("duplicates_constraint")
    }
    assert indexes == {(item.name, tuple(item.columns.keys()), bool(item.unique)) for item in table.indexes}


def references(database: Database, name: str) -> set[tuple[str, str, str]]:
    """Column, table and what happens when the row there is deleted."""
    if database.dialect == "postgresql":
        keys = inspect(database.engine).get_foreign_keys(name)
        return {(key["constrained_columns"][0], key["referred_table"], str(key["options"].get("ondelete", ""))) for key in keys}
    with database.reading() as connection:  # the inspector sees no CASCADE behind a column
        rows = connection.exec_driver_sql(f"PRAGMA foreign_key_list({name})").mappings().all()
    return {(row["from"], row["table"], row["on_delete"].replace("NO ACTION", "")) for row in rows}


def wanted_references(table: Table) -> set[tuple[str, str, str]]:
    return {(key.parent.name, key.column.table.name, key.ondelete or "") for key in table.foreign_keys}


def test_partial_indexes_have_the_same_condition(database: Database) -> None:
    statement = (
        "SELECT name, sql FROM sqlite_master WHERE type = 'index'"
        if database.dialect == "sqlite"
        else "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'"
    )
    with database.reading() as connection:
        scripts = {str(name): str(text or "") for name, text in connection.exec_driver_sql(statement)}
    partial = {name for name, text in scripts.items() if " WHERE " in text}
    wanted = {
        str(index.name)
        for table in tables.metadata.tables.values()
        for index in table.indexes
        if index.dialect_options[database.dialect]["where"] is not None
    }
    assert partial == wanted == {"alarms_open", "telegrams_fragments", "telegrams_open", "webhook_deliveries_due"}


def test_metadata_alone_makes_tables_too() -> None:
    from sqlalchemy import create_engine

    engine = create_engine("sqlite://")
    tables.metadata.create_all(engine)
    assert set(inspect(engine).get_table_names()) >= set(tables.metadata.tables)
