"""Protocols of radio sticks, without input or output.

A stick gives the steps that set it up, turns octets into receptions and answers, and
gives the steps that send a frame. The door (``transport.serial_door``) owns the line.
"""

from __future__ import annotations

from openmetering.transport.sticks.amb8465 import Amb8465
from openmetering.transport.sticks.base import Answer, Noise, Step, Stick, StickEvent
from openmetering.transport.sticks.cul import Cul
from openmetering.transport.sticks.im871a import Im871a
from openmetering.transport.sticks.iu891a import Iu891a
from openmetering.transport.sticks.rawtty import RawTty, RtlWmbus
from openmetering.transport.sticks.rc1180 import Rc1180

__all__ = ["PROBE_ORDER", "STICKS", "Answer", "Noise", "Step", "Stick", "StickEvent"]

#: names for ``stick=``
STICKS: dict[str, type[Stick]] = {
    "im871a": Im871a,
    "im170a": Im871a,
    "amb8465": Amb8465,
    "amb3665": Amb8465,
    "cul": Cul,
    "rc1180": Rc1180,
    "iu891a": Iu891a,
    "rtlwmbus": RtlWmbus,
    "rawtty": RawTty,
}

#: detection asks for an answer that no other stick gives; the ones whose question harms nobody come first
PROBE_ORDER: tuple[str, ...] = ("im871a", "iu891a", "cul", "amb8465", "rc1180")
