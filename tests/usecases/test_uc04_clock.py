"""UC-04, the clock: Annex M release C Tables M.11 to M.15. Variants a, b and c; read, adjust, correct, set."""

from __future__ import annotations

import datetime as dt

import pytest

from openmetering.codec.apl.security_transfer import target_time
from openmetering.errors import ExchangeFailed, NotRepresentable, OutOfRange, Refused
from openmetering.protocol.operator import clock
from openmetering.wire.types import MeterTime
from tests.protocol.operator.scripted import DEVICE
from tests.usecases.bench import LINK_FAULTS, POWER_CUTS, WAYS, Bench, Fault, PowerCut
from tests.usecases.cases import Case, one_fault, other_keys, refused, replayed, risks, succeed
from tests.usecases.raw import plain, secured

EPOCH = dt.datetime(2024, 1, 1)
WANTED = dt.datetime(2024, 2, 29, 13, 45, 30)


def of(variant: str) -> dict[str, object]:
    return {"functions": {"clock": {"variant": variant, "record_type": "I"}, "keys": {}}}


def shown(bench: Bench) -> dt.datetime:
    """What the clock of the device shows."""
    feature = bench.endpoint.application.contents.features[0]
    return feature.moment(bench.kernel.now)


def ahead(bench: Bench) -> float:
    """Seconds the clock is ahead, an adjustment that is not finished left out."""
    return bench.memory.clock_offset


def untouched(bench: Bench) -> bool:
    return bench.memory.clock_offset == 0 and bench.memory.clock_adjusted_until is None


def adjusting(bench: Bench, seconds: float) -> bool:
    return bench.memory.clock_adjustment == seconds and bench.memory.clock_offset == 0


def is_set(bench: Bench) -> bool:
    """The clock was set at some time of this run, and runs on from there."""
    age = (shown(bench) - WANTED).total_seconds()
    return 0 <= age < 2000 and bench.memory.clock_adjusted_until is None


ADJUST = Case(
    "adjust by head-end",
    lambda h, i: clock.adjust_clock(h, DEVICE, 30, issue=i),
    lambda b: adjusting(b, 30),
    untouched,
    {"clock": 1, "executed": 1},
    options=of("b"),
)
BACK = Case(
    "adjust back by head-end, variant c",
    lambda h, i: clock.adjust_clock(h, DEVICE, -45, issue=i),
    lambda b: adjusting(b, -45),
    untouched,
    {"clock": 1, "executed": 1},
    options=of("c"),
)
CORRECT = Case(
    "correct by head-end",
    lambda h, i: clock.correct_clock(h, DEVICE, MeterTime("J", hour=3, minute=0, second=0), issue=i),
    lambda b: adjusting(b, 60),
    untouched,
    {"clock": 1, "executed": 1},
    options=of("b"),
)
SET = Case(
    "set by head-end",
    lambda h, i: clock.set_clock(h, DEVICE, clock.type_i(WANTED), issue=i),
    is_set,
    untouched,
    {"clock": 1, "executed": 1},
    options=of("b"),
)
READ = Case("read", lambda h, i: clock.read_clock(), untouched, effects={"clock": 0, "executed": 0}, options=of("b"))
BY_GATEWAY = Case(
    "adjust by gateway",
    lambda h, i: clock.adjust_by_gateway(30),
    lambda b: adjusting(b, 30),
    untouched,
    {"clock": 1, "executed": 0},
    options=of("a"),
)
CORRECT_BY_GATEWAY = Case(
    "correct by gateway",
    lambda h, i: clock.correct_by_gateway(MeterTime("J", hour=23, minute=59, second=0)),
    lambda b: adjusting(b, -60),
    untouched,
    {"clock": 1, "executed": 0},
    options=of("b"),
)
SECURED = [ADJUST, BACK, CORRECT, SET]


@pytest.mark.parametrize("case", [*SECURED, BY_GATEWAY, CORRECT_BY_GATEWAY], ids=lambda case: case.name)
@pytest.mark.parametrize("way", WAYS)
def test_success(way, case):
    succeed(case, way)


@pytest.mark.parametrize("way", WAYS)
def test_read(way):
    bench = READ.bench(way)
    moment = bench.run(READ.on(bench))
    assert abs((moment.datetime() - EPOCH).total_seconds() - bench.kernel.now) < 2.0


@pytest.mark.parametrize("kind", LINK_FAULTS + POWER_CUTS)
@pytest.mark.parametrize(("way", "case"), risks(SET, ADJUST, BACK, CORRECT, READ))
def test_one_fault_at_every_frame(way, case, kind):
    assert one_fault(case, way, kind) >= 2


