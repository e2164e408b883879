"""The registry: the life of devices, the tree, who measured what and when, consumers and their time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from openmetering.errors import InputError
from openmetering.services.headend.access import Window, clipped
from openmetering.services.headend.bus import GatewayChanged
from openmetering.services.headend.model import DEVICE_STATES, Device, MeteringPoint, Node
from openmetering.services.headend.registry import TRANSITIONS, DeviceChange, DeviceFilter, Registry, canonical_address
from tests.fleet import radio
from tests.services.headend.desk import START, Desk, address_of

STEPS = ("register", "hear", "fail", "recover", "retire", "reinstate")
DAY = timedelta(days=1)


def refused(code: str) -> pytest.RaisesExc[InputError]:
    """An InputError with this code."""
    return pytest.RaisesExc(InputError, check=lambda error: error.code == code)


@pytest.fixture
def registry(desk: Desk) -> Registry:
    return desk.head_end.registry


@pytest.fixture
def tenant(desk: Desk) -> int:
    return desk.tenant()


@pytest.fixture
def flat(registry: Registry, tenant: int) -> Node:
    site = registry.add_node(tenant, None, "site", "Elm Street")
    building = registry.add_node(tenant, site.id, "building", "1")
    return registry.add_node(tenant, building.id, "unit", "left")


@pytest.fixture
def kitchen(registry: Registry, flat: Node) -> MeteringPoint:
    return registry.add_point(registry.add_node(flat.tenant_id, flat.id, "room", "kitchen").id, "cold water", "water")


# -- addresses ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["ELS-12345678-33-03", " els-12345678-33-03 ", "7ELS3312345678"])
def test_addresses_are_written_one_way(text: str) -> None:
    assert canonical_address(text) == "ELS-12345678-33-03"


@pytest.mark.parametrize("text", ["", "12345678", "ELS-1234", "ELS-12345678-33", "stick#5", "-", "ELS-1234567Z-33-03", "x" * 500])
def test_addresses_that_are_none(text: str) -> None:
    with refused("address.invalid"):
        canonical_address(text)


# -- life ---------------------------------------------------------------------------------------------


def in_state(desk: Desk, tenant: int, state: str) -> Device:
    """A device in a state, brought there by steps."""
    registry = desk.head_end.registry
    if state == "announced":
        desk.hear(radio())
        return desk.device()
    device = desk.meter(tenant)
    for step in {"active": ("hear",), "faulty": ("hear", "fail"), "retired": ("retire",)}.get(state, ()):
        device = registry.step(device, step)
    return device


@pytest.mark.parametrize("state", DEVICE_STATES)
@pytest.mark.parametrize("step", STEPS)
def test_every_step_of_a_device(desk: Desk, tenant: int, state: str, step: str) -> None:
    device = in_state(desk, tenant, state)
    assert device.state == state
    wanted = TRANSITIONS.get((state, step))
    if wanted is None:
        with refused("access.conflict"):
            desk.head_end.registry.step(device, step)
        assert desk.device().state == state
    else:
        assert desk.head_end.registry.step(device, step).state == wanted
        assert desk.device().state == wanted


def test_by_hand_go_two_steps_only(desk: Desk, registry: Registry, tenant: int) -> None:
    device = desk.meter(tenant)
    for step in ("hear", "fail", "recover", "register", "explode"):
        with refused("access.invalid"):
            registry.step(device, step, by_hand=True)
    retired = registry.step(device, "retire", by_hand=True)
    assert registry.step(retired, "reinstate", by_hand=True).state == "registered"


def test_what_was_nobodys_cannot_be_reinstated(desk: Desk, registry: Registry, tenant: int) -> None:
    device = registry.step(in_state(desk, tenant, "announced"), "retire")
    with refused("access.conflict"):
        registry.step(device, "reinstate")


def test_a_step_follows_the_state_in_the_database(desk: Desk, registry: Registry, tenant: int) -> None:
    device = desk.meter(tenant)
    registry.step(device, "hear")
    with refused("access.conflict"):
        registry.step(device, "hear")  # an old value in somebody's hand


def test_registering(desk: Desk, registry: Registry, tenant: int) -> None:
    made = registry.register("7ELS3312345678", tenant, DeviceChange(label="hall", bidirectional=True))
    assert (made.address, made.medium, made.label, made.bidirectional, made.state) == (
        "ELS-12345678-33-03", "gas", "hall", True, "registered",
    )  # fmt: skip
    again = registry.register(made.address, tenant, DeviceChange(label="cellar"))
    assert (again.id, again.label, again.bidirectional) == (made.id, "cellar", True)
    with refused("access.conflict"):
        registry.register(made.address, desk.tenant("others"), DeviceChange())


def test_particulars(desk: Desk, registry: Registry, tenant: int) -> None:
    device = registry.register(address_of(), tenant, DeviceChange(adapter="ELS-00000001-01-37", profile="A", mode="T"))
    assert registry.change(device, DeviceChange()) is device
    made = registry.change(device, DeviceChange(adapter="", profile="B", wired_primary=250))
    assert (made.adapter, made.profile, made.mode, made.wired_primary) == (None, "B", "T", 250)
    for change, code in (
        (DeviceChange(wired_primary=251), "access.invalid"),
        (DeviceChange(wired_primary=-1), "access.invalid"),
        (DeviceChange(label="x" * 201), "access.invalid"),
        (DeviceChange(adapter="nonsense"), "address.invalid"),
    ):
        with refused(code):
            registry.change(device, change)
    assert DeviceChange(label="hall", mode="T").words() == "label hall, mode T"


def test_looking_for_devices(desk: Desk, registry: Registry, tenant: int, kitchen: MeteringPoint) -> None:
    others = desk.tenant("others")
    for number, owner in ((1, tenant), (2, tenant), (3, others)):
        desk.meter(owner, number, device_type=0x07 if number == 2 else 0x03, label=f"meter {number}")
    registry.assign(desk.device(2, 0x07), kitchen, START - DAY)

    def found(wanted: DeviceFilter, **more: object) -> list[str]:
        return [device.label for device in registry.devices(wanted, **more).items]  # type: ignore[arg-type]

    assert found(DeviceFilter()) == ["meter 1", "meter 2", "meter 3"]
    assert found(DeviceFilter(), tenant_id=tenant) == ["meter 1", "meter 2"]
    assert found(DeviceFilter(medium="water")) == ["meter 2"]
    assert found(DeviceFilter(state="active")) == []
    assert found(DeviceFilter(text="00000003")) == ["meter 3"]
    assert found(DeviceFilter(text="METER 1")) == ["meter 1"]
    site = registry.nodes(tenant)[0]
    assert found(DeviceFilter(node_id=site.id)) == ["meter 2"]
    assert found(DeviceFilter(node_id=site.id), ids=[1]) == []
    first = registry.devices(DeviceFilter(), limit=2)
    assert [device.label for device in registry.devices(DeviceFilter(), after=first.after).items] == ["meter 3"]
    assert registry.device_ids(others) == {desk.device(3).id}
    assert len(registry.device_ids(None)) == 3


# -- the tree -----------------------------------------------------------------------------------------


def test_tenants_have_names(registry: Registry, tenant: int) -> None:
    with refused("access.conflict"):
        registry.add_tenant("Elm Street")
    for name in ("", "  ", "a\tb", "x" * 201):
        with refused("access.invalid"):
            registry.add_tenant(name)
    assert registry.has_tenant(tenant)
    assert not registry.has_tenant(99)


def test_parents_stand_before_children(registry: Registry, flat: Node, kitchen: MeteringPoint) -> None:
    registry.add_node(flat.tenant_id, None, "building", "Annex")
    assert [node.name for node in registry.nodes()] == ["Annex", "Elm Street", "1", "left", "kitchen"]
    assert registry.nodes(99) == ()


def test_small_things_are_in_large_ones(desk: Desk, registry: Registry, flat: Node) -> None:
    for kind in ("unit", "building", "site"):
        with refused("access.invalid"):
            registry.add_node(flat.tenant_id, flat.id, kind, "x")
    with refused("access.invalid"):
        registry.add_node(flat.tenant_id, None, "galaxy", "x")
    with refused("access.unknown"):
        registry.add_node(flat.tenant_id, 99, "room", "x")
    with refused("access.unknown"):
        registry.add_node(desk.tenant("others"), flat.id, "room", "x")


def test_only_what_is_empty_goes(desk: Desk, registry: Registry, flat: Node, kitchen: MeteringPoint) -> None:
    room = registry.find_node(kitchen.node_id)
    assert room is not None
    for node in (flat, room):
        with refused("access.conflict"):
            registry.remove_node(node)
    device = desk.meter(flat.tenant_id)
    assignment = registry.assign(device, kitchen, START)
    registry.end_assignment(assignment, START + DAY)
    with refused("access.conflict"):
        registry.remove_point(kitchen)
    fresh = registry.add_point(room.id, "warm water")
    registry.remove_point(fresh)
    assert registry.find_point(fresh.id) is None
    other = registry.add_node(flat.tenant_id, flat.id, "room", "bath")
    registry.remove_node(registry.rename_node(other, "bathroom"))
    assert registry.find_node(other.id) is None


def test_points_have_names_of_their_own(registry: Registry, kitchen: MeteringPoint) -> None:
    with refused("access.conflict"):
        registry.add_point(kitchen.node_id, "cold water")
    assert registry.points([kitchen.node_id]).items == (kitchen,)
    assert registry.points(None).items == (kitchen,)
    assert registry.points([]).items == ()


# -- who measured what --------------------------------------------------------------------------------


def test_periods_do_not_overlap(desk: Desk, registry: Registry, tenant: int, kitchen: MeteringPoint) -> None:
    one, two = desk.meter(tenant, 1), desk.meter(tenant, 2)
    other = registry.add_point(kitchen.node_id, "warm water")
    first = registry.assign(one, kitchen, START, START + 10 * DAY)
    for device, point in ((one, other), (two, kitchen)):
        for since, until in ((START, None), (START - DAY, START + DAY), (START + 9 * DAY, START + 20 * DAY), (START - DAY, None)):
            with refused("access.conflict"):
                registry.assign(device, point, since, until)
    registry.assign(two, kitchen, START + 10 * DAY)
    registry.assign(one, other, START - 5 * DAY, START)
    assert [one.valid_from for one in registry.assignments(point_id=kitchen.id)] == [START, START + 10 * DAY]
    assert registry.assignments(device_id=one.id)[-1] == first
    assert len(registry.assignments()) == 3


def test_a_period_can_be_cut(desk: Desk, registry: Registry, tenant: int, kitchen: MeteringPoint) -> None:
    made = registry.assign(desk.meter(tenant), kitchen, START)
    with refused("access.invalid"):
        registry.end_assignment(made, START)
    cut = registry.end_assignment(made, START + DAY)
    assert cut.valid_to == START + DAY
    with refused("access.conflict"):
        registry.end_assignment(cut, START + 2 * DAY)
    assert registry.find_assignment(made.id) == cut
    assert registry.find_assignment(99) is None


def test_periods_that_are_none(desk: Desk, registry: Registry, tenant: int, kitchen: MeteringPoint) -> None:
    device = desk.meter(tenant)
    for since, until in ((START, START), (START, START - DAY), (datetime(2026, 1, 1), None), (START, datetime(2027, 1, 1))):
        with refused("access.invalid"):
            registry.assign(device, kitchen, since, until)


def test_a_device_measures_for_its_own_tenant(desk: Desk, registry: Registry, kitchen: MeteringPoint) -> None:
    with refused("access.conflict"):
        registry.assign(desk.meter(desk.tenant("others")), kitchen, START)


# -- consumers ----------------------------------------------------------------------------------------


def test_the_windows_of_a_consumer(desk: Desk, registry: Registry, tenant: int, flat: Node, kitchen: MeteringPoint) -> None:
    consumer = desk.user("consumer", tenant)
    old, new = desk.meter(tenant, 1), desk.meter(tenant, 2)
    registry.assign(old, kitchen, START - 100 * DAY, START)
    registry.assign(new, kitchen, START)
    assert registry.windows(consumer.id) == ()
    home = registry.add_occupancy(consumer, flat, START - 10 * DAY)
    assert registry.windows(consumer.id) == (
        Window(old.id, START - 10 * DAY, START),
        Window(new.id, START, None),
    )
    registry.end_occupancy(home, START + 5 * DAY)
    assert registry.windows(consumer.id)[1] == Window(new.id, START, START + 5 * DAY)
    assert registry.windows(consumer.id, START - DAY) == (Window(old.id, START - 10 * DAY, START),)
    assert registry.windows(consumer.id, START + 5 * DAY) == ()
    assert registry.nodes_of(consumer.id) == {flat.id, kitchen.node_id}


def test_who_can_live_somewhere(desk: Desk, registry: Registry, tenant: int, flat: Node) -> None:
    consumer = desk.user("consumer", tenant)
    with refused("access.invalid"):
        registry.add_occupancy(desk.user("mso", tenant), flat, START)
    made = registry.add_occupancy(consumer, flat, START, START + DAY)
    with refused("access.conflict"):
        registry.add_occupancy(consumer, flat, START)
    registry.add_occupancy(consumer, flat, START + DAY)
    assert registry.occupancies(user_id=consumer.id)[0] == made
    assert len(registry.occupancies(node_id=flat.id)) == 2
    assert registry.find_occupancy(99) is None


def at(day: int) -> datetime:
    """A day of a month."""
    return datetime(2026, 3, day, tzinfo=UTC)


@pytest.mark.parametrize(
    ("windows", "since", "until", "parts"),
    [
        ([], None, None, []),
        ([(1, None)], None, None, [(1, None)]),
        ([(5, 10)], None, None, [(5, 10)]),
        ([(5, 10)], 1, 30, [(5, 10)]),
        ([(5, 10)], 6, 8, [(6, 8)]),
        ([(5, 10)], 10, 12, []),
        ([(5, 10)], 1, 5, []),
        ([(5, 10), (10, 15)], None, None, [(5, 15)]),
        ([(5, 12), (10, 15)], 6, None, [(6, 15)]),
        ([(12, 15), (5, 10)], None, None, [(5, 10), (12, 15)]),
        ([(5, None), (7, 9)], None, None, [(5, None)]),
        ([(5, 9), (7, None)], None, 20, [(5, 20)]),
    ],
)
def test_times_are_cut_with_windows(
    windows: list[tuple[int, int | None]], since: int | None, until: int | None, parts: list[tuple[int, int | None]]
) -> None:
    given = tuple(Window(1, at(start), None if end is None else at(end)) for start, end in windows)
    found = clipped(given, None if since is None else at(since), None if until is None else at(until))
    assert found == [(at(start), None if end is None else at(end)) for start, end in parts]


# -- gateways -----------------------------------------------------------------------------------------


def test_gateways_come_and_go(desk: Desk, registry: Registry) -> None:
    made = desk.head_end.gateway_seen("cellar", version="1.0")
    assert (made.state, made.version, made.last_seen) == ("online", "1.0", desk.clock.now)
    desk.clock.forward(seconds=901)
    desk.head_end.tick()
    assert registry.find_gateway(made.id).state == "offline"  # type: ignore[union-attr]
    desk.head_end.gateway_seen("cellar")
    desk.head_end.gateway_seen("cellar")
    assert registry.gateway_named("cellar").version == "1.0"  # type: ignore[union-attr]
    states = [event.gateway.state for event in desk.told(GatewayChanged)]  # type: ignore[attr-defined]
    assert states == ["online", "offline", "online"]
