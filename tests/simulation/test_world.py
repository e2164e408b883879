"""Worlds that run: telegrams with true values, exchanges and use cases on radio, wire and behind adapters."""

from __future__ import annotations

import hashlib
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest

from openmetering.codec.address import Address
from openmetering.errors import InputError, Refused
from openmetering.protocol.exchange import Answered, Exchange, Failed
from openmetering.protocol.gateway.events import Received
from openmetering.protocol.operator.clock import read_clock, set_clock
from openmetering.protocol.operator.disconnector import read_disconnector, set_disconnector
from openmetering.protocol.operator.head_end import HeadEnd
from openmetering.protocol.radio.datagram import read
from openmetering.services.keyfiles import read_keys
from openmetering.simulation.account import CAUSES
from openmetering.simulation.metrology import MEDIA
from openmetering.simulation.plan import parse_plan
from openmetering.simulation.world import World
from openmetering.wire.types import MeterTime

HOUSE = """
[world]
seed = "house"
start = 2026-01-14
[[building]]
name = "A"
floors = 2
flats = 2
[[gateway]]
name = "gw"
building = "A"
floor = 1
modes = ["S", "T", "C"]
"""
BIDIRECTIONAL = """
[[meters]]
medium = "electricity"
building = "A"
per = "building"
mode = "{mode}"
profile = "{profile}"
interval = 60
bidirectional = true
functions = ["clock", "disconnector"]
"""


def world(groups: str) -> World:
    return World(parse_plan(HOUSE + groups))


def everything(profile: str) -> str:
    return "".join(
        f'[[meters]]\nmedium = "{medium}"\nper = "building"\nprofile = "{profile}"\ninterval = 300\nhistory = true\n'
        for medium in MEDIA
    )


@pytest.mark.parametrize("profile", ["none", "A", "B", "D"])
def test_gateways_read_what_devices_state_and_it_is_true(profile: str) -> None:
    made = world(everything(profile))
    seen: dict[str, int] = Counter()

    def check(event: Received, now: float) -> None:
        assert event.verdict == "new"
        telegram = event.telegram
        assert telegram is not None
        assert telegram.address is not None
        post = made.device(telegram.address)
        truth = post.metrology.truth(made.now - 0.1)  # type: ignore[union-attr]
        stated = {record.header.octets: record.value for record in telegram.records}
        for tag, value in truth.items():
            point = next(one for one in post.metrology.medium.standard if one.tag == tag)  # type: ignore[union-attr]
            said = stated[bytes.fromhex(point.header)]
            assert isinstance(said, Decimal)
            assert abs(said - value) <= abs(value) / 1000 + 1, (post.name, tag)
        seen[post.spec.group.medium] += 1

    made.gateways["gw"].telegrams.append(check)
    made.run(1000.0)
    assert set(seen) == set(MEDIA)
    assert made.channel.account.balanced


def test_static_and_access_messages() -> None:
    made = world('[[meters]]\nmedium = "gas"\nper = "building"\ninterval = 60\nratio = 2\nstatic_per_day = 5\n')
    names: dict[str, int] = Counter()
    made.on_heard("gw", lambda heard, air: names.update([read(heard.frame).message]))
    made.run(43_200.0)
    assert names["SND-NR"] == pytest.approx(names["ACC-NR"] / 2, rel=0.05)


@pytest.mark.parametrize("mode", ["C", "T", "S"])
@pytest.mark.parametrize("profile", ["A", "B", "D", "none"])
def test_a_request_is_answered_in_every_mode_and_profile(mode: str, profile: str) -> None:
    made = world(BIDIRECTIONAL.format(mode=mode, profile=profile))
    device = made.device("electricity A")
    answer = made.ask(Exchange(device.address, None), patience=600.0)
    assert isinstance(answer, Answered), answer
    assert answer.protocol == "m-bus"
    assert not answer.error
    assert answer.payload.startswith(bytes.fromhex("0403"))


@pytest.mark.parametrize("mode", ["C", "T", "S"])
def test_use_cases_run_over_the_channel(mode: str) -> None:
    made = world(BIDIRECTIONAL.format(mode=mode, profile="B"))
    device = made.device("electricity A")
    head_end = HeadEnd(made.head_end_keys())
    clock = made.perform(device.address, read_clock(), patience=900.0)
    assert isinstance(clock, MeterTime)
    assert clock.datetime() is not None
    assert abs((clock.datetime() - made.calendar.at(made.now)).total_seconds()) < 120  # type: ignore[operator]
    made.perform(device.address, set_disconnector(head_end, device.address, "disconnected"), patience=900.0)
    state = made.perform(device.address, read_disconnector(), patience=900.0)
    assert state.control == 0
    closed = made.now
    made.run(closed + 7200.0)
    truth = made.truth("electricity A")
    assert truth["EW1!"] - made.truth("electricity A", closed)["EW1!"] <= 1  # nothing flows any more
    assert made.truth("electricity A", closed)["EW1!"] > made.truth("electricity A", 0.0)["EW1!"]