@pytest.mark.parametrize("kind", LINK_FAULTS + POWER_CUTS)
@pytest.mark.parametrize("way", WAYS)
def test_an_adjustment_by_the_gateway_is_never_done_twice(way, kind):
    """Nothing tells later whether it was executed: it is said, or the caller is told that nobody knows."""
    if kind == "corrupt" and way in ("C A", "C A 4.3.3", "S A 4.3.3"):
        pytest.skip("profile A has no proof: what was changed on its way is carried out as it came")
    for number in range(40):
        bench = BY_GATEWAY.bench(way)
        done: bool | str | None = None
        try:
            bench.run(BY_GATEWAY.on(bench), Fault(kind, number))
        except Refused as refusal:
            done = False if (refusal.error, kind) == (0x20, "corrupt") else "refused"
        except ExchangeFailed as failure:
            done = False if failure.delivered is False else None
        except PowerCut:
            pass
        else:
            done = True
        bench.settle()
        story = (number, done, bench.events, bench.story())
        assert len(bench.happened("clock")) in ({True: (1,), False: (0,), None: (0, 1)}[done]), story
        assert adjusting(bench, 30) or untouched(bench), story
        bench.agree()
        if not bench.fault_happened:
            assert done
            return
    raise AssertionError("no end")


@pytest.mark.parametrize("case", SECURED, ids=lambda case: case.name)
@pytest.mark.parametrize("way", WAYS)
def test_a_replay_changes_nothing(way, case):
    replayed(case, way)


@pytest.mark.parametrize("way", [name for name, way in WAYS.items() if way.protected and not way.wired])
def test_a_replayed_adjustment_by_the_gateway_changes_nothing(way):
    """The message counter of profiles B and D; profile A and a wire without profile have nothing against it."""
    replayed(BY_GATEWAY, way)


# -- time passes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", [ADJUST, BACK, BY_GATEWAY], ids=lambda case: case.name)
@pytest.mark.parametrize("way", ["wire none", "wire none 4.3.3", "wire B"])
def test_an_adjustment_is_complete_within_twelve_hours(way, case):
    """Gateways read the clock after twelve hours: it has moved by as much as was asked for, once."""
    bench = case.bench(way)
    bench.run(case.on(bench))
    shift = bench.memory.clock_adjustment
    bench.wait(12 * 3600.0)
    moment = bench.run(lambda h: clock.read_clock())
    assert abs((moment.datetime() - EPOCH).total_seconds() - shift - bench.kernel.now) < 2.0
    assert ahead(bench) == shift
    assert bench.memory.clock_adjusted_until is None


@pytest.mark.parametrize("way", ["wire none", "wire D"])
def test_a_difference_in_steps_of_twelve_hours(way):
    bench = Bench(way, **of("b"))
    assert bench.run(lambda h: clock.adjust_in_steps(h, DEVICE, 90), patience=50_000.0) == 2
    bench.wait(12 * 3600.0)
    assert ahead(bench) == 90
    bench.agree()


@pytest.mark.parametrize("way", ["C B", "C A", "T B 4.3.3", "S A 4.3.3"])
def test_the_grid_of_the_radio_does_not_move(way):
    """Synchronous transmissions follow the clock of the transmitter, not the one that was set."""
    times = []
    for command in (False, True):
        bench = SET.bench(way)
        bench.wait(200.0)
        if command:
            bench.run(SET.on(bench))
        bench.wait(1200.0 - bench.kernel.now + 1000.0)
        times.append([round(message.time, 6) for message in bench.trace.messages if message.name in ("SND-NR", "ACC-NR")])
    assert times[0] == times[1]
    assert len(times[0]) > 10


@pytest.mark.parametrize("way", WAYS)
def test_setting_stops_an_adjustment(way):
    bench = ADJUST.bench(way)
    bench.run(ADJUST.on(bench))
    assert adjusting(bench, 30)
    bench.run(SET.on(bench))
    assert is_set(bench)
    bench.wait(40_000.0 if bench.way.wired else 0.0)
    assert bench.memory.clock_adjustment == 0
    bench.agree()


@pytest.mark.parametrize("way", WAYS)
def test_correction_of_a_small_difference(way):
    """TC 03 moves by what is missing, where that is less than 60 s."""
    bench = CORRECT.bench(way)
    bench.wait(30.0)
    target = (EPOCH + dt.timedelta(seconds=bench.kernel.now)).replace(microsecond=0) + dt.timedelta(minutes=0, seconds=-20)
    moment = MeterTime("J", hour=target.hour, minute=target.minute, second=target.second)
    bench.run(lambda h: clock.correct_clock(h, DEVICE, moment, issue=bench.way.issue))
    assert -60 <= bench.memory.clock_adjustment <= -20
    bench.agree()


