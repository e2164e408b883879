"""UC-04: the three variants, every limit and refusal, the slow drift, power cuts."""

from __future__ import annotations

import datetime as dt
import itertools

import pytest

from openmetering.codec.apl.clock import ClockSynchronisation
from openmetering.codec.apl.security_transfer import INVALID_TIME, target_time
from openmetering.protocol.device.clock import SECONDS_PER_SECOND, ClockFeature
from openmetering.protocol.device.memory import DeviceMemory
from openmetering.wire.types import MeterTime
from tests.protocol.device.partner import WAYS, Partner, device, reborn, secured

Way = tuple[str, bool]
EPOCH = dt.datetime(2024, 1, 1)
HALF_A_DAY = 43200.0
ADD_30 = "01 1E 00 00"
SET = "00 9E 2D 8D 1D 32 09"  # 2024-02-29 13:45:30


def partner(way: Way = ("B", False), *, issue: str = "5.0.1", **options: str) -> Partner:
    return Partner(device(*way, functions={"clock": options}, oms_issue=issue))


def clock(one: Partner) -> ClockFeature:
    (feature,) = one.endpoint.application.contents.features
    assert isinstance(feature, ClockFeature)
    return feature


def shown(one: Partner) -> dt.datetime:
    return clock(one).moment(one.now)


def true(one: Partner) -> dt.datetime:
    return EPOCH + dt.timedelta(seconds=one.now)


def passes(one: Partner, seconds: float) -> None:
    one.now += seconds
    one.endpoint.timeout(one.now)


# -- reading -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("kind", "dib"), [("F", "04 6D"), ("I", "06 6D")])
def test_the_clock_is_told(way: Way, kind: str, dib: str) -> None:
    one = partner(way, record_type=kind)
    record = one.read().records[1]
    assert record.header.octets == bytes.fromhex(dib)
    value = record.value
    assert isinstance(value, MeterTime)
    expected = true(one).replace(second=0 if kind == "F" else true(one).second, microsecond=0)
    assert value.datetime() == expected


def test_static_messages_have_no_clock() -> None:
    one = partner()
    one.send("application-reset", b"\x70")
    assert len(one.read().records) == 1


# -- adjusting -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("shift", "variant"), [(30, "a"), (60, "b"), (-60, "a"), (-1, "b")])
def test_the_gateway_adjusts(way: Way, shift: int, variant: str) -> None:
    one = partner(way, variant=variant)
    taken = one.clock(ClockSynchronisation.adjust(shift))
    assert taken.status == 0
    assert [(event.name, event.value) for event in taken.events] == [("clock", shift)]
    assert one.read().records[0].quantity == "volume"  # unspecific
    assert abs((shown(one) - true(one)).total_seconds()) < 0.01
    passes(one, abs(shift) * SECONDS_PER_SECOND / 2)
    assert (shown(one) - true(one)).total_seconds() == pytest.approx(shift / 2, abs=0.01)
    passes(one, HALF_A_DAY)
    assert (shown(one) - true(one)).total_seconds() == pytest.approx(shift)
    assert one.endpoint.memory.clock_adjusted_until is None


def test_the_clock_never_jumps_or_stands_still_in_an_adjustment() -> None:
    for shift in (60, -60):
        one = partner()
        one.clock(ClockSynchronisation.adjust(shift))
        feature, begin = clock(one), one.now
        moments = [feature.moment(begin + second * 60.0) for second in range(720)]
        steps = {round((b - a).total_seconds(), 3) for a, b in itertools.pairwise(moments)}
        assert steps == {60.0, round(60 + 60 / SECONDS_PER_SECOND * (1 if shift > 0 else -1), 3)}


