"""Transport security of an operator's end of the link: seals commands, opens telegrams, keeps counters and keys.

Only communication keys (KeyID 00..0F) live here. A head-end that secures commands with application keys
hands over their octets finished; a gateway that holds an application key is refused (``key.invalid``).

    seal     CGW := CGW + step, kept before it is used -> header, padding, encryption, MAC -> fragments if too long
    open     MAC or tag, counter rules (C''M), the version of the key -> new, duplicate, replayed, unreadable

**Counters over a power cut.** The counter written down is not the one used last but one that lies ahead
(at most ``reserve`` from the last one sent), and it is raised before a message beyond it goes out: ``unsaved``
asks for a snapshot to be stored first. A restart from any older snapshot goes on above that mark, so no
counter is used twice, and the device sees a step of 1..100 as always. Counters of devices that were verified
since the snapshot are lost: until the next message of a device an old one of it passes once.

**Change of a key.** ``give_key`` stores the new key beside the one in use. Commands stay under the old one and
name it in the AFL (KI), so that answers name theirs. The first message that proves itself under the new version
switches: CGW and C''M start anew, the old key is not accepted any more. Messages without KI are tried with both.

Source: OMS Volume 2 5.0.1 clause 9, 9.3.2 (counters), Tables 42 to 45; Annex M Table M.2 (CI fields),
Appendix M.A (key change).
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from openmetering.codec.address import Address
from openmetering.codec.ell import CommunicationControl
from openmetering.codec.link.control import ControlField
from openmetering.codec.link.wireless import HEADER, WirelessFrame
from openmetering.errors import InputError, KeyNotFound, NotRepresentable, Replayed
from openmetering.protocol.exchange import Command
from openmetering.security import CounterLedger, Key, KeyRing, LedgerSnapshot, message_digest
from openmetering.security.counters import COUNTER_END
from openmetering.tables import CONTROL_INFORMATION
from openmetering.telegram.compose import Meter, compose
from openmetering.telegram.decoder import Decoder
from openmetering.telegram.encoder import encode_fragments, encode_message
from openmetering.telegram.model import Policy, Telegram

__all__ = [
    "COMMANDS",
    "FRAGMENT_OVERHEAD",
    "Opened",
    "Partner",
    "PartnerSecurity",
    "SealedCommand",
    "SecurityMemory",
    "StoredKey",
    "Verdict",
    "application_octets",
    "protocol_of",
]

#: new, duplicate (same counter, same octets), replayed (counter did not advance), unreadable (no key, wrong key, damaged)
Verdict = Literal["new", "duplicate", "replayed", "unreadable"]

_LARGEST_KEY_ID: Final = 0x0F
#: nothing decrypted elsewhere is believed here
_POLICY: Final = Policy("partner", already_plain=False, reserved_modes=True, trailing=False, non_bcd_numbers=True)
_SND_UD: Final = 0x53
_SND_NR: Final = 0x44
_CONSUMER_KEY: Final = 0x08
_DOWNLINK: Final = CommunicationControl(0x84)
_BLOCK_MODES: Final = frozenset((2, 4, 5, 7))
#: AFL of a first fragment with everything in it: CI, AFLL, FCL 2, MCL, KI 2, MCR 4, ML 2
FRAGMENT_OVERHEAD: Final = 13

#: protocol -> CI with long header, CI without header (wired, no security profile). Annex M Table M.2
COMMANDS: Final[dict[str, tuple[int, int | None]]] = {
    "m-bus": (0x5B, 0x51),
    "application-reset": (0x53, 0x50),
    "application-request": (0x55, 0x54),
    "clock": (0x6C, None),
    "image": (0xC0, None),
    "sitp": (0xC3, None),
}
#: profile -> proofs that make a message of it; profile A has no better one than the decryption verification
_PROOFS: Final = {"none": (None, "mac"), "A": ("2f2f", "mac"), "B": ("mac",), "D": ("tag",)}
#: answers that are never protected: they carry no more than an error code or a status (Table 42)
_ALWAYS_PLAIN: Final = frozenset(("application-error", "none"))


class StoredKey(msgspec.Struct, frozen=True):
    """A communication key of a device that was handed over while the gateway ran. ``address`` in link-layer order."""

    address: bytes
    key_id: int
    version: int
    octets: bytes

    def __repr__(self) -> str:
        return f"<StoredKey id={self.key_id:02X} version={self.version:02X}>"


class Partner(msgspec.Struct, frozen=True):
    """A device: its security profile, the key in use, and the versions of keys that wait to be switched to.

    ``version`` None: the key of the ring that fits best, whatever its version.
    """

    address: bytes
    profile: str = "none"
    key_id: int = 0
    version: int | None = None
    waiting: tuple[int, ...] = ()


class SecurityMemory(msgspec.Struct, frozen=True):
    """What must survive a power cut. It holds keys."""

    counters: LedgerSnapshot = LedgerSnapshot("gateway", ())
    partners: tuple[Partner, ...] = ()
    keys: tuple[StoredKey, ...] = ()


def _is_consumer_information(telegram: Telegram) -> bool:
    """True for what a device says to a display: SND-NR under KeyID 08 (UC-07b). An answer under that key is none."""
    link = telegram.link
    return telegram.security.key_id == _CONSUMER_KEY and link is not None and int(link.control) == _SND_NR


class SealedCommand(msgspec.Struct, frozen=True):
    """A command ready for the link: octets behind the link layer (radio: behind the ELL), one item a fragment."""

    parts: tuple[bytes, ...]
    counter: int | None = None


class Opened(msgspec.Struct, frozen=True):
    """A telegram and what to think of it.

    ``protected``  it is protected as the profile of the device demands (or is of a kind that never is)
    ``switched``   it was the first under a new key
    ``service``    a counter has reached FFFF0000h: the key should be changed soon
    """

    telegram: Telegram
    verdict: Verdict
    protected: bool = False
    switched: bool = False
    service: bool = False


def protocol_of(telegram: Telegram) -> str:
    """The protocol of a telegram as in ``ci.csv``; empty without a transport layer."""
    info = None if telegram.transport is None else CONTROL_INFORMATION[telegram.transport.ci]
    return "" if info is None else info.protocol


def application_octets(telegram: Telegram) -> bytes:
    """The application octets of an opened telegram, without the verification octets 2F 2F of the block modes."""
    payload, report = telegram.payload or b"", telegram.security
    sealed = report.mode in _BLOCK_MODES and report.state == "decrypted"
    return payload[2:] if sealed and payload[:2] == b"\x2f\x2f" else payload


class PartnerSecurity:
    """Security of the link towards many devices.

    ``step`` is what CGW advances by (1..100): a step above 1 leaves room for messages that the device sends before
    the command reaches it. ``reserve`` (``step``..100) is how far the stored counter lies ahead. ``unsaved`` turns
    True when ``snapshot`` holds something that must be stored before the next frame goes out.

    Raises InputError (``key.invalid``) for a ring with application or wrapper keys.
    """

    __slots__ = ("_decoder", "_ledger", "_marks", "_partners", "_reserve", "_ring", "_step", "_stored", "unsaved")

    def __init__(
        self, keys: KeyRing | None = None, *, step: int = 1, reserve: int = 100, memory: SecurityMemory | None = None
    ) -> None:
        memory = memory or SecurityMemory()
        self._step = step
        self._reserve = max(reserve, step)
        self._ring = KeyRing()
        for pattern, key in keys or ():
            _communication_key(key)
            self._ring.add(pattern, key.octets, key.key_id, key.version, key.label)
        self._stored: dict[tuple[bytes, int, int], StoredKey] = {}
        for stored in memory.keys:
            self._store(stored)
        self._partners: dict[bytes, Partner] = {partner.address: partner for partner in memory.partners}
        self._ledger = CounterLedger.restore(memory.counters)
        #: peer -> counter that is written down
        self._marks = {(entry.address, entry.key_id, entry.version): entry.own for entry in memory.counters.entries}
        self._decoder = Decoder(self._ring, policy=_POLICY, crc=False)
        self.unsaved = False

    # -- devices and keys ----------------------------------------------------------------------

    def enrol(self, address: Address, profile: str = "none", key_id: int = 0, version: int | None = None) -> None:
        """Make a device known. One that is known keeps its key in use unless profile or KeyID change.

        Raises NotRepresentable for an unknown profile, InputError for a KeyID that is no communication key.
        """
        if profile not in _PROOFS:
            raise NotRepresentable(f"profile is none, A, B or D, got {profile!r}", field="profile", value=profile)
        if not 0 <= key_id <= _LARGEST_KEY_ID:
            raise _not_allowed(key_id)
        octets = address.link_octets()
        known = self._partners.get(octets)
        if known is None or (known.profile, known.key_id) != (profile, key_id):
            self._partners[octets] = Partner(octets, profile, key_id, version)
            self.unsaved = True

    def dismiss(self, address: Address) -> None:
        """Forget a device; its counters stay, they must never be used again."""
        self.unsaved |= self._partners.pop(address.link_octets(), None) is not None

    def partner(self, address: Address) -> Partner:
        """What is known about a device. Raises KeyNotFound."""
        found = self._partners.get(address.link_octets())
        if found is None:
            raise KeyNotFound(f"{address} is not known", address=str(address))
        return found

    def give_key(self, address: Address, keys: KeyRing, key_id: int, version: int) -> None:
        """Take a new communication key; the one in use stays until the device has used the new one.

        ``keys`` holds the key; a key of every KeyID or KeyVersion in it counts as the one named.
        Raises InputError (``key.invalid``) for other KeyIDs and for a version that is in use with another key;
               KeyNotFound if the ring does not hold the key
        """
        if not 0 <= key_id <= _LARGEST_KEY_ID:
            raise _not_allowed(key_id)
        partner = self.partner(address)
        octets = keys.require(partner.address, key_id=key_id, version=version)[0].octets
        present = self._ring.find(partner.address, key_id=key_id, version=version)
        same_version = [key for key in present if key.version == version]
        if any(key.octets != octets for key in same_version):
            raise InputError(f"version {version:02X}h of {address} is another key already", code="key.invalid", layer="security")
        used = key_id != partner.key_id or (bool(same_version) and version == self._version_in_use(partner))
        first = partner.version is None and self._ring_key(partner) is None
        self._store(StoredKey(partner.address, key_id, version, octets))
        self._decoder.forget()
        if first and not used:
            self._partners[partner.address] = msgspec.structs.replace(partner, version=version)
        elif not used:
            waiting = (*(other for other in partner.waiting if other != version), version)
            self._partners[partner.address] = msgspec.structs.replace(partner, waiting=waiting)
        self.unsaved = True

    def _store(self, stored: StoredKey) -> None:
        self._stored[stored.address, stored.key_id, stored.version] = stored
        self._ring.add(stored.address, stored.octets, stored.key_id, stored.version)

    def _ring_key(self, partner: Partner) -> Key | None:
        """The best key that the ring held from the start."""
        for key in self._ring.find(partner.address, key_id=partner.key_id):
            if key.version is None or (partner.address, partner.key_id, key.version) not in self._stored:
                return key
        return None

    def _version_in_use(self, partner: Partner) -> int | None:
        """The version of the key in use: the one named, else that of the ring's best key."""
        if partner.version is not None:
            return partner.version
        key = self._ring_key(partner)
        return None if key is None else key.version

    def _key_in_use(self, partner: Partner) -> Key:
        key = self._ring_key(partner) if partner.version is None else None
        return key or self._ring.require(partner.address, key_id=partner.key_id, version=partner.version)[0]

    # -- sealing -------------------------------------------------------------------------------

    def seal(
        self,
        address: Address,
        command: Command,
        access_number: int,
        *,
        wired: bool = False,
        status: int = 0,
        largest: int = 246,
        largest_part: int | None = None,
        key_information: bool | None = None,
    ) -> list[bytes]:
        """The octets of ``seal_command``, one item a fragment."""
        sealed = self.seal_command(
            address,
            command,
            access_number,
            wired=wired,
            status=status,
            largest=largest,
            largest_part=largest_part,
            key_information=key_information,
        )
        return list(sealed.parts)

    def seal_command(
        self,
        address: Address,
        command: Command,
        access_number: int,
        *,
        wired: bool = False,
        status: int = 0,
        largest: int = 246,
        largest_part: int | None = None,
        key_information: bool | None = None,
    ) -> SealedCommand:
        """Protect a command for a device.

        ``access_number``  of the transport header; ``status`` is the status octet of a gateway (reception level)
        ``largest``        octets the message may have; a longer one is cut into fragments (AFL) of ``largest_part`` octets
        ``key_information``  name the KeyVersion (AFL.KI; profile D: V bit). None: while a new key waits
        Octets   CI and long header (wired without profile: CI alone where there is one), or AFL in front of it
        Source   OMS Volume 2 Annex M Table M.2; 5.0.1 clauses 6.3 (clause to confirm), 7, 9
        Raises   KeyNotFound, SecurityError (``counter.exhausted``), NotRepresentable for a protocol without downlink CI
        """
        partner = self.partner(address)
        codes = COMMANDS.get(command.protocol)
        if codes is None:
            raise NotRepresentable(f"no command has protocol {command.protocol}", field="protocol", value=command.protocol)
        long_ci, bare_ci = codes
        if wired and partner.profile == "none" and bare_ci is not None:
            return SealedCommand((bytes((bare_ci,)) + command.payload,))
        named, ring, counter = None, None, None
        if partner.profile != "none":
            key = self._key_in_use(partner)
            ring = KeyRing()
            ring.add(partner.address, key.octets, partner.key_id, key.version)
            wanted = bool(partner.waiting) if key_information is None else key_information
            named = key.version if wanted else None
            if partner.profile in ("B", "D"):
                counter = self._advance(partner, key.version)
        meter = Meter(
            address,
            partner.profile,
            primary=1 if wired else None,
            communication_control=None if wired else _DOWNLINK,
            key_id=partner.key_id,
            key_version=named,
        )
        telegram = compose(
            meter, command.payload, access_number=access_number, status=status, counter=counter, control=_SND_UD, ci=long_ci
        )
        message, afl = encode_message(telegram, ring)
        whole = message if afl is None else afl.encode() + message
        if len(whole) <= largest:
            return SealedCommand((whole,), counter)
        carrier = WirelessFrame(ControlField(_SND_UD), address, b"")
        frames = encode_fragments(
            msgspec.structs.replace(telegram, link=carrier, ell=None), ring, max((largest_part or largest) - FRAGMENT_OVERHEAD, 1)
        )
        return SealedCommand(tuple(frame[HEADER:] for frame in frames), counter)

    def _advance(self, partner: Partner, version: int | None) -> int:
        """The next CGW; the stored one is moved ahead before it is used up."""
        peer = (partner.address, partner.key_id, version)
        counter = self._ledger.reserve(*peer, step=self._step)
        if counter > self._marks.get(peer, 0):
            self._marks[peer] = min(counter + self._reserve - self._step, COUNTER_END)
            self.unsaved = True
        return counter

    def verified(self, address: Address) -> int | None:
        """C''M of a device under the key in use: the last counter of it that was verified; None before the first."""
        partner = self.partner(address)
        entry = self._ledger.entry(partner.address, partner.key_id, self._version_in_use(partner))
        return None if entry is None else entry.peer

    # -- opening -------------------------------------------------------------------------------

    def open(self, frame: bytes, now: float = 0.0) -> Opened:
        """Decode a frame (wired or wireless) and judge it.

        ``now`` in seconds, for fragments that wait. Parts of a message that is not complete are ``new`` with
        ``telegram.fragment``. Raises nothing for whatever octets: what stopped it stands in ``telegram.error``.
        """
        telegram = self._decoder.examine(frame, now=now)
        if telegram.link is None or not telegram.uplink:
            return Opened(telegram, "unreadable" if telegram.link is None else "new")
        if telegram.transport is None:  # a fragment, or an ACK that ends behind its ELL
            return Opened(telegram, "unreadable" if telegram.error is not None else "new", telegram.error is None)
        if telegram.payload is None or telegram.security.state not in ("plain", "decrypted"):
            return Opened(telegram, "unreadable")
        return self._judge(telegram)

    def _judge(self, telegram: Telegram) -> Opened:
        """A telegram that could be read: which key, which counter, protected as it must be?"""
        address, report = telegram.address, telegram.security
        octets = b"" if address is None else address.link_octets()
        partner = self._partners.get(octets)
        key_id = report.key_id if report.key_id is not None else partner.key_id if partner is not None else 0
        own_key = partner is not None and report.proof is not None and key_id == partner.key_id
        if partner is not None and own_key and report.key_version not in (self._version_in_use(partner), *partner.waiting):
            return Opened(telegram, "unreadable")  # a key that was replaced
        verdict: Verdict = "new"
        service = False
        if report.authenticated and report.counter is not None and telegram.transport is not None:
            peer = (octets, key_id, report.key_version)
            digest = message_digest(telegram.transport.encode() + (telegram.payload or b""))
            try:
                verdict = self._ledger.accept(*peer, report.counter, digest)
            except Replayed:
                return Opened(telegram, "replayed")
            service = self._ledger.needs_service(*peer)
        switched = False
        if partner is not None and own_key and report.key_version is not None and report.key_version in partner.waiting:
            self._switch(partner, report.key_version)
            switched = True
        return Opened(telegram, verdict, self._protected(telegram, partner, own_key), switched, service)

    def _switch(self, partner: Partner, version: int) -> None:
        """The device uses the new key: so does the gateway. Its counters have an entry of their own, started anew."""
        later = partner.waiting[partner.waiting.index(version) + 1 :]
        self._partners[partner.address] = msgspec.structs.replace(partner, version=version, waiting=later)
        self.unsaved = True

    @staticmethod
    def _protected(telegram: Telegram, partner: Partner | None, own_key: bool) -> bool:
        if protocol_of(telegram) in _ALWAYS_PLAIN:
            return True
        if partner is None:
            return telegram.security.proof is not None
        if partner.profile == "none":
            return True
        return (
            (own_key or _is_consumer_information(telegram))
            and telegram.security.profile == partner.profile
            and telegram.security.proof in _PROOFS[partner.profile]
        )

    # -- memory --------------------------------------------------------------------------------

    def snapshot(self) -> SecurityMemory:
        """Everything that must survive, as a value; counters as far ahead as they are reserved."""
        entries = []
        for entry in self._ledger.snapshot().entries:
            mark = self._marks.get((entry.address, entry.key_id, entry.version), 0)
            entries.append(msgspec.structs.replace(entry, own=max(entry.own, mark)))
        return SecurityMemory(
            LedgerSnapshot("gateway", tuple(entries)), tuple(self._partners.values()), tuple(self._stored.values())
        )

    @classmethod
    def restore(
        cls, memory: SecurityMemory, keys: KeyRing | None = None, *, step: int = 1, reserve: int = 100
    ) -> PartnerSecurity:
        """The security of a gateway that was off; ``keys`` is the ring it started with."""
        return cls(keys, step=step, reserve=reserve, memory=memory)

    def __repr__(self) -> str:
        return f"<PartnerSecurity of {len(self._partners)} devices>"


def _not_allowed(key_id: int) -> InputError:
    return InputError(
        f"KeyID {key_id:02X}h is no communication key (00h..0Fh): a gateway must not hold it",
        code="key.invalid",
        layer="security",
    )


def _communication_key(key: Key) -> None:
    if key.key_id is not None and key.key_id > _LARGEST_KEY_ID:
        raise _not_allowed(key.key_id)
