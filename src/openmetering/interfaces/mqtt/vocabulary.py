"""The words of Home Assistant for what the decoder says: quantity and unit -> device class, state class, unit.

    quantity (VIF tables) --+--> device class    energy, volume -> water or gas by the medium, temperature ...
    unit     (VIF tables) --+--> unit            m3 -> m³, Wh -> kWh, J -> MJ, kvar -> var; exact factors only
    qualifiers, function  -----> state class     total_increasing, total, measurement or none

There is no table of devices here: everything follows from the tables of EN 13757-3 that the decoder reads with.

Source: Home Assistant Core 2025.4, components ``sensor`` (device classes, their units and state classes),
``binary_sensor`` (device classes) and ``const`` (units); its developer documentation, sensor entity
"""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

import msgspec

from openmetering.tables import DEVICE_TYPES

__all__ = ["BINARY", "FLAG_CLASSES", "STATUS_CLASSES", "Measure", "Quantity", "is_measured", "measure", "quantity"]

Growth = Literal["total", "measurement"]
Category = Literal["diagnostic"]


class Quantity(msgspec.Struct, frozen=True):
    """How a quantity is shown.

    ``device_class``  of Home Assistant, for the units in ``units`` only; None: it has no word for it
    ``growth``        ``total``: a register that only grows; ``measurement``: goes up and down; None: not for statistics
    ``category``      ``diagnostic`` for what is about the device and not what it measures
    """

    device_class: str | None = None
    units: frozenset[str | None] = frozenset()
    growth: Growth | None = None
    category: Category | None = None


class Measure(msgspec.Struct, frozen=True):
    """The unit that is published, and the factor to it from the unit of the record."""

    unit: str | None
    factor: Decimal = Decimal(1)


#: units that are written otherwise, or published in another one; all others stay as they are
_UNITS: dict[str, Measure] = {
    "": Measure(None),
    "Wh": Measure("kWh", Decimal("0.001")),
    "J": Measure("MJ", Decimal("0.000001")),
    "m3": Measure("m³"),
    "ft3": Measure("ft³"),
    "US gal": Measure("gal"),
    "t": Measure("kg", Decimal(1000)),
    "kvar": Measure("var", Decimal(1000)),
    "kVA": Measure("VA", Decimal(1000)),
    "m3/h": Measure("m³/h"),
    "m3/min": Measure("m³/h", Decimal(60)),
    "m3/s": Measure("m³/h", Decimal(3600)),
    "US gal/min": Measure("gal/min"),
    "US gal/h": Measure("gal/h"),
    "deg": Measure("°"),
    "Ohm": Measure("Ω"),
    "W/m2": Measure("W/m²"),
    "µg/m3": Measure("µg/m³"),
    "1/m3": Measure("p/m³"),
    "l/m2": Measure("mm"),  # one litre on a square metre stands one millimetre high
    "pH": Measure(None),  # Home Assistant: unitless
    "month": Measure("months"),
    "year": Measure("years"),
}

_DURATION: frozenset[str | None] = frozenset(("s", "min", "h", "d"))
_TEMPERATURE: frozenset[str | None] = frozenset(("°C", "°F"))
_MICROGRAMS: frozenset[str | None] = frozenset(("µg/m³",))


def _of(device_class: str | None, *units: str | None, growth: Growth | None = "measurement", about: bool = False) -> Quantity:
    return Quantity(device_class, frozenset(units), growth, "diagnostic" if about else None)


def _time(growth: Growth | None) -> Quantity:
    return Quantity("duration", _DURATION, growth, "diagnostic")


_COUNTER = Quantity(None, frozenset(), "total", "diagnostic")
_TEMPERATURES = Quantity("temperature", _TEMPERATURE, "measurement")
_NO_CLASS = Quantity(None, frozenset(), "measurement")
_ABOUT = Quantity(None, frozenset(), None, "diagnostic")

