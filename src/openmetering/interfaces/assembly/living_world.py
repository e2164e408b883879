"""A simulated world that lives in a thread of its own, beside a head-end and gateways that take it for real.

world = LivingWorld(demo_plan(datetime.now()))
for batch in world.history(365): head_end.ingest(batch)       the past, before the world begins
world.start()                                                 second 0 of the plan is now
door = world.door("staircase")                                a source of the daemon of that gateway
carrier = world.carrier()                                     the way of jobs to the devices

wall clock  = begin + virtual / speed                         times of receptions; of the past: begin + virtual
"""

from __future__ import annotations

import asyncio
import csv
import io
import logging
import threading
import time
from collections.abc import Callable, Collection, Iterator
from decimal import Decimal
from typing import Final

from openmetering.codec.address import Address
from openmetering.errors import InputError, TransportError
from openmetering.protocol.exchange import Answered, Failed, GiveKey, Submit
from openmetering.protocol.gateway.events import Received
from openmetering.services.headend.csv_import import COLUMNS
from openmetering.services.headend.jobs.carriers import CarriedOrder, HandedOver
from openmetering.simulation.building import DeviceSpec
from openmetering.simulation.doors.pacer import Pacer
from openmetering.simulation.plan import WorldPlan
from openmetering.simulation.post import DevicePost
from openmetering.simulation.world import Device, Partner, World
from openmetering.transport.doors import Emit
from openmetering.transport.reception import Notice, Reception

__all__ = ["LivingWorld", "WorldSource"]

_log = logging.getLogger(__name__)
_DAY: Final = 86_400.0
_HOURLY: Final = 3.0  #: days before the start with a telegram an hour; before them one a day
_BATCH: Final = 2000
_OFTEN: Final = 600.0  #: seconds between two telegrams of profiles for TAF 7, which reach back so far
_LATE: Final = 900.0  #: seconds within which the devices tell, spread so that the order is none of their numbers
_QUIET: Final = 0.5  #: seconds a source waits before it looks whether it is to end

Hear = Callable[[Reception], None]


class WorldSource:
    """What a gateway of the world hears, as a source of a gateway daemon. Several may listen at the same gateway."""

    def __init__(self, world: LivingWorld, gateway: str) -> None:
        self.name = f"world:{gateway}"
        self._world, self._gateway = world, gateway

    async def run(self, emit: Emit) -> None:
        """Until cancelled, or until the world ends. Raises TransportError if it ended by a fault."""
        loop = asyncio.get_running_loop()
        heard: asyncio.Queue[Reception] = asyncio.Queue()

        def hear(reception: Reception) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(heard.put_nowait, reception)

        stop = self._world.listen(self._gateway, hear)
        try:
            await emit(Notice(self.name, f"the world runs {self._world.speed:g} times as fast as real time"))
            while self._world.alive or not heard.empty():
                try:
                    reception = await asyncio.wait_for(heard.get(), _QUIET)
                except TimeoutError:
                    continue
                await emit(reception)
            self._world.check()
        finally:
            stop()


