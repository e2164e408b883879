"""A pseudo-terminal as outlet: to a program it is a serial line.

Linux pseudo-terminals have neither parity nor a speed: octets pass at once, a program that sets a rate leaves it to be
read (``baud``), one that sets parity gets it refused by the C library (EINVAL, pyserial raises it): such programs
must be told 8N1, or use TCP. Programs that ignore the refusal work.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import termios
import tty
from pathlib import Path

from openmetering.errors import InputError
from openmetering.simulation.doors.outlets import CHUNK, LARGEST, Changed, Receive
from openmetering.transport.links import wrap

__all__ = ["PseudoTerminal"]

_LOOK = 0.02  #: real seconds between two looks whether somebody opened it
_RATES = {
    300: termios.B300,
    600: termios.B600,
    1200: termios.B1200,
    2400: termios.B2400,
    4800: termios.B4800,
    9600: termios.B9600,
    19_200: termios.B19200,
    38_400: termios.B38400,
    57_600: termios.B57600,
    115_200: termios.B115200,
}
_BAUDS = {code: baud for baud, code in _RATES.items()}


class PseudoTerminal:
    """A pseudo-terminal in raw mode: programs open it like a serial line, one after the other.

    ``link``  path of a symbolic link to it, made at ``open``, taken away at ``close``
    ``baud``  rate it has until a program sets another one
    """

    def __init__(self, link: str | None = None, baud: int = 2400) -> None:
        if baud not in _RATES:
            raise InputError(f"{baud} bit/s is no rate of a serial line", layer="input")
        self.name = link or "pty"
        self.lost = 0
        self._link = Path(link) if link else None
        self._default = baud
        self._master: int | None = None
        self._path = ""
        self._out = bytearray()
        self._present = False
        self._timer: asyncio.TimerHandle | None = None
        self._empty = asyncio.Event()
        self._empty.set()
        self._receive: Receive = lambda octets: None
        self._changed: Changed = lambda present: None

    @property
    def present(self) -> bool:
        """True while a program has it open."""
        return self._present

    @property
    def baud(self) -> int | None:
        """The rate that the program has set."""
        if self._master is None:
            return None
        try:
            return _BAUDS.get(termios.tcgetattr(self._master)[5])
        except termios.error:
            return None

    async def open(self, receive: Receive, changed: Changed) -> None:
        """Make the pseudo-terminal."""
        self._receive, self._changed = receive, changed
        try:
            self._master, slave = os.openpty()
            self._path = os.ttyname(slave)
            os.close(slave)
            os.set_blocking(self._master, False)
            self._prepare()
            self._make_link()
        except OSError as error:
            await self.close()
            raise wrap(error, "no pseudo-terminal", "transport.open") from error
        self.name = str(self._link or self._path)
        self._look()

    def _prepare(self) -> None:
        """Raw mode, the default rate, nothing waiting for the next program."""
        slave = os.open(self._path, os.O_RDWR | os.O_NOCTTY)
        try:
            tty.setraw(slave)
            attributes = termios.tcgetattr(slave)
            attributes[4] = attributes[5] = _RATES[self._default]
            termios.tcsetattr(slave, termios.TCSANOW, attributes)
            termios.tcflush(slave, termios.TCIOFLUSH)
        finally:
            os.close(slave)

    def _make_link(self) -> None:
        if self._link is None:
            return
        if self._link.is_symlink():
            self._link.unlink()
        self._link.symlink_to(self._path)

    # -- programs come and go ------------------------------------------------------------------

    def _look(self) -> None:
        """Has somebody opened it? There is no event for that, so it is asked for."""
        self._timer = None
        if self._master is None:
            return
        poll = select.poll()
        poll.register(self._master, select.POLLIN)
        if any(event & select.POLLHUP for _, event in poll.poll(0)):
            self._timer = asyncio.get_running_loop().call_later(_LOOK, self._look)
            return
        self._present = True
        asyncio.get_running_loop().add_reader(self._master, self._readable)
        self._changed(True)

    def _readable(self) -> None:
        assert self._master is not None
        try:
            octets = os.read(self._master, CHUNK)
        except BlockingIOError:
            return
        except OSError:
            octets = b""  # EIO: the last program has closed it
        if octets:
            self._receive(octets)
        else:
            self._gone()

    def _gone(self) -> None:
        loop = asyncio.get_running_loop()
        assert self._master is not None
        loop.remove_reader(self._master)
        self._discard()
        self._present = False
        with contextlib.suppress(OSError, termios.error):
            self._prepare()
        self._changed(False)
        self._timer = loop.call_later(_LOOK, self._look)

    # -- octets for the program -----------------------------------------------------------------

    def write(self, octets: bytes) -> None:
        """Octets for the program."""
        room = LARGEST - len(self._out) if self._present else 0
        self.lost += max(0, len(octets) - room)
        waiting = bool(self._out)
        self._out += octets[:room]
        if self._out and not waiting:
            self._empty.clear()
            self._push()

    def _push(self) -> None:
        if self._master is None:
            return
        loop = asyncio.get_running_loop()
        try:
            del self._out[: os.write(self._master, self._out)]
        except BlockingIOError:
            pass
        except OSError:
            self._discard()
        if self._out:
            loop.add_writer(self._master, self._push)
        else:
            loop.remove_writer(self._master)
            self._empty.set()

    def _discard(self) -> None:
        self.lost += len(self._out)
        self._out.clear()
        if self._master is not None:
            asyncio.get_running_loop().remove_writer(self._master)
        self._empty.set()

    async def drained(self) -> None:
        """Wait until the program has taken what was written."""
        await self._empty.wait()

    async def close(self) -> None:
        """Give the pseudo-terminal back; programs that have it open see a hang-up."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._empty.wait(), 0.5)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._master is not None:
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._master)
            loop.remove_writer(self._master)
            os.close(self._master)
            self._master = None
        if self._link is not None and self._link.is_symlink() and os.readlink(self._link) == self._path:
            self._link.unlink()
        self._present = False
