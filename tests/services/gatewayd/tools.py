"""What the tests of the gateway daemon share."""

from __future__ import annotations

from openmetering.services.gatewayd.entries import Entry
from openmetering.services.gatewayd.merge import Numbered
from tests.fleet import radio

NOW = 1_700_000_000.0


def entry(value: int = 1, at: float = 0.0, *, source: str = "a", rssi: float | None = -70.0, **more: object) -> Entry:
    """A reception of a telegram with a value, some seconds after NOW."""
    arrived = more.pop("arrived", at)
    crc = more.pop("crc", True)
    more.setdefault("access_number", value % 256)
    frame = radio(value, **more)  # type: ignore[arg-type]
    return Entry(frame, NOW + at, source, NOW + float(arrived), rssi, crc=bool(crc))  # type: ignore[arg-type]


def numbered(record: int, /, *arguments: object, **more: object) -> Numbered:
    """The same with a number."""
    return Numbered(record, entry(*arguments, **more))  # type: ignore[arg-type]