# -- refusals ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [61, -61, 3600])
@pytest.mark.parametrize("way", WAYS)
def test_more_than_sixty_seconds(way, seconds):
    over = lambda h, i: clock.adjust_clock(h, DEVICE, seconds, beyond_limit=True, issue=i)  # noqa: E731
    refused(Case("61 s", over, untouched, untouched, options=of("b")), way, error=0x15)
    over_link = lambda h, i: clock.adjust_by_gateway(seconds, beyond_limit=True)  # noqa: E731
    refused(Case("61 s by gateway", over_link, untouched, untouched, options=of("a")), way, error=0x15)
    bench = Bench(way, **of("b"))
    with pytest.raises(OutOfRange):  # and who does not insist does not even send it
        bench.run(lambda h: clock.adjust_clock(h, DEVICE, seconds))
    assert bench.count == 0


@pytest.mark.parametrize("way", WAYS)
def test_a_second_adjustment_while_one_runs(way):
    bench = ADJUST.bench(way)
    issue = bench.way.issue
    bench.run(ADJUST.on(bench))
    for make in (lambda h: clock.adjust_clock(h, DEVICE, 31, issue=issue), lambda h: clock.adjust_by_gateway(5)):
        with pytest.raises(Refused) as caught:
            bench.run(make)
        assert caught.value.error == 0x10
    assert adjusting(bench, 30)
    assert len(bench.executed) == 1
    bench.agree()


@pytest.mark.parametrize("way", WAYS)
def test_variant_c_refuses_the_gateway(way):
    for case in (BY_GATEWAY, CORRECT_BY_GATEWAY):
        refused(case, way, error=0x22, **of("c"))


@pytest.mark.parametrize("case", SECURED, ids=lambda case: case.name)
@pytest.mark.parametrize("way", WAYS)
def test_variant_a_knows_no_head_end(way, case):
    refused(case, way, error=0x11, **of("a"))


@pytest.mark.parametrize("way", WAYS)
def test_the_gateway_cannot_set(way):
    octets = clock.type_i(WANTED)
    from openmetering.codec.apl.clock import ClockSynchronisation

    order = ClockSynchronisation.set(octets).encode().hex()
    refused(Case("set by gateway", lambda h, i: plain(order, "clock"), untouched, untouched, options=of("b")), way, error=0x22)


@pytest.mark.parametrize(("key_id", "apdu"), [(0x22, "011E0000"), (0x21, "009E2D8D1D3209"), (0x20, "011E0000")])
@pytest.mark.parametrize("way", WAYS)
def test_the_key_of_the_other_command(way, key_id, apdu):
    make = lambda h, i: secured(h, key_id, apdu, issue=i, pid=4)  # noqa: E731
    refused(Case("key", make, untouched, untouched, options=of("b")), way, error=0x22)


@pytest.mark.parametrize("way", WAYS)
def test_a_target_time_other_than_immediate(way):
    make = lambda h, i: secured(h, 0x21, "011E0000", issue=i, pid=4, time=target_time(30))  # noqa: E731
    refused(Case("later", make, untouched, untouched, options=of("b")), way, status=0x23)


@pytest.mark.parametrize("apdu", ["0000000000FF1F", "03FFFFFF", "01", ""])
@pytest.mark.parametrize("way", ["wire none", "C B", "C A 4.3.3"])
def test_what_is_no_time(way, apdu):
    key_id = 0x22 if apdu[:2] == "00" else 0x21
    make = lambda h, i: secured(h, key_id, apdu, issue=i, pid=4)  # noqa: E731
    refused(Case("time", make, untouched, untouched, options=of("b")), way, error=0x15)


@pytest.mark.parametrize("way", WAYS)
def test_type_m(way):
    """TC 05 and 06: unknown in release A (11h); in release C no absolute form is published (15h)."""
    error = 0x11 if WAYS[way].issue == "4.3.3" else 0x15
    make = lambda h, i: secured(h, 0x22, "050000000030", issue=i, pid=4)  # noqa: E731
    refused(Case("type M", make, untouched, untouched, options=of("b")), way, error=error)


def test_release_a_sets_no_type_m():
    bench = Bench("C B 4.3.3", **of("b"))
    with pytest.raises(NotRepresentable):
        bench.run(lambda h: clock.set_clock(h, DEVICE, MeterTime("M", 2024, 1, 1, 0, 0, 0), issue="4.3.3"))
    assert bench.count == 0


@pytest.mark.parametrize("way", WAYS)
def test_a_device_without_the_use_case(way):
    refused(ADJUST, way, error=0x11, functions={"conformance": {}, "keys": {}})
    refused(BY_GATEWAY, way, error=0x11, functions={"conformance": {}, "keys": {}})


@pytest.mark.parametrize("case", SECURED, ids=lambda case: case.name)
@pytest.mark.parametrize("way", WAYS)
def test_wrong_keys(way, case):
    refused(case, way, error=0x20, office_keys=other_keys())
    refused(case, way, status=0x19, application_keys=(0x24,))


@pytest.mark.parametrize("way", [name for name, way in WAYS.items() if way.profile != "none"])
def test_a_wrong_link_key(way):
    refused(ADJUST, way, error=0x20, gateway_key=bytes(16))
    refused(BY_GATEWAY, way, error=0x20, gateway_key=bytes(16))
