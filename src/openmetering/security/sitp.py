"""The cryptography of the security information transfer protocol (SITP).

ASP01 wraps keys and their activation (KWP), ASP03 proves a firmware image, ASP10
proves an end-to-end command. The blocks themselves are laid out in ``codec``.
Application keys are used directly, without derivation.
Source: OMS Volume 2 Annex F release C 1.1.1, Annex M release C; RFC 5649; EN 13757-7:2018.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from openmetering.errors import AuthenticationFailed, DecodeError, OutOfRange
from openmetering.security.aes import BLOCK, same

if TYPE_CHECKING:
    from openmetering.security.aes import BlockCipher

__all__ = [
    "asp01_unwrap",
    "asp01_wrap",
    "asp03_mac",
    "asp10_mac",
    "check_asp03",
    "check_asp10",
    "clear_unwrap",
    "clear_wrap",
    "renewed_master_key",
]

ALTERNATIVE_IV = b"\xa6\x59\x59\xa6"  # the constant of RFC 5649, first half of its AIV
_HEADER = 8  # octets of constant and length
_MAC_LENGTHS = (8, 16)  # DSI 32 (ASP10) and DSI 33


def asp01_wrap(wrapper: BlockCipher, structure: bytes) -> bytes:
    """Wrap a key or activation structure under a wrapper key.

    Octets   DSI 01: 23 in, 32 out. DSI 03: 10 in, 24 out. DSI 02: 7 in, 16 out
    Source   RFC 5649; OMS Volume 2 Annex F, F.E.1 and F.E.3
    Raises   OutOfRange if there is nothing to wrap
    """
    return wrapper.wrap(structure)


def asp01_unwrap(wrapper: BlockCipher, wrapped: bytes) -> bytes:
    """Unwrap a structure. Raises WrongKey (``key.mismatch.wrap``) for another key, length or changed octets."""
    return wrapper.unwrap(wrapped)


def clear_wrap(structure: bytes) -> bytes:
    """The layout of a wrapped structure without encryption, for DSH FF FF inside TLS.

    Octets   0..3    A6 59 59 A6
             4..7    length of the structure, big endian
             8..     the structure, zero octets up to a multiple of 8
    Source   OMS Volume 2 Annex F release C, Table F.E.1
    Raises   OutOfRange if the structure is empty
    """
    if not structure:
        raise OutOfRange("there is no structure to lay out", field="structure", value=0)
    return ALTERNATIVE_IV + len(structure).to_bytes(4, "big") + structure + bytes(-len(structure) % 8)


def clear_unwrap(octets: bytes) -> bytes:
    """Read a structure that is laid out as wrapped but is not encrypted.

    Octets   as ``clear_wrap``
    Source   as ``clear_wrap``
    Raises   DecodeError (``sitp.layout``) if constant, length or padding do not agree
    """
    length = int.from_bytes(octets[4:_HEADER], "big")
    padding = octets[_HEADER + length :]
    checks = (
        (octets[:4] == ALTERNATIVE_IV, 0, "the constant A6 59 59 A6 is missing"),
        (length > 0 and len(octets) == _HEADER + length + -length % 8, 4, "the length does not fit the octets"),
        (not any(padding), _HEADER + length, "the padding is not zero"),
    )
    for right, offset, reason in checks:
        if not right:
            raise DecodeError(
                f"unwrapped security information: {reason}", layer="sitp", offset=offset, octets=octets, code="sitp.layout"
            )
    return octets[_HEADER : _HEADER + length]


def asp03_mac(cipher: BlockCipher, image: bytes) -> bytes:
    """The proof of a firmware image: the full AES-CMAC, 16 octets, under KeyID 18h.

    Source   OMS Volume 2 5.0.1 Table 47 (ASP03)
    """
    return cipher.cmac(image)


def check_asp03(cipher: BlockCipher, mac: bytes, image: bytes) -> None:
    """Compare the proof of an image in constant time. Raises AuthenticationFailed (``key.mismatch.mac``)."""
    if len(mac) != BLOCK or not same(asp03_mac(cipher, image), mac):
        raise AuthenticationFailed("the MAC of the image differs", layer="sitp")


def asp10_mac(cipher: BlockCipher, key_counter: int, target_time: bytes, pid: int, apdu: bytes, *, length: int = 8) -> bytes:
    """The MAC of an end-to-end command.

    Octets   0..3    key counter, little endian
             4..8    target time, data type M as on air
             9       protocol identifier (PID)
             10..    APDU
             The block header (BL, BID, BCF, recipient, DSI, DSH) is not covered.
    Length   8 for DSI 32 (ASP10); 16 for DSI 33 ([K]); sent most significant octet first
    Source   OMS Volume 2 Annex N release E, N.12.2 (octets covered found from the example)
    Raises   OutOfRange
    """
    if length not in _MAC_LENGTHS:
        raise OutOfRange(f"a MAC of {length} octets is not defined here, 8 or 16 are", field="length", value=length)
    if len(target_time) != 5:
        raise OutOfRange(f"a target time has 5 octets, got {len(target_time)}", field="target_time", value=len(target_time))
    if not 0 <= key_counter <= 0xFFFFFFFF or not 0 <= pid <= 0xFF:
        raise OutOfRange("key counter or PID out of range", field="key_counter", value=key_counter)
    return cipher.cmac(key_counter.to_bytes(4, "little") + target_time + bytes((pid,)) + apdu)[:length]


def check_asp10(cipher: BlockCipher, mac: bytes, *, key_counter: int, target_time: bytes, pid: int, apdu: bytes) -> None:
    """Compare the MAC of a command in constant time; its length says whether DSI 32 or 33 is meant.

    Raises   AuthenticationFailed (``key.mismatch.mac``), also for any other length; OutOfRange
    """
    if len(mac) not in _MAC_LENGTHS:
        raise AuthenticationFailed(f"a MAC of {len(mac)} octets is not defined, 8 or 16 are", layer="sitp")
    if not same(asp10_mac(cipher, key_counter, target_time, pid, apdu, length=len(mac)), mac):
        raise AuthenticationFailed("the MAC of the command differs: wrong key or changed command", layer="sitp")


def renewed_master_key(master: BlockCipher, z1: bytes) -> bytes:
    """The master key after its renewal inside TLS: AES-CMAC of z1 under the old one.

    Octets   z1 16 random octets, answer 16
    Source   OMS Volume 2 Annex F release C, F.4.2
    Raises   OutOfRange if z1 has not 16 octets
    """
    if len(z1) != BLOCK:
        raise OutOfRange(f"z1 has 16 octets, got {len(z1)}", field="z1", value=len(z1))
    return master.cmac(z1)
