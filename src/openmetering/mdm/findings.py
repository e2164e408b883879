"""What a rule found, and the versions that come of it. A raw value is never changed; a version is put beside it."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from openmetering.mdm.quality import Quality

__all__ = ["Finding", "Version"]


class Finding(msgspec.Struct, frozen=True):
    """One rule that spoke.

    ``rule``       its id, as in the table of rules         ``severity``  ``warn`` or ``fail``
    ``begin``      and ``end``: the time it is about         ``reason``    a sentence with the numbers that decided
    ``samples``    moments of the values it is about; with ``fail`` they become INVALID
    """

    rule: str
    severity: str
    point: str
    device: str
    begin: float
    end: float
    reason: str
    samples: tuple[float, ...] = ()


class Version(msgspec.Struct, frozen=True):
    """A value of a point at a moment, as somebody or some rule says it is.

    ``number``     1 for the first version of this moment; the greatest counts
    ``value``      in ``unit``, None if INVALID or MISSING   ``uncertainty``  standard one, 0 if measured
    ``rule``       that made it (of validation or estimation), or ``person``
    ``reason``     why, with the numbers                     ``by``  login of the person, or ``openmetering``
    """

    point: str
    at: float
    number: int
    value: Decimal | None
    unit: str
    quality: Quality
    uncertainty: Decimal
    rule: str
    reason: str
    by: str
    made_at: float
