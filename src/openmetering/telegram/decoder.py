"""Decoder: the one place where frames, layers and keys meet on the way up.

``decode`` and ``examine`` are pure functions of frame and keys; a ``Decoder`` remembers known
formats, partial messages and counters, and takes the short way for telegrams it has seen alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from openmetering.codec.apl.format import FormatStore, Plan
from openmetering.codec.apl.known_formats import known_formats
from openmetering.codec.link.wireless import WirelessFrame, unframe
from openmetering.errors import Fault, OmsError
from openmetering.security import CounterLedger, Key, KeyRing
from openmetering.telegram.answer import answer_json
from openmetering.telegram.model import STRICT, TOLERANT, Policy, Telegram
from openmetering.telegram.reading import Reader
from openmetering.telegram.reassembly import FRAGMENT_TIMEOUT, Reassembler
from openmetering.telegram.shortcut import PREFIX, Shortcut

if TYPE_CHECKING:
    from collections.abc import Callable

    from openmetering.codec.apl.records import ParsedRecords

__all__ = ["Decoder", "decode", "examine"]

_SHORTCUTS = 65536  #: meters and headers remembered
_PLANS = 8192  #: layouts shared by all meters
_KEYS = 1024  #: keys given with a telegram that are kept with their contexts


class Decoder:
    """Decodes a stream of telegrams.

    ``keys`` finds the keys of meters; ``policy`` is TOLERANT or STRICT; ``formats`` are the known
    formats of compact frames (learned on the way, the bundled ones by default); ``counters``
    switches replay detection on. ``crc`` says whether wireless frames carry CRCs; None finds out by
    trying, which takes a frame without CRCs for format B once in 65 536. A decoder is not shared
    between threads.
    """

    __slots__ = ("_checked", "_given", "_plan_count", "_plans", "_reader", "_shortcuts")

    def __init__(
        self,
        keys: KeyRing | bytes | None = None,
        *,
        policy: Policy = TOLERANT,
        formats: FormatStore | None = None,
        counters: CounterLedger | None = None,
        fragment_timeout: float = FRAGMENT_TIMEOUT,
        crc: bool | None = None,
    ) -> None:
        ring = KeyRing.single(keys) if isinstance(keys, bytes) else keys if keys is not None else KeyRing()
        store = known_formats() if formats is None else formats
        self._reader = Reader(ring, policy, store, Reassembler(fragment_timeout), counters, crc)
        self._shortcuts: dict[bytes, Shortcut] = {}
        #: names of frames whose CRCs count in L (format B): they look like frames without CRCs
        self._checked: set[bytes] = set()
        self._plans: dict[int, list[Plan]] = {}
        self._plan_count = 0
        self._given: dict[bytes, Key] = {}

    @property
    def keys(self) -> KeyRing:
        """The key ring; call ``forget`` after adding keys to it."""
        return self._reader.keys

    @property
    def formats(self) -> FormatStore:
        """Known formats, with those learned so far."""
        return self._reader.formats

    def forget(self) -> None:
        """Drop all shortcuts (after a change of keys)."""
        self._shortcuts.clear()
        self._checked.clear()

    def examine(self, frame: bytes, key: bytes | None = None, *, now: float = 0.0) -> Telegram:
        """Decode one frame as far as it goes; a fault stands in ``Telegram.error``.

        Octets   a wired or wireless frame, with or without CRCs
        ``key``  16 octets for this telegram alone (instead of the ring); ``now`` the receive time in
                 seconds, for the time-out of fragments
        Raises   nothing for whatever octets; InputError for a key that is none
        """
        size = len(frame)
        if size <= PREFIX or frame[0] != size - 1:
            return self._with_crc(frame, key, now)
        name = frame[:PREFIX] if key is None else frame[:PREFIX] + key
        shortcut = self._shortcuts.get(name)
        if shortcut is not None:
            found = shortcut.read(frame, frame)
            if found is not None:
                return found
        elif name in self._checked:
            return self._with_crc(frame, key, now)
        return self._general(frame, key, now, shortcut)

    def answer(self, frame: bytes, key: bytes | None = None, *, now: float = 0.0) -> tuple[bytes, Fault | None]:
        """The JSON answer of a frame and its fault: what ``answer_json(examine(...))`` gives, in one step where it can."""
        size = len(frame)
        if size <= PREFIX or frame[0] != size - 1:
            telegram = self.examine(frame, key, now=now)
            return answer_json(telegram), telegram.error
        name = frame[:PREFIX] if key is None else frame[:PREFIX] + key
        shortcut = self._shortcuts.get(name)
        text = None if shortcut is None else shortcut.answer(frame, frame)
        if text is not None:
            return text, None
        telegram = self.examine(frame, key, now=now)
        learned = self._shortcuts.get(name) if shortcut is None else None
        if learned is not None and telegram.error is None:
            text = learned.answer(frame, frame)  # leaves the templates for the next telegram
        return text or answer_json(telegram), telegram.error

    def decode(self, frame: bytes, key: bytes | None = None, *, now: float = 0.0) -> Telegram:
        """Decode one frame. Raises the OmsError that stopped it; ``error.telegram`` holds what was read before."""
        telegram = self.examine(frame, key, now=now)
        cause = telegram.cause
        if cause is not None:
            cause.telegram = telegram
            raise cause
        return telegram

    # -- the short way ------------------------------------------------------------------------

    def _key(self, octets: bytes) -> Key:
        key = self._given.get(octets)
        if key is None:
            if len(self._given) >= _KEYS:
                self._given.clear()
            key = self._given[octets] = Key(octets, None)
        return key

    def _with_crc(self, frame: bytes, key: bytes | None, now: float) -> Telegram:
        """A frame with CRCs: strip them and try the shortcut of the plain frame."""
        shortcut = None
        if len(frame) > PREFIX + 4 and frame[:1] != b"\x68":
            try:
                link, rest = unframe(frame, crc=self._reader.crc)
                plain = link.octets()
            except OmsError:
                return self._general(frame, key, now, None)
            shortcut = self._shortcuts.get(plain[:PREFIX] if key is None else plain[:PREFIX] + key)
            if shortcut is not None and not rest and link.crc:
                found = shortcut.read(frame, plain, link.frame_format)
                if found is not None:
                    return found
        return self._general(frame, key, now, shortcut)

    def _general(self, frame: bytes, key: bytes | None, now: float, shortcut: Shortcut | None) -> Telegram:
        """Read by the definition, and learn a shortcut from what can be repeated."""
        given = None if key is None else self._key(key)
        telegram = self._reader.read(frame, given, now)
        parsed = self._reader.parsed
        if parsed is not None and self._learnable(telegram, parsed):
            plan = self._plan(telegram.payload or b"", parsed)
            if shortcut is None or not shortcut.learn(plan):
                self._learn(key or b"", telegram, plan, given)
        return telegram

    @staticmethod
    def _learnable(telegram: Telegram, parsed: ParsedRecords) -> bool:
        transport, ell, security = telegram.transport, telegram.ell, telegram.security
        if telegram.error is not None or telegram.warnings or telegram.afl is not None or telegram.trailer or not telegram.uplink:
            return False
        if transport is None or transport.header == "none" or not isinstance(telegram.link, WirelessFrame):
            return False
        if ell is not None and ell.session_number is not None:
            return False
        return (security.mode, security.state) in ((0, "plain"), (5, "decrypted"))

    def _plan(self, payload: bytes, parsed: ParsedRecords) -> Plan:
        """The plan of this layout: one that all meters share, compiled when it is new."""
        alike = self._plans.setdefault(len(payload), [])
        for known in alike:
            if known.matches(payload):
                return known
        plan = Plan(payload, parsed)
        if self._plan_count >= _PLANS:
            self._plans, self._plan_count = {}, 0
            alike = self._plans[len(payload)] = []
        alike.append(plan)
        self._plan_count += 1
        return plan

    def _learn(self, suffix: bytes, telegram: Telegram, plan: Plan, given: Key | None) -> None:
        link = telegram.link
        assert isinstance(link, WirelessFrame)
        key = None
        if telegram.security.state == "decrypted":
            key = given or self._used_key(telegram)
            if key is None:
                return
        if len(self._shortcuts) >= _SHORTCUTS:
            self.forget()
        plain = link.octets()
        self._shortcuts[plain[:PREFIX] + suffix] = Shortcut(plain, telegram, key, plan)
        if link.crc and telegram.frame[0] == len(telegram.frame) - 1:
            self._checked.add(telegram.frame[:PREFIX] + suffix)

    def _used_key(self, telegram: Telegram) -> Key | None:
        """The key that opened the telegram, if it is the only candidate."""
        address, link = telegram.address, telegram.link
        assert address is not None
        assert isinstance(link, WirelessFrame)
        found = self.keys.find(address.link_octets()) or self.keys.find(link.address.link_octets())
        return found[0] if len(found) == 1 else None


_DECODERS = 64
_decoders: dict[int, tuple[KeyRing | None, int, Policy, Decoder]] = {}


def _decoder(keys: KeyRing | bytes | None, policy: Policy, make: Callable[[], Decoder]) -> Decoder:
    """A kept decoder for a key ring: its ciphers and plans are worth keeping, its state is not used."""
    if isinstance(keys, bytes):
        return make()
    size = 0 if keys is None else len(keys)
    name = hash((id(keys), policy.name))
    kept = _decoders.get(name)
    if kept is not None and kept[0] is keys and kept[1] == size and kept[2] == policy:
        return kept[3]
    if len(_decoders) >= _DECODERS:
        _decoders.clear()
    decoder = make()
    decoder._reader.learns = False
    _decoders[name] = (keys, size, policy, decoder)
    return decoder


def examine(frame: bytes, keys: KeyRing | bytes | None = None, *, policy: Policy = TOLERANT) -> Telegram:
    """Decode one frame as far as it goes; a fault stands in ``Telegram.error``. Never raises for octets.

    ``keys`` is a KeyRing, or the 16 octets of one key. For streams (fragments, compact frames
    whose format comes with another telegram, replay detection) use a ``Decoder``.
    """
    return _decoder(keys, policy, lambda: Decoder(keys, policy=policy)).examine(frame)


def decode(frame: bytes, keys: KeyRing | bytes | None = None, *, policy: Policy = TOLERANT) -> Telegram:
    """Decode one frame with its keys.

    Octets   a wired (FT1.2) or wireless frame, with or without CRCs, found by itself
    Source   EN 13757-2, -3, -4, -7; OMS Volume 2 5.0.1
    Raises   OmsError: DecodeError for octets, SecurityError for keys; ``error.telegram`` is the
             Telegram with everything that was read before the fault

    >>> telegram = decode(bytes.fromhex("0F44AE0C7856341201074447780B13436587"))  # doctest: +SKIP
    """
    return _decoder(keys, policy, lambda: Decoder(keys, policy=policy)).decode(frame)


def strict(frame: bytes, keys: KeyRing | bytes | None = None) -> Telegram:
    """``decode`` with the strict policy."""
    return decode(frame, keys, policy=STRICT)
