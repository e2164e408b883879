"""The general reader: one frame through its layers, each box once.

    link -> ELL -> AFL -> TPL -> security -> application

Which layer may follow which stands in ``ci.csv``. The reader fills a Telegram; a fault stops
it and stands in ``error`` while everything read before is kept. It is the definition of what
a frame means; ``shortcut`` only repeats its results faster.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from openmetering.codec import afl, ell, nwl, tpl
from openmetering.codec.apl import big_endian, fixed
from openmetering.codec.apl.application_error import ApplicationError
from openmetering.codec.apl.format import CompactFrame, FormatStore, RecordFormat, decode_format_frame
from openmetering.codec.apl.protocols import PROTOCOLS
from openmetering.codec.apl.records import ParsedRecords, parse
from openmetering.codec.apl.security_transfer import SecuredData, SecurityTransfer
from openmetering.codec.link import wired, wireless
from openmetering.codec.link.control import is_uplink
from openmetering.errors import (
    AuthenticationFailed,
    DecodeError,
    Fault,
    KeyNotFound,
    MalformedRecord,
    OmsError,
    Truncated,
    UnknownControlInformation,
    WrongKey,
)
from openmetering.security import CounterLedger, Key, KeyRing, ell_counter_block, message_digest, unsupported
from openmetering.tables import CONTROL_INFORMATION, ControlInformation
from openmetering.telegram.model import Policy, SecurityReport, Telegram
from openmetering.telegram.opening import (
    PROFILES,
    Opened,
    Sealed,
    authenticate_plain,
    encrypted_length,
    looks_plain,
    open_message,
)
from openmetering.telegram.reassembly import Reassembler
from openmetering.wire.crc import crc16

__all__ = ["Reader"]

#: modes that are reserved: devices of the time before the configuration field left other bits here
_RESERVED_MODES = frozenset((6, 11, 12, 14)) | frozenset(range(16, 32))
_ADDRESS = 8  #: octets of an address
_PID_MBUS = 1  #: protocol identifier of M-Bus records inside secured data
_ONE_BLOCK = 128  #: octets of a frame of format B with one CRC


class Reader:
    """Reads frames with a key ring, a policy, known formats and the partial messages of all peers."""

    __slots__ = ("counters", "crc", "formats", "keys", "learns", "parsed", "policy", "reassembler")

    def __init__(
        self,
        keys: KeyRing,
        policy: Policy,
        formats: FormatStore,
        reassembler: Reassembler,
        counters: CounterLedger | None,
        crc: bool | None = None,
    ) -> None:
        self.keys = keys
        self.policy = policy
        self.formats = formats
        self.reassembler = reassembler
        self.counters = counters
        #: whether wireless frames carry CRCs; None: found by trying
        self.crc = crc
        #: False for ``telegram.decode``: no telegram may change what the next one means
        self.learns = True
        #: the parse of the last telegram's records, for the shortcut
        self.parsed: ParsedRecords | None = None

    def read(self, frame: bytes, key: Key | None = None, now: float = 0.0) -> Telegram:
        """Read one frame. Never raises for octets: the fault stands in ``Telegram.error``.

        What has a CRC by chance (once in 65 536) and cannot be read so is read without, if all of it is understood then.
        """
        telegram = self._once(frame, key, now, self.crc)
        if telegram.error is not None and self.crc is None and _guessed(telegram):
            parsed = self.parsed
            plain = self._once(frame, key, now, False)
            if plain.error is None and plain.records and not plain.warnings:
                return plain
            self.parsed = parsed
        return telegram

    def _once(self, frame: bytes, key: Key | None, now: float, crc: bool | None) -> Telegram:
        telegram = Telegram(frame)
        self.parsed = None
        try:
            _Pass(self, telegram, key, now, crc).link()
        except OmsError as error:
            telegram.cause = error
            telegram.error = error.fault
        return telegram


def _guessed(telegram: Telegram) -> bool:
    """True if a frame without CRCs may have been taken for one with them: L agrees with its length, and no more than one CRC
    can have fitted by chance (that of the first block of format A, or that of a format B of one block)."""
    link, error, frame = telegram.link, telegram.error, telegram.frame
    if not frame or frame[0] != len(frame) - 1 or error is None:
        return False
    if link is None:
        return error.code == "frame.truncated" and error.layer == "link"
    return isinstance(link, wireless.WirelessFrame) and link.frame_format == "B" and len(frame) <= _ONE_BLOCK


class _Pass:
    """One frame on its way up."""

    __slots__ = ("at", "crc", "data", "key", "now", "opened", "reader", "telegram")

    def __init__(self, reader: Reader, telegram: Telegram, key: Key | None, now: float, crc: bool | None) -> None:
        self.crc = crc
        self.reader = reader
        self.telegram = telegram
        self.key = key
        self.now = now
        self.data = b""
        self.at = 0
        self.opened: Opened | None = None

    def warn(self, code: str, layer: str, message: str, offset: int | None = None) -> None:
        self.telegram.warnings += (Fault(code, layer, offset, message),)

    # -- link -------------------------------------------------------------------------------

    def link(self) -> None:
        telegram, frame = self.telegram, self.telegram.frame
        link: wired.WiredFrame | wireless.WirelessFrame
        if wired.looks_wired(frame):
            link, rest = wired.unframe(frame)
        else:
            link, rest = wireless.unframe(frame, crc=self.crc)
        telegram.link = link
        telegram.trailer = rest
        if isinstance(link, wired.WiredFrame) and link.kind == "single":
            return
        telegram.uplink = is_uplink(link.control)
        if rest:
            self._tolerate(
                self.reader.policy.trailing,
                "frame.trailing",
                f"{len(rest)} octets stand behind the frame",
                len(frame) - len(rest),
            )
        if isinstance(link, wireless.WirelessFrame) and not link.address.identification.isdecimal():
            self._tolerate(
                self.reader.policy.non_bcd_numbers,
                "address.not_bcd",
                f"identification number {link.address.identification} is not decimal",
                4,
            )
        self.data = link.data
        if self.data:
            self._layers()

    def _tolerate(self, allowed: bool, code: str, message: str, offset: int | None) -> None:
        if not allowed:
            raise DecodeError(message, layer="link", offset=offset, octets=self.telegram.frame, code=code)
        self.warn(code, "link", message, offset)

    # -- the chain of CI fields -----------------------------------------------------------------

    def _layers(self) -> None:
        previous: ControlInformation | None = None
        while True:  # ends: no layer may follow itself
            if self.at >= len(self.data):
                self._end_of_layers(previous)
                return
            ci = self.data[self.at]
            info = CONTROL_INFORMATION[ci]
            if info is None:
                raise UnknownControlInformation(f"CI {ci:02X}h is reserved", layer="tpl", offset=self.at, octets=self.data)
            if previous is not None and info.layer not in previous.followers.split():
                raise UnknownControlInformation(
                    f"CI {ci:02X}h ({info.name}) may not follow {previous.code:02X}h",
                    layer=info.layer,
                    offset=self.at,
                    octets=self.data,
                    code="ci.order",
                )
            step = _LAYERS.get(info.layer)
            if step is None:
                self._transport(info, None)
                return
            self.at += 1
            if not step(self, info):
                return
            previous = info

    def _end_of_layers(self, previous: ControlInformation | None) -> None:
        """A request may end behind its ELL (REQ-UD2 and ACK of fragmented messages); nothing else may."""
        if previous is None or previous.layer != "ell":
            raise Truncated("the frame ends where a CI field should stand", layer="link", offset=self.at, octets=self.data)

    def _ell(self, info: ControlInformation) -> bool:
        telegram = self.telegram
        telegram.ell, self.at = ell.decode(self.data, self.at, info.code)
        number = telegram.ell.session_number
        if number is not None:
            self._open_ell(int(number.encryption))
        return True

    def _open_ell(self, encryption: int) -> None:
        """Decrypt what stands behind an ELL with session number, or check its payload CRC."""
        telegram, layer = self.telegram, self.telegram.ell
        assert layer is not None
        sealed = self.data[self.at - 2 :]
        plain_crc = crc16(sealed[2:]) == layer.payload_crc
        if encryption == 0 or plain_crc:
            self._ell_plain(encryption, plain_crc)
            return
        if encryption != 1:
            raise DecodeError(
                f"encryption {encryption} of the extended link layer is reserved",
                layer="ell",
                offset=self.at,
                octets=self.data,
                code="security.unsupported",
            )
        telegram.security = SecurityReport("ELL", None, "key-missing")
        try:
            rest, key, clear = self._decrypt_ell(sealed)
        except WrongKey:
            if self._ell_already_plain():
                return
            telegram.security = SecurityReport("ELL", None, "failed")
            raise
        except KeyNotFound:
            if self._ell_already_plain():
                return
            raise
        telegram.security = SecurityReport("ELL", None, "decrypted", "ell-crc", key.key_id, key.version)
        self.data = self.data[: self.at - 2] + clear + rest
        telegram.opened += (clear + rest,)

    def _ell_plain(self, encryption: int, plain_crc: bool) -> None:
        if not plain_crc:
            raise DecodeError(
                "the payload CRC of the extended link layer differs",
                layer="ell",
                offset=self.at - 2,
                octets=self.data,
                code="ell.crc",
            )
        if encryption == 0:
            return
        if not self.reader.policy.already_plain:
            raise DecodeError(
                "the payload is clear though the layer says encrypted",
                layer="ell",
                offset=self.at,
                octets=self.data,
                code="security.already_plain",
            )
        self.telegram.security = SecurityReport("ELL", None, "already-plain", "ell-crc")
        self.warn("security.already_plain", "ell", "the payload was decrypted before it came here", self.at)

    def _ell_already_plain(self) -> bool:
        """A clear payload with a stale payload CRC: accepted only if it reads to its end without a fault."""
        rest = self.data[self.at :]
        info = CONTROL_INFORMATION[rest[0]] if rest else None
        if (
            not self.reader.policy.already_plain
            or info is None
            or info.protocol not in ("m-bus", "compact")
            or info.header != "none"
        ):
            return False
        if info.protocol == "m-bus" and (parse(rest, 1).fault is not None or len(rest) < 3):
            return False
        if info.protocol == "compact" and not self.reader.formats.find(int.from_bytes(rest[1:3], "little")):
            return False
        self.telegram.security = SecurityReport("ELL", None, "already-plain")
        self.warn("security.already_plain", "ell", "the payload was decrypted before it came here; its CRC does not fit", self.at)
        return True

    def _decrypt_ell(self, sealed: bytes) -> tuple[bytes, Key, bytes]:
        telegram, layer = self.telegram, self.telegram.ell
        link = telegram.link
        assert layer is not None
        if not isinstance(link, wireless.WirelessFrame):
            raise DecodeError(
                "an encrypted extended link layer belongs to wireless frames",
                layer="ell",
                offset=self.at,
                octets=self.data,
                code="ell.unsupported",
            )
        sender = link.address.link_octets()
        number = (layer.session_number or 0).to_bytes(4, "little")
        candidates = self._candidates([sender], 0, None)
        if not candidates:
            raise KeyNotFound(f"no key for {link.address}", address=str(link.address), layer="ell", offset=self.at)
        addresses = [sender] if layer.destination is None else [sender, layer.destination.link_octets()]
        for address in addresses:
            block = ell_counter_block(address, int(layer.communication_control), number)
            for key in candidates:
                opened = key.cipher.ctr(sealed, block)
                if crc16(opened[2:]) == opened[0] | opened[1] << 8:
                    return opened[2:], key, opened[:2]
        raise WrongKey(
            "the payload CRC of the extended link layer differs: wrong key",
            address=str(link.address),
            code="key.mismatch.crc",
            layer="ell",
            offset=self.at - 2,
        )

    def _afl(self, info: ControlInformation) -> bool:
        telegram = self.telegram
        telegram.afl, self.at = afl.decode(self.data, self.at)
        if not telegram.afl.fragmented:
            return True
        reassembler = self.reader.reassembler if self.reader.learns else Reassembler()
        whole = reassembler.add(self._peer(), telegram.afl, self.data[self.at :], self.now)
        if whole is None:
            telegram.fragment = True
            number = int(telegram.afl.fragmentation.fragment_id)
            self.warn("afl.incomplete", "afl", f"fragment {number} of a message; the rest is awaited")
            return False
        telegram.afl = whole.afl
        telegram.opened += (whole.message,)
        self.data, self.at = whole.message, 0
        return True

    def _peer(self) -> bytes:
        link, layer = self.telegram.link, self.telegram.ell
        if isinstance(link, wireless.WirelessFrame):
            name = link.address.link_octets()
            return name + layer.destination.link_octets() if layer is not None and layer.destination is not None else name
        return b"" if link is None else bytes((link.address,))

    def _nwl(self, info: ControlInformation) -> bool:
        self.telegram.nwl, self.at = nwl.decode(self.data, self.at)
        self.warn("nwl.unsupported", "nwl", "the network layer of EN 13757-5 has no public layout; its octets are kept")
        return False

    # -- transport and security --------------------------------------------------------------------

    def _transport(self, info: ControlInformation, header: str | None) -> None:
        telegram = self.telegram
        message = self.data[self.at :]
        if info.direction != "both":
            telegram.uplink = info.direction == "up"
        special = _SPECIAL_HEADERS.get(info.code)
        if special is not None and special(self, message):
            return
        telegram.transport, payload_at = tpl.decode(message, 1, info.code, header or info.header)
        mode = telegram.transport.mode if telegram.transport.header != "none" else None
        payload = message[payload_at:]
        if mode is None:
            telegram.payload = payload
        else:
            self._secure(Sealed(telegram.transport, telegram.afl, message, payload_at, self._meter(), not telegram.uplink), mode)
        self._application(info)

    def _meter(self) -> bytes:
        address = self.telegram.address
        return b"" if address is None else address.link_octets()

    def _candidates(self, addresses: Iterable[bytes], key_id: int | None, version: int | None, size: int = 16) -> tuple[Key, ...]:
        """Keys to try: the one given for this telegram, else those of the meter, then of the sender."""
        if self.key is not None:
            return (self.key,) if len(self.key.octets) == size else ()
        for address in addresses:
            if len(address) == _ADDRESS:
                found = self.reader.keys.find(address, key_id=key_id, version=version, size=size)
                if found:
                    return found
        return ()

    def _addresses(self) -> list[bytes]:
        """The meter's address, then that of the sender (radio adapter)."""
        link = self.telegram.link
        sender = link.address.link_octets() if isinstance(link, wireless.WirelessFrame) else b""
        return [self._meter(), sender]

    def _secure(self, sealed: Sealed, mode: int) -> None:
        telegram = self.telegram
        authentic = sealed.afl is not None and sealed.afl.mac is not None
        if telegram.security.profile == "ELL" and mode == 0 and not authentic:
            telegram.security = _replace_mode(telegram.security, mode)
            telegram.payload = sealed.payload
            return
        report = SecurityReport(PROFILES.get(mode), mode, counter=sealed.counter)
        if mode == 0 or self._nothing_encrypted(sealed, mode):
            self._plain(sealed, report)
            return
        if mode in _RESERVED_MODES and self.reader.policy.reserved_modes:
            telegram.security = SecurityReport(None, mode)
            telegram.payload = sealed.payload
            self.warn("security.reserved_mode", "tpl", f"security mode {mode} is reserved; the payload is read as clear", 3)
            return
        telegram.security = _state(report, "key-missing")
        try:
            self._open(sealed, report)
        except (KeyNotFound, WrongKey, AuthenticationFailed) as error:
            if not self._already_plain(sealed, report):
                if not isinstance(error, KeyNotFound):
                    telegram.security = _state(report, "failed")
                raise
        except OmsError:
            if not self._already_plain(sealed, report):
                telegram.security = _state(report, "failed")
                raise

    @staticmethod
    def _nothing_encrypted(sealed: Sealed, mode: int) -> bool:
        return (
            mode in (2, 4, 5, 7)
            and encrypted_length(sealed.transport, len(sealed.payload)) == 0
            and sealed.transport.configuration >> 4 & 0x0F == 0
        )

    def _plain(self, sealed: Sealed, report: SecurityReport) -> None:
        telegram = self.telegram
        telegram.payload = sealed.payload
        telegram.security = report
        if sealed.afl is not None and sealed.afl.mac is not None:
            telegram.security = _state(report, "key-missing")
            known = len(sealed.address) == _ADDRESS
            candidates = self._candidates(self._addresses(), sealed.key_id, sealed.key_version) if known else ()
            try:
                key = authenticate_plain(sealed, candidates)
                telegram.security = _proven(report, "mac", key, "plain")
                self._count(sealed, key)
            except KeyNotFound:
                telegram.security = report
                self.warn("key.missing", "afl", "the MAC of the clear message could not be checked without a key")
            except OmsError:
                telegram.security = _state(report, "failed")
                raise

    def _open(self, sealed: Sealed, report: SecurityReport) -> None:
        telegram = self.telegram
        address = telegram.address
        candidates = self._candidates(self._addresses(), sealed.key_id, sealed.key_version, 8 if report.mode == 2 else 16)
        if len(sealed.address) != _ADDRESS:
            raise KeyNotFound("the telegram names no device, so no key can be found", layer="tpl", offset=0)
        try:
            opened = open_message(sealed, candidates, self._plausible)
        except KeyNotFound as error:
            error.address = str(address)
            error.message = f"no key for {address}"
            raise
        assert opened.key is not None
        telegram.payload = opened.payload
        telegram.security = _proven(report, opened.proof, opened.key, "decrypted")
        if report.mode == 7 and opened.proof != "mac":
            self.warn("afl.mac_missing", "afl", "a message of profile B carries no MAC; its origin is not proven")
        if opened.proof in ("mac", "tag"):
            self._count(sealed, opened.key)

    def _plausible(self, opened: Opened) -> bool:
        """True if the opened octets read as records to their end: tells keys apart that pass 2F 2F by chance."""
        return parse(opened.payload, uplink=self.telegram.uplink).fault is None

    def _count(self, sealed: Sealed, key: Key) -> None:
        ledger, counter = self.reader.counters, sealed.counter
        if ledger is None or counter is None or not self.telegram.uplink:
            return
        if (
            ledger.accept(sealed.address, sealed.key_id, sealed.key_version, counter, message_digest(sealed.message))
            == "duplicate"
        ):
            self.warn("counter.duplicate", "security", f"message counter {counter} was seen before with the same octets")

    def _already_plain(self, sealed: Sealed, report: SecurityReport) -> bool:
        if not (self.reader.policy.already_plain and looks_plain(sealed.transport, sealed.payload)):
            return False
        telegram = self.telegram
        telegram.payload = sealed.payload
        telegram.security = _state(report, "already-plain")
        self.warn(
            "security.already_plain", "tpl", "the payload was decrypted before it came here; nothing is proven", sealed.payload_at
        )
        return True

    # -- application ----------------------------------------------------------------------------------

    def _application(self, info: ControlInformation) -> None:
        handler = _APPLICATIONS.get(info.protocol, _Pass._protocol)
        handler(self, info)

    def _protocol(self, info: ControlInformation) -> None:
        self.telegram.application = PROTOCOLS[info.protocol](self._behind_verification())

    def _parse(self, octets: bytes) -> None:
        telegram = self.telegram
        parsed = parse(octets, uplink=telegram.uplink)
        telegram.read_records = tuple(parsed.records)
        telegram.manufacturer_data = parsed.manufacturer_data
        telegram.more_follows = parsed.more_follows
        telegram.warnings += tuple(parsed.warnings)
        telegram.warnings += tuple(series.fault for series in telegram.profiles if series.fault is not None)
        if parsed.fault is not None:
            raise parsed.fault
        self.reader.parsed = parsed

    def _nothing(self, info: ControlInformation) -> None:
        """A pure transport layer carries no application data."""

    def _full(self, info: ControlInformation) -> None:
        """A full frame also teaches its format for later compact frames."""
        self._parse(self.telegram.payload or b"")
        if self.reader.learns and self.telegram.uplink and self.telegram.read_records:
            self.reader.formats.add(RecordFormat.of(self.telegram.read_records), str(self.telegram.address or ""))

    def _compact(self, info: ControlInformation) -> None:
        frame = CompactFrame.decode(self._behind_verification())
        self.telegram.application = frame
        octets = self.reader.formats.expand(frame)
        self._parse(octets)
        self.reader.parsed = None

    def _behind_verification(self) -> bytes:
        """The payload without the verification octets 2F 2F of the block modes."""
        payload = self.telegram.payload or b""
        block_mode = self.telegram.security.mode in (2, 4, 5, 7) and self.telegram.security.state != "plain"
        return payload[2:] if block_mode and payload[:2] == b"\x2f\x2f" else payload

    def _format(self, info: ControlInformation) -> None:
        record_format = decode_format_frame(self._behind_verification())
        if self.reader.learns:
            self.reader.formats.add(record_format, str(self.telegram.address or ""))

    def _error(self, info: ControlInformation) -> None:
        self._protocol(info)
        answer = self.telegram.application
        assert isinstance(answer, ApplicationError)
        raise DecodeError(
            f"the device reports application error {answer.code:02X}h: {answer.meaning}",
            layer="apl",
            offset=0,
            octets=self.telegram.payload or b"",
            code="application.error",
        )

    def _manufacturer(self, info: ControlInformation) -> None:
        self.telegram.manufacturer_data = self.telegram.payload
        self.warn("manufacturer.protocol", "tpl", f"CI {info.code:02X}h belongs to the manufacturer; its octets are kept")

    def _sitp(self, info: ControlInformation) -> None:
        self._protocol(info)
        transfer = self.telegram.application
        assert isinstance(transfer, SecurityTransfer)
        found = []
        for block in transfer.blocks:
            content = block.read()
            if isinstance(content, SecuredData) and content.pid == _PID_MBUS:
                found += parse(content.apdu, uplink=self.telegram.uplink).records
        self.telegram.read_records = tuple(found)

    # -- CI fields with two readings --------------------------------------------------------------------

    def _fixed_or_compact(self, message: bytes) -> bool:
        """CI 73: the fixed data structure of old wired meters has exactly 16 octets behind the CI."""
        if not isinstance(self.telegram.link, wired.WiredFrame) or len(message) != 17:
            return False
        return self._fixed(message)

    def _fixed(self, message: bytes) -> bool:
        telegram = self.telegram
        if len(message) != 17:
            raise MalformedRecord(
                "the fixed data structure has 16 octets behind CI", layer="apl", offset=0, octets=message, code="record.truncated"
            )
        data = fixed.decode(message[1:], big_endian=message[0] == 0x77)
        telegram.transport = tpl.TransportHeader(message[0], access_number=data.access_number, status=data.status)
        telegram.payload = message[1:]
        telegram.application = data
        telegram.read_records = tuple(fixed.records(data))
        return True

    def _reorder(self, message: bytes) -> bool:
        ordered = big_endian.to_little_endian(message[1:])
        self.telegram.transport, at = tpl.decode(ordered, 0, message[0], "long")
        if self.telegram.transport.mode:
            raise unsupported(self.telegram.transport.mode)  # nothing is published about encryption in this order
        self.telegram.payload = ordered[at:]
        self._parse(ordered[at:])
        return True


