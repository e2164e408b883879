"""AES-128 as the meters use it: one long-lived ECB context per key, the modes by xor.

A context of ``cryptography`` costs about ten times a short message, so a key makes its
encryptor and its decryptor once. CBC decryption is one ECB call and one xor of integers,
CTR one ECB call over the counter blocks, CMAC of one block (key derivation) one ECB call
with a cached subkey. Longer CMACs and long CBC encryptions are chains, where the
library's own mode is faster; short ones stay here. CCM, GCM and key wrap are the library's.

Source: NIST SP 800-38A (ECB, CBC, CTR), 38B (CMAC), 38C (CCM), 38D (GCM), 38F (KWP).
Contexts are not shared between threads. Byte order: most significant octet first.
"""

from __future__ import annotations

import hmac
from functools import cache
from typing import TYPE_CHECKING, NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import keywrap
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESCCM
from cryptography.hazmat.primitives.cmac import CMAC

from openmetering.errors import AuthenticationFailed, InputError, OutOfRange, Truncated, WrongKey

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["BLOCK", "BlockCipher", "same"]

BLOCK = 16  #: octets of an AES block, and of an AES-128 key
ZERO_IV = bytes(BLOCK)
GCM_TAG = 12  #: octets of the tag of security mode 9
GCM_NONCE = 12
CCM_NONCE = 13  #: octets of the nonce of security mode 10
_CCM_TAGS = (4, 6, 8, 10, 12, 14, 16)
_CCM_LONGEST = 0xFFFF

_ECB = modes.ECB()
_WRAP = 1 << 128
_CHAIN_CMAC = 32  # longest message (octets) for which the own chain beats the library's CMAC
_CHAIN_CBC = 80  # the same for CBC encryption
_SUBKEY_POLYNOMIAL = 0x87


def same(first: bytes, second: bytes) -> bool:
    """Compare two MACs, tags or keys in constant time."""
    return hmac.compare_digest(first, second)


@cache
def _ones(count: int) -> int:
    """A number that repeats what it multiplies once per block."""
    return sum(1 << 128 * position for position in range(count))


def _doubled(value: int) -> int:
    """Multiply by x in GF(2^128), as NIST SP 800-38B makes its subkeys."""
    value <<= 1
    return value ^ (_WRAP | _SUBKEY_POLYNOMIAL) if value & _WRAP else value


