"""Things that go wrong at a time, by name.

    loss, corruption      value: probability; of a device all its frames, of a gateway all it hears
    clock-drift           value: ppm its clock runs fast (the clock people read, not the transmitter's grid)
    reboot, power-cut     value: seconds without power (30); a gateway goes on from what it wrote down
    battery-low           bit "power low", remaining battery 60 days
    leak                  value: units per hour that run on; error flag "water leakage" (bit 10)
    tampering             permanent error, all error flags stay until cleared
    alarm                 status bits of an alarm device, ACC-DMD of a bidirectional one, else an SND-NR at once
    frozen                the register stands still
    replay                the last frame of the device again, from 5 m beside it; value: seconds after it was heard
    forge                 the same with a changed octet
    button                somebody starts the installation
    closed                the supply is shut by hand (value 0) or opened (value 1)

``until`` ends loss, corruption, drift, leak, alarm, frozen and a power cut.
Source of the status and flag bits: OMS Volume 2 5.0.1 clause 7.2.3; EN 13757-3 Annex E.1 (bit 10; the rest is not public).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from openmetering.errors import InputError
from openmetering.protocol.device.memory import DeviceMemory
from openmetering.protocol.events import Heard, Transmit
from openmetering.protocol.radio.events import ButtonPressed, Demand, Trigger
from openmetering.simulation.airtime import AirInterface
from openmetering.simulation.metrology import Metrology
from openmetering.simulation.plan import FaultPlan, seconds_of
from openmetering.simulation.post import DevicePost, Post
from openmetering.simulation.radio import Antenna
from openmetering.simulation.wired_post import AdapterPost, SlavePost

if TYPE_CHECKING:
    from openmetering.simulation.world import World

__all__ = ["FAULTS", "inject"]

LEAKAGE = 1 << 10
_POWER_LOW = 0x04  #: status octet
_TAMPERED = 0x08  #: permanent error of the status octet
_HOUR = 3600.0
_POWER_CUT = 30.0


class _Case(msgspec.Struct, frozen=True):
    """One fault with its times and target found."""

    world: World
    plan: FaultPlan
    post: Post | SlavePost
    at: float
    until: float | None

    @property
    def meter(self) -> tuple[DeviceMemory, Metrology]:
        """What the target remembers and measures; it must be a device. An adapter measures what its meter does."""
        post = self.post
        if isinstance(post, AdapterPost):
            return post.memory, post.meter.metrology
        if not isinstance(post, DevicePost | SlavePost):
            raise InputError(f"fault {self.plan.kind!r} needs a device, {self.plan.target!r} is none")
        return post.memory, post.metrology

    @property
    def radio(self) -> Post:
        """The target, which must stand on the channel."""
        if not isinstance(self.post, Post):
            raise InputError(f"fault {self.plan.kind!r} needs a radio, {self.plan.target!r} has none")
        return self.post

    def number(self, default: float) -> float:
        """The value of the plan, or what is usual."""
        return default if self.plan.value is None else self.plan.value

    @property
    def device(self) -> DevicePost:
        """The target, which must be a device."""
        if not isinstance(self.post, DevicePost):
            raise InputError(f"fault {self.plan.kind!r} needs a device, {self.plan.target!r} is none")
        return self.post

    def later(self, when: float | None, action: Callable[[float], None]) -> None:
        """Do something at a time, if there is one."""
        if when is not None:
            self.world.kernel.call_at(when, action)


def _loss(case: _Case) -> None:
    station = case.radio.station

    def set_to(value: float) -> None:
        station.loss = value

    case.later(case.at, lambda now: set_to(case.number(1.0)))
    case.later(case.until, lambda now: set_to(0.0))


def _corruption(case: _Case) -> None:
    station = case.radio.station

    def set_to(value: float) -> None:
        station.corrupt = value

    case.later(case.at, lambda now: set_to(case.number(0.1)))
    case.later(case.until, lambda now: set_to(0.0))


def _clock_drift(case: _Case) -> None:
    (memory, _), step = case.meter, 600.0

    def tick(now: float) -> None:
        if case.until is None or now < case.until:
            memory.clock_offset += case.number(200.0) * 1e-6 * step
            case.later(now + step, tick)

    case.later(case.at + step, tick)


def _power_cut(case: _Case) -> None:
    end = case.at + case.number(_POWER_CUT) if case.until is None else case.until
    case.later(case.at, lambda now: case.post.power_off())
    case.later(end, lambda now: case.post.power_on())


def _battery_low(case: _Case) -> None:
    memory, metrology = case.meter

    def act(now: float) -> None:
        memory.status_bits |= _POWER_LOW
        metrology.state.battery = int(now // 86_400.0) + 60

    case.later(case.at, act)


def _leak(case: _Case) -> None:
    (memory, metrology), rate = case.meter, case.number(20.0)

    def begin(now: float) -> None:
        metrology.state.leaks.append((now, rate))
        metrology.state.flags |= LEAKAGE
        memory.error_flags |= LEAKAGE

    def end(now: float) -> None:
        metrology.state.leaks.append((now, -rate))
        metrology.state.flags &= ~LEAKAGE
        memory.error_flags &= ~LEAKAGE

    case.later(case.at, begin)
    case.later(case.until, end)


def _tampering(case: _Case) -> None:
    (memory, metrology), flags = case.meter, int(case.number(0x0001))

    def act(now: float) -> None:
        memory.status_bits |= _TAMPERED
        memory.error_flags |= flags
        memory.permanent_flags |= flags
        metrology.state.flags |= flags

    case.later(case.at, act)


def _alarm(case: _Case) -> None:
    device = case.device

    def begin(now: float) -> None:
        device.metrology.state.alarm = int(case.number(1))
        device.memory.alarm = 1
        device.post(Demand() if device.spec.group.bidirectional else Trigger())

    def end(now: float) -> None:
        device.metrology.state.alarm = 0
        device.post(Trigger())

    case.later(case.at, begin)
    case.later(case.until, end)


def _frozen(case: _Case) -> None:
    _, metrology = case.meter
    case.later(case.at, metrology.freeze)
    case.later(case.until, metrology.thaw)


def _again(case: _Case, change: Callable[[bytes], bytes]) -> None:
    """Somebody with a transmitter stands beside a device: hears it, and says the same again."""
    device = case.radio
    if not isinstance(device, DevicePost | AdapterPost):
        raise InputError(f"fault {case.plan.kind!r} needs a device, {case.plan.target!r} is none")
    place = msgspec.structs.replace(device.station.place, x=device.station.place.x + 5.0)
    antenna = device.station.antenna
    own = Antenna(antenna.power, antenna.gain, antenna.mode, (antenna.mode,), uplink=True, frame_format=antenna.frame_format)
    intruder = case.world.channel.attach(f"intruder at {device.name}", place, own, case.plan.kind)
    sender = device.spec.adapter or device.address

    def hear(heard: Heard, air: AirInterface) -> None:
        now = case.world.kernel.now
        if now >= case.at and intruder.deliver is not None and heard.frame[2:10] == sender.link_octets():
            intruder.deliver = None
            intruder.transmit(Transmit(change(heard.frame), now + case.number(20.0)))

    intruder.deliver = hear


def _replay(case: _Case) -> None:
    _again(case, lambda frame: frame)


def _forge(case: _Case) -> None:
    _again(case, lambda frame: frame[:-3] + bytes((frame[-3] ^ 0x20,)) + frame[-2:])


def _button(case: _Case) -> None:
    radio = case.radio
    case.later(case.at, lambda now: radio.post(ButtonPressed()))


def _closed(case: _Case) -> None:
    _, metrology = case.meter
    case.later(case.at, metrology.open if case.number(0) else metrology.close)
    case.later(case.until, metrology.open)


#: kind of the plan -> what it does
FAULTS: dict[str, Callable[[_Case], None]] = {
    "loss": _loss,
    "corruption": _corruption,
    "clock-drift": _clock_drift,
    "reboot": _power_cut,
    "power-cut": _power_cut,
    "battery-low": _battery_low,
    "leak": _leak,
    "tampering": _tampering,
    "alarm": _alarm,
    "frozen": _frozen,
    "replay": _replay,
    "forge": _forge,
    "button": _button,
    "closed": _closed,
}


def inject(world: World, plan: FaultPlan, index: int) -> None:
    """Put a fault on the calendar of a world. Raises InputError for unknown kinds and targets."""
    where = f"fault[{index}]"
    action = FAULTS.get(plan.kind)
    if action is None:
        raise InputError(f"{where}.kind: {plan.kind!r} is none of {', '.join(FAULTS)}")
    post = world.find(plan.target)
    if post is None:
        raise InputError(f"{where}.target: nothing is named {plan.target!r}")
    until = None if plan.until is None else seconds_of(plan.until)
    action(_Case(world, plan, post, seconds_of(plan.at), until))
