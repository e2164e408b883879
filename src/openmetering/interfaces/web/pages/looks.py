"""How things look: which picture a medium has, which tone a state, which values stand for a meter."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Final, Protocol, TypeVar

import msgspec

from openmetering.interfaces.web.i18n import Words
from openmetering.interfaces.web.pages import formats
from openmetering.services.headend.model import Alarm, Device

__all__ = [
    "COUNTERS",
    "Measured",
    "Shown",
    "alarm_detail",
    "alarm_title",
    "device_icon",
    "device_tone",
    "job_tone",
    "main_readings",
    "scaled",
    "series_detail",
    "severity_tone",
    "shown",
    "signal_bars",
    "state_tone",
    "unit_text",
    "worst",
]

#: a word of the medium -> picture; the first that fits
_ICONS: Final = (
    ("warm water", "warm-water"),
    ("hot water", "warm-water"),
    ("valve", "valve"),
    ("breaker", "valve"),
    ("water", "water"),
    ("heat cost", "allocator"),
    ("alarm device", "smoke"),
    ("detector", "smoke"),
    ("cooling", "cooling"),
    ("heat", "heat"),
    ("gas", "gas"),
    ("electricity", "electricity"),
    ("repeater", "repeater"),
    ("converter", "repeater"),
    ("adapter", "repeater"),
    ("gateway", "gateway"),
    ("sensor", "room-climate"),
    ("pressure", "room-climate"),
)

_DEVICE_TONES: Final = {"announced": "idle", "registered": "wait", "active": "good", "faulty": "bad", "retired": "idle"}
_SEVERITY_TONES: Final = {"information": "info", "warning": "warn", "critical": "bad"}
_SEVERITIES: Final = ("information", "warning", "critical")
_JOB_TONES: Final = {
    "draft": "idle",
    "awaiting-approval": "warn",
    "queued": "wait",
    "running": "work",
    "done": "good",
    "failed": "bad",
    "refused": "bad",
    "unknown": "warn",
    "cancelled": "idle",
}

#: quantities that only grow, so that what was used in a time is a difference
COUNTERS: Final = frozenset({"volume", "energy", "HCA units", "mass", "reactive energy", "apparent energy"})

#: what stands for a meter, the best first; the medium decides between volume and energy
_BY_VOLUME: Final = ("volume", "energy")
_BY_ENERGY: Final = ("energy", "volume")
_OTHERS: Final = (
    "HCA units",
    "external temperature",
    "relative humidity",
    "flow temperature",
    "pressure",
    "power",
    "volume flow",
)
_VOLUME_MEDIA: Final = ("water", "gas", "oil")

#: units as people write them
_UNITS: Final = {"m3": "m³", "m3/h": "m³/h", "degC": "°C", "C": "°C", "K": "K"}


class Measured(Protocol):
    """What a value must tell to be shown (a row of readings is one)."""

    @property
    def quantity(self) -> str: ...
    @property
    def unit(self) -> str: ...
    @property
    def function(self) -> str: ...
    @property
    def storage(self) -> int: ...
    @property
    def tariff(self) -> int: ...
    @property
    def subunit(self) -> int: ...
    @property
    def qualifiers(self) -> str: ...
    @property
    def value(self) -> str | None: ...
    @property
    def exponent(self) -> int | None: ...
    @property
    def error(self) -> str | None: ...


class Described(Protocol):
    """What tells one series of a quantity from another one."""

    @property
    def function(self) -> str: ...
    @property
    def storage(self) -> int: ...
    @property
    def tariff(self) -> int: ...
    @property
    def subunit(self) -> int: ...
    @property
    def qualifiers(self) -> str: ...


class Shown(msgspec.Struct, frozen=True):
    """A value ready to be read."""

    name: str
    value: str
    unit: str
    detail: str = ""


def device_icon(device: Device) -> str:
    """The picture of a device."""
    return next((icon for word, icon in _ICONS if word in device.medium), "meter")


def worst(severities: Iterable[str]) -> str | None:
    """The gravest of some severities."""
    return max(severities, key=_SEVERITIES.index, default=None)


def severity_tone(severity: str) -> str:
    """The tone of an alarm."""
    return _SEVERITY_TONES.get(severity, "warn")


def job_tone(state: str) -> str:
    """The tone of a job."""
    return _JOB_TONES.get(state, "idle")


def device_tone(device: Device, alarm: str | None = None) -> str:
    """The tone of a device: that of its gravest open alarm, otherwise that of its state."""
    tone = state_tone(device.state)
    if alarm in ("warning", "critical") and tone != "idle":
        return _SEVERITY_TONES[alarm]
    return tone


def state_tone(state: str) -> str:
    """The tone of a state of a device."""
    return _DEVICE_TONES.get(state, "idle")


def unit_text(unit: str) -> str:
    """A unit with its own signs."""
    return _UNITS.get(unit, unit)


def scaled(value: str, unit: str) -> tuple[str, str]:
    """A number in a larger unit where it has many digits, every digit kept: 12428000 Wh -> 12428.000 kWh."""
    larger = _LARGER.get(unit)
    number = Decimal(value)
    if larger is None or abs(number) < _MANY:
        return value, unit_text(unit)
    return f"{number.scaleb(-3):f}", larger


def shortened(text: str) -> str:
    """The beginning of a long text (raw octets); the telegram has all of it."""
    return text if len(text) <= _LONG else f"{text[: _LONG - 1]}…"


def shown(reading: Measured, words: Words) -> Shown:
    """A reading as people read it: numbers with the signs of the language, everything else as it is."""
    if reading.value is None:
        value = "–" if reading.error is None else words("value.error", error=reading.error)
    elif reading.exponent is not None:
        digits, unit = scaled(reading.value, reading.unit)
        return Shown(words.term(reading.quantity), formats.number(digits, words.locale), unit, series_detail(reading, words))
    else:
        is_time = reading.quantity in ("date", "date time")
        value = formats.meter_time(reading.value, words.locale) if is_time else shortened(reading.value)
    return Shown(words.term(reading.quantity), value, unit_text(reading.unit), series_detail(reading, words))


def series_detail(series: Described, words: Words) -> str:
    """What tells this series from others of its quantity."""
    parts = [
        "" if series.function == "instantaneous" else words.term(series.function),
        words("value.storage", number=series.storage) if series.storage else "",
        words("value.tariff", number=series.tariff) if series.tariff else "",
        words("value.subunit", number=series.subunit) if series.subunit else "",
        ", ".join(words.term(one) for one in series.qualifiers.split("; ")),
    ]
    return ", ".join(part for part in parts if part)


_LARGER: Final = {"Wh": "kWh", "J": "kJ", "kJ": "MJ", "MJ": "GJ", "varh": "kvarh", "VAh": "kVAh"}
_MANY: Final = 10_000  #: from here on a larger unit reads better
_LONG: Final = 24

#: received power in dBm from which on so many bars are shown; our choice
_BARS: Final = ((-60.0, 4), (-75.0, 3), (-90.0, 2), (-105.0, 1))


def signal_bars(rssi: float | None) -> int:
    """Received power (dBm) as 0 to 4 bars."""
    return next((bars for limit, bars in _BARS if rssi is not None and rssi >= limit), 0)


M = TypeVar("M", bound=Measured)
_MAIN: Final = frozenset(("", "uncorrected"))  #: qualifiers of main registers; gas meters measure the volume as it flows


def main_readings(medium: str, readings: Sequence[M], limit: int = 6) -> list[M]:
    """The readings that stand for a meter now: of this moment, no tariff, no limits, the weightiest quantity first."""
    by_volume = any(word in medium for word in _VOLUME_MEDIA)
    order = (_BY_VOLUME if by_volume else _BY_ENERGY) + _OTHERS
    rank = {quantity: place for place, quantity in enumerate(order)}
    found: dict[str, M] = {}
    for reading in readings:
        plain = not (reading.storage or reading.tariff or reading.subunit) and reading.qualifiers in _MAIN
        if plain and reading.function == "instantaneous" and reading.value is not None and reading.quantity in rank:
            found.setdefault(reading.quantity, reading)
    return sorted(found.values(), key=lambda one: rank[one.quantity])[:limit]


def alarm_detail(alarm: Alarm, words: Words) -> str:
    """Why an alarm was raised: the reason behind the code of a fault, otherwise what the meter said."""
    code = alarm.value
    while code:
        if words.has(f"why.{code}"):
            return words(f"why.{code}")
        code = code.rpartition(".")[0]
    return words.term(alarm.value)


def alarm_title(kind: str, words: Words) -> str:
    """The name of a kind of alarm."""
    return words.name("alarm-kind", kind)
