"""The simulated building that ``make run`` shows."""

from __future__ import annotations

from datetime import datetime
from importlib import resources

import msgspec

from openmetering.simulation.plan import WorldPlan, parse_plan

__all__ = ["WITHHELD", "demo_plan"]

#: the device whose key nobody has told the head-end
WITHHELD = ("warm water house/1.2",)
_FILE = "demo_world.toml"


def demo_plan(start: datetime) -> WorldPlan:
    """The plan, beginning at a moment: local time of the meters, without zone."""
    plan = parse_plan(resources.files(__package__).joinpath(_FILE).read_text(encoding="utf-8"), _FILE)
    return msgspec.structs.replace(plan, world=msgspec.structs.replace(plan.world, start=start.replace(tzinfo=None)))
