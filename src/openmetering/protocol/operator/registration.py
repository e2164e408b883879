"""UC-01, registration: what to do with a device that asks to be installed or was found on a bus.

    radio   SND-IR, started by hand      -> decide: CNF-IR or nothing; its M-Bus data are the first reading
    wired   primary address, secondary address or search -> decide; REQ-UD2 gives the first reading

No data are demanded; the fabrication number ID1! may stand in the selection or in the answer.
Source: OMS Volume 2 Annex M release C and release A, Table M.7.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal

import msgspec

from openmetering.codec.address import Address
from openmetering.codec.apl.records import Record
from openmetering.protocol.operator.answers import ask, payload, read_records
from openmetering.protocol.operator.steps import Procedure
from openmetering.protocol.operator.tags import find
from openmetering.security import AddressPattern, KeyRing
from openmetering.telegram.model import PLAIN, SecurityReport

__all__ = ["Decision", "Found", "Registration", "Verdict", "decide", "first_reading", "read_for_registration"]

#: accept: new and wanted; known: registered already; foreign: not wanted here; unreadable: no key, or a proof that fails
Verdict = Literal["accept", "known", "foreign", "unreadable"]


class Found(msgspec.Struct, frozen=True):
    """A device that showed itself.

    ``address`` of the application device, ``adapter`` of the radio adapter in front of it, ``primary`` its primary
    address on a wire; ``security`` how its telegram was protected; ``records`` what the telegram held.
    """

    address: Address
    adapter: Address | None = None
    primary: int | None = None
    security: SecurityReport = PLAIN
    records: tuple[Record, ...] = ()


class Decision(msgspec.Struct, frozen=True):
    """What to do with it, and why, in words."""

    verdict: Verdict
    words: str

    @property
    def confirm(self) -> bool:
        """True if the gateway may answer SND-IR with CNF-IR."""
        return self.verdict in ("accept", "known")


class Registration(msgspec.Struct, frozen=True):
    """A registered device with its first reading; ``fabrication`` is ID1!, None where it does not tell."""

    found: Found
    fabrication: str | None
    records: tuple[Record, ...]


def decide(
    found: Found, *, wanted: Sequence[AddressPattern] = (), known: Collection[Address] = (), keys: KeyRing | None = None
) -> Decision:
    """Whether a device belongs here.

    ``wanted`` patterns of addresses, empty for all; ``known`` devices registered already; ``keys`` for the link: with
    them a device whose telegram could not be opened, or for which there is no key, is not taken.
    """
    octets = found.address.link_octets()
    value = int.from_bytes(octets, "big")
    if found.address in known:
        return Decision("known", f"{found.address} is registered already")
    if wanted and not any(
        value & int.from_bytes(pattern.mask, "big") == int.from_bytes(pattern.octets, "big") for pattern in wanted
    ):
        return Decision("foreign", f"{found.address} is not expected here")
    if found.security.state in ("key-missing", "failed"):
        return Decision("unreadable", f"the telegram of {found.address} cannot be opened: {found.security.state}")
    if keys is not None and found.security.state != "plain" and not keys.find(octets):
        return Decision("unreadable", f"there is no key for {found.address}")
    return Decision("accept", f"{found.address} is new")


def first_reading(found: Found, records: Sequence[Record] | None = None) -> Registration:
    """The registration of a device from the records that it sent (SND-IR) or that were read."""
    have = found.records if records is None else tuple(records)
    number = find(have, "ID1!")
    return Registration(found, None if number is None else number.raw[::-1].hex().upper(), have)


def read_for_registration(found: Found) -> Procedure[Registration]:
    """UC-01 on the wire: REQ-UD2 and MBus-Data, the first reading of a slave that was found.

    Source   OMS Volume 2 Annex M release C, Table M.7: Seq_REQ-UD2 [MBus-Data]
    Raises   Refused, ExchangeFailed, DecodeError
    """
    answered = yield from ask(None)
    return first_reading(found, read_records(payload(answered, "m-bus")))
