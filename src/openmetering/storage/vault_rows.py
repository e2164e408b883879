"""Rows of the key vault: keys wrapped under a master key. Nothing here can open them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from sqlalchemy import BigInteger, Connection, bindparam, case, insert, literal, or_, select, update

from openmetering.storage import tables
from openmetering.storage.model import KeyInfo
from openmetering.storage.rows import Rows, change_many

__all__ = ["add_key", "add_master", "count_uses", "keys", "master_of", "masters", "rewrap", "wrapped", "wrapped_under"]

keys = Rows(tables.vault_keys, KeyInfo)  #: what may be seen: the wrapped octets are not among it


def add_master(connection: Connection, fingerprint: str, now: datetime, check_value: bytes | None = None) -> int:
    """The number of a master key by its fingerprint; added where it is new."""
    known = master_of(connection, fingerprint)
    if known is not None:
        return known
    table = tables.vault_masters
    new = insert(table).values(fingerprint=fingerprint, check_value=check_value, created_at=now)
    return int(connection.execute(new.returning(table.c.id)).scalar_one())


def master_of(connection: Connection, fingerprint: str) -> int | None:
    """The number of a master key, None if it never wrapped anything here."""
    table = tables.vault_masters
    return connection.execute(select(table.c.id).where(table.c.fingerprint == fingerprint)).scalar_one_or_none()


def masters(connection: Connection) -> dict[int, str]:
    """Numbers and fingerprints of the master keys that keys are wrapped under."""
    table = tables.vault_masters
    used = select(tables.vault_keys.c.master_id)
    rows = connection.execute(select(table.c.id, table.c.fingerprint).where(table.c.id.in_(used)).order_by(table.c.id))
    return {int(number): str(fingerprint) for number, fingerprint in rows}


def add_key(connection: Connection, info: KeyInfo, octets: bytes, master_id: int | None, now: datetime) -> KeyInfo:
    """A new key; ``octets`` as wrapped under the master key."""
    table = tables.vault_keys
    values: dict[str, object] = {name: getattr(info, name) for name in KeyInfo.__struct_fields__ if name != "id"}
    values |= {"wrapped": octets, "master_id": master_id, "created_at": info.created_at or now}
    number = connection.execute(insert(table).values(values).returning(table.c.id)).scalar_one()
    made = keys.get(connection, int(number))
    assert made is not None
    return made


def wrapped(connection: Connection, numbers: Iterable[int]) -> dict[int, bytes]:
    """The wrapped octets of keys."""
    table = tables.vault_keys
    rows = connection.execute(select(table.c.id, table.c.wrapped).where(table.c.id.in_(list(numbers))))
    return {int(number): bytes(octets) for number, octets in rows}


def wrapped_under(connection: Connection, master_id: int | None) -> dict[int, bytes]:
    """All keys wrapped under one master key (rotation)."""
    table = tables.vault_keys
    where = table.c.master_id.is_(None) if master_id is None else table.c.master_id == master_id
    return {int(number): bytes(octets) for number, octets in connection.execute(select(table.c.id, table.c.wrapped).where(where))}


def rewrap(connection: Connection, octets: Mapping[int, bytes], master_id: int) -> None:
    """Keys wrapped anew under another master key."""
    table = tables.vault_keys
    change = update(table).where(table.c.id == bindparam("number")).values(wrapped=bindparam("octets"), master_id=master_id)
    rows = [{"number": number, "octets": value} for number, value in sorted(octets.items())]
    if rows:
        connection.execute(change, rows)


def count_uses(connection: Connection, uses: Mapping[int, int], at: datetime) -> None:
    """Add to the counts of keys: number of the key -> how often it was used."""
    table = tables.vault_keys
    moment = literal(at, tables.Moment)
    later = case((or_(table.c.last_used.is_(None), table.c.last_used < moment), moment), else_=table.c.last_used)
    rows = [(number, more) for number, more in sorted(uses.items()) if more]
    if rows:
        change_many(
            connection, table, {"more": BigInteger()}, rows, lambda new: {"uses": table.c.uses + new["more"], "last_used": later}
        )
