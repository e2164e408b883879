"""Doors for streams: standard input, files, TCP (both roles), UDP."""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
import sys
import time
from datetime import datetime
from pathlib import Path

from openmetering.errors import InputError, TransportError
from openmetering.transport.doors import BackOff, Clock, Emit, StreamReader, check_format, keep_connected
from openmetering.transport.links import CHUNK, BlockingReader, Link, StreamLink, open_tcp, wrap
from openmetering.transport.reception import BadLine, Notice, Reception
from openmetering.transport.source_address import Options, SourceAddress, wrong

__all__ = ["FileDoor", "StdinDoor", "TcpClientDoor", "TcpServerDoor", "UdpDoor"]

_POLL = 0.25  #: seconds between two looks at a followed file
_MARK = 4096  #: octets at the start of a file that tell it from another one of the same name


async def _give(items: list[Reception | BadLine], emit: Emit) -> None:
    for item in items:
        await emit(item)


class StdinDoor:
    """Standard input up to its end."""

    def __init__(self, address: SourceAddress, fmt: str = "auto", *, clock: Clock = time.time) -> None:
        options = Options(address)
        self.name = "-"
        self.format = check_format(options.text("format", fmt))
        options.done()
        self._clock = clock

    async def run(self, emit: Emit) -> None:
        """Read until the end of the input."""
        number = sys.stdin.fileno()
        blocking = BlockingReader(lambda: os.read(number, CHUNK), "standard input")
        reader = StreamReader(self.format, self.name)
        try:
            while octets := await blocking.read():
                await _give(reader.feed(octets, self._clock()), emit)
        except OSError as error:
            raise wrap(error, "standard input failed") from error
        finally:
            blocking.stop()
        await _give(reader.close(self._clock()), emit)


def file_mark(path: str) -> str:
    """Length and digest of the first octets of a file: the same file keeps its mark while it grows."""
    with Path(path).open("rb") as file:
        head = file.read(_MARK)
    return f"{len(head)}:{hashlib.blake2b(head, digest_size=12).hexdigest()}"


def same_file(path: str, mark: str) -> bool:
    """True if the file still starts with the octets that the mark stands for."""
    size, _, digest = mark.partition(":")
    with Path(path).open("rb") as file:
        head = file.read(int(size))
    return len(head) == int(size) and hashlib.blake2b(head, digest_size=12).hexdigest() == digest


