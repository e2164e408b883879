"""Use cases as cases, and what is tried with each of them: success, one fault at every frame, storms, replays, refusals."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Any

import msgspec
import pytest

from openmetering.errors import ExchangeFailed, OmsError, Refused
from openmetering.protocol.operator.head_end import HeadEnd
from openmetering.security import KeyRing
from tests.protocol.operator.scripted import DEVICE, ring
from tests.usecases.bench import POWER_CUTS, RISKY, WAYS, Bench, Fault, PowerCut, Way

_NOT_INSTALLED = "could not install"  #: two power cuts in one installation: the old program runs on


class Case(msgspec.Struct, frozen=True):
    """A use case and what must be true of the device when it is done.

    ``make``       the procedure, for a head-end and the issue
    ``holds``      what is true afterwards; ``untouched`` what is true where nothing was carried out
    ``effects``    names of device events, and how often each comes
    ``setup``      what is to be changed in the device before it starts
    ``after``      what must be possible when it is done, fault or no fault
    """

    name: str
    make: Callable[[HeadEnd, str], Any]
    holds: Callable[[Bench], object]
    untouched: Callable[[Bench], object] = lambda bench: True
    effects: Mapping[str, int] = {}
    setup: Callable[[Bench], None] = lambda bench: None
    after: Callable[[Bench], object] = lambda bench: True
    options: Mapping[str, Any] = {}

    def bench(self, way: str, **changes: Any) -> Bench:
        """A world for this case."""
        bench = Bench(way, **{**self.options, **changes})
        self.setup(bench)
        return bench

    def on(self, bench: Bench) -> Callable[[HeadEnd], Any]:
        """The procedure for the issue of a world."""
        return lambda head_end: self.make(head_end, bench.way.issue)

    def check(self, bench: Bench) -> None:
        """It is done, once."""
        assert self.holds(bench), bench.story()
        for name, times in self.effects.items():
            assert len(bench.happened(name)) == times, (name, bench.events)
        bench.agree()


def risks(main: Case, *others: Case, ways: Mapping[str, Way] = WAYS) -> list[Any]:
    """What is tried with every fault: the main case of a use case on every way, others where ways differ most."""
    risky = [name for name in ways if name in RISKY]
    pairs = [(way, main) for way in ways] + [(way, case) for case in others for way in risky]
    return [pytest.param(way, case, id=f"{way}-{case.name}") for way, case in pairs]


def succeed(case: Case, way: str) -> Any:
    """The success path; the result of the procedure."""
    bench = case.bench(way)
    result = bench.run(case.on(bench))
    assert getattr(result, "proof", "answer") == "answer"
    bench.settle()
    case.check(bench)
    case.after(bench)
    return result


def one_fault(case: Case, way: str, kind: str, most: int = 400) -> int:
    """One fault at every frame in turn, until the run needs fewer frames. Returns how many there were."""
    for number in range(most):
        bench = case.bench(way)
        try:
            bench.persist(case.on(bench), Fault(kind, number))
            bench.settle()
            case.check(bench)
            case.after(bench)
        except (AssertionError, OmsError) as error:
            raise AssertionError(f"{case.name}, {way}, {kind} at frame {number}: {error!r}\n{bench.story()}") from error
        if not bench.fault_happened:
            return number
    raise AssertionError(f"{most} frames and no end")


def storm(case: Case, way: str, seed: int, *, lost: float = 0.25, cut: float = 0.02, attempts: int = 40) -> None:
    """Frames are lost, changed and doubled, and everybody loses his power now and then; the caller asks until it is done.

    Then the sky clears up and everything must agree.
    """
    bench = case.bench(way)
    dice = Random(f"{seed}/{case.name}/{way}").random

    def weather(number: int) -> Fault | None:
        roll = dice()
        if roll < lost:
            return Fault("lost", number)
        if roll < lost + 0.05:
            return Fault("twice", number)
        if roll < lost + 0.05 + cut * len(POWER_CUTS):
            return Fault(POWER_CUTS[int(dice() * len(POWER_CUTS))], number)
        return None

    bench.weather = weather
    done = False
    try:
        for _ in range(attempts):
            try:
                bench.run(case.on(bench))
                done = True
                break
            except (ExchangeFailed, PowerCut):
                bench.wait(5.0 + 60.0 * dice())
            except Refused as refusal:
                if _NOT_INSTALLED not in refusal.message:
                    raise
        bench.weather = None
        bench.settle()
        while not done:
            try:
                bench.persist(case.on(bench))
                done = True
            except Refused as refusal:
                if _NOT_INSTALLED not in refusal.message:
                    raise
            bench.settle()
        case.check(bench)
        case.after(bench)
    except (AssertionError, OmsError) as error:
        raise AssertionError(f"{case.name}, {way}, storm {seed}: {error!r}\n{bench.story(60)}") from error


def replayed(case: Case, way: str) -> None:
    """Everything that was said comes again, when all is over: nothing happens."""
    bench = case.bench(way)
    bench.run(case.on(bench))
    bench.settle()
    case.check(bench)
    before = list(bench.events)
    bench.replay_all()
    fresh = [event for event in bench.events[len(before) :] if event.name != "image"]
    assert fresh == [], bench.story()
    case.check(bench)


def other_keys() -> KeyRing:
    """The keys of an operator who has wrong application and wrapper keys."""
    wrong = KeyRing()
    for pattern, key in ring():
        secret = key.octets if key.key_id == 0 else bytes(15) + bytes((1 + (key.version or 0),))
        wrong.add(pattern, secret, key.key_id, key.version)
    return wrong


def refused(case: Case, way: str, *, error: int | None = None, status: int | None = None, **changes: Any) -> Bench:
    """The case is refused with an application error or a SITP status, and nothing happens."""
    bench = case.bench(way, **changes)
    before = {(slot.key_id, slot.version): slot.counter for slot in bench.memory.keys if slot.key_id >= 0x10}
    with pytest.raises(Refused) as caught:
        bench.run(case.on(bench))
    assert (caught.value.error, caught.value.status) == (error, status), caught.value
    bench.settle()
    assert case.untouched(bench)
    assert bench.executed == []
    after = {(slot.key_id, slot.version): slot.counter for slot in bench.memory.keys if slot.key_id >= 0x10}
    assert after == before
    assert HeadEnd(bench.office_keys, journals=bench.store.load()).journal(DEVICE).commands == ()
    return bench