def test_a_refused_use_case_raises_what_the_device_said() -> None:
    made = world(BIDIRECTIONAL.format(mode="C", profile="B").replace('"clock", ', ""))
    device = made.device("electricity A")
    head_end = HeadEnd(made.head_end_keys())
    moment = MeterTime("I", 2026, 1, 14, 12, 0, 0)
    with pytest.raises(Refused):
        made.perform(device.address, set_clock(head_end, device.address, moment), patience=900.0)


def test_wired_devices_by_primary_and_secondary_address() -> None:
    made = world("""
[[segment]]
name = "bus"
[[meters]]
medium = "heat"
segment = "bus"
primary = 1
profile = "none"
[[meters]]
medium = "electricity"
label = "meter"
per = "building"
segment = "bus"
functions = ["disconnector"]
""")
    made.run(5.0)  # slaves are ready within 3 s
    for label in ("heat A/0.1", "heat A/1.2", "meter A"):
        device = made.device(label)
        answer = made.ask(Exchange(device.address, None), patience=60.0)
        assert isinstance(answer, Answered), (label, answer)
    head_end = HeadEnd(made.head_end_keys())
    device = made.device("meter A")
    made.perform(device.address, set_disconnector(head_end, device.address, "disconnected"), patience=60.0)
    now = made.now
    made.run(now + 3600.0)
    assert made.truth("meter A", now) == made.truth("meter A")


def test_an_adapter_speaks_for_its_meter() -> None:
    made = world("""
[[meters]]
medium = "heat"
per = "building"
adapter = true
bidirectional = true
interval = 60
functions = ["clock"]
""")
    device = made.device("heat A")
    heard: list[Received] = []
    made.gateways["gw"].telegrams.append(lambda event, now: heard.append(event))
    made.run(400.0)
    telegram = heard[-1].telegram
    assert telegram is not None
    assert telegram.address == device.spec.address
    assert telegram.link.address == device.spec.adapter
    assert telegram.records[0].value in [made.truth("heat A", at)["EW1!"] for at in (240.0, 300.0, 360.0)]
    answer = made.ask(Exchange(device.address, None), patience=600.0)
    assert isinstance(answer, Answered)


def test_a_display_shows_consumer_information_only() -> None:
    made = world("""
[[meters]]
medium = "cold water"
interval = 60
consumer = true
[[display]]
name = "panel"
building = "A"
where = "flat"
meters = ["cold water A/0.1"]
""")
    made.run(600.0)
    display = made.displays["panel"]
    address = made.device("cold water A/0.1").address
    assert list(display.latest) == [address]
    volume = next(record.value for record in display.latest[address].records if record.quantity == "volume")
    assert isinstance(volume, Decimal)
    assert abs(volume - made.truth(address)["VM1!"]) < Decimal("0.1")
    display.power_off()
    display.power_on()
    made.run(900.0)
    assert display.latest[address].at > 600.0


def test_a_display_needs_consumer_information() -> None:
    with pytest.raises(InputError, match="write consumer = true"):
        world('[[meters]]\nmedium = "gas"\nper = "building"\n[[display]]\nname = "p"\nbuilding = "A"\nmeters = ["gas A"]\n')


def test_repeaters_bring_far_meters_to_the_gateway() -> None:
    far = """
[[meters]]
medium = "gas"
per = "world"
count = 3
interval = 60
"""
    alone = parse_plan(far + '[[gateway]]\nname = "gw"\nposition = [900.0, 0.0, 2.0]\nmodes = ["C"]\n')
    helped = parse_plan(
        far
        + '[[gateway]]\nname = "gw"\nposition = [900.0, 0.0, 2.0]\nmodes = ["C"]\n'
        + '[[repeater]]\nname = "r"\nposition = [300.0, 0.0, 4.0]\n'
    )
    counts = []
    for plan in (alone, helped):
        made = World(plan)
        made.run(1800.0)
        counts.append(sum(made.gateways["gw"].received.values()))
        made.channel.settle()
        assert made.channel.account.balanced
    assert counts[1] > counts[0] + 10


def test_the_best_gateway_serves_a_device() -> None:
    text = HOUSE + '[[gateway]]\nname = "far"\nposition = [80.0, 0.0, 2.0]\n[[meters]]\nmedium = "gas"\nper = "building"\n'
    made = World(parse_plan(text))
    device = made.device("gas A")
    assert made.partner_of(device.address) is made.gateways["gw"]
    assert [link.address for link in made.gateways["gw"].links] == [device.address]
    assert made.gateways["far"].links == ()


def test_gateways_may_be_bound_to_buildings() -> None:
    text = (
        HOUSE.replace("floor = 1", 'floor = 1\nserves = ["B"]') + '[[meters]]\nmedium = "gas"\nper = "building"\nbuilding = "A"\n'
    )
    made = World(parse_plan(text))
    with pytest.raises(InputError, match="no gateway serves"):
        made.partner_of(made.device("gas A").address)
    with pytest.raises(InputError, match="no gateway serves"):
        made.submit(Exchange(made.device("gas A").address, None), lambda result: None)


