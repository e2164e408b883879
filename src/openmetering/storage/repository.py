"""The store: receptions in, readings out.

A frame is stored raw and durably (``append``) before anything is decoded; what decoding
gives (``record``) can be made again from it at any time (``redecode``).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal, Self

import msgspec

from openmetering.codec.apl.format import FormatStore, RecordFormat
from openmetering.codec.apl.known_formats import known_formats
from openmetering.errors import OmsError
from openmetering.security import LedgerSnapshot, PeerCounter
from openmetering.storage import postgresql, queries
from openmetering.storage.dialects import Link, PostgresLink, SqliteLink, Turn
from openmetering.storage.migrations import connect
from openmetering.storage.parts import parts
from openmetering.storage.queries import Counts, DeviceRow, OpenFrame, ReadingFilter, ReadingRow
from openmetering.storage.receptions import Observation, Stored, store_receptions
from openmetering.storage.results import Decoded, Recorder
from openmetering.telegram import Decoder

__all__ = ["Decoded", "Observation", "Place", "RedecodeReport", "Store", "Stored"]

_BATCH = 500
_COUNTERS = ("address", "key_id", "version", "own", "peer", "digest", "updated_at")


class Place(msgspec.Struct, frozen=True):
    """How far a file is read (octets), and what tells this file from another one of the same name."""

    position: int
    mark: str


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

    __slots__ = ("_known_formats", "_link", "_recorder", "_saved_counters", "_sources", "answers", "merge_window", "name",
                 "repeat_window")  # fmt: skip

    def __init__(self, link: Link, name: str = "") -> None:
        self._link = link
        self.name = name  #: for people, without password
        self.merge_window = 2.0
        self.repeat_window = 30.0
        self.answers = True
        self._sources: dict[str, int] = {}
        self._recorder = Recorder()
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
        """Open ``sqlite:///path``, a path, or ``postgresql://user:password@host/name``; make or migrate it where needed.

        ``answers`` False leaves the JSON answers out (they can be made again from the frames).
        Raises InputError (``storage.open``, ``storage.version``), TransportError (``storage.failed``)
        """
        if postgresql.is_postgresql(url):
            store = cls(PostgresLink(lambda: postgresql.connect(url)), str(postgresql.Target.parse(url)))
        else:
            store = cls(SqliteLink(connect(url, create=create)), url)
        store.merge_window, store.repeat_window, store.answers = merge_window, repeat_window, answers
        return store

    @property
    def kind(self) -> Literal["sqlite", "postgresql"]:
        """Which database it is."""
        return self._link.kind

    def close(self) -> None:
        """Close the database; what was acknowledged stays."""
        self._link.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @contextmanager
    def _writing(self, what: str, turn: Turn, *, durable: bool) -> Iterator[Link]:
        """One transaction; ``durable`` ones are on the disk when it ends. Raises TransportError."""
        link = self._link
        try:
            with link.transaction(turn, durable=durable):
                yield link
        except BaseException as error:
            # numbers of rows that a rolled back transaction had made must not be used
            self._sources.clear()
            self._recorder.forget()
            failure = (
                link.failure(error, f"{what} in {self.name or 'the store'} failed") if isinstance(error, Exception) else None
            )
            if failure is not None:
                raise failure from error
            raise

    @contextmanager
    def _asking(self) -> Iterator[Link]:
        """Questions. Raises TransportError."""
        try:
            yield self._link
        except Exception as error:
            failure = self._link.failure(error, f"reading {self.name or 'the store'} failed")
            if failure is not None:
                raise failure from error
            raise

    # -- receptions in ------------------------------------------------------------------------

    def append(self, receptions: Sequence[Observation], *, places: Mapping[str, Place] | None = None) -> list[Stored]:
        """Store receptions raw; when it returns they are on the disk.

        The very same reception (source, time, frame) is stored once. ``places`` says how far file
        sources are read with these receptions. Raises TransportError (``storage.failed``)
        """
        with self._writing("storing frames", "frames", durable=True) as link:
            sources = self._source_ids(link, {item.source for item in receptions} | set(places or ()))
            stored = store_receptions(link, receptions, sources, self.merge_window, self.repeat_window) if receptions else []
            for name, place in (places or {}).items():
                link.run("UPDATE sources SET position = ?, mark = ? WHERE name = ?", (place.position, place.mark, name))
        return stored

    def _source_ids(self, link: Link, names: set[str]) -> dict[str, int]:
        unknown = sorted(names - self._sources.keys())
        if unknown:
            link.add_new("sources", ("name",), [(name,) for name in unknown])
            condition, values = link.among("name", unknown)
            self._sources.update(link.rows(f"SELECT name, id FROM sources WHERE {condition}", values))
        return self._sources

    def place(self, name: str) -> Place | None:
        """How far a file source is stored; None if nothing is known."""
        with self._asking() as link:
            rows = link.rows("SELECT position, mark FROM sources WHERE name = ?", (name,))
        return Place(*rows[0]) if rows and None not in rows[0] else None

    # -- results in ---------------------------------------------------------------------------

    def record(self, results: Sequence[Decoded]) -> int:
        """Store what decoding gave; a result for the same frame takes the place of the one before. Returns readings written.

        Raises TransportError (``storage.failed``)
        """
        with self._writing("storing readings", "results", durable=False) as link:
            return self._recorder.record(link, results, answers=self.answers)

    # -- the past again -----------------------------------------------------------------------

    def pending(self, limit: int = _BATCH) -> list[OpenFrame]:
        """Frames that were stored but not decoded (the program ended in between)."""
        with self._asking() as link:
            return queries.read_pending(link, limit)

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
            ids = self._ids(everything=everything)
            formats = len(decoder.formats)
            done = 0
            for part in parts(ids, _BATCH):
                frames = self.frames(part)
                now_open, written = self._again(decoder, frames, everything=everything)
                opened += now_open
                gained += written
                done += len(frames)
                if progress is not None:
                    progress(done, len(ids))
            looked_at = looked_at or len(ids)
            self.learn(decoder.formats)
            everything = False
            with self._asking() as link:
                closed = queries.count_reopenable(link)
                if len(decoder.formats) == formats or not queries.waits_for_format(link):
                    break
        return RedecodeReport(looked_at, opened, closed, gained)

    def _ids(self, *, everything: bool) -> list[int]:
        with self._asking() as link:
            if not everything:
                return queries.reopenable_ids(link)
            # frames without octets were redacted: their values are all that is left
            return [row[0] for row in link.rows("SELECT id FROM frames WHERE octets <> ? ORDER BY id", (b"",))]

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
        with self._asking() as link:
            rows = link.rows("SELECT headers, source FROM formats")
        for headers, source in rows:
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
            with self._writing("keeping formats", "results", durable=False) as link:
                rows = [(row.headers, row.signature, row.source, now) for row in fresh]
                link.add_new("formats", ("headers", "signature", "source", "learned_at"), rows)
            self._known_formats.update(bytes.fromhex(row.headers) for row in fresh)
        formats.changed = False
        return len(fresh)

    def counters(self) -> LedgerSnapshot:
        """The message counters, as a gateway knows them."""
        with self._asking() as link:
            rows = link.rows("SELECT address, key_id, version, own, peer, digest FROM counters")
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
        rows = [(i.address, i.key_id, -1 if i.version is None else i.version, i.own, i.peer, i.digest, now) for i in fresh]
        with self._writing("keeping counters", "results", durable=True) as link:
            link.replace("counters", _COUNTERS, 3, rows)
        known.update({(item.address, item.key_id, item.version): item for item in fresh})

    # -- questions --------------------------------------------------------------------------------

    def devices(self, device: str | None = None) -> list[DeviceRow]:
        """Devices whose address fits."""
        with self._asking() as link:
            return queries.read_devices(link, device)

    def readings(self, wanted: ReadingFilter | None = None) -> Iterator[ReadingRow]:
        """Readings in order of time."""
        with self._asking() as link:
            yield from queries.read_readings(link, wanted or ReadingFilter())

    def counts(self) -> Counts:
        """How much is stored."""
        with self._asking() as link:
            return queries.read_counts(link)

    def frames(self, ids: Iterable[int]) -> list[OpenFrame]:
        """Raw frames by id."""
        with self._asking() as link:
            return queries.read_frames(link, list(ids))


def _decode(decoder: Decoder, frame: OpenFrame) -> Decoded:
    telegram = decoder.examine(frame.octets, now=frame.received_at)
    return Decoded(frame.frame_id, frame.received_at, frame.source, telegram)
