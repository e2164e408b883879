"""What a head-end must not forget about a device: one value, saved before a step is taken.

    active     which version of a key the device uses
    counters   the highest key counter reserved, per KeyID and KeyVersion; they never go back
    commands   commands that were handed over and whose outcome is not known yet
    renewals   keys on their way into the device
    image      a firmware transfer on its way

No key material stands in it. A power cut is a new ``HeadEnd`` around the journals that were saved last.
Source: OMS Volume 2 Annex F F.A.9 and Annex M release C M.2.6, M.2.9 (clauses to confirm); EN 13757-7:2018 A.9.1.
"""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec.structs import replace

from openmetering.codec.address import Address

__all__ = ["CounterEntry", "ImageEntry", "ImageStage", "Journal", "OpenCommand", "RenewalEntry", "RenewalStage"]

#: transferring: the key may be in the device; transferred: it is, inactive; activating: it may be active
RenewalStage = Literal["transferring", "transferred", "activating"]

#: preparing: prepare may have been sent; transferring: it was executed; activating: activate may have been sent
ImageStage = Literal["preparing", "transferring", "activating"]


class CounterEntry(msgspec.Struct, frozen=True):
    """The highest key counter reserved under one version of a key."""

    key_id: int
    version: int
    last: int


class OpenCommand(msgspec.Struct, frozen=True):
    """A secured command whose outcome is not known. ``digest`` stands for PID, target time and APDU."""

    key_id: int
    version: int
    counter: int
    digest: bytes
    meaning: str = ""


class RenewalEntry(msgspec.Struct, frozen=True):
    """A key on its way into the device: from version ``old`` to version ``new``."""

    key_id: int
    old: int
    new: int
    stage: RenewalStage


class ImageEntry(msgspec.Struct, frozen=True):
    """A firmware transfer; ``digest`` of the image."""

    identifier: bytes
    digest: bytes
    block_size: int
    stage: ImageStage = "preparing"


class Journal(msgspec.Struct, frozen=True):
    """The journal of one device. Changes make a new value."""

    address: Address
    active: tuple[tuple[int, int], ...] = ()
    counters: tuple[CounterEntry, ...] = ()
    commands: tuple[OpenCommand, ...] = ()
    renewals: tuple[RenewalEntry, ...] = ()
    image: ImageEntry | None = None

    def version(self, key_id: int) -> int | None:
        """The active version of a key, None if it was never told."""
        return dict(self.active).get(key_id)

    def with_version(self, key_id: int, version: int) -> Journal:
        """The journal with another active version."""
        return replace(self, active=tuple(sorted({**dict(self.active), key_id: version}.items())))

    def counter(self, key_id: int, version: int) -> int:
        """The highest counter reserved under a key, 0 if none."""
        return max((entry.last for entry in self.counters if (entry.key_id, entry.version) == (key_id, version)), default=0)

    def with_counter(self, key_id: int, version: int, last: int) -> Journal:
        """The journal with a counter raised; a lower one changes nothing."""
        highest = max(last, self.counter(key_id, version))
        others = tuple(entry for entry in self.counters if (entry.key_id, entry.version) != (key_id, version))
        return replace(self, counters=(*others, CounterEntry(key_id, version, highest)))

    def command(self, key_id: int) -> OpenCommand | None:
        """The open command under a key; there is at most one."""
        return next((entry for entry in self.commands if entry.key_id == key_id), None)

    def with_command(self, command: OpenCommand) -> Journal:
        """The journal with an open command, in place of another one under the same key."""
        return replace(self.without_command(command.key_id), commands=(*self._commands_but(command.key_id), command))

    def without_command(self, key_id: int) -> Journal:
        """The journal without the open command under a key."""
        return replace(self, commands=self._commands_but(key_id))

    def _commands_but(self, key_id: int) -> tuple[OpenCommand, ...]:
        return tuple(entry for entry in self.commands if entry.key_id != key_id)

    def renewal(self, key_id: int) -> RenewalEntry | None:
        """The renewal of a key that is under way."""
        return next((entry for entry in self.renewals if entry.key_id == key_id), None)

    def with_renewal(self, renewal: RenewalEntry) -> Journal:
        """The journal with a renewal, in place of another one of the same key."""
        return replace(self, renewals=(*self._renewals_but(renewal.key_id), renewal))

    def without_renewal(self, key_id: int) -> Journal:
        """The journal without the renewal of a key."""
        return replace(self, renewals=self._renewals_but(key_id))

    def _renewals_but(self, key_id: int) -> tuple[RenewalEntry, ...]:
        return tuple(entry for entry in self.renewals if entry.key_id != key_id)
