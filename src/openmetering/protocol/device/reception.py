"""From a link frame to a command: address, layers, security and message counter, or why it is refused.

    01h  the CI is unknown or may not stand there       17h  a field, the AFL or its MAC is missing
    20h  MAC, tag, decryption, counter or key           21h  the security mode is not known here
    22h  the security is not that of the device

A counter is accepted only above the device's own (CM); with the verified message CM becomes that
counter, so that the device leads. [?] The exact condition stands in figures that were not readable.
Source: OMS Volume 2 5.0.1 Tables 40, 42 and 43, clause 9.3.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from openmetering.codec.link.wired import WiredFrame
from openmetering.codec.link.wireless import WirelessFrame
from openmetering.codec.tpl import ConfigurationB
from openmetering.protocol.device.refusals import (
    INADEQUATE_SECURITY,
    SECURITY_ERROR,
    STRUCTURE_ERROR,
    UNKNOWN_CI,
    UNSUPPORTED_SECURITY,
)
from openmetering.security import AddressPattern, KeyRing
from openmetering.tables import CONTROL_INFORMATION
from openmetering.telegram import Decoder, Policy, Telegram
from openmetering.telegram.opening import encrypted_length

if TYPE_CHECKING:
    from openmetering.codec.address import Address
    from openmetering.protocol.device.memory import DeviceMemory, KeySlot

__all__ = ["COMMUNICATION_KEYS", "Received", "Receiver"]

COMMUNICATION_KEYS: Final = range(0x10)  #: KeyIDs that protect messages

_POLICY = Policy("device", already_plain=False, reserved_modes=False, trailing=False, non_bcd_numbers=True)
_PROFILE_MODES: dict[str, int] = {"none": 0, "A": 5, "B": 7, "D": 10}
_MODES = frozenset(_PROFILE_MODES.values())
_TAG = 8  # octets of the tag of mode 10
_FILLER = b"\x2f"
_Signature = tuple[tuple[int, int, bytes], ...]


class Received(msgspec.Struct, frozen=True):
    """A frame for this device.

    ``complete`` False: a fragment. ``error``: application error; else ``protocol`` and ``payload`` are
    the command, ``slot`` the key that protected it and ``key_shown`` whether it named its KeyVersion.
    """

    complete: bool = True
    error: int | None = None
    protocol: str = ""
    payload: bytes = b""
    slot: KeySlot | None = None
    counter: int | None = None
    key_shown: bool = False


class Receiver:
    """Opens the frames for one device with the active communication keys of its memory.

    ``key_ids`` are the KeyIDs that may protect commands; ``adapter``: the sender of its frames is not the
    device. Partial messages are kept until ``forget``, or until the keys change.
    """

    __slots__ = ("_adapter", "_decoder", "_key_ids", "_memory", "_mode", "_partner", "_profile", "_signature", "_wired")

    def __init__(self, memory: DeviceMemory, profile: str, *, wired: bool, adapter: bool, key_ids: tuple[int, ...]) -> None:
        self._memory = memory
        self._profile = profile
        self._mode = _PROFILE_MODES[profile]
        self._wired = wired
        self._adapter = adapter
        self._key_ids = frozenset(key_ids)
        self._decoder: Decoder | None = None
        self._partner: Address | None = None
        self._signature: _Signature = ()

    def forget(self) -> None:
        """Drop partial messages."""
        self._decoder = None
        self._partner = None

    def read(self, frame: bytes, address: Address, now: float) -> Received | None:
        """Open a frame; None if it is not for this device or cannot be answered.

        Octets   a link frame, wired or wireless, with or without CRCs
        """
        telegram = self._opened(frame, now)
        if telegram.fragment:
            return Received(complete=False) if self._continues(telegram, address) else None
        if telegram.transport is None:
            return self._broken(telegram, address)
        info = CONTROL_INFORMATION[telegram.transport.ci]
        if info is None or info.direction == "up" or not self._meant(telegram, address):
            return None
        if info.protocol == "none":
            return Received(protocol="none")
        error = self._refused(telegram)
        if error is not None:
            return Received(error=error)
        return self._command(telegram, info.protocol)

    # -- keys ---------------------------------------------------------------------------------------

    def _opened(self, frame: bytes, now: float) -> Telegram:
        slots = self._memory.keys
        signature = tuple(
            (slot.key_id, slot.version, slot.octets) for slot in slots if slot.active and slot.key_id in self._key_ids
        )
        if self._decoder is None or signature != self._signature:
            ring = KeyRing()
            for key_id, version, octets in signature:
                ring.add(AddressPattern.everything(), octets, key_id, version)
            self._decoder = Decoder(ring, policy=_POLICY, crc=False)
            self._signature = signature
        return self._decoder.examine(frame, now=now)

    # -- whose ---------------------------------------------------------------------------------------

    def _reaches(self, telegram: Telegram, address: Address) -> bool:
        """True if the link layer says that this device is meant, which the radio can only by its ELL.

        An adapter is named by its own address, which its link machine has checked.
        Source   OMS Volume 2 5.0.1, 3.1.3: every fragment carries the address of its destination
        """
        wired = isinstance(telegram.link, WiredFrame)
        if wired or self._wired:
            return wired == self._wired
        destination = None if telegram.ell is None else telegram.ell.destination
        return destination is not None if self._adapter else destination == address

    def _continues(self, telegram: Telegram, address: Address) -> bool:
        """True if a fragment is one for this device.

        It should carry its destination. Where it has none (no ELL; Annex E, E.2.3 for IDIS), the first fragment
        names the device in its transport header, and the others come from the same sender.
        """
        if self._reaches(telegram, address):
            return True
        link, ell, afl = telegram.link, telegram.ell, telegram.afl
        if self._wired or not isinstance(link, WirelessFrame) or afl is None or (ell is not None and ell.destination is not None):
            return False
        if afl.fragmentation.fragment_id <= 1:
            at = (len(ell.encode()) if ell is not None else 0) + len(afl.encode())
            named = link.data[at + 1 : at + 9] == address.transport_octets()
            self._partner = link.address if named else None
        return link.address == self._partner

    def _meant(self, telegram: Telegram, address: Address) -> bool:
        """True if the transport header names this device; on the radio it must (mode C: long header downlink only)."""
        transport = telegram.transport
        assert transport is not None
        if isinstance(telegram.link, WirelessFrame) == self._wired:
            return False
        return self._wired if transport.address is None else transport.address == address

    def _broken(self, telegram: Telegram, address: Address) -> Received | None:
        """No transport layer came to light: silence for what the link should have seen, else a refusal."""
        cause = telegram.error
        if cause is None or cause.layer in ("link", "ell", "nwl") or telegram.link is None or not telegram.link.data:
            return None
        if not self._reaches(telegram, address):
            return None
        return Received(error=UNKNOWN_CI if cause.code.startswith("ci.") else STRUCTURE_ERROR)

    # -- security -------------------------------------------------------------------------------------

    def _refused(self, telegram: Telegram) -> int | None:
        return self._mode_refused(telegram) or self._open_refused(telegram) or self._counter_refused(telegram)

    def _mode_refused(self, telegram: Telegram) -> int | None:
        transport = telegram.transport
        assert transport is not None
        mode = transport.mode if transport.header != "none" else 0
        if mode == self._mode:
            return None
        return INADEQUATE_SECURITY if mode in _MODES else UNSUPPORTED_SECURITY

    def _open_refused(self, telegram: Telegram) -> int | None:
        if telegram.payload is None:
            code = telegram.error.code if telegram.error is not None else ""
            return SECURITY_ERROR if code.startswith("key.") else STRUCTURE_ERROR
        if self._mode and (telegram.security.state != "decrypted" or self._partly_clear(telegram)):
            return INADEQUATE_SECURITY
        return STRUCTURE_ERROR if self._profile == "B" and telegram.security.proof != "mac" else None

    @staticmethod
    def _partly_clear(telegram: Telegram) -> bool:
        """True if octets stand in the clear behind the encrypted ones: commands are encrypted whole (Table 42)."""
        transport, length = telegram.transport, len(telegram.payload or b"")
        assert transport is not None
        return encrypted_length(transport, length + (_TAG if transport.mode == 10 else 0)) < length

    def _counter_refused(self, telegram: Telegram) -> int | None:
        counter, slot = telegram.security.counter, self._slot(telegram)
        if counter is None:
            return None
        return SECURITY_ERROR if slot is None or counter <= slot.counter else None

    def _slot(self, telegram: Telegram) -> KeySlot | None:
        security = telegram.security
        return None if security.key_id is None else self._memory.key(security.key_id, security.key_version)

    def _command(self, telegram: Telegram, protocol: str) -> Received:
        transport, afl, payload = telegram.transport, telegram.afl, telegram.payload
        assert transport is not None
        assert payload is not None
        padded = transport.mode == 7 and bool(ConfigurationB(transport.configuration).padding)
        if transport.mode in (5, 7):
            payload = payload[2:]
            if protocol == "application-reset" and not padded:
                payload = _without_filler(payload)
        shown = transport.key_version is not None or (afl is not None and afl.key_information is not None)
        return Received(True, None, protocol, payload, self._slot(telegram), telegram.security.counter, shown)


def _without_filler(parameter: bytes) -> bytes:
    """The parameter of an application select without the fillers behind it.

    [?] Mode 5 has no bit for transport layer padding; fillers 2Fh are taken off the end. A select of application 2
    block 15 cannot be told from a reset then.
    """
    return parameter.rstrip(_FILLER)