#: quantity of the VIF tables -> how it is shown; what is missing is shown as a diagnostic value without a class
_QUANTITIES: dict[str, Quantity] = {
    "energy": _of("energy", "kWh", "MWh", "MJ", "GJ", "Mcal", growth="total"),
    "volume": _of("volume", "m³", "ft³", "gal", growth="total"),
    "mass": _of("weight", "kg", growth="total"),
    "reactive energy": _of(None, growth="total"),
    "apparent energy": _of(None, growth="total"),
    "HCA units": _of(None, growth="total"),
    "power": _of("power", "W", "MW"),
    "reactive power": _of("reactive_power", "var"),
    "apparent power": _of("apparent_power", "VA"),
    "cumulative max power": _of("power", "W", growth=None),
    "volume flow": _of("volume_flow_rate", "m³/h", "gal/min"),
    "mass flow": _NO_CLASS,
    "flow temperature": _TEMPERATURES,
    "return temperature": _TEMPERATURES,
    "external temperature": _TEMPERATURES,
    "temperature limit": Quantity("temperature", _TEMPERATURE, None, "diagnostic"),
    # a difference must not be converted with an offset, and the class "temperature" would be
    "temperature difference": _NO_CLASS,
    "pressure": _of("pressure", "bar"),
    "voltage": _of("voltage", "V"),
    "current": _of("current", "A"),
    "frequency": _of("frequency", "Hz"),
    "phase U-U": _NO_CLASS,
    "phase U-I": _NO_CLASS,
    "coefficient of performance": _NO_CLASS,
    "relative humidity": _of("humidity", "%"),
    "moisture": _of("moisture", "%"),
    "CO2": _of("carbon_dioxide", "ppm"),
    "CO": _of("carbon_monoxide", "ppm"),
    "PM1": Quantity("pm1", _MICROGRAMS, "measurement"),
    "PM2.5": Quantity("pm25", _MICROGRAMS, "measurement"),
    "PM10": Quantity("pm10", _MICROGRAMS, "measurement"),
    "particles unspecific": _NO_CLASS,
    "illuminance": _of("illuminance", "lx"),
    "luminous intensity": _NO_CLASS,
    "irradiance": _of("irradiance", "W/m²"),
    "wind speed": _of("wind_speed", "m/s"),
    "rainfall": _of("precipitation", "mm"),
    "noise": _of("sound_pressure", "dBA"),
    "turbidity": _NO_CLASS,
    "pH": _of("ph", None),
    "electrical conductivity": _of("conductivity", "µS/cm"),
    "resistance": _NO_CLASS,
    "tension": _NO_CLASS,
    "distance": _of("distance", "mm", about=True),
    "battery status": _of("battery", "%", about=True),
    "chamber pollution": _of(None, about=True),
    "RF level": _of("signal_strength", "dBm", about=True),
    "date": Quantity("date", frozenset((None,)), None, "diagnostic"),
    "date time": Quantity("timestamp", frozenset((None,)), None, "diagnostic"),
    "on time": _time("total"),
    "operating time": _time("total"),
    "operating time battery": _time("total"),
    "remaining battery": _time("measurement"),
    "averaging duration": _time(None),
    "actuality duration": _time(None),
    "nominal transmission period": _time(None),
    "storage interval": _time(None),
    **dict.fromkeys(
        (
            "reset counter",
            "cumulation counter",
            "dismount counter",
            "test button counter",
            "alarm counter",
            "alarm mute counter",
            "obstacle counter",
            "smoke entry blocked counter",
            "smoke chamber defect counter",
            "self-test failed counter",
            "sounder defect counter",
        ),
        _COUNTER,
    ),
}
_VOC = {
    "ppb": Quantity("volatile_organic_compounds_parts", frozenset(("ppb",)), "measurement"),
    "µg/m³": Quantity("volatile_organic_compounds", _MICROGRAMS, "measurement"),
}
#: category of the device type (DIN 43863-5, OBIS group A) -> class of its volume and the units that class has
_MEDIA: dict[str, tuple[str, frozenset[str | None]]] = {
    "7": ("gas", frozenset(("m³", "ft³"))),
    "8": ("water", frozenset(("m³", "ft³", "gal"))),
    "9": ("water", frozenset(("m³", "ft³", "gal"))),
}

#: quantities that are yes or no: device class of the binary sensor. They are on for every value but 0 [?]: the bits of
#: these states stand in prEN 13757-3:2023, which is not public
BINARY: dict[str, str] = {
    "status smoke alarm": "smoke",
    "status CO alarm": "carbon_monoxide",
    "status heat alarm": "heat",
    "status door/window": "opening",
    "status pressure sensor": "problem",
}
#: names of error flags -> device class; all others are problems
FLAG_CLASSES: dict[str, str] = {"water leakage": "moisture", "low battery": "battery", "smoke": "smoke"}
#: bits of the status octet that are shown (OMS Volume 2 issue 5.0.1, 7.2.3 Table 17) -> device class
STATUS_CLASSES: dict[str, str] = {
    "abnormal condition": "problem",
    "power low": "battery",
    "permanent error": "problem",
    "temporary error": "problem",
}


def is_measured(name: str) -> bool:
    """True for quantities that are numbers wherever they stand (others may be text where the length varies)."""
    return name == "VOC" or name in _QUANTITIES


def measure(unit: str) -> Measure:
    """The published unit of a unit of the VIF tables."""
    return _UNITS.get(unit) or Measure(unit)


def quantity(name: str, unit: str | None, device_type: int | None) -> Quantity:
    """How a quantity in a published unit is shown; the class is left out where it does not have the unit."""
    found = _QUANTITIES.get(name, _ABOUT)
    if name == "VOC":
        found = _VOC.get(unit or "", _NO_CLASS)
    if name == "volume" and device_type is not None:
        medium = _MEDIA.get(DEVICE_TYPES[device_type].category)
        if medium is not None and unit in medium[1]:
            found = Quantity(medium[0], medium[1], found.growth)
    if found.device_class is not None and unit not in found.units:
        return Quantity(None, frozenset(), found.growth, found.category)
    return found
