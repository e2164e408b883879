"""The store: receptions in, readings out.

A frame is stored raw and durably (``append``) before anything is decoded; what decoding
gives (``record``) can be made again from it at any time (``redecode``).
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol, Self

import msgspec

from openmetering.codec.apl.format import FormatStore, RecordFormat
from openmetering.codec.apl.known_formats import known_formats
from openmetering.errors import OmsError
from openmetering.security import LedgerSnapshot, PeerCounter
from openmetering.storage import queries
from openmetering.storage.identity import identity
from openmetering.storage.migrations import connect, failed, transaction
from openmetering.storage.queries import Counts, DeviceRow, OpenFrame, ReadingFilter, ReadingRow
from openmetering.storage.reading_rows import SeriesKey, device_address, readings_of
from openmetering.telegram import Decoder, Telegram, answer_json

__all__ = ["Decoded", "Observation", "Place", "RedecodeReport", "Store", "Stored"]

_BATCH = 500
_Cell = str | int | float | None
_ReadingCells = tuple[int, float, int, int, str | None, int | None, int | None, str | None, str | None]
_TelegramCells = tuple[_Cell, ...]
_CACHE_LIMIT = 262_144


class Observation(Protocol):
    """What the store keeps of a reception (``transport.Reception`` is one)."""

    @property
    def frame(self) -> bytes: ...
    @property
    def received_at(self) -> float: ...
    @property
    def source(self) -> str: ...
    @property
    def rssi_dbm(self) -> float | None: ...
    @property
    def rssi_raw(self) -> int | None: ...
    @property
    def mode(self) -> str | None: ...
    @property
    def frame_format(self) -> str | None: ...
    @property
    def crc(self) -> bool | None: ...
    @property
    def address_hint(self) -> str | None: ...


class Stored(msgspec.Struct, frozen=True):
    """Where a reception went: its frame, and whether the frame is new."""

    frame_id: int
    new: bool


class Place(msgspec.Struct, frozen=True):
    """How far a file is read (octets), and what tells this file from another one of the same name."""

    position: int
    mark: str


class Decoded(msgspec.Struct, frozen=True):
    """The result of decoding a frame."""

    frame_id: int
    received_at: float
    source: str
    telegram: Telegram


class RedecodeReport(msgspec.Struct, frozen=True):
    """What decoding the past again gave: frames looked at, opened now, still closed, readings gained."""

    frames: int
    opened: int
    closed: int
    readings: int


class Store:
    """A database of receptions, telegrams and readings.

    ``merge_window`` seconds within which equal frames of several receivers are one telegram;
    ``repeat_window`` the same for copies of a repeater, which come up to 25 s late. One thread
    at a time may use a store; several processes may use a file.
    """

    __slots__ = ("_addresses", "_connection", "_known_formats", "_saved_counters", "_series", "_sources", "answers",
                 "merge_window", "name", "repeat_window")  # fmt: skip

    def __init__(self, connection: sqlite3.Connection, name: str = "") -> None:
        self._connection = connection
        self.name = name
        self.merge_window = 2.0
        self.repeat_window = 30.0
        self.answers = True
        self._sources: dict[str, int] = {}
        self._addresses: dict[str, int] = {}
        self._series: dict[tuple[int, SeriesKey], int] = {}
        self._known_formats: set[bytes] = set()
        self._saved_counters: dict[tuple[bytes, int, int | None], PeerCounter] = {}

    @classmethod
    def open(
        cls,
        url: str,
        *,
        create: bool = True,
        merge_window: float = 2.0,
        repeat_window: float = 30.0,
        answers: bool = True,
    ) -> Self:
        """Open ``sqlite:///path`` or a path, make or migrate it where needed.

        ``answers`` False leaves the JSON answers out (they can be made again from the frames).
        Raises InputError (``storage.open``, ``storage.version``), TransportError (``storage.failed``)
        """
        store = cls(connect(url, create=create), url)
        store.merge_window, store.repeat_window, store.answers = merge_window, repeat_window, answers
        return store

    def close(self) -> None:
        """Close the database; what was acknowledged stays."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @contextmanager
    def _writing(self, what: str, *, durable: bool) -> Iterator[sqlite3.Connection]:
        """One transaction; ``durable`` ones are on the disk when it ends. Raises TransportError."""
        connection = self._connection
        try:
            connection.execute("PRAGMA synchronous = FULL" if durable else "PRAGMA synchronous = NORMAL")
            with transaction(connection):
                yield connection
        except sqlite3.Error as error:
            self._forget()
            raise failed(error, f"{what} in {self.name or 'the store'} failed") from error
        except BaseException:
            self._forget()
            raise

    def _forget(self) -> None:
        """Numbers of rows that a rolled back transaction had made must not be used."""
        self._sources.clear()
        self._addresses.clear()
        self._series.clear()

    # -- receptions in ------------------------------------------------------------------------

    def append(self, receptions: Sequence[Observation], *, places: Mapping[str, Place] | None = None) -> list[Stored]:
        """Store receptions raw; when it returns they are on the disk.

        The very same reception (source, time, frame) is stored once. ``places`` says how far file
        sources are read with these receptions. Raises TransportError (``storage.failed``)
        """
        with self._writing("storing frames", durable=True) as connection:
            stored = [self._append(connection, item) for item in receptions]
            for name, place in (places or {}).items():
                self._source(connection, name)
                connection.execute("UPDATE sources SET position = ?, mark = ? WHERE name = ?", (place.position, place.mark, name))
        return stored

    def _append(self, connection: sqlite3.Connection, item: Observation) -> Stored:
        octets, received_at = item.frame, item.received_at
        number, repeated = identity(octets, crc_removed=item.crc is True and item.frame_format is None)
        source = self._source(connection, item.source)
        window = self.repeat_window if repeated else self.merge_window
        row = connection.execute(
            "SELECT id, octets FROM frames WHERE identity = ? AND received_at BETWEEN ? AND ?"
            " ORDER BY abs(received_at - ?) LIMIT 1",
            (number, received_at - window, received_at + window, received_at),
        ).fetchone()
        new = row is None
        if new:
            frame_id = connection.execute(
                "INSERT INTO frames (identity, received_at, source_id, mode, octets) VALUES (?, ?, ?, ?, ?)",
                (number, received_at, source, item.mode, octets),
            ).lastrowid
            assert frame_id is not None
            connection.execute("INSERT INTO pending VALUES (?)", (frame_id,))
            other = None
        else:
            frame_id = row[0]
            other = octets if octets != row[1] else None
        connection.execute(
            "INSERT OR IGNORE INTO receptions VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (frame_id, source, received_at, item.rssi_dbm, item.rssi_raw, item.mode, item.address_hint, other),
        )
        return Stored(frame_id, new)

    def _source(self, connection: sqlite3.Connection, name: str) -> int:
        found = self._sources.get(name)
        if found is None:
            connection.execute("INSERT OR IGNORE INTO sources (name) VALUES (?)", (name,))
            found = self._sources[name] = int(connection.execute("SELECT id FROM sources WHERE name = ?", (name,)).fetchone()[0])
        return found

    def place(self, name: str) -> Place | None:
        """How far a file source is stored; None if nothing is known."""
        row = self._connection.execute("SELECT position, mark FROM sources WHERE name = ?", (name,)).fetchone()
        return None if row is None or row[0] is None or row[1] is None else Place(row[0], row[1])

    # -- results in ---------------------------------------------------------------------------

    def record(self, results: Sequence[Decoded]) -> int:
        """Store what decoding gave; a result for the same frame takes the place of the one before. Returns readings written.

        Raises TransportError (``storage.failed``)
        """
        with self._writing("storing readings", durable=False) as connection:
            return sum(self._record(connection, results[start : start + _BATCH]) for start in range(0, len(results), _BATCH))

    def _record(self, connection: sqlite3.Connection, results: Sequence[Decoded]) -> int:
        now = time.time()
        ids = [result.frame_id for result in results]
        marks = ",".join("?" * len(ids))
        for (known,) in connection.execute(f"SELECT frame_id FROM telegrams WHERE frame_id IN ({marks})", ids).fetchall():
            self._drop(connection, known)
        connection.execute(f"DELETE FROM pending WHERE frame_id IN ({marks})", ids)
        readings: list[_ReadingCells] = []
        telegrams: list[_TelegramCells] = []
        for result in {result.frame_id: result for result in results}.values():
            name = device_address(result.telegram, result.source)
            address = None if name is None else self._address(connection, name, result.telegram)
            rows = [] if address is None else self._rows(connection, result, address)
            readings += rows
            telegrams.append(self._telegram(result, address, len(rows), now))
        connection.executemany("INSERT INTO readings VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", readings)
        connection.executemany(
            "INSERT OR REPLACE INTO telegrams VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            telegrams,
        )
        return len(readings)

    def _telegram(self, result: Decoded, address: int | None, readings: int, now: float) -> _TelegramCells:
        telegram = result.telegram
        transport, error, link = telegram.transport, telegram.error, telegram.link
        return (
            result.frame_id,
            address,
            result.received_at,
            now,
            "failed" if error is not None else "fragment" if telegram.fragment else "decoded",
            None if error is None else error.code,
            None if link is None else link.message,
            None if transport is None else transport.access_number,
            None if transport is None or transport.header == "none" else transport.status,
            telegram.security.state,
            telegram.security.proof,
            readings,
            answer_json(telegram).decode() if self.answers else None,
        )

    def _drop(self, connection: sqlite3.Connection, frame_id: int) -> None:
        """Take the readings of an earlier result away."""
        row = connection.execute(
            "SELECT address_id, received_at, readings FROM telegrams WHERE frame_id = ?", (frame_id,)
        ).fetchone()
        if row is not None and row[2]:
            connection.execute(
                "DELETE FROM readings WHERE series_id IN (SELECT id FROM series WHERE address_id = ?)"
                " AND received_at = ? AND frame_id = ?",
                (row[0], row[1], frame_id),
            )

    def _rows(self, connection: sqlite3.Connection, result: Decoded, address: int) -> list[_ReadingCells]:
        return [
            (
                self._series_id(connection, address, reading.series),
                result.received_at,
                result.frame_id,
                position,
                reading.value,
                reading.mantissa,
                reading.exponent,
                reading.time,
                reading.error,
            )
            for position, reading in enumerate(readings_of(result.telegram))
        ]

    def _address(self, connection: sqlite3.Connection, name: str, telegram: Telegram) -> int:
        found = self._addresses.get(name)
        if found is None:
            known = telegram.address
            row = (
                (None,) * 5
                if known is None
                else (known.flag, known.identification, known.version, known.device_type, known.medium)
            )
            connection.execute(
                "INSERT OR IGNORE INTO addresses (address, manufacturer, identification, version, device_type, medium)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (name, *row),
            )
            found = int(connection.execute("SELECT id FROM addresses WHERE address = ?", (name,)).fetchone()[0])
            if len(self._addresses) >= _CACHE_LIMIT:
                self._addresses.clear()
            self._addresses[name] = found
        return found

    def _series_id(self, connection: sqlite3.Connection, address: int, key: SeriesKey) -> int:
        found = self._series.get((address, key))
        if found is None:
            values = (address, *msgspec.structs.astuple(key))
            connection.execute(
                "INSERT OR IGNORE INTO series (address_id, quantity, unit, function, storage, tariff, subunit, qualifiers,"
                " obis, tag, dib, vib) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                values,
            )
            row = connection.execute(
                "SELECT id FROM series WHERE address_id = ? AND dib = ? AND vib = ? AND quantity = ? AND unit = ?"
                " AND obis = ? AND tag = ?",
                (address, key.dib, key.vib, key.quantity, key.unit, key.obis, key.tag),
            ).fetchone()
            if len(self._series) >= _CACHE_LIMIT:
                self._series.clear()
            found = self._series[(address, key)] = int(row[0])
        return found

    # -- the past again -----------------------------------------------------------------------

    def pending(self, limit: int = _BATCH) -> list[OpenFrame]:
        """Frames that were stored but not decoded (the program ended in between)."""
        return queries.read_pending(self._connection, limit)

    def catch_up(self, decoder: Decoder) -> int:
        """Decode what is pending; returns how many frames."""
        done = 0
        while frames := self.pending():
            self.record([_decode(decoder, frame) for frame in frames])
            done += len(frames)
        return done

    def redecode(
        self, decoder: Decoder, *, everything: bool = False, progress: Callable[[int, int], None] | None = None
    ) -> RedecodeReport:
        """Decode again what a key or a format that came later may open; with ``everything`` all frames.

        Doing it twice changes nothing more. Compact frames are tried again as long as the pass
        before taught new formats. Raises TransportError (``storage.failed``)
        """
        for known in self.formats():
            decoder.formats.add(known)
        decoder.forget()
        self.catch_up(decoder)
        looked_at = opened = gained = 0
        while True:
            ids = self._all_ids() if everything else queries.reopenable_ids(self._connection)
            formats = len(decoder.formats)
            done = 0
            for start in range(0, len(ids), _BATCH):
                frames = queries.read_frames(self._connection, ids[start : start + _BATCH])
                now_open, written = self._again(decoder, frames, everything=everything)
                opened += now_open
                gained += written
                done += len(frames)
                if progress is not None:
                    progress(done, len(ids))
            looked_at = looked_at or len(ids)
            self.learn(decoder.formats)
            everything = False
            if len(decoder.formats) == formats or not queries.waits_for_format(self._connection):
                break
        closed = queries.count_reopenable(self._connection)
        return RedecodeReport(looked_at, opened, closed, gained)

    def _all_ids(self) -> list[int]:
        return [row[0] for row in self._connection.execute("SELECT id FROM frames ORDER BY id")]

    def _again(self, decoder: Decoder, frames: list[OpenFrame], *, everything: bool) -> tuple[int, int]:
        results: list[Decoded] = []
        opened = 0
        for frame in frames:
            result = _decode(decoder, frame)
            error = result.telegram.error
            if everything or (error.code if error is not None else None) != frame.error:
                results.append(result)
            opened += frame.error is not None and error is None
        written = self.record(results) if results else 0
        return opened, written

    # -- formats and counters --------------------------------------------------------------------

    def formats(self) -> FormatStore:
        """The formats of compact frames that are known: bundled and learned."""
        store = known_formats()
        for headers, source in self._connection.execute("SELECT headers, source FROM formats"):
            try:
                store.add(RecordFormat.parse(bytes.fromhex(headers)), source)
            except (OmsError, ValueError):
                continue
        store.changed = False
        self._known_formats = {item.octets for item in store}
        return store

    def learn(self, formats: FormatStore) -> int:
        """Keep formats that were learned; returns how many were new."""
        if not self._known_formats:
            self.formats()
        fresh = [row for row in formats.stored() if bytes.fromhex(row.headers) not in self._known_formats]
        if fresh:
            now = time.time()
            with self._writing("keeping formats", durable=False) as connection:
                connection.executemany(
                    "INSERT OR IGNORE INTO formats VALUES (?, ?, ?, ?)",
                    [(row.headers, row.signature, row.source, now) for row in fresh],
                )
            self._known_formats.update(bytes.fromhex(row.headers) for row in fresh)
        formats.changed = False
        return len(fresh)

    def counters(self) -> LedgerSnapshot:
        """The message counters, as a gateway knows them."""
        rows = self._connection.execute("SELECT address, key_id, version, own, peer, digest FROM counters").fetchall()
        entries = tuple(PeerCounter(row[0], row[1], None if row[2] < 0 else row[2], row[3], row[4], row[5]) for row in rows)
        self._saved_counters = {(item.address, item.key_id, item.version): item for item in entries}
        return LedgerSnapshot("gateway", entries)

    def save_counters(self, snapshot: LedgerSnapshot) -> None:
        """Keep message counters; durable when it returns."""
        known = self._saved_counters
        fresh = [item for item in snapshot.entries if known.get((item.address, item.key_id, item.version)) is not item]
        if not fresh:
            return
        now = time.time()
        with self._writing("keeping counters", durable=True) as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO counters VALUES (?, ?, ?, ?, ?, ?, ?)",
                [(i.address, i.key_id, -1 if i.version is None else i.version, i.own, i.peer, i.digest, now) for i in fresh],
            )
        known.update({(item.address, item.key_id, item.version): item for item in fresh})

    # -- questions --------------------------------------------------------------------------------

    def devices(self, device: str | None = None) -> list[DeviceRow]:
        """Devices whose address fits."""
        return queries.read_devices(self._connection, device)

    def readings(self, wanted: ReadingFilter | None = None) -> Iterator[ReadingRow]:
        """Readings in order of time."""
        return queries.read_readings(self._connection, wanted or ReadingFilter())

    def counts(self) -> Counts:
        """How much is stored."""
        return queries.read_counts(self._connection)

    def frames(self, ids: Iterable[int]) -> list[OpenFrame]:
        """Raw frames by id."""
        return queries.read_frames(self._connection, list(ids))


def _decode(decoder: Decoder, frame: OpenFrame) -> Decoded:
    telegram = decoder.examine(frame.octets, now=frame.received_at)
    return Decoded(frame.frame_id, frame.received_at, frame.source, telegram)