def _replace_mode(report: SecurityReport, mode: int) -> SecurityReport:
    return SecurityReport(report.profile, mode, report.state, report.proof, report.key_id, report.key_version, report.counter)


def _state(report: SecurityReport, state: str) -> SecurityReport:
    return SecurityReport(report.profile, report.mode, state, None, None, None, report.counter)


def _proven(report: SecurityReport, proof: str | None, key: Key, state: str) -> SecurityReport:
    return SecurityReport(report.profile, report.mode, state, proof, key.key_id, key.version, report.counter)


_LAYERS: dict[str, Callable[[_Pass, ControlInformation], bool]] = {"ell": _Pass._ell, "afl": _Pass._afl, "nwl": _Pass._nwl}
_APPLICATIONS: dict[str, Callable[[_Pass, ControlInformation], None]] = {
    "m-bus": _Pass._full,
    "compact": _Pass._compact,
    "format": _Pass._format,
    "application-error": _Pass._error,
    "manufacturer": _Pass._manufacturer,
    "sitp": _Pass._sitp,
    "application-response": _Pass._full,
    "none": _Pass._nothing,
}
_SPECIAL_HEADERS: dict[int, Callable[[_Pass, bytes], bool]] = {
    0x73: _Pass._fixed_or_compact,
    big_endian.CI: _Pass._reorder,
    0x77: _Pass._fixed,
}
