"""A real Mosquitto on a free port of the loopback, for tests: started, stopped and started again at will.

Without the program ``mosquitto`` tests are skipped, or fail where OPENMETERING_REQUIRE_SERVICES is 1.
"""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

__all__ = ["Broker", "broker_program", "free_port", "running_broker"]

_PLACES = "/usr/sbin:/usr/local/sbin"


def free_port() -> int:
    """A port of the loopback that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def broker_program() -> str:
    """The path of mosquitto; skips or fails the test without it."""
    found = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:{_PLACES}")
    if found is None:
        if os.environ.get("OPENMETERING_REQUIRE_SERVICES") == "1":
            pytest.fail("mosquitto is not installed (apt-get install mosquitto)")
        pytest.skip("mosquitto is not installed")
    return found


class Broker:
    """One broker; what it has retained is on its disk, so it outlives ``stop`` and ``start``.

    ``settings`` are further lines of mosquitto.conf; ``tls`` the paths of CA, certificate and key of the server.
    """

    def __init__(self, folder: Path, settings: str = "", tls: tuple[Path, Path, Path] | None = None) -> None:
        self.folder, self.tls = folder, tls
        self.host, self.port = "127.0.0.1", free_port()
        self._program = broker_program()
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        lines = [
            f"listener {self.port} 127.0.0.1",
            "persistence true",
            f"persistence_location {folder}/",
            "autosave_interval 1",
            "max_queued_messages 100000",
        ]
        if tls is not None:
            lines += [f"cafile {tls[0]}", f"certfile {tls[1]}", f"keyfile {tls[2]}"]
        if "password_file" not in settings and "allow_anonymous" not in settings:
            lines.append("allow_anonymous true")
        if os.getuid() == 0:
            lines.append("user root")
        self._configuration = folder / "mosquitto.conf"
        self._configuration.write_text("\n".join([*lines, settings, ""]))

    def start(self) -> None:
        """Start and wait until it listens."""
        log = (self.folder / "mosquitto.log").open("ab")
        self._process = subprocess.Popen([self._program, "-c", str(self._configuration)], stdout=log, stderr=log)
        log.close()
        for _ in range(200):
            if self._process.poll() is not None:
                pytest.fail(f"mosquitto ended: {(self.folder / 'mosquitto.log').read_text()}")
            try:
                with socket.create_connection((self.host, self.port), timeout=1.0):
                    return
            except OSError:
                time.sleep(0.02)
        pytest.fail("mosquitto does not listen")

    def stop(self, *, kill: bool = False) -> None:
        """End it, in order (what is retained is written) or at once."""
        process, self._process = self._process, None
        if process is not None:
            (process.kill if kill else process.terminate)()
            process.wait(timeout=10)

    def context(self) -> ssl.SSLContext | None:
        """What a client needs to trust it."""
        return None if self.tls is None else ssl.create_default_context(cafile=str(self.tls[0]))


def running_broker(folder: Path, settings: str = "", tls: tuple[Path, Path, Path] | None = None) -> Iterator[Broker]:
    """A broker for the length of a fixture: ``yield from running_broker(tmp_path)``."""
    broker = Broker(folder, settings, tls)
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()
