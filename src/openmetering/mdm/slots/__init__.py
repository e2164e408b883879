"""Register slots of a BSI-type gateway: the value of a register at each quarter of an hour or hour, and how good it is.

    unfold    a compact profile (Annex R) becomes values with times that the gateway makes     ``profile``
    fill      values become slots, each judged by the technical check                          ``grid``
    status    what a check found becomes the status word of the slot                           ``status``

Source: OMS Volume 2 Annex R issue A 1.0.1 (TAF 7); BSI TR-03109-1 and PTB-A 50.8 for what a register has, in our own words.
"""

from __future__ import annotations

from openmetering.mdm.slots.grid import HOUR, QUARTER, Slot, SlotValue, fill, gaps, window_of
from openmetering.mdm.slots.profile import STORAGE, obis_of, unfold
from openmetering.mdm.slots.status import Check, Level, level_of, status_names, status_text, status_word

__all__ = [
    "HOUR",
    "QUARTER",
    "STORAGE",
    "Check",
    "Level",
    "Slot",
    "SlotValue",
    "fill",
    "gaps",
    "level_of",
    "obis_of",
    "status_names",
    "status_text",
    "status_word",
    "unfold",
    "window_of",
]
