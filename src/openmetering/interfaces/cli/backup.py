"""``oms backup`` and ``oms restore``: a whole head-end in one file, from either kind of database into either."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from openmetering import __version__
from openmetering.errors import InputError

if TYPE_CHECKING:
    from openmetering.storage.portable import Manifest, Progress

__all__ = ["register"]

EPILOG = """\b
WHAT is the configuration of a head-end, or the data folder of oms up
Examples
  oms backup headend.toml 2026-11-26.backup
  oms backup openmetering-data 2026-11-26.backup         while oms up runs
  oms restore new.toml 2026-11-26.backup                 into an empty database, SQLite or PostgreSQL
"""

What = Annotated[Path, typer.Argument(help="A configuration of a head-end, or a data folder of oms up.", metavar="WHAT")]


def _place(what: Path) -> tuple[str, str]:
    """Database and master key. Raises InputError."""
    if what.is_dir():
        return f"sqlite:///{what.resolve() / 'headend.db'}", f"file:{what.resolve() / 'master.key'}"
    from openmetering.interfaces.assembly.config import load_config

    config = load_config(what)
    return config.database_url(), config.headend.master_key


@contextmanager
def _bar(total: int | None) -> Iterator[Progress]:
    """Progress on a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=32),
        TextColumn("{task.completed} rows"),
        TimeElapsedColumn(),
    )
    done: dict[str, int] = {}
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=total)

        def told(table: str, rows: int) -> None:
            done[table] = rows
            bar.update(task, description=table, completed=sum(done.values()))

        yield told


def _said(manifest: Manifest, verb: str, path: Path) -> None:
    made = datetime.fromtimestamp(manifest.made_at, UTC).strftime("%Y-%m-%d %H:%M UTC")
    telegrams = manifest.tables["frames"].rows
    typer.echo(f"{verb} {path}: {manifest.rows} rows in {len(manifest.tables)} tables, {telegrams} telegrams, as of {made}")


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""

    @app.command(epilog=EPILOG, no_args_is_help=True)
    def backup(what: What, file: Annotated[Path, typer.Argument(help="The backup to write.", metavar="FILE")]) -> None:
        """Write everything a head-end knows into one file, while it runs.

        Keys of devices stay wrapped under the master key, which is NOT in the file: keep it elsewhere, without it a backup
        opens no telegram. Exit code 1 if the database fails, 2 if the file is there already.
        """
        from openmetering.storage import portable
        from openmetering.storage.database import Database

        url, master = _place(what)
        with Database.open(url, create=False) as database, _bar(None) as told:
            manifest = portable.write(database, file, now=time.time(), made_by=f"openmetering {__version__}", progress=told)
        _said(manifest, "wrote", file)
        typer.echo(f"the master key ({master}) is not in it; keep a copy of that in another place", err=True)

    @app.command(epilog=EPILOG, no_args_is_help=True)
    def restore(
        what: What, file: Annotated[Path, typer.Argument(help="The backup.", metavar="FILE", exists=True, dir_okay=False)]
    ) -> None:
        """Fill an empty database with a backup: all of it, or nothing if the file is damaged.

        The master key of the backup must be in its place already; whether it opens the keys is tried before anything is
        written. Exit code 1 if the database fails, 2 if something does not fit.
        """
        from openmetering.services.headend.headend import now_utc
        from openmetering.services.headend.masterkey import read_master_key
        from openmetering.services.headend.vault import Vault
        from openmetering.storage import portable
        from openmetering.storage.database import Database

        if not what.exists():
            raise InputError(f"there is no {what}; make the folder, or write the configuration first")
        url, master = _place(what)
        key = read_master_key(master)
        total = portable.read_manifest(file).rows
        with Database.open(url) as database, database.transaction(), _bar(total) as told:
            manifest = portable.restore(database, file, progress=told)
            Vault(database, key, now_utc).live_ring()
        _said(manifest, "restored", file)
