"""Where foreign programs plug in: a pseudo-terminal, or a TCP port.

    outlet = open_outlet("pty")               a pseudo-terminal; its path is the outlet's name after ``open``
    outlet = open_outlet("pty:meters")        the same, with a symbolic link "meters" to it
    outlet = open_outlet("tcp:127.0.0.1:4001")

Programs come and go; who comes gets nothing that was meant for who was there before. A program that does not
read loses octets, like on a serial line.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Protocol

from openmetering.errors import InputError
from openmetering.transport.links import wrap

__all__ = ["Changed", "Outlet", "Receive", "TcpListener", "open_outlet"]

CHUNK = 4096
LARGEST = 65_536  #: octets that wait for a slow reader
Receive = Callable[[bytes], None]
Changed = Callable[[bool], None]


class Outlet(Protocol):
    """A place where a foreign program plugs in.

    ``name``  what people have to tell their program; valid after ``open``
    ``lost``  octets that nobody read
    """

    name: str
    lost: int

    @property
    def present(self) -> bool:
        """True while somebody is there."""
        ...

    @property
    def baud(self) -> int | None:
        """The rate that the program has set, in bit/s; None where there is no such thing."""
        ...

    async def open(self, receive: Receive, changed: Changed) -> None:
        """Begin. ``receive`` gets octets, ``changed`` whether somebody is there. Raises TransportError."""
        ...

    def write(self, octets: bytes) -> None:
        """Octets for the program; lost if nobody is there."""
        ...

    async def drained(self) -> None:
        """Wait until the program has taken what was written (or has gone)."""
        ...

    async def close(self) -> None:
        """End, in order: what was written goes out if somebody reads."""
        ...


class TcpListener:
    """A TCP port. ``largest`` programs at a time; one more is turned away, like a converter does."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0, *, largest: int = 1) -> None:
        self.host, self.port = host, port
        self.largest = largest
        self.name = f"{host}:{port}"
        self.lost = 0
        self._server: asyncio.Server | None = None
        self._writers: dict[asyncio.StreamWriter, asyncio.Task[None]] = {}
        self._receive: Receive = lambda octets: None
        self._changed: Changed = lambda present: None

    @property
    def present(self) -> bool:
        """True while somebody is connected."""
        return bool(self._writers)

    @property
    def baud(self) -> int | None:
        """None: TCP has no rate."""
        return None

    async def open(self, receive: Receive, changed: Changed) -> None:
        """Listen; port 0 takes a free one. Raises TransportError."""
        self._receive, self._changed = receive, changed
        try:
            self._server = await asyncio.start_server(self._serve, self.host, self.port)
        except OSError as error:
            raise wrap(error, f"{self.name} cannot listen", "transport.open") from error
        self.port = self._server.sockets[0].getsockname()[1]
        self.name = f"{self.host}:{self.port}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._writers) >= self.largest:
            writer.close()
            return
        self._writers[writer] = task
        if len(self._writers) == 1:
            self._changed(True)
        try:
            while octets := await reader.read(CHUNK):
                self._receive(octets)
        except OSError:
            pass  # the connection broke: the same as its end
        finally:
            del self._writers[writer]
            writer.close()
            if not self._writers:
                self._changed(False)

    def write(self, octets: bytes) -> None:
        """Octets for everybody who is connected."""
        if not self._writers:
            self.lost += len(octets)
        for writer in self._writers:
            if writer.transport.get_write_buffer_size() + len(octets) > LARGEST or writer.is_closing():
                self.lost += len(octets)
            else:
                writer.write(octets)

    async def drained(self) -> None:
        """Wait until everybody has taken what was written, or has gone."""
        for writer in tuple(self._writers):
            with contextlib.suppress(OSError):
                await writer.drain()

    async def close(self) -> None:
        """Stop listening, let go who is connected."""
        if self._server is None:
            return
        self._server.close()
        for writer in tuple(self._writers):
            with contextlib.suppress(OSError, TimeoutError):
                await asyncio.wait_for(writer.drain(), 0.5)
            writer.close()
        tasks = tuple(self._writers.values())
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=1.0)
            for task in late:
                task.cancel()
        self._server = None


def open_outlet(text: str, *, baud: int = 2400, largest: int = 1) -> Outlet:
    """The outlet that a text names: ``pty``, ``pty:PATH``, ``tcp:HOST:PORT``, ``tcp:PORT`` (this machine only).

    ``baud`` is the rate that the pseudo-terminal starts with, ``largest`` the number of programs on the TCP port.
    Raises InputError (``input.outlet``)
    """
    kind, _, rest = text.strip().partition(":")
    if kind == "pty":
        from openmetering.simulation.doors.pseudo_terminal import PseudoTerminal  # needs termios, which not every system has

        return PseudoTerminal(rest or None, baud)
    if kind == "tcp":
        host, _, port = rest.removeprefix("//").rpartition(":")
        if port.isdecimal() and int(port) <= 65_535:
            return TcpListener(host.strip("[]") or "127.0.0.1", int(port), largest=largest)
    raise InputError(f"{text!r} is neither pty, pty:PATH nor tcp:HOST:PORT", code="input.outlet", layer="input")
