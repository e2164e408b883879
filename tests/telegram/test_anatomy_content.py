"""The anatomy of application data: records, profiles, compact frames and the other protocols, octet by octet."""

from __future__ import annotations

import pytest

from openmetering import Decoder
from openmetering.codec.apl import image_transfer
from openmetering.codec.apl.application_select import ApplicationReset
from openmetering.codec.apl.format import CompactFrame, FormatStore
from openmetering.codec.apl.image_transfer import ImageMac, ImageMessage
from openmetering.codec.apl.security_transfer import SecuredData, SitpBlock
from openmetering.telegram.anatomy import Anatomy, redact
from tests.telegram.anatomy_checks import (
    at,
    bits,
    covered,
    of,
    payload,
    rows,
    told,
    written,
)
from tests.telegram.building import (
    COMPACT,
    FORMAT,
    LONG,
    WATER,
    frame,
    record,
    water,
    wireless,
)
from tests.telegram.test_own_vectors import VECTORS, read

# -- records -------------------------------------------------------------------------------------------------------


def test_a_record_octet_by_octet() -> None:
    item = payload("78", "CC8410 941C 27048502".replace("941C", "9422"))
    segments = [segment for segment in item.segments if 7 <= segment.offset < 16]
    assert [segment.field for segment in segments] == ["DIF", "DIFE", "DIFE", "VIF", "VIFE", "data"]
    dif, dife = segments[0], segments[1]
    assert dif.meaning == "8-digit BCD, instantaneous value"
    assert bits(dif)["7"] == ("extension", 1, "a DIFE follows")
    assert bits(dife)["3..0"] == ("storage number", 4, "adds 8")
    assert segments[2].meaning == "storage 9, tariff 4, subunit 0"
    assert bits(segments[2])["5..4"] == ("tariff", 1, "adds 4")
    assert segments[3].meaning == "volume, m3 times 10^-2"
    assert segments[4].meaning == "per h"
    assert segments[5].value == "28504.27 m3/h"


@pytest.mark.parametrize(
    ("octets", "control", "meanings"),
    [
        ("01FD1705", 0x08, ["second extension table", "error flags"]),
        ("02FB0101 00", 0x08, ["first extension table", "energy, MWh"]),
        ("01FDFD3A05", 0x08, ["second extension table", "its own extension", "distance, mm"]),
        ("04933C00000000", 0x08, ["volume, m3 times 10^-3", "backward"]),
        ("0493FC0300000000", 0x08, ["volume, m3 times 10^-3", "extension of the VIFE codes", "phase L3"]),
        ("0493FF5500000000", 0x08, ["volume, m3 times 10^-3", "manufacturer specific", "belongs to the manufacturer"]),
        ("04FF2200000000", 0x08, ["belongs to the manufacturer, with all VIFE", "belongs to the manufacturer"]),
        ("04937300000000", 0x08, ["volume, m3 times 10^-3", "times 10^-3"]),
        ("04937A00000000", 0x08, ["volume, m3 times 10^-3", "plus 10^-1"]),
        ("04935000000000", 0x08, ["volume, m3 times 10^-3", "duration of first exceed of lower limit (s)"]),
        ("04931500000000", 0x08, ["volume, m3 times 10^-3", "record error: no data available"]),
        ("04930000000000", 0x08, ["volume, m3 times 10^-3", "no record error"]),
        ("04931900000000", 0x08, ["volume, m3 times 10^-3", "record error: reserved"]),
        ("04931200000000", 0x08, ["volume, m3 times 10^-3", "average"]),
        ("04930100000000", 0x53, ["volume, m3 times 10^-3", "action: add"]),
        ("04931800000000", 0x53, ["volume, m3 times 10^-3", "action: reserved"]),
        ("046F00000000", 0x08, ["reserved"]),
        ("04934400000000", 0x08, ["volume, m3 times 10^-3", "reserved"]),
    ],
)
def test_every_octet_of_a_vib(octets: str, control: int, meanings: list[str]) -> None:
    item = payload("51" if control == 0x53 else "78", octets.replace(" ", ""), control=control)
    found = [segment.meaning for segment in item.segments if segment.field in ("VIF", "true VIF", "VIF extension", "VIFE")]
    assert found == meanings


