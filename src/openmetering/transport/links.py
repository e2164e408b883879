"""Octet links: serial lines and TCP connections behind one small interface; threads for what can only block."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, cast

from openmetering.errors import TransportError

if TYPE_CHECKING:
    from serial import Serial
    from serial_asyncio_fast import SerialTransport

__all__ = ["BlockingReader", "Link", "StreamLink", "ThreadLink", "open_serial", "open_tcp", "wrap"]

CHUNK = 65_536


class Link(Protocol):
    """Octets in both directions."""

    async def read(self) -> bytes:
        """The next octets; empty at the end. Raises TransportError."""

    async def write(self, octets: bytes) -> None:
        """Send octets. Raises TransportError."""

    async def retune(self, baud: int) -> None:
        """Go on at another rate once everything has left; a link without a rate of its own stays as it is."""

    async def close(self) -> None:
        """Give the line back."""


def wrap(error: OSError, what: str, code: str = "transport.failed") -> TransportError:
    """The TransportError of an OSError at a door."""
    reason = error.strerror or str(error) or type(error).__name__
    return TransportError(f"{what}: {reason}", code=code, layer="transport")


class StreamLink:
    """A link over asyncio streams."""

    __slots__ = ("_reader", "_writer", "name")

    def __init__(self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.name = name
        self._reader = reader
        self._writer = writer

    async def retune(self, baud: int) -> None:
        """TCP has no rate: the converter at the other end keeps its own."""

    async def read(self) -> bytes:
        """The next octets; empty at the end."""
        try:
            return await self._reader.read(CHUNK)
        except OSError as error:
            raise wrap(error, f"{self.name} was lost", "transport.lost") from error

    async def write(self, octets: bytes) -> None:
        """Send octets."""
        try:
            self._writer.write(octets)
            await self._writer.drain()
        except OSError as error:
            raise wrap(error, f"{self.name} was lost", "transport.lost") from error

    async def close(self) -> None:
        """Close; errors of a line that is gone already do not matter."""
        self._writer.close()
        with contextlib.suppress(OSError, asyncio.TimeoutError):
            await asyncio.wait_for(self._writer.wait_closed(), 1.0)


class SerialStreamLink(StreamLink):
    """A serial line over asyncio streams."""

    __slots__ = ("_serial",)

    def __init__(self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line: Serial) -> None:
        super().__init__(name, reader, writer)
        self._serial = line

    async def retune(self, baud: int) -> None:
        """Wait until what was written has left, then set the rate."""
        await _retune(self._serial, baud, self.name)


class BlockingReader:
    """Reads with a blocking function in a thread of its own.

    The thread waits while nobody takes what it read. It is a daemon thread: a read that
    never returns does not keep the program alive.
    """

    __slots__ = ("_error", "_loop", "_queue", "_read", "_stopped", "_thread")

    def __init__(self, read: Callable[[], bytes], name: str) -> None:
        self._read = read
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[bytes] = asyncio.Queue(maxsize=16)
        self._error: OSError | None = None
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        octets = b"first"
        while octets and not self._stopped:
            try:
                octets = self._read()
            except OSError as error:
                self._error, octets = error, b""
            except (ValueError, TypeError):  # the file was closed while the thread read it
                octets = b""
            try:
                asyncio.run_coroutine_threadsafe(self._queue.put(octets), self._loop).result()
            except (RuntimeError, asyncio.CancelledError):  # the loop is gone
                return

    async def read(self) -> bytes:
        """The next octets; empty at the end. Raises OSError."""
        octets = await self._queue.get()
        if not octets:
            self._queue.put_nowait(b"")
            if self._error is not None:
                raise self._error
        return octets

    def stop(self) -> None:
        """Ask the thread to end after its present read."""
        self._stopped = True
        while not self._queue.empty():
            self._queue.get_nowait()


class ThreadLink:
    """A serial line read by a thread, for systems without serial lines in their event loop."""

    __slots__ = ("_reader", "_serial", "name")

    def __init__(self, name: str, line: Serial) -> None:
        self.name = name
        self._serial = line
        line.timeout = 0.2
        self._reader = BlockingReader(self._wait, f"serial {name}")

    def _wait(self) -> bytes:
        while self._serial.is_open:
            octets = bytes(self._serial.read(max(1, self._serial.in_waiting)))
            if octets:
                return octets
        return b""

    async def read(self) -> bytes:
        """The next octets; empty at the end."""
        try:
            return await self._reader.read()
        except OSError as error:
            raise wrap(error, f"{self.name} was lost", "transport.lost") from error

    async def write(self, octets: bytes) -> None:
        """Send octets."""
        try:
            await asyncio.to_thread(self._serial.write, octets)
        except OSError as error:
            raise wrap(error, f"{self.name} was lost", "transport.lost") from error

    async def retune(self, baud: int) -> None:
        """Wait until what was written has left, then set the rate."""
        await _retune(self._serial, baud, self.name)

    async def close(self) -> None:
        """Close the line and let the thread end."""
        self._reader.stop()
        self._serial.close()


async def _retune(line: Serial, baud: int, name: str) -> None:
    """Set the rate of a serial line behind the last octet. Raises TransportError."""
    try:
        await asyncio.to_thread(line.flush)
        line.baudrate = baud
    except (OSError, ValueError) as error:
        raise TransportError(f"{name} cannot be set to {baud} bit/s: {error}", layer="transport") from error


async def open_serial(device: str, baud: int, *, parity: str = "N", threaded: bool | None = None) -> Link:
    """Open a serial line, 8 data bits, 1 stop bit; ``parity`` N for sticks, E for wired M-Bus.

    Uses pyserial-asyncio-fast if it is there, else (or with ``threaded``) a thread. Pseudo-terminals of Linux have
    no parity and refuse to be asked for it: they are opened without.
    Raises TransportError
    """
    try:
        import serial
    except ImportError:
        raise TransportError(
            "serial lines need the package pyserial: pip install 'openmetering[serial]'",
            code="transport.extra",
            layer="transport",
        ) from None
    if os.path.realpath(device).startswith("/dev/pts/"):
        parity = "N"
    if threaded is None:
        threaded = importlib.util.find_spec("serial_asyncio_fast") is None
    try:
        if threaded:
            return ThreadLink(device, serial.Serial(device, baud, parity=parity))
        import serial_asyncio_fast

        reader, writer = await serial_asyncio_fast.open_serial_connection(url=device, baudrate=baud, parity=parity)
        return SerialStreamLink(device, reader, writer, cast("SerialTransport", writer.transport).serial)
    except (OSError, ValueError) as error:
        if isinstance(error, OSError):
            raise wrap(error, f"{device} cannot be opened (is it plugged in, may you use it?)", "transport.open") from error
        raise TransportError(f"{device}: {error}", code="transport.open", layer="transport") from error


async def open_tcp(host: str, port: int, *, timeout: float = 10.0) -> Link:
    """Connect. Raises TransportError."""
    name = f"{host}:{port}"
    try:
        reader, writer = await asyncio.wait_for(asyncio.open_connection(host, port), timeout)
    except TimeoutError:
        raise TransportError(f"{name} does not answer within {timeout:g} s", code="transport.open", layer="transport") from None
    except OSError as error:
        raise wrap(error, f"{name} cannot be reached", "transport.open") from error
    return StreamLink(name, reader, writer)
