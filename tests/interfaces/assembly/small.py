"""A small world in a whole program, and somebody with a browser: for the tests of the assembly."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path

import httpx

from openmetering.interfaces.assembly.config import HeadEndConfig, HostConfig, WebConfig
from openmetering.interfaces.assembly.head_end import Core
from openmetering.interfaces.assembly.host import Host
from openmetering.interfaces.assembly.living_world import LivingWorld
from openmetering.interfaces.assembly.settle import people, settle
from openmetering.services.gatewayd.config import Config, GatewayConfig, SourceConfig, UplinkConfig
from openmetering.services.gatewayd.daemon import Sources
from openmetering.simulation.plan import WorldPlan, parse_plan

PLAN = """
[world]
name = "Small"
seed = "small"
[[building]]
name = "house"
floors = 1
flats = 1
[[gateway]]
name = "hall"
building = "house"
modes = ["S", "T", "C"]
[[meters]]
medium = "gas"
interval = 30
bidirectional = true
functions = { conformance = {}, clock = {}, disconnector = { subunit = 1 }, supervision = {}, keys = {}, firmware = {} }
[[meters]]
medium = "cold water"
interval = 30
[[meters]]
medium = "warm water"
profile = "A"
interval = 30
"""
WITHHELD = ("warm water house/0.1",)


def plan() -> WorldPlan:
    """The plan, beginning now."""
    import msgspec

    made = parse_plan(PLAN)
    return msgspec.structs.replace(made, world=msgspec.structs.replace(made.world, start=datetime.now()))


def config(folder: Path, database: str = "") -> HostConfig:
    """A head-end in a folder, its page on a free port."""
    return HostConfig(
        HeadEndConfig(database or f"sqlite:///{folder / 'headend.db'}", f"file:{folder / 'master.key'}", tick=0.5),
        WebConfig(port=0, secret_file=str(folder / "web.secret"), logins_per_minute=100),
    )


def _same(sources: Sources, _: object) -> Sources:
    return sources


def daemon_config(name: str, folder: Path) -> Config:
    """A gateway in the same process."""
    return Config(
        GatewayConfig(name, str(folder / name)),
        uplink=UplinkConfig(linger=0.05, every=5.0),
        source=(SourceConfig(f"world:{name}"),),
    )


@contextmanager
def running(folder: Path, *, speed: float, days: int, database: str = "") -> Iterator[tuple[Host, LivingWorld, dict[str, str]]]:
    """The program with a world in it; passwords by name."""
    world = LivingWorld(plan(), speed=speed, withheld=WITHHELD)
    with Host(Core(config(folder, database), carriers=(world.carrier(),), create_key=True)) as host:
        administrator = host.administrator("admin")
        settle(host.core.head_end, world, administrator, days)
        known = people(host.core.head_end, administrator)
        for name in world.gateways:
            door = world.door(name)
            host.core.receiving.add(daemon_config(name, folder), partial(_same, Sources({door.name: door}, {})))
        world.start()
        host.start()
        try:
            yield host, world, {person.name: person.password for person in known}
        finally:
            world.stop()


class Browser:
    """Somebody at the page, without a script engine: follows links, fills in forms."""

    def __init__(self, address: str) -> None:
        self.client = httpx.Client(base_url=address, follow_redirects=True, timeout=20.0)

    def get(self, path: str) -> httpx.Response:
        """A page. Fails where it is not there."""
        answer = self.client.get(path)
        answer.raise_for_status()
        return answer

    def post(self, path: str, files: dict[str, bytes] | None = None, **values: str) -> httpx.Response:
        """A form."""
        token = re.search(r'name="_csrf_token" value="([^"]+)"', self.client.get("/login").text) or re.search(
            r'name="_csrf_token" value="([^"]+)"', self.client.get("/account").text
        )
        assert token is not None
        fields = {**values, "_csrf_token": token[1]}
        answer = self.client.post(path, data=fields, files={name: (name, octets) for name, octets in (files or {}).items()})
        answer.raise_for_status()
        return answer

    def sign_in(self, name: str, password: str) -> None:
        """With a password."""
        answer = self.post("/login", name=name, password=password)
        assert "/login" not in str(answer.url), answer.text


def until(what: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait until something is true. Fails after some seconds."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.05)
