"""Most significant octet first: the CI 76 form of a response (mode 2 of the 1997 documentation).

Multi-octet fields of the long header and the data of records come in the reverse order of
CI 72; everything else is equal. The reordering is its own inverse. Text stands in natural
order, while CI 72 sends its last character first. Decoded on request only.
Source: The M-Bus: A Documentation, revision 4.8, mode 2 (clause to confirm).
"""

from __future__ import annotations

from openmetering.codec.apl.header import RecordHeader
from openmetering.codec.apl.records import FILLER, read_header
from openmetering.codec.apl.values import lvar_length
from openmetering.codec.apl.vib_text import join_text, split_text
from openmetering.errors import DecodeError, Truncated

__all__ = ["CI", "HEADER_SIZE", "to_big_endian", "to_little_endian"]

CI = 0x76
HEADER_SIZE = 12  #: octets of the long header

_LAYER = "apl"
_GLOBAL_READOUT = 0x7F
#: data types whose LVAR octets are raw and keep their order
_RAW = frozenset(("D", "K", "L", "raw"))
_TEXT_END = 0xC0


def _header(octets: bytes) -> bytes:
    """The long header with identification, manufacturer and configuration turned round."""
    return octets[3::-1] + octets[5:3:-1] + octets[6:10] + octets[11:9:-1]


def _vib(header: RecordHeader) -> bytes:
    """The VIB with its plain text turned round."""
    chain, tail, in_front = split_text(header.vib, header.text)
    return join_text(chain, tail[:1] + tail[:0:-1], in_front)


def _data_end(octets: bytes, at: int, header: RecordHeader) -> tuple[int, int, bool]:
    """Start and end of the data and whether their order changes. Raises IndexError, DecodeError."""
    length = header.length
    turn = True
    if length is None:
        lvar = octets[at]
        known = lvar_length(lvar)
        if known is None:
            raise DecodeError("reserved LVAR", layer=_LAYER, offset=at, octets=octets, code="record.lvar")
        length = known
        turn = lvar >= _TEXT_END or not (header.profile is not None or header.data_type in _RAW)
        at += 1
    if at + length > len(octets):
        raise IndexError
    return at, at + length, turn


def _records(octets: bytes, at: int) -> bytes:
    """Records from ``at`` on; from a structural fault or a manufacturer's block on everything stays as it is."""
    parts: list[bytes] = []
    while at < len(octets):
        dif = octets[at]
        if dif in (FILLER, _GLOBAL_READOUT):
            parts.append(octets[at : at + 1])
            at += 1
            continue
        if dif & 0x0F == 0x0F:
            break
        try:
            header, behind = read_header(octets, at)
            start, end, turn = _data_end(octets, behind, header)
        except (IndexError, DecodeError):
            break
        data = octets[start:end]
        parts += (header.dib, _vib(header), octets[behind:start], data[::-1] if turn else data)
        at = end
    parts.append(octets[at:])
    return b"".join(parts)


def to_little_endian(octets: bytes) -> bytes:
    """Reorder what follows CI 76 so that the parser of CI 72 reads it.

    Octets   0..3   identification number     4..5  manufacturer     6  version    7  device type
             8      access number             9     status           10..11  configuration
             12..   records
    Source   The M-Bus: A Documentation, revision 4.8, mode 2 (clause to confirm)
    Units    none
    Raises   Truncated if the header is not complete. A structural fault in the records is left
             to the parser: the octets from there on are not changed
    """
    if len(octets) < HEADER_SIZE:
        raise Truncated(
            f"the long header has {HEADER_SIZE} octets, {len(octets)} are left", layer=_LAYER, offset=0, octets=octets
        )
    return _header(octets) + _records(octets, HEADER_SIZE)


def to_big_endian(octets: bytes) -> bytes:
    """Reorder what follows CI 72 into the order of CI 76: the same exchange. Raises as ``to_little_endian``."""
    return to_little_endian(octets)
