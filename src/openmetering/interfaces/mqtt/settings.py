"""How the broker is reached, as read from a configuration: strict, and without a password in it."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from openmetering.errors import InputError
from openmetering.interfaces.mqtt.discovery import Topics
from openmetering.interfaces.mqtt.meters import Rules

__all__ = ["MqttSettings", "TlsSettings"]


class TlsSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Files in PEM. ``ca`` None: the authorities of the system; ``certificate`` and ``key`` name us to the broker."""

    ca: str | None = None
    certificate: str | None = None
    key: str | None = None

    def context(self) -> ssl.SSLContext:
        """TLS 1.2 or newer, the name of the broker is checked. Raises InputError (``mqtt.tls``)"""
        try:
            context = ssl.create_default_context(cafile=self.ca)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            if self.certificate is not None:
                context.load_cert_chain(self.certificate, self.key)
        except (OSError, ssl.SSLError) as error:
            raise InputError(f"the TLS files of the MQTT broker cannot be used: {error}", code="mqtt.tls") from error
        return context


class MqttSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The broker and what is published there.

    ``port``           None: 8883 with TLS, 1883 without
    ``protocol``       "5" or "3.1.1"
    ``password_file``  a file with the password, nothing else; ``username`` goes with it
    ``devices``        ``registered``: only those that are registered with the head-end; ``all``: the neighbours' too
    ``memory``         a file in which is kept what the meters have shown (see ``meters``)
    ``buffer``         messages that wait at most while the broker is away; the newest state of each meter always waits
    """

    host: str
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] | None = None
    tls: TlsSettings | None = None
    username: str | None = None
    password_file: str | None = None
    client: str | None = None
    protocol: Literal["5", "3.1.1"] = "5"
    keepalive: Annotated[int, msgspec.Meta(ge=5)] = 60
    topics: Topics = Topics()
    publish: Rules = Rules()
    devices: Literal["registered", "all"] = "registered"
    memory: str | None = None
    buffer: Annotated[int, msgspec.Meta(ge=1)] = 10_000

    @property
    def number(self) -> int:
        """The port that is used."""
        return self.port if self.port is not None else (1883 if self.tls is None else 8883)

    def password(self) -> str | None:
        """The password, read now. Raises InputError (``mqtt.password``)"""
        if self.password_file is None:
            return None
        try:
            return Path(self.password_file).read_text(encoding="utf-8").strip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"the password of the MQTT broker cannot be read: {error}", code="mqtt.password") from error