def test_an_adjustment_is_done_within_twelve_hours() -> None:
    one = partner()
    one.clock(ClockSynchronisation.adjust(60))
    deadline = one.endpoint.memory.clock_adjusted_until
    assert deadline is not None
    assert deadline - one.now == 36000 < HALF_A_DAY
    passes(one, 256)
    assert one.endpoint.deadline == deadline
    events = one.endpoint.timeout(deadline)
    assert [(event.name, event.detail, event.value) for event in events] == [("clock", "adjusted", 60)]
    assert one.endpoint.deadline is None


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("shift", [61, -61, 110, 3600])
def test_more_than_60_seconds_are_refused(way: Way, shift: int) -> None:
    one = partner(way)
    assert one.clock(ClockSynchronisation.adjust(shift)).status == 2
    assert one.error() == 0x15
    assert one.endpoint.deadline == one.now + 255  # of the error, not of the clock
    assert shown(one) == true(one)


def test_n_8_2_form_of_the_command() -> None:
    one = partner()
    one.send("clock", "01 32 01 00 00 00 00 00 00 00 2F 2F 2F 2F")
    assert one.error() == 0x15
    one.send("clock", "01 32 00 00")
    assert one.error() is None


@pytest.mark.parametrize("ci", [0x6C, 0x6D])
@pytest.mark.parametrize("issue", ["4.3.3", "5.0.1"])
def test_both_ci_carry_every_function(ci: int, issue: str) -> None:
    for payload in (ADD_30, "03 1E 2D 0D"):
        one = partner(issue=issue)
        assert one.send("clock", payload, ci=ci).status == 0


@pytest.mark.parametrize(("wanted", "moves"), [(20, 20), (-20, -20), (60, 60), (4000, 60), (-4000, -60), (0, 0)])
def test_towards_a_time_of_day_at_most_60_seconds(wanted: int, moves: int) -> None:
    one = partner()
    one.now += 1
    target = true(one) + dt.timedelta(seconds=wanted)
    one.now -= 1
    moment = MeterTime("J", hour=target.hour, minute=target.minute, second=target.second)
    assert one.clock(ClockSynchronisation.correct(moment)).status == 0
    passes(one, HALF_A_DAY)
    assert (shown(one) - true(one)).total_seconds() == pytest.approx(moves)


def test_towards_a_time_across_midnight() -> None:
    one = partner()
    one.now = 86400.0 - 11
    one.clock(ClockSynchronisation.correct(MeterTime("J", hour=0, minute=0, second=20)))
    passes(one, HALF_A_DAY)
    assert (shown(one) - true(one)).total_seconds() == pytest.approx(30)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("second", [ADD_30, "02 1E 00 00", "03 00 00 00"])
def test_a_second_adjustment_is_refused_while_one_runs(way: Way, second: str) -> None:
    one = partner(way)
    one.send("clock", ADD_30)
    assert one.send("clock", second).status == 2
    assert one.error() == 0x10
    passes(one, 30 * SECONDS_PER_SECOND)
    assert (shown(one) - true(one)).total_seconds() == pytest.approx(30)
    assert one.send("clock", second).status == 0


def test_a_second_adjustment_by_the_head_end_is_refused_too() -> None:
    one = partner()
    one.send("clock", ADD_30)
    one.secured(0x21, 1, ADD_30, pid=4)
    assert one.error() == 0x10
    assert one.endpoint.memory.key(0x21).counter == 0  # type: ignore[union-attr]


@pytest.mark.parametrize("payload", ["", "01 1E", "03 FF FF FF", "03 3C 3C 00", "00 9E 2D"])
def test_commands_that_are_none(payload: str) -> None:
    one = partner()
    one.send("clock", payload or b"")
    assert one.error() == 0x15


@pytest.mark.parametrize("payload", ["04 00 00 00", "07", "FF"])
def test_unknown_functions(payload: str) -> None:
    one = partner()
    one.send("clock", payload)
    assert one.error() == 0x11


# -- who may ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_variant_c_refuses_the_gateway(way: Way) -> None:
    one = partner(way, variant="c")
    for payload in (ADD_30, "02 01 00 00", "03 00 00 00"):
        assert one.send("clock", payload).status == 2
        assert one.error() == 0x22
    assert shown(one) == true(one)


