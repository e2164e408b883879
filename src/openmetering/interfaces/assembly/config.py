"""The configuration of a head-end: one TOML file, read strictly. What it does not know it refuses, and says where.

    [headend]    database = "sqlite:///headend.db" or "postgresql://...", master_key = "file:master.key"
    [web]        host, port, certificate, private_key, behind_tls, trusted_proxies, metrics_token_file
    [receive]    to = "mqtts://broker:8883": gateways report over this broker; see ``BrokerConfig``
    [[gateway]]  name, secret_file (wraps keys for the link), token_file (it reports by HTTPS), serves = ["*"]
    [publish]    MQTT for Home Assistant and others; see ``interfaces.mqtt.settings``
    [influx]     InfluxDB; see ``services.headend.influx``
    [mail]       the server that reports are sent by; see ``interfaces.reports.delivery``
    [rules]      see ``HeadEndRules``

Secrets are in files of their own or in the environment: ``database`` may be "env:NAME". Relative paths count from the folder
of the file.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

import msgspec

from openmetering.errors import InputError, OmsError
from openmetering.interfaces.mqtt.settings import MqttSettings
from openmetering.interfaces.reports.delivery import MailSettings
from openmetering.interfaces.web.settings import Tls, WebSettings
from openmetering.security import AddressPattern, parse_key
from openmetering.services.gatewayd.config import BrokerConfig, told
from openmetering.services.gatewayd.uplink import read_secret
from openmetering.services.headend.headend import HeadEndRules
from openmetering.services.headend.influx import InfluxSettings

__all__ = ["GatewayEntry", "HeadEndConfig", "HostConfig", "WebConfig", "load_config", "read_config", "web_secret"]

_Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
_SECRET_OCTETS: Final = 32


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of the file."""


class HeadEndConfig(_Part, frozen=True):
    """The head-end itself.

    ``database``    sqlite:///FILE, postgresql://user:password@host/name, or env:NAME of a variable that holds one
    ``master_key``  file:PATH, env:NAME or keyring:NAME; wraps the keys of the vault
    ``tick``        seconds between two looks for what is silent or late
    ``archive``     folder of closed months (Parquet); without it everything stays in the database
    """

    database: str
    master_key: str
    tick: Annotated[float, msgspec.Meta(gt=0, le=3600)] = 30.0
    archive: str = ""


class WebConfig(_Part, frozen=True):
    """The web page and the API.

    ``secret_file``         signs forms; made when it is not there, and kept
    ``certificate``, ``private_key``  TLS; ``behind_tls``: a proxy in front speaks it
    ``metrics_token_file``  with this token /metrics may be read from other machines
    """

    host: str = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 8080
    secret_file: str = "web.secret"
    certificate: str = ""
    private_key: str = ""
    behind_tls: bool = False
    trusted_proxies: tuple[str, ...] = ()
    requests_per_minute: int = 1200
    logins_per_minute: int = 10
    metrics_token_file: str = ""

    def settings(self) -> WebSettings:
        """As the application wants it. Raises InputError."""
        tls = Tls(Path(self.certificate), Path(self.private_key)) if self.certificate else None
        return WebSettings(
            secret=web_secret(Path(self.secret_file)),
            host=self.host,
            port=self.port,
            tls=tls,
            behind_tls=self.behind_tls,
            trusted_proxies=self.trusted_proxies,
            requests_per_minute=self.requests_per_minute,
            logins_per_minute=self.logins_per_minute,
        )


class GatewayEntry(_Part, frozen=True):
    """A gateway elsewhere.

    ``secret_file``  32 hexadecimal digits that the gateway has, too: jobs reach devices through it, and keys for the link
    ``token_file``   the token with which it reports by HTTPS
    ``serves``       patterns of the devices that jobs reach through it
    """

    name: _Name
    secret_file: str = ""
    token_file: str = ""
    serves: tuple[str, ...] = ("*",)


class HostConfig(_Part, frozen=True):
    """The whole file."""

    headend: HeadEndConfig
    web: WebConfig | None = WebConfig()
    receive: BrokerConfig | None = None
    gateway: tuple[GatewayEntry, ...] = ()
    publish: MqttSettings | None = None
    influx: InfluxSettings | None = None
    mail: MailSettings | None = None
    rules: HeadEndRules = HeadEndRules()

    def tokens(self) -> dict[str, str]:
        """Tokens of the gateways that report by HTTPS. Raises InputError."""
        return {one.name: read_secret(one.token_file, f"token of {one.name}") for one in self.gateway if one.token_file}

    def read_secrets(self) -> None:
        """Read every file that holds a secret which must be there. Raises InputError (``input.file``)"""
        self.tokens()
        for one in self.gateway:
            if one.secret_file:
                parse_key(read_secret(one.secret_file, f"secret of {one.name}"))
        for part, what in ((self.receive, "broker"), (self.publish, "broker to publish to"), (self.mail, "mail server")):
            if part is not None and part.password_file:
                read_secret(part.password_file, f"password of the {what}")
        if self.influx is not None and self.influx.token_file:
            read_secret(self.influx.token_file, "token of InfluxDB")
        if self.web is not None and self.web.metrics_token_file:
            read_secret(self.web.metrics_token_file, "token for metrics")

    def database_url(self, environment: Mapping[str, str] = os.environ) -> str:
        """The address of the database. Raises InputError."""
        kind, _, name = self.headend.database.partition(":")
        if kind != "env":
            return self.headend.database
        if not environment.get(name):
            raise _wrong(f"[headend, database] the environment variable {name} is not set")
        return environment[name]


