"""Compact profiles for TAF 7 unfolded: values of the past with times that the gateway makes.

    reception          age           spacing   spacing
    telegram heard <---------- base <------- 1 <------- 2 ...        time of value i = reception - age - i x spacing

The age of the base value is the actuality duration or a relative base time; a clock of the meter is noted but not relied on.
Each telegram reaches back over three intervals or more, so that what a lost one would have said stands in the next ones.

Source: OMS Volume 2 Annex R issue A 1.0.1: inverse profile, storage 3, base value mandatory; an invalid base value makes the
profile useless, an invalid element ends it.
"""

from __future__ import annotations

from typing import Final

from openmetering.codec.apl.header import RecordHeader
from openmetering.codec.apl.profile import ProfileSeries
from openmetering.mdm.slots.grid import SlotValue
from openmetering.telegram.answer import describe

__all__ = ["STORAGE", "obis_of", "unfold"]

#: storage number of everything that belongs to a profile for TAF 7
STORAGE: Final = 3


def unfold(
    profile: ProfileSeries,
    received_at: float,
    *,
    status: int = 0,
    proven: bool | None = None,
    synchronised: bool = True,
    meter_time: float | None = None,
) -> tuple[SlotValue, ...]:
    """The values of a profile, the base value first, then back in time; empty for profiles that are not for TAF 7.

    ``status``, ``proven`` and ``synchronised`` are those of the telegram (see ``SlotValue``); ``meter_time`` is the base time
    of a device that has a clock, seconds UTC.
    """
    if profile.kind != "inverse" or profile.reference != "reception" or profile.header.storage != STORAGE:
        return ()
    if profile.base_value is None or profile.fault is not None:
        return ()
    base = profile.base_offset
    pairs = [(base, profile.base_value)]
    for point in profile.points:
        if point.value is None or point.offset is None:
            break
        pairs.append((point.offset, point.value))
    return tuple(
        SlotValue(
            received_at + offset,
            value,
            received_at,
            None if meter_time is None else meter_time + offset - base,
            status,
            proven,
            synchronised,
        )
        for offset, value in pairs
    )


def obis_of(header: RecordHeader, device_type: int) -> str:
    """The OBIS code of a record or of the values of a profile; empty if Annex A has none for the device."""
    codes = describe(header, device_type)[1]
    return codes[0] if codes else ""