def test_a_unidirectional_device_cannot_be_asked() -> None:
    made = world('[[meters]]\nmedium = "gas"\nper = "building"\n')
    answer = made.ask(Exchange(made.device("gas A").address, None))
    assert isinstance(answer, Failed)
    assert answer.reason == "no-access"


def test_the_same_plan_gives_the_same_octets() -> None:
    digests = []
    for seed in ("house", "house", "hut"):
        made = World(
            parse_plan(HOUSE.replace('"house"', f'"{seed}"') + everything("B") + BIDIRECTIONAL.format(mode="C", profile="D"))
        )
        digest = hashlib.sha256()
        made.on_heard("gw", lambda heard, air, digest=digest: digest.update(heard.frame + repr(heard.started).encode()))
        made.run(7200.0)
        digests.append(digest.hexdigest())
    assert digests[0] == digests[1] != digests[2]


def test_the_summary_is_the_account() -> None:
    made = world(everything("A"))
    made.run(3600.0)
    summary = made.summary()
    account = made.channel.account
    assert summary.transmissions == sum(summary.sent.values()) == sum(account.on_air.values())
    for (gateway, medium), received in summary.received.items():
        line = account.total(gateway, medium)
        assert line.received == received
        assert {cause: line.lost(cause) for cause in CAUSES} == summary.lost[gateway, medium]
        assert received + sum(summary.lost[gateway, medium].values()) == summary.sent[medium]
    assert summary.total_received() == summary.total_received("gw") == sum(summary.received.values())
    assert summary.total_received(medium="gas") == summary.received["gw", "gas"]
    assert sum(summary.total_lost("gw").values()) + summary.total_received() == summary.transmissions
    assert summary.verdicts["gw"]["new"] == summary.total_received()
    text = str(summary)
    assert "1.0 h" in text
    assert "gw" in text
    assert "cold water" in text


def test_progress_is_told() -> None:
    made = world("")
    told: list[float] = []
    made.run(1500.0, told.append)
    assert told == [600.0, 1200.0, 1500.0]
    made.run(1000.0)
    assert made.now == 1500.0


def test_key_files() -> None:
    made = world('[[meters]]\nmedium = "gas"\nper = "building"\nbidirectional = true\n')
    for head_end, number in ((False, 1), (True, 14)):
        text = made.key_file(head_end=head_end)
        assert text.splitlines()[0] == "address,key,key_id,version,label"
        assert len(text.splitlines()) == 1 + number
        assert len(read_keys(text.encode()).entries) == number
    assert str(made.device("gas A").address) in made.key_file()


def test_things_are_found_by_label_name_and_address() -> None:
    made = world('[[meters]]\nmedium = "gas"\nper = "building"\n')
    device = made.device("gas A")
    assert made.find("gas A") is device
    assert made.find(str(device.address)) is device
    assert made.find("gw") is made.gateways["gw"]
    assert made.find("nothing") is None
    assert made.device(device.address) is device
    with pytest.raises(InputError, match="no device"):
        made.device("gw")
    with pytest.raises(InputError, match="no device"):
        made.device(Address.parse("EXS-99999999-01-03"))
    with pytest.raises(InputError, match="nothing on the radio"):
        made.on_heard("nobody", lambda heard, air: None)


def test_patience_ends() -> None:
    made = world(BIDIRECTIONAL.format(mode="C", profile="B"))
    device = made.device("electricity A")
    device.power_off()
    with pytest.raises(InputError, match="no result within 100 s"):
        made.ask(Exchange(device.address, None), patience=100.0)


def test_a_door_tells_when_it_moves() -> None:
    made = world('[[meters]]\nmedium = "contact"\nper = "building"\n')
    states: list[object] = []
    made.gateways["gw"].telegrams.append(lambda event, now: states.append(event.telegram and event.telegram.records[0].value))
    made.run(86_400.0)
    assert len(states) > 4
    assert {Decimal(0), Decimal(1)} <= set(states)


@pytest.mark.slow
def test_a_day_in_the_life_of_a_building() -> None:
    made = World.load(Path(__file__).parents[2] / "examples" / "worlds" / "building.toml")
    assert len(made.devices) == 300
    assert len(made.gateways) == len(made.repeaters) == 2
    made.run(86_400.0)
    summary, account = made.summary(), made.channel.account
    assert account.balanced
    for gateway in made.gateways:
        mine = account.total(gateway)
        assert summary.total_received(gateway) == mine.received == sum(summary.verdicts[gateway].values())
        assert summary.total_lost(gateway) == {cause: mine.lost(cause) for cause in CAUSES}
    assert summary.transmissions > 25_000
    verdicts = Counter[str]()
    for each in summary.verdicts.values():
        verdicts.update(each)
    assert verdicts["replayed"] >= 1
    assert verdicts["new"] > 10_000
    assert made.gateways["gateway south"].station.on