@pytest.mark.parametrize(
    ("octets", "order"), [("04FC2202432564000000", None), ("04FC02432522 64000000", "front"), ("047C02432564000000", None)]
)
def test_units_in_plain_text(octets: str, order: str | None) -> None:
    item = payload("78", octets.replace(" ", ""))
    names = [name for name, _ in told(item)]
    assert [name for name in names if name.startswith("text")] == ["text length", "text"]
    assert dict(told(item))["text"] == "%C"
    if order == "front":
        assert names[1:5] == ["VIF", "text length", "text", "VIFE"]


@pytest.mark.parametrize(
    ("octets", "value", "words"),
    [
        ("0414E8030000", "10.00 m3", "integer 1000; times 10^-2"),
        ("0C1427048502", "28504.27 m3", "BCD 02850427"),
        ("0C142704850A", "value.invalid", "marked invalid"),
        ("042B00000080", "value.invalid", "marked invalid"),
        ("05140000C03F", "0.015 m3", "real 1.5"),
        ("046D32371F15", "2008-05-31T23:50", "date and time of type F"),
        ("026C1F15", "2008-05-31", "date of type G"),
        ("01FD1704", "4", "unsigned integer 4"),
        ("0DFD0C0434474B42", "BKG4", "text, last character first"),
        ("0DFD3B03024401", "024401", "a frame of another device, complete"),
        ("0DFD3B0302 4A", "", "a frame of another device"),
        ("0DFD7602AABB", "AABB", "octets in their order"),
        ("0D14E20102", "5.13 m3", "integer 513"),
        ("02FB680010", "1", "unsigned integer 4096; times 2^-12"),
        ("0014", "", ""),
        ("0493157B000000", "record.error.no-data-available", "record.error.no-data-available"),
    ],
)
def test_data_in_words(octets: str, value: str, words: str) -> None:
    item = payload("78", octets.replace(" ", ""))
    data = [segment for segment in item.segments if segment.field == "data"]
    if not data:
        assert octets in ("0014", "0DFD3B0302 4A")
        return
    assert data[0].value == value
    assert words in data[0].meaning


def test_flags_of_a_bit_array() -> None:
    item = payload("78", "02FD170504")
    data = next(segment for segment in item.segments if segment.field == "data")
    assert [bit.place for bit in data.bits] == ["0", "2", "10"]
    assert all(bit.value == 1 for bit in data.bits)


def test_data_points_and_obis_codes() -> None:
    assert "OMS data point VM1!; OBIS 8-0:1.0.0*255" in written(of(frame()))


def test_offsets_of_a_value() -> None:
    item = payload("78", "0493 7A 64000000".replace(" ", ""))
    assert "plus 0.1" in next(segment for segment in item.segments if segment.field == "data").meaning


def test_manufacturer_block_fillers_and_readout() -> None:
    item = payload("78", "2F2F7F" + WATER.hex() + "2F1F010203")
    assert told(item)[:2] == [("filler", "2Fh"), ("DIF", "7Fh")]
    assert told(item)[-2:] == [("DIF", "1Fh"), ("manufacturer data", "3 octets")]
    assert "more telegrams follow" in at(item, 7 + 3 + len(WATER) + 1).meaning
    alone = payload("78", "0F")
    assert told(alone) == [("DIF", "0Fh")]


def test_a_compact_profile_element_by_element() -> None:
    item = covered(read(VECTORS["devices/OMG/water_compact_profile.toml"])[0])
    names = [segment.field for segment in item.parts[1].segments]
    start = names.index("spacing control (SC)")
    assert names[start : start + 6] == [
        "spacing control (SC)",
        "spacing value (SV)",
        "element 1",
        "element 2",
        "element 3",
        "element 4",
    ]
    values = {segment.field: (segment.value, segment.meaning) for segment in item.parts[1].segments}
    assert values["element 1"] == ("0.209 m3", "storage 9; 2008-02-29")
    assert values["spacing value (SV)"] == ("254", "one element every month")


def profile(octets: str) -> Anatomy:
    """A base value of 0.1 m3 and a profile of these octets: SC, SV, elements."""
    raw = bytes.fromhex(octets)
    return payload("78", bytes.fromhex("041364000000" + "0D931F") + bytes((len(raw),)) + raw)


