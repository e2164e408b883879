"""Rules of thinning: every, best of a slot, changes of status; what is never thinned."""

from __future__ import annotations

import pytest

from openmetering.codec.ell import CommunicationControl
from openmetering.security import AddressPattern, KeyRing
from openmetering.services.gatewayd.entries import Entry
from openmetering.services.gatewayd.merge import Numbered
from openmetering.services.gatewayd.thinning import Rule, Thinner
from openmetering.telegram import Meter, compose, encode, encode_fragments
from tests.fleet import address, bare_wired, ring, volume, wired
from tests.services.gatewayd.tools import NOW, numbered

#: NOW lies 800 s in a slot of 15 minutes
INTO = NOW % 900
ALL = AddressPattern.everything()
BEST = Rule(ALL, "best")
STATUS = Rule(ALL, "status", heartbeat=3600.0)


def numbers(items: list[Numbered]) -> list[int]:
    return [item.number for item in items]


def test_without_rules_everything_goes() -> None:
    thinner = Thinner()
    assert [numbers(thinner.push(numbered(n, n))) for n in (1, 2)] == [[1], [2]]
    assert thinner.oldest is None
    assert thinner.deadline is None


def test_every_and_no_rule() -> None:
    thinner = Thinner([Rule(AddressPattern.parse("12345678"), "every"), Rule(AddressPattern.parse("99999999"), "best")])
    assert numbers(thinner.push(numbered(1))) == [1]
    assert numbers(thinner.push(numbered(2, number=11111111))) == [2]
    assert numbers(thinner.push(numbered(3, number=99999999))) == []


def test_the_first_rule_decides() -> None:
    thinner = Thinner([Rule(AddressPattern.parse("ELS-12345678"), "every"), BEST])
    assert numbers(thinner.push(numbered(1))) == [1]
    assert numbers(thinner.push(numbered(2, number=1))) == []


def test_the_best_of_a_slot_is_the_last_whole_one() -> None:
    assert INTO == 800
    thinner = Thinner([BEST])
    assert thinner.push(numbered(1, 1)) == []
    assert (thinner.oldest, thinner.deadline) == (1, NOW + 100)
    assert thinner.push(numbered(2, 2, 50)) == []
    assert thinner.push(numbered(3, 3, 60, crc=False)) == []
    assert thinner.release(NOW + 99) == []
    assert numbers(thinner.release(NOW + 100)) == [2]
    assert thinner.left_out == 2
    assert thinner.oldest is None


def test_the_next_slot_ends_the_one_before() -> None:
    thinner = Thinner([BEST])
    thinner.push(numbered(1, 1, arrived=0))
    assert numbers(thinner.push(numbered(2, 2, 200, arrived=0.1))) == [1]
    assert numbers(thinner.push(numbered(3, 3, 1100, arrived=0.2))) == [2]
    assert numbers(thinner.release(NOW + 901)) == [3]


def test_slots_of_an_hour() -> None:
    thinner = Thinner([Rule(ALL, "best", 3600.0)])
    into = NOW % 3600
    thinner.push(numbered(1, 1))
    assert thinner.deadline == pytest.approx(NOW + 3600 - into)


def test_devices_and_kinds_have_slots_of_their_own() -> None:
    thinner = Thinner([BEST])
    for number, item in enumerate(
        (
            numbered(1),
            numbered(2, number=22222222),
            numbered(3, records=volume(1) + volume(2, storage=True)),
            numbered(4, ell=0x00),
            numbered(5, profile="A"),
        ),
        1,
    ):
        assert thinner.push(item) == [], number
    assert numbers(thinner.release(NOW + 100)) == [1, 2, 3, 4, 5]


def test_a_change_of_status_goes_at_once() -> None:
    thinner = Thinner([BEST])
    assert thinner.push(numbered(1, 1)) == []
    assert numbers(thinner.push(numbered(2, 2, 10, status=0x04))) == [2]
    assert thinner.push(numbered(3, 3, 20, status=0x04)) == []
    assert numbers(thinner.push(numbered(4, 4, 30))) == [4]
    assert numbers(thinner.release(NOW + 100)) == [3]


def test_on_change_of_status() -> None:
    thinner = Thinner([STATUS])
    found = [
        numbers(thinner.push(item))
        for item in (
            numbered(1, 1),
            numbered(2, 2, 60),
            numbered(3, 3, 120, status=0x10),
            numbered(4, 4, 180, status=0x10),
            numbered(5, 5, 240),
            numbered(6, 6, 240 + 3599),
            numbered(7, 7, 240 + 3600),
        )
    ]
    assert found == [[1], [], [3], [], [5], [], [7]]
    assert thinner.left_out == 3


def test_a_status_that_cannot_be_read_is_no_change() -> None:
    sealed = encode(
        compose(Meter(address(), "none", communication_control=CommunicationControl(0)), volume(1), access_number=1, ci=0x78),
        KeyRing(),
    )
    thinner = Thinner([STATUS])
    assert numbers(thinner.push(Numbered(1, Entry(sealed, NOW, "a", NOW, crc=True)))) == [1]
    assert numbers(thinner.push(numbered(2, 2, 1, status=4))) == []  # nothing was known before
    assert numbers(thinner.push(Numbered(3, Entry(sealed, NOW + 2, "a", NOW, crc=True)))) == []
    assert numbers(thinner.push(numbered(4, 2, 3, status=0))) == [4]


def control(frame: bytes, value: int) -> bytes:
    return frame[:1] + bytes((value,)) + frame[2:]


@pytest.mark.parametrize("value", [0x46, 0x47, 0x48, 0x08, 0x00])
def test_what_a_device_does_not_send_by_habit_is_never_thinned(value: int) -> None:
    thinner = Thinner([STATUS])
    thinner.push(numbered(1))
    frame = control(numbered(1).entry.frame, value)
    for number in (2, 3):
        assert numbers(thinner.push(Numbered(number, Entry(frame, NOW, "a", NOW, crc=True)))) == [number]


def test_fragments_are_never_thinned() -> None:
    telegram = compose(Meter(address(), "B"), b"".join(volume(n) for n in range(60)), access_number=1, counter=5)
    frames = encode_fragments(telegram, ring(), 120)
    assert len(frames) > 1
    thinner = Thinner([STATUS])
    thinner.push(numbered(9))
    for number, frame in enumerate(frames, 1):
        assert numbers(thinner.push(Numbered(number, Entry(frame, NOW, "a", NOW, crc=True)))) == [number]


def test_what_has_no_address_or_is_no_frame_goes() -> None:
    thinner = Thinner([STATUS])
    for frame in (bare_wired(), b"\x00\x01\x02", bytes(40)):
        assert numbers(thinner.push(Numbered(1, Entry(frame, NOW, "a", NOW)))) == [1]


def test_wired_readouts_have_slots_and_their_parts_go() -> None:
    thinner = Thinner([BEST])
    part, last = wired(1, more=True), wired(2)
    assert numbers(thinner.push(Numbered(1, Entry(part, NOW, "w", NOW, mode="wired", crc=True)))) == [1]
    assert thinner.push(Numbered(2, Entry(last, NOW, "w", NOW, mode="wired", crc=True))) == []
    assert numbers(thinner.release(NOW + 100)) == [2]
