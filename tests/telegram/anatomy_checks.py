"""What every anatomy must hold, and short ways to look into one."""

from __future__ import annotations

import msgspec
from hypothesis import strategies as st

from openmetering import Address, Decoder, Telegram
from openmetering.codec.link.wireless import WirelessFrame
from openmetering.tables import FAULTS
from openmetering.telegram.anatomy import FRAME, PLAINTEXT, Anatomy, Part, Segment, anatomy, redact
from tests.telegram.building import KEY, wired
from tests.telegram.test_own_vectors import VECTORS, frames_of, key_of

LAYERS = {"link", "ell", "afl", "nwl", "tpl", "apl"}


def octets_of(part: Part) -> bytes:
    return b"".join(bytes.fromhex(segment.octets) for segment in part.segments)


def covered(telegram: Telegram) -> Anatomy:
    """The anatomy of a telegram; every octet of the frame and of every opened part stands in exactly one segment."""
    item = anatomy(telegram)
    assert [part.where for part in item.parts] == [FRAME] + [PLAINTEXT] * (len(item.parts) - 1)
    assert octets_of(item.parts[0]) == telegram.frame
    for part in item.parts:
        at = 0
        for segment in part.segments:
            assert (segment.where, segment.offset) == (part.where, at)
            assert segment.size == len(segment.octets) // 2 > 0
            assert segment.layer in LAYERS
            assert segment.field
            at += segment.size
        assert at == part.size
        assert all(section.title and section.segments for section in part.sections)
    stages = [octets_of(part) for part in item.parts[1:]]
    assert stages[: len(telegram.opened)] == list(telegram.opened)
    if telegram.security.state == "decrypted" and len(stages) > len(telegram.opened):
        payload = telegram.payload or b""
        assert stages[-1][: len(payload)] == payload
        padding = stages[-1][len(payload) :]
        assert padding == bytes((len(padding),)) * len(padding)
    faults = {segment.fault for segment in item.segments if segment.fault}
    if telegram.error is None:
        assert faults <= {warning.code for warning in telegram.warnings}
    assert faults <= set(FAULTS)  # behind the error of the decoder there may be others
    assert (item.error, item.warnings) == (telegram.error, telegram.warnings)
    return item


def clean(telegram: Telegram) -> Anatomy:
    """The redacted anatomy of a telegram, after the checks of any redaction."""
    whole = covered(telegram)
    item = redact(whole)
    assert item.redacted
    assert [part.size for part in item.parts] == [part.size for part in whole.parts]
    for old, new in zip(whole.segments, item.segments, strict=True):
        assert (old.offset, old.size, old.where, old.layer) == (new.offset, new.size, new.where, new.layer)
        if old.secret:
            assert new.octets == "xx" * old.size
            assert new.value == "redacted"
            assert new.redacted
            assert not new.bits
        elif not new.redacted:
            assert new.octets == old.octets
    return item


def identities(telegram: Telegram) -> set[str]:
    """Every way to write the numbers of the devices of a telegram."""
    link = telegram.link
    addresses: list[Address | None] = [telegram.address, link.address if isinstance(link, WirelessFrame) else None]
    if telegram.ell is not None:
        addresses.append(telegram.ell.destination)
    found: set[str] = set()
    for address in addresses:
        if address is not None and address.identification.strip("0F"):
            number = address.identification
            octets = address.link_octets()[2:6]
            found |= {number, octets.hex().upper(), octets.hex(" ").upper(), octets[::-1].hex(" ").upper(), str(address)}
            found |= {address.din} if address.din else set()
    return found


def rows(item: Anatomy, part: int = 0) -> list[tuple[int, str, str]]:
    """Offset, field and value of every segment of a part."""
    return [(segment.offset, segment.field, segment.value) for segment in item.parts[part].segments]


def at(item: Anatomy, offset: int, part: int = 0) -> Segment:
    """The segment at an offset of a part."""
    return next(segment for segment in item.parts[part].segments if segment.offset <= offset < segment.offset + segment.size)


def bits(segment: Segment) -> dict[str, tuple[str, int, str]]:
    """Place -> name, value and meaning of the bits of a segment."""
    return {bit.place: (bit.name, bit.value, bit.meaning) for bit in segment.bits}


def of(octets: bytes, key: bytes | None = None, decoder: Decoder | None = None) -> Anatomy:
    """The covered anatomy of a frame."""
    return covered((decoder or Decoder()).examine(octets, key))


def payload(ci: str, content: str | bytes, *, control: int = 0x08) -> Anatomy:
    """The anatomy of a wired frame; its CI stands at offset 6."""
    octets = bytes.fromhex(content) if isinstance(content, str) else content
    return of(wired(bytes.fromhex(ci) + octets, control=control))


def told(item: Anatomy, part: int = 0, start: int = 7, tail: int = 2) -> list[tuple[str, str]]:
    """Field and value of what stands behind a CI at offset 6 of a wired frame, up to the checksum."""
    segments = [segment for segment in item.parts[part].segments if segment.offset >= start]
    return [(segment.field, segment.value) for segment in segments[: len(segments) - tail]]


def written(item: Anatomy) -> str:
    return msgspec.json.encode(item).decode()


# -- frames to try --------------------------------------------------------------------------------

BASES = [(octets, key_of(vector)) for vector in VECTORS.values() for octets in frames_of(vector)]


@st.composite
def mutated(draw: st.DrawFn) -> tuple[bytes, bytes | None]:
    """A frame of ours with some octets changed, taken out or put in; sometimes with its length mended."""
    octets, key = draw(st.sampled_from(BASES))
    work = bytearray(octets)
    for _ in range(draw(st.integers(0, 4))):
        place = draw(st.integers(0, len(work)))
        change = draw(st.sampled_from(["set", "cut", "put"]))
        if change == "set" and place < len(work):
            work[place] = draw(st.integers(0, 255))
        elif change == "cut":
            del work[place : place + draw(st.integers(1, 12))]
        else:
            work[place:place] = draw(st.binary(min_size=1, max_size=12))
    if draw(st.booleans()) and len(work) > 10 and work[:1] != b"\x68":
        work[0] = len(work) - 1 & 0xFF
    return bytes(work), draw(st.sampled_from([key, None, KEY]))
