"""The configuration of a gateway: one TOML file, read strictly. What it does not know it refuses, and says where.

    [gateway]    name, state, address, keys
    [spool]      limit, segment, keep
    [merge]      hold, window, repeater_window
    [uplink]     to = "mqtts://broker:8883", "https://head-end/path" or "spool"; see ``UplinkConfig``
    [[source]]   at = a source string as of ``oms listen``; name, format, sends, and for wired lines [[source.poll]]
    [[device]]   devices that commands may reach; a head-end can enrol more
    [[thinning]] match, keep = every, best or status; slot, heartbeat

Durations are numbers of seconds or texts such as "15m"; sizes are octets or texts such as "64MiB". Secrets are in files of
their own: passwords, tokens and keys never stand in this file. Relative paths count from its folder.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

from openmetering.codec.address import Address
from openmetering.errors import InputError, OmsError
from openmetering.protocol.wired.orders import ReadPrimary, ReadSecondary, Target
from openmetering.security import AddressPattern
from openmetering.services.gatewayd.polling import PollPlan
from openmetering.services.gatewayd.thinning import Rule
from openmetering.transport.source_address import duration
from openmetering.transport.wired_door import primary_addresses, secondary_selection

__all__ = [
    "BrokerConfig",
    "Config",
    "DeviceConfig",
    "GatewayConfig",
    "MergeConfig",
    "PollConfig",
    "SourceConfig",
    "SpoolConfig",
    "ThinningConfig",
    "UplinkConfig",
    "load_config",
    "octets_of",
    "read_config",
    "seconds_of",
    "told",
]

Duration = float | str
Size = int | str
_Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
_SIZES: Final = {"": 1, "B": 1, "K": 1 << 10, "KiB": 1 << 10, "M": 1 << 20, "MiB": 1 << 20, "G": 1 << 30, "GiB": 1 << 30}
_LEAST_SEGMENT: Final = 1 << 16
_SLOTS: Final = (900.0, 3600.0)


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of the file."""


class GatewayConfig(_Part, frozen=True):
    """The gateway itself.

    ``name``    in topics and reports
    ``state``   folder for spool, counters and commands; nobody else may use it
    ``address`` of its own, as ELS-12345678-33-31; without one a soft address that is unique on the site only
    ``keys``    key file with communication keys (KeyID 00..0F); others are refused
    ``secret_file``  32 hexadecimal digits shared with the head-end: it wraps new keys for the link under them
    """

    name: _Name
    state: str
    address: str = ""
    keys: str = ""
    secret_file: str = ""


class SpoolConfig(_Part, frozen=True):
    """Space on the disk: of everything, of one file, and how long settled receptions stay."""

    limit: Size = "1GiB"
    segment: Size = "8MiB"
    keep: Duration = 0.0


class MergeConfig(_Part, frozen=True):
    """Copies: how long one waits for a better one, and how far copies may lie apart."""

    hold: Duration = 2.0
    window: Duration = 2.0
    repeater_window: Duration = 30.0


class BrokerConfig(_Part, frozen=True):
    """A broker over which gateways and head-end talk.

    ``to``           mqtt:// and mqtts:// HOST:PORT
    ``topic``        first part of MQTT topics
    ``version``      of MQTT: 5 or 3.1.1
    ``user``, ``password_file``                  MQTT login
    ``ca``, ``certificate``, ``private_key``     TLS: other authorities, a certificate of our own
    ``timeout``      for a reply; ``longest`` pause between attempts
    """

    to: str
    topic: str = "openmetering"
    version: Literal["5", "3.1.1"] = "5"
    user: str = ""
    password_file: str = ""
    ca: str = ""
    certificate: str = ""
    private_key: str = ""
    timeout: Duration = 30.0
    longest: Duration = 60.0


class UplinkConfig(BrokerConfig, frozen=True):
    """The way of a gateway to the head-end.

    ``to``           spool (nowhere), mqtt:// and mqtts:// HOST:PORT, http:// and https:// URL
    ``acknowledge``  what settles a batch: head-end (its reply) or broker (PUBACK, for receivers that do not reply)
    ``token_file``   bearer token of HTTPS
    ``batch``        telegrams at most; ``linger`` how long a report waits for more
    ``every``        a report goes up at least so often, with nothing in it if need be (HTTPS fetches orders with it)
    """

    to: str = "spool"
    acknowledge: Literal["head-end", "broker"] = "head-end"
    token_file: str = ""
    batch: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 500
    linger: Duration = 0.5
    every: Duration = 30.0


