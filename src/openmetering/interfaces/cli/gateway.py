"""``oms gateway``: the daemon that collects from all sources and tells a head-end."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from openmetering.transport.reception import Notice

if TYPE_CHECKING:
    from openmetering.security import KeyRing
    from openmetering.services.gatewayd.config import Config
    from openmetering.services.gatewayd.daemon import GatewayDaemon
    from openmetering.services.gatewayd.sources import Openers

__all__ = ["register"]

EPILOG = """\b
A configuration
  \\[gateway]
  name = "cellar"
  state = "/var/lib/openmetering/cellar"   # for this gateway alone
  keys = "link-keys.csv"                   # KeyIDs 00 to 0F only
  \\[uplink]
  to = "mqtts://broker.example:8883"       # https://... or spool
  user = "cellar"
  password_file = "password"
  \\[\\[source]]
  at = "serial:/dev/ttyUSB0?stick=im871a&mode=c"
  sends = true                             # carries commands
  \\[\\[source]]
  at = "mbus:/dev/ttyUSB1?baud=2400"
  \\[\\[source.poll]]
  address = "1-20"
  every = "15m"
  \\[\\[source]]
  at = "http-listen://127.0.0.1:8080?format=elvaco"
  \\[\\[thinning]]
  match = "*"
  keep = "best"                            # every, best or status
  slot = "15m"

\b
Examples
  oms gateway cellar.toml --check          read it, open nothing
  oms gateway cellar.toml                  run until SIGTERM or Ctrl-C
"""

_COLOURS = {"warning": "yellow", "error": "red"}


def _say(notice: Notice, verbose: bool) -> None:
    if notice.level == "debug" and not verbose:
        return
    clock = datetime.fromtimestamp(time.time(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    typer.secho(f"{clock} {notice.level} {notice.source}: {notice.message}", err=True, fg=_COLOURS.get(notice.level))


def _keys(config: Config) -> KeyRing | None:
    if not config.gateway.keys:
        return None
    from openmetering.interfaces.cli.keyfiles import load_keyring
    from openmetering.services.gatewayd.sources import check_keys

    return check_keys(load_keyring(config.gateway.keys))


def _secret(config: Config) -> bytes | None:
    """What the gateway shares with its head-end. Raises InputError."""
    if not config.gateway.secret_file:
        return None
    from openmetering.security import parse_key
    from openmetering.services.gatewayd.uplink import read_secret

    return parse_key(read_secret(config.gateway.secret_file, "secret"))


def _openers() -> Openers:
    """Kinds of sources that only this floor can open."""
    from openmetering.interfaces.cli.gateway_world import WorldDoor

    return {"world": WorldDoor}


def _check(config: Config, keys: KeyRing | None) -> None:
    """Make everything that can be made without opening anything, and say what it is. Raises InputError."""
    from openmetering.services.gatewayd.sources import open_sources
    from openmetering.services.gatewayd.ways import make_uplink

    _secret(config)
    sources = open_sources(config, keys, lambda source, event: None, _openers())
    uplink = make_uplink(config)
    typer.echo(f"gateway {config.gateway.name}, state in {config.gateway.state}")
    for name in sources.doors:
        typer.echo(f"  source {name}{', carries commands' if name in sources.stations else ''}")
    for rule in config.thinning:
        typer.echo(f"  keeps {rule.keep} of {rule.match}")
    typer.echo(f"  devices to command: {len(config.device)}, keys: {0 if keys is None else sum(1 for _ in keys)}")
    typer.echo(f"  up: {'nowhere, everything stays in the spool' if uplink is None else uplink.name}")
    if config.uplink.to.startswith(("mqtt://", "http://")):
        typer.secho("  the way up is not encrypted: telegrams and orders can be read on it", fg="yellow")


async def _run(config: Config, keys: KeyRing | None, verbose: bool) -> GatewayDaemon:
    from openmetering.services.gatewayd.daemon import GatewayDaemon
    from openmetering.services.gatewayd.sources import open_sources
    from openmetering.services.gatewayd.ways import make_uplink

    daemon = GatewayDaemon(
        config,
        lambda tell: open_sources(config, keys, tell, _openers()),
        uplink=make_uplink(config),
        clock=time.time,
        on_notice=lambda notice: _say(notice, verbose),
        secret=_secret(config),
    )
    _say(Notice("gateway", f"{config.gateway.name} runs with {len(daemon.health)} sources"), verbose)
    await daemon.run_until_signal()
    return daemon


def register(app: typer.Typer) -> None:
    """Add the command to the application."""

    @app.command(epilog=EPILOG, no_args_is_help=True)
    def gateway(
        config: Annotated[Path, typer.Argument(help="The configuration, a TOML file.", metavar="CONFIG.toml")],
        check: Annotated[bool, typer.Option("--check", help="Read the configuration and the keys, open nothing.")] = False,
        verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Tell lines that are no telegrams as well.")] = False,
    ) -> None:
        """Collect telegrams from all sources, keep them on disk, tell a head-end, carry its commands.

        Every reception is on the disk before anything else happens to it; a head-end that is away costs nothing but space.
        Ends with its sources, or in order with SIGTERM or Ctrl-C. Exit code 0 then, 1 if the disk fails, 2 for
        a configuration that cannot be used.
        """
        from openmetering.services.gatewayd.config import load_config
        from openmetering.services.gatewayd.files import owned

        read = load_config(config)
        keys = _keys(read)
        if check:
            _check(read, keys)
            return
        with owned(Path(read.gateway.state)):
            state = asyncio.run(_run(read, keys, verbose)).state()
        heard = sum(source.counts.receptions for source in state.sources)
        typer.echo(f"{heard} receptions, {state.waiting} of them wait in the spool for the way up", err=True)
