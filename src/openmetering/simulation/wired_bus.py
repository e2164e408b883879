"""A wired M-Bus segment at character level, in virtual time.

    master --send--> voltage ---------------> every slave with power       (one talker, all hear the same)
    master <-------- current <-- Transmit --- slaves                       (currents add up)

**Characters.** 11 bits each (8E1). The slaves get a frame of the master as one ``Octets`` event at the end of its
last stop bit. The master gets an answer in lumps: its first character when that is over, then what has come
every ``lump`` seconds and at the end; with ``lump`` 0 every character by itself, with None the whole answer.
As long as one slave talks alone no bit is computed.

**Several slaves at once.** A space of any of them is a space for the master: what its receiver makes of the
superposed bits is handed on, with ``disturbed`` where parity or stop bit are wrong. Answers that begin within
half a bit of each other and are equal read as one; a bit or more apart they are garbage.

**Collision.** A slave adds its space current to the mark current. Where the sum stays above the limit of the
converter for half a bit, that is a collision: the converter sends a break (space on the bus, which silences
the talkers) and shows a break to its host, ``00`` with ``disturbed``. A simple converter (no limit) notices nothing.

**Baud rate.** A receiver with another baud rate looks at the bits with its own time: garbage or nothing. A slave
that detects the rate takes over what it supports (``tune``).

**Noise.** Every bit is turned over with a probability, independently, drawn from the given dice.

**Power.** Voltage at the slaves = source - resistance * sum of the mark currents (1.5 mA for each unit load). From
21 V on the slaves work. The source rises with 168 V/s; a slave that had less than 12 V for more than 0.1 s
gets ``PowerUp`` when 21 V are reached (it says itself when it is ready, within 3 s). Between 12 V and 21 V
(overload) slaves neither hear nor talk, and remember. Cable delay, cable resistance and ringing are left out.

Units: seconds, bit/s, milliampere, volt, ohm.
Source: EN 13757-2, clauses to confirm; OMS Volume 2 Annex P release C (P.2.1.6, Figure P.3, Tables P.1);
The M-Bus: A Documentation, Rev. 4.8. How a converter tells its host of a collision, how long it waits before it
does so, and the resistance are choices of the model, see ``Converter``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol, TypeVar, cast, runtime_checkable

import msgspec

from openmetering.protocol.events import Octets, PowerUp, Transmit
from openmetering.protocol.machine import Dice, SansIO
from openmetering.protocol.wired.timing import LineRate
from openmetering.simulation.kernel import Kernel, Node
from openmetering.simulation.wired_line import BITS, Burst, Spaces, bit_errors, characters, superpose

__all__ = ["BusAccount", "Converter", "MasterPort", "Passage", "SlaveLine", "SlavePort", "Tunable", "WiredBus"]

Wire = PowerUp | Octets  #: what the wire tells a machine
In = TypeVar("In")
Out = TypeVar("Out")

UNIT_LOAD = 1.5  #: mA
WORKING, KEEPING = 21.0, 12.0  #: V: slaves work, slaves remember
RAMP = 168.0  #: V/s at power-up
FORGET = 0.1  #: seconds below 12 V that a slave bridges
BREAK = b"\x00"  #: what a receiver makes of a space longer than a character, with the stop bit missing


class Converter(msgspec.Struct, frozen=True):
    """The level converter (master side) of a segment.

    ``voltage``    V, mark without load
    ``resistance`` ohm; with 40 ohm a segment reaches 21 V with exactly 250 unit loads: that is what fixes it
    ``threshold``  mA above mark from which on a space is seen
    ``collision``  mA above mark that are a collision (25 may, 50 must); None: a simple converter, which sees none
    ``pause``      seconds of the break after a collision
    ``echo``       True: the host gets back what it sends
    """

    voltage: float = 36.0
    resistance: float = 40.0
    threshold: float = 9.0
    collision: float | None = 25.0
    pause: float = 0.05
    echo: bool = False


class SlaveLine(msgspec.Struct, frozen=True):
    """The electrical side of a slave.

    ``unit_loads``  1..4, each 1.5 mA
    ``current``     mA of its space, 11..20
    ``baud``        bit/s of a machine that is not ``Tunable``, until its ``LineRate`` says otherwise
    """

    unit_loads: int = 1
    current: float = 15.0
    baud: int = 2400


@runtime_checkable
class Tunable(Protocol):
    """A slave machine that knows the rates of its transceiver (``WiredSlave``)."""

    baud: int  #: present rate, bit/s

    def tune(self, baud: int) -> bool:
        """Characters come at a rate: True if the device hears them; one that detects rates takes it over."""
        ...


class BusAccount(msgspec.Struct):
    """What happened on a segment: counts."""

    requests: int = 0  #: bursts of the master
    answers: int = 0  #: bursts of slaves
    octets_down: int = 0
    octets_up: int = 0
    overlaps: int = 0  #: bursts of slaves that began while another one talked
    collisions: int = 0  #: recognised by their current
    disturbed: int = 0  #: characters with wrong parity or stop bit at the master
    bit_errors: int = 0  #: by noise
    late: int = 0  #: bursts that were not sent because their time was over
    power_ups: int = 0


class SlavePort:
    """The place of a slave on the segment: ``node`` carries its machine, ``baud`` is the rate in bit/s it has now.

    ``lives`` counts its power-ups: what it wanted to send before the last one is not sent.
    """

    __slots__ = ("_bus", "_follows", "_free", "baud", "line", "lives", "node")

    def __init__(
        self, bus: WiredBus, machine: SansIO[Wire, object], line: SlaveLine, on_event: Callable[[object, float], None] | None
    ) -> None:
        self._bus = bus
        self.line = line
        self.baud = machine.baud if isinstance(machine, Tunable) else line.baud
        self.lives = 0
        self._free = 0.0
        self._follows: Callable[[object, float], None] = on_event or (lambda event, now: None)
        self.node: Node[Wire, object] = Node(bus.kernel, machine, self.route)

    def route(self, event: object, now: float) -> None:
        """What comes out of the machine: frames go onto the bus, a rate is taken over, the rest to whoever asked for it."""
        if isinstance(event, LineRate):
            self.baud = event.baud
        if not isinstance(event, Transmit):
            self._follows(event, now)
            return
        start = max(event.not_before, now, self._free)
        if event.not_after is not None and start > event.not_after:
            self._bus.account.late += 1
            return
        self._free = start + len(event.frame) * BITS / self.baud
        self._bus.kernel.call_at(start, partial(self._bus.begin, self, event.frame, self.baud, self.lives))

    def tune(self, baud: int) -> bool:
        """Characters come at a rate: True if the slave takes them as they are sent."""
        machine = self.node.machine
        if isinstance(machine, Tunable):
            fits = machine.tune(baud)
            self.baud = machine.baud
            return fits
        return baud == self.baud

    def hear(self, octets: Octets) -> None:
        """Characters of the master, or what the slave makes of them."""
        self.node.post(octets)

    def detach(self) -> None:
        """Take the slave off the segment."""
        self._bus.detach(self)


class MasterPort:
    """The master's end of the segment, for a machine (``drive``) or for a foreign program (``send``, ``listen``).

    ``baud``  rate in bit/s in both directions
    ``lump``  seconds of characters that are handed on together; 0: each by itself; None: whole answers, for listeners
              without time-outs (a machine would take a long answer for a late one)
    """

    __slots__ = ("_bus", "_free", "_listeners", "_node", "baud", "lump")

    def __init__(self, bus: WiredBus, baud: int, lump: float | None) -> None:
        self._bus = bus
        self.baud = baud
        self.lump = lump
        self._free = 0.0
        self._listeners: list[Callable[[Octets, float], None]] = []
        self._node: Node[Wire, object] | None = None

    @property
    def bit(self) -> float:
        """Seconds of a bit."""
        return 1.0 / self.baud

    def send(self, octets: bytes, not_before: float = 0.0) -> float:
        """Send octets without a gap, as soon as the line of the master is free; returns the end of the last stop bit."""
        kernel = self._bus.kernel
        start = max(kernel.now, not_before, self._free)
        self._free = start + len(octets) * BITS / self.baud
        kernel.call_at(start, partial(self._bus.call, octets, self.baud))
        return self._free

    def send_break(self, duration: float = 0.05) -> None:
        """Hold the bus at space: talkers fall silent, every slave takes note."""
        self._bus.interrupt(self._bus.kernel.now, duration)

    def listen(self, heard: Callable[[Octets, float], None]) -> Callable[[], None]:
        """Have everything told that comes from the segment. Returns how to stop that."""
        self._listeners.append(heard)
        return partial(self._listeners.remove, heard)

    def drive(self, machine: SansIO[In, Out], on_event: Callable[[Out, float], None]) -> Node[In, Out]:
        """A machine is the master: it gets ``Octets``, ``Transmit`` and ``LineRate`` are obeyed, the rest is for ``on_event``."""

        def route(event: Out, now: float) -> None:
            if isinstance(event, Transmit):
                self.send(event.frame, event.not_before)
                return
            if isinstance(event, LineRate):
                self.baud = event.baud
            on_event(event, now)

        node = Node(self._bus.kernel, machine, route)
        self._node = cast("Node[Wire, object]", node)
        return node

    def hear(self, octets: Octets, now: float) -> None:
        """Characters from the segment."""
        for listener in tuple(self._listeners):
            listener(octets, now)
        if self._node is not None:
            self._node.post(octets)


class Passage(msgspec.Struct, frozen=True):
    """A burst that is over, for who looks on. ``port`` None: of the master. ``start`` in seconds.

    ``whole`` False: it was cut off, noise was on it, or somebody else talked as well.
    """

    octets: bytes
    start: float
    port: SlavePort | None
    whole: bool


class WiredBus:
    """A segment on a kernel: one master port, any number of slaves.

    ``taps`` are told every burst when it is over. ``dice`` is asked only where ``noise`` (probability of a wrong bit) is
    not 0: the same numbers, the same run.
    """

    def __init__(
        self,
        kernel: Kernel,
        *,
        converter: Converter | None = None,
        baud: int = 2400,
        lump: float | None = 0.05,
        noise: float = 0.0,
        dice: Dice | None = None,
        powered: bool = True,
    ) -> None:
        if noise > 0.0 and dice is None:
            raise ValueError("noise needs dice")
        self.kernel = kernel
        self.converter = converter or Converter()
        self.noise = noise
        self.master = MasterPort(self, baud, lump)
        self.slaves: list[SlavePort] = []
        self.taps: list[Callable[[Passage], None]] = []
        self.account = BusAccount()
        self._dice: Dice = dice or (lambda: 0.0)
        # power
        self._on = powered
        self._rises: float | None = None
        self._working = powered
        self._lost: float | None = None if powered else kernel.now - 1.0
        # the master's burst on the wire, and the answers of this busy period
        self._calls: list[Burst] = []
        self._talking: list[Burst] = []
        self._ends = 0.0
        self._resume = 0.0
        self._handed = 0
        self._spaces: Spaces | None = None
        self._collision: float | None = None
        self._silent_until = 0.0
        self._wake: float | None = None

    # -- slaves --------------------------------------------------------------------------------

    def attach(
        self,
        machine: SansIO[In, Out],
        line: SlaveLine | None = None,
        on_event: Callable[[Out, float], None] | None = None,
    ) -> SlavePort:
        """Put a slave onto the segment; it gets ``PowerUp`` at once if there is power.

        The machine takes ``PowerUp`` and ``Octets``; what it gives apart from ``Transmit`` goes to ``on_event``.
        """
        heard = cast("Callable[[object, float], None] | None", on_event)
        port = SlavePort(self, cast("SansIO[Wire, object]", machine), line or SlaveLine(), heard)
        self.slaves.append(port)
        self._weigh()
        if self._working:
            self._wake_up(port)
        return port

    def detach(self, port: SlavePort) -> None:
        """Take a slave off the segment."""
        self.slaves.remove(port)
        port.lives += 1
        self._weigh()

    @property
    def unit_loads(self) -> int:
        """The load of all slaves; 250 at most."""
        return sum(port.line.unit_loads for port in self.slaves)

    @property
    def voltage(self) -> float:
        """V at the slaves, mark."""
        if not self._on:
            return 0.0
        return self.converter.voltage - self.converter.resistance * self.unit_loads * UNIT_LOAD / 1000.0

    @property
    def working(self) -> bool:
        """True while slaves have 21 V."""
        return self._working

    @property
    def quiet_at(self) -> float:
        """When the last of the bursts that are known now is over."""
        return max(self._ends, self.master._free)

    # -- power ---------------------------------------------------------------------------------

    def power_off(self) -> None:
        """Switch the source off: what is under way is lost."""
        self._rises = None
        if self._on:
            self._on = False
            self._weigh()

    def power_on(self) -> None:
        """Switch the source on: 168 V/s up to 21 V, then the slaves wake up."""
        if not self._on and self._rises is None:
            self._rises = self.kernel.now + WORKING / RAMP
            self.kernel.call_at(self._rises, self._risen)

    def _risen(self, now: float) -> None:
        if self._rises is not None and now >= self._rises:
            self._on, self._rises = True, None
            if self._lost is not None:  # 12 V were there a little earlier
                self._lost += (WORKING - KEEPING) / RAMP
            self._weigh()

    def _weigh(self) -> None:
        """The voltage has changed."""
        after, now = self.voltage, self.kernel.now
        if after < KEEPING and self._lost is None:
            self._lost = now
        if after < WORKING:
            if self._working:
                self._working = False
                self._cut(now)
            return
        if self._working:
            return
        self._working = True
        forgotten = self._lost is not None and now - self._lost > FORGET
        self._lost = None
        if forgotten:
            for port in tuple(self.slaves):
                self._wake_up(port)

    def _wake_up(self, port: SlavePort) -> None:
        self.account.power_ups += 1
        port.lives += 1
        port.node.post(PowerUp())

    # -- from the master to the slaves ------------------------------------------------------------

    def call(self, octets: bytes, baud: int, now: float) -> None:
        """The master begins to send."""
        self.account.requests += 1
        self.account.octets_down += len(octets)
        burst = Burst(octets, now, 1.0 / baud, 0.0, self._noise(len(octets)))
        self._calls.append(burst)
        self.kernel.call_at(burst.end, partial(self._called, burst, baud))

    def _called(self, burst: Burst, baud: int, now: float) -> None:
        """The last stop bit of the master is over."""
        self._calls.remove(burst)
        self._tell(burst, None, now)
        if self.converter.echo:
            self.master.hear(Octets(burst.octets), now)
        if burst.cut or not self._working:
            return
        whole = None if burst.flipped else Octets(burst.octets)
        others: dict[int, Octets] = {}
        for port in tuple(self.slaves):
            if port.tune(baud) and whole is not None:
                port.hear(whole)
                continue
            if port.baud not in others:
                others[port.baud] = _heard(burst, 1.0 / port.baud)
            if others[port.baud].octets:
                port.hear(others[port.baud])

    def interrupt(self, now: float, duration: float) -> None:
        """A break: space on the bus for ``duration`` seconds."""
        self._cut(now)
        self._silent_until = max(self._silent_until, now + duration)
        self.kernel.call_at(now + duration, self._break_over)

    def _break_over(self, now: float) -> None:
        if self._working and now >= self._silent_until:
            for port in tuple(self.slaves):
                port.hear(Octets(BREAK, disturbed=True))

    # -- from the slaves to the master --------------------------------------------------------------

    def begin(self, port: SlavePort, octets: bytes, baud: int, life: int, now: float) -> None:
        """A slave begins to talk, if it is still there and the bus lets it."""
        if not self._working or now < self._silent_until or life != port.lives:
            return
        self.account.answers += 1
        self.account.octets_up += len(octets)
        burst = Burst(octets, now, 1.0 / baud, port.line.current, self._noise(len(octets)))
        if self._plain() and now >= self._ends - 1e-9:  # one burst right behind another
            self._look(self._wake, now)
        if not self._talking:
            self._resume, self._handed, self._collision = now, 0, None
        elif self._plain():  # up to now one slave talked alone and no bit was computed
            first = self._talking[0]
            self._resume = max(first.start, first.start + (self._handed * BITS - 0.5) * first.bit)
        overlaps = [other for other in self._talking if now < other.end - 1e-9]
        self.account.overlaps += bool(overlaps)
        burst.alone = not overlaps
        for other in overlaps:
            other.alone = False
        self._talking.append(burst)
        if self.taps:
            self.kernel.call_at(burst.end, partial(self._tell, burst, port))
        self._spaces = None
        self._ends = max(self._ends, burst.end)
        if self._plain():
            self._look_at(self._next_lump(burst))
            return
        self._look_at(now + BITS * self.master.bit)
        if self.converter.collision is not None and self._collision is None and len(self._talking) > 1:
            self._superpose()

    def _tell(self, burst: Burst, port: SlavePort | None, now: float) -> None:
        """A burst is over: those who look on."""
        for tap in self.taps:
            tap(Passage(burst.octets, burst.start, port, burst.alone and not (burst.cut or burst.flipped)))

    def _plain(self) -> bool:
        """True while one slave talks alone, undisturbed, at the rate of the master."""
        if len(self._talking) != 1:
            return False
        burst = self._talking[0]
        return not burst.flipped and abs(burst.bit - self.master.bit) < 1e-12

    def _next_lump(self, burst: Burst) -> float:
        """When the next characters of a slave that talks alone are handed on."""
        lump, character = self.master.lump, BITS * burst.bit
        if lump is None:
            return burst.end
        step = 1 if self._handed == 0 else max(1, int(lump / character + 1e-9))
        number = self._handed + step
        return burst.end if number >= len(burst.octets) else burst.start + number * character

    def _look_at(self, when: float) -> None:
        self._wake = when
        self.kernel.call_at(when, partial(self._look, when))

    def _look(self, asked: float | None, now: float) -> None:
        """Hand on what has come, and look again later as long as somebody talks."""
        if self._wake != asked or not self._talking:
            return  # something else happened meanwhile and asked again
        self._wake = None
        plain, last = self._plain(), self._talking[0]
        octets = self._come(now)
        if now < (last.end - 1e-9 if plain else self._ends + BITS * self.master.bit):
            self._look_at(self._next_lump(last) if plain else now + BITS * self.master.bit)
        else:
            self._talking = []
        if octets.octets:
            self.master.hear(octets, now)

    def _come(self, now: float) -> Octets:
        """The characters that are complete and were not handed on yet."""
        if self._plain():
            burst, before = self._talking[0], self._handed
            self._handed = min(len(burst.octets), int((now - burst.start) / (BITS * burst.bit) + 1e-6))
            return Octets(burst.octets[before : self._handed])
        spaces = self._superpose() if self._spaces is None else self._spaces
        found, self._resume = characters(spaces, self._resume, now + 1e-9, self.master.bit)
        disturbed = sum(1 for character in found if character.disturbed)
        self.account.disturbed += disturbed
        return Octets(bytes(character.octet for character in found), disturbed > 0)

    def _superpose(self) -> Spaces:
        """The line with everybody who talks now; a collision that shows will be noticed when it does."""
        limit = None if self._collision is not None else self.converter.collision
        self._spaces, collision = superpose(self._talking, self.converter.threshold, limit, 0.5 * self.master.bit)
        if collision is not None:
            self._collision = collision
            self.kernel.call_at(collision, self._collide)
        return self._spaces

    def _collide(self, now: float) -> None:
        """The current says that several slaves talk: break on the bus, and for the host."""
        if not self._talking or self._collision is None or now < self._collision:
            return  # the talkers were cut off meanwhile
        self.account.collisions += 1
        self.interrupt(now, self.converter.pause)
        self.kernel.call_at(now + BITS * self.master.bit, lambda at: self.master.hear(Octets(BREAK, disturbed=True), at))

    def _cut(self, now: float) -> None:
        """Everybody who talks is cut off; the characters that were complete have come."""
        for burst in (*self._calls, *self._talking):
            burst.cut = True
        octets = self._come(now) if self._talking else Octets(b"")
        self._talking, self._wake, self._collision = [], None, None
        self._ends = min(self._ends, now)
        if octets.octets:
            self.master.hear(octets, now)

    # -- noise -------------------------------------------------------------------------------------

    def _noise(self, octets: int) -> frozenset[int]:
        flipped = bit_errors(octets * BITS, self.noise, self._dice) if self.noise > 0.0 else frozenset()
        self.account.bit_errors += len(flipped)
        return flipped


def _heard(burst: Burst, bit: float) -> Octets:
    """What a receiver with its own bit time makes of a burst."""
    found, _ = characters(burst.spaces(), burst.start, burst.end + BITS * bit, bit)
    return Octets(bytes(character.octet for character in found), any(character.disturbed for character in found))