@pytest.mark.parametrize(
    ("octets", "expected", "code"),
    [
        ("4101 010203", ["0.101 m3", "0.103 m3", "0.106 m3"], None),
        ("C101 01FF", ["0.101 m3", "0.100 m3"], None),
        ("7101 05", ["0.105 m3"], None),
        ("4201 0100 02", ["0.101 m3", "02"], "profile.length"),
        ("41FD 0102", ["0.101 m3", "0.103 m3"], "profile.spacing"),
        ("4001 0102", [], "profile.element"),
        ("4500 0000803F", ["0.101 m3"], None),
        ("4100", [], None),
    ],
)
def test_elements_of_profiles(octets: str, expected: list[str], code: str | None) -> None:
    item = profile(octets.replace(" ", ""))
    elements = [segment for segment in item.segments if segment.field.startswith("element")]
    values = [segment.value for segment in elements]
    assert values == expected
    assert [warning.code for warning in item.warnings] == ([code] if code else [])


def test_a_profile_of_one_octet() -> None:
    item = profile("41")
    assert ("data", "41") in told(item)
    assert item.warnings[0].code == "profile.length"


def test_invalid_elements_end_a_series() -> None:
    item = profile("4101" + "05FF06")
    values = {segment.field: (segment.value, segment.meaning) for segment in item.segments if segment.field.startswith("element")}
    assert values["element 2"] == ("invalid", "ends the series")
    assert values["element 3"][1] == "not read"


# -- compact and format frames ------------------------------------------------------------------------------------


def test_a_compact_frame_of_a_known_format() -> None:
    decoder = Decoder()
    decoder.examine(wireless(bytes.fromhex("78") + WATER))
    item = of(wireless(b"\x79" + COMPACT), decoder=decoder)
    assert rows(item)[7:9] == [(11, "format signature", "67CCh"), (13, "full-frame CRC", "928Ah")]
    assert [row[1] for row in rows(item)][9:] == ["data", "data", "data"]
    assert "DIB 0C, VIB 14 of the known format" in item.parts[0].sections[3].summary
    assert at(item, 13).meaning.endswith("correct")


def test_a_compact_frame_with_variable_lengths_and_fillers() -> None:
    records = [*water(), record("FD0C", "BKG4", field=0x0D)]
    full = b"".join(item.octets() for item in records)
    decoder = Decoder()
    decoder.examine(wireless(b"\x78" + full))
    item = of(wireless(b"\x79" + CompactFrame.of(records).encode() + b"\x2f\x2f"), decoder=decoder)
    assert [row[1] for row in rows(item)][-3:] == ["LVAR", "data", "filler"]


def test_a_compact_frame_without_its_format() -> None:
    item = covered(Decoder(formats=FormatStore()).examine(wireless(b"\x79" + COMPACT)))
    last = list(item.segments)[-1]
    assert last.fault == "compact.unknown_format"


def test_a_format_frame() -> None:
    item = of(wireless(b"\x69" + FORMAT))
    assert [row[1] for row in rows(item)][7:] == [
        "length",
        "format signature",
        "DIF",
        "VIF",
        "DIF",
        "VIF",
        "true VIF",
        "DIF",
        "VIF",
    ]
    trailing = of(wireless(b"\x69" + FORMAT + b"\x00"))
    assert rows(trailing)[-1][1] == "octets"


def test_checks_of_compact_and_format_frames_that_fail() -> None:
    decoder = Decoder()
    decoder.examine(wireless(bytes.fromhex("78") + WATER))
    item = of(wireless(b"\x79" + COMPACT[:2] + b"\x00\x00" + COMPACT[4:]), decoder=decoder)
    assert [segment.field for segment in item.segments if segment.fault == "compact.crc"] == ["full-frame CRC", "not decoded"]
    changed = of(wireless(b"\x69" + FORMAT[:1] + b"\x00\x00" + FORMAT[3:]))
    assert [segment.field for segment in changed.segments if segment.fault == "compact.signature"] == ["format signature"]


# -- other protocols -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ci", "content", "control", "expected"),
    [
        ("70", "15", 0x08, [("error code", "15h")]),
        ("70", "", 0x08, []),
        ("70", "F001FD1701", 0x08, [("error code", "F0h"), ("DIF", "01h"), ("VIF", "FDh"), ("true VIF", "17h"), ("data", "1")]),
        ("70", "10AABB", 0x08, [("error code", "10h"), ("additional data", "2 octets")]),
        ("71", "05", 0x08, [("alarm flags", "05h")]),
        ("71", "00AA", 0x08, [("alarm flags", "00h"), ("additional data", "1 octet")]),
        ("50", "", 0x53, []),
        ("50", "70", 0x53, [("sub code", "70h")]),
        ("54", "7071", 0x53, [("parameter", "2 octets")]),
        (
            "52",
            LONG[:16],
            0x53,
            [("identification number", "12345678"), ("manufacturer", "OMG"), ("version", "01h"), ("device type", "07h")],
        ),
        (
            "52",
            "FFFFFFFFFFFFFFFF",
            0x53,
            [("identification number", "FFFFFFFF"), ("manufacturer", "FFFFh"), ("version", "FFh"), ("device type", "FFh")],
        ),
        ("BB", "", 0x53, []),
        ("A1", "0102", 0x08, [("octets", "2 octets")]),
        ("05", "0102", 0x08, [("octets", "2 octets")]),
        ("CF", "0102", 0x08, [("octets", "2 octets")]),
        ("5C", "", 0x53, []),
        ("66", "01FD1701", 0x08, [("DIF", "01h"), ("VIF", "FDh"), ("true VIF", "17h"), ("data", "1")]),
    ],
)
def test_small_protocols(ci: str, content: str, control: int, expected: list[tuple[str, str]]) -> None:
    assert told(payload(ci, content, control=control)) == expected


