"""Keys and the ring that finds them: by address pattern, KeyID and KeyVersion.

Source: OMS Volume 2 5.0.1 clause 9 and Table 45 (KeyIDs). Key octets leave a ``Key``
only through ``octets`` and ``KeyRing.to_rows``: never through a representation, an error or a pickle.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NoReturn

from openmetering.errors import InputError, KeyNotFound, OutOfRange
from openmetering.security.aes import BLOCK, BlockCipher, same
from openmetering.security.des import DES_BLOCK, DesCipher
from openmetering.security.patterns import AddressPattern, address_text
from openmetering.tables import KEY_IDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Final

__all__ = ["ROW_COLUMNS", "AddressPattern", "Key", "KeyRing", "key_purpose", "parse_key"]

ROW_COLUMNS: Final = ("address", "key", "key_id", "version", "label")

_NO_VERSION = 0xFF  # KeyVersion FFh means unused or any, it is never a real version
_CACHE_LIMIT = 16_384


def key_purpose(key_id: int | None) -> str:
    """What a KeyID is for, the group of ``tables.KEY_IDS``: communication (00..0F), wrapper (10..17),
    application (18..2F), manufacturer, asymmetric or reserved; ``any`` for None.

    Source   OMS Volume 2 5.0.1 Table 45; Annex F Table F.A.6
    Raises   OutOfRange if the KeyID is no octet
    """
    if key_id is None:
        return "any"
    if not 0 <= key_id <= 0xFF:
        raise OutOfRange(f"a KeyID is an octet, got {key_id}", field="key_id", value=key_id)
    return KEY_IDS[key_id].group


def parse_key(text: str) -> bytes:
    """Read a key written in hexadecimal: 32 digits (AES) or 16 (DES), blanks, colons and 0x allowed.

    Raises InputError (``key.invalid``); the message never repeats the text.
    """
    digits = "".join(text.split()).replace(":", "").replace("-", "").removeprefix("0x")
    try:
        octets = bytes.fromhex(digits)
    except ValueError:
        octets = None
    if octets is None or len(octets) not in (BLOCK, DES_BLOCK):
        kind = "other characters" if octets is None and digits.strip("0123456789abcdefABCDEF") else f"{len(digits)} digits"
        raise InputError(f"a key is 32 hexadecimal digits (16 for DES), got {kind}", code="key.invalid", layer="security")
    return octets


class Key:
    """One key with its KeyID and KeyVersion. Frozen; the octets show in no representation.

    ``cipher`` and ``des`` are made when first needed and kept for life, so that their
    contexts are kept too. ``key_id`` None fits every KeyID.

    Raises InputError (``key.invalid``) for a key of neither 16 nor 8 octets and for numbers that are no octets.
    """

    __slots__ = ("cipher", "des", "fingerprint", "key_id", "label", "octets", "version")

    octets: bytes
    key_id: int | None
    version: int | None
    label: str | None
    fingerprint: str
    cipher: BlockCipher
    des: DesCipher

    def __init__(self, octets: bytes, key_id: int | None = 0, version: int | None = None, label: str | None = None) -> None:
        if len(octets) not in (BLOCK, DES_BLOCK):
            raise InputError(f"a key has 16 octets (8 for DES), got {len(octets)}", code="key.invalid", layer="security")
        for name, value in (("KeyID", key_id), ("KeyVersion", version)):
            if value is not None and not 0 <= value <= 0xFF:
                raise InputError(f"a {name} is an octet, got {value}", code="key.invalid", layer="security")
        keep = object.__setattr__
        keep(self, "octets", bytes(octets))
        keep(self, "key_id", key_id)
        keep(self, "version", None if version == _NO_VERSION else version)
        keep(self, "label", label)
        keep(self, "fingerprint", hashlib.sha256(octets).hexdigest()[:8])

    def __getattr__(self, name: str) -> BlockCipher | DesCipher:
        """Called by Python only while a slot is empty: make the cipher and keep it."""
        maker = _CIPHERS.get(name)
        if maker is None:
            raise AttributeError(f"Key has no attribute {name!r}")
        made = maker(self.octets)
        object.__setattr__(self, name, made)
        return made

    @property
    def purpose(self) -> str:
        """What the KeyID is for, see ``key_purpose``."""
        return key_purpose(self.key_id)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("a key is frozen")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("a key is frozen")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Key):
            return NotImplemented
        return self.key_id == other.key_id and self.version == other.version and same(self.octets, other.octets)

    def __hash__(self) -> int:
        return hash((self.fingerprint, self.key_id, self.version))

    def __repr__(self) -> str:
        key_id = "*" if self.key_id is None else f"{self.key_id:02X}"
        version = "*" if self.version is None else f"{self.version:02X}"
        return f"<Key {self.fingerprint} id={key_id} version={version}>"

    def __copy__(self) -> Key:
        return self

    def __deepcopy__(self, memo: object) -> Key:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a key cannot be pickled; KeyRing.to_rows writes keys deliberately")


_CIPHERS: dict[str, Callable[[bytes], BlockCipher | DesCipher]] = {"cipher": BlockCipher, "des": DesCipher}

_Ranked = tuple[int, Key]  # order of adding, key


class KeyRing:
    """Keys of many devices.

    Adapter and meter may both have keys: ask for the address of the meter (ALA) first,
    then for that of the sender (LLA). Patterns are indexed by their mask, so a search costs
    a look-up per different mask, and its answer is kept until a key is added.
    """

    __slots__ = ("_cache", "_entries", "_index", "_known")

    def __init__(self) -> None:
        self._entries: list[tuple[AddressPattern, Key]] = []
        self._known: dict[tuple[AddressPattern, Key], Key] = {}
        self._index: dict[int, dict[int, list[_Ranked]]] = {}
        self._cache: dict[tuple[bytes, int | None, int | None, int], tuple[Key, ...]] = {}

    @classmethod
    def single(cls, key: bytes | str) -> KeyRing:
        """A ring with the same key for every device and every KeyID."""
        ring = cls()
        ring.add(AddressPattern.everything(), key, key_id=None)
        return ring

    def add(
        self,
        pattern: AddressPattern | str | bytes,
        key: bytes | str,
        key_id: int | None = 0,
        version: int | None = None,
        label: str | None = None,
    ) -> Key:
        """Add a key and return it; the very same entry is added only once.

        ``pattern`` is a pattern, its text or one address of eight octets; ``key`` octets or hexadecimal
        digits; ``key_id`` None counts for every KeyID; ``version`` None (or FFh) for every KeyVersion.
        Raises InputError (``key.invalid``, ``address.invalid``), OutOfRange
        """
        if isinstance(pattern, str):
            pattern = AddressPattern.parse(pattern)
        elif isinstance(pattern, bytes):
            pattern = AddressPattern.exact(pattern)
        made = Key(parse_key(key) if isinstance(key, str) else key, key_id, version, label)
        known = self._known.setdefault((pattern, made), made)
        if known is made:
            mask, number = int.from_bytes(pattern.mask, "big"), int.from_bytes(pattern.octets, "big")
            self._index.setdefault(mask, {}).setdefault(number, []).append((len(self._entries), made))
            self._entries.append((pattern, made))
            self._cache.clear()
        return known

    def find(self, address: bytes, *, key_id: int | None = 0, version: int | None = None, size: int = BLOCK) -> tuple[Key, ...]:
        """All keys to try for an address of eight octets in link-layer order, the best first.

        Order: most specific pattern; exact version before unversioned (without a version asked:
        unversioned, then the highest); exact KeyID before any; last added. Equal octets once.
        ``size`` 16 for AES, 8 for the DES keys of mode 2; ``key_id`` None asks for every KeyID.
        Raises OutOfRange if the address has not eight octets
        """
        wanted = (address, key_id, version, size)
        found = self._cache.get(wanted)
        if found is None:
            if len(self._cache) >= _CACHE_LIMIT:
                self._cache.clear()
            found = self._cache[wanted] = self._search(address, key_id, None if version == _NO_VERSION else version, size)
        return found

    def require(
        self, address: bytes, *, key_id: int | None = 0, version: int | None = None, size: int = BLOCK
    ) -> tuple[Key, ...]:
        """Like ``find``, but at least one. Raises KeyNotFound (``key.missing``)."""
        found = self.find(address, key_id=key_id, version=version, size=size)
        if not found:
            named = address_text(address)
            asked = "" if key_id is None else f" with KeyID {key_id:02X}h"
            asked += "" if version is None else f" and KeyVersion {version:02X}h"
            raise KeyNotFound(f"no key for {named}{asked}", address=named)
        return found

    def _search(self, address: bytes, key_id: int | None, version: int | None, size: int) -> tuple[Key, ...]:
        if len(address) != 8:
            raise OutOfRange(f"an address has 8 octets, got {len(address)}", field="address", value=len(address))
        number = int.from_bytes(address, "big")
        ranked = []
        for mask, table in self._index.items():
            for order, key in table.get(number & mask, ()):
                fits = key_id is None or key.key_id is None or key.key_id == key_id
                if fits and len(key.octets) == size and (version is None or key.version in (version, None)):
                    age = -1 if key.version is None else key.version
                    rank = (-mask.bit_count(), key.version != version, -age, key.key_id is None, -order)
                    ranked.append((rank, key))
        ranked.sort(key=lambda pair: pair[0])
        best: dict[bytes, Key] = {}
        for _, key in ranked:
            best.setdefault(key.octets, key)
        return tuple(best.values())

    # -- files ----------------------------------------------------------------------------

    def to_rows(self) -> list[tuple[str, str, str, str, str]]:
        """The rows of a key file, columns ``ROW_COLUMNS``. These rows hold the keys."""
        return [
            (
                pattern.text,
                key.octets.hex().upper(),
                "*" if key.key_id is None else f"0x{key.key_id:02X}",
                "" if key.version is None else f"0x{key.version:02X}",
                key.label or "",
            )
            for pattern, key in self._entries
        ]

    @classmethod
    def from_rows(cls, rows: Iterable[Sequence[str]]) -> KeyRing:
        """Read rows with the columns ``ROW_COLUMNS``; the last three may be missing or empty.

        KeyID and version are decimal, or hexadecimal as ``0x20`` or ``20h``; ``*`` is every KeyID.
        Raises InputError (``key.invalid``, ``address.invalid``) that names the row by its number
        """
        ring = cls()
        for number, row in enumerate(rows, 1):
            address, key, key_id, version, label = (*row, "", "", "", "", "")[:5]
            try:
                ring.add(
                    address,
                    key,
                    None if key_id.strip() == "*" else _octet(key_id, "KeyID") or 0,
                    _octet(version, "KeyVersion"),
                    label or None,
                )
            except InputError as error:
                raise InputError(f"row {number}: {error.message}", code=error.code, layer=error.layer) from None
        return ring

    def __iter__(self) -> Iterator[tuple[AddressPattern, Key]]:
        return iter(tuple(self._entries))

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return f"<KeyRing of {len(self)} keys>"


def _octet(text: str, name: str) -> int | None:
    """A KeyID or KeyVersion of a file, None if empty."""
    plain = text.strip().lower()
    if not plain:
        return None
    base = 16 if plain.startswith("0x") or plain.endswith("h") else 10
    try:
        value = int(plain.removesuffix("h"), base)
    except ValueError:
        value = -1
    if not 0 <= value <= 0xFF:
        raise InputError(f"the {name} is no octet (decimal, 0x20 or 20h)", code="key.invalid", layer="security")
    return value
