"""Series of values as meter data management sees them: whole numbers, one exponent, one unit, rising times.

Series(register, exponent, samples)      value of a sample = mantissa x 10 ** exponent, in the register's unit
"""

from __future__ import annotations

from bisect import bisect_right
from decimal import Decimal

import msgspec

from openmetering.mdm.quality import Quality

__all__ = ["Register", "Sample", "Series"]


class Register(msgspec.Struct, frozen=True):
    """One register of one device at one metering point.

    ``device``   address as the store writes it      ``tag``  of the data point (Annex B), or its headers in hexadecimal
    ``quantity`` and ``unit``  names as the decoder writes them; ``obis`` where the tables have one
    ``digits``   decimal digits of the field, for roll-over; None if binary (``bits`` then says how wide)
    """

    device: str
    tag: str
    medium: str
    quantity: str
    unit: str
    obis: str | None = None
    digits: int | None = None
    bits: int | None = None

    @property
    def capacity(self) -> int | None:
        """The mantissa at which the register begins again at zero; None if unknown."""
        if self.digits is not None:
            return int(10**self.digits)
        return None if self.bits is None else 1 << self.bits


class Sample(msgspec.Struct, frozen=True):
    """A value at a moment. Times are seconds since 1970, UTC.

    ``at``           when the value held       ``received_at``  when it was received
    ``status``       status octet of the transport layer, None if the value is not from a telegram
    ``source``       who says so: a gateway, a file, a rule, a person
    """

    at: float
    mantissa: int
    quality: Quality = Quality.MEASURED
    received_at: float | None = None
    status: int | None = None
    source: str = ""


class Series(msgspec.Struct, frozen=True):
    """Samples of a register, the oldest first; of the same moment at most one."""

    register: Register
    exponent: int
    samples: tuple[Sample, ...]

    def value(self, sample: Sample) -> Decimal:
        """The value in the unit of the register."""
        return Decimal(sample.mantissa).scaleb(self.exponent)

    def at(self, moment: float) -> Sample | None:
        """The newest sample not after a moment."""
        place = bisect_right(self.samples, moment, key=lambda sample: sample.at)
        return self.samples[place - 1] if place else None

    def between(self, begin: float, end: float) -> tuple[Sample, ...]:
        """Samples with ``begin <= at < end``."""
        return tuple(sample for sample in self.samples if begin <= sample.at < end)
