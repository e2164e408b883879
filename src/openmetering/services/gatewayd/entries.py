"""A reception as it stands in the spool: MessagePack, fields in this order. Keys of lines are left out.

``position`` and ``mark`` say how far a file was read with this reception, so that a restart goes on there.
"""

from __future__ import annotations

import msgspec

from openmetering.errors import InputError
from openmetering.transport.reception import Reception

__all__ = ["Entry", "entry_of", "read_entry", "write_entry"]


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """One reception. ``arrived_at`` is the clock of the gateway, ``received_at`` what the receiver says."""

    frame: bytes
    received_at: float
    source: str
    arrived_at: float
    rssi_dbm: float | None = None
    rssi_raw: int | None = None
    mode: str | None = None
    frame_format: str | None = None
    crc: bool | None = None
    address_hint: str | None = None
    position: int | None = None
    mark: str = ""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Entry)


def entry_of(item: Reception, source: str, now: float, mark: str = "") -> Entry:
    """The entry of a reception; ``source`` is the name that the configuration gives its door."""
    return Entry(
        item.frame,
        item.received_at,
        source,
        now,
        item.rssi_dbm,
        item.rssi_raw,
        item.mode,
        item.frame_format,
        item.crc,
        item.address_hint,
        item.position,
        mark,
    )


def write_entry(entry: Entry) -> bytes:
    """The content of a record."""
    return _encoder.encode(entry)


def read_entry(content: bytes) -> Entry:
    """The entry of a record. Raises InputError (``input.line``) for a content of another program."""
    try:
        return _decoder.decode(content)
    except msgspec.MsgspecError as error:
        raise InputError(f"no reception in the spool: {error}", code="input.line", layer="input") from None
