"""DES-CBC of security mode 2: an 8-octet key, an initialisation vector of zeros.

DES is broken; it is here to read meters from before 2010 that still send it. The library
keeps single DES only as triple DES with three equal keys, in its decrepit part, which is
loaded when the first such key is used.
Source: EN 13757-3, security mode 2 (clause to confirm, [K]).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from openmetering.errors import InputError, OutOfRange, Truncated

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers import Cipher
    from cryptography.hazmat.primitives.ciphers.modes import CBC

__all__ = ["DES_BLOCK", "DesCipher"]

DES_BLOCK = 8  #: octets of a DES block, and of a DES key with its parity bits
_ZERO_IV = bytes(DES_BLOCK)


class DesCipher:
    """One 8-octet DES key. The key shows in no representation and cannot be pickled.

    Raises InputError (``key.invalid``) if the key has not 8 octets.
    """

    __slots__ = ("_key",)

    _key: bytes

    def __init__(self, key: bytes) -> None:
        if len(key) != DES_BLOCK:
            raise InputError(f"a DES key has 8 octets, got {len(key)}", code="key.invalid", layer="security")
        self._key = bytes(key)

    def __repr__(self) -> str:
        return "<DesCipher DES>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a cipher holds a key and cannot be pickled")

    def cbc_decrypt(self, ciphertext: bytes, iv: bytes = _ZERO_IV) -> bytes:
        """Decrypt DES-CBC.

        Octets   ciphertext n * 8, iv 8
        Raises   Truncated (``security.length``) if the ciphertext is no multiple of 8,
                 OutOfRange if the iv has not 8 octets
        """
        if len(ciphertext) % DES_BLOCK:
            raise Truncated(
                f"the ciphertext has {len(ciphertext)} octets, no multiple of 8",
                layer="security",
                offset=len(ciphertext) & ~7,
                octets=ciphertext,
                code="security.length",
            )
        return self._cipher(iv).decryptor().update(ciphertext)

    def cbc_encrypt(self, plaintext: bytes, iv: bytes = _ZERO_IV) -> bytes:
        """Encrypt DES-CBC; the plaintext fills whole blocks of 8 octets. Raises OutOfRange."""
        if len(plaintext) % DES_BLOCK:
            raise OutOfRange(f"DES-CBC needs whole blocks of 8 octets, got {len(plaintext)}", field="plaintext")
        return self._cipher(iv).encryptor().update(plaintext)

    def _cipher(self, iv: bytes) -> Cipher[CBC]:
        from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
        from cryptography.hazmat.primitives.ciphers import Cipher, modes

        if len(iv) != DES_BLOCK:
            raise OutOfRange(f"the initialisation vector of DES has 8 octets, got {len(iv)}", field="iv", value=len(iv))
        return Cipher(TripleDES(self._key * 3), modes.CBC(iv))
