"""The plain text inside a value information block: taken out and put back.

    7C len text          FC VIFE ... len text          FC len text VIFE ... (an order some makers use)

Text is sent last character first. Source: EN 13757-3 (plain text units, clause to confirm).
"""

from __future__ import annotations

__all__ = ["join_text", "split_text"]


def split_text(vib: bytes, text: str | None) -> tuple[bytes, bytes, bool]:
    """The VIB as chain, plain text with its length octet, and whether the text stood in front of the extensions."""
    if text is None:
        return vib, b"", False
    tail = bytes((len(text),)) + text.encode("latin-1")[::-1]
    if len(vib) > 1 + len(tail) and vib[1 : 1 + len(tail)] == tail:
        return vib[:1] + vib[1 + len(tail) :], tail, True
    return vib[: -len(tail)], tail, False


def join_text(chain: bytes, tail: bytes, in_front: bool) -> bytes:
    """Put the plain text back where it stood."""
    at = 1 if in_front else len(chain)
    return chain[:at] + tail + chain[at:]
