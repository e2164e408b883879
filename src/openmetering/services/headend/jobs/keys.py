"""The key vault as jobs need it: the keys of one device, new ones for it, and every container counted as a use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from openmetering.codec.address import Address
from openmetering.errors import NotRepresentable
from openmetering.security import Key, KeyRing
from openmetering.security.aes import BLOCK
from openmetering.services.headend.model import KeyInfo
from openmetering.services.headend.vault import Vault
from openmetering.storage import registry_rows
from openmetering.storage.database import Database

__all__ = ["VaultKeys"]

_KEY_IDS: Final = range(0x30)  #: KeyIDs that the head-end has to do with; OMS Volume 2 5.0.1 Table 45
_LINK: Final = 0x10  #: KeyIDs below are for the link
_LIVE: Final = ("active", "waiting")
_VERSIONS: Final = 0xFF  #: KeyVersions 0 to 254; FFh is none
_PAGE: Final = 1000


class _CountedRing(KeyRing):
    """Tells of each key that is taken out of it to be used."""

    __slots__ = ("_used",)

    def __init__(self, used: Callable[[Key], None]) -> None:
        super().__init__()
        self._used = used

    def require(
        self, address: bytes, *, key_id: int | None = 0, version: int | None = None, size: int = BLOCK
    ) -> tuple[Key, ...]:
        """As in any ring; the first one is counted."""
        found = super().require(address, key_id=key_id, version=version, size=size)
        self._used(found[0])
        return found


class VaultKeys:
    """The vault behind ``JobKeys``."""

    __slots__ = ("_database", "_vault")

    def __init__(self, vault: Vault, database: Database) -> None:
        self._vault = vault
        self._database = database

    def ring(self, device: Address) -> KeyRing:
        """The keys of a device that are active or waiting; uses are counted when the head-end takes one."""
        octets, vault = device.link_octets(), self._vault
        live = vault.live_ring()

        def used(key: Key) -> None:
            number = vault.number_of(key, octets)
            if number is not None:
                vault.count([number])

        ring = _CountedRing(used)
        for key_id in _KEY_IDS:
            for key in reversed(live.find(octets, key_id=key_id)):  # the best is added last: it is found first
                ring.add(octets, key.octets, key_id, key.version, key.label)
        return ring

    def new_key(self, device: Address, key_id: int) -> Key:
        """The key that waits for a device, or a new one at random under the next version.

        Raises NotRepresentable if all versions are used up
        """
        known = [info for info in self._infos(device) if info.key_id == key_id]
        waiting = max((info for info in known if info.state == "waiting"), key=lambda info: info.id, default=None)
        if waiting is None:
            with self._database.reading() as connection:
                row = registry_rows.device_of_address(connection, str(device))
            tenant = None if row is None else row.tenant_id
            version = self._next_version(device, key_id, known)
            waiting = self._vault.generate(str(device), key_id, version, tenant_id=tenant)
        return Key(self._vault.octets_of(waiting.id), key_id, waiting.version)

    def in_use(self, device: Address, key_id: int, version: int) -> None:
        """The device uses this version: it is active. Older ones of application and wrapper keys are retired; those for
        the link stay, for telegrams that are still on their way."""
        for info in self._infos(device):
            if info.key_id != key_id:
                continue
            if info.version == version and info.state == "waiting":
                self._vault.activate(info.id)
            elif info.version != version and info.state == "active" and key_id >= _LINK:
                self._vault.retire(info.id)

    def moved(self, device: Address, address: Address) -> None:
        """The keys of a device count for another address as well; what is known for that address stays."""
        taken = {(info.key_id, info.version) for info in self._infos(address) if info.state in _LIVE}
        for info in self._infos(device):
            if info.state in _LIVE and (info.key_id, info.version) not in taken:
                octets = self._vault.octets_of(info.id)
                self._vault.add(
                    str(address), octets, info.key_id, info.version,
                    label=info.label, tenant_id=info.tenant_id, created_by=info.created_by, state=info.state,
                )  # fmt: skip

    def _infos(self, device: Address) -> list[KeyInfo]:
        """Everything that is kept for this very device."""
        pattern, found, after = str(device), list[KeyInfo](), None
        while True:
            page = self._vault.keys(pattern=pattern, after=after, limit=_PAGE)
            found += [info for info in page.items if info.address_pattern == pattern]
            if page.after is None:
                return found
            after = page.after

    def _next_version(self, device: Address, key_id: int, known: list[KeyInfo]) -> int:
        taken: set[int] = {info.version or 0 for info in known}
        taken |= {key.version or 0 for key in self._vault.live_ring().find(device.link_octets(), key_id=key_id)}
        following = max(taken, default=0) + 1
        free = (*range(following, _VERSIONS), *range(min(following, _VERSIONS)))
        version: int | None = next((number for number in free if number not in taken), None)
        if version is None:
            raise NotRepresentable(f"all versions of key {key_id:02X}h of {device} are used up", field="version", value=_VERSIONS)
        return version
