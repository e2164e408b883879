"""From a source string to its door; plug-ins add kinds by the entry point group ``openmetering.transport``.

The name of an entry point is the scheme, its object is called with the ``SourceAddress``
and the format and gives a ``Door``.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points

from openmetering.transport.doors import Door
from openmetering.transport.serial_door import SerialDoor
from openmetering.transport.source_address import SourceAddress, parse_source, wrong
from openmetering.transport.stream_doors import FileDoor, StdinDoor, TcpClientDoor, TcpServerDoor, UdpDoor
from openmetering.transport.wired_door import WiredDoor

__all__ = ["DOORS", "PLUGINS", "open_source"]

PLUGINS = "openmetering.transport"

DOORS: dict[str, Callable[[SourceAddress, str], Door]] = {
    "-": StdinDoor,
    "file": FileDoor,
    "tcp": TcpClientDoor,
    "tcp-listen": TcpServerDoor,
    "udp": UdpDoor,
    "serial": SerialDoor,
    "mbus": WiredDoor,
    "mbus+tcp": WiredDoor,
}


def open_source(text: str, fmt: str = "auto") -> Door:
    """The door of a source string; ``fmt`` counts where the string names no format. Nothing is opened yet.

    Raises InputError (``input.source``, ``input.mode``)
    """
    address = parse_source(text)
    door = DOORS.get(address.scheme)
    if door is not None:
        return door(address, fmt)
    plugins = entry_points(group=PLUGINS, name=address.scheme)
    for plugin in plugins:
        made: Door = plugin.load()(address, fmt)
        return made
    raise wrong(f"{text!r}: sources of the kind {address.scheme!r} are unknown; there are {', '.join(DOORS)}")
