"""Security opens once: from the octets behind the headers to application octets in the clear.

Every mode has one function in a table. A function gets the message and the candidate keys
and gives plaintext, proof and the key that did it. The order is MAC, then decryption, then
decryption verification. Source: OMS Volume 2 5.0.1 clauses 7 and 9.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import msgspec

from openmetering.codec.afl import AuthenticationFragmentation
from openmetering.codec.tpl import ConfigurationB, TransportHeader
from openmetering.errors import AuthenticationFailed, DecodeError, KeyNotFound, OmsError, SecurityError, Truncated, WrongKey
from openmetering.security import (
    Key,
    SessionKeys,
    check_afl_mac,
    open_cbc,
    open_mode2,
    open_mode9,
    open_mode10,
    session_keys,
    tpl_strip,
    unsupported,
    verified,
)

__all__ = ["ENCRYPTING", "Opened", "Sealed", "encrypted_length", "open_message"]

#: security mode -> OMS security profile
PROFILES = {0: "none", 5: "A", 7: "B", 10: "D", 13: "C"}
ENCRYPTING = frozenset((2, 4, 5, 7, 9, 10))
_ALL_BLOCKS = 15
_TAG = 8
_DUTCH_TAG = 12


class Sealed(msgspec.Struct, frozen=True):
    """A message as it stands on the wire, with everything that opening it needs.

    ``message`` starts at the transport CI; ``payload_at`` is the offset of the octets behind
    header and extension; ``address`` the meter in link-layer order.
    """

    transport: TransportHeader
    afl: AuthenticationFragmentation | None
    message: bytes
    payload_at: int
    address: bytes
    downlink: bool

    @property
    def payload(self) -> bytes:
        """The octets behind the transport header."""
        return self.message[self.payload_at :]

    @property
    def counter(self) -> int | None:
        """The message counter, of the AFL or of the transport layer."""
        if self.afl is not None and self.afl.counter is not None:
            return self.afl.counter
        return self.transport.counter

    @property
    def key_id(self) -> int:
        """KeyID asked for: AFL key information, else the configuration extension, else 0."""
        if self.afl is not None and self.afl.key_information is not None:
            return int(self.afl.key_information.key_id)
        return self.transport.key_id

    @property
    def key_version(self) -> int | None:
        """KeyVersion asked for, if the message names one."""
        if self.afl is not None and self.afl.key_information is not None:
            return int(self.afl.key_information.key_version)
        return self.transport.key_version


class Opened(msgspec.Struct, frozen=True):
    """Application octets in the clear, the proof and the key."""

    payload: bytes
    proof: str | None
    key: Key | None


def encrypted_length(transport: TransportHeader, available: int) -> int:
    """Octets behind the header that are encrypted (mode 10 and 9: with their tag left out).

    Source   configuration field by mode, OMS Volume 2 5.0.1 clause 7.2
    """
    mode, configuration = transport.mode, int(transport.configuration)
    if mode == 10:
        number = configuration & 0xFF
        return max(available - _TAG, 0) if number == 0xFF else number
    if mode == 9:
        return transport.extension[0] if transport.extension else 0
    if mode not in ENCRYPTING:
        return 0
    block = 8 if mode == 2 else 16
    blocks = configuration >> 4 & 0x0F
    return available - available % block if blocks == _ALL_BLOCKS else blocks * block


def _session(sealed: Sealed, key: Key) -> SessionKeys:
    counter = sealed.counter
    if counter is None:
        raise SecurityError("the message carries no counter to derive its keys from", code="security.counter_missing")
    return session_keys(key.cipher, counter, sealed.address[2:6], downlink=sealed.downlink)


def _check_mac(sealed: Sealed, keys: SessionKeys) -> bool:
    """Verify the AFL MAC if there is one; False if there is none. Raises AuthenticationFailed, DecodeError."""
    afl = sealed.afl
    if afl is None or afl.mac is None:
        return False
    control = afl.message_control
    if control is None:
        raise DecodeError("a MAC without message control field proves nothing", layer="afl", offset=0, code="afl.field_missing")
    check_afl_mac(
        keys.authentication,
        afl.mac,
        int(control),
        sealed.message,
        key_information=int(afl.key_information) if afl.key_information is not None else None,
        counter=afl.counter,
        message_length=afl.message_length,
    )
    return True


def _need(sealed: Sealed, length: int, tag: int = 0) -> bytes:
    payload = sealed.payload
    if len(payload) < length + tag or length == 0:
        raise Truncated(
            f"the configuration field announces {length + tag} encrypted octets, {len(payload)} are there",
            layer="tpl",
            offset=sealed.payload_at,
            octets=sealed.message,
            code="security.length",
        )
    return payload


def _cbc(sealed: Sealed, key: Key) -> Opened:
    """Modes 4 and 5: persistent key."""
    payload = _need(sealed, length := encrypted_length(sealed.transport, len(sealed.payload)))
    access = sealed.transport.access_number or 0
    proof = "2f2f"
    if sealed.afl is not None and sealed.afl.mac is not None:
        _check_mac(sealed, _session(sealed, key))
        proof = "mac"
    plain = open_cbc(sealed.transport.mode, key.cipher, sealed.address, access, payload[:length])
    return Opened(plain + payload[length:], proof, key)


def _mode7(sealed: Sealed, key: Key) -> Opened:
    """Profile B: derived keys, MAC over the ciphertext, then CBC with IV 0."""
    payload = sealed.payload
    length = encrypted_length(sealed.transport, len(payload))
    keys = _session(sealed, key)
    proof = "mac" if _check_mac(sealed, keys) else "2f2f"
    _need(sealed, length)
    plain = open_cbc(7, keys.encryption, sealed.address, 0, payload[:length]) + payload[length:]
    if ConfigurationB(sealed.transport.configuration).padding:
        plain = tpl_strip(plain)
    return Opened(plain, proof, key)


def _mode10(sealed: Sealed, key: Key) -> Opened:
    """Profile D: derived key, CCM with an 8-octet tag."""
    counter = sealed.counter
    keys = _session(sealed, key)
    header = sealed.transport.encode()
    start = 1 + (8 if sealed.transport.header == "long" else 0)
    aad = header[:1] + header[start : start + 6]
    number = int(sealed.transport.configuration) & 0xFF
    plain = open_mode10(keys.encryption, sealed.address, counter or 0, aad, sealed.payload, encrypted=number, tag_length=_TAG)
    return Opened(plain, "tag", key)


def _mode9(sealed: Sealed, key: Key) -> Opened:
    """Dutch P2: GCM with a 12-octet tag; unencrypted octets stand in front of it."""
    extension = sealed.transport.extension
    length, clear_length = extension[0], extension[1]
    payload = sealed.payload
    end = length + clear_length + _DUTCH_TAG
    if len(payload) < end:
        _need(sealed, length + clear_length, _DUTCH_TAG)
    clear = payload[length : length + clear_length]
    sealed_part = payload[:length] + payload[length + clear_length : end]
    configuration = int(sealed.transport.configuration).to_bytes(2, "little")
    plain = open_mode9(key.cipher, sealed.address, sealed.counter or 0, configuration, sealed_part, clear=clear)
    return Opened(plain + clear, "tag", key)


def _mode2(sealed: Sealed, key: Key) -> Opened:
    """DES-CBC of old devices; the key has 8 octets."""
    length = encrypted_length(sealed.transport, len(sealed.payload))
    payload = _need(sealed, length)
    return Opened(open_mode2(key.des, payload[:length]) + payload[length:], "2f2f", key)


_OPEN: dict[int, Callable[[Sealed, Key], Opened]] = {2: _mode2, 4: _cbc, 5: _cbc, 7: _mode7, 9: _mode9, 10: _mode10}


def open_message(sealed: Sealed, keys: Sequence[Key], plausible: Callable[[Opened], bool] = lambda opened: True) -> Opened:
    """Open a message with the first key that proves itself.

    2F 2F alone fits a wrong key once in 65 536: with several candidates ``plausible`` must agree as
    well, and the first that passed 2F 2F counts only if it agrees with none.
    Raises KeyNotFound without a candidate; the error of the last candidate (WrongKey,
    AuthenticationFailed) if none fits; UnsupportedSecurity for modes 1, 3, 8, 13, 15 and
    reserved ones; Truncated if the encrypted octets are not all there.
    """
    mode = sealed.transport.mode
    opener = _OPEN.get(mode)
    if opener is None:
        raise unsupported(mode)
    fault: OmsError | None = None
    weak: Opened | None = None
    for key in keys:
        try:
            opened = opener(sealed, key)
        except (WrongKey, AuthenticationFailed) as error:
            fault = error
            continue
        if opened.proof != "2f2f" or len(keys) == 1 or plausible(opened):
            return opened
        weak = weak or opened
    if weak is not None:
        return weak
    raise fault or KeyNotFound("no key for this meter", address="")


def authenticate_plain(sealed: Sealed, keys: Iterable[Key]) -> Key:
    """Verify the AFL MAC of an unencrypted message; the key that did it.

    Raises KeyNotFound, AuthenticationFailed, DecodeError.
    """
    fault: OmsError | None = None
    for key in keys:
        try:
            _check_mac(sealed, _session(sealed, key))
            return key
        except AuthenticationFailed as error:
            fault = error
    raise fault or KeyNotFound("no key for this meter", address="")


def looks_plain(transport: TransportHeader, payload: bytes) -> bool:
    """True if the octets behind the header already start with 2F 2F although the mode encrypts them."""
    return transport.mode in (2, 4, 5, 7) and verified(payload)
