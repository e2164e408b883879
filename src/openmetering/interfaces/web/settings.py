"""What can be set about the web application; the decisions about it are made by whoever starts it."""

from __future__ import annotations

import ssl
from pathlib import Path

import msgspec

from openmetering.errors import InputError

__all__ = ["Tls", "WebSettings"]

_SHORTEST_SECRET = 32


class Tls(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Certificate chain and private key, both as PEM files."""

    certificate: Path
    key: Path

    def check(self) -> None:
        """Load both once, so that a wrong file is told before the port is opened. Raises InputError (``web.tls``)"""
        for path in (self.certificate, self.key):
            if not path.is_file():
                raise InputError(f"TLS file {path} is not there", code="web.tls")
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self.certificate, self.key, password=_no_password)
        except (ssl.SSLError, OSError) as error:
            raise InputError(
                f"TLS certificate {self.certificate} and key {self.key} do not go together: {error}", code="web.tls"
            ) from error


def _no_password() -> str:
    """OpenSSL would ask on the terminal; a daemon has none."""
    return ""


class WebSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of the web application.

    ``secret`` signs the tokens of forms; at least 32 characters, the same in all processes, never shown.
    ``behind_tls`` says that a proxy in front speaks TLS: cookies are then marked Secure as well.
    ``trusted_proxies`` are addresses whose ``X-Forwarded-For`` and ``X-Forwarded-Proto`` are believed.
    ``requests_per_minute`` per client address, ``logins_per_minute`` password attempts per client address.
    ``largest_body`` of a request, in octets.
    """

    secret: str
    host: str = "127.0.0.1"
    port: int = 8080
    tls: Tls | None = None
    behind_tls: bool = False
    trusted_proxies: tuple[str, ...] = ()
    requests_per_minute: int = 1200
    logins_per_minute: int = 10
    largest_body: int = 4 * 1024 * 1024

    def __post_init__(self) -> None:
        if len(self.secret) < _SHORTEST_SECRET:
            raise InputError(f"the secret of the web page has fewer than {_SHORTEST_SECRET} characters", code="web.secret")
        if not 0 <= self.port <= 65535:
            raise InputError(f"port {self.port} is not between 0 and 65535", code="web.port")
        for name in ("requests_per_minute", "logins_per_minute", "largest_body"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1", code="web.limit")

    def __repr__(self) -> str:
        return f"WebSettings(host={self.host!r}, port={self.port}, secure={self.secure})"

    @property
    def secure(self) -> bool:
        """True if browsers reach the page over TLS."""
        return self.tls is not None or self.behind_tls
