"""From a plan to devices: numbers, places, keys, intervals."""

from __future__ import annotations

from openmetering.protocol.device.build import make_device
from openmetering.protocol.device.contents import FixedReadings
from openmetering.protocol.device.memory import DeviceMemory
from openmetering.simulation.building import (
    FACTORY_KEYS,
    communication_keys,
    derived_key,
    devices_of,
    interval_of,
    standing_place,
)
from openmetering.simulation.city import city
from openmetering.simulation.plan import DisplayPlan, GatewayPlan, MeterGroup, WorldPlan, parse_plan
from openmetering.simulation.propagation import LOSSES

TWO = """
[[building]]
name = "A"
floors = 3
flats = 2
[[building]]
name = "B"
floors = 1
flats = 4
position = [100.0, 50.0]
walls = "concrete"
"""


def plan(groups: str) -> WorldPlan:
    return parse_plan(TWO + groups)


def test_one_for_each_flat_floor_building_or_in_all() -> None:
    text = "".join(f'[[meters]]\nmedium = "gas"\nlabel = "{per}"\nper = "{per}"\n' for per in ("flat", "floor", "building"))
    text += '[[meters]]\nmedium = "gas"\nlabel = "spread"\nper = "world"\ncount = 7\n'
    labels = [spec.label for spec in devices_of(plan(text))]
    assert sum(label.startswith("flat") for label in labels) == 6 + 4
    assert sum(label.startswith("floor") for label in labels) == 3 + 1
    assert sum(label.startswith("building") for label in labels) == 2
    assert sum(label.startswith("spread") for label in labels) == 7
    assert "flat A/2.1" in labels
    assert "floor B/0" in labels


def test_count_multiplies_and_numbers() -> None:
    labels = [spec.label for spec in devices_of(plan('[[meters]]\nmedium = "gas"\nper = "building"\ncount = 2'))]
    assert labels == ["gas A #1", "gas A #2", "gas B #1", "gas B #2"]


def test_equal_labels_are_told_apart() -> None:
    text = '[[meters]]\nmedium = "gas"\nper = "building"\nbuilding = "A"\n' * 3
    assert [spec.label for spec in devices_of(plan(text))] == ["gas A", "gas A #2", "gas A #3"]


def test_addresses_and_keys_are_unique_and_stay_the_same() -> None:
    specs = devices_of(city(2000, 4))
    assert len(specs) == 2000
    assert len({spec.address.link_octets() for spec in specs}) == 2000
    assert len({spec.description.keys[0].octets for spec in specs}) == 2000
    again = devices_of(city(2000, 4))
    assert [spec.address for spec in specs] == [spec.address for spec in again]
    assert [spec.place for spec in specs] == [spec.place for spec in again]
    other = devices_of(city(2000, 4, seed="elsewhere"))
    assert specs[0].address != other[0].address


def test_another_group_does_not_move_the_first_one() -> None:
    first = '[[meters]]\nmedium = "gas"\n'
    alone = devices_of(plan(first))
    beside = devices_of(plan(first + '[[meters]]\nmedium = "heat"\n'))
    assert [spec.address for spec in alone] == [spec.address for spec in beside[: len(alone)]]


def test_places() -> None:
    spots = ("flat", "staircase", "basement", "roof", "outdoors", "pit")
    text = "".join(f'[[meters]]\nmedium = "gas"\nlabel = "{spot}"\nper = "building"\nwhere = "{spot}"\n' for spot in spots)
    found = {spec.label: spec.place for spec in devices_of(plan(text))}
    assert (found["basement A"].floor, found["basement A"].building) == (-1, 1)
    assert found["basement A"].z < 0
    assert found["staircase B"].building == 2
    assert found["outdoors A"].building == found["pit A"].building == found["roof A"].building == 0
    assert found["pit A"].extra == LOSSES["pit"]
    assert found["roof A"].z > 3 * 2.8
    assert 100.0 <= found["flat B"].x <= 140.0
    assert found["staircase B"].extra == LOSSES["concrete"] - LOSSES["brick"]
    cabinet = devices_of(plan('[[meters]]\nmedium = "gas"\ncabinet = true\nbuilding = "A"\nper = "building"'))[0]
    assert cabinet.place.extra == LOSSES["cabinet"]


