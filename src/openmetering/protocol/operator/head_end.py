"""The head-end: application and wrapper keys, key counters, and the containers made with them.

    secure   ASP10   an end-to-end command: counter reserved, block with MAC            KeyIDs 18..2F
    wrap     ASP01   a key or its activation under a wrapper key                         KeyIDs 10..16
    image    ASP03   the proof of a firmware image                                       KeyID 18
    verify           the answer to a secured command: MAC, key counter and KeyID

The gateway never holds these keys. Of the keys for the link (00..0F) the head-end knows those that it
brings into the device: it wraps them and hands them out, it never opens a telegram with them.

Whatever must survive a power cut is written to the journal of the device, and the journal is saved,
before a container leaves this class: a counter that was handed out is never handed out again.
Source: OMS Volume 2 5.0.1 Table 45 (KeyIDs) and Table 47 (ASP); Annex M release C, Annex N release E N.12.2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import msgspec
from msgspec.structs import replace

from openmetering.codec.address import Address
from openmetering.codec.apl import security_transfer
from openmetering.codec.apl.image_transfer import ImageMac
from openmetering.codec.apl.security_transfer import (
    IMMEDIATE,
    INVALID_TIME,
    Activation,
    CombinedActivation,
    KeyTransfer,
    SecuredData,
    SecurityTransfer,
    SitpBlock,
    StatusResponse,
)
from openmetering.errors import AuthenticationFailed, DecodeError, KeyNotFound, NotRepresentable, Replayed, SecurityError
from openmetering.protocol.exchange import Answered
from openmetering.protocol.operator.answers import answer_block, payload, status_refusal
from openmetering.protocol.operator.journal import ImageEntry, Journal, OpenCommand, RenewalEntry
from openmetering.security import (
    Key,
    KeyRing,
    asp01_wrap,
    asp03_mac,
    asp10_mac,
    check_asp10,
    message_digest,
)
from openmetering.security.counters import COUNTER_END, SERVICE_CONDITION
from openmetering.tables import KEY_IDS

__all__ = ["IMAGE_KEY", "Confirmation", "HeadEnd", "Order", "Secured", "read_key_list", "wrapper_of"]

IMAGE_KEY: Final = 0x18  #: firmware image authentication (ASP03)
IMAGE_ALGORITHM: Final = 0x04  #: AES-CMAC, 16 octets (OMS Volume 2 5.0.1 Table 47)
_ROOT: Final = 0x10
_UNUSED: Final = 0xFF
_END_TO_END, _TRANSFER, _DESTROY, _COMBINED = 0x20, 0x00, 0x03, 0x04
_WRAPPED_KEY, _WRAPPED_SINGLE, _WRAPPED_COMBINED, _ASP10 = 0x01, 0x02, 0x03, 0x32
_RESET_COUNTER = 1
_LAST_COMMUNICATION = 0x0F


class Order(msgspec.Struct, frozen=True):
    """What is to be secured. ``pid`` 01 M-Bus records, 04 clock, 06 image transfer; ``meaning`` is for the journal."""

    key_id: int
    pid: int
    apdu: bytes
    target_time: bytes = IMMEDIATE
    meaning: str = ""

    @property
    def digest(self) -> bytes:
        """Sixteen octets that stand for the order, the same for the same order."""
        return message_digest(bytes((self.key_id, self.pid)) + self.target_time + self.apdu)


class Secured(msgspec.Struct, frozen=True):
    """An order in its container. ``payload`` are the octets behind the transport header."""

    command: OpenCommand
    block: SitpBlock

    @property
    def payload(self) -> bytes:
        """The SITP message."""
        return SecurityTransfer((self.block,)).encode()


class Confirmation(msgspec.Struct, frozen=True):
    """A secured command that the device took.

    ``proof``  "answer": the device says so under its key; "counter": the answer was lost, and the key counter
               of the device tells that the command was taken (executed, or refused in an answer nobody heard)
    ``apdu``   of the answer, empty where there is none; ``status`` of DSI 22, None where the answer has data
    """

    proof: str
    apdu: bytes = b""
    status: int | None = None

    @property
    def scheduled(self) -> bool:
        """True if the device will execute the command later."""
        return self.status == 1


def wrapper_of(key_id: int) -> int:
    """The KeyID of the wrapper key for a key.

    Source   OMS Volume 2 5.0.1 Table 45; the root wrapper key wraps its own successor, see Annex M Table M.29
             (wrapper KeyIDs from 10h on)
    Raises   NotRepresentable if no wrapper is known
    """
    wrapper = _ROOT if key_id == _ROOT else KEY_IDS[key_id].wrapper
    if wrapper is None:
        raise NotRepresentable(f"no wrapper key is known for KeyID {key_id:02X}h", field="key_id", value=key_id)
    return wrapper


def _forget(journal: Journal) -> None:
    """Where nothing needs to survive."""


class HeadEnd:
    """Keys and journals of many devices.

    ``keys``      application and wrapper keys, and new keys for the link, with KeyID and KeyVersion
    ``journals``  as they were saved last
    ``save``      called with the journal of a device before anything that depends on it leaves; must not return
                  before it is safe
    """

    __slots__ = ("_journals", "_keys", "_save")

    def __init__(self, keys: KeyRing, *, journals: Iterable[Journal] = (), save: Callable[[Journal], None] = _forget) -> None:
        self._keys = keys
        self._journals = {journal.address: journal for journal in journals}
        self._save = save

    def rehearsal(self) -> HeadEnd:
        """The same keys and journals, with nothing saved: for a dry run."""
        return HeadEnd(self._keys, journals=self._journals.values())

    def __repr__(self) -> str:
        return f"<HeadEnd with {len(self._keys)} keys, {len(self._journals)} devices>"

    # -- journal ------------------------------------------------------------------------------

    def journal(self, device: Address) -> Journal:
        """The journal of a device."""
        return self._journals.get(device) or Journal(device)

    def keep(self, journal: Journal) -> None:
        """Save a journal; if that fails nothing has changed."""
        self._save(journal)
        self._journals[journal.address] = journal

    def move(self, old: Address, new: Address) -> None:
        """The device got another address (UC-20a): its journal goes with it."""
        self.keep(replace(self.journal(old), address=new))
        self.keep(Journal(old))

    def adopt(self, device: Address, key_id: int, version: int) -> None:
        """Take it as known which version of a key the device uses."""
        self.keep(self.journal(device).with_version(key_id, version))

    def raise_counter(self, device: Address, key_id: int, version: int, counter: int) -> None:
        """The device holds this key counter: the next command goes beyond it."""
        self.keep(self.journal(device).with_counter(key_id, version, counter))

    def close(self, device: Address, key_id: int) -> None:
        """The outcome of the open command under a key is known."""
        self.keep(self.journal(device).without_command(key_id))

    # -- keys ---------------------------------------------------------------------------------

    def version(self, device: Address, key_id: int) -> int:
        """The active version: as the journal says, else the lowest in the ring (the one the device came with), else 0."""
        told = self.journal(device).version(key_id)
        if told is not None:
            return told
        known = self._keys.find(device.link_octets(), key_id=key_id)
        return min((key.version or 0 for key in known), default=0)

    def key(self, device: Address, key_id: int, version: int | None = None) -> Key:
        """A key, by default the active version. Raises KeyNotFound (``key.missing``)."""
        number = self.version(device, key_id) if version is None else version
        return self._keys.require(device.link_octets(), key_id=key_id, version=number)[0]

    def hand_out(self, device: Address, key_id: int, version: int) -> KeyRing:
        """A ring with one key for the link, to be given to the gateway.

        Raises NotRepresentable for an application or wrapper key: the gateway must not have it; KeyNotFound.
        """
        if key_id > _LAST_COMMUNICATION:
            raise NotRepresentable(f"key {key_id:02X}h is not for the link", field="key_id", value=key_id)
        ring = KeyRing()
        ring.add(device.link_octets(), self.key(device, key_id, version).octets, key_id, version)
        return ring

    # -- ASP10: commands ------------------------------------------------------------------------

    def secure(self, device: Address, order: Order) -> Secured:
        """Reserve a key counter, write the order to the journal and put it into its container.

        Octets   BL(2) BID BCF=20 recipient=00 DSI=32 KeyID KeyVersion | key counter(4) target time(5) PID APDU MAC(8)
        Source   OMS Volume 2 Annex N release E, N.12.2
        Raises   KeyNotFound; SecurityError (``counter.exhausted``) beyond FFFFFFFFh, the key must be renewed
        """
        version = self.version(device, order.key_id)
        key = self.key(device, order.key_id, version)
        journal = self.journal(device)
        counter = journal.counter(order.key_id, version) + 1
        if counter > COUNTER_END:
            raise SecurityError(
                f"the key counter of key {order.key_id:02X}h is used up, the key must be renewed",
                address=str(device),
                code="counter.exhausted",
            )
        command = OpenCommand(order.key_id, version, counter, order.digest, order.meaning)
        block = _container(key, command, order)
        self.keep(journal.with_counter(order.key_id, version, counter).with_command(command))
        return Secured(command, block)

    def again(self, device: Address, command: OpenCommand, order: Order) -> Secured:
        """The very same container as before: a device executes it once at most, whatever became of the first one."""
        if command.digest != order.digest:
            raise NotRepresentable("the open command is another one", field="order", value=order.meaning)
        return Secured(command, _container(self.key(device, command.key_id, command.version), command, order))

    def verify(self, device: Address, secured: Secured, answered: Answered) -> Confirmation:
        """Check the answer to a secured command and return what it says.

        Source   OMS Volume 2 Annex N release E, N.12.3 and N.12.4: the answer repeats KeyID, KeyVersion and key counter
        Raises   Refused in words; AuthenticationFailed if key or MAC are wrong; Replayed if it answers an older
                 command; DecodeError
        """
        answer = answer_block(secured.block, payload(answered, "sitp"))
        structure = answer.read()
        if isinstance(structure, StatusResponse):
            if not structure.success:
                raise status_refusal(structure.status)
            return Confirmation("answer", status=structure.status)
        if not isinstance(structure, SecuredData):
            raise DecodeError(
                f"structure {answer.structure:02X}h does not answer a secured command",
                layer="apl",
                octets=answer.content,
                code="answer.block",
            )
        command = secured.command
        if answer.header != secured.block.header:
            raise AuthenticationFailed("the answer names another key than the command", address=str(device), layer="sitp")
        check_asp10(
            self.key(device, command.key_id, command.version).cipher,
            structure.mac,
            key_counter=structure.counter,
            target_time=structure.target_time,
            pid=structure.pid,
            apdu=structure.apdu,
        )
        if structure.counter != command.counter:
            raise Replayed(
                f"the answer belongs to key counter {structure.counter}, not {command.counter}", address=str(device), layer="sitp"
            )
        return Confirmation("answer", structure.apdu)

    # -- ASP03: images --------------------------------------------------------------------------

    def image_mac(self, device: Address, image: bytes) -> ImageMac:
        """The MAC field of a firmware image. Raises KeyNotFound."""
        version = self.version(device, IMAGE_KEY)
        cipher = self.key(device, IMAGE_KEY, version).cipher
        return ImageMac(IMAGE_ALGORITHM, IMAGE_KEY, version, asp03_mac(cipher, image))

    def note_image(self, device: Address, entry: ImageEntry | None) -> None:
        """Write to the journal how far a firmware transfer is; None when it is over."""
        self.keep(replace(self.journal(device), image=entry))

    # -- ASP01: keys ----------------------------------------------------------------------------

    def wrap(self, device: Address, key_id: int, control: int, structure: int, content: bytes) -> SitpBlock:
        """A block whose content is wrapped under the wrapper key for a KeyID.

        Octets   DSI, DSH1 = KeyID of the wrapper, DSH2 = its KeyVersion, then the wrapped structure (RFC 5649)
        Source   OMS Volume 2 Annex F, F.E.1 and F.E.3
        Raises   NotRepresentable without a wrapper, KeyNotFound
        """
        wrapper = wrapper_of(key_id)
        version = self.version(device, wrapper)
        wrapped = asp01_wrap(self.key(device, wrapper, version).cipher, content)
        return SitpBlock(0, control, structure, bytes((wrapper, version)), wrapped)

    def transfer_block(self, device: Address, key_id: int, version: int) -> SitpBlock:
        """BCF 00, DSI 01: a new key for the device, not to be activated by itself.

        Source   OMS Volume 2 Annex M release C, Table M.29 (release A: Table M.28)
        Raises   NotRepresentable for version FFh, KeyNotFound
        """
        if version == _UNUSED:
            raise NotRepresentable("KeyVersion FFh is no version", field="version", value=version)
        key = self.key(device, key_id, version)
        if key.version != version:  # a key without version is no new key: it may be the one in use
            raise KeyNotFound(
                f"no key for {device} with KeyID {key_id:02X}h whose KeyVersion is {version:02X}h", address=str(device)
            )
        content = KeyTransfer(INVALID_TIME, key.octets, key_id, version).encode()
        return self.wrap(device, key_id, _TRANSFER, _WRAPPED_KEY, content)

    def activation_block(self, device: Address, key_id: int, old: int, new: int) -> SitpBlock:
        """BCF 04, DSI 03: the new version in place of the old one, counters reset.

        Source   OMS Volume 2 Annex M release C, Table M.30 (release A: Table M.29)
        """
        content = CombinedActivation(IMMEDIATE, key_id, new, key_id, old, _RESET_COUNTER).encode()
        return self.wrap(device, key_id, _COMBINED, _WRAPPED_COMBINED, content)

    def destruction_block(self, device: Address, key_id: int, version: int) -> SitpBlock:
        """BCF 03, DSI 02: a version that is not active any more is deleted (release A).

        Source   OMS Volume 2 Annex M release A, M.2.10; Annex F F.A.2.4
        Raises   NotRepresentable for the active version
        """
        if version == self.version(device, key_id):
            raise NotRepresentable("an active key must not be destroyed", field="version", value=version)
        content = Activation(IMMEDIATE, key_id, version).encode()
        return self.wrap(device, key_id, _DESTROY, _WRAPPED_SINGLE, content)

    def note_renewal(self, device: Address, renewal: RenewalEntry) -> None:
        """Write to the journal how far the renewal of a key is."""
        self.keep(self.journal(device).with_renewal(renewal))

    def finish_renewal(self, device: Address, renewal: RenewalEntry) -> None:
        """The device uses the new version. Its key counter goes on where the old one stood.

        A device should reset the key counter, it need not: going on is right in both cases. Only a counter that
        nears its end starts again. Source: OMS Volume 2 Annex M release C, Table M.30, option.
        """
        key_id = renewal.key_id
        journal = self.journal(device).without_renewal(key_id).without_command(key_id).with_version(key_id, renewal.new)
        last = journal.counter(key_id, renewal.old)
        self.keep(journal.with_counter(key_id, renewal.new, last if last < SERVICE_CONDITION else 0))

    def give_up_renewal(self, device: Address, key_id: int) -> None:
        """Forget a renewal that was not carried through; the device keeps the version it has."""
        self.keep(self.journal(device).without_renewal(key_id))


def _container(key: Key, command: OpenCommand, order: Order) -> SitpBlock:
    """The ASP10 block of an order."""
    mac = asp10_mac(key.cipher, command.counter, order.target_time, order.pid, order.apdu)
    content = SecuredData(order.target_time, command.counter, order.pid, order.apdu, mac).encode()
    return SitpBlock(0, _END_TO_END, _ASP10, bytes((command.key_id, command.version)), content)


def read_key_list(block: SitpBlock) -> security_transfer.KeyList:
    """The list in an answer block, with or without counters. Raises DecodeError (``answer.block``)."""
    structure = block.read()
    if not isinstance(structure, security_transfer.KeyList):
        raise DecodeError(
            f"structure {block.structure:02X}h is no list of keys", layer="apl", octets=block.content, code="answer.block"
        )
    return structure
