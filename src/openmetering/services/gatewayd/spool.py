"""The spool: records on the disk in the order in which they came, and how far they are settled.

    FOLDER/stream                       name of this spool, made with it; numbers are unique under it
    FOLDER/cursor                       number of the last record that is settled
    FOLDER/00000000000000000001.spool   a segment, named by the number of its first record

    segment   8 octets   OMSSPL01
    record    0..3       length of the content, little endian
              4..7       CRC-32 of number and content
              8..15      number of the record, counting from 1
              16..       content

Segments are only ever appended to. ``append`` returns when the records are on the disk. A record that was cut by a
power failure or a kill at the end of the last segment was never acknowledged and is cut off; a damaged record within
a segment is left out, counted, and the rest is read on. The cursor never goes back, and settling again what is settled
does nothing.

Space is bounded: settled segments go when they are older than ``keep`` seconds or the spool is larger than
``limit`` octets; unsettled ones go, oldest first, only when ``limit`` is passed, and are counted as lost.
"""

from __future__ import annotations

import os
import struct
import uuid
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from openmetering.errors import TransportError
from openmetering.services.gatewayd.files import make_folder, save, sync_folder

__all__ = ["Record", "Spool", "SpoolReader"]

_MAGIC: Final = b"OMSSPL01"
_HEAD: Final = struct.Struct("<IIQ")
_LARGEST: Final = 1 << 20  #: octets of a content; what claims more is damage
_CHUNK: Final = 1 << 17  #: octets read at a time
_SUFFIX: Final = ".spool"


class Record(msgspec.Struct, frozen=True):
    """A record and its number."""

    number: int
    content: bytes


class _Damaged(Exception):
    """The record at this place is no whole one. ``rest`` is where the next may begin; None: nowhere."""

    def __init__(self, rest: int | None) -> None:
        super().__init__()
        self.rest = rest


def _take(data: bytes, at: int) -> tuple[Record, int]:
    """The record at a place and the place behind it. Raises _Damaged."""
    if at + _HEAD.size > len(data):
        raise _Damaged(None)
    length, check, number = _HEAD.unpack_from(data, at)
    end = at + _HEAD.size + length
    if length > _LARGEST or end > len(data):
        raise _Damaged(None)
    if zlib.crc32(data[at + 8 : end]) != check:
        raise _Damaged(end)
    return Record(number, data[at + _HEAD.size : end]), end


def _walk(data: bytes, at: int = len(_MAGIC)) -> Iterator[tuple[Record | None, int]]:
    """Records of a segment and the places behind them; None for a damaged one that others follow."""
    while at < len(data):
        try:
            record, at = _take(data, at)
        except _Damaged as damage:
            if damage.rest is None:
                return
            at = damage.rest
            yield None, at
        else:
            yield record, at


def _failed(error: OSError, path: Path) -> TransportError:
    return TransportError(f"{path}: {error.strerror or error}", code="storage.failed", layer="storage")


class _Segment:
    """A file of the spool. ``end`` is the number behind its last record, ``size`` counts octets."""

    __slots__ = ("end", "first", "path", "size", "written")

    def __init__(self, path: Path, first: int, end: int, size: int, written: float) -> None:
        self.path = path
        self.first = first
        self.end = end
        self.size = size
        self.written = written


