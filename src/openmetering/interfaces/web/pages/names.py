"""Names for numbers: devices and users as the visitor may know them."""

from __future__ import annotations

from collections.abc import Iterator

from openmetering.errors import InputError
from openmetering.interfaces.web.pages.visit import Visit
from openmetering.services.headend.model import User, every

__all__ = ["Names", "users_of"]

_PART = 500


def users_of(visit: Visit) -> Iterator[User]:
    """All accounts that the visitor may see. Raises InputError (``access.denied``)"""
    return every(lambda after: visit.session.users(after=after, limit=_PART))


class Names:
    """Looks each name up once for a page."""

    __slots__ = ("_devices", "_users", "_visit")

    def __init__(self, visit: Visit) -> None:
        self._visit = visit
        self._devices: dict[int, str] = {}
        self._users: dict[int, str] | None = None

    def device(self, device_id: int | None) -> str:
        """Label or address of a device; its number where the user may not see it."""
        if device_id is None:
            return ""
        if device_id not in self._devices:
            try:
                found = self._visit.session.device(device_id)
                self._devices[device_id] = found.label or found.address
            except InputError:
                self._devices[device_id] = f"#{device_id}"
        return self._devices[device_id]

    def user(self, user_id: int | None) -> str:
        """Name of a user: for oneself, and for who may see users; otherwise the number."""
        if user_id is None:
            return ""
        if user_id == self._visit.user.id:
            return self._visit.user.name
        if self._users is None:
            seen = users_of(self._visit) if self._visit.can("read", "users") else ()
            self._users = {one.id: one.name for one in seen}
        return self._users.get(user_id, f"#{user_id}")
