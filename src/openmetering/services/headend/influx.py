"""Readings as InfluxDB line protocol, and a writer that sends them to a server.

    openmetering,address=ELS-12345678-33-07,medium=water,quantity=volume,unit=m3 value=12.345 1768392000000000000

One line for each series of a telegram; compact profiles are left out, for their points have no time in UTC (they are in
the store). Numbers are the field ``value``, dates and texts the field ``text``; storage, tariff, subunit,
function and qualifiers are tags where they are not the usual ones. The time is that of the reception in nanoseconds.
Lines wait in memory while the server is away, the oldest are dropped (and counted) beyond a limit: the readings
themselves are in the store.

Source: InfluxDB documentation, line protocol reference and write API of version 2 (also read by version 3)
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlencode

import msgspec

from openmetering.errors import InputError, TransportError
from openmetering.services.headend.bus import Bus, ReadingsStored
from openmetering.services.headend.webhooks import HttpPoster, Poster
from openmetering.storage.reading_rows import Reading, SeriesKey, device_address

__all__ = ["InfluxSettings", "InfluxWriter", "lines"]

_log = logging.getLogger(__name__)
_PAUSES: Final = (1.0, 5.0, 15.0, 60.0, 300.0)
_PROFILE: Final = "compact profile"  #: qualifier of records that hold many values
_TAG: Final = str.maketrans({",": "\\,", "=": "\\=", " ": "\\ ", "\n": "\\ ", "\r": "\\ "})
_STRING: Final = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r"})
_MEASUREMENT: Final = str.maketrans({",": "\\,", " ": "\\ ", "\n": "\\ "})


class InfluxSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The server: ``url`` up to the host and port, ``token_file`` with the token and nothing else.

    ``batch`` lines of one request at most, ``buffer`` lines that wait at most.
    """

    url: Annotated[str, msgspec.Meta(pattern="^https?://")]
    organization: str
    bucket: str
    token_file: str | None = None
    measurement: Annotated[str, msgspec.Meta(min_length=1)] = "openmetering"
    batch: Annotated[int, msgspec.Meta(ge=1)] = 5000
    buffer: Annotated[int, msgspec.Meta(ge=1)] = 500_000

    def target(self) -> str:
        """The address that lines are posted to."""
        query = urlencode({"org": self.organization, "bucket": self.bucket, "precision": "ns"})
        return f"{self.url.rstrip('/')}/api/v2/write?{query}"

    def headers(self) -> dict[str, str]:
        """Headers of a request; the token is read now. Raises InputError (``influx.token``)"""
        found = {"Content-Type": "text/plain; charset=utf-8", "User-Agent": "openmetering"}
        if self.token_file is not None:
            try:
                token = Path(self.token_file).read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise InputError(f"the token of InfluxDB cannot be read: {error}", code="influx.token") from error
            found["Authorization"] = f"Token {token}"
        return found


def _tag(text: str) -> str:
    """A tag value; it may not end with a backslash, which would escape what follows."""
    return text.translate(_TAG).rstrip("\\")


def _series_tags(series: SeriesKey) -> str:
    pairs: list[tuple[str, str]] = [("quantity", series.quantity), ("unit", series.unit), ("qualifiers", series.qualifiers)]
    pairs += [("obis", series.obis), ("tag", series.tag)]
    if series.function != "instantaneous":
        pairs.append(("function", series.function))
    numbers = (("storage", series.storage), ("tariff", series.tariff), ("subunit", series.subunit))
    pairs += [(name, str(number)) for name, number in numbers if number]
    return "".join(f",{name}={tag}" for name, text in pairs if (tag := _tag(text)))


def _field(reading: Reading) -> str | None:
    """``value`` for numbers, ``text`` for the rest, None where there is nothing."""
    value = reading.value
    if value is None:
        return None
    if reading.exponent is not None:
        return f"value={value}"
    return f'text="{value.translate(_STRING)}"'


