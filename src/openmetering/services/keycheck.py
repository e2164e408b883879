"""Which key of many opens which telegram, and what proves it.

A MAC or tag proves a key. The payload CRC of the extended link layer and the 2F 2F of the transport
layer have sixteen bits: among many thousand keys one fits by chance now and then. Therefore the search
goes on behind a weak proof, keys whose telegram reads without a fault are preferred, and a key that fitted
before is tried first for the next telegram of the same meter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from openmetering.codec.link.wireless import WirelessFrame
from openmetering.telegram.decoder import Decoder, examine

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Final

    from openmetering.errors import Fault
    from openmetering.services.keyfiles import KeyEntry
    from openmetering.telegram.model import Telegram

__all__ = ["Fit", "KeyCheck", "Verdict"]

_STRONG: Final = ("mac", "tag")
_PARTS: Final = 64  # fragments of one message kept; a fragment number has eight bits, real messages have few
_PEERS: Final = 4096


class Fit(msgspec.Struct, frozen=True):
    """A key that opens a telegram. ``clean`` is True if the telegram then reads without a fault."""

    fingerprint: str
    address: str
    key_id: int | None
    version: int | None
    label: str | None
    proof: str
    clean: bool

    @property
    def authenticated(self) -> bool:
        """True for a MAC or tag."""
        return self.proof in _STRONG


class Verdict(msgspec.Struct, frozen=True):
    """What was found for one telegram.

    ``state``  fits · no-fit (no key of the list opens it) · no-candidate (the list has no key for its address)
               · unsupported (a security mode that cannot be opened) · plain · already-plain
               · fragment (part of a message, judged with its last part) · undecodable
    ``tried``  how many keys were tried; ``key_id`` and ``version`` are what the telegram asks for
    """

    telegram: str
    address: str | None
    mode: int | None
    profile: str | None
    state: str
    key_id: int | None = None
    version: int | None = None
    fits: tuple[Fit, ...] = ()
    tried: int = 0
    error: Fault | None = None

    @property
    def keyless(self) -> bool:
        """True if the telegram is encrypted and no key was found."""
        return self.state in ("no-fit", "no-candidate", "unsupported")


class KeyCheck:
    """Tries keys against telegrams; with ``every`` the addresses of the keys do not count."""

    __slots__ = ("_bare", "_entries", "_every", "_fitted", "_parts", "_trial")

    def __init__(self, entries: Iterable[KeyEntry], *, every: bool = False) -> None:
        self._entries = tuple(entries)
        self._every = every
        self._bare = Decoder()
        self._trial = Decoder(formats=self._bare.formats)
        self._parts: dict[bytes, list[bytes]] = {}
        self._fitted: dict[bytes, KeyEntry] = {}

    def check(self, frame: bytes) -> Verdict:
        """Judge one frame. Never raises for octets."""
        telegram = self._bare.examine(frame)
        parts = self._collect(telegram, frame)
        state = _bare_state(telegram)
        if state != "protected":
            return _verdict(telegram, state)
        names = _addresses(telegram)
        candidates = self._candidates(names)
        if not candidates:
            return _verdict(telegram, "no-candidate")
        return self._try(telegram, parts, candidates, names[0] if names else b"")

    # -- the search -------------------------------------------------------------------------

    def _candidates(self, names: list[bytes]) -> list[KeyEntry]:
        """Entries to try, each key once, one that fitted this meter before in front."""
        open_address = self._every or not names
        fitting = [entry for entry in self._entries if open_address or any(entry.pattern.matches(name) for name in names)]
        before = self._fitted.get(names[0]) if names else None
        once: dict[bytes, KeyEntry] = {} if before is None else {before.key.octets: before}
        for entry in fitting:
            once.setdefault(entry.key.octets, entry)
        return list(once.values())

    def _try(self, bare: Telegram, parts: list[bytes], candidates: list[KeyEntry], name: bytes) -> Verdict:
        fits: list[tuple[Fit, KeyEntry]] = []
        fault = bare.error
        tried = 0
        for entry in candidates:
            tried += 1
            telegram = self._examine(parts, entry.key.octets)
            proof = _proof(telegram)
            if proof is None:
                fault = telegram.error
                continue
            fits.append((_fit(entry, proof, telegram), entry))
            if proof in _STRONG or self._fitted.get(name) is entry:
                break
        if not fits:
            wrong = fault is None or fault.code.startswith("key.")
            return _verdict(bare, "no-fit" if wrong else "undecodable", tried=tried, error=fault)
        best = [pair for pair in fits if pair[0].authenticated] or [pair for pair in fits if pair[0].clean] or fits
        self._fitted[name] = best[0][1]
        return _verdict(bare, "fits", tuple(fit for fit, _ in best), tried, None)

    def _examine(self, parts: list[bytes], key: bytes) -> Telegram:
        if len(parts) == 1:
            return self._trial.examine(parts[0], key)
        decoder = Decoder(formats=self._bare.formats)
        for part in parts[:-1]:
            decoder.examine(part, key)
        return decoder.examine(parts[-1], key)

    def _collect(self, telegram: Telegram, frame: bytes) -> list[bytes]:
        """All frames of the message that this frame ends; frames that do not end one are kept."""
        afl, peer = telegram.afl, _peer(telegram)
        if afl is None or not (telegram.fragment or (peer in self._parts and _is_part(frame))):
            return [frame]
        if not telegram.fragment:
            return [*self._parts.pop(peer), frame]
        if len(self._parts) >= _PEERS:
            self._parts.clear()
        first = int(afl.fragmentation.fragment_id) <= 1
        self._parts[peer] = [*(() if first else self._parts.get(peer, ())), frame][-_PARTS:]
        return [frame]


# -- reading telegrams ----------------------------------------------------------------------


def _is_part(frame: bytes) -> bool:
    """True if the frame itself is a fragment; the telegram of a whole message does not show it."""
    afl = examine(frame).afl
    return afl is not None and afl.fragmented


def _bare_state(telegram: Telegram) -> str:
    """The state without any key; ``protected`` where a key is needed."""
    if telegram.fragment:
        return "fragment"
    if telegram.error is None or telegram.error.code.startswith("application."):  # the meter reports an error, clearly
        unproven = any(warning.code == "key.missing" for warning in telegram.warnings)  # clear, with a MAC
        return "protected" if unproven else telegram.security.state
    if telegram.error.code == "security.unsupported":
        return "unsupported"
    return "protected" if telegram.error.code.startswith("key.") else "undecodable"


def _proof(telegram: Telegram) -> str | None:
    """What proves the key, None if it does not fit."""
    security = telegram.security
    if security.state == "decrypted" or (security.state == "plain" and security.authenticated):
        return security.proof or "none"
    return None


def _addresses(telegram: Telegram) -> list[bytes]:
    """Link-order addresses that a key may be filed under: the meter, then the sender."""
    found = [] if telegram.address is None else [telegram.address.link_octets()]
    if isinstance(telegram.link, WirelessFrame) and (sender := telegram.link.address.link_octets()) not in found:
        found.append(sender)
    return found


def _peer(telegram: Telegram) -> bytes:
    """Who sends the fragments of a message."""
    link = telegram.link
    return link.address.link_octets() if isinstance(link, WirelessFrame) else bytes((0 if link is None else link.address,))


def _fit(entry: KeyEntry, proof: str, telegram: Telegram) -> Fit:
    key = entry.key
    clean = telegram.error is None and all(record.error is None for record in telegram.records)
    return Fit(key.fingerprint, entry.pattern.text, key.key_id, key.version, key.label, proof, clean)


def _asked(telegram: Telegram) -> tuple[int | None, int | None]:
    """KeyID and KeyVersion that the telegram asks for."""
    if telegram.afl is not None and telegram.afl.key_information is not None:
        return int(telegram.afl.key_information.key_id), int(telegram.afl.key_information.key_version)
    transport = telegram.transport
    return (None, None) if transport is None else (transport.key_id, transport.key_version)


def _verdict(telegram: Telegram, state: str, fits: tuple[Fit, ...] = (), tried: int = 0, error: Fault | None = None) -> Verdict:
    address = None if telegram.address is None else str(telegram.address)
    security = telegram.security
    fault = telegram.error if state in ("undecodable", "unsupported") and error is None else error
    key_id, version = (None, None) if state in ("plain", "already-plain", "undecodable") else _asked(telegram)
    octets = telegram.frame.hex().upper()
    return Verdict(octets, address, security.mode, security.profile, state, key_id, version, fits, tried, fault)
