"""From a plan to devices: which ones there are, where they stand, their addresses and keys.

Everything hangs on the seed and the plan alone. Identification numbers and keys are made up; the maker codes
EX? belong to nobody here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from hashlib import blake2b

import msgspec

from openmetering.codec.address import Address, flag_value
from openmetering.errors import InputError
from openmetering.protocol.device.build import DeviceDescription, GivenKey
from openmetering.protocol.device.endpoint import EndpointConfig
from openmetering.protocol.radio.schedule import maximum_update
from openmetering.simulation.chance import seed_of, uniform
from openmetering.simulation.metrology import MEDIA
from openmetering.simulation.plan import BuildingPlan, MeterGroup, Standing, WorldPlan, names
from openmetering.simulation.propagation import LOSSES, Place
from openmetering.simulation.quarter_profile import nominal_interval

__all__ = ["DeviceSpec", "communication_keys", "derived_key", "devices_of", "place_of", "standing_place"]

_ADAPTER_TYPE = 0x37
_DEFAULT_INTERVAL = 900.0
#: keys a bidirectional device leaves the factory with, beside the communication key: wrappers, image, applications
FACTORY_KEYS = (0x10, 0x12, 0x14, 0x18, 0x1F, 0x20, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27)
_CONSUMER_KEY = 0x08
_STATIC, _CONSUMER = 7, 18


class DeviceSpec(msgspec.Struct, frozen=True):
    """One device: who it is and where. ``description`` is what ``make_device`` takes."""

    label: str
    group: MeterGroup
    description: DeviceDescription
    place: Place
    building: str
    interval: float
    adapter: Address | None = None
    primary: int = 0

    @property
    def address(self) -> Address:
        """Of the application device."""
        return self.description.config.address


def derived_key(seed: str, address: Address, key_id: int) -> bytes:
    """The key of a made-up device: 16 octets that hang on the seed."""
    return blake2b(f"{seed}/key/{address}/{key_id:02X}".encode(), digest_size=16).digest()


class _Numbers:
    """Identification numbers, eight digits, each once."""

    def __init__(self, seed: str) -> None:
        self._seed, self._used = seed, set[int]()

    def take(self, label: str) -> str:
        number = seed_of(self._seed, "number", label) % 100_000_000
        while number in self._used or number == 0:
            number = (number + 1) % 100_000_000
        self._used.add(number)
        return f"{number:08d}"


# -- places -------------------------------------------------------------------------------------


def place_of(number: int, plan: BuildingPlan, where: str, floor: int, flat: int, salt: int, extra: float = 0.0) -> Place:
    """Where something stands in (or at) a building; ``salt`` moves it inside its room.

    Wired to the geometry of ``BuildingPlan``: flats in a row along x, storeys along z.
    """
    x, y = plan.position
    across, along = uniform(salt, 1), uniform(salt, 2)
    wall = max(0.0, LOSSES[plan.walls] - LOSSES["brick"])
    spots = {
        "flat": (floor, max(1, flat), x + (max(1, flat) - 1 + across) * plan.flat_width, extra + wall),
        "staircase": (floor, 0, x + plan.flats * plan.flat_width / 2.0, extra + wall),
        "basement": (-1, 0, x + across * plan.flats * plan.flat_width, extra + wall),
        "roof": (plan.floors, 0, x + plan.flats * plan.flat_width / 2.0, extra),
        "outdoors": (0, 0, x + across * plan.flats * plan.flat_width, extra),
        "pit": (0, 0, x + across * plan.flats * plan.flat_width, extra + LOSSES["pit"]),
    }
    storey, room, at, loss = spots[where]
    inside = where in ("flat", "staircase", "basement")
    beside = y + along * plan.depth if inside or where == "roof" else y - 3.0
    height = {"pit": -0.5, "outdoors": 1.5, "roof": storey * plan.floor_height + 2.0}.get(where, storey * plan.floor_height + 1.2)
    return Place(at, beside, height, number if inside else 0, storey, room, loss)


def standing_place(plan: WorldPlan, standing: Standing, salt: int) -> Place:
    """Where a gateway, repeater or display stands."""
    if standing.position is not None and not standing.building:
        return Place(*standing.position)
    index = next(index for index, one in enumerate(plan.building) if one.name == standing.building)
    return place_of(index + 1, plan.building[index], standing.where, standing.floor, 1, salt)


# -- devices ------------------------------------------------------------------------------------


def _sites(plan: WorldPlan, group: MeterGroup) -> Iterator[tuple[int, BuildingPlan, int, int, str]]:
    """Number of the building, building, floor, flat and a label for every place of a group."""
    wanted = names(group.building)
    for index, building in enumerate(plan.building):
        if wanted and building.name not in wanted:
            continue
        if group.per == "building":
            yield index + 1, building, 0, 0, building.name
        for floor in range(building.floors):
            if group.per == "floor":
                yield index + 1, building, floor, 0, f"{building.name}/{floor}"
            elif group.per == "flat":
                for flat in range(1, building.flats + 1):
                    yield index + 1, building, floor, flat, f"{building.name}/{floor}.{flat}"


def _world_sites(plan: WorldPlan, group: MeterGroup) -> Iterator[tuple[int, BuildingPlan, int, int, str]]:
    """``count`` places in all, spread over the buildings of the group."""
    wanted = names(group.building)
    buildings = [(index + 1, one) for index, one in enumerate(plan.building) if not wanted or one.name in wanted]
    salt = seed_of(plan.world.seed, "spread", group.medium, group.label)
    for number in range(group.count):
        index, building = buildings[int(uniform(salt, number, 1) * len(buildings))] if buildings else (0, BuildingPlan("field"))
        floor = int(uniform(salt, number, 2) * building.floors)
        flat = 1 + int(uniform(salt, number, 3) * building.flats)
        yield index, building, floor, flat, f"{building.name}/{floor}.{flat}"


def interval_of(group: MeterGroup) -> float:
    """Seconds between two transmissions: as planned, as Annex R proposes, or the longest that OMS allows for the medium."""
    if group.interval is not None:
        return group.interval
    medium = MEDIA[group.medium]
    if group.taf7:
        return nominal_interval(medium.device_type) / (1 + group.ratio)
    longest = maximum_update(medium.device_type, sub_metering=group.per == "flat", sensor=medium.sub_type)
    return (longest or _DEFAULT_INTERVAL) / (1 + group.ratio)


def _description(plan: WorldPlan, group: MeterGroup, address: Address) -> DeviceDescription:
    seed, medium = plan.world.seed, MEDIA[group.medium]
    wired = group.segment is not None
    own = bytes.fromhex(group.key) if group.key else derived_key(seed, address, 0)
    keys = [GivenKey(0, own)] if group.profile != "none" else []
    if group.consumer:
        keys.append(GivenKey(_CONSUMER_KEY, derived_key(seed, address, _CONSUMER_KEY)))
    if group.bidirectional or wired:
        keys += [GivenKey(key_id, derived_key(seed, address, key_id)) for key_id in FACTORY_KEYS]
    applications = [0, _STATIC, *([_CONSUMER] if medium.consumer else [])]
    config = EndpointConfig(
        address,
        profile=group.profile,
        wired=wired,
        long_header=wired or group.adapter,
        oms_issue=plan.world.oms_issue,
        key_ids=(0, _CONSUMER_KEY) if group.consumer else (0,),
        consumer_key_id=_CONSUMER_KEY if group.consumer else 0,
        bidirectional=group.bidirectional and not wired,
    )
    return DeviceDescription(
        config, group.options, tuple(keys), tuple(applications), codings=group.codings, epoch=plan.world.start
    )


def devices_of(plan: WorldPlan) -> list[DeviceSpec]:
    """All devices of a plan in order. Raises InputError if labels collide or a group finds no place."""
    numbers = _Numbers(plan.world.seed)
    found: list[DeviceSpec] = []
    labels: set[str] = set()
    for group in plan.meters:
        sites = list(_world_sites(plan, group) if group.per == "world" else _sites(plan, group))
        primary = group.primary
        copies = 1 if group.per == "world" else group.count
        for order, (index, building, floor, flat, site) in enumerate(sites):
            for copy in range(copies):
                label = _label(group, site, copy if copies > 1 else None, labels)
                address = Address(
                    flag_value(group.manufacturer), numbers.take(label), group.version, MEDIA[group.medium].device_type
                )
                salt = seed_of(plan.world.seed, "place", label)
                extra = LOSSES["cabinet"] if group.cabinet else 0.0
                place = place_of(index, building, group.where, floor, flat, salt, extra)
                if index == 0:
                    place = _in_the_field(order, salt, extra)
                adapter = (
                    Address(address.manufacturer, numbers.take("adapter of " + label), 1, _ADAPTER_TYPE)
                    if group.adapter
                    else None
                )
                description = _description(plan, group, address)
                found.append(DeviceSpec(label, group, description, place, building.name, interval_of(group), adapter, primary))
                primary += 1 if primary else 0
    return found


def _label(group: MeterGroup, site: str, copy: int | None, labels: set[str]) -> str:
    """A name for a device: group, site, and a number where several stand at the same site."""
    stem = f"{group.label or group.medium} {site}"
    label, number = (stem if copy is None else f"{stem} #{copy + 1}"), 2
    while label in labels:
        label, number = f"{stem} #{number}", number + 1
    labels.add(label)
    if not site:
        raise InputError(f"group {group.label or group.medium!r} has no place")
    return label


def _in_the_field(order: int, salt: int, extra: float) -> Place:
    """Devices without any building stand around the origin, up to 30 m away."""
    turn, radius = 2.0 * math.pi * uniform(salt, 4), 3.0 + 27.0 * math.sqrt(uniform(salt, 5))
    return Place(radius * math.cos(turn), radius * math.sin(turn), 1.2 + 0.01 * (order % 10), 0, 0, 0, extra)


def communication_keys(spec: DeviceSpec) -> list[GivenKey]:
    """The keys of a device of the plan that its gateway gets: KeyIDs 00 to 0F."""
    return [key for key in spec.description.keys if key.key_id < 0x10]
