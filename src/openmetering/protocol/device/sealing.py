"""From application octets to what stands behind the link layer: transport header, security, fragments.

    profile  in front of the transport layer            behind its header
    none     -                                          payload
    A        [90 05 00 22 10 KI]                        mode 5: 2F 2F payload, filled
    B        90 0F 00 2C 25 [KI] MCR MAC                mode 7: 2F 2F payload, filled or padded
    D        -                                          mode 10: [KeyVersion] MC payload tag

    too long: first fragment  90 LL 01 ..  MCL [KI] [MCR] ML, the transport layer from its CI on
              between         90 02 nn 40
              last            90 LL nn ..  [MAC]

The octets are those of ``telegram.compose`` and ``telegram.encode``; devices send so much more than
anybody else that they have a way of their own. Source: OMS Volume 2 5.0.1 clauses 6 and 7, Tables 42
and 43; Annex N release E N.2 to N.5 and N.12.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

from openmetering.errors import NotRepresentable
from openmetering.security import BlockCipher, Key, afl_mac, fill, seal_cbc, seal_mode10, session_keys, tpl_pad

if TYPE_CHECKING:
    from openmetering.codec.address import Address

__all__ = ["RESPONSE_CI", "Content", "Sealer"]

#: protocol -> CI of answers with short header, long header, without header (wired)
RESPONSE_CI: Final[dict[str, tuple[int, int, int]]] = {
    "m-bus": (0x7A, 0x72, 0x72),
    "sitp": (0xC4, 0xC5, 0xC5),
    "image": (0xC1, 0xC2, 0xC2),
    "alarm": (0x74, 0x75, 0x71),
    "application-error": (0x6E, 0x6F, 0x70),
    "none": (0x8A, 0x8B, 0x8B),
}
#: protocols without a filler of their own: profile B pads them in the transport layer
_PADDED = frozenset(("sitp", "image", "alarm"))
#: always in the clear and without a proof (OMS Volume 2 5.0.1 Table 42)
_PLAIN = frozenset(("application-error", "none"))

_AFL = 0x90
_MORE, _MCL, _ML, _MCR, _MAC, _KI = 0x4000, 0x2000, 0x1000, 0x0800, 0x0400, 0x0200  # bits of FCL
_WITH_LENGTH, _WITH_COUNTER, _WITH_KEY = 0x40, 0x20, 0x10  # bits of MCL
_AT = 5  # AES-CMAC of 8 octets
_TAG = 8
_KDF = 0x10  # key derivation by CMAC
_VERSION = 0x40  # KeyVersion present, in the extension of mode 10
_SHORT, _LONG = 5, 13  # octets of CI and header
_ALL_OCTETS = 0xFF
_ALL_BLOCKS = 15
_VERIFICATION = b"\x2f\x2f"


class Content(NamedTuple):
    """What a message holds beside its octets.

    ``content_class``, ``content_index`` as in OMS Table 41; ``link_bits`` the link bits of the
    configuration field (modes 0 and 5 without ELL); ``key_version`` is shown where it is not None.
    """

    protocol: str = "m-bus"
    content_class: int = 0
    content_index: int = 0
    link_bits: int = 0
    key_version: int | None = None


class _Protected(NamedTuple):
    """A message from its CI on; ``control`` is the MCL of its AFL, 0 where none is needed."""

    message: bytes
    control: int = 0
    information: int | None = None
    counter: int | None = None
    cipher: BlockCipher | None = None


class Sealer:
    """Makes the messages of one device. ``wired`` devices send errors and alarms without a header."""

    __slots__ = ("_link", "_long", "_prefix", "_protect", "_wired", "profile")

    def __init__(self, address: Address, profile: str, *, long_header: bool, wired: bool) -> None:
        protect = _PROTECT.get(profile)
        if protect is None:
            raise NotRepresentable(f"profile is none, A, B or D, got {profile!r}", field="profile", value=profile)
        self.profile = profile
        self._protect = protect
        self._link = address.link_octets()
        self._long = long_header or wired
        self._wired = wired
        self._prefix = address.transport_octets() if self._long else b""

    # -- sizes --------------------------------------------------------------------------------------

    def capacity(self, largest: int, *, key_shown: bool = False) -> int:
        """Application octets that fit into one item of ``largest`` octets without fragments."""
        head = _LONG if self._long else _SHORT
        return max(_CAPACITY[self.profile](largest - head, key_shown), 0)

    # -- messages -----------------------------------------------------------------------------------

    def pure(self, access_number: int, status: int, link_bits: int = 0) -> bytes:
        """A transport header alone: ACK, NACK, ACC-NR, ACC-DMD.

        Octets   CI 8A or 8B, [address 8], access number, status, configuration 2 (mode 0)
        Source   OMS Volume 2 5.0.1 Table 42; Annex N N.8.2
        """
        return self._header("none", access_number, status, link_bits)

    def plain(self, protocol: str, payload: bytes, access_number: int, status: int) -> bytes:
        """A message without security: an application error, or an alarm of a wired device of profile none.

        Octets   CI 6E or 6F with header, 70 (alarm: 71) on the wire without; then the payload
        Source   OMS Volume 2 5.0.1 Tables 40 and 42
        """
        if self._wired:
            return bytes((RESPONSE_CI[protocol][2],)) + payload
        return self._header(protocol, access_number, status, 0) + payload

    def seal(self, payload: bytes, access_number: int, status: int, what: Content, key: Key | None, counter: int) -> bytes:
        """A message in one item, whatever its length. ``counter`` is used by profiles B and D.

        Raises   NotRepresentable if the profile needs a key and there is none
        """
        return _single(self._protect(self, payload, access_number, status, what, key, counter))

    def seal_items(
        self, payload: bytes, access_number: int, status: int, what: Content, key: Key | None, counter: int, largest: int
    ) -> tuple[bytes, ...]:
        """A message in items of at most ``largest`` octets: fragments if one is not enough.

        Source   OMS Volume 2 5.0.1 clause 6.3 (clause to confirm); Annex N N.3 to N.5
        Raises   NotRepresentable if not even a fragment fits, or without a key
        """
        protected = self._protect(self, payload, access_number, status, what, key, counter)
        whole = _single(protected)
        return (whole,) if len(whole) <= largest else _fragments(protected, largest)

    # -- header and profiles ------------------------------------------------------------------------

    def _header(self, protocol: str, access_number: int, status: int, configuration: int) -> bytes:
        numbers = bytes((access_number & 0xFF, status, configuration & 0xFF, configuration >> 8))
        return bytes((RESPONSE_CI[protocol][self._long],)) + self._prefix + numbers

    def _none(self, payload: bytes, access_number: int, status: int, what: Content, key: Key | None, counter: int) -> _Protected:
        head = self._header(what.protocol, access_number, status, what.content_class << 2 | what.link_bits)
        return _Protected(head + payload)

    def _a(self, payload: bytes, access_number: int, status: int, what: Content, key: Key | None, counter: int) -> _Protected:
        held = _held(key)
        plain = fill(_VERIFICATION + payload)
        blocks = min(len(plain) >> 4, _ALL_BLOCKS)
        configuration = 0x0500 | blocks << 4 | what.content_class << 2 | what.link_bits
        sealed = seal_cbc(5, held.cipher, self._link, access_number & 0xFF, plain)
        message = self._header(what.protocol, access_number, status, configuration) + sealed
        if what.key_version is None:
            return _Protected(message)
        return _Protected(message, _WITH_KEY, _information(held, what.key_version))

    def _b(self, payload: bytes, access_number: int, status: int, what: Content, key: Key | None, counter: int) -> _Protected:
        held = _held(key)
        bare = _VERIFICATION + payload
        plain, padding = fill(bare), 0
        if what.protocol in _PADDED and len(plain) != len(bare):
            plain, padding = tpl_pad(bare), 0x08
        blocks = min(len(plain) >> 4, _ALL_BLOCKS)
        configuration = what.content_class << 14 | 0x0700 | blocks << 4 | padding | what.content_index
        keys = session_keys(held.cipher, counter, self._link[2:6])
        sealed = seal_cbc(7, keys.encryption, self._link, 0, plain)
        head = self._header(what.protocol, access_number, status, configuration)
        message = head + bytes((_KDF | (held.key_id or 0),)) + sealed
        control, information = _WITH_COUNTER | _AT, None
        if what.key_version is not None:
            control, information = control | _WITH_KEY, _information(held, what.key_version)
        return _Protected(message, control, information, counter, keys.authentication)

    def _d(self, payload: bytes, access_number: int, status: int, what: Content, key: Key | None, counter: int) -> _Protected:
        held = _held(key)
        number = len(payload) if len(payload) < _ALL_OCTETS else _ALL_OCTETS
        configuration = what.content_class << 14 | 0x2A00 | number
        version = b"" if what.key_version is None else bytes((what.key_version,))
        first = _KDF | (held.key_id or 0) | (_VERSION if version else 0)
        extension = bytes((first, what.content_index << 2 | 1))
        head = self._header(what.protocol, access_number, status, configuration)
        aad = head[:1] + head[-4:] + extension
        cipher = session_keys(held.cipher, counter, self._link[2:6]).encryption
        sealed = seal_mode10(cipher, self._link, counter, aad, payload)
        return _Protected(head + extension + version + counter.to_bytes(4, "little") + sealed)


def _held(key: Key | None) -> Key:
    if key is None:
        raise NotRepresentable("the security profile needs a communication key", field="key", value=None)
    return key


def _information(key: Key, version: int) -> int:
    """Key information field as a number: KeyID and derivation in the low octet, KeyVersion in the high one."""
    return version << 8 | _KDF | (key.key_id or 0)


def _layer(fragmentation: int, fields: bytes) -> bytes:
    return bytes((_AFL, 2 + len(fields))) + fragmentation.to_bytes(2, "little") + fields


def _fields(protected: _Protected, control: int, length: bytes) -> tuple[int, bytes, bytes]:
    """Presence bits, the fields in front of the MAC and those behind it (message length)."""
    bits, fields = _MCL, bytes((control,))
    if protected.information is not None:
        bits, fields = bits | _KI, fields + protected.information.to_bytes(2, "little")
    if protected.counter is not None:
        bits, fields = bits | _MCR, fields + protected.counter.to_bytes(4, "little")
    return (bits | _ML if length else bits), fields, length


def _proof(protected: _Protected, control: int, length: int | None) -> bytes:
    if protected.cipher is None:
        return b""
    return afl_mac(
        protected.cipher,
        control,
        protected.message,
        key_information=protected.information,
        counter=protected.counter,
        message_length=length,
    )


def _single(protected: _Protected) -> bytes:
    if not protected.control:
        return protected.message
    mac = _proof(protected, protected.control, None)
    bits, fields, _ = _fields(protected, protected.control, b"")
    return _layer(bits | (_MAC if mac else 0), fields + mac) + protected.message


def _fragments(protected: _Protected, largest: int) -> tuple[bytes, ...]:
    message = protected.message
    control = protected.control | _WITH_LENGTH
    length = len(message)
    bits, fields, tail = _fields(protected, control, length.to_bytes(2, "little"))
    first = _layer(1 | _MORE | bits, fields + tail)
    mac = _proof(protected, control, length)
    at = largest - len(first)
    between = largest - 4
    last = between - len(mac)
    if min(at, last) < 1:
        raise NotRepresentable(f"no fragment fits into {largest} octets", field="largest", value=largest)
    at = min(at, length - 1)
    items = [first + message[:at]]
    while length - at > last:
        step = min(between, length - at - 1)
        items.append(_layer(len(items) + 1 | _MORE, b"") + message[at : at + step])
        at += step
    items.append(_layer(len(items) + 1 | (_MAC if mac else 0), mac) + message[at:])
    return tuple(items)


def _blocks(room: int) -> int:
    """Application octets in whole blocks, the verification octets taken off."""
    return (room >> 4 << 4) - len(_VERIFICATION)


_Protect = Callable[[Sealer, bytes, int, int, Content, "Key | None", int], _Protected]
_PROTECT: dict[str, _Protect] = {"none": Sealer._none, "A": Sealer._a, "B": Sealer._b, "D": Sealer._d}
#: profile -> application octets in what is left behind CI and header; the flag says that the KeyVersion is shown
_CAPACITY: dict[str, Callable[[int, bool], int]] = {
    "none": lambda room, shown: room,
    "A": lambda room, shown: _blocks(room - (7 if shown else 0)),
    "B": lambda room, shown: _blocks(room - 18 - (2 if shown else 0)),
    "D": lambda room, shown: room - 6 - _TAG - (1 if shown else 0),
}
