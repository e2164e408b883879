"""An application that does nothing but remember what the link asked of it, and answers with octets that can be told apart."""

from __future__ import annotations

from openmetering.codec.address import Address, flag_value
from openmetering.protocol.device.interface import DeviceEvent, SpontaneousKind, Taken

METER = Address(flag_value("ELS"), "12345678", 0x33, 0x03)
GATEWAY = Address(flag_value("XYZ"), "33445566", 0x0A, 0x31)
OTHER_GATEWAY = Address(flag_value("XYZ"), "33445567", 0x0A, 0x31)
STRANGER = Address(flag_value("ELS"), "99999999", 0x33, 0x03)

#: body of what the endpoint says by itself: CI 7A and the kind in words
BODIES: dict[str, bytes] = {
    kind: b"\x7a" + kind.encode() for kind in ("data", "static", "consumer", "install", "access", "demand")
}


class FakeEndpoint:
    """Implements ``Endpoint``. Every call is written to ``calls`` as (name, argument)."""

    def __init__(self, address: Address = METER) -> None:
        self.address = address
        self.calls: list[tuple[str, object]] = []
        self.deadline: float | None = None
        self.taken = Taken(True, events=(DeviceEvent("executed", value=7),))
        self.fragments: tuple[bytes, ...] = (b"\x72answer",)
        self.alarms: list[bytes | None] = []

    def timeout(self, now: float) -> list[DeviceEvent]:
        self.calls.append(("timeout", now))
        self.deadline = None
        return [DeviceEvent("valve", value=1)]

    def power_up(self, now: float) -> None:
        self.calls.append(("power_up", now))

    def take(self, frame: bytes, now: float) -> Taken:
        self.calls.append(("take", frame))
        return self.taken

    def acknowledge(self, access_number: int, now: float) -> bytes:
        return bytes((0x8A, access_number, self.taken.status, 0, 0))

    def respond(self, access_number: int, now: float, largest: int) -> tuple[bytes, ...]:
        self.calls.append(("respond", (access_number, largest)))
        return self.fragments

    def more(self) -> bool:
        return False

    def advance(self) -> None:
        self.calls.append(("advance", None))

    def end_session(self, now: float) -> None:
        self.calls.append(("end_session", now))

    def spontaneous(self, kind: SpontaneousKind, access_number: int, now: float, *, ell: bool) -> bytes:
        self.calls.append((kind, (access_number, ell)))
        return BODIES[kind]

    def alarm(self, now: float, access_number: int | None = None) -> bytes | None:
        return self.alarms.pop(0) if self.alarms else None

    def names(self, *names: str) -> list[tuple[str, object]]:
        """The calls of some names."""
        return [call for call in self.calls if call[0] in names]