class PollConfig(_Part, frozen=True):
    """Slaves of a wired line and when they are read: ``address`` 1,2,10-20 or ``secondary`` numbers or patterns."""

    address: str = ""
    secondary: str = ""
    every: Duration | None = None
    at: tuple[str, ...] = ()
    retries: Annotated[int, msgspec.Meta(ge=0, le=20)] = 2
    retry_after: Duration = 30.0
    longest: Duration = 86_400.0

    def plans(self) -> list[PollPlan]:
        """A plan for every slave. Raises InputError."""
        targets: list[Target] = [ReadPrimary(number) for number in primary_addresses(self.address)] if self.address else []
        targets += [ReadSecondary(secondary_selection(part)) for part in self.secondary.split(",") if part.strip()]
        if not targets:
            raise _wrong('a poll names slaves: address = "1,2" or secondary = "12345678"')
        every = None if self.every is None else seconds_of(self.every)
        moments = tuple(_moment(text) for text in self.at)
        if every is None and not moments:
            every = 900.0
        if every is not None and every < 1:
            raise _wrong(f"every = {self.every!r} is too often; the least is a second")
        after, longest = seconds_of(self.retry_after), seconds_of(self.longest)
        return [PollPlan(target, every, moments, self.retries, after, longest) for target in targets]


class SourceConfig(_Part, frozen=True):
    """Where telegrams come from.

    ``at``      source string; ``name`` in reports, by default that string without its options
    ``format``  of lines or messages; ``sends`` a stick that carries commands (a wired line with polls always does)
    """

    at: str
    name: str = ""
    format: str = "auto"
    sends: bool = False
    poll: tuple[PollConfig, ...] = ()


class DeviceConfig(_Part, frozen=True):
    """A device that commands may reach, as in ``messages.Enrol``."""

    address: str
    source: str = ""
    profile: Literal["none", "A", "B", "D"] = "none"
    adapter: str = ""
    mode: Literal["S", "T", "C"] = "C"
    bidirectional: bool = True
    largest: int | None = None
    repeated: bool = False
    primary: int | None = None
    fabrication: str | None = None
    snd_ud2: bool | None = None
    key_id: Annotated[int, msgspec.Meta(ge=0, le=15)] = 0
    key_version: int | None = None


class ThinningConfig(_Part, frozen=True):
    """Which telegrams of which devices go up."""

    match: str
    keep: Literal["every", "best", "status"]
    slot: Duration = "15m"
    heartbeat: Duration = "24h"

    def rule(self) -> Rule:
        """As the thinner wants it. Raises InputError."""
        slot = seconds_of(self.slot)
        if slot not in _SLOTS:
            raise _wrong(f"slot = {self.slot!r}: slots are 15m or 60m long")
        return Rule(AddressPattern.parse(self.match), self.keep, slot, seconds_of(self.heartbeat))


class Config(_Part, frozen=True):
    """The whole file. ``folder`` is where relative paths begin."""

    gateway: GatewayConfig
    spool: SpoolConfig = SpoolConfig()
    merge: MergeConfig = MergeConfig()
    uplink: UplinkConfig = UplinkConfig()
    source: tuple[SourceConfig, ...] = ()
    device: tuple[DeviceConfig, ...] = ()
    thinning: tuple[ThinningConfig, ...] = ()

    def names(self) -> list[str]:
        """Names of the sources, in order."""
        return [one.name or one.at.split("?", 1)[0] for one in self.source]


def _wrong(message: str) -> InputError:
    return InputError(message, code="input.file", layer="input")


def seconds_of(value: Duration) -> float:
    """Seconds of a number or a text. Raises InputError."""
    seconds = duration(value) if isinstance(value, str) else float(value)
    if not 0 <= seconds < float("inf"):
        raise _wrong(f"{value!r} is no duration")
    return seconds


def octets_of(value: Size) -> int:
    """Octets of a number or a text such as 64MiB. Raises InputError."""
    found = re.fullmatch(r"\s*(\d+)\s*([A-Za-z]*)\s*", str(value))
    if found is None or found[2] not in _SIZES:
        raise _wrong(f"{value!r} is no size; write octets, 512KiB, 64MiB or 1GiB")
    return int(found[1]) * _SIZES[found[2]]


def _moment(text: str) -> float:
    found = re.fullmatch(r"(\d\d):(\d\d)(?::(\d\d))?", text.strip())
    if found is None or int(found[1]) > 23 or int(found[2]) > 59 or int(found[3] or 0) > 59:
        raise _wrong(f"at = {text!r} is no time of the day; write 06:30 (UTC)")
    return int(found[1]) * 3600.0 + int(found[2]) * 60.0 + int(found[3] or 0)


def load_config(path: Path) -> Config:
    """The configuration of a file. Raises InputError (``input.file``)."""
    try:
        octets = path.read_bytes()
    except OSError as error:
        raise _wrong(f"{path} cannot be read: {error.strerror or error}") from None
    try:
        return read_config(octets, path.resolve().parent)
    except InputError as error:
        raise InputError(f"{path.name}: {error.message}", code=error.code, layer="input") from None


