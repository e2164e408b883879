"""Encode: a Telegram and keys to octets, the way down of ``decode``.

    application -> padding, encryption -> MAC -> fragments -> ELL -> link

Everything that follows from other fields is computed here: encrypted length, MAC, payload CRC,
fragment headers, L and CRCs. Source: OMS Volume 2 5.0.1 clauses 5 to 9.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from openmetering.codec.afl import AuthenticationFragmentation, MessageControl
from openmetering.codec.apl import big_endian
from openmetering.codec.link.wired import WiredFrame
from openmetering.codec.link.wireless import WirelessFrame
from openmetering.codec.tpl import ConfigurationB, TransportHeader
from openmetering.errors import EncodeError, KeyNotFound, NotRepresentable
from openmetering.security import (
    Key,
    KeyRing,
    SessionKeys,
    afl_mac,
    fill,
    seal_cbc,
    seal_ell,
    seal_mode2,
    seal_mode9,
    seal_mode10,
    session_keys,
    tpl_pad,
    unsupported,
)
from openmetering.telegram.model import Telegram
from openmetering.telegram.opening import ENCRYPTING, encrypted_length
from openmetering.wire.crc import crc16

__all__ = ["encode", "encode_fragments", "encode_message"]

_VERIFICATION = b"\x2f\x2f"


class _Sealing(msgspec.Struct, frozen=True):
    """What sealing a message needs."""

    transport: TransportHeader
    afl: AuthenticationFragmentation | None
    address: bytes
    downlink: bool
    payload: bytes

    @property
    def counter(self) -> int | None:
        if self.afl is not None and self.afl.counter is not None:
            return self.afl.counter
        return self.transport.counter

    def session(self, key: Key) -> SessionKeys:
        counter = self.counter
        if counter is None:
            raise NotRepresentable("derived keys need a message counter", field="counter", value=None)
        return session_keys(key.cipher, counter, self.address[2:6], downlink=self.downlink)


def _blocks(sealing: _Sealing, block: int = 16) -> tuple[bytes, bytes]:
    """Plaintext of whole blocks and the clear octets behind it, by the configuration field."""
    payload = sealing.payload
    length = encrypted_length(sealing.transport, len(payload) + -len(payload) % block)
    plain = fill(payload[:length], block)
    if not plain.startswith(_VERIFICATION):
        raise NotRepresentable(
            "encrypted application data start with the verification octets 2F 2F", field="payload", value=payload[:2]
        )
    if len(plain) != length:
        raise NotRepresentable(
            f"the configuration field announces {length} encrypted octets, {len(plain)} are there",
            field="configuration",
            value=length,
        )
    return plain, payload[length:]


def _seal_cbc(sealing: _Sealing, key: Key) -> bytes:
    plain, clear = _blocks(sealing)
    return seal_cbc(sealing.transport.mode, key.cipher, sealing.address, sealing.transport.access_number or 0, plain) + clear


def _seal_7(sealing: _Sealing, key: Key) -> bytes:
    if ConfigurationB(sealing.transport.configuration).padding:
        sealing = msgspec.structs.replace(sealing, payload=tpl_pad(sealing.payload))
    plain, clear = _blocks(sealing)
    return seal_cbc(7, sealing.session(key).encryption, sealing.address, 0, plain) + clear


def _seal_2(sealing: _Sealing, key: Key) -> bytes:
    plain, clear = _blocks(sealing, 8)
    return seal_mode2(key.des, plain) + clear


def _seal_10(sealing: _Sealing, key: Key) -> bytes:
    transport = sealing.transport
    header = transport.encode()
    start = 1 + (8 if transport.header == "long" else 0)
    aad = header[:1] + header[start : start + 6]
    number = int(transport.configuration) & 0xFF
    length = len(sealing.payload) if number == 0xFF else number
    plain, clear = sealing.payload[:length], sealing.payload[length:]
    return seal_mode10(sealing.session(key).encryption, sealing.address, sealing.counter or 0, aad, plain, clear=clear)


def _seal_9(sealing: _Sealing, key: Key) -> bytes:
    length = sealing.transport.extension[0]
    plain, clear = sealing.payload[:length], sealing.payload[length:]
    configuration = int(sealing.transport.configuration).to_bytes(2, "little")
    sealed = seal_mode9(key.cipher, sealing.address, sealing.counter or 0, configuration, plain, clear=clear)
    return sealed[: len(plain)] + clear + sealed[len(plain) :]


_SEAL: dict[int, Callable[[_Sealing, Key], bytes]] = {
    2: _seal_2,
    4: _seal_cbc,
    5: _seal_cbc,
    7: _seal_7,
    9: _seal_9,
    10: _seal_10,
}


def _key(telegram: Telegram, keys: KeyRing, size: int) -> Key:
    """The key for the meter, else for the sender (adapter)."""
    transport, afl, link = telegram.transport, telegram.afl, telegram.link
    key_id = 0 if transport is None else transport.key_id
    version = None if transport is None else transport.key_version
    if afl is not None and afl.key_information is not None:
        key_id, version = int(afl.key_information.key_id), int(afl.key_information.key_version)
    addresses = [telegram.address, link.address if isinstance(link, WirelessFrame) else None]
    for address in addresses:
        if address is not None:
            found = keys.find(address.link_octets(), key_id=key_id, version=version, size=size)
            if found:
                return found[0]
    raise KeyNotFound(f"no key to encode the telegram of {telegram.address}", address=str(telegram.address))


def _is_sealed(telegram: Telegram) -> bool:
    """True if the payload is to be encrypted: not for telegrams that were in the clear already."""
    transport = telegram.transport
    if transport is None or transport.header == "none" or transport.mode == 0 or telegram.security.state == "already-plain":
        return False
    if transport.mode in (2, 4, 5, 7) and encrypted_length(transport, 1 << 16) == 0:
        return False
    return transport.mode in ENCRYPTING or telegram.security.profile is not None


def encode_message(telegram: Telegram, keys: KeyRing | None = None) -> tuple[bytes, AuthenticationFragmentation | None]:
    """The message from the transport CI on, and the AFL with its MAC.

    Raises NotRepresentable, OutOfRange, KeyNotFound, UnsupportedSecurity.
    """
    transport, afl = telegram.transport, telegram.afl
    if transport is None:
        return b"", afl
    if telegram.payload is None and telegram.security.state in ("key-missing", "failed"):
        raise NotRepresentable("the message was never opened, so its content is not known", field="payload", value=None)
    payload = telegram.payload or b""
    sealing = _Sealing(transport, afl, _address(telegram), not telegram.uplink, payload)
    ring = keys if keys is not None else KeyRing()
    sealed = _is_sealed(telegram)
    if sealed:
        seal = _SEAL.get(transport.mode)
        if seal is None:
            raise unsupported(transport.mode)
        payload = seal(sealing, _key(telegram, ring, 8 if transport.mode == 2 else 16))
    message = transport.encode() + payload
    if transport.ci == big_endian.CI:
        message = message[:1] + big_endian.to_big_endian(message[1:])
    if afl is None or afl.message_control is None or not afl.message_control.authentication_type:
        return message, afl
    if telegram.security.state == "already-plain":
        return message, afl
    control = afl.message_control
    length = len(message) if control.length else None
    mac = afl_mac(
        sealing.session(_key(telegram, ring, 16)).authentication,
        int(control),
        message,
        key_information=None if afl.key_information is None else int(afl.key_information),
        counter=afl.counter,
        message_length=length,
    )
    stated = afl.message_length if length is None or afl.message_length is None else length
    return message, msgspec.structs.replace(afl, mac=mac, message_length=stated)


def _address(telegram: Telegram) -> bytes:
    address = telegram.address
    return bytes(8) if address is None else address.link_octets()


def _with_ell(telegram: Telegram, upper: bytes, keys: KeyRing | None) -> bytes:
    """Put the extended link layer in front; computes payload CRC and encryption."""
    ell, link = telegram.ell, telegram.link
    if ell is None:
        return upper
    number = ell.session_number
    if number is None:
        return ell.encode() + upper
    crc = crc16(upper)
    if number.encryption != 1 or telegram.security.state == "already-plain":
        return msgspec.structs.replace(ell, payload_crc=crc).encode() + upper
    if not isinstance(link, WirelessFrame):
        raise NotRepresentable("the extended link layer belongs to wireless frames", field="ell", value=ell.ci)
    found = keys.find(link.address.link_octets()) if keys is not None else ()
    if not found:
        raise KeyNotFound(f"no key to encode the telegram of {link.address}", address=str(link.address))
    sealed = seal_ell(
        found[0].cipher, link.address.link_octets(), int(ell.communication_control), int(number).to_bytes(4, "little"), upper
    )
    return ell.encode()[:-2] + sealed


def _frame(telegram: Telegram, data: bytes) -> bytes:
    link = telegram.link
    if link is None:
        raise EncodeError("a telegram without a link layer cannot be encoded", field="link")
    if isinstance(link, WiredFrame) and link.kind in ("single", "short"):
        return link.encode()
    if isinstance(link, WiredFrame):
        return WiredFrame.long(link.control, link.address, data).encode()
    return msgspec.structs.replace(link, data=data).encode()


def _data(telegram: Telegram, keys: KeyRing | None) -> bytes:
    if telegram.nwl is not None:
        return _with_ell(telegram, telegram.nwl.encode(), keys)
    afl = telegram.afl
    if afl is not None and afl.fragmented and telegram.transport is None and telegram.link is not None:
        return telegram.link.data  # a part of a message is sent on as it came
    message, afl = encode_message(telegram, keys)
    upper = message if afl is None else afl.encode() + message
    return _with_ell(telegram, upper, keys)


def encode(telegram: Telegram, keys: KeyRing | bytes | None = None) -> bytes:
    """The octets of a telegram in one frame.

    ``keys`` must hold the key of the meter (or of the sender, for the encryption of the extended
    link layer) unless the telegram is in the clear.
    Source   OMS Volume 2 5.0.1; what ``decode`` reads, ``encode`` writes octet for octet
    Raises   EncodeError, KeyNotFound, UnsupportedSecurity
    """
    ring = KeyRing.single(keys) if isinstance(keys, bytes) else keys
    return _frame(telegram, _data(telegram, ring))


def encode_fragments(telegram: Telegram, keys: KeyRing | bytes | None, sizes: int | Sequence[int]) -> list[bytes]:
    """The frames of a fragmented message.

    ``sizes`` are the message octets of each fragment, or one number for all (the last takes the
    rest). Counter, key information and message length stand in the first fragment, the MAC in
    the last; ``afl`` gives message control and counter (None: fragments without MAC). The access
    number of the ELL counts up with each fragment.
    Source   OMS Volume 2 5.0.1 clause 6.3 (clause to confirm); Annex N.3 to N.5
    Raises   EncodeError, KeyNotFound
    """
    ring = KeyRing.single(keys) if isinstance(keys, bytes) else keys
    afl = telegram.afl or AuthenticationFragmentation.build()
    control = MessageControl.build(int(afl.message_control or 0), length=1)
    telegram = msgspec.structs.replace(telegram, afl=msgspec.structs.replace(afl, message_control=control))
    message, whole = encode_message(telegram, ring)
    assert whole is not None
    parts = _split(message, sizes)
    frames = []
    for index, part in enumerate(parts):
        first, last = index == 0, index == len(parts) - 1
        layer = AuthenticationFragmentation.build(
            fragment_id=index + 1,
            more_fragments=not last,
            message_control=control if first else None,
            key_information=whole.key_information if first else None,
            counter=whole.counter if first else None,
            message_length=len(message) if first else None,
            mac=whole.mac if last and control.authentication_type else None,
        )
        ell = telegram.ell
        if ell is not None:
            ell = msgspec.structs.replace(ell, access_number=ell.access_number + index & 0xFF)
        step = msgspec.structs.replace(telegram, ell=ell)
        frames.append(_frame(step, _with_ell(step, layer.encode() + part, ring)))
    return frames


def _split(message: bytes, sizes: int | Sequence[int]) -> list[bytes]:
    plan = [sizes] * (-(-len(message) // max(sizes, 1))) if isinstance(sizes, int) else list(sizes)
    if not plan or min(plan) < 1:
        raise NotRepresentable("fragments need at least one octet each", field="sizes", value=sizes)
    parts, at = [], 0
    for size in plan[:-1]:
        parts.append(message[at : at + size])
        at += size
    parts.append(message[at:])
    if not all(parts):
        raise NotRepresentable(f"{len(plan)} fragments are more than {len(message)} octets need", field="sizes", value=plan)
    return parts
