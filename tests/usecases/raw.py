"""Commands that no procedure of ours would send, to see them refused."""

from __future__ import annotations

from typing import Any

from openmetering.codec.address import Address
from openmetering.codec.apl.security_transfer import IMMEDIATE, SitpBlock
from openmetering.protocol.exchange import Command
from openmetering.protocol.operator.answers import exchange, read_records, send_block
from openmetering.protocol.operator.head_end import HeadEnd, Order
from openmetering.protocol.operator.secured import execute
from tests.protocol.operator.scripted import DEVICE


def plain(apdu: str, protocol: str = "m-bus") -> Any:
    """A command without a container; the octets of its answer."""
    return exchange(Command(protocol, bytes.fromhex(apdu)))


def records(apdu: str) -> Any:
    """A plain command; the records of its answer."""
    octets = yield from plain(apdu)
    return read_records(octets)


def secured(
    head_end: HeadEnd,
    key_id: int,
    apdu: str,
    *,
    issue: str,
    pid: int = 1,
    time: bytes = IMMEDIATE,
    device: Address = DEVICE,
) -> Any:
    """A command in the container of ASP10 under any key."""
    return execute(head_end, device, Order(key_id, pid, bytes.fromhex(apdu), time), issue=issue)


def block(control: int, structure: int, header: bytes, content: bytes) -> Any:
    """A SITP block as it is."""
    return send_block(SitpBlock(0, control, structure, header, content))