def read_config(octets: bytes, folder: Path) -> Config:
    """The configuration of octets. Everything is looked at that can be without opening anything. Raises InputError."""
    try:
        config = msgspec.toml.decode(octets, type=Config)
    except msgspec.ValidationError as error:
        raise _wrong(told(str(error))) from None
    except msgspec.DecodeError as error:
        raise _wrong(f"no TOML: {error}") from None
    except UnicodeDecodeError:
        raise _wrong("no TOML: the file is not UTF-8") from None
    config = _with_paths(config, folder)
    for place, check in _CHECKS:
        try:
            check(config)
        except OmsError as error:
            raise InputError(f"[{place}] {error.message}", code=error.code, layer="input") from None
    return config


def told(message: str) -> str:
    """The message of msgspec in the words of the file: ``$.source[0].at`` is source 1, at."""
    text, _, place = message.partition(" - at `")
    path = re.sub(r"\[(\d+)\]", lambda found: f" {int(found[1]) + 1}", place.rstrip("`").removeprefix("$").lstrip("."))
    text = text.replace("Object contains unknown field", "there is no field").replace("Object missing required field", "missing")
    return f"[{path.replace('.', ', ')}] {text}" if path else text


def _with_paths(config: Config, folder: Path) -> Config:
    def absolute(part: msgspec.Struct, *names: str) -> dict[str, str]:
        return {name: str(folder / Path(text).expanduser()) for name in names if (text := str(getattr(part, name)))}

    replace = msgspec.structs.replace
    gateway, uplink = config.gateway, config.uplink
    files = ("password_file", "token_file", "ca", "certificate", "private_key")
    return replace(
        config,
        gateway=replace(gateway, **absolute(gateway, "state", "keys", "secret_file")),
        uplink=replace(uplink, **absolute(uplink, *files)),
    )


# -- checks ------------------------------------------------------------------------------------------


def _check_gateway(config: Config) -> None:
    if not config.gateway.state:
        raise _wrong("state names no folder")
    if config.gateway.address:
        Address.parse(config.gateway.address)


def _check_spool(config: Config) -> None:
    spool = config.spool
    segment, limit = octets_of(spool.segment), octets_of(spool.limit)
    seconds_of(spool.keep)
    if segment < _LEAST_SEGMENT:
        raise _wrong(f"segment = {spool.segment!r} is too small; the least is 64KiB")
    if limit < 2 * segment:
        raise _wrong(f"limit = {spool.limit!r} must be at least two segments")


def _check_merge(config: Config) -> None:
    for value in (config.merge.hold, config.merge.window, config.merge.repeater_window):
        seconds_of(value)


def _check_uplink(config: Config) -> None:
    uplink = config.uplink
    for value in (uplink.linger, uplink.every, uplink.timeout, uplink.longest):
        seconds_of(value)
    if uplink.to != "spool" and not re.match(r"^(mqtts?|https?)://[^/\s]+", uplink.to):
        raise _wrong(f"to = {uplink.to!r} is no way up; write mqtts://HOST:8883, https://HOST/PATH or spool")
    if uplink.to.startswith(("mqtt://", "http://")) and (uplink.certificate or uplink.ca):
        raise _wrong("certificates are for mqtts:// and https://")
    if bool(uplink.certificate) != bool(uplink.private_key):
        raise _wrong("certificate and private_key belong together")
    if re.search(r"[#+/\s]$|[#+]|^$", uplink.topic):
        raise _wrong(f"topic = {uplink.topic!r} is no first part of topics")


def _check_sources(config: Config) -> None:
    names = config.names()
    if not names:
        raise _wrong('there is no source; add a [[source]] with at = "serial:/dev/ttyUSB0"')
    doubled = next((name for name in names if names.count(name) > 1), None)
    if doubled is not None:
        raise _wrong(f"two sources are named {doubled!r}")
    for one, name in zip(config.source, names, strict=True):
        plans = [plan.target for poll in one.poll for plan in poll.plans()]
        if len(set(plans)) < len(plans):
            raise _wrong(f"{name}: a slave is in two polls")
        if one.poll and not one.at.startswith("mbus"):
            raise _wrong(f"{name}: only wired lines are polled")
        if one.sends and one.at.startswith("mbus"):
            raise _wrong(f"{name}: wired lines with polls carry commands, sends is for sticks")


def _check_devices(config: Config) -> None:
    names = config.names()
    for one in config.device:
        Address.parse(one.address)
        if one.adapter:
            Address.parse(one.adapter)
        if one.source and one.source not in names:
            raise _wrong(f"{one.address}: there is no source {one.source!r}")


def _check_thinning(config: Config) -> None:
    for one in config.thinning:
        one.rule()


_CHECKS: Final = (
    ("gateway", _check_gateway),
    ("spool", _check_spool),
    ("merge", _check_merge),
    ("uplink", _check_uplink),
    ("source", _check_sources),
    ("device", _check_devices),
    ("thinning", _check_thinning),
)
