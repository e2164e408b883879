"""The value of a register at a due date (German: Stichtag): the one a bill is made from.

A due date is the end of its day in local time: the value of 31 December is that of 1 January 00:00, as meters store it.
In this order, the first that is there counts:

    version     somebody or a rule said so (EDITED, or the quality of the version)
    stored      what the meter itself stored for that day            MEASURED, or LATE if it was read later than allowed
    measured    a value received within ``window`` of that moment     MEASURED
    between     two true values around it, not too far apart          INTERPOLATED
    estimate    history, peers, area (see ``estimation``)             by method
    nothing                                                           MISSING

Source: OMS Volume 2 issue 5.0.1 Annex G (due date values, storage 1); HeizkostenV section 9a for estimates.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from datetime import date
from decimal import Decimal
from typing import Final
from zoneinfo import ZoneInfo

import msgspec

from openmetering.mdm.consumption import WINDOW, resolution_of, step
from openmetering.mdm.evidence import Stay, Stored
from openmetering.mdm.findings import Version
from openmetering.mdm.local_time import midnight, next_day
from openmetering.mdm.quality import Quality
from openmetering.mdm.series import Sample, Series

__all__ = ["DueRules", "DueValue", "due_moment", "due_value", "standing"]

_DAY: Final = 86_400.0


class DueRules(msgspec.Struct, frozen=True):
    """``window``  seconds around the moment within which a received value is that of the due date
    ``apart``   seconds that two true values may be apart to interpolate between them (31 days)
    ``late``    seconds after which a stored value that was not read yet counts as LATE
    """

    window: float = WINDOW
    apart: float = 31 * _DAY
    late: float = 45 * _DAY


_RULES: Final = DueRules()


class DueValue(msgspec.Struct, frozen=True):
    """Register value of a device at a due date. ``uncertainty`` is a standard one, in ``unit``; ``source`` who says it."""

    point: str
    at: float
    device: str
    value: Decimal | None
    unit: str
    quality: Quality
    uncertainty: Decimal
    source: str
    reason: str


def due_moment(day: date, zone: ZoneInfo) -> float:
    """When a due date is over, seconds UTC."""
    return midnight(next_day(day), zone)


def standing(stays: Sequence[Stay], moment: float) -> Stay | None:
    """The device that measured until the moment: the one that was exchanged right then is the old one."""
    found = [stay for stay in stays if stay.begin < moment and (stay.end is None or moment <= stay.end)]
    return found[-1] if found else None


def due_value(
    point: str,
    moment: float,
    registers: Sequence[Series],
    stored: Sequence[Stored] = (),
    stays: Sequence[Stay] = (),
    versions: Sequence[Version] = (),
    estimate: Callable[[], DueValue | None] | None = None,
    rules: DueRules = _RULES,
) -> DueValue:
    """The value of a point at ``moment`` (see ``due_moment``). ``registers`` may be cut to what is around it."""
    for version in reversed(versions):
        if version.at == moment and version.value is not None:
            return DueValue(
                point, moment, "", version.value, version.unit, version.quality, version.uncertainty, version.rule, version.reason
            )
    stay = standing(stays, moment)
    device = None if stay is None else stay.device
    mine = [one for one in registers if (device is None or one.register.device == device) and one.samples]
    unit = mine[0].register.unit if mine else next((one.register.unit for one in registers), "")
    for one in stored:
        if one.at == moment and (device is None or one.device == device):
            return _stored(point, moment, one, unit, rules)
    for series in mine:
        found = _around(point, moment, series, rules)
        if found is not None:
            return found
    guess = None if estimate is None else estimate()
    if guess is not None:
        return guess
    return DueValue(point, moment, device or "", None, unit, Quality.MISSING, Decimal(0), "", "no value near the due date")


def _stored(point: str, moment: float, one: Stored, unit: str, rules: DueRules) -> DueValue:
    quality = Quality.LATE if one.read_at - moment > rules.late else Quality.MEASURED
    name = "due date" if one.kind == "due" else "end of month"
    reason = f"stored by the meter ({name}), read {max(0.0, one.read_at - moment) / _DAY:.1f} d later"
    half = resolution_of(one.exponent)
    return DueValue(point, moment, one.device, one.value, unit, quality, half, "meter", reason)


def _around(point: str, moment: float, series: Series, rules: DueRules) -> DueValue | None:
    samples = series.samples
    after = bisect_left(samples, moment, key=lambda sample: sample.at)
    late = samples[after] if after < len(samples) else None
    early = samples[after - 1] if after else None
    near = min((one for one in (early, late) if one is not None), key=lambda one: abs(one.at - moment))
    device, unit = series.register.device, series.register.unit
    resolution = resolution_of(series.exponent)
    if abs(near.at - moment) <= rules.window:
        reason = f"received {abs(near.at - moment) / 60:.0f} min {'before' if near.at < moment else 'after'} the due date"
        uncertainty = _drift(series, early, late, near, moment, resolution)
        return DueValue(point, moment, device, series.value(near), unit, near.quality, uncertainty, "reception", reason)
    if early is None or late is None or late.at - early.at > rules.apart:
        return None
    share = Decimal(moment - early.at) / Decimal(late.at - early.at)
    span = step(early.mantissa, late.mantissa, series.register.capacity)
    value = _wrapped(early.mantissa + int(span * share + Decimal("0.5")), series)
    spread = abs(Decimal(span)).scaleb(series.exponent) * (share * (1 - share)).sqrt()
    reason = (
        f"between {series.value(early):f} {(moment - early.at) / 3600:.1f} h before and "
        f"{series.value(late):f} {(late.at - moment) / 3600:.1f} h after"
    )
    uncertainty = (spread**2 + resolution**2).sqrt()
    return DueValue(point, moment, device, value, unit, Quality.INTERPOLATED, uncertainty, "interpolation", reason)


def _wrapped(mantissa: int, series: Series) -> Decimal:
    capacity = series.register.capacity
    return Decimal(mantissa % capacity if capacity else mantissa).scaleb(series.exponent)


def _drift(
    series: Series, early: Sample | None, late: Sample | None, near: Sample, moment: float, resolution: Decimal
) -> Decimal:
    """What may have been consumed between the value and the moment, at the rate around it."""
    if early is None or late is None:
        return resolution
    span = abs(Decimal(step(early.mantissa, late.mantissa, series.register.capacity))).scaleb(series.exponent)
    share = Decimal(abs(near.at - moment)) / Decimal(late.at - early.at)
    return (span**2 * share * (1 - share) + resolution**2).sqrt()