class BlockCipher:
    """The contexts of one 16-octet AES key, made when first needed and kept.

    ``encrypt_blocks`` and ``decrypt_blocks`` are the bound methods of the ECB contexts
    for the hot path: whole blocks of 16 octets only, because the context would keep
    the rest of a broken block for the next call. Everything else checks its input.

    The key shows in no representation, cannot be pickled and has no public name.
    Raises InputError (``key.invalid``) if the key has not 16 octets.
    """

    __slots__ = ("_key", "_subkeys", "decrypt_blocks", "encrypt_blocks")

    _key: bytes
    _subkeys: tuple[int, int]
    encrypt_blocks: Callable[[bytes], bytes]
    decrypt_blocks: Callable[[bytes], bytes]

    def __init__(self, key: bytes) -> None:
        if len(key) != BLOCK:
            raise InputError(f"an AES-128 key has 16 octets, got {len(key)}", code="key.invalid", layer="security")
        self._key = bytes(key)

    def __getattr__(self, name: str) -> object:
        """Called by Python only while the slot is empty: make the context and keep it."""
        maker = _MAKERS.get(name)
        if maker is None:
            raise AttributeError(f"BlockCipher has no attribute {name!r}")
        made = maker(self)
        setattr(self, name, made)
        return made

    def __repr__(self) -> str:
        return "<BlockCipher AES-128>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a cipher holds a key and cannot be pickled")

    # -- CBC ------------------------------------------------------------------------------

    def cbc_decrypt(self, ciphertext: bytes, iv: bytes = ZERO_IV) -> bytes:
        """Decrypt CBC: one ECB call, one xor.

        Octets   ciphertext n * 16, iv 16
        Source   NIST SP 800-38A 6.2
        Raises   Truncated (``security.length``) if the ciphertext is no multiple of 16,
                 OutOfRange if the iv has not 16 octets
        """
        length = len(ciphertext)
        if length & 15 or len(iv) != BLOCK:
            _refuse_cbc(ciphertext, iv)
        chained = int.from_bytes((iv + ciphertext)[:length], "big")
        return (int.from_bytes(self.decrypt_blocks(ciphertext), "big") ^ chained).to_bytes(length, "big")

    def cbc_encrypt(self, plaintext: bytes, iv: bytes = ZERO_IV) -> bytes:
        """Encrypt CBC.

        Octets   plaintext n * 16 (fill before), iv 16
        Source   NIST SP 800-38A 6.2
        Raises   OutOfRange if the plaintext is no multiple of 16 or the iv has not 16 octets
        """
        length = len(plaintext)
        if length & 15:
            raise OutOfRange(f"CBC needs whole blocks of 16 octets, got {length}", field="plaintext", value=length)
        if len(iv) != BLOCK:
            _refuse_cbc(b"", iv)
        if length > _CHAIN_CBC:
            return Cipher(algorithms.AES(self._key), modes.CBC(iv)).encryptor().update(plaintext)
        encrypt = self.encrypt_blocks
        last = iv
        out = []
        for offset in range(0, length, BLOCK):
            mixed = int.from_bytes(last, "big") ^ int.from_bytes(plaintext[offset : offset + BLOCK], "big")
            last = encrypt(mixed.to_bytes(BLOCK, "big"))
            out.append(last)
        return b"".join(out)

    # -- CTR ------------------------------------------------------------------------------

    def ctr(self, data: bytes, counter_block: bytes) -> bytes:
        """Encrypt or decrypt CTR (the same operation).

        Octets   data any length; counter_block 16, incremented as one big-endian integer
        Source   NIST SP 800-38A 6.5
        Raises   OutOfRange if the counter block has not 16 octets
        """
        if len(counter_block) != BLOCK:
            raise OutOfRange(f"a counter block has 16 octets, got {len(counter_block)}", field="counter_block")
        length = len(data)
        first = int.from_bytes(counter_block, "big")
        blocks = [((first + i) % _WRAP).to_bytes(BLOCK, "big") for i in range((length + 15) >> 4)]
        stream = self.encrypt_blocks(b"".join(blocks))
        return (int.from_bytes(data, "big") ^ int.from_bytes(stream[:length], "big")).to_bytes(length, "big")

    # -- CMAC -----------------------------------------------------------------------------

    def cmac(self, data: bytes) -> bytes:
        """The full AES-CMAC of the data, 16 octets.

        Source   NIST SP 800-38B 6.2; RFC 4493
        """
        length = len(data)
        if length == BLOCK:
            return self.encrypt_blocks((int.from_bytes(data, "big") ^ self._subkeys[0]).to_bytes(BLOCK, "big"))
        if length > _CHAIN_CMAC or not self._has_encryptor():
            mac = CMAC(algorithms.AES(self._key))
            mac.update(data)
            return mac.finalize()
        return self._cmac_chain(data)

    def cmac_each(self, blocks: bytes) -> bytes:
        """The CMACs of independent messages of one block each: one ECB call for all.

        Octets   blocks n * 16, answer n * 16 in the same order
        Raises   OutOfRange if the input is no multiple of 16
        """
        length = len(blocks)
        if length & 15:
            raise OutOfRange(f"messages of one block have 16 octets each, got {length}", field="blocks", value=length)
        mask = self._subkeys[0] * _ones(length >> 4)
        return self.encrypt_blocks((int.from_bytes(blocks, "big") ^ mask).to_bytes(length, "big"))

    def _has_encryptor(self) -> bool:
        """True once the ECB context exists; a key of one message is cheaper without it."""
        try:
            object.__getattribute__(self, "encrypt_blocks")
        except AttributeError:
            return False
        return True

    def _cmac_chain(self, data: bytes) -> bytes:
        """CMAC of any length from the kept context."""
        whole, padded = self._subkeys
        encrypt = self.encrypt_blocks
        final = max(len(data) - 1, 0) & ~15  # offset of the last block, complete or not
        chain = 0
        for offset in range(0, final, BLOCK):
            mixed = chain ^ int.from_bytes(data[offset : offset + BLOCK], "big")
            chain = int.from_bytes(encrypt(mixed.to_bytes(BLOCK, "big")), "big")
        last = data[final:]
        if len(last) == BLOCK:
            mixed = chain ^ whole ^ int.from_bytes(last, "big")
        else:
            mixed = chain ^ padded ^ int.from_bytes((last + b"\x80").ljust(BLOCK, b"\0"), "big")
        return encrypt(mixed.to_bytes(BLOCK, "big"))

    # -- CCM and GCM ----------------------------------------------------------------------

    def ccm_open(self, nonce: bytes, data_with_tag: bytes, aad: bytes, tag_length: int = 8) -> bytes:
        """Decrypt CCM and check its tag.

        Octets   nonce 13, data then tag (tag_length octets, most significant first)
        Source   NIST SP 800-38C; security mode 10
        Raises   AuthenticationFailed (``key.mismatch.tag``), Truncated (``security.length``),
                 OutOfRange for a nonce or tag length that CCM does not have
        """
        _need_tag(data_with_tag, tag_length)
        _check_ccm(nonce, len(data_with_tag) - tag_length, tag_length)
        try:
            return AESCCM(self._key, tag_length).decrypt(nonce, data_with_tag, aad)
        except InvalidTag:
            raise AuthenticationFailed("the CCM tag differs: wrong key or changed message", code="key.mismatch.tag") from None

    def ccm_seal(self, nonce: bytes, plaintext: bytes, aad: bytes, tag_length: int = 8) -> bytes:
        """Encrypt CCM; the tag stands at the end. Raises OutOfRange."""
        _check_ccm(nonce, len(plaintext), tag_length)
        return AESCCM(self._key, tag_length).encrypt(nonce, plaintext, aad)

    def gcm_open(self, nonce: bytes, data_with_tag: bytes, aad: bytes) -> bytes:
        """Decrypt GCM and check its tag of 12 octets.

        Octets   nonce 12, data then tag (12)
        Source   NIST SP 800-38D; security mode 9 of the Dutch P2 companion standard
        Raises   AuthenticationFailed (``key.mismatch.tag``), Truncated (``security.length``), OutOfRange
        """
        _need_tag(data_with_tag, GCM_TAG)
        data, tag = data_with_tag[:-GCM_TAG], data_with_tag[-GCM_TAG:]
        context = Cipher(algorithms.AES(self._key), modes.GCM(_gcm_nonce(nonce), tag, GCM_TAG)).decryptor()
        context.authenticate_additional_data(aad)
        plaintext = context.update(data)
        try:
            context.finalize()
        except InvalidTag:
            raise AuthenticationFailed("the GCM tag differs: wrong key or changed message", code="key.mismatch.tag") from None
        return plaintext

    def gcm_seal(self, nonce: bytes, plaintext: bytes, aad: bytes) -> bytes:
        """Encrypt GCM; a tag of 12 octets stands at the end. Raises OutOfRange."""
        context = Cipher(algorithms.AES(self._key), modes.GCM(_gcm_nonce(nonce))).encryptor()
        context.authenticate_additional_data(aad)
        ciphertext = context.update(plaintext) + context.finalize()
        return ciphertext + context.tag[:GCM_TAG]

    # -- key wrap -------------------------------------------------------------------------

    def wrap(self, data: bytes) -> bytes:
        """Wrap data with padding (KWP).

        Octets   n in, 8 + n rounded up to a multiple of 8 out
        Source   RFC 5649; NIST SP 800-38F 6.3
        Raises   OutOfRange if there is nothing to wrap
        """
        if not data:
            raise OutOfRange("key wrap needs at least one octet", field="data", value=0)
        return keywrap.aes_key_wrap_with_padding(self._key, data)

    def unwrap(self, wrapped: bytes) -> bytes:
        """Unwrap data that was wrapped with padding. Raises WrongKey (``key.mismatch.wrap``)."""
        try:
            return keywrap.aes_key_unwrap_with_padding(self._key, wrapped)
        except (keywrap.InvalidUnwrap, ValueError):
            raise WrongKey("the wrapper key does not open the wrapped data", code="key.mismatch.wrap") from None