class FileDoor:
    """A file, from its start or from where it was left; with ``follow`` it waits for more.

    ``resume`` sets the place to go on at; a file that was replaced or cut starts over.
    """

    def __init__(self, address: SourceAddress, fmt: str = "auto", *, clock: Clock = time.time) -> None:
        options = Options(address)
        self.name = address.name
        self.path = address.target
        self.format = check_format(options.text("format", fmt))
        self.follow = options.flag("follow")
        start = options.text("from", "resume")
        if start not in ("start", "resume"):
            raise wrong(f"from={start} is neither start nor resume")
        self.resumable = start == "resume"
        self.replay_start = _moment(options.text("start"))
        options.done()
        self.position = 0
        self._clock = clock

    def mark(self) -> str:
        """What tells this file from another one of the same name. Raises TransportError."""
        try:
            return file_mark(self.path)
        except OSError as error:
            raise wrap(error, f"{self.path} cannot be read", "transport.open") from error

    def resume(self, position: int, mark: str) -> bool:
        """Go on at ``position`` if it is still the same file; tells whether it is."""
        try:
            fits = self.resumable and same_file(self.path, mark) and Path(self.path).stat().st_size >= position
        except (OSError, ValueError):
            return False
        if fits:
            self.position = position
        return fits

    async def run(self, emit: Emit) -> None:
        """Read to the end; with ``follow`` for ever."""
        try:
            while await self._read_file(emit):
                self.position = 0
                await emit(Notice(self.name, "the file was replaced or cut; reading the new one", "warning"))
        except OSError as error:
            raise wrap(error, f"{self.path} cannot be read", "transport.open") from error

    async def _read_file(self, emit: Emit) -> bool:
        """Read one file; True if another one took its name."""
        with Path(self.path).open("rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode) and self.position:
                self.position = 0
            before = await asyncio.to_thread(file.read, self.position)
            reader = StreamReader(
                self.format,
                self.name,
                position=self.position,
                lines_before=before.count(b"\n"),
                replay_start=self.replay_start,
            )
            del before
            while True:
                octets = await asyncio.to_thread(file.read, CHUNK)
                if octets:
                    await _give(reader.feed(octets, self._clock()), emit)
                    continue
                if not self.follow:
                    await _give(reader.close(self._clock()), emit)
                    return False
                if self._replaced(file.fileno(), file.tell()):
                    await _give(reader.close(self._clock()), emit)
                    return True
                await asyncio.sleep(_POLL)

    def _replaced(self, number: int, position: int) -> bool:
        try:
            named = os.stat(self.path)
        except FileNotFoundError:
            return False
        opened = os.fstat(number)
        return (named.st_dev, named.st_ino) != (opened.st_dev, opened.st_ino) or named.st_size < position


def _moment(text: str) -> float | None:
    if not text:
        return None
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise wrong(f"start={text} is no time; write for example 2025-01-31T12:00") from None


class TcpClientDoor:
    """Connects to a server that sends lines or raw frames; connects again after a loss."""

    def __init__(self, address: SourceAddress, fmt: str = "auto", *, clock: Clock = time.time) -> None:
        options = Options(address)
        self.name = address.name
        self.host, self.port = address.target, address.port or 0
        self.format = check_format(options.text("format", fmt))
        self.reconnect = options.flag("reconnect", default=True)
        options.done()
        self.back_off = BackOff()
        self._clock = clock

    async def run(self, emit: Emit) -> None:
        """Deliver until cancelled, or with ``reconnect=no`` until the server closes."""

        async def serve(link: Link) -> None:
            reader = StreamReader(self.format, self.name)
            try:
                while octets := await link.read():
                    await _give(reader.feed(octets, self._clock()), emit)
            finally:
                await _give(reader.close(self._clock()), emit)

        await keep_connected(
            self.name, lambda: open_tcp(self.host, self.port), serve, emit, reconnect=self.reconnect, back_off=self.back_off
        )


class TcpServerDoor:
    """Waits for senders; every connection is a stream of its own. Without a host it listens on all interfaces."""

    LARGEST = 256  #: connections at a time

    def __init__(self, address: SourceAddress, fmt: str = "auto", *, clock: Clock = time.time) -> None:
        options = Options(address)
        self.name = address.name
        self.host, self.port = address.target, address.port or 0
        self.format = check_format(options.text("format", fmt))
        options.done()
        self._clock = clock
        self._open: set[asyncio.Task[None]] = set()

    async def run(self, emit: Emit) -> None:
        """Serve until cancelled."""

        async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            link = StreamLink(self.name, reader, writer)
            task = asyncio.current_task()
            assert task is not None
            if len(self._open) >= self.LARGEST:
                await emit(Notice(self.name, f"{self.LARGEST} senders are connected, one more was refused", "warning"))
                await link.close()
                return
            self._open.add(task)
            try:
                await self._serve(link, emit)
            finally:
                self._open.discard(task)
                await link.close()

        try:
            server = await asyncio.start_server(served, self.host or None, self.port)
        except OSError as error:
            raise wrap(error, f"{self.name} cannot listen", "transport.open") from error
        try:
            self.port = server.sockets[0].getsockname()[1]
            await emit(Notice(self.name, f"listening on port {self.port}"))
            await asyncio.Event().wait()
        finally:
            # not serve_forever: from Python 3.12 on it waits for senders that never hang up
            server.close()
            senders = list(self._open)
            for sender in senders:
                sender.cancel()
            await asyncio.gather(*senders, return_exceptions=True)

    async def _serve(self, link: StreamLink, emit: Emit) -> None:
        stream = StreamReader(self.format, self.name)
        try:
            while octets := await link.read():
                await _give(stream.feed(octets, self._clock()), emit)
        except TransportError as error:
            await emit(Notice(self.name, error.message, "warning", error.code))
        finally:
            await _give(stream.close(self._clock()), emit)


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, queue: asyncio.Queue[bytes]) -> None:
        self.queue = queue
        self.lost = 0

    def datagram_received(self, data: bytes, addr: tuple[str | int, ...]) -> None:
        try:
            self.queue.put_nowait(data)
        except asyncio.QueueFull:
            self.lost += 1


class UdpDoor:
    """One or more frames in a datagram, as lines or raw. What nobody can take in time is counted and told."""

    def __init__(self, address: SourceAddress, fmt: str = "auto", *, clock: Clock = time.time) -> None:
        options = Options(address)
        self.name = address.name
        self.host, self.port = address.target, address.port or 0
        self.format = check_format(options.text("format", fmt))
        options.done()
        self._clock = clock

    async def run(self, emit: Emit) -> None:
        """Serve until cancelled."""
        datagrams = _Datagrams(asyncio.Queue(maxsize=10_000))
        loop = asyncio.get_running_loop()
        try:
            transport, _ = await loop.create_datagram_endpoint(lambda: datagrams, local_addr=(self.host or "0.0.0.0", self.port))
        except OSError as error:
            raise wrap(error, f"{self.name} cannot listen", "transport.open") from error
        self.port = transport.get_extra_info("sockname")[1]
        await emit(Notice(self.name, f"listening on port {self.port}"))
        number = told = 0
        try:
            while True:
                octets = await datagrams.queue.get()
                number += 1
                reader = StreamReader(self.format, self.name, lines_before=number - 1)
                now = self._clock()
                try:
                    await _give(reader.feed(octets, now) + reader.close(now), emit)
                except InputError as error:
                    await emit(BadLine(number, octets.hex(), error, self.name))
                if datagrams.lost > told:
                    lost, told = datagrams.lost - told, datagrams.lost
                    await emit(Notice(self.name, f"{lost} datagrams came too fast and were lost", "warning", "transport.overrun"))
        finally:
            transport.close()