class Spool:
    """The spool in a folder. One thread at a time may use it; who opens it owns the folder (see ``files.owned``).

    ``segment`` octets after which a new file begins; ``limit`` octets of all files; ``keep`` seconds for what is settled.
    """

    __slots__ = ("_file", "_segments", "damaged", "folder", "keep", "limit", "lost", "segment", "settled", "stream")

    def __init__(self, folder: Path, *, segment: int = 8 << 20, limit: int = 1 << 30, keep: float = 0.0) -> None:
        make_folder(folder)
        self.folder = folder
        self.segment = segment
        self.limit = limit
        self.keep = keep
        self.lost = 0
        self.damaged = 0
        self._file: BinaryIO | None = None
        try:
            self.stream = self._name()
            self.settled = self._cursor()
            self._segments = self._open()
        except OSError as error:
            raise _failed(error, folder) from error
        self.settled = max(self.settled, self.first - 1)

    # -- what is there ---------------------------------------------------------------------------

    @property
    def first(self) -> int:
        """Number of the oldest record that is still there."""
        return self._segments[0].first if self._segments else 1

    @property
    def end(self) -> int:
        """The number that the next record gets."""
        return self._segments[-1].end if self._segments else 1

    @property
    def waiting(self) -> int:
        """How many records are not settled."""
        return self.end - 1 - self.settled

    @property
    def size(self) -> int:
        """Octets on the disk."""
        return sum(one.size for one in self._segments)

    def _name(self) -> str:
        path = self.folder / "stream"
        if path.exists():
            return path.read_text("ascii").strip()
        name = uuid.uuid4().hex
        save(path, name.encode())
        return name

    def _cursor(self) -> int:
        """An unreadable cursor costs a repetition of what was settled, nothing else."""
        try:
            return int((self.folder / "cursor").read_text("ascii"))
        except (FileNotFoundError, ValueError):
            return 0

    def _open(self) -> list[_Segment]:
        """Look at all segments, cut the torn end of the last one. Raises OSError."""
        found: list[_Segment] = []
        paths = sorted(path for path in self.folder.glob(f"*{_SUFFIX}") if path.stem.isdecimal())
        for path in paths:
            last = path == paths[-1]
            first = int(path.stem)
            if not last:  # numbers follow each other: the name of the next segment says where this one ends
                found.append(_Segment(path, first, int(paths[len(found) + 1].stem), path.stat().st_size, path.stat().st_mtime))
                continue
            end, size = self._mend(path, first)
            found.append(_Segment(path, first, end, size, path.stat().st_mtime))
        return found

    def _mend(self, path: Path, first: int) -> tuple[int, int]:
        """Number behind the last whole record of a segment, and its size after the torn end was cut off. Raises OSError."""
        data = path.read_bytes()
        good = len(_MAGIC) if data.startswith(_MAGIC) else 0
        number = first
        for record, place in _walk(data) if good else ():
            if record is not None:
                good, number = place, record.number + 1
        if good < len(data) or not good:
            with path.open("r+b") as file:
                file.truncate(good)
                if not good:
                    file.write(_MAGIC)
                    good = len(_MAGIC)
                file.flush()
                os.fsync(file.fileno())
        return number, good

    # -- writing -----------------------------------------------------------------------------------

    def append(self, contents: Sequence[bytes], now: float) -> int:
        """Write records; when it returns they are on the disk. Returns the number of the first.

        After a failure nothing of them is there, and the same call may be made again.
        Raises TransportError (``storage.failed``)
        """
        first = self.end
        if not contents:
            return first
        parts: list[bytes] = []
        for number, content in enumerate(contents, first):
            head = number.to_bytes(8, "little")
            parts += (struct.pack("<II", len(content), zlib.crc32(content, zlib.crc32(head))), head, content)
        octets = b"".join(parts)
        if not self._segments or self._segments[-1].size + len(octets) > self.segment:
            self._begin(first, now)
        segment = self._segments[-1]
        try:
            file = self._file or segment.path.open("r+b", buffering=0)
            self._file = file
            file.seek(segment.size)
            view = memoryview(octets)
            while view:
                view = view[file.write(view) :]
            os.fsync(file.fileno())
        except OSError as error:
            self._undo(segment)
            raise _failed(error, segment.path) from error
        segment.size += len(octets)
        segment.end = first + len(contents)
        segment.written = now
        self.trim(now)
        return first

    def _begin(self, first: int, now: float) -> None:
        """A new segment. Raises TransportError."""
        self.close()
        if self._segments and self._segments[-1].first == first:  # an empty one is left from a failure
            return
        path = self.folder / f"{first:020d}{_SUFFIX}"
        try:
            with path.open("wb") as file:
                file.write(_MAGIC)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise _failed(error, path) from error
        sync_folder(self.folder)
        self._segments.append(_Segment(path, first, first, len(_MAGIC), now))

    def _undo(self, segment: _Segment) -> None:
        """Cut off what a failed write may have left; the next one writes over it if even that fails."""
        file, self._file = self._file, None
        try:
            if file is not None:
                file.truncate(segment.size)
                file.close()
        except OSError:
            return

    # -- settling ----------------------------------------------------------------------------------

    def settle(self, number: int, now: float) -> None:
        """Everything up to a number has arrived where it should; on the disk when it returns. Raises TransportError."""
        number = min(number, self.end - 1)
        if number <= self.settled:
            return
        save(self.folder / "cursor", str(number).encode())
        self.settled = number
        self.trim(now)

    def trim(self, now: float) -> None:
        """Remove segments that are not needed, or too many. The last one always stays. Raises TransportError."""
        while len(self._segments) > 1:
            oldest = self._segments[0]
            full = self.size > self.limit
            settled = oldest.end - 1 <= self.settled
            if not full and not (settled and now - oldest.written > self.keep):
                return
            try:
                oldest.path.unlink(missing_ok=True)
            except OSError as error:
                raise _failed(error, oldest.path) from error
            if not settled:
                self.lost += oldest.end - 1 - max(self.settled, oldest.first - 1)
                self.settled = oldest.end - 1
            del self._segments[0]

    def close(self) -> None:
        """Close the file; everything that was acknowledged is on the disk already."""
        file, self._file = self._file, None
        if file is not None:
            file.close()

    # -- reading -----------------------------------------------------------------------------------

    def reader(self, number: int) -> SpoolReader:
        """Reads from a number on, up to the newest record, whenever it is asked."""
        return SpoolReader(self, number)

    def segment_of(self, number: int) -> _Segment | None:
        """The segment that holds a record, or the next one there is."""
        return next((one for one in self._segments if number < one.end), None)


