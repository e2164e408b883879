"""The last minutes of a register in each telegram: what a meter for TAF 7 sends (OMS Volume 2 Annex R issue A 1.0.1).

base value   storage 3, as old as the actuality duration says
profile      inverse, increments: values of the spacings before it
actuality    whole seconds from the base value to the sending

medium         slots dtRP    window dtAW = 1 %    spacing dtPI = dtAW / 1.5    interval tNOM    values >= 3 tNOM / dtPI + 2
electricity    900 s         9 s                  6 s                          120 s            62
others         3600 s        36 s                 24 s                         480 s            62

Three intervals are the least. If 5 % of telegrams are lost by chance, three in a row leave an empty quarter in a month of three;
a telegram that reaches back over five leaves one in a thousand months (``REACH``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Final

from openmetering.codec.apl.profile import Spacing, pack
from openmetering.codec.apl.records import Record, make, read_header
from openmetering.errors import InputError, OutOfRange

__all__ = ["LEAST_REACH", "REACH", "QuarterProfile", "nominal_interval", "registration_period"]

_QUARTER: Final = 900
_HOUR: Final = 3600
_ELECTRICITY: Final = 0x02
_RATIO: Final = 7.5  #: dtRP / tNOM as Annex R proposes; it allows 4 to 8
_RATIOS: Final = (4.0, 8.0)
_SPACINGS: Final = 150  #: dtRP / dtPI
LEAST_REACH: Final = 3  #: intervals that a telegram reaches back, as Annex R demands
REACH: Final = 5  #: intervals that it reaches back where nothing else is planned
_MOST: Final = 128  #: octets of elements that leave room for the other records of a telegram
_ACTUALITY: Final = bytes.fromhex("C1 01 74")
_DIFE: Final = 0x01


def registration_period(device_type: int) -> int:
    """Seconds of the slots that a meter of this type is read for (dtRP)."""
    return _QUARTER if device_type == _ELECTRICITY else _HOUR


def nominal_interval(device_type: int) -> float:
    """Seconds between two telegrams as Annex R proposes (tNOM)."""
    return registration_period(device_type) / _RATIO


class QuarterProfile:
    """Octets of the profile of one register.

    ``head``      DIB and VIB of the register in storage 0    ``register``  its mantissa at a time, without roll-over
    ``capacity``  where it begins again                       ``phase``     seconds by which it samples beside the full spacing
    ``reach``     intervals that a telegram reaches back, three at least; fewer than planned where they do not fit

    ``values``    of a telegram, the base value included      ``least``     of one whose increments are too wide for that
    """

    __slots__ = ("_capacity", "_header", "_phase", "_register", "least", "spacing", "values")

    def __init__(
        self,
        head: bytes,
        register: Callable[[float], int],
        *,
        device_type: int,
        interval: float,
        capacity: int,
        phase: int = 0,
        reach: int = REACH,
    ) -> None:
        """Raises InputError (``input.option``) for an interval or a reach outside of what Annex R allows"""
        period = registration_period(device_type)
        if not _RATIOS[0] <= period / interval <= _RATIOS[1]:
            low, high = (period / ratio for ratio in reversed(_RATIOS))
            raise InputError(f"a profile for TAF 7 is sent each {low:g} to {high:g} s, not {interval:g}", code="input.option")
        if reach < LEAST_REACH:
            raise InputError(f"a profile for TAF 7 reaches back over three intervals at least, not {reach}", code="input.option")
        self._header, _ = read_header(bytes((head[0] | 0xC0, _DIFE)) + head[1:], 0)
        self._register, self._capacity = register, capacity
        self.spacing = period // _SPACINGS
        self._phase = phase % self.spacing
        self.least = math.ceil(LEAST_REACH * interval / self.spacing) + 2
        self.values = max(self.least, min(math.ceil(reach * interval / self.spacing) + 2, _MOST))

    def sampled_at(self, now: float) -> int:
        """When the newest value of a telegram was taken."""
        return math.floor((now - self._phase) / self.spacing) * self.spacing + self._phase

    def octets(self, now: float) -> bytes:
        """Base value, profile and actuality duration of a telegram that is sent now."""
        newest = self.sampled_at(now)
        numbers = [self._register(newest - self.spacing * back) % self._capacity for back in range(self.values)]
        # at a roll-over the increment is negative: this element and all older ones are invalid, the length stays
        usable = next((at for at in range(1, self.values) if numbers[at] > numbers[at - 1]), self.values)
        exponent = self._header.exponent
        readings = [Decimal(number).scaleb(exponent) for number in numbers[:usable]]
        base = make(self._header, readings[0])
        older = readings[1:] + [None] * (self.values - usable)
        profile = self._packed(base, older)
        return base.octets() + profile.octets() + _ACTUALITY + bytes((round(now - newest),))

    def _packed(self, base: Record, older: Sequence[Decimal | None]) -> Record:
        """All of them, or the least that Annex R demands if their increments need wide elements."""
        spacing = Spacing.of(self.spacing, "s")
        try:
            profile = pack(base, older, spacing=spacing, kind="inverse")
        except OutOfRange:
            profile = None
        if profile is None or len(profile.raw) > _MOST + 2:
            return pack(base, older[: self.least - 1], spacing=spacing, kind="inverse")
        return profile