def _wrong(message: str) -> InputError:
    return InputError(message, code="input.file", layer="input")


def web_secret(path: Path) -> str:
    """The secret of a file, made when it is not there; readable for its owner only. Raises InputError."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return read_secret(str(path), "secret of the web page")
    except OSError as error:
        raise _wrong(f"the secret of the web page cannot be written to {path}: {error.strerror}") from None
    secret = secrets.token_hex(_SECRET_OCTETS)
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(f"{secret}\n")
    return secret


def load_config(path: Path) -> HostConfig:
    """The configuration of a file. Raises InputError (``input.file``)."""
    try:
        octets = path.read_bytes()
    except OSError as error:
        raise _wrong(f"{path} cannot be read: {error.strerror or error}") from None
    try:
        return read_config(octets, path.resolve().parent)
    except InputError as error:
        raise InputError(f"{path.name}: {error.message}", code=error.code, layer="input") from None


def read_config(octets: bytes, folder: Path) -> HostConfig:
    """The configuration of octets; paths count from ``folder``. Nothing is opened yet. Raises InputError."""
    try:
        config = msgspec.toml.decode(octets, type=HostConfig)
    except msgspec.ValidationError as error:
        raise _wrong(told(str(error))) from None
    except msgspec.DecodeError as error:
        raise _wrong(f"no TOML: {error}") from None
    except UnicodeDecodeError:
        raise _wrong("no TOML: the file is not UTF-8") from None
    config = _with_paths(config, folder)
    for place, check in (("web", _check_web), ("receive", _check_receive), ("gateway", _check_gateways)):
        try:
            check(config)
        except OmsError as error:
            raise InputError(f"[{place}] {error.message}", code=error.code, layer="input") from None
    return config


def _with_paths(config: HostConfig, folder: Path) -> HostConfig:
    replace = msgspec.structs.replace

    def absolute(part: msgspec.Struct, *names: str) -> dict[str, str]:
        return {name: str(folder / Path(text).expanduser()) for name in names if (text := getattr(part, name))}

    head, web, receive, publish, influx = config.headend, config.web, config.receive, config.publish, config.influx
    mail = config.mail and replace(config.mail, **absolute(config.mail, "password_file", "ca"))
    head = replace(head, **absolute(head, "archive"))
    if head.master_key.startswith("file:"):
        head = replace(head, master_key=f"file:{folder / Path(head.master_key[5:]).expanduser()}")
    if web is not None:
        web = replace(web, **absolute(web, "secret_file", "certificate", "private_key", "metrics_token_file"))
    if receive is not None:
        receive = replace(receive, **absolute(receive, "password_file", "ca", "certificate", "private_key"))
    if publish is not None:
        tls = publish.tls and replace(publish.tls, **absolute(publish.tls, "ca", "certificate", "key"))
        publish = replace(publish, tls=tls, **absolute(publish, "password_file", "memory"))
    if influx is not None:
        influx = replace(influx, **absolute(influx, "token_file"))
    return replace(
        config,
        headend=replace(head, database=_database(head.database, folder)),
        web=web,
        receive=receive,
        publish=publish,
        influx=influx,
        mail=mail,
        gateway=tuple(replace(one, **absolute(one, "secret_file", "token_file")) for one in config.gateway),
    )


def _database(url: str, folder: Path) -> str:
    """``sqlite:///name.db`` counts from the folder, ``sqlite:////name.db`` from the root."""
    path = url.removeprefix("sqlite:///")
    return url if path == url or path.startswith("/") else f"sqlite:///{folder / path}"


def _check_web(config: HostConfig) -> None:
    web = config.web
    if web is not None and bool(web.certificate) != bool(web.private_key):
        raise _wrong("certificate and private_key belong together")


def _check_receive(config: HostConfig) -> None:
    if config.receive is not None and urlsplit(config.receive.to).scheme not in ("mqtt", "mqtts"):
        raise _wrong(f"to = {config.receive.to!r} is no broker; write mqtts://HOST:8883. Reports by HTTPS need a token_file only")


def _check_gateways(config: HostConfig) -> None:
    names = [one.name for one in config.gateway]
    doubled = next((name for name in names if names.count(name) > 1), None)
    if doubled is not None:
        raise _wrong(f"two are named {doubled!r}")
    if config.web is None and any(one.token_file for one in config.gateway):
        raise _wrong("reports by HTTPS need the [web] application")
    for one in config.gateway:
        for pattern in one.serves:
            AddressPattern.parse(pattern)