class SpoolReader:
    """Where one consumer stands. ``next`` is the number of the record that comes next."""

    __slots__ = ("_at", "_path", "_spool", "next")

    def __init__(self, spool: Spool, number: int) -> None:
        self._spool = spool
        self._path: Path | None = None
        self._at = 0
        self.next = number

    def read(self, count: int) -> list[Record]:
        """At most ``count`` records, fewer at the end of a segment; none when there is nothing new.

        Raises TransportError (``storage.failed``)
        """
        found: list[Record] = []
        while not found:
            segment = self._spool.segment_of(self.next)
            if segment is None:
                return found
            if segment.path != self._path:
                self._path, self._at = segment.path, len(_MAGIC)
            self.next = max(self.next, segment.first)
            if not (self._collect(segment, _CHUNK, count, found) or self._collect(segment, _LARGEST + _HEAD.size, count, found)):
                self._spool.damaged += 1  # the rest of this segment is beyond repair
                self._at = segment.size
            if self._at >= segment.size:
                self.next = max(self.next, segment.end)
        return found

    def _collect(self, segment: _Segment, octets: int, count: int, found: list[Record]) -> bool:
        """Take records out of the next octets of a segment; False where there is not one whole record in them."""
        start = self._at
        try:
            with segment.path.open("rb") as file:
                file.seek(start)
                data = file.read(min(octets, segment.size - start))
        except OSError as error:
            raise _failed(error, segment.path) from error
        for record, place in _walk(data, 0):
            if record is None:
                self._spool.damaged += 1
            elif record.number >= self.next:
                found.append(record)
                self.next = record.number + 1
            self._at = start + place
            if len(found) >= count:
                break
        return self._at > start
