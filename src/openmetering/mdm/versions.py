"""Raw values and what became of them: versions laid over a register, and the chain of a moment.

A register as it was received is never changed. ``overlaid`` gives it as it counts: INVALID values left out, values of persons and
rules in their place. Of a moment the version with the greatest number counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal

import msgspec

from openmetering.errors import InputError
from openmetering.mdm.findings import Version
from openmetering.mdm.quality import Quality
from openmetering.mdm.series import Sample, Series

__all__ = ["checked_chain", "edited", "newest", "overlaid"]


def newest(versions: Iterable[Version]) -> dict[float, Version]:
    """The version that counts of each moment."""
    found: dict[float, Version] = {}
    for one in versions:
        known = found.get(one.at)
        if known is None or one.number > known.number:
            found[one.at] = one
    return found


def checked_chain(versions: Sequence[Version]) -> None:
    """The versions of one moment are numbered from 1 without a gap. Raises InputError (``input.option``)"""
    numbers = sorted(one.number for one in versions)
    if numbers != list(range(1, len(numbers) + 1)):
        raise InputError(f"versions {numbers} of one moment: one is missing or there twice", code="input.option")


def edited(
    point: str, at: float, value: Decimal, unit: str, reason: str, by: str, made_at: float, *, uncertainty: Decimal | None = None
) -> Version:
    """A value that a person enters. Raises InputError (``input.option``) without a reason, or for a value that is no number"""
    if not reason.strip():
        raise InputError("a value is edited for a reason; say which", code="input.option")
    if not value.is_finite():
        raise InputError(f"{value} is no value of a register", code="input.option")
    doubt = Decimal(0) if uncertainty is None else uncertainty
    return Version(point, at, 0, value, unit, Quality.EDITED, doubt, "person", reason.strip(), by, made_at)


def overlaid(series: Series, versions: Iterable[Version]) -> Series:
    """The register as it counts. Versions of other units than the register's are left out."""
    counting = newest(versions)
    if not counting:
        return series
    samples = {one.at: one for one in series.samples}
    exponent = series.exponent
    finest = min([exponent, *(_exponent(one.value) for one in counting.values() if one.value is not None)])
    factor = 10 ** (exponent - finest)
    shown = {at: msgspec.structs.replace(one, mantissa=one.mantissa * factor) for at, one in samples.items()}
    for at, version in counting.items():
        if version.value is None:
            if at in shown:
                shown[at] = msgspec.structs.replace(shown[at], quality=version.quality)
        elif version.unit in ("", series.register.unit):
            mantissa = int(version.value.scaleb(-finest))
            shown[at] = Sample(at, mantissa, version.quality, source=version.by)
    kept = (one for _, one in sorted(shown.items()) if one.quality is not Quality.INVALID)
    return Series(series.register, finest, tuple(kept))


def _exponent(value: Decimal) -> int:
    exponent = value.as_tuple().exponent
    return exponent if isinstance(exponent, int) else 0
