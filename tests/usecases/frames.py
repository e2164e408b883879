"""What the bench must know of a frame without any key: its name, where its content begins, its message counter."""

from __future__ import annotations

from openmetering.codec.link.control import message_name
from openmetering.tables import CONTROL_INFORMATION


def message_of(frame: bytes, *, wired: bool) -> str:
    """The name of a frame by its C field."""
    if not wired:
        return message_name(frame[1])
    return "ACK" if frame == b"\xe5" else message_name(frame[4 if frame[0] == 0x68 else 1])


def telegram_start(frame: bytes, wired: bool) -> int:
    """Offset of what stands behind the link layer and the ELL."""
    if wired:
        return 6
    return 10 + {0x8C: 3, 0x8E: 11}.get(frame[10], 0)


def counter_of(body: bytes) -> tuple[int, int] | None:
    """KeyID and message counter of what stands behind the link layer: in the AFL, or behind the header of mode 10."""
    counter: int | None = None
    if body[:1] == b"\x90":
        fragmentation = int.from_bytes(body[2:4], "little")
        at = 4 + (fragmentation >> 13 & 1) + 2 * (fragmentation >> 9 & 1)
        if not fragmentation >> 11 & 1:
            return None
        counter = int.from_bytes(body[at : at + 4], "little")
        body = body[2 + body[1] :]
    info = CONTROL_INFORMATION[body[0]] if body else None
    header = {"short": 5, "long": 13}.get(info.header if info is not None else "")
    if header is None or len(body) < header + 2 or body[header - 1] & 0x1F not in (7, 10):
        return None
    if counter is None:
        at = header + 2 + (body[header] >> 6 & 1)
        counter = int.from_bytes(body[at : at + 4], "little")
    return body[header] & 0x0F, counter