def test_flats_lie_in_a_row() -> None:
    specs = {spec.label: spec.place for spec in devices_of(plan('[[meters]]\nmedium = "gas"\n'))}
    assert (specs["gas A/1.1"].floor, specs["gas A/1.1"].flat) == (1, 1)
    assert specs["gas A/1.1"].x < 9.0 < specs["gas A/1.2"].x < 18.0
    assert specs["gas A/2.1"].z > specs["gas A/1.1"].z


def test_without_buildings_devices_stand_in_a_field() -> None:
    specs = devices_of(parse_plan('[[meters]]\nmedium = "gas"\nper = "world"\ncount = 50'))
    assert len(specs) == 50
    assert all(3.0 <= (spec.place.x**2 + spec.place.y**2) ** 0.5 <= 30.0 for spec in specs)


def test_gateways_stand_where_they_should() -> None:
    world = plan("")
    assert standing_place(world, GatewayPlan(name="g", position=(1.0, 2.0, 3.0)), 1).z == 3.0
    inside = standing_place(world, DisplayPlan(name="d", building="A", where="flat", floor=2), 1)
    assert (inside.building, inside.floor, inside.flat) == (1, 2, 1)


def test_intervals_are_those_of_oms_unless_planned() -> None:
    assert interval_of(MeterGroup("electricity")) == 450.0
    assert interval_of(MeterGroup("cold water")) == 240 * 60.0
    assert interval_of(MeterGroup("heat")) == 240 * 60.0  # of a flat: sub-metering
    assert interval_of(MeterGroup("heat", per="building")) == 30 * 60.0
    assert interval_of(MeterGroup("smoke")) == 120 * 60.0
    assert interval_of(MeterGroup("contact")) == 360 * 60.0
    assert interval_of(MeterGroup("gas", ratio=1)) == 15 * 60.0
    assert interval_of(MeterGroup("gas", interval=20.0, ratio=3)) == 20.0


def test_keys_of_a_device() -> None:
    text = '[[meters]]\nmedium = "electricity"\nper = "building"\nbuilding = "A"\nconsumer = true\nbidirectional = true\n'
    spec = devices_of(plan(text))[0]
    assert tuple(key.key_id for key in spec.description.keys) == (0x00, 0x08, *FACTORY_KEYS)
    assert [key.key_id for key in communication_keys(spec)] == [0x00, 0x08]
    assert spec.description.keys[0].octets == derived_key("world", spec.address, 0)
    assert spec.description.applications == (0, 7, 18)


def test_a_given_key_and_no_profile() -> None:
    text = '[[meters]]\nmedium = "gas"\nper = "building"\nkey = "000102030405060708090A0B0C0D0E0F"\n'
    assert {spec.description.keys[0].octets for spec in devices_of(plan(text))} == {bytes(range(16))}
    bare = devices_of(plan('[[meters]]\nmedium = "gas"\nper = "building"\nprofile = "none"'))[0]
    assert bare.description.keys == ()


def test_wired_groups_count_primary_addresses() -> None:
    text = '[[segment]]\nname = "bus"\n[[meters]]\nmedium = "heat"\nsegment = "bus"\nprimary = 5\n'
    specs = devices_of(plan(text))
    assert [spec.primary for spec in specs] == list(range(5, 15))
    assert all(spec.description.config.wired for spec in specs)
    unset = devices_of(plan('[[segment]]\nname = "bus"\n[[meters]]\nmedium = "heat"\nsegment = "bus"\n'))
    assert {spec.primary for spec in unset} == {0}


def test_adapters_have_an_address_of_their_own() -> None:
    spec = devices_of(plan('[[meters]]\nmedium = "heat"\nadapter = true\nper = "building"'))[0]
    assert spec.adapter is not None
    assert spec.adapter.device_type == 0x37
    assert spec.adapter.identification != spec.address.identification
    assert spec.description.config.long_header


def test_options_that_are_tables_and_codings_reach_the_device() -> None:
    text = """
[[meters]]
medium = "cold water"
per = "world"
bidirectional = true
codings = { C3 = 18 }
[meters.functions.adapter.indexes]
"VM1!" = "0C13"
"""
    (spec,) = devices_of(plan(text))
    assert spec.description.functions == {"adapter": {"indexes": {"VM1!": "0C13"}}}
    assert spec.description.codings == {"C3": 18}
    device = make_device(spec.description, DeviceMemory(), FixedReadings({}), lambda: 0.5)
    assert device.address == spec.description.config.address
