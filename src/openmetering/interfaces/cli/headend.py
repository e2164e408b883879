"""``oms headend``: the head-end as a service of its own."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from openmetering.interfaces.assembly.config import HostConfig
    from openmetering.interfaces.assembly.host import Host

__all__ = ["register", "say_logs"]

EPILOG = """\b
A configuration
  \\[headend]
  database = "postgresql://openmetering@localhost/openmetering"   # or sqlite:///headend.db, or env:NAME
  master_key = "file:master.key"                                  # wraps the keys of the devices
  \\[web]
  port = 8080
  behind_tls = true                        # a proxy in front speaks TLS
  \\[receive]
  to = "mqtts://broker.example:8883"       # gateways report over this broker
  user = "headend"
  password_file = "password"
  \\[\\[gateway]]
  name = "cellar"
  secret_file = "cellar.secret"            # the one the gateway has: jobs go through it
  \\[publish]                               # Home Assistant
  host = "broker.example"

\b
Examples
  oms headend headend.toml --check         read it, open nothing
  oms headend headend.toml --login admin   run, and print an address that signs the administrator in once
  oms headend headend.toml                 run until SIGTERM or Ctrl-C
"""


def say_logs(verbose: bool) -> None:
    """Log lines of the program on the error output."""
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    for name in ("httpx", "uvicorn", "uvicorn.error", "mqtt", "aiomqtt"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("openmetering").setLevel(logging.DEBUG if verbose else logging.INFO)


def _check(config: HostConfig) -> None:
    """What can be said without opening anything; every secret is read. Raises InputError."""
    config.read_secrets()
    typer.echo(f"database   {_shown(config.database_url())}")
    typer.echo(f"master key {config.headend.master_key}")
    typer.echo(f"web page   {'none' if config.web is None else f'{config.web.host}:{config.web.port}'}")
    typer.echo(f"receives   {'over ' + config.receive.to if config.receive else 'no broker'}, gateways: {len(config.gateway)}")
    typer.echo(f"publishes  {'to ' + config.publish.host if config.publish else 'nothing'}")
    web = config.web
    if web is not None and not (web.certificate or web.behind_tls) and web.host not in ("127.0.0.1", "localhost", "::1"):
        typer.secho("  the page is not encrypted and can be reached from other machines", fg="yellow")


def _shown(url: str) -> str:
    """A database address without its password."""
    head, found, rest = url.rpartition("@")
    if not found:
        return url
    scheme, _, user = head.partition("://")
    return f"{scheme}://{user.partition(':')[0]}@{rest}"


def announce(host: Host, login: str | None) -> None:
    """Where the page is, and how to sign in."""
    if host.address is not None:
        typer.echo(f"page   {host.address}")
    if login is not None:
        typer.echo(f"login  {host.login_address(host.administrator(login))}")
        typer.echo(f"       signs {login!r} in, once, within a quarter of an hour")


def register(app: typer.Typer) -> None:
    """Add the command to the application."""

    @app.command(epilog=EPILOG, no_args_is_help=True)
    def headend(
        config: Annotated[Path, typer.Argument(help="The configuration, a TOML file.", metavar="CONFIG.toml")],
        check: Annotated[bool, typer.Option("--check", help="Read the configuration, open nothing.")] = False,
        login: Annotated[
            str | None,
            typer.Option("--login", metavar="NAME", help="Print an address that signs this administrator in once; made if new."),
        ] = None,
        verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Tell more.")] = False,
    ) -> None:
        """Register devices and keys, store what gateways tell, carry out jobs, show it all on a web page.

        The database and the master key are made where they are not there. Ends in order with SIGTERM or Ctrl-C.
        Exit code 0 then, 1 if the database or the port fails, 2 for a configuration that cannot be used.
        """
        from openmetering.interfaces.assembly.config import load_config

        read = load_config(config)
        if check:
            _check(read)
            return
        say_logs(verbose)
        from openmetering.interfaces.assembly.head_end import Core
        from openmetering.interfaces.assembly.host import Host
        from openmetering.services.signals import Ending

        with Ending() as ending, Host(Core(read, create_key=True)) as host:
            ending.awaited()
            host.start()
            announce(host, login)
            ending.wait()
        typer.echo("stopped", err=True)