class LivingWorld:
    """A world with a thread. Everything of the world happens there; methods may be called from any thread."""

    def __init__(
        self,
        plan: WorldPlan,
        *,
        speed: float = 1.0,
        clock: Callable[[], float] = time.time,
        withheld: Collection[str] = (),
    ) -> None:
        """``withheld``: labels of devices whose keys are not in ``keys_csv``. Raises InputError for a world that cannot be"""
        self.world = World(plan)
        self.speed = speed
        self.begin = clock()
        self.gateways = tuple(self.world.gateways)
        self._clock = clock
        self._withheld = frozenset(withheld)
        for label in self._withheld:
            self.world.device(label)
        self._listeners: dict[str, list[Hear]] = {name: [] for name in self.gateways}
        for name, gateway in self.world.gateways.items():
            gateway.telegrams.append(self._tell(name))
        self._partners: dict[int, Partner] = {}
        self._carrier = HandedOver("world", self._serves, self._hand_over)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pacer: Pacer | None = None
        self._pacing: asyncio.Task[None] | None = None
        self._ready = threading.Event()
        self._thread: threading.Thread | None = None
        self._fault: BaseException | None = None

    # -- its past -----------------------------------------------------------------------------------------

    def history(self, days: int, progress: Callable[[float], None] | None = None) -> Iterator[list[Reception]]:
        """Telegrams of the days before the start, the oldest first: one a day of each radio device, one an hour at the end.

        Devices with profiles for TAF 7 send so often at the end that no quarter of an hour is without its value.

        They are what the devices would have sent, with their counters. ``progress`` is told the share that is made.
        Raises InputError once the world has started
        """
        if self._thread is not None:
            raise InputError("a world that has begun has its past already")
        posts = [post for post in self.world.devices.values() if isinstance(post, DevicePost)]
        batch: list[Reception] = []
        moments = [-back * _DAY for back in range(days, int(_HOURLY), -1)]
        moments += [-back * 3600.0 for back in range(int(min(days, _HOURLY) * 24), 0, -1)]
        whole = frozenset(moments)
        moments = sorted(whole.union(-back * _OFTEN for back in range(1, int(min(days, _HOURLY) * _DAY / _OFTEN) + 1)))
        source = f"{self.gateways[0]}/world:{self.gateways[0]}" if self.gateways else "nobody"
        for number, moment in enumerate(moments):
            for place, post in enumerate(posts):
                if moment not in whole and not post.spec.group.taf7:
                    continue
                when = moment + _LATE * place / len(posts)
                frame = post.said(when, number)
                batch.append(Reception(frame, self.begin + when, source, rssi_dbm=_level(self.world, post), crc=True))
            if len(batch) >= _BATCH:
                yield batch
                batch = []
                if progress is not None:
                    progress((number + 1) / len(moments))
        if batch:
            yield batch
        if progress is not None:
            progress(1.0)

    # -- what an operator is given on paper -----------------------------------------------------------------

    def devices_csv(self) -> bytes:
        """Devices and their places as the file of the head-end's import."""
        text = io.StringIO()
        rows = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        rows.writeheader()
        since = time.strftime("%Y-%m-%d", time.gmtime(self.begin - 2 * 365 * _DAY))
        for post in self.world.devices.values():
            rows.writerow(dict.fromkeys(COLUMNS, "") | _row(post, self.world.plan) | {"valid_from": since})
        return text.getvalue().encode()

    def keys_csv(self) -> bytes:
        """All keys but those withheld, as a key file."""
        lines = self.world.key_file(head_end=True).splitlines()
        kept = [line for line in lines if not any(line.endswith(f",{label}") for label in self._withheld)]
        return ("\n".join(kept) + "\n").encode()

    def truth(self, address: Address | str, at: float) -> dict[str, Decimal]:
        """Main values of a device at a time of the wall clock, by tag, as it stated them then. Raises InputError"""
        return self.world.truth(address, self.virtual(at))

    def virtual(self, at: float) -> float:
        """The time of the world at a time of the wall clock."""
        passed = at - self.begin
        return passed if passed < 0.0 else passed * self.speed

    # -- its life -------------------------------------------------------------------------------------------

    @property
    def alive(self) -> bool:
        """True while time passes in it."""
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Time passes from now on; second 0 is now."""
        self.begin = self._clock()
        self._thread = threading.Thread(target=self._live, name="world", daemon=True)
        self._thread.start()
        self._ready.wait()

    def stop(self) -> None:
        """Time stands still. Safe to call twice."""
        if self._loop is not None and self._pacing is not None and self.alive:
            self._loop.call_soon_threadsafe(self._pacing.cancel)
        if self._thread is not None:
            self._thread.join(10.0)

    def check(self) -> None:
        """Raises TransportError if the world ended by a fault."""
        if self._fault is not None:
            raise TransportError(f"the simulated world has ended: {self._fault}", code="transport.world", layer="transport")

    def listen(self, gateway: str, hear: Hear) -> Callable[[], None]:
        """Have told, in the thread of the world, what a gateway hears; returns how to end that. Raises InputError"""
        if gateway not in self._listeners:
            raise InputError(f"no gateway {gateway!r}; this world has {', '.join(self.gateways) or 'none'}")
        self._listeners[gateway].append(hear)
        return lambda: self._listeners[gateway].remove(hear)

    def door(self, gateway: str) -> WorldSource:
        """What a gateway hears as a source. Raises InputError for one that is not there"""
        if gateway not in self._listeners:
            raise InputError(f"no gateway {gateway!r}; this world has {', '.join(self.gateways) or 'none'}")
        return WorldSource(self, gateway)

    def carrier(self) -> HandedOver:
        """The way of jobs to the devices."""
        return self._carrier

    # -- in its thread --------------------------------------------------------------------------------------

    def _live(self) -> None:
        try:
            asyncio.run(self._pace())
        except asyncio.CancelledError:
            pass
        except Exception as error:
            self._fault = error
            _log.exception("the simulated world has ended")
        finally:
            self._ready.set()

    async def _pace(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._pacer = Pacer(self.world.kernel, self.speed)
        self._pacing = asyncio.ensure_future(self._pacer.run())
        self._ready.set()
        await self._pacing

    def _tell(self, gateway: str) -> Callable[[Received, float], None]:
        listeners = self._listeners[gateway]

        def tell(event: Received, now: float) -> None:
            at = self.begin + now / self.speed
            reception = Reception(event.frame, at, f"world:{gateway}", rssi_dbm=event.rssi, crc=True)
            for hear in tuple(listeners):
                hear(reception)

        return tell

    # -- jobs -----------------------------------------------------------------------------------------------

    def _serves(self, device: Address) -> bool:
        try:
            self.world.partner_of(device)
        except InputError:
            return False
        return True

    def _hand_over(self, order: CarriedOrder) -> None:
        """Raises TransportError while no time passes: nothing has left"""
        loop, pacer = self._loop, self._pacer
        if loop is None or pacer is None or not self.alive:
            raise TransportError("the simulated world stands still", code="transport.send", layer="transport")
        loop.call_soon_threadsafe(pacer.do, lambda: self._carry(order))

    def _carry(self, order: CarriedOrder) -> None:
        if isinstance(order, Submit):
            partner = self._partners[order.token] = self.world.partner_of(order.exchange.address)
            partner.submit(order.token, order.exchange, self._bring_back)
        elif isinstance(order, GiveKey):
            self.world.partner_of(order.address).tell(order)
        elif (busy := self._partners.pop(order.token, None)) is not None:
            busy.tell(order)

    def _bring_back(self, result: Answered | Failed) -> None:
        self._partners.pop(result.token, None)
        self._carrier.deliver(result)


def _level(world: World, post: DevicePost) -> float | None:
    """How well the best gateway hears a device, dBm."""
    levels = world.channel.levels(post.station)
    heard = [levels[one.station.number] for one in world.gateways.values() if one.station.number in levels]
    return round(max(heard), 1) if heard else None


def _row(post: Device, plan: WorldPlan) -> dict[str, str]:
    """A device as a row of the import: its unit from the end of its label, ``cold water house/2.1``."""
    spec: DeviceSpec = post.spec
    site = plan.world.name or "World"
    stem, found, flat = spec.label.rpartition("/")
    label = (stem if found else spec.label).removesuffix(spec.building).strip()
    unit = f"Flat {flat}" if found and "." in flat else ""
    return {
        "address": str(spec.address),
        "label": label or spec.label,
        "medium": spec.group.medium,
        "adapter": "" if spec.adapter is None else str(spec.adapter),
        "profile": spec.group.profile,
        "mode": "" if spec.group.segment else spec.group.mode,
        "bidirectional": "yes" if spec.group.bidirectional else "no",
        "wired_primary": str(spec.primary or ""),
        "site": site,
        "building": spec.building,
        "unit": unit,
        "point": label or spec.label,
    }
