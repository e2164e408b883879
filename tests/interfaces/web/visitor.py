"""A browser without a window: opens pages of the house and sends their forms."""

from __future__ import annotations

import re

from litestar.testing import TestClient

from tests.interfaces.web.house import PASSWORD, House

_TOKEN = re.compile(r'name="_csrf_token" value="([^"]*)"')


class Visitor:
    """A browser without a window."""

    def __init__(self, house: House, name: str = "", password: str = PASSWORD) -> None:
        self.client = TestClient(house.app())
        self.client.follow_redirects = False
        if name:
            answer = self.send("/login", {"name": name, "password": password, "next": "/"}, form="/login")
            assert answer.status_code == 303, answer.text

    def get(self, path: str):  # type: ignore[no-untyped-def]
        """Open a page."""
        return self.client.get(path)

    def token(self, path: str) -> str:
        """The token of the forms of a page."""
        found = _TOKEN.search(self.get(path).text)
        assert found is not None
        return found[1]

    def send(self, path: str, data: dict[str, str], *, form: str = "/account", files: dict[str, bytes] | None = None):  # type: ignore[no-untyped-def]
        """Send a form."""
        fields = {**data, "_csrf_token": self.token(form)}
        if files is None:
            return self.client.post(path, data=fields)
        return self.client.post(path, data=fields, files={name: (name, octets) for name, octets in files.items()})
