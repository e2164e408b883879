"""``oms up``: gateway, head-end and page in one process."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from openmetering.errors import InputError
from openmetering.interfaces.cli.headend import announce, say_logs

if TYPE_CHECKING:
    from openmetering.interfaces.assembly.config import HostConfig
    from openmetering.interfaces.assembly.host import Host
    from openmetering.interfaces.assembly.living_world import LivingWorld
    from openmetering.interfaces.mqtt.settings import MqttSettings
    from openmetering.services.gatewayd.config import Config
    from openmetering.services.gatewayd.daemon import Sources

__all__ = ["register"]

ADMINISTRATOR = "admin"
DATA = "openmetering-data"
GATEWAY = "here"
_HISTORY = 365

EPILOG = """\b
Examples
  oms up --demo                                          a simulated building with a year of history
  oms up --source 'serial:/dev/ttyUSB0?stick=im871a' --keys keys.csv
  oms up --source rtl-wmbus: --source 'mbus:/dev/ttyUSB1?baud=2400' --data /srv/metering
  oms up --world building.toml --days 30 --speed 10      a world of your own, ten times as fast
  oms up --demo --mqtt mqtt://localhost                  with discovery for Home Assistant
"""


@contextmanager
def _folder(data: Path | None, *, passing: bool) -> Iterator[tuple[Path, bool]]:
    """Where everything is kept, and whether it is new; a demonstration without a place leaves nothing behind."""
    if data is None and passing:
        with tempfile.TemporaryDirectory(prefix="openmetering-") as folder:
            yield Path(folder), True
        return
    folder_ = data or Path(DATA)
    folder_.mkdir(mode=0o700, parents=True, exist_ok=True)
    yield folder_.resolve(), not (folder_ / "headend.db").exists()


def _publish(url: str | None, folder: Path) -> MqttSettings | None:
    """MQTT settings of an address. Raises InputError."""
    if url is None:
        return None
    from openmetering.interfaces.mqtt.settings import MqttSettings, TlsSettings

    parts = urlsplit(url)
    if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname:
        raise InputError(f"--mqtt {url}: write mqtt://HOST or mqtts://HOST:PORT", code="input.source")
    if parts.password:
        raise InputError("--mqtt: a password does not belong into a command; write a configuration for oms headend")
    return MqttSettings(
        host=parts.hostname,
        port=parts.port,
        tls=TlsSettings() if parts.scheme == "mqtts" else None,
        username=parts.username,
        memory=str(folder / "published.json"),
    )


def _config(folder: Path, host: str, port: int, mqtt: str | None) -> HostConfig:
    from openmetering.interfaces.assembly.config import HeadEndConfig, HostConfig, WebConfig

    return HostConfig(
        HeadEndConfig(f"sqlite:///{folder / 'headend.db'}", f"file:{folder / 'master.key'}"),
        WebConfig(host=host, port=port, secret_file=str(folder / "web.secret")),
        publish=_publish(mqtt, folder),
    )


def _gateway(name: str, folder: Path, sources: list[str]) -> Config:
    """The configuration of a gateway in this process. Raises InputError."""
    from openmetering.services.gatewayd.config import Config, GatewayConfig, SourceConfig, UplinkConfig

    return Config(
        GatewayConfig(name, str(folder / f"gateway-{name}")),
        uplink=UplinkConfig(linger=0.2, every=10.0),
        source=tuple(SourceConfig(at) for at in sources),
    )


def _world(demo: bool, file: Path | None, speed: float) -> LivingWorld | None:
    """The world to show; it begins now. Raises InputError."""
    if not demo and file is None:
        return None
    from openmetering.interfaces.assembly.demo_world import WITHHELD, demo_plan
    from openmetering.interfaces.assembly.living_world import LivingWorld
    from openmetering.simulation.plan import read_plan

    if file is None:
        return LivingWorld(demo_plan(datetime.now()), speed=speed, withheld=WITHHELD)
    return LivingWorld(read_plan(file), speed=speed)


def _fill(host: Host, world: LivingWorld, days: int) -> None:
    """A world moves in, with a bar on a terminal. Raises InputError, TransportError"""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    from openmetering.interfaces.assembly.settle import people, settle

    head_end, administrator = host.core.head_end, host.administrator(ADMINISTRATOR)
    console = Console(stderr=True)
    begun = time.monotonic()
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=32), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(f"{days} days of history", total=1.0)
        telegrams = settle(head_end, world, administrator, days, lambda share: bar.update(task, completed=share))
    typer.echo(
        f"world  {len(world.world.devices)} devices, {telegrams} telegrams of {days} days in {time.monotonic() - begun:.0f} s"
    )
    for person in people(head_end, administrator):
        typer.echo(f"user   {person.name}, password {person.password}: {person.what}")


def _as_it_is(sources: Sources, _: object) -> Sources:
    """Sources that need nobody to be told."""
    return sources


def _receive(host: Host, world: LivingWorld | None, sources: list[str], keys: list[Path], folder: Path) -> None:
    """Gateways of the world, or one for all sources. Raises InputError."""
    from openmetering.interfaces.cli.gateway_world import WorldDoor
    from openmetering.services.gatewayd.daemon import Sources
    from openmetering.services.gatewayd.sources import open_sources

    receiving = host.core.receiving
    if world is not None:
        for name in world.gateways:
            door = world.door(name)
            heard = Sources({door.name: door}, {})
            receiving.add(_gateway(name, folder, [door.name]), partial(_as_it_is, heard))
    if sources:
        config = _gateway(GATEWAY, folder, sources)
        receiving.add(config, lambda tell: open_sources(config, None, tell, {"world": WorldDoor}))
    for path in keys:
        session = host.core.head_end.as_user(host.administrator(ADMINISTRATOR))
        report = session.import_keys(path.read_bytes(), None)
        typer.echo(f"keys   {path}: {report.words()}")
    if keys:
        host.core.head_end.keys_changed()


def register(app: typer.Typer) -> None:
    """Add the command to the application."""

    @app.command(epilog=EPILOG, no_args_is_help=True)
    def up(
        demo: Annotated[bool, typer.Option("--demo", help="A simulated building of sixty devices.")] = False,
        world: Annotated[
            Path | None, typer.Option("--world", metavar="FILE", help="A simulated world of your own.", exists=True)
        ] = None,
        source: Annotated[
            list[str] | None, typer.Option("--source", metavar="ADDRESS", help="Where telegrams come from, as of oms listen.")
        ] = None,
        keys: Annotated[
            list[Path] | None, typer.Option("--keys", metavar="FILE", help="Keys for the vault.", exists=True, dir_okay=False)
        ] = None,
        data: Annotated[
            Path | None, typer.Option("--data", metavar="FOLDER", help=f"Where everything is kept ({DATA}; --demo: nowhere).")
        ] = None,
        host: Annotated[str, typer.Option("--host", help="Address of the page.")] = "127.0.0.1",
        port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port of the page, 0: any.")] = 8080,
        days: Annotated[int, typer.Option("--days", min=0, max=730, help="History of a simulated world.")] = _HISTORY,
        speed: Annotated[float, typer.Option("--speed", min=0.1, max=1000.0, help="How fast a simulated world lives.")] = 1.0,
        mqtt: Annotated[str | None, typer.Option("--mqtt", metavar="URL", help="Publish to this broker.")] = None,
        verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Tell more.")] = False,
    ) -> None:
        """Receive, store and show everything on this machine: gateway, head-end and web page in one process.

        Prints the address of the page and of a login that counts once. Ends in order with SIGTERM or Ctrl-C. Exit code 0
        then, 1 if the database or the port fails, 2 if something that was asked for cannot be used.
        """
        if not (demo or world or source):
            raise InputError("say what to show: --demo, --world FILE or --source ADDRESS")
        if demo and world:
            raise InputError("--demo and --world are two worlds; choose one")
        say_logs(verbose)
        from openmetering.interfaces.assembly.head_end import Core
        from openmetering.interfaces.assembly.host import Host
        from openmetering.services.signals import Ending

        with Ending() as ending, _folder(data, passing=demo) as (folder, new):
            living = _world(demo, world, speed)
            if living is not None and not new:
                raise InputError(f"{folder} holds another world's past; a world needs a new folder: --data FOLDER")
            carriers = () if living is None else (living.carrier(),)
            with Host(Core(_config(folder, host, port, mqtt), carriers=carriers, create_key=True)) as made:
                made.reserve()
                if living is not None:
                    _fill(made, living, days)
                _receive(made, living, source or [], keys or [], folder)
                ending.awaited()
                if living is not None:
                    living.start()
                made.start()
                announce(made, ADMINISTRATOR)
                _advise(made, living)
                ending.wait()
                typer.echo("stopping", err=True)
                if living is not None:
                    living.stop()
        typer.echo("stopped", err=True)


def _advise(host: Host, world: LivingWorld | None) -> None:
    """What to do next."""
    if world is not None and any(post.spec.group.bidirectional for post in world.world.devices.values()):
        typer.echo("try    close the valve of the gas meter: Meters, gas, New job; then approve it as operator")
    typer.echo("       Ctrl-C ends it")
    sys.stdout.flush()
