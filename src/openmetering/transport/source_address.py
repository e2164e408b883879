"""Source strings: ``scheme:target?option=value&...``.

-                                                   standard input
file:PATH, PATH                                     a file; follow=yes, format=, from=start|resume, start=TIME
tcp://HOST:PORT                                     connect; format=, reconnect=no
tcp-listen://[HOST]:PORT, udp://[HOST]:PORT         wait for senders; format=
serial:DEVICE, DEVICE                               a radio stick; stick=, mode=, baud=, format=
mbus:DEVICE, mbus+tcp://HOST:PORT                   a wired converter; address=, secondary=, every=, baud=
"""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, urlsplit

import msgspec

from openmetering.errors import InputError

__all__ = ["Options", "SourceAddress", "duration", "parse_source", "truth"]

_NETWORK = frozenset(("tcp", "tcp-listen", "udp", "mbus+tcp"))
_SCHEME = re.compile(r"^([a-z][a-z0-9+.-]*):(?!\\)", re.IGNORECASE)
_UNITS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}


def wrong(message: str) -> InputError:
    """The error of a source string that cannot be used."""
    return InputError(message, code="input.source", layer="input")


class SourceAddress(msgspec.Struct, frozen=True):
    """A source string taken apart. ``name`` is the string without its options."""

    text: str
    scheme: str
    target: str
    port: int | None = None
    options: dict[str, str] = {}

    @property
    def name(self) -> str:
        """What receptions carry as their source."""
        return "-" if self.scheme == "-" else self.text.split("?", 1)[0]


def parse_source(text: str) -> SourceAddress:
    """Take a source string apart. Raises InputError (``input.source``)."""
    text = text.strip()
    if text == "-":
        return SourceAddress(text, "-", "-")
    place, _, query = text.partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    found = _SCHEME.match(place)
    if not found or len(found[1]) == 1:  # no scheme, or a Windows drive
        scheme = "serial" if place.startswith("/dev/") or re.fullmatch(r"COM\d+", place) else "file"
        return _plain(text, scheme, place, options)
    scheme = found[1].lower()
    if scheme in _NETWORK:
        return _network(text, scheme, place, options)
    target = place[len(scheme) + 1 :]
    return _plain(text, scheme, target.removeprefix("//") if "://" in place else target, options)


def _plain(text: str, scheme: str, target: str, options: dict[str, str]) -> SourceAddress:
    if not target:
        raise wrong(f"{text!r} names nothing to read; write for example file:telegrams.txt or serial:/dev/ttyUSB0")
    return SourceAddress(text, scheme, target, None, options)


def _network(text: str, scheme: str, place: str, options: dict[str, str]) -> SourceAddress:
    try:
        parts = urlsplit(place if "://" in place else place.replace(":", "://", 1))
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise wrong(f"{text!r} has no usable port (1..65535)") from None
    if not port and not (port == 0 and scheme != "tcp"):
        raise wrong(f"{text!r} needs a port, for example {scheme}://{host or 'localhost'}:10001")
    if not host and scheme in ("tcp", "mbus+tcp"):
        raise wrong(f"{text!r} needs a host, for example {scheme}://192.0.2.1:{port}")
    return SourceAddress(text, scheme, host, port, options)


def duration(text: str) -> float:
    """Seconds of ``90``, ``15m``, ``1h30m``, ``500ms``. Raises InputError (``input.source``)."""
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*([a-z]*)", text.strip().lower())
    known = all(unit in _UNITS for _, unit in parts)
    if not parts or not known or "".join(number + unit for number, unit in parts) != re.sub(r"\s", "", text.strip().lower()):
        raise wrong(f"{text!r} is no duration; write 90, 15m, 1h30m or 500ms")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


_TRUTH = {"yes": True, "true": True, "on": True, "1": True, "": True, "no": False, "false": False, "off": False, "0": False}


def truth(text: str) -> bool:
    """yes or no of an option. Raises InputError (``input.source``)."""
    value = _TRUTH.get(text.strip().lower())
    if value is None:
        raise wrong(f"{text!r} is neither yes nor no")
    return value


class Options:
    """The options of a source, taken one by one; ``done`` complains about what nobody took."""

    __slots__ = ("_address", "_known", "_left")

    def __init__(self, address: SourceAddress) -> None:
        self._address = address
        self._left = dict(address.options)
        self._known: list[str] = []

    def text(self, name: str, default: str = "") -> str:
        """An option as it stands."""
        self._known.append(name)
        return self._left.pop(name, default)

    def flag(self, name: str, default: bool = False) -> bool:
        """yes or no."""
        value = self.text(name, "yes" if default else "no")
        return truth(value)

    def seconds(self, name: str, default: float | None = None) -> float | None:
        """A duration."""
        value = self.text(name)
        return duration(value) if value else default

    def number(self, name: str, default: int) -> int:
        """A whole number."""
        value = self.text(name) or str(default)
        if not value.isdecimal():
            raise wrong(f"{name}={value} in {self._address.text!r} is no number")
        return int(value)

    def done(self) -> None:
        """Raises InputError (``input.source``) for an option that this kind of source does not have."""
        if self._left:
            name = next(iter(self._left))
            raise wrong(f"{self._address.scheme} sources have no option {name!r}; they know {', '.join(self._known) or 'none'}")
