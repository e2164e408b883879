"""Session keys from a persistent key: security modes 7 and 10, and the CMAC of profile C.

One message needs one or two keys, each the CMAC of a single block under the long-lived
key of the device, so both come out of one ECB call.
Source: OMS Volume 2 5.0.1 clause 9 (key derivation, clause to confirm); EN 13757-7:2018.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from openmetering.errors import OutOfRange
from openmetering.security.aes import BlockCipher

if TYPE_CHECKING:
    from typing import Final

__all__ = ["DOWNLINK_ENCRYPTION", "DOWNLINK_MAC", "UPLINK_ENCRYPTION", "UPLINK_MAC", "SessionKeys", "derive", "session_keys"]

UPLINK_ENCRYPTION: Final = 0x00  #: derivation constant of Kenc: encryption from the device
UPLINK_MAC: Final = 0x01  #: Kmac: MAC from the device
DOWNLINK_ENCRYPTION: Final = 0x10  #: Lenc: encryption from the gateway
DOWNLINK_MAC: Final = 0x11  #: Lmac: MAC from the gateway

_PADDING = b"\x07" * 7
_pack = struct.Struct("<BI4s7s").pack
_pack_both = struct.Struct("<BI4s7sBI4s7s").pack


class SessionKeys(NamedTuple):
    """The two keys of one message."""

    encryption: BlockCipher
    authentication: BlockCipher


def _refuse(counter: int, identification: bytes) -> NoReturn:
    if len(identification) != 4:
        raise OutOfRange(f"an identification number has 4 octets, got {len(identification)}", field="identification")
    raise OutOfRange("derivation constant or message counter out of range", field="counter", value=counter)


def derive(cipher: BlockCipher, constant: int, counter: int, identification: bytes) -> bytes:
    """Derive one session key of 16 octets.

    Octets   0       derivation constant     00 Kenc, 01 Kmac, 10 Lenc, 11 Lmac
             1..4    message counter         little endian
             5..8    identification number   of the device, as on air, in both directions
             9..15   07h
             The key is the AES-CMAC of these 16 octets.
    Source   OMS Volume 2 5.0.1 clause 9 (clause to confirm); Annex N release E, N.2.3 and N.12
    Units    none
    Raises   OutOfRange
    """
    if len(identification) != 4 or not 0 <= counter <= 0xFFFFFFFF or not 0 <= constant <= 0xFF:
        _refuse(counter, identification)
    return cipher.cmac(_pack(constant, counter, identification, _PADDING))


def session_keys(cipher: BlockCipher, counter: int, identification: bytes, *, downlink: bool = False) -> SessionKeys:
    """Both keys of one message: Kenc and Kmac, for the downlink Lenc and Lmac.

    Source   as ``derive``
    Raises   OutOfRange
    """
    if len(identification) != 4 or not 0 <= counter <= 0xFFFFFFFF:
        _refuse(counter, identification)
    first, second = (DOWNLINK_ENCRYPTION, DOWNLINK_MAC) if downlink else (UPLINK_ENCRYPTION, UPLINK_MAC)
    keys = cipher.cmac_each(_pack_both(first, counter, identification, _PADDING, second, counter, identification, _PADDING))
    return SessionKeys(BlockCipher(keys[:16]), BlockCipher(keys[16:]))