def _subkeys(cipher: BlockCipher) -> tuple[int, int]:
    """K1 and K2 of NIST SP 800-38B 6.1 as integers."""
    first = _doubled(int.from_bytes(cipher.encrypt_blocks(ZERO_IV), "big"))
    return first, _doubled(first)


def _encryptor(cipher: BlockCipher) -> Callable[[bytes], bytes]:
    return Cipher(algorithms.AES(cipher._key), _ECB).encryptor().update


def _decryptor(cipher: BlockCipher) -> Callable[[bytes], bytes]:
    return Cipher(algorithms.AES(cipher._key), _ECB).decryptor().update


_MAKERS: dict[str, Callable[[BlockCipher], object]] = {
    "encrypt_blocks": _encryptor,
    "decrypt_blocks": _decryptor,
    "_subkeys": _subkeys,
}


def _refuse_cbc(ciphertext: bytes, iv: bytes) -> NoReturn:
    """Name what is wrong with the input of CBC."""
    if len(iv) != BLOCK:
        raise OutOfRange(f"an initialisation vector has 16 octets, got {len(iv)}", field="iv", value=len(iv))
    whole = len(ciphertext) & ~15
    raise Truncated(
        f"the ciphertext has {len(ciphertext)} octets, no multiple of 16",
        layer="security",
        offset=whole,
        octets=ciphertext,
        code="security.length",
    )


def _need_tag(data_with_tag: bytes, tag_length: int) -> None:
    if len(data_with_tag) < tag_length:
        raise Truncated(
            f"{len(data_with_tag)} octets are left for a tag of {tag_length}",
            layer="security",
            offset=0,
            octets=data_with_tag,
            code="security.length",
        )


def _check_ccm(nonce: bytes, length: int, tag_length: int) -> None:
    """A nonce of 13 octets leaves 16 bits for the length of the data (NIST SP 800-38C, Appendix A)."""
    fits = (
        ("nonce", len(nonce), len(nonce) == CCM_NONCE),
        ("tag", tag_length, tag_length in _CCM_TAGS),
        ("data", length, length <= _CCM_LONGEST),
    )
    for field, value, right in fits:
        if not right:
            raise OutOfRange(f"CCM cannot work with a {field} of {value} octets here", field=field, value=value)


def _gcm_nonce(nonce: bytes) -> bytes:
    if len(nonce) != GCM_NONCE:
        raise OutOfRange(f"a GCM nonce has 12 octets, got {len(nonce)}", field="nonce", value=len(nonce))
    return nonce
