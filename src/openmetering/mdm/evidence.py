"""What is known of a metering point in a time: the material on which its values are judged.

Evidence     of one point: the registers of the devices that stood there, their telegrams, what they stored, what was agreed
Balance      of a main meter and those below it

Times are seconds since 1970, UTC. Whoever loads it decides what is known: an empty tuple or None says "unknown", and rules that
need it do not speak.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from openmetering.mdm.series import Series

__all__ = ["Balance", "Evidence", "Heard", "Stay", "Stored"]


class Stay(msgspec.Struct, frozen=True):
    """A device registered at the point: from ``begin`` until ``end`` (None: still there)."""

    device: str
    begin: float
    end: float | None = None

    def within(self, begin: float, end: float) -> tuple[float, float]:
        """The part of a time in which it stood there; the end is not behind the beginning if there is none."""
        return max(self.begin, begin), end if self.end is None else min(self.end, end)


class Heard(msgspec.Struct, frozen=True):
    """A telegram of a device of the point, once for each gateway that reported it.

    ``access_number``   0 to 255, None where the header has none
    ``replayed``        True if its message counter (profile B, D) did not advance, so that the decoder refused it
    ``status``          status octet of the transport layer, None without one; ``flags`` standard error flags by name
    ``meter_time``      clock of the meter as it said it, seconds UTC
    ``repeats``         how often it was repeated on its way: 0 heard directly, 1 by one repeater
    ``opened``          True if its key opened it and its proof held; False if a key failed; None if it was not protected
    """

    at: float
    device: str
    gateway: str = ""
    access_number: int | None = None
    replayed: bool = False
    status: int | None = None
    flags: tuple[str, ...] = ()
    meter_time: float | None = None
    repeats: int = 0
    opened: bool | None = True


class Stored(msgspec.Struct, frozen=True):
    """A value that the meter itself stored.

    ``kind``       ``due`` (value of the due date) or ``month`` (value at the end of a month)
    ``at``         the moment it stands for    ``read_at``  when it was read or received
    """

    kind: str
    device: str
    at: float
    mantissa: int
    exponent: int
    read_at: float

    @property
    def value(self) -> Decimal:
        """In the unit of the register."""
        return Decimal(self.mantissa).scaleb(self.exponent)


class Evidence(msgspec.Struct, frozen=True):
    """All that is known of one metering point between ``begin`` and ``end``.

    ``registers``     the billed register of each device that stood here, the oldest device first; also of devices that were not
                      registered but whose telegrams were given to this point
    ``medium``        and ``unit``: what the point is to measure, as agreed; None if nothing was
    ``size``          name of the size class (``Q3 2.5``, ``6 kW``), by which rules are chosen
    ``maximum``       greatest consumption per hour in ``unit`` (Q4 of water and gas, rated power of heat and electricity)
    ``interval``      seconds between two telegrams as learned; ``grid``  seconds between two values as asked for
    ``peers``         registers of comparable points (same medium and use) in the same time
    ``zone``          IANA name of the local time, in which days, months and due dates begin
    ``previous``      values of the same point before ``begin``, for comparison
    """

    point: str
    begin: float
    end: float
    registers: tuple[Series, ...] = ()
    stays: tuple[Stay, ...] = ()
    heard: tuple[Heard, ...] = ()
    stored: tuple[Stored, ...] = ()
    medium: str | None = None
    unit: str | None = None
    size: str = ""
    maximum: Decimal | None = None
    interval: float | None = None
    grid: float | None = None
    peers: tuple[Series, ...] = ()
    previous: tuple[Series, ...] = ()
    zone: str = "Europe/Berlin"


class Balance(msgspec.Struct, frozen=True):
    """A main meter and its sub-meters over the same time; ``losses`` is the share that may be missing, 0.1 for a tenth."""

    point: str
    begin: float
    end: float
    main: tuple[Series, ...]
    parts: tuple[tuple[Series, ...], ...]
    losses: Decimal = Decimal("0.1")