def test_an_enhanced_selection() -> None:
    item = payload("52", LONG[:16] + "0C78214365870102", control=0x53)
    assert told(item)[4:] == [("DIF", "0Ch"), ("VIF", "78h"), ("fabrication number", "87654321"), ("more", "2 octets")]
    assert "87654321" not in written(redact(item))


def test_a_selection_that_is_too_short() -> None:
    item = payload("52", "7856341201", control=0x53)
    assert told(item) == [("not decoded", "5 octets")]
    assert at(item, 7).fault == "frame.truncated"


def test_alarm_flags_and_application() -> None:
    flags = at(payload("71", "05"), 7)
    assert [bit.place for bit in flags.bits] == ["0", "2"]
    code = at(payload("50", ApplicationReset.select(7).encode(), control=0x53), 7)
    assert bits(code)["7..4"][1] == 7
    assert bits(code)["3..0"] == ("block", 0, "all or the first")


@pytest.mark.parametrize(
    ("content", "function", "time"),
    [
        ("003237170F150000000000" + "2F2F2F2F", "set the clock", "2008-05-15T23:55:50"),
        ("01320100000000000000" + "2F2F2F2F", "put the clock forward", "110 s"),
        ("023C0000", "put the clock back", "-60 s"),
        ("03323705", "correct the clock towards this time", "05:55:50"),
        ("0332170C", "correct the clock towards this time", "12:23:50"),
        ("050300000030", "set the clock", "PT3S"),
        ("090102", "reserved", ""),
    ],
)
def test_clock_synchronisation(content: str, function: str, time: str) -> None:
    item = payload("6C", LONG + content, control=0x53)
    words = {segment.field: (segment.value, segment.meaning) for segment in item.segments if segment.offset >= 19}
    assert words["function (TC)"][1] == function
    assert words["time"][0] == time


def test_image_transfer() -> None:
    prepare = ImageMessage(0, b"\xaa\xbb", 1000, 200, ImageMac(4, 0x18, 1, bytes(16)))
    item = payload("C0", bytes.fromhex(LONG) + prepare.encode(), control=0x53)
    assert [name for name, _ in told(item, start=19)] == [
        "function", "identifier length", "image identifier", "image size", "block size", "MAC algorithm", "KeyID", "KeyVersion",
        "MAC of the image",
    ]  # fmt: skip
    for message, expected in (
        (ImageMessage(2, b"\xaa", block=3, data=b"\x01\x02"), ["block number", "block data"]),
        (ImageMessage(6, b"\xaa", time=bytes(5)), ["target time"]),
        (ImageMessage(0x83, b"\xaa", lost_total=2, lost=(4, 5)), ["lost blocks", "lost block", "lost block"]),
        (ImageMessage(0x84, b"\xaa", state=5), ["state"]),
        (ImageMessage(1, additional=b"\x01"), ["additional data"]),
    ):
        ci = "C2" if message.response else "C0"
        found = payload(ci, bytes.fromhex(LONG) + message.encode(), control=0x08 if message.response else 0x53)
        names = [name for name, _ in told(found, start=20)]
        assert names[-len(expected) :] == expected
    assert list(payload("C0", LONG, control=0x53).segments)[-3].field == "configuration"


def test_image_transfer_in_another_layout() -> None:
    class Other:
        name = "other"

        def decode(self, octets: bytes) -> ImageMessage:
            return ImageMessage(octets[0], additional=octets[1:], layout="other")

        def encode(self, message: ImageMessage) -> bytes:
            return message.additional

    image_transfer.register(Other())
    image_transfer.use("other")
    try:
        item = payload("C0", LONG + "00010203", control=0x53)
    finally:
        image_transfer.use("P0")
        del image_transfer.LAYOUTS["other"]
    assert told(item, start=19) == [("function", "00h"), ("additional data", "3 octets")]


