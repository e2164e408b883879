"""When a gateway may transmit, and with which access number.

    end of a datagram of the device --- t_RO ---> first chip of the gateway     window, by mode and D bit
    one transmitter, half duplex                                               transmissions must not overlap
    access number of a new datagram                                            not used for this device within 300 s

Source: OMS Volume 2 5.0.1 clauses 4 and 5 (clauses to confirm); EN 13757-4 (response timing, clause to confirm).
"""

from __future__ import annotations

from typing import Final

import msgspec

from openmetering.protocol.machine import Dice
from openmetering.protocol.radio.datagram import WINDOWS, Mode

__all__ = ["AT_ONCE", "REUSE", "AccessMemory", "AccessNumbers", "Transmitter", "Window", "airtime", "window_after"]

REUSE: Final = 300.0  #: seconds in which an access number is not used for a new datagram to the same device
AT_ONCE: Final = 0.5  #: seconds in which a datagram to a device that listens all the time must start
_AHEAD: Final = 16  #: access numbers that are written down ahead
_NUMBERS: Final = 256
#: downlink: chips in front and behind (shortest preamble, sync word, postamble), chips an octet, chips a second
_DOWNLINK: Final[dict[Mode, tuple[int, int, int]]] = {"S": (56, 16, 32_768), "T": (56, 16, 32_768), "C": (64, 8, 50_000)}


class Window(msgspec.Struct, frozen=True):
    """When the first chip of the gateway may leave: seconds, absolute."""

    opens: float
    closes: float


def window_after(mode: Mode, ended: float, *, fast: bool) -> Window:
    """The window behind a datagram that ended at ``ended``; ``fast`` is the D bit of its CC (mode C only)."""
    delay = WINDOWS[mode, fast]
    return Window(ended + delay.earliest, ended + delay.latest)


def airtime(mode: Mode, frame: bytes) -> float:
    """Seconds that a downlink frame (given without CRCs) takes on air in frame format A.

    Octets on air: those of the frame and two of CRC for each block (10, then 16 octets)
    Source   EN 13757-4, frame format A; line codes and chip rates as in ``radio_modes.csv``
    """
    size = len(frame) + 2 * (1 + max(0, (len(frame) - 10 + 15) // 16))
    around, chips, rate = _DOWNLINK[mode]
    return (around + chips * size) / rate


class Transmitter:
    """The transmitter of a gateway: one frame at a time."""

    __slots__ = ("_planned",)

    def __init__(self) -> None:
        self._planned: list[tuple[float, float]] = []

    def free(self, window: Window, seconds: float) -> bool:
        """True if a frame of that length, started anywhere in the window, meets no other of ours."""
        return all(window.closes + seconds <= start or window.opens >= end for start, end in self._planned)

    def plan(self, window: Window, seconds: float, now: float) -> None:
        """Take the time; what lies in the past is forgotten."""
        self._planned = [span for span in self._planned if span[1] > now]
        self._planned.append((window.opens, window.closes + seconds))

    def sent(self, started: float, ended: float) -> None:
        """A frame left: put what really happened in the place of its plan."""
        self._planned = [span for span in self._planned if not span[0] <= started <= span[1]]
        self._planned.append((started, ended))


class AccessMemory(msgspec.Struct, frozen=True):
    """Access numbers of a device that must survive: the next one that was surely not used, and uses with their times."""

    address: bytes
    following: int
    used: tuple[tuple[int, float], ...] = ()


class _Uses:
    __slots__ = ("following", "mark", "used")

    def __init__(self, following: int) -> None:
        self.following = following
        self.mark = following  #: numbers before it may be used without writing anything down
        self.used: dict[int, float] = {}


class AccessNumbers:
    """Numbers for datagrams of a gateway, one row per device.

    They count up from a random start. ``unsaved`` turns True when a number beyond those written down is used;
    after a restart the row goes on at the mark, so the last numbers before it are not used again at once.
    Times of ``now`` must go on over a restart for the 300 s to hold as well.
    """

    __slots__ = ("_dice", "_rows", "unsaved")

    def __init__(self, dice: Dice, memory: tuple[AccessMemory, ...] = ()) -> None:
        self._dice = dice
        self._rows: dict[bytes, _Uses] = {}
        for entry in memory:
            row = self._rows[entry.address] = _Uses(entry.following)
            row.used = dict(entry.used)
        self.unsaved = False

    def take(self, address: bytes, now: float) -> int | None:
        """The number of a new datagram; None while all 256 were used within 300 s.

        Source   OMS Volume 2 5.0.1 clause 7 (access number of the gateway, clause to confirm)
        """
        row = self._rows.get(address)
        if row is None:
            row = self._rows[address] = _Uses(int(self._dice() * _NUMBERS) % _NUMBERS)
        last = row.used.get(row.following)
        if last is not None and now - last <= REUSE:
            return None  # they are used in turn: the others are younger
        number = row.following
        if number == row.mark:
            row.mark = (number + _AHEAD) % _NUMBERS
            self.unsaved = True
        row.following = (number + 1) % _NUMBERS
        row.used[number] = now
        return number

    def snapshot(self, now: float) -> tuple[AccessMemory, ...]:
        """The rows as values; uses older than 300 s are left out."""
        rows = []
        for address, row in self._rows.items():
            recent = tuple((number, used) for number, used in row.used.items() if now - used <= REUSE)
            rows.append(AccessMemory(address, row.mark, recent))
        return tuple(rows)
