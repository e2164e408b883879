"""From receptions to readings, alarms and news.

    batch -> raw on the disk -> decode -> devices, alarms -> telegrams and readings -> counters -> news
             (acknowledged)                (one transaction)   (one transaction)

Nothing is lost and nothing counted twice, wherever the process dies: what is raw but not decoded waits in the store and is
taken up by the next ``ingest`` or ``recover``. The very same reception is stored once, the result of a frame takes the
place of an older one, and of each kind of alarm one is open per device; so a batch may be given again.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Final, Protocol

import msgspec

from openmetering.codec.address import Address
from openmetering.errors import InputError
from openmetering.security import CounterLedger, Key, KeyRing, parse_key
from openmetering.services.headend.alarms import Alarms, Change
from openmetering.services.headend.bus import AlarmChanged, Bus, DeviceChanged, GatewayChanged, ReadingsStored
from openmetering.services.headend.conditions import Finding, judge
from openmetering.services.headend.flow import FlowRules, FlowWatch
from openmetering.services.headend.liveness import Liveness, LivenessRules
from openmetering.services.headend.model import Alarm, Device, moment
from openmetering.services.headend.registry import LIVING, TRANSITIONS, Registry
from openmetering.services.headend.vault import Vault
from openmetering.storage import Decoded, Observation, RedecodeReport, Store
from openmetering.storage.database import Database
from openmetering.storage.reading_rows import device_address, readings_of
from openmetering.storage.registry_rows import HeardDevice
from openmetering.telegram import Decoder, Telegram

__all__ = ["IngestReport", "Ingestor", "Keyed"]

_log = logging.getLogger(__name__)

_BATCH: Final = 500
_FRAMES: Final = 4096  #: frames whose device is remembered, for copies from other receivers
_FLUSH: Final = 5.0  #: seconds after which what was only noted (heard, levels, uses) is written
_HEARD: Final = 5_000  #: devices or levels after which it is written at once
_CONTEXTS: Final = 65_536
_OPENED: Final = frozenset(("decrypted",))
_FAILING: Final = frozenset(("silent", "permanent-error"))  #: alarms that make a device faulty


class Keyed(Observation, Protocol):
    """A reception that may bring its key (lines of some tools)."""

    @property
    def key(self) -> str | None: ...


class IngestReport(msgspec.Struct, frozen=True):
    """What a batch was: receptions, new frames among them, how many of these were read, readings, changes of alarms."""

    receptions: int = 0
    frames: int = 0
    decoded: int = 0
    failed: int = 0
    readings: int = 0
    alarms: int = 0


class _Item(msgspec.Struct):
    """A frame on its way."""

    frame_id: int
    received_at: float
    source: str
    telegram: Telegram
    address: str | None
    rssi: float | None = None
    device: Device | None = None


class Ingestor:
    """Owns store and decoder; one batch at a time, by whatever thread."""

    def __init__(
        self,
        database: Database,
        store: Store,
        registry: Registry,
        vault: Vault,
        alarms: Alarms,
        bus: Bus,
        clock: Callable[[], datetime],
        *,
        liveness: LivenessRules | None = None,
        flow: FlowRules | None = None,
    ) -> None:
        self._database = database
        self._store = store
        self._registry = registry
        self._vault = vault
        self._alarms = alarms
        self._bus = bus
        self._clock = clock
        self._lock = threading.RLock()
        self._ledger = CounterLedger.restore(store.counters())
        self._formats = store.formats()
        self._ring: KeyRing | None = None
        self._decoder = Decoder(KeyRing(), formats=self._formats, counters=self._ledger)
        self._watch = FlowWatch(flow)
        self.liveness = Liveness(liveness)
        self._behind = True
        self._frames: OrderedDict[int, int] = OrderedDict()
        self._heard: dict[int, float] = {}
        self._levels: dict[tuple[str, int], tuple[float | None, float]] = {}
        self._keys_used: dict[tuple[str, int | None, int | None], int | None] = {}
        self._gateways: dict[str, float] = {}
        self._names: dict[Address, str] = {}
        self._flushed = clock().timestamp()
        for device in registry.all_devices():
            if device.state in LIVING and device.last_heard is not None:
                self.liveness.know(device.id, device.last_heard.timestamp(), device.interval_learned)

    # -- batches --------------------------------------------------------------------------------

    def ingest(self, batch: Sequence[Keyed], *, gateway: str | None = None) -> IngestReport:
        """Store a batch and all that follows from it; when it returns everything is on the disk.

        ``gateway`` names who received it; without it each source counts as a gateway of its own. Raises TransportError
        (``storage.failed``); the batch may then be given again
        """
        with self._lock:
            late = self.recover() if self._behind else IngestReport()
            self._refresh_keys()
            stored = self._store.append(batch)
            self._behind = True
            items: list[_Item] = []
            for reception, place in zip(batch, stored, strict=True):
                if place.new:
                    telegram = self._decoder.examine(reception.frame, _line_key(reception), now=reception.received_at)
                    name = self._name(telegram, reception.source)
                    items.append(
                        _Item(place.frame_id, reception.received_at, reception.source, telegram, name, reception.rssi_dbm)
                    )
            report = self._process(items, len(batch))
            self._note_levels(batch, [place.frame_id for place in stored], gateway)
            self._behind = False
            now = self._clock().timestamp()
            if now - self._flushed >= _FLUSH or len(self._heard) >= _HEARD or len(self._levels) >= _HEARD:
                self.flush()
            return _sum(late, report)

    def recover(self) -> IngestReport:
        """Take up what was stored raw and never decoded. Raises TransportError"""
        with self._lock:
            self._refresh_keys()
            total = IngestReport()
            while frames := self._store.pending(_BATCH):
                items = []
                for frame in frames:
                    telegram = self._decoder.examine(frame.octets, now=frame.received_at)
                    name = self._name(telegram, frame.source)
                    items.append(_Item(frame.frame_id, frame.received_at, frame.source, telegram, name))
                total = _sum(total, self._process(items, 0))
            self._behind = False
            return total

    def _process(self, items: list[_Item], receptions: int) -> IngestReport:
        if not items:
            return IngestReport(receptions)
        try:
            announced = self._announce(items)
            alarms, changed = self._judge(items)
        except BaseException:
            self._alarms.reload()
            self._registry.forget()
            raise
        readings = self._store.record([Decoded(item.frame_id, item.received_at, item.source, item.telegram) for item in items])
        if self._formats.changed:
            self._store.learn(self._formats)
        self._store.save_counters(self._ledger.snapshot())
        self._count_uses(items)
        self._tell(items, announced + changed, alarms)
        failed = sum(item.telegram.error is not None for item in items)
        return IngestReport(receptions, len(items), len(items) - failed, failed, readings, len(alarms))

    def _name(self, telegram: Telegram, source: str) -> str | None:
        """The name of the device, as the store has it; kept, because most telegrams come from devices that are known."""
        address = telegram.address
        if address is None or not telegram.uplink:
            return device_address(telegram, source)
        name = self._names.get(address)
        if name is None:
            if len(self._names) >= _CONTEXTS:
                self._names.clear()
            name = self._names[address] = str(address)
        return name

    # -- devices --------------------------------------------------------------------------------

    def _announce(self, items: list[_Item]) -> list[Device]:
        """Give every item its device; unknown ones are written down at once, of the others only the time is noted."""
        fresh: dict[str, HeardDevice] = {}
        known = self._registry.known
        for item in items:
            name = item.address
            if name is None:
                continue
            device = known(name)
            if device is None or device.first_heard is None:
                _widen(fresh, name, item)
            else:
                item.device = device
                self._heard[device.id] = max(item.received_at, self._heard.get(device.id, 0.0))
        if not fresh:
            return []
        before = {device.address for device in self._registry.of_addresses(fresh)}
        found = {device.address: device for device in self._registry.heard(list(fresh.values()))}
        for item in items:
            if item.device is None and item.address is not None:
                item.device = found[item.address]
        return [device for name, device in found.items() if name not in before]

    def _judge(self, items: list[_Item]) -> tuple[list[Alarm], list[Device]]:
        """Alarms and life of the devices that somebody cares for."""
        changes: list[Change] = []
        steps: dict[int, str] = {}
        intervals: dict[int, float] = {}
        devices: dict[int, Device] = {}
        for item in items:
            device, telegram = item.device, item.telegram
            if device is None or device.state not in LIVING:
                continue
            finding = judge(telegram)
            if finding is None:
                continue
            devices[device.id] = device
            if "replay" not in finding.holds:
                interval = self.liveness.heard(device.id, item.received_at)
                if interval is not None:
                    intervals[device.id] = interval
                finding = self._with_flow(device, item, finding)
                if telegram.error is None and device.state == "registered":
                    steps[device.id] = "hear"
            changes += self._alarms.weigh(device.id, finding, item.received_at)
        if not (changes or steps or intervals):
            return [], []
        return self._write(changes, steps, intervals, devices)

    def _with_flow(self, device: Device, item: _Item, finding: Finding) -> Finding:
        """The finding with what is known from the registers."""
        flow = self._watch.heard(device.id, item.telegram, item.received_at)
        if flow is None:
            return finding
        if flow[0]:
            return Finding(finding.holds | {"continuous-flow": flow[1]}, finding.clear)
        return Finding(finding.holds, (*finding.clear, "continuous-flow"))

    def _write(
        self, changes: list[Change], steps: dict[int, str], intervals: dict[int, float], devices: dict[int, Device]
    ) -> tuple[list[Alarm], list[Device]]:
        changed: dict[int, Device] = {}
        with self._database.transaction():
            alarms = self._alarms.apply(changes) if changes else []
            if intervals:
                changed |= {device.id: device for device in self._registry.learned(devices, intervals)}
            for device_id, step in steps.items():
                changed[device_id] = self._registry.step(devices[device_id], step)
            for alarm in alarms:
                device = changed.get(alarm.device_id or 0) or devices.get(alarm.device_id or 0)
                if device is not None and (made := self.follow(device, alarm)) is not None:
                    changed[device.id] = made
        return alarms, list(changed.values())

    def follow(self, device: Device, alarm: Alarm) -> Device | None:
        """The life of a device follows its alarms: faulty while one of the grave ones is open; None if nothing changes."""
        if alarm.kind not in _FAILING:
            return None
        failing = any(self._alarms.is_open(device.id, kind) for kind in _FAILING)
        step = "fail" if failing else "recover"
        return self._registry.step(device, step) if (device.state, step) in TRANSITIONS else None

    # -- keys -----------------------------------------------------------------------------------

    def _refresh_keys(self) -> None:
        """A decoder with the keys of now; the counters and formats stay."""
        ring = self._vault.live_ring()
        if ring is not self._ring:
            self._ring = ring
            self._decoder = Decoder(ring, formats=self._formats, counters=self._ledger)
            self._keys_used.clear()

    def _count_uses(self, items: Iterable[_Item]) -> None:
        used = []
        for item in items:
            security = item.telegram.security
            if security.state in _OPENED and item.address is not None:
                name = (item.address, security.key_id, security.key_version)
                if name not in self._keys_used:
                    if len(self._keys_used) >= _CONTEXTS:
                        self._keys_used.clear()
                    self._keys_used[name] = self._which_key(item.telegram)
                number = self._keys_used[name]
                if number is not None:
                    used.append(number)
        if used:
            self._vault.count(used)

    def _which_key(self, telegram: Telegram) -> int | None:
        """The number of the key that opens a telegram; where several could, they are tried."""
        security, address, ring = telegram.security, telegram.address, self._ring
        if ring is None or address is None:
            return None
        octets = address.link_octets()
        found = ring.find(octets, key_id=security.key_id, version=security.key_version)
        key: Key | None = found[0] if found else None
        if len(found) > 1:
            trial = Decoder(formats=self._formats)
            key = next((one for one in found if trial.examine(telegram.frame, one.octets).error is None), key)
        return None if key is None else self._vault.number_of(key, octets)

    # -- what is only noted ----------------------------------------------------------------------

    def _note_levels(self, batch: Sequence[Observation], frames: Sequence[int], gateway: str | None) -> None:
        """Who heard which device how well; copies are known by their frame."""
        for reception, frame_id in zip(batch, frames, strict=True):
            name = gateway or reception.source
            self._gateways[name] = max(reception.received_at, self._gateways.get(name, 0.0))
            device_id = self._frames.get(frame_id)
            if device_id is not None:
                self._levels[name, device_id] = (reception.rssi_dbm, reception.received_at)

    def flush(self) -> None:
        """Write what was only noted: times, levels, gateways, uses of keys. Raises TransportError"""
        with self._lock:
            heard, levels, gateways = self._heard, self._levels, self._gateways
            self._flushed = self._clock().timestamp()
            if heard or levels or gateways:
                with self._database.transaction():
                    self._registry.still_heard(heard)
                    fresh = self._write_gateways(gateways, levels)
                self._heard, self._levels, self._gateways = {}, {}, {}
                for event in fresh:
                    self._bus.publish(event)
            self._vault.flush()

    def _write_gateways(
        self, gateways: dict[str, float], levels: dict[tuple[str, int], tuple[float | None, float]]
    ) -> list[GatewayChanged]:
        fresh = []
        for name, at in gateways.items():
            known = self._registry.gateway_named(name)
            made = self._registry.gateway_seen(name, moment(at))
            if known is None or known.state != made.state:
                fresh.append(GatewayChanged(made))
            mine = [(device, rssi, moment(when)) for (who, device), (rssi, when) in levels.items() if who == name]
            if mine:
                self._registry.gateway_hears(made.id, mine)
        return fresh

    # -- news -----------------------------------------------------------------------------------

    def _tell(self, items: list[_Item], devices: list[Device], alarms: list[Alarm]) -> None:
        for item in items:
            if item.device is not None:
                self._frames[item.frame_id] = item.device.id
        while len(self._frames) > _FRAMES:
            self._frames.popitem(last=False)
        bus = self._bus
        for device in devices:
            bus.publish(DeviceChanged(device))
        if bus.wanted(ReadingsStored):
            latest = {device.id: device for device in devices}
            for item in items:
                device_now = item.device and latest.get(item.device.id, item.device)
                bus.publish(
                    ReadingsStored(
                        device_now,
                        item.telegram,
                        tuple(readings_of(item.telegram)) if item.address is not None else (),
                        item.received_at,
                        item.frame_id,
                        item.source,
                        item.rssi,
                    )
                )
        for alarm in alarms:
            bus.publish(AlarmChanged(alarm))

    # -- the past -------------------------------------------------------------------------------

    def examine_again(self, octets: bytes, received_at: float) -> Telegram:
        """Decode a stored frame with all keys of today, retired ones included; nothing is written or counted."""
        with self._lock:
            return Decoder(self._vault.whole_ring(), formats=self._formats).examine(octets, now=received_at)

    def redecode(self, *, everything: bool = False, progress: Callable[[int, int], None] | None = None) -> RedecodeReport:
        """Decode again what a key that came later may open, on a connection of its own: receiving goes on meanwhile.

        Raises TransportError
        """
        store = self._database.store(answers=self._store.answers)
        try:
            decoder = Decoder(self._vault.whole_ring(), formats=store.formats())
            report = store.redecode(decoder, everything=everything, progress=progress)
        finally:
            store.close()
        with self._lock:
            for known in decoder.formats:
                self._formats.add(known)
        return report

    def close(self) -> None:
        """Write what was only noted."""
        self.flush()


def _line_key(reception: Keyed) -> bytes | None:
    """The key of the line; one that is none counts as missing."""
    if reception.key is None:
        return None
    try:
        return parse_key(reception.key)
    except InputError:
        return None


def _widen(batch: dict[str, HeardDevice], name: str, item: _Item) -> None:
    """Note that a device was heard."""
    at = moment(item.received_at)
    before = batch.get(name)
    if before is None:
        address = item.telegram.address
        batch[name] = HeardDevice(name, at, at, "" if address is None else address.medium)
    else:
        batch[name] = HeardDevice(name, min(at, before.first_at), max(at, before.last_at), before.medium)


def _sum(one: IngestReport, other: IngestReport) -> IngestReport:
    return IngestReport(*(a + b for a, b in zip(msgspec.structs.astuple(one), msgspec.structs.astuple(other), strict=True)))
