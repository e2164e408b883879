"""The security modes and the AFL MAC: octets in, octets out, both directions.

An address is always the eight octets of the application device in link-layer order
(manufacturer 2, identification 4, version, device type), little endian as on air; the
extended link layer alone takes the address of the sender. Which octets of a frame are
encrypted is known to ``telegram``; here stand only the cipher operations and their inputs.

A successful 2F 2F check says that the key fits; it authenticates nothing. Only a MAC
or a tag does.
Source: OMS Volume 2 5.0.1 clauses 7 and 9, EN 13757-7:2018 (clauses to confirm).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from openmetering.errors import (
    AuthenticationFailed,
    DecodeError,
    EncodeError,
    OutOfRange,
    Truncated,
    UnsupportedSecurity,
    WrongKey,
)
from openmetering.security.aes import BLOCK, ZERO_IV, same
from openmetering.tables import AFL_ALGORITHM_NAMES, AFL_ALGORITHMS, SECURITY_MODES
from openmetering.wire.crc import crc16

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Final

    from openmetering.security.aes import BlockCipher
    from openmetering.security.des import DesCipher

__all__ = [
    "KEY_INFORMATION_IN_MAC",
    "SUPPORTED_MODES",
    "VERIFICATION",
    "afl_mac",
    "afl_mac_input",
    "afl_mac_length",
    "check_afl_mac",
    "ell_counter_block",
    "fill",
    "mode5_iv",
    "mode9_aad",
    "mode9_nonce",
    "mode10_aad",
    "mode10_nonce",
    "open_cbc",
    "open_ell",
    "open_mode2",
    "open_mode9",
    "open_mode10",
    "require_verification",
    "seal_cbc",
    "seal_ell",
    "seal_mode2",
    "seal_mode9",
    "seal_mode10",
    "tpl_pad",
    "tpl_strip",
    "unsupported",
    "verified",
]

# -- which modes ----------------------------------------------------------------------------

SUPPORTED_MODES: Final = frozenset({0, 2, 4, 5, 7, 9, 10})  #: what this module can open and seal


def unsupported(mode: int) -> UnsupportedSecurity:
    """The error for a mode that is recognised but not opened (code ``security.unsupported``)."""
    return UnsupportedSecurity(f"security mode {mode} ({SECURITY_MODES[mode & 0x1F].name}) is not opened")


# -- decryption verification and filling -----------------------------------------------------

VERIFICATION: Final = b"\x2f\x2f"  #: first plaintext octets of the block modes, counted as encrypted


def verified(plaintext: bytes) -> bool:
    """True if the plaintext starts with 2F 2F. This is no authentication."""
    return plaintext[:2] == VERIFICATION


def require_verification(plaintext: bytes) -> bytes:
    """Return the plaintext if it starts with 2F 2F. Raises WrongKey (``key.mismatch.verification``)."""
    if plaintext[:2] != VERIFICATION:
        raise WrongKey("the decrypted octets do not start with 2F 2F: wrong key", code="key.mismatch.verification")
    return plaintext


def _need_verification(plaintext: bytes) -> None:
    if plaintext[:2] != VERIFICATION:
        raise EncodeError("the plaintext of a block mode starts with 2F 2F", field="plaintext")


def fill(data: bytes, block: int = BLOCK) -> bytes:
    """Fill application data up to whole blocks with idle fillers 2Fh (M-Bus application data)."""
    return data + b"\x2f" * (-len(data) % block)


def tpl_pad(data: bytes, block: int = BLOCK) -> bytes:
    """Fill up to whole blocks with n octets of value n, n = 1..15; nothing if it fits already.

    The P bit of the configuration field says that padding is there.
    Source   OMS Volume 2 5.0.1 (TPL padding, clause to confirm); Annex N release E, N.12.4
    """
    missing = -len(data) % block
    return data + bytes((missing,)) * missing


def tpl_strip(data: bytes, block: int = BLOCK) -> bytes:
    """Take away the padding that the P bit announces.

    Raises DecodeError (``tpl.padding``) if the last octets are no n octets of value n, n = 1..15.
    """
    count = data[-1] if data else 0
    if not 0 < count < block or data[-count:] != bytes((count,)) * count:
        raise DecodeError(
            "the P bit announces padding, but the message does not end with n octets of value n",
            layer="tpl",
            offset=max(len(data) - 1, 0),
            octets=data,
            code="tpl.padding",
        )
    return data[:-count]


# -- modes 4, 5, 7: AES-128-CBC ---------------------------------------------------------------


def _octet(value: int, field: str) -> bytes:
    if not 0 <= value <= 0xFF:
        raise OutOfRange(f"{field} {value} is no octet", field=field, value=value)
    return bytes((value,))


def _need_address(address: bytes) -> None:
    if len(address) != 8:
        raise OutOfRange(f"an address has 8 octets, got {len(address)}", field="address", value=len(address))


def _counter(counter: int) -> bytes:
    if not 0 <= counter <= 0xFFFFFFFF:
        raise OutOfRange(f"a message counter has 32 bits, got {counter}", field="counter", value=counter)
    return counter.to_bytes(4, "big")


def mode5_iv(address: bytes, access_number: int) -> bytes:
    """The initialisation vector of mode 5.

    Octets   0..7    address of the meter (ALA, also behind an adapter), link-layer order
             8..15   access number of the transport layer, eight times
    Source   OMS Volume 2 5.0.1 clause 9 (clause to confirm); Annex N release E, N.2.1, N.6.3
    Raises   OutOfRange
    """
    _need_address(address)
    return address + _octet(access_number, "access_number") * 8


def _zero_iv(address: bytes, access_number: int) -> bytes:
    return ZERO_IV


_CBC_IV: Mapping[int, Callable[[bytes, int], bytes]] = {4: _zero_iv, 5: mode5_iv, 7: _zero_iv}


def _cbc_iv(mode: int, address: bytes, access_number: int) -> bytes:
    make = _CBC_IV.get(mode)
    if make is None:
        raise unsupported(mode)
    return make(address, access_number)


def open_cbc(mode: int, cipher: BlockCipher, address: bytes, access_number: int, ciphertext: bytes) -> bytes:
    """Open the encrypted blocks of mode 4, 5 or 7; the 2F 2F stay in front.

    Octets   ciphertext n * 16, n >= 1. Mode 4: iv zero, persistent key ([K]). Mode 5: iv of the
             address, persistent key. Mode 7: iv zero, ``cipher`` of the derived Kenc or Lenc
    Raises   WrongKey (``key.mismatch.verification``), Truncated (``security.length``),
             UnsupportedSecurity for every other mode
    """
    plaintext = cipher.cbc_decrypt(ciphertext, _cbc_iv(mode, address, access_number))
    if not plaintext:
        raise Truncated("there are no encrypted octets", layer="security", offset=0, code="security.length")
    return require_verification(plaintext)


def seal_cbc(mode: int, cipher: BlockCipher, address: bytes, access_number: int, plaintext: bytes) -> bytes:
    """Encrypt whole blocks that start with 2F 2F in mode 4, 5 or 7.

    Raises EncodeError without 2F 2F, OutOfRange for broken blocks, UnsupportedSecurity for other modes.
    """
    _need_verification(plaintext)
    return cipher.cbc_encrypt(plaintext, _cbc_iv(mode, address, access_number))


# -- mode 2: DES-CBC -------------------------------------------------------------------------


def open_mode2(cipher: DesCipher, ciphertext: bytes) -> bytes:
    """Open DES-CBC with an initialisation vector of zeros; the 2F 2F stay in front ([K]).

    Raises   WrongKey (``key.mismatch.verification``), Truncated (``security.length``)
    """
    if not ciphertext:
        raise Truncated("there are no encrypted octets", layer="security", offset=0, code="security.length")
    return require_verification(cipher.cbc_decrypt(ciphertext))


def seal_mode2(cipher: DesCipher, plaintext: bytes) -> bytes:
    """Encrypt whole blocks of 8 octets that start with 2F 2F. Raises EncodeError, OutOfRange."""
    _need_verification(plaintext)
    return cipher.cbc_encrypt(plaintext)


# -- mode 10: AES-128-CCM ----------------------------------------------------------------------


def mode10_nonce(address: bytes, counter: int) -> bytes:
    """The nonce of mode 10.

    Octets   0..7    address of the meter, link-layer order
             8       00h
             9..12   message counter, big endian (little endian in the header)
    Source   OMS Volume 2 5.0.1, Annex N release E, N.2.6 and N.5 (uplink). For the downlink
             no vector is public [?]: the same rule is used, with the address of the meter
    Raises   OutOfRange
    """
    _need_address(address)
    return address + b"\0" + _counter(counter)


def mode10_aad(control_information: int, access_number: int, status: int, configuration: bytes, extension: bytes) -> bytes:
    """The additional data of mode 10.

    Octets   0       CI
             1       access number
             2       status
             3..4    configuration field, as on air
             5..6    its extension, as on air
             7..     unencrypted application octets behind the encrypted ones ([K], clause to confirm):
                     ``open_mode10`` and ``seal_mode10`` append them
             The counter and the address of a long header are not part of it (long header: [?]).
    Source   Annex N release E, N.2.6
    Raises   OutOfRange
    """
    if len(configuration) != 2 or len(extension) != 2:
        raise OutOfRange("configuration field and extension of mode 10 have 2 octets each", field="configuration")
    head = _octet(control_information, "control_information") + _octet(access_number, "access_number") + _octet(status, "status")
    return head + configuration + extension


_ALL = 0xFF  # N of the configuration field: everything but the tag is encrypted


def open_mode10(
    cipher: BlockCipher, address: bytes, counter: int, aad: bytes, payload: bytes, *, encrypted: int = _ALL, tag_length: int = 8
) -> bytes:
    """Open and authenticate a mode 10 message.

    Octets   payload: ``encrypted`` octets ciphertext (FFh: all), clear octets, tag at the end.
             The answer is the plaintext followed by the clear octets. ``aad`` comes from ``mode10_aad``
    Key      ``cipher`` of the derived Kenc, for the downlink Lenc
    Raises   AuthenticationFailed (``key.mismatch.tag``), Truncated (``security.length``), OutOfRange
    """
    end = len(payload) - tag_length
    cut = end if encrypted == _ALL else encrypted
    if cut > end or end < 0:
        raise Truncated(
            f"{len(payload)} octets cannot hold {encrypted} encrypted octets and a tag of {tag_length}",
            layer="security",
            offset=len(payload),
            octets=payload,
            code="security.length",
        )
    clear = payload[cut:end]
    plaintext = cipher.ccm_open(mode10_nonce(address, counter), payload[:cut] + payload[end:], aad + clear, tag_length)
    return plaintext + clear


def seal_mode10(
    cipher: BlockCipher, address: bytes, counter: int, aad: bytes, plaintext: bytes, *, clear: bytes = b"", tag_length: int = 8
) -> bytes:
    """Encrypt a mode 10 message: ciphertext, clear octets, tag. Raises OutOfRange."""
    sealed = cipher.ccm_seal(mode10_nonce(address, counter), plaintext, aad + clear, tag_length)
    cut = len(plaintext)
    return sealed[:cut] + clear + sealed[cut:]


# -- mode 9: AES-128-GCM of the Dutch P2 companion standard [S:P2], no public vector --------------


def mode9_nonce(address: bytes, counter: int) -> bytes:
    """The nonce of mode 9.

    Octets   0..3    identification number, 4..5 manufacturer (here the number comes first)
             6       version, 7 device type
             8..11   message counter, big endian
    Source   Enexis P2 companion standard 5.0 rev. 5.9 (one source, no vector)
    Raises   OutOfRange
    """
    _need_address(address)
    return address[2:6] + address[:2] + address[6:] + _counter(counter)


def mode9_aad(configuration: bytes, encrypted: int, clear: bytes) -> bytes:
    """The additional data of mode 9: configuration field, LenU, LenE, clear octets.

    Source   Enexis P2 companion standard 5.0 rev. 5.9. It names these four, their order
             in octets is not printed [?]; this function is the one place to change.
    Raises   OutOfRange
    """
    return configuration + _octet(len(clear), "clear length") + _octet(encrypted, "encrypted length") + clear


def open_mode9(
    cipher: BlockCipher, address: bytes, counter: int, configuration: bytes, ciphertext_with_tag: bytes, *, clear: bytes = b""
) -> bytes:
    """Open and authenticate a mode 9 message; the tag has 12 octets, the key is used directly.

    Raises   AuthenticationFailed (``key.mismatch.tag``), Truncated (``security.length``), OutOfRange
    """
    aad = mode9_aad(configuration, max(len(ciphertext_with_tag) - 12, 0), clear)
    return cipher.gcm_open(mode9_nonce(address, counter), ciphertext_with_tag, aad)


def seal_mode9(
    cipher: BlockCipher, address: bytes, counter: int, configuration: bytes, plaintext: bytes, *, clear: bytes = b""
) -> bytes:
    """Encrypt a mode 9 message: ciphertext, then the tag of 12 octets. Raises OutOfRange."""
    return cipher.gcm_seal(mode9_nonce(address, counter), plaintext, mode9_aad(configuration, len(plaintext), clear))


# -- extended link layer: AES-128-CTR ------------------------------------------------------------

_HOP_BITS = 0x12  # H and R of the communication control change at a repeater and are cleared


def ell_counter_block(address: bytes, communication_control: int, session_number: bytes) -> bytes:
    """The first counter block of the extended link layer.

    Octets   0..7    address of the sender (LLA), as on air
             8       communication control with H (10h) and R (02h) cleared
             9..12   session number, as on air
             13..14  frame number, 0
             15      block counter, 0
    Source   EN 13757-4 (extended link layer, clause to confirm); confirmed by meter frames
    Raises   OutOfRange
    """
    _need_address(address)
    if len(session_number) != 4:
        raise OutOfRange(f"a session number has 4 octets, got {len(session_number)}", field="session_number")
    return address + bytes((communication_control & 0xFF & ~_HOP_BITS,)) + session_number + b"\0\0\0"


def open_ell(cipher: BlockCipher, address: bytes, communication_control: int, session_number: bytes, data: bytes) -> bytes:
    """Decrypt behind the session number and check the payload CRC.

    Octets   data: 0..1 encrypted payload CRC (little endian when open), 2.. the rest of the frame.
             The answer is the rest without the CRC
    Source   as ``ell_counter_block``
    Raises   WrongKey (``key.mismatch.crc``), Truncated (``security.length``)
    """
    if len(data) < 2:
        raise Truncated("the payload CRC needs 2 octets", layer="security", offset=0, octets=data, code="security.length")
    opened = cipher.ctr(data, ell_counter_block(address, communication_control, session_number))
    rest = opened[2:]
    if crc16(rest) != opened[0] | opened[1] << 8:
        raise WrongKey("the payload CRC of the extended link layer differs: wrong key", code="key.mismatch.crc")
    return rest


def seal_ell(cipher: BlockCipher, address: bytes, communication_control: int, session_number: bytes, rest: bytes) -> bytes:
    """Encrypt the payload CRC and the rest of the frame. Raises OutOfRange."""
    checked = crc16(rest).to_bytes(2, "little") + rest
    return cipher.ctr(checked, ell_counter_block(address, communication_control, session_number))


# -- AFL: the MAC of a message ---------------------------------------------------------------------

#: [?] EN 13757-7 puts the key information field into the MAC input, the formula of OMS 5.0.1 does not
#: list it, no vector shows it. True follows EN; the other reading is named in the error, never accepted.
KEY_INFORMATION_IN_MAC: Final = True

_COMPUTED = ("none", "AES-CMAC-128")  # the algorithms of tables.AFL_ALGORITHMS that are computed here
_LENGTH_PRESENT, _COUNTER_PRESENT, _KEY_INFORMATION_PRESENT = 0x40, 0x20, 0x10


def afl_mac_length(message_control: int) -> int:
    """Octets of the MAC by the AT bits of the message control field.

    Source   EN 13757-7:2018, AFL message control field (clause to confirm)
    Raises   UnsupportedSecurity for GMAC and reserved codes
    """
    kind = message_control & 0x0F
    name = AFL_ALGORITHM_NAMES.get(kind, "reserved")
    if name not in _COMPUTED:
        raise UnsupportedSecurity(f"authentication type {kind} ({name}) is not checked", layer="afl")
    return AFL_ALGORITHMS[kind]


def _announced(value: int | None, size: int, name: str) -> bytes:
    """One field that the message control field announces."""
    if value is None:
        raise DecodeError(f"the message control field announces {name}, the AFL has none", layer="afl", code="afl.field_missing")
    if not 0 <= value < 1 << 8 * size:
        raise OutOfRange(f"{name} {value} does not fit {size} octets", field=name, value=value)
    return value.to_bytes(size, "little")


def afl_mac_input(
    message_control: int,
    message: bytes,
    *,
    key_information: int | None = None,
    counter: int | None = None,
    message_length: int | None = None,
    include_key_information: bool = KEY_INFORMATION_IN_MAC,
) -> bytes:
    """What the MAC of the AFL is computed over.

    Octets   0      message control field (MCL)
             2      key information, little endian       only if announced in MCL ([?], see the policy)
             4      message counter, little endian       only if announced in MCL
             2      message length, little endian        only if announced in MCL
             n      the reassembled message, encrypted, from the CI of the transport layer to the end
    Source   EN 13757-7:2018 and OMS Volume 2 5.0.1 (clauses to confirm); Annex N release E, N.2.3, N.3
    Raises   DecodeError (``afl.field_missing``) if an announced field is missing, OutOfRange
    """
    head = _octet(message_control, "message_control")
    if message_control & _KEY_INFORMATION_PRESENT and include_key_information:
        head += _announced(key_information, 2, "key information")
    if message_control & _COUNTER_PRESENT:
        head += _announced(counter, 4, "message counter")
    if message_control & _LENGTH_PRESENT:
        head += _announced(message_length, 2, "message length")
    return head + message


def afl_mac(
    cipher: BlockCipher,
    message_control: int,
    message: bytes,
    *,
    key_information: int | None = None,
    counter: int | None = None,
    message_length: int | None = None,
    include_key_information: bool = KEY_INFORMATION_IN_MAC,
) -> bytes:
    """The MAC of a message under Kmac (uplink) or Lmac (downlink), cut to the length of its AT.

    Octets   as ``afl_mac_input``; the MAC is sent most significant octet first
    Raises   UnsupportedSecurity, DecodeError (``afl.field_missing``), OutOfRange
    """
    length = afl_mac_length(message_control)
    data = afl_mac_input(
        message_control,
        message,
        key_information=key_information,
        counter=counter,
        message_length=message_length,
        include_key_information=include_key_information,
    )
    return cipher.cmac(data)[:length]


def check_afl_mac(
    cipher: BlockCipher,
    mac: bytes,
    message_control: int,
    message: bytes,
    *,
    key_information: int | None = None,
    counter: int | None = None,
    message_length: int | None = None,
    include_key_information: bool = KEY_INFORMATION_IN_MAC,
) -> None:
    """Compare the MAC of a received message in constant time.

    Raises   AuthenticationFailed (``key.mismatch.mac``), also if the MAC is absent or of another
             length than announced; UnsupportedSecurity; DecodeError (``afl.field_missing``)
    """
    length = afl_mac_length(message_control)
    if not length or len(mac) != length:
        raise AuthenticationFailed(f"a MAC of {length} octets is announced, {len(mac)} are there", layer="afl")
    policies = (include_key_information, not include_key_information)
    for policy in policies if message_control & _KEY_INFORMATION_PRESENT and key_information is not None else policies[:1]:
        data = afl_mac_input(
            message_control,
            message,
            key_information=key_information,
            counter=counter,
            message_length=message_length,
            include_key_information=policy,
        )
        if same(cipher.cmac(data)[:length], mac):
            if policy == include_key_information:
                return
            hint = "; it would match under the other reading of the key information field"
            break
    else:
        hint = ""
    raise AuthenticationFailed(f"the MAC of the message differs: wrong key or changed message{hint}", layer="afl")
