"""The key vault: keys at rest only wrapped, shown only as fingerprints, every use counted.

    wrapped = AES key wrap with padding, under the master key, of: binding (8 octets) | key (16 or 8 octets)

The binding is the start of the SHA-256 of address pattern, KeyID, KeyVersion and tenant: a wrapped key that somebody moves
to another row does not open there. The master key itself is never in the database; its fingerprint and a wrapped constant
tell whether the right one was given.

    waiting --activate--> active --retire--> retired         add makes active, generate makes waiting
                            ^                    |
                            +-----activate-------+

The ring of the decoder (``live_ring``) holds what is active and waiting; telegrams of the past are opened with the
retired keys as well (``whole_ring``). Uses in decoding are counted in memory and written with ``flush``.
Source: RFC 5649 (key wrap with padding); KeyIDs from OMS Volume 2 issue 5.0.1 Table 45.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Final

import msgspec
from sqlalchemy import Connection, select

from openmetering.errors import InputError, KeyNotFound, WrongKey
from openmetering.security import AddressPattern, Key, KeyRing, parse_key
from openmetering.security.aes import BlockCipher, same
from openmetering.security.patterns import address_text
from openmetering.services.headend.masterkey import KEY_OCTETS, MasterKeySource, new_master_key, wrong
from openmetering.services.headend.model import KeyInfo, Page
from openmetering.services.headend.problems import conflict, invalid, unknown
from openmetering.services.keyfiles import KeyEntry, read_keys
from openmetering.storage import tables, vault_rows, webhook_rows
from openmetering.storage.database import Database

__all__ = ["TRANSITIONS", "KeyImport", "KeyLine", "RotationReport", "Vault"]

#: (state, step) -> state
TRANSITIONS: Final = {
    ("waiting", "activate"): "active",
    ("waiting", "retire"): "retired",
    ("active", "retire"): "retired",
    ("retired", "activate"): "active",
}
_CHECK: Final = b"master key of openmetering"
_BINDING: Final = 8
_SEALED: Final = b"sealed: "


class KeyLine(msgspec.Struct, frozen=True):
    """A key of a file, without its octets."""

    address_pattern: str
    key_id: int | None
    version: int | None
    fingerprint: str
    label: str
    where: str


class KeyImport(msgspec.Struct, frozen=True):
    """What the keys of a file do: new ones, those in conflict with another key in the same place, how many are known."""

    added: tuple[KeyLine, ...]
    conflicts: tuple[KeyLine, ...]
    known: int
    notes: tuple[str, ...] = ()

    def words(self) -> str:
        """In words, for the audit trail."""
        return f"{len(self.added)} new, {self.known} known, {len(self.conflicts)} in conflict"


class RotationReport(msgspec.Struct, frozen=True):
    """A change of the master key: how many keys were wrapped again, and the fingerprints."""

    keys: int
    old: str
    new: str


class _Master:
    """A master key: its cipher and its fingerprint."""

    __slots__ = ("cipher", "fingerprint")

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_OCTETS:
            raise wrong(f"a master key has {KEY_OCTETS} octets")
        self.cipher = BlockCipher(key)
        self.fingerprint = self.cipher.cmac(_CHECK)[:4].hex()


class _Slot(msgspec.Struct, frozen=True):
    """What a key is for: one active key fits in."""

    pattern: str
    key_id: int | None
    version: int | None
    tenant_id: int | None

    def binding(self) -> bytes:
        text = "|".join(str(part) for part in (self.pattern, self.key_id, self.version, self.tenant_id))
        return hashlib.sha256(text.encode()).digest()[:_BINDING]


def _slot(info: KeyInfo) -> _Slot:
    return _Slot(info.address_pattern, info.key_id, info.version, info.tenant_id)


class Vault:
    """The keys of a database, opened with its master key."""

    __slots__ = ("_clock", "_database", "_live", "_lock", "_master", "_master_id", "_rows_of_keys", "_source", "_uses", "_whole")

    def __init__(self, database: Database, source: MasterKeySource | bytes, clock: Callable[[], datetime]) -> None:
        """Raises InputError (``vault.master``) if no key of the source is the one of this database"""
        self._database = database
        self._clock = clock
        self._source = None if isinstance(source, bytes) else source
        self._lock = threading.RLock()
        self._live: KeyRing | None = None
        self._whole: KeyRing | None = None
        self._rows_of_keys: dict[Key, list[tuple[AddressPattern, int]]] = {}
        self._uses: Counter[int] = Counter()
        self._master, self._master_id = self._choose((source,) if isinstance(source, bytes) else source.candidates())

    def __repr__(self) -> str:
        return f"<Vault under master key {self._master.fingerprint}>"

    def _choose(self, candidates: Iterable[bytes]) -> tuple[_Master, int]:
        """The candidate that the keys are wrapped under; the first one for a vault that is new."""
        masters = [_Master(key) for key in candidates]
        with self._database.transaction() as connection:
            newest = _newest_master(connection)
            if newest is None:
                number = _add_master(connection, masters[0], self._clock())
                return masters[0], number
            number, check = newest
            for place, master in enumerate(masters):
                if _opens(master, check):
                    if place and self._source is not None:
                        self._source.commit()  # a rotation was cut off behind its last step but one
                    return master, number
        raise wrong("this is not the master key that the keys of this database are wrapped under")

    # -- what may be seen -----------------------------------------------------------------------

    def keys(
        self, *, tenant_id: int | None = None, after: int | None = None, limit: int = 100, pattern: str | None = None
    ) -> Page[KeyInfo]:
        """Keys as fingerprints; ``pattern`` is a part of the address pattern."""
        self.flush()
        table = tables.vault_keys
        where = [] if tenant_id is None else [table.c.tenant_id == tenant_id]
        if pattern:
            where.append(table.c.address_pattern.icontains(pattern.strip(), autoescape=True))
        with self._database.reading() as connection:
            return vault_rows.keys.page(connection, *where, after=after, limit=limit)

    def find(self, number: int) -> KeyInfo | None:
        """One key as a fingerprint."""
        self.flush()
        with self._database.reading() as connection:
            return vault_rows.keys.get(connection, number)

    # -- adding ---------------------------------------------------------------------------------

    def add(
        self,
        address_pattern: str,
        key: str | bytes,
        key_id: int | None = 0,
        version: int | None = None,
        *,
        label: str = "",
        tenant_id: int | None = None,
        created_by: int | None = None,
        state: str = "active",
    ) -> KeyInfo:
        """Wrap and keep a key; the very same key in the same place is given back as it is.

        Raises InputError (``key.invalid``, ``address.invalid``), ``access.conflict`` if the place holds another active key
        """
        pattern = AddressPattern.parse(address_pattern).text
        made = Key(parse_key(key) if isinstance(key, str) else key, key_id, version, label or None)
        slot = _Slot(pattern, made.key_id, made.version, tenant_id)
        with self._lock, self._database.transaction() as connection:
            same_place = _in_slot(connection, slot)
            for info in same_place:
                if self._same_key(connection, info, made.octets) and info.state != "retired":
                    return info
            if state == "active" and any(info.state == "active" for info in same_place):
                raise conflict(f"there is another active key for {pattern}{_named(made)}; retire it first")
            return self._keep(connection, slot, made, label, created_by, state)

    def generate(
        self,
        address: str,
        key_id: int,
        version: int | None = None,
        *,
        tenant_id: int | None = None,
        created_by: int | None = None,
        label: str = "",
    ) -> KeyInfo:
        """A new random key that waits to be activated; the octets are had with ``octets_of``, which counts as a use."""
        return self.add(
            address, secrets.token_bytes(16), key_id, version,
            label=label, tenant_id=tenant_id, created_by=created_by, state="waiting",
        )  # fmt: skip

    def _keep(self, connection: Connection, slot: _Slot, key: Key, label: str, created_by: int | None, state: str) -> KeyInfo:
        info = KeyInfo(0, slot.pattern, slot.key_id, slot.version, key.fingerprint, state, created_by, 0, label, slot.tenant_id)
        wrapped = self._master.cipher.wrap(slot.binding() + key.octets)
        made = vault_rows.add_key(connection, info, wrapped, self._master_id, self._clock())
        self._forget()
        return made

    def preview(
        self, data: bytes, tenant_id: int | None, *, columns: Mapping[str, str] | None = None, password: str | None = None
    ) -> KeyImport:
        """What the keys of a file of any kind would do. Raises InputError (``keyfile.*``)"""
        file = read_keys(data, columns=columns, password=password)
        with self._lock, self._database.reading() as connection:
            return self._sort(connection, file.entries, tenant_id, file.notes)[0]

    def import_file(
        self,
        data: bytes,
        tenant_id: int | None,
        *,
        created_by: int | None = None,
        columns: Mapping[str, str] | None = None,
        password: str | None = None,
        replace: bool = False,
    ) -> KeyImport:
        """Keep the keys of a file, in one transaction; with ``replace`` conflicting ones retire what is there.

        Raises InputError (``keyfile.*``)
        """
        file = read_keys(data, columns=columns, password=password)
        with self._lock, self._database.transaction() as connection:
            done, entries = self._sort(connection, file.entries, tenant_id, file.notes)
            lines = {*done.added, *(done.conflicts if replace else ())}
            for line, entry in entries:
                if line in lines:
                    slot = _entry_slot(entry, tenant_id)
                    for info in _in_slot(connection, slot):
                        if info.state == "active":
                            vault_rows.keys.change(connection, info.id, state="retired")
                    self._keep(connection, slot, entry.key, entry.key.label or "", created_by, "active")
            self._forget()
        return done

    def _sort(
        self, connection: Connection, entries: Iterable[KeyEntry], tenant_id: int | None, notes: tuple[str, ...]
    ) -> tuple[KeyImport, list[tuple[KeyLine, KeyEntry]]]:
        added, conflicts, known = [], [], 0
        pairs: list[tuple[KeyLine, KeyEntry]] = []
        planned: dict[_Slot, bytes] = {}
        for entry in entries:
            slot = _entry_slot(entry, tenant_id)
            line = KeyLine(slot.pattern, slot.key_id, slot.version, entry.key.fingerprint, entry.key.label or "", entry.where)
            pairs.append((line, entry))
            active = [info for info in _in_slot(connection, slot) if info.state != "retired"]
            if slot in planned:
                if same(planned[slot], entry.key.octets):
                    known += 1
                else:
                    conflicts.append(line)
            elif any(self._same_key(connection, info, entry.key.octets) for info in active):
                known += 1
            elif any(info.state == "active" for info in active):
                conflicts.append(line)
            else:
                added.append(line)
                planned[slot] = entry.key.octets
        return KeyImport(tuple(added), tuple(conflicts), known, notes), pairs

    # -- life -----------------------------------------------------------------------------------

    def activate(self, number: int) -> KeyInfo:
        """The device uses this key now: it is active, another active one in its place is retired.

        Keys for the same address and KeyID under other versions stay: which of them counts the telegrams say.
        Raises InputError (``access.unknown``, ``access.conflict``)
        """
        with self._lock, self._database.transaction() as connection:
            info = _step(connection, number, "activate")
            for other in _in_slot(connection, _slot(info)):
                if other.id != number and other.state == "active":
                    vault_rows.keys.change(connection, other.id, state="retired")
            self._forget()
            return info

    def retire(self, number: int) -> KeyInfo:
        """The key is no longer used for what comes. Raises InputError (``access.unknown``, ``access.conflict``)"""
        with self._lock, self._database.transaction() as connection:
            info = _step(connection, number, "retire")
            self._forget()
            return info

    # -- using ----------------------------------------------------------------------------------

    def octets_of(self, number: int) -> bytes:
        """The octets of a key, which counts as a use. Raises InputError (``access.unknown``, ``vault.damaged``)"""
        with self._lock, self._database.transaction() as connection:
            info = vault_rows.keys.get(connection, number)
            if info is None:
                raise unknown("key", number)
            octets = self._open(info, vault_rows.wrapped(connection, [number])[number])
            vault_rows.count_uses(connection, {number: 1}, self._clock())
            return octets

    def key_for(self, address: bytes, key_id: int, version: int | None = None) -> Key:
        """The active key for a device (eight octets in link-layer order), which counts as a use. Raises KeyNotFound"""
        key = self.live_ring().require(address, key_id=key_id, version=version)[0]
        number = self.number_of(key, address)
        if number is None:
            raise KeyNotFound(f"no key for {address_text(address)}", address=address_text(address))
        self.count([number])
        self.flush()
        return key

    def live_ring(self) -> KeyRing:
        """What is active or waiting; the same object until keys change."""
        with self._lock:
            if self._live is None:
                self._load()
            assert self._live is not None
            return self._live

    def whole_ring(self) -> KeyRing:
        """The retired keys as well, for telegrams of the past."""
        with self._lock:
            if self._whole is None:
                self._load()
            assert self._whole is not None
            return self._whole

    def number_of(self, key: Key, address: bytes) -> int | None:
        """The number of the key that a ring found for an address; with several alike the most specific one."""
        with self._lock:
            fitting = [(pattern, number) for pattern, number in self._rows_of_keys.get(key, ()) if pattern.matches(address)]
            return max(fitting, key=lambda pair: pair[0].specificity)[1] if fitting else None

    def count(self, numbers: Iterable[int]) -> None:
        """Note uses; they are on the disk with the next ``flush``."""
        with self._lock:
            self._uses.update(numbers)

    def flush(self) -> None:
        """Write the counted uses."""
        with self._lock:
            if not self._uses:
                return
            uses, self._uses = self._uses, Counter()
            try:
                with self._database.transaction() as connection:
                    vault_rows.count_uses(connection, uses, self._clock())
            except BaseException:
                self._uses.update(uses)
                raise

    def _load(self) -> None:
        """Unwrap everything: waiting and active last, because a ring prefers what was added last."""
        live, whole = KeyRing(), KeyRing()
        rows: dict[Key, list[tuple[AddressPattern, int]]] = {}
        with self._database.reading() as connection:
            infos = vault_rows.keys.all(connection)
            wrapped = vault_rows.wrapped_under(connection, self._master_id)
        order = {"retired": 0, "waiting": 1, "active": 2}
        for info in sorted(infos, key=lambda one: (order[one.state], one.id)):
            if info.id not in wrapped:
                raise wrong(f"key {info.id} is wrapped under another master key")
            octets = self._open(info, wrapped[info.id])
            pattern = AddressPattern.parse(info.address_pattern)
            for ring in (whole,) if info.state == "retired" else (whole, live):
                key = ring.add(pattern, octets, info.key_id, info.version, info.label or None)
                rows.setdefault(key, []).append((pattern, info.id))
        self._live, self._whole, self._rows_of_keys = live, whole, rows

    def _open(self, info: KeyInfo, wrapped: bytes) -> bytes:
        try:
            opened = self._master.cipher.unwrap(wrapped)
        except WrongKey:
            opened = b""
        if len(opened) <= _BINDING or not same(opened[:_BINDING], _slot(info).binding()):
            raise InputError(
                f"key {info.id} for {info.address_pattern} does not open: its row was damaged or changed",
                code="vault.damaged",
                layer="vault",
            )
        return opened[_BINDING:]

    def _same_key(self, connection: Connection, info: KeyInfo, octets: bytes) -> bool:
        return same(self._open(info, vault_rows.wrapped(connection, [info.id])[info.id]), octets)

    # -- other secrets --------------------------------------------------------------------------

    def seal(self, text: str) -> str:
        """A secret of another kind (that of a webhook) under the master key; ``rotate`` seals those of webhooks again."""
        with self._lock:
            return _sealed(self._master, text)

    def pseudonym(self, text: str) -> str:
        """A name that stands for another one: the same each time, and nobody finds the way back without the master key."""
        with self._lock:
            return f"p-{self._master.cipher.cmac(b'pseudonym ' + text.encode())[:10].hex()}"

    def unseal(self, text: str) -> str:
        """What was sealed. Raises InputError (``vault.damaged``)"""
        with self._lock:
            return _unsealed(self._master, text)

    def refresh(self) -> None:
        """Read the keys again when they are needed next: they were changed."""
        with self._lock:
            self._forget()

    def _forget(self) -> None:
        self._live = self._whole = None

    # -- the master key -------------------------------------------------------------------------

    def rotate(
        self, new_master: bytes | None = None, *, note: Callable[[RotationReport], object] | None = None
    ) -> RotationReport:
        """Wrap every key again under another master key, in one transaction that is the outermost one.

        A source that can be written keeps the new key before anything changes and has it in its place afterwards;
        ``note`` is called inside the transaction (audit). Raises InputError (``vault.master``); the old master key
        then still counts
        """
        octets = new_master_key() if new_master is None else new_master
        master = _Master(octets)
        with self._lock:
            if master.fingerprint == self._master.fingerprint:
                raise wrong("this is the master key that is in use")
            if self._source is not None:
                self._source.prepare(octets)
            with self._database.transaction() as connection:
                wrapped = vault_rows.wrapped_under(connection, self._master_id)
                infos = vault_rows.keys.by_numbers(connection, wrapped)
                number = _add_master(connection, master, self._clock())
                again = {
                    one: master.cipher.wrap(_slot(infos[one]).binding() + self._open(infos[one], old))
                    for one, old in wrapped.items()
                }
                vault_rows.rewrap(connection, again, number)
                webhook_rows.reseal(connection, lambda text: _sealed(master, _unsealed(self._master, text)))
                report = RotationReport(len(again), self._master.fingerprint, master.fingerprint)
                if note is not None:
                    note(report)
            if self._source is not None:
                self._source.commit()
            self._master, self._master_id = master, number
            self._forget()
            return report


def _sealed(master: _Master, text: str) -> str:
    return base64.urlsafe_b64encode(master.cipher.wrap(_SEALED + text.encode())).decode()


def _unsealed(master: _Master, text: str) -> str:
    try:
        opened = master.cipher.unwrap(base64.urlsafe_b64decode(text))
    except (WrongKey, ValueError):
        opened = b""
    if not same(opened[: len(_SEALED)], _SEALED):
        raise InputError("a secret does not open: its row was damaged or changed", code="vault.damaged", layer="vault")
    return opened[len(_SEALED) :].decode()


def _newest_master(connection: Connection) -> tuple[int, bytes] | None:
    table = tables.vault_masters
    row = connection.execute(select(table.c.id, table.c.check_value).order_by(table.c.id.desc()).limit(1)).first()
    return None if row is None else (int(row[0]), bytes(row[1] or b""))


def _add_master(connection: Connection, master: _Master, now: datetime) -> int:
    if vault_rows.master_of(connection, master.fingerprint) is not None:
        raise wrong("this master key was in use before; take a new one")
    return vault_rows.add_master(connection, master.fingerprint, now, master.cipher.wrap(_CHECK))


def _opens(master: _Master, check: bytes) -> bool:
    try:
        return same(master.cipher.unwrap(check), _CHECK)
    except WrongKey:
        return False


def _in_slot(connection: Connection, slot: _Slot) -> list[KeyInfo]:
    columns = tables.vault_keys.c
    where = [
        column.is_(None) if value is None else column == value
        for column, value in (
            (columns.key_id, slot.key_id),
            (columns.version, slot.version),
            (columns.tenant_id, slot.tenant_id),
        )
    ]
    return vault_rows.keys.all(connection, columns.address_pattern == slot.pattern, *where)


def _entry_slot(entry: KeyEntry, tenant_id: int | None) -> _Slot:
    return _Slot(entry.pattern.text, entry.key.key_id, entry.key.version, tenant_id)


def _step(connection: Connection, number: int, step: str) -> KeyInfo:
    info = vault_rows.keys.get(connection, number)
    if info is None:
        raise unknown("key", number)
    state = TRANSITIONS.get((info.state, step))
    if state is None:
        raise conflict(f"key {number} is {info.state}, it cannot be {step}d")
    made = vault_rows.keys.change(connection, number, state=state)
    if made is None:
        raise invalid(f"key {number} is gone")
    return made


def _named(key: Key) -> str:
    key_id = "" if key.key_id is None else f" with KeyID {key.key_id:02X}h"
    return key_id + ("" if key.version is None else f" and KeyVersion {key.version:02X}h")