def _sitp(*blocks: SitpBlock, rest: bytes = b"") -> Anatomy:
    return payload("C5", bytes.fromhex(LONG) + b"".join(block.encode() for block in blocks) + rest)


def test_security_transfer() -> None:
    secured = SecuredData(bytes.fromhex("0000000030"), 15, 1, bytes.fromhex("01FD1F00"), bytes(8))
    item = _sitp(SitpBlock(0, 0xA0, 0x32, b"\x20\x00", secured.encode()), rest=bytes(2))
    names = [name for name, _ in told(item, start=19)]
    assert names == [
        "block length (BL)", "block number (BID)", "block control (BCF)", "recipient", "structure (DSI)", "DSH1", "DSH2",
        "key counter", "target time", "protocol (PID)", "DIF", "VIF", "true VIF", "data", "MAC", "block length (BL)",
    ]  # fmt: skip
    assert dict(told(item, start=19))["target time"] == "at once"
    status = _sitp(SitpBlock(1, 0x80, 0x22, b"\xff\xff", b"\x00\xaa"))
    assert told(status, start=27) == [("status", "00h"), ("content", "1 octet")]
    keys = _sitp(SitpBlock(1, 0x89, 0x23, b"\xff\xff", bytes.fromhex("2001 07000000".replace(" ", ""))))
    assert told(keys, start=27) == [("KeyID", "20h"), ("KeyVersion", "1"), ("key counter", "7")]
    plain = _sitp(SitpBlock(1, 0x88, 0x21, b"\xff\xff", bytes.fromhex("2001")))
    assert told(plain, start=27) == [("KeyID", "20h"), ("KeyVersion", "1")]
    clock = SecuredData((5).to_bytes(4, "little") + b"\x30", 15, 4, bytes(4), bytes(8))
    assert ("application data", "4 octets") in told(_sitp(SitpBlock(0, 0x20, 0x32, b"\x21\x00", clock.encode())), start=19)


def test_wrapped_keys_and_broken_blocks() -> None:
    wrapped = _sitp(SitpBlock(0, 0x00, 0x01, b"\x10\x00", bytes(range(32))), rest=b"\x2f\x2f")
    content = next(segment for segment in wrapped.segments if segment.field == "content")
    assert (content.size, content.secret) == (32, "key")
    assert bytes(range(32)).hex().upper() not in written(redact(wrapped))
    broken = _sitp(SitpBlock(0, 0x80, 0x22, b"\xff\xff", b""))
    assert broken.error is not None
    unknown = _sitp(SitpBlock(0, 0x55, 0x77, b"\x20\x00", b"\x01\x02"))
    assert next(segment for segment in unknown.segments if segment.field == "content").secret == "key"
    short = payload("C5", LONG + "0200AABB")
    assert any(segment.fault == "sitp.block" for segment in short.segments)


def test_fixed_data_structure() -> None:
    content = "78563412" + "0A" + "00" + "E97E" + "01000000" + "35010000"
    item = payload("73", content)
    assert told(item) == [
        ("identification number", "12345678"), ("access number", "10"), ("status", "00h"), ("medium and units", "E9h 7Eh"),
        ("counter 1", "1 times 10^-3 m3"), ("counter 2", "135 times 10^-3 m3"),
    ]  # fmt: skip
    assert bits(at(item, 12))["0"] == ("binary", 0, "counters are BCD")
    turned = payload("77", "12345678" + "0A" + "00" + "E97E" + "000000FF" + "00000135")
    assert told(turned)[-2:] == [("counter 1", "invalid"), ("counter 2", "135 times 10^-3 m3")]
    assert any(segment.fault == "record.truncated" for segment in payload("77", content + "00").segments)


def test_most_significant_octet_first() -> None:
    item = covered(read(VECTORS["regressions/most_significant_octet_first.toml"])[0])
    assert told(item)[:2] == [("identification number", "12345678"), ("manufacturer", "OMG")]
    assert ("data", "28504.27 m3") in told(item)
    closed = payload("76", "123456783DA701072A000500" + "00" * 16)
    assert [segment.fault for segment in closed.segments if segment.fault] == ["security.unsupported"]
    short = payload("76", "1234567800")
    assert list(short.segments)[-3].fault == "frame.truncated"