def lines(event: ReadingsStored, measurement: str = "openmetering") -> Iterator[str]:
    """The lines of a stored telegram, without line ends; none for a frame of nobody."""
    device, telegram = event.device, event.telegram
    address = device.address if device is not None else device_address(telegram, event.source)
    if address is None:
        return
    medium = device.medium if device is not None and device.medium else ""
    if not medium and telegram.address is not None:
        medium = telegram.address.medium
    place = device.label if device is not None else ""
    head = measurement.translate(_MEASUREMENT)
    for name, text in (("address", address), ("label", place), ("medium", medium)):
        if tag := _tag(text):
            head += f",{name}={tag}"
    moment = round(event.received_at * 1000) * 1_000_000
    seen: set[SeriesKey] = set()
    for reading in event.readings:
        field = None if _PROFILE in reading.series.qualifiers else _field(reading)
        if field is not None and reading.series not in seen:
            seen.add(reading.series)
            yield f"{head}{_series_tags(reading.series)} {field} {moment}"


class InfluxWriter:
    """Sends lines in batches. ``take`` in the threads of the bus, ``flush`` in one thread of its own."""

    __slots__ = ("_failures", "_lines", "_lock", "_poster", "dropped", "news", "refused", "settings", "written")

    def __init__(self, settings: InfluxSettings, poster: Poster | None = None) -> None:
        self.settings = settings
        self._poster: Poster = poster or HttpPoster()
        self._lines: deque[str] = deque()
        self._lock = threading.Lock()
        self._failures = 0
        self.news = threading.Event()
        self.written = 0
        #: lines lost because there were too many, and lines the server would not have
        self.dropped = self.refused = 0

    def __len__(self) -> int:
        return len(self._lines)

    def attach(self, bus: Bus) -> Callable[[], None]:
        """Listen to readings; returns what ends it."""
        return bus.subscribe(ReadingsStored, self.take)

    def take(self, event: ReadingsStored) -> None:
        """Keep the lines of a telegram until they are sent."""
        fresh = list(lines(event, self.settings.measurement))
        with self._lock:
            self._lines.extend(fresh)
            while len(self._lines) > self.settings.buffer:
                self._lines.popleft()
                self.dropped += 1
        if fresh:
            self.news.set()

    def flush(self) -> int:
        """Send everything that waits; returns how many lines the server took.

        A batch that the server calls malformed is counted and dropped. Raises TransportError (``influx.failed``) where
        the server cannot be reached or will not have it now; the lines stay.
        """
        taken = 0
        self.news.clear()
        while batch := self._head():
            status = self._send(batch)
            if status in (400, 413, 422):
                self.refused += len(batch)
                _log.error("InfluxDB answered %d: %d lines are dropped", status, len(batch))
            elif not 200 <= status < 300:
                raise TransportError(f"InfluxDB answered {status}", code="influx.failed")
            else:
                taken += len(batch)
                self.written += len(batch)
            self._done(batch)
        return taken

    def _head(self) -> list[str]:
        with self._lock:
            return [line for line, _ in zip(self._lines, range(self.settings.batch), strict=False)]

    def _done(self, batch: list[str]) -> None:
        """Lines that were dropped meanwhile are not dropped twice."""
        with self._lock:
            for line in batch:
                if self._lines and self._lines[0] is line:
                    self._lines.popleft()

    def _send(self, batch: list[str]) -> int:
        try:
            return self._poster.post(self.settings.target(), self.settings.headers(), "\n".join(batch).encode(), private=True)
        except TransportError as error:
            raise TransportError(f"InfluxDB: {error.message}", code="influx.failed") from error

    def run(self, stop: threading.Event, pause: float = 1.0) -> None:
        """Send until ``stop``, with growing pauses while the server fails. For a thread of its own."""
        while not stop.is_set():
            try:
                self.flush()
                self._failures = 0
            except (TransportError, InputError) as error:
                wait = _PAUSES[min(self._failures, len(_PAUSES) - 1)]
                self._failures += 1
                _log.warning("%s; again in %.0f s", error, wait)
                stop.wait(wait)
                continue
            self.news.wait(pause)
