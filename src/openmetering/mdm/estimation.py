"""Estimates of what was not measured, in the order of HeizkostenV section 9a (1): history, comparable rooms, average by area.

    history   the same point in the same days a year before
    peers     comparable points in the time itself, scaled by what this point uses against them in the time that both were read
    area      the mean of the peers by area, times the area of the unit

A standard uncertainty comes with each: of history the spread of this point's months against the peers if known, else a fifth; of
peers and area the spread of what the single peers would give (not that of their mean: it is one household that is estimated).
Section 9a (2): where more than a quarter of the area of a building is estimated, its costs go by area alone (``share``).
Confidence [S]: the text of the ordinance is public; the uncertainties are ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import Final

import msgspec

from openmetering.mdm.consumption import Advance, Amount, worst
from openmetering.mdm.quality import Quality

__all__ = ["LIMIT", "Estimate", "Hole", "Material", "Share", "billed", "estimate", "share"]

_DAY: Final = 86_400.0
_YEAR: Final = 365 * _DAY
_LEAST_PEERS: Final = 3
_REFERENCE: Final = 14 * _DAY  #: shortest time that tells how a point compares with others
_USUAL: Final = Decimal("0.2")  #: standard uncertainty of the year before, as a share
#: share of the area that may be estimated (HeizkostenV section 9a (2))
LIMIT: Final = Decimal("0.25")


class Hole(msgspec.Struct, frozen=True):
    """A time in which nothing was counted that could be billed, and why."""

    begin: float
    end: float
    why: str


class Material(msgspec.Struct, frozen=True):
    """What an estimate may be made from: the point itself, its peers, their areas (None where unknown)."""

    own: Advance
    peers: tuple[Advance, ...] = ()
    areas: tuple[float | None, ...] = ()
    area: float | None = None


class Estimate(msgspec.Struct, frozen=True):
    """What was probably consumed. ``uncertainty`` is a standard one."""

    value: Decimal
    quality: Quality
    uncertainty: Decimal
    reason: str


class Share(msgspec.Struct, frozen=True):
    """How much of a building is estimated, by area; ``exceeded``: its costs go by area alone."""

    estimated: Decimal
    whole: Decimal

    @property
    def part(self) -> Decimal:
        """0 to 1."""
        return self.estimated / self.whole if self.whole else Decimal(0)

    @property
    def exceeded(self) -> bool:
        """More than a quarter."""
        return self.part > LIMIT


def share(units: Iterable[tuple[float, bool]]) -> Share:
    """The share of a building: area of each unit, and whether something of it is estimated."""
    pairs = [(Decimal(str(area)), estimated) for area, estimated in units]
    return Share(sum((area for area, yes in pairs if yes), Decimal(0)), sum((area for area, _ in pairs), Decimal(0)))


def estimate(material: Material, begin: float, end: float) -> Estimate | None:
    """What was probably consumed from ``begin`` to ``end``; None if nothing is known to compare with."""
    methods: tuple[Callable[[Material, float, float], Estimate | None], ...] = (_history, _peers, _area)
    return next((found for method in methods if (found := method(material, begin, end)) is not None), None)


def _history(material: Material, begin: float, end: float) -> Estimate | None:
    own = material.own
    before = own.amount(begin - _YEAR, end - _YEAR, edge=2 * _DAY)
    if before.value is None or before.value < 0:
        return None
    spread = max(before.value * _USUAL, before.uncertainty)
    return Estimate(before.value, Quality.HISTORY, spread, f"as in the same days of the year before: {before.value:.3f}")


def _peers(material: Material, begin: float, end: float) -> Estimate | None:
    guesses = [guess for peer in material.peers if (guess := _by_peer(material.own, peer, begin, end)) is not None]
    if len(guesses) < _LEAST_PEERS:
        return None
    mean, spread = _mean(guesses)
    return Estimate(mean, Quality.PEERS, spread, f"as {len(guesses)} comparable points: {mean:.3f} ± {spread:.3f}")


def _by_peer(own: Advance, peer: Advance, begin: float, end: float) -> Decimal | None:
    """What the point would have used, had it kept its proportion to one peer."""
    wanted = peer.amount(begin, end, edge=2 * _DAY)
    if wanted.value is None:
        return None
    mine = theirs = Decimal(0)
    for first, last in _outside(own, peer, begin, end):
        here, there = own.amount(first, last, edge=2 * _DAY), peer.amount(first, last, edge=2 * _DAY)
        if here.value is not None and there.value is not None:
            mine += here.value
            theirs += there.value
    return wanted.value * mine / theirs if theirs > 0 and mine >= 0 else None


def _outside(own: Advance, peer: Advance, begin: float, end: float) -> list[tuple[float, float]]:
    """The times before and behind in which both were read."""
    if not own.times or not peer.times:
        return []
    first, last = max(own.times[0], peer.times[0]), min(own.times[-1], peer.times[-1])
    found = [(first, min(begin, last)), (max(end, first), last)]
    return [(one, other) for one, other in found if other - one >= _REFERENCE]


def _area(material: Material, begin: float, end: float) -> Estimate | None:
    if material.area is None:
        return None
    each = [
        amount.value / Decimal(str(area))
        for peer, area in zip(material.peers, material.areas, strict=False)
        if area and (amount := peer.amount(begin, end, edge=2 * _DAY)).value is not None
    ]
    if len(each) < _LEAST_PEERS:
        return None
    area = Decimal(str(material.area))
    mean, spread = _mean(each)
    words = f"{mean:.4f} for each of {area} m2, mean of {len(each)} comparable units"
    return Estimate(mean * area, Quality.AREA, spread * area, words)


def _mean(values: Sequence[Decimal]) -> tuple[Decimal, Decimal]:
    """Mean and spread (standard deviation of the single one)."""
    count = len(values)
    mean = sum(values, Decimal(0)) / count
    return mean, (sum(((one - mean) ** 2 for one in values), Decimal(0)) / (count - 1)).sqrt()


def billed(material: Material, begin: float, end: float, holes: Sequence[Hole] = (), window: float = _DAY) -> Amount:
    """What a point is billed for: measured where it was, estimated in its holes. ``holes`` lie within the time and apart.

    A time before the first or behind the last value is a hole of its own. What the register did count in a hole is taken away
    from the estimate.
    """
    own = material.own
    if not own.times:
        return _whole(material, begin, end)
    gaps = [one for one in holes if one.end > begin and one.begin < end]
    first, last = max(begin, own.times[0]), min(end, own.times[-1])
    if own.times[0] - begin > window:
        gaps.append(Hole(begin, min(end, own.times[0]), "no value before"))
    if end - own.times[-1] > window:
        gaps.append(Hole(max(begin, own.times[-1]), end, "no value behind"))
    if last <= first:
        return _whole(material, begin, end)
    known = own.amount(
        first if own.times[0] - begin > window else begin, last if end - own.times[-1] > window else end, edge=window
    )
    if known.value is None:
        return known
    value, variance, qualities, reasons = known.value, known.uncertainty**2, [known.quality], [known.reason]
    for gap in gaps:
        found = estimate(material, max(begin, gap.begin), min(end, gap.end))
        if found is None:
            return Amount(begin, end, None, own.unit, Quality.MISSING, Decimal(0), f"{gap.why}, and nothing to compare with")
        counted = (
            own.amount(max(first, gap.begin), min(last, gap.end), edge=window).value
            if gap.begin < last and gap.end > first
            else None
        )
        value += max(found.value - (counted or Decimal(0)), Decimal(0))
        variance += found.uncertainty**2
        qualities.append(found.quality)
        reasons.append(f"{gap.why}: {found.reason}")
    return Amount(begin, end, value, own.unit, worst(qualities), variance.sqrt(), "; ".join(reasons))


def _whole(material: Material, begin: float, end: float) -> Amount:
    """Nothing was read at all: the average by area, if there is one."""
    found = _area(material, begin, end)
    unit = next((peer.unit for peer in material.peers), "")
    if found is None:
        return Amount(begin, end, None, unit, Quality.MISSING, Decimal(0), "no value, and nothing to compare with")
    return Amount(begin, end, found.value, unit, found.quality, found.uncertainty, f"no value: {found.reason}")