@pytest.mark.parametrize("variant", ["a", "b", "c"])
def test_the_gateway_never_sets(variant: str) -> None:
    one = partner(variant=variant)
    one.send("clock", SET)
    assert one.error() == 0x22


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("variant", ["b", "c"])
def test_the_head_end_adjusts_and_sets(way: Way, variant: str) -> None:
    """The computed blocks of UC-04b."""
    one = partner(way, variant=variant)
    adjust = bytes.fromhex("1C 00 00 20 00 32 21 00 01 00 00 00 00 00 00 00 30 04 01 1E 00 00 78 2E 19 85 49 07 CC BC")
    assert secured(0x21, 1, ADD_30, pid=4) == adjust
    taken = one.send("sitp", adjust)
    assert [event.name for event in taken.events] == ["clock", "executed"]
    assert one.status() == 0
    put = bytes.fromhex("1F 00 00 20 00 32 22 00 01 00 00 00 00 00 00 00 30 04 00 9E 2D 8D 1D 32 09 2F 93 BB 43 7E 63 50 30")
    one.send("sitp", put)
    assert one.status() == 0
    assert shown(one) == dt.datetime(2024, 2, 29, 13, 45, 30)
    assert one.endpoint.memory.clock_adjusted_until is None  # a setting ends an adjustment


def test_variant_a_knows_no_head_end() -> None:
    one = partner(variant="a")
    for key_id, payload in ((0x21, ADD_30), (0x22, SET)):
        one.secured(key_id, 1, payload, pid=4)
        assert one.error() == 0x11


@pytest.mark.parametrize(("key_id", "payload"), [(0x22, ADD_30), (0x21, SET), (0x20, ADD_30), (0x24, SET)])
def test_the_key_must_fit(key_id: int, payload: str) -> None:
    one = partner()
    one.secured(key_id, 1, payload, pid=4)
    assert one.error() == 0x22
    assert shown(one) == true(one)


@pytest.mark.parametrize("time", [target_time(1), INVALID_TIME])
def test_only_at_once(time: bytes) -> None:
    one = partner()
    one.secured(0x21, 1, ADD_30, pid=4, time=time)
    assert one.status() == 0x23


@pytest.mark.parametrize(
    "payload", ["00 3F 2D 8D 1D 32 09", "00 00 80 00 00 00 00", "00 9E 2D 9F 1D 32 09", "00 FF FF FF FF FF FF"]
)
def test_a_setting_names_one_moment(payload: str) -> None:
    one = partner()
    one.secured(0x22, 1, payload, pid=4)
    assert one.error() == 0x15


def test_type_m_is_known_in_5_0_1_but_its_formats_are_not_published() -> None:
    for issue, code in (("5.0.1", 0x15), ("4.3.3", 0x11)):
        one = partner(issue=issue)
        for function in ("05", "06"):
            one.secured(0x22, 1, f"{function} 00 00 00 00 30", pid=4)
            assert one.error() == code


# -- power cuts ------------------------------------------------------------------------------------------------------------


def test_an_adjustment_goes_on_after_a_power_cut() -> None:
    one = partner()
    one.send("clock", ADD_30)
    passes(one, 15 * SECONDS_PER_SECOND)
    two = reborn(one, {"clock": {}})
    assert (shown(two) - true(two)).total_seconds() == pytest.approx(15, abs=0.01)
    assert two.send("clock", ADD_30).status == 2
    passes(two, 15 * SECONDS_PER_SECOND)
    assert (shown(two) - true(two)).total_seconds() == pytest.approx(30)


def test_nothing_is_due_before_its_time() -> None:
    feature = ClockFeature(DeviceMemory(), epoch=EPOCH)
    assert feature.timeout(1e9) == []
    feature._memory.clock_adjusted_until = 10.0
    assert feature.timeout(9.0) == []


def test_a_correction_by_nothing_starts_no_adjustment() -> None:
    one = partner()
    one.send("clock", "01 00 00 00")
    assert one.endpoint.memory.clock_adjusted_until is None
