"""Fleets of meters for benchmarks and fuzzing, made with the encoder of openmetering itself.

Everything follows from a seed: the same fleet, octet for octet, on every machine. A ``Device``
has an address, a key and one of sixteen layouts; its telegrams carry counters that grow, values
that move, dates that advance and access numbers that count, so no two telegrams are alike.
The keys are made of the seed; no key of a real meter is in here.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from openmetering import Address, KeyRing, Meter, MeterTime, Record, Telegram, compose, encode
from openmetering.codec.address import flag_value
from openmetering.codec.apl.format import CompactFrame
from openmetering.codec.apl.header import RecordHeader
from openmetering.codec.apl.records import read_header
from openmetering.codec.apl.values import Content, encode_content
from openmetering.codec.ell import CommunicationControl, ExtendedLink, SessionNumber
from openmetering.codec.tpl import TransportHeader

__all__ = ["FLEETS", "LAYOUTS", "Device", "Fleet", "Layout", "Sample", "devices", "fleet", "mixed"]

SEED = 20240229
START = dt.datetime(2024, 1, 3, 0, 7)
INTERVAL = dt.timedelta(hours=9, minutes=41)
_LOW_BATTERY = 0x04
_EVERY_FULL = 8  #: of a meter that sends compact frames, every eighth telegram is a full one


# -- what the fields of a telegram do from one telegram to the next ---------------------------


class Moment(NamedTuple):
    """One telegram of one device: its number and its clock; ``own`` is constant for the device and field."""

    number: int
    clock: dt.datetime
    own: int
    dice: random.Random


Values = Callable[[Moment], Content]


def counter(limit: int, step: int) -> Values:
    """A register that only grows."""
    return lambda now: (now.own % (limit // 2) + now.number * step + now.dice.randrange(step)) % limit


def gauge(low: int, high: int) -> Values:
    """A measured value that moves about a level of its own."""
    span = max((high - low) // 8, 1)
    return lambda now: min(high, low + now.own % (high - low - span) + now.dice.randrange(span))


def constant(limit: int) -> Values:
    """A number of the device: fabrication number, version."""
    return lambda now: now.own % limit


def flags() -> Values:
    """Error flags: nearly always none."""
    return lambda now: 1 << now.dice.randrange(8) if now.dice.random() < 0.02 else 0


def text(*choices: str) -> Values:
    """A text of the device."""
    return lambda now: choices[now.own % len(choices)]


def clock_f(now: Moment) -> Content:
    """Date and time, type F."""
    at = now.clock
    return MeterTime("F", at.year, at.month, at.day, at.hour, at.minute)


def clock_i(now: Moment) -> Content:
    """Date and time with seconds, type I."""
    at = now.clock
    week = at.isocalendar().week
    return MeterTime(
        "I", at.year, at.month, at.day, at.hour, at.minute, now.dice.randrange(60), day_of_week=at.isoweekday(), week=week
    )


def due_date(now: Moment) -> Content:
    """The due date of the year before, type G; each device has its own month."""
    month = now.own % 12 + 1
    last = dt.date(now.clock.year - 1 + month // 12, month % 12 + 1, 1) - dt.timedelta(days=1)
    return MeterTime("G", last.year, last.month, last.day)


def last_month(now: Moment) -> Content:
    """The first day of the month, type G."""
    return MeterTime("G", now.clock.year, now.clock.month, 1)


# -- sixteen layouts ------------------------------------------------------------------------------


class Layout(NamedTuple):
    """The records of a kind of meter: header octets in hexadecimal and what their values do."""

    name: str
    maker: str
    version: int
    device_type: int
    fields: tuple[tuple[str, Values], ...]
    ell: bool = False
    adapter: bool = False


LAYOUTS = (
    Layout("cold water, BCD", "ELS", 0x33, 0x07, (
        ("0C13", counter(10**8, 40)), ("046D", clock_f), ("4C13", counter(10**8, 1)), ("426C", due_date), ("02FD17", flags()),
        ("0A3B", gauge(0, 2500)), ("0A5A", gauge(40, 250)), ("0C78", constant(10**8)),
    ), ell=True),
    Layout("hot water, binary", "KAM", 0x1B, 0x06, (
        ("0413", counter(2**31, 25)), ("023B", gauge(0, 2400)), ("0259", gauge(3800, 6500)), ("046D", clock_f),
        ("4413", counter(2**31, 1)),
        ("426C", due_date), ("01FD17", flags()), ("0265", gauge(1200, 3000)),
    ), ell=True),
    Layout("water with months", "SEN", 0x68, 0x16, (
        ("0C78", constant(10**8)), ("0C13", counter(10**8, 12)), ("046D", clock_f), ("426C", last_month),
        ("4C13", counter(10**8, 3)),
        *((f"{dib}13", counter(10**8, 3)) for dib in ("8C01", "CC01", "8C02", "CC02", "8C03", "CC03", "8C04", "CC04")),
        ("02FD17", flags()), ("01FD74", gauge(40, 100)),
    ), ell=True),
    Layout("heat, BCD", "LUG", 0x0A, 0x04, (
        ("0C06", counter(10**8, 9)), ("0C14", counter(10**8, 30)), ("0B2D", gauge(0, 9500)), ("0B3B", gauge(0, 6000)),
        ("0A5A", gauge(300, 950)),
        ("0A5E", gauge(200, 600)), ("0A62", gauge(20, 400)), ("046D", clock_f), ("4C06", counter(10**8, 1)),
        ("426C", due_date),
    ), ell=True),
    Layout("heat, binary with maxima", "DME", 0x40, 0x04, (
        ("0406", counter(2**31, 7)), ("0414", counter(2**31, 19)), ("022B", gauge(0, 30000)),
        ("142B", gauge(0, 90000)), ("143B", gauge(0, 90000)),
        ("025A", gauge(300, 950)), ("025E", gauge(200, 600)), ("0261", gauge(-200, 4000)), ("4406", counter(2**31, 1)),
        ("426C", due_date),
        ("046D", clock_f), ("0422", counter(2**24, 4)),
    )),
    Layout("heat and cooling", "ZRI", 0x88, 0x0D, (
        ("040E", counter(2**31, 5)), ("840140", gauge(0, 1000)), ("84100E", counter(2**31, 2)), ("0415", counter(2**31, 8)),
        ("022D", gauge(0, 3000)), ("0A5A", gauge(40, 900)), ("0A5E", gauge(40, 600)), ("066D", clock_i),
    )),
    Layout("cooling", "HYD", 0x2A, 0x0A, (
        ("0E06", counter(10**12, 11)), ("0C14", counter(10**8, 20)), ("0B3B", gauge(0, 4000)), ("046D", clock_f),
        ("0C78", constant(10**8)),
        ("4E06", counter(10**12, 1)), ("426C", due_date),
    ), adapter=True),
    Layout("electricity, BCD", "EMH", 0x50, 0x02, (
        ("0E03", counter(10**12, 900)), ("8E1003", counter(10**12, 500)), ("8E2003", counter(10**12, 400)),
        ("0E833C", counter(10**12, 300)), ("0B2B", gauge(0, 9000)), ("046D", clock_f),
    )),
    Layout("electricity, three phases", "EBZ", 0x01, 0x02, (
        ("0703", counter(2**40, 800)), ("871003", counter(2**40, 500)), ("872003", counter(2**40, 300)),
        ("07833C", counter(2**40, 100)),
        ("042B", gauge(-4000, 14000)), ("02FDC8FC01", gauge(2250, 2400)), ("02FDC8FC02", gauge(2250, 2400)),
        ("02FDC8FC03", gauge(2250, 2400)),
        ("03FDD9FC01", gauge(0, 63000)), ("03FDD9FC02", gauge(0, 63000)), ("03FDD9FC03", gauge(0, 63000)), ("046D", clock_f),
    )),
    Layout("gas, BCD", "APA", 0x07, 0x03, (
        ("0C13", counter(10**8, 60)), ("046D", clock_f), ("4C13", counter(10**8, 1)), ("426C", due_date),
        ("0A3B", gauge(0, 6000)), ("02FD17", flags()),
    ), ell=True),
    Layout("gas, binary", "ITU", 0x21, 0x03, (
        ("0414", counter(2**31, 6)), ("0459", gauge(-900, 3500)), ("033B", gauge(0, 60000)), ("02FD17", flags()),
        ("066D", clock_i),
    )),
    Layout("heat cost allocator, binary", "TCH", 0x94, 0x08, (
        ("036E", counter(2**23, 3)), ("436E", counter(2**23, 1)), ("426C", due_date),
    ), ell=True),
    Layout("heat cost allocator, BCD", "QDS", 0x34, 0x08, (
        ("0B6E", counter(10**6, 3)), ("4B6E", counter(10**6, 1)), ("426C", due_date), ("326C", last_month),
        ("0259", gauge(1800, 6000)), ("0265", gauge(1500, 2600)),
        ("046D", clock_f), ("01FD17", flags()),
    ), ell=True),
    Layout("temperature and humidity", "LAS", 0x0B, 0x1B, (
        ("0265", gauge(-1800, 3500)), ("02FB1A", gauge(150, 950)), ("1265", gauge(1500, 4000)),
        ("2265", gauge(-2500, 900)), ("01FD17", flags()), ("02FD46", gauge(2700, 3650)),
    ), ell=True),
    Layout("smoke detector", "QDS", 0x23, 0x1A, (
        ("02FD17", flags()), ("046D", clock_f), ("0DFD11", text("R01-42", "K11-07", "W99-13")),
        ("02FD74", gauge(200, 3650)), ("0C78", constant(10**8)),
    ), ell=True),
    Layout("pressure and flow", "RKE", 0x55, 0x15, (
        ("0469", gauge(900, 9000)), ("043B", gauge(-500, 90000)), ("0413", counter(2**31, 70)),
        ("04933C", counter(2**31, 2)), ("046D", clock_f), ("04FD17", flags()),
        ("0223", counter(4000, 1)),
    ), adapter=True),
)  # fmt: skip


# -- devices and their telegrams -----------------------------------------------------------------


@dataclass(frozen=True)
class Device:
    """One meter: who it is, what it sends, how it is protected."""

    index: int
    layout: Layout
    meter: Meter
    key: bytes
    seed: int
    headers: tuple[RecordHeader, ...] = field(repr=False, default=())
    own: tuple[int, ...] = field(repr=False, default=())
    kind: str = "full"

    def records(self, number: int) -> list[Record]:
        """The records of the telegram with this number."""
        dice = random.Random(self.seed << 20 ^ self.index << 10 ^ number)
        clock = START + number * INTERVAL + dt.timedelta(minutes=self.index % 240)
        made = []
        for header, own, (_, values) in zip(self.headers, self.own, self.layout.fields, strict=True):
            content = values(Moment(number, clock, own, dice))
            lvar, raw = encode_content(header, content)
            made.append(Record(header, raw, content, lvar))
        return made

    def telegram(self, number: int) -> Telegram:
        """The telegram with this number, before it is sealed."""
        access, status = (self.index * 7 + number) & 0xFF, _LOW_BATTERY if self.index % 53 == 5 else 0
        records, secure = self.records(number), self.meter.profile in ("B", "D")
        compact = self.kind == "compact" and number % _EVERY_FULL
        telegram = compose(
            self.meter,
            CompactFrame.of(records).encode() if compact else records,
            access_number=access,
            status=status,
            counter=1000 + number if secure else None,
            ci=0x7B if compact else None,
        )
        if self.kind != "ell-ctr":
            return telegram
        session = SessionNumber.build(session=1, minutes=number + 1000, encryption=1)
        ell = ExtendedLink(0x8D, CommunicationControl(0x20), access, session_number=session, payload_crc=0)
        return msgspec.structs.replace(telegram, ell=ell, transport=TransportHeader(0x78))

    def frame(self, number: int) -> bytes:
        """The octets of the telegram with this number."""
        return encode(self.telegram(number), self.key)


class Sample(NamedTuple):
    """One frame and the key that opens it."""

    frame: bytes
    key: bytes


@dataclass(frozen=True)
class Fleet:
    """Telegrams in the order in which a receiver hears them, and the keys of all meters."""

    name: str
    meters: int
    samples: Sequence[Sample]
    ring: KeyRing

    @property
    def frames(self) -> list[bytes]:
        """The frames alone."""
        return [sample.frame for sample in self.samples]


class Recipe(NamedTuple):
    """How a fleet differs from the mixed one."""

    profile: str = "A"
    kind: str = "full"
    wired: bool = False
    formats: tuple[str, ...] = ()  #: frame formats with CRCs, by turns; none: without CRCs


FLEETS = {
    "mixed": Recipe(),
    "with CRC": Recipe(formats=("A", "A", "B")),
    "profile B": Recipe(profile="B"),
    "profile D": Recipe(profile="D"),
    "ELL-CTR": Recipe(profile="none", kind="ell-ctr"),
    "compact": Recipe(kind="compact"),
    "plain": Recipe(profile="none"),
    "wired": Recipe(profile="none", wired=True),
}


def _octets(seed: int, index: int, place: int, size: int) -> bytes:
    """Octets that belong to a device and a place in it."""
    return hashlib.blake2b(b"%d %d %d" % (seed, index, place), digest_size=size).digest()


def devices(count: int, recipe: Recipe = FLEETS["mixed"], seed: int = SEED) -> list[Device]:
    """``count`` meters, the layouts by turns."""
    made = []
    for index in range(count):
        layout = LAYOUTS[index % len(LAYOUTS)]
        address = Address(
            flag_value(layout.maker), f"{10_000_000 + index * 7919 + seed % 997:08d}", layout.version, layout.device_type
        )
        adapter = None
        if layout.adapter and recipe.kind == "full" and not recipe.wired:
            adapter = Address(flag_value("REL"), f"{90_000_000 + index:08d}", 0x01, 0x37)
        meter = Meter(
            address,
            recipe.profile,
            adapter=adapter,
            primary=index % 250 + 1 if recipe.wired else None,
            communication_control=CommunicationControl(0) if layout.ell and recipe.kind != "ell-ctr" else None,
            frame_format=recipe.formats[index // len(LAYOUTS) % len(recipe.formats)] if recipe.formats else None,
            crc=bool(recipe.formats),
        )
        headers = tuple(read_header(bytes.fromhex(header), 0)[0] for header, _ in layout.fields)
        own = tuple(int.from_bytes(_octets(seed, index, place, 7), "big") for place in range(len(headers)))
        made.append(Device(index, layout, meter, _octets(seed, index, -1, 16), seed, headers, own, recipe.kind))
    return made


def _heard(made: Sequence[Device], telegrams: int, seed: int) -> Iterable[tuple[Device, int]]:
    """All telegrams in the order of a receiver: round by round, within a round by chance."""
    dice = random.Random(seed)
    order = list(made)
    for number in range(telegrams):
        dice.shuffle(order)
        for device in order:
            yield device, number


def fleet(name: str, meters: int, telegrams: int, seed: int = SEED) -> Fleet:
    """The fleet of a recipe with ``telegrams`` of each of its ``meters``.

    Telegrams that do not fit a frame of their link (long layouts behind large headers) are left out.
    """
    made = devices(meters, FLEETS[name], seed)
    ring = KeyRing()
    for device in made:
        ring.add(device.meter.address.link_octets(), device.key)
    samples = [Sample(device.frame(number), device.key) for device, number in _heard(made, telegrams, seed)]
    return Fleet(name, meters, samples, ring)


def mixed(meters: int = 1024, telegrams: int = 64, seed: int = SEED) -> Fleet:
    """The encrypted mixed fleet: mode 5, own keys, sixteen formats of 3 to 15 records."""
    return fleet("mixed", meters, telegrams, seed)
