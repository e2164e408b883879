"""The application of a device with its transport layer: what link machines of radio and wire see.

    frame -> Receiver (address, layers, security, counter) -> Application -> answer
    answer -> Sealer (header, counter CM + 1, security, fragments) -> octets behind the link layer

An answer copies the access number of the request. Its status octet holds the state of the last
command in bits 1..0 and the state of the device above. While the KI flag is set (the last command
named its KeyVersion) every answer shows the KeyVersion of its own key. A wired readout that is too
long is told in several telegrams (DIF 1Fh at the end of all but the last), everything else in
fragments of the AFL.
Source: OMS Volume 2 5.0.1 clauses 6, 7, 8.2 and 9.3.2; Annex N N.2 to N.5, N.8 to N.12.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import msgspec

from openmetering.codec.address import Address
from openmetering.codec.apl.records import parse
from openmetering.errors import NotRepresentable
from openmetering.protocol.device.contents import content_of
from openmetering.protocol.device.interface import DeviceEvent, SpontaneousKind, Taken
from openmetering.protocol.device.reception import Receiver
from openmetering.protocol.device.refusals import SECURITY_ERROR
from openmetering.protocol.device.sealing import Content, Sealer
from openmetering.security import Key

if TYPE_CHECKING:
    from openmetering.protocol.device.application import Answer, Application
    from openmetering.protocol.device.memory import DeviceMemory, KeySlot
    from openmetering.protocol.machine import Dice

__all__ = ["LARGEST_RADIO", "LARGEST_WIRED", "DeviceEndpoint", "EndpointConfig"]

LARGEST_RADIO: Final = 235  #: octets behind DLL and an ELL-III in the longest frame of format A
LARGEST_WIRED: Final = 253  #: user data octets of the longest wired frame

_FILLER = b"\x2f"
_MORE = b"\x1f"  # DIF: more records follow in the next telegram
_COUNTER_END = 0xFFFFFFFF
_STATIC, _INSTALLATION, _CONSUMER = 7, 8, 18  # message applications
_ERROR = 2
_SYNCHRONOUS, _BIDIRECTIONAL = 0x2000, 0x8000  # link bits of the configuration field


class EndpointConfig(msgspec.Struct, frozen=True):
    """How a device speaks.

    ``long_header``      answers name the device (RF adapters; always on the wire)
    ``key_id``           communication key of its own messages; ``key_ids`` those accepted in commands
    ``consumer_key_id``  of consumer information: 0 for UC-07a, 8 for UC-07b
    ``fragments``        long readouts go in fragments of the AFL; None: on the radio yes, on the wire no
    ``largest_item``     octets behind the link layer that the longest frame holds; None: 235 or 253
    ``bidirectional``    for the link bits of messages without ELL
    """

    address: Address
    profile: Literal["none", "A", "B", "D"] = "none"
    wired: bool = False
    long_header: bool = False
    oms_issue: Literal["4.3.3", "5.0.1"] = "5.0.1"
    key_id: int = 0
    key_ids: tuple[int, ...] = (0,)
    consumer_key_id: int = 0
    fragments: bool | None = None
    largest_item: int | None = None
    bidirectional: bool = False

    @property
    def largest(self) -> int:
        """Octets an item may have where nobody says otherwise."""
        return self.largest_item or (LARGEST_WIRED if self.wired else LARGEST_RADIO)


class DeviceEndpoint:
    """An ``Endpoint``. Everything that survives a power cut is in ``memory``; another endpoint around it is the same device."""

    __slots__ = (
        "_address",
        "_application",
        "_config",
        "_dice",
        "_key",
        "_key_id",
        "_key_shown",
        "_position",
        "_receiver",
        "_sealer",
        "_series",
        "memory",
    )

    def __init__(self, config: EndpointConfig, memory: DeviceMemory, application: Application, dice: Dice) -> None:
        self._config = config
        self._application = application
        self._dice = dice
        self.memory = memory
        self._receiver = Receiver(memory, config.profile, wired=config.wired, adapter=config.long_header, key_ids=config.key_ids)
        self._key: Key | None = None
        self._readdress()
        self._forget()

    # -- who and when --------------------------------------------------------------------------------

    @property
    def config(self) -> EndpointConfig:
        """How the device speaks."""
        return self._config

    @property
    def application(self) -> Application:
        """The application behind the transport layer."""
        return self._application

    @property
    def address(self) -> Address:
        """Address of the application device."""
        return self._address

    @property
    def deadline(self) -> float | None:
        """When ``timeout`` is due next, in seconds."""
        return self._application.due

    def _readdress(self) -> None:
        """The address of the memory, where one was set, else that of the factory."""
        octets = self.memory.address
        self._address = Address.from_link(octets) if octets else self._config.address
        self._sealer = Sealer(self._address, self._config.profile, long_header=self._config.long_header, wired=self._config.wired)

    def _forget(self) -> None:
        """Everything volatile of the transport layer."""
        self._key_id = self._config.key_id
        self._key_shown = False
        self._series: tuple[bytes, ...] = ()
        self._position = 0

    def timeout(self, now: float) -> list[DeviceEvent]:
        """Time has passed."""
        return list(self._followed(self._application.timeout(now)))

    def power_up(self, now: float) -> None:
        """Volatile state is gone; the own access number of the transport layer starts anywhere."""
        self._receiver.forget()
        self._forget()
        self.memory.transport_access_number = int(self._dice() * 256)
        self._application.power_up(now)

    def end_session(self, now: float) -> None:
        """SND-NKE or a time-out: partial messages and the place in a readout are forgotten."""
        self._receiver.forget()
        self._series = ()
        self._position = 0

    def _followed(self, events: list[DeviceEvent] | tuple[DeviceEvent, ...]) -> tuple[DeviceEvent, ...]:
        """The endpoint follows a new address."""
        if any(event.name == "address" for event in events):
            self._readdress()
        return tuple(events)

    # -- commands ------------------------------------------------------------------------------------

    def take(self, frame: bytes, now: float) -> Taken:
        """A link frame with a command: opened, proven, executed.

        Source   OMS Volume 2 5.0.1 clauses 6, 7 and 9.3.2
        Raises   nothing for whatever octets
        """
        received = self._receiver.read(frame, self._address, now)
        if received is None:
            return Taken(False)
        if not received.complete:
            return Taken(True, complete=False)
        if received.protocol == "none":
            return Taken(True, status=self._status(now))
        self._series = ()
        self._position = 0
        if received.error is not None:
            applied = self._application.refuse(received.error, now)
        else:
            slot = received.slot
            if slot is not None:
                slot.counter = max(slot.counter, received.counter or 0)
            self._key_shown = received.key_shown
            self._key_id = self._config.key_id if slot is None else slot.key_id
            applied = self._application.take(received.protocol, received.payload, now)
        events = self._followed(applied.events)
        return Taken(True, True, applied.status | self._application.status(now), events)

    # -- answers -------------------------------------------------------------------------------------

    def _status(self, now: float) -> int:
        return self._application.bits | self._application.status(now)

    def acknowledge(self, access_number: int, now: float) -> bytes:
        """A pure transport header with the present status. Octets as ``Sealer.pure``."""
        return self._sealer.pure(access_number, self._status(now))

    def respond(self, access_number: int, now: float, largest: int) -> tuple[bytes, ...]:
        """The answer to a request, one item a fragment.

        Source   OMS Volume 2 5.0.1 clause 8.2; Annex N N.3 to N.5, N.9, N.12
        Raises   NotRepresentable if not even a fragment fits into ``largest`` octets
        """
        answer = self._application.answer(now)
        status = answer.bits | self._application.status(now)
        payload = answer.payload or _FILLER
        if answer.protocol == "application-error":
            return (self._sealer.plain("application-error", payload, access_number, status),)
        if answer.protocol == "m-bus" and self._in_telegrams:
            payload = self._telegram(payload, largest)
        return self._sealed(answer, payload, access_number, status, largest)

    def _sealed(self, answer: Answer, payload: bytes, access_number: int, status: int, largest: int) -> tuple[bytes, ...]:
        slot = self._take_counter(self._key_id)
        if slot is None and self._config.profile != "none":
            # no key, or its counter is used up: nothing protected can be sent any more
            error = bytes((SECURITY_ERROR,))
            return (self._sealer.plain("application-error", error, access_number, status & 0xFC | _ERROR),)
        content, index = content_of(answer.application)
        version = slot.version if slot is not None and self._key_shown else None
        what = Content(answer.protocol, content, index, 0, version)
        key = None if slot is None else self._key_of(slot)
        counter = 0 if slot is None else slot.counter
        return self._sealer.seal_items(payload, access_number, status, what, key, counter, largest)

    @property
    def _in_telegrams(self) -> bool:
        """True if long readouts are told in several telegrams."""
        fragments = self._config.fragments
        return self._config.wired if fragments is None else not fragments

    def _telegram(self, payload: bytes, largest: int) -> bytes:
        """The telegram of a readout that is due. From the second on the readout is the one that was begun."""
        if not self._position:
            room = self._sealer.capacity(largest, key_shown=self._key_shown)
            self._series = _telegrams(payload, room)
        return self._series[self._position]

    def more(self) -> bool:
        """True if the answer given last is one of several telegrams and another follows."""
        return self._position + 1 < len(self._series)

    def advance(self) -> None:
        """The partner has the telegram given last; behind the last one the readout begins anew."""
        if self.more():
            self._position += 1
        else:
            self._series, self._position = (), 0

    # -- keys ----------------------------------------------------------------------------------------

    def _take_counter(self, key_id: int) -> KeySlot | None:
        """The active key of a KeyID with its counter moved on, None if it cannot be used any more.

        Source   OMS Volume 2 5.0.1, 9.3.2: CM counts up before each protected message and never wraps
        """
        slot = self.memory.key(key_id)
        if slot is None or slot.counter >= _COUNTER_END:
            return None
        if self._config.profile in ("B", "D"):
            slot.counter += 1
        return slot

    def _key_of(self, slot: KeySlot) -> Key:
        """The key with its contexts, kept as long as it is the same one."""
        key = self._key
        if key is None or key.octets != slot.octets or key.key_id != slot.key_id:
            key = self._key = Key(slot.octets, slot.key_id, slot.version)
        return key

    # -- by itself -----------------------------------------------------------------------------------

    def spontaneous(self, kind: SpontaneousKind, access_number: int, now: float, *, ell: bool) -> bytes:
        """A message nobody asked for: octets behind the ELL, bits 1..0 of its status octet are 00.

        ``ell`` False puts the link bits into the configuration field (modes 0 and 5).
        Source   OMS Volume 2 5.0.1 clause 7.2 and Tables 26, 27, 41, 42; Annex N N.7, N.10
        Raises   NotRepresentable for consumer information (UC-07) in issue 4.3.3, or in a profile without content index (none, A)
        """
        link_bits = 0 if ell else self._link_bits(kind)
        status = self._application.status(now)
        application = _APPLICATIONS.get(kind)
        if application is None:
            return self._sealer.pure(access_number, status, link_bits)
        profile = self._config.profile
        if kind == "consumer" and (profile not in ("B", "D") or self._config.oms_issue == "4.3.3"):
            raise NotRepresentable("consumer information needs issue 5.0.1 and profile B or D", field="profile", value=profile)
        key_id = self._config.consumer_key_id if kind == "consumer" else self._config.key_id
        slot = self._take_counter(key_id) if profile != "none" else None
        if slot is None and profile != "none":
            return self._sealer.pure(access_number, status, link_bits)
        payload, application = self._said(kind, application, now)
        content, index = content_of(application)
        key, counter = (None, 0) if slot is None else (self._key_of(slot), slot.counter)
        what = Content("m-bus", content, index, link_bits)
        return self._sealer.seal(payload, access_number, status, what, key, counter)

    def _said(self, kind: SpontaneousKind, application: int, now: float) -> tuple[bytes, int]:
        """Application octets and their application; a device without content for its installation tells its static data."""
        contents = self._application.contents
        octets = contents.octets(application, 0, now)
        if kind == "install" and not octets:
            application = _STATIC
            octets = contents.octets(application, 0, now)
        return octets or _FILLER, application

    def _link_bits(self, kind: SpontaneousKind) -> int:
        """B and S of the configuration field: everything but SND-IR is synchronous."""
        synchronous = 0 if kind == "install" else _SYNCHRONOUS
        return synchronous | (_BIDIRECTIONAL if self._config.bidirectional else 0)

    def alarm(self, now: float, access_number: int | None = None) -> bytes | None:
        """The answer to REQ-UD1: the alarm octet, which is cleared with it; None without an alarm.

        Octets   CI 74, 75 with header and the security of the profile, or 71 on a wire without profile; alarm 1
        Source   EN 13757-3, alarms (clause to confirm); OMS Volume 2 5.0.1 Table 42, whose MAC column for alarms is
                 open [?]: they are protected like every answer
        """
        octet = self.memory.alarm
        if not octet:
            return None
        self.memory.alarm = 0
        number = self.memory.transport_access_number if access_number is None else access_number
        status, payload = self._application.status(now), bytes((octet,))
        config = self._config
        if config.profile == "none":
            return self._sealer.plain("alarm", payload, number, status)
        slot = self._take_counter(config.key_id)
        if slot is None:
            return self._sealer.pure(number, status)
        return self._sealer.seal(payload, number, status, Content("alarm"), self._key_of(slot), slot.counter)


#: what is said by itself -> message application; what is not here is a transport header alone
_APPLICATIONS: dict[str, int] = {"data": 0, "static": _STATIC, "install": _INSTALLATION, "consumer": _CONSUMER}


def _telegrams(payload: bytes, room: int) -> tuple[bytes, ...]:
    """Cut a readout between records into telegrams of at most ``room`` octets.

    Octets   each but the last ends with DIF 1Fh; a manufacturer's block stays with the last records
    Source   EN 13757-3, DIF 1Fh (clause to confirm)
    """
    if len(payload) <= room:
        return (payload,)
    starts = parse(payload).offsets
    cuts, begin = [0], 0
    for at, end in zip(starts, [*starts[1:], len(payload)], strict=True):
        if end - begin > room - 1 and at > begin:
            cuts.append(at)
            begin = at
    parts = [payload[start:stop] for start, stop in zip(cuts, [*cuts[1:], len(payload)], strict=True)]
    return tuple([part + _MORE for part in parts[:-1]] + parts[-1:])
