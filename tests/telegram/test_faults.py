"""Faults: every code is provoked, what was read before is kept, nothing stale and nothing invented comes out."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

import openmetering
from openmetering import (
    STRICT,
    Address,
    CounterLedger,
    DecodeError,
    Decoder,
    FormatStore,
    InputError,
    KeyRing,
    Telegram,
    answer,
    decode,
    encode,
    examine,
)
from openmetering.codec.afl import AuthenticationFragmentation
from openmetering.codec.apl.application_error import ApplicationError
from openmetering.codec.apl.opaque import Opaque
from openmetering.codec.apl.records import parse
from openmetering.codec.link.wired import WiredFrame
from openmetering.codec.link.wireless import frame as with_crc
from openmetering.errors import Fault
from openmetering.security import fill
from openmetering.tables import FAULTS
from openmetering.wire import crc16_octets
from tests.telegram.building import (
    COMPACT,
    DES_KEY,
    FORMAT,
    HEADER,
    KEY,
    KEYS,
    LONG,
    METER,
    OTHER_MAKER,
    WATER,
    WRONG_KEY,
    afl_of,
    codes,
    fragments,
    frame,
    general,
    longer,
    record,
    ring,
    sealed,
    session_link,
    session_telegram,
    water,
    wired,
    wireless,
)

SOURCE = Path(openmetering.__file__).parent

# -- every code is provoked --------------------------------------------------------------------------------


def fault_of(octets: bytes | str, keys: KeyRing | bytes | None = None, **options: object) -> Fault:
    telegram = examine(bytes.fromhex(octets) if isinstance(octets, str) else octets, keys, **options)  # type: ignore[arg-type]
    assert telegram.error is not None
    assert isinstance(telegram.cause, openmetering.OmsError)
    assert telegram.cause.fault == telegram.error
    return telegram.error


def mac_frame(change: int) -> bytes:
    octets = frame(profile="B", counter=5)
    return octets[:change] + bytes((octets[change] ^ 1,)) + octets[change + 1 :]


def replayed() -> Fault | None:
    decoder = Decoder(KEYS, counters=CounterLedger())
    for counter in (10, 9):
        telegram = decoder.examine(frame(profile="B", counter=counter))
    return telegram.error


def fragment_missing() -> Fault | None:
    decoder = Decoder(KEYS)
    first, _, third = fragments()
    decoder.examine(first)
    return decoder.examine(third).error


def wrong_length() -> Fault | None:
    decoder = Decoder(KEYS)
    first, second, third = fragments()
    decoder.examine(first)
    decoder.examine(second)
    return decoder.examine(longer(third)).error


def compact_fault(octets: bytes, teacher: str = "") -> Fault | None:
    decoder = Decoder(formats=FormatStore())
    decoder.examine(wired("78" + (teacher or WATER.hex())))
    return decoder.examine(wired(b"\x79" + octets)).error


#: code -> a telegram (or a call) that gives it as its fault
PROVOKED: dict[str, Callable[[], Fault | None]] = {
    "frame.truncated": lambda: fault_of(frame()[:-1]),
    "frame.crc": lambda: fault_of(with_crc(frame())[:-1] + b"\x00"),
    "frame.checksum": lambda: fault_of(wired("78" + WATER.hex())[:-2] + b"\x00\x16"),
    "frame.stop": lambda: fault_of(wired("78" + WATER.hex())[:-1] + b"\x17"),
    "frame.length": lambda: fault_of("0244A73D785634120107"),
    "frame.trailing": lambda: fault_of(frame() + b"\x00", policy=STRICT),
    "address.not_bcd": lambda: fault_of(frame(meter=Address.parse("OMG-1234567F-01-07")), policy=STRICT),
    "ci.unknown": lambda: fault_of(wireless("20" + WATER.hex())),
    "ci.order": lambda: fault_of(wireless("8C2001" + "8C2001" + "78" + WATER.hex())),
    "ell.unsupported": lambda: fault_of(wireless("860102")),
    "ell.crc": lambda: fault_of(wireless(session_link(encryption=0).encode() + b"\x78" + WATER)),
    "afl.length": lambda: fault_of(wireless("9006002C2501000000" + "7A" + HEADER)),
    "afl.field_missing": lambda: fault_of(wireless("900E000C01000000" + "00" * 8 + "7A" + HEADER), KEY),
    "afl.fragment_missing": fragment_missing,
    "afl.message_length": wrong_length,
    "key.missing": lambda: fault_of(frame(profile="A")),
    "key.mismatch.verification": lambda: fault_of(frame(profile="A"), ring((METER, WRONG_KEY))),
    "key.mismatch.mac": lambda: fault_of(mac_frame(24), KEYS),
    "key.mismatch.tag": lambda: fault_of(frame(profile="D", counter=1), WRONG_KEY),
    "key.mismatch.crc": lambda: fault_of(encode(session_telegram(), KEY), WRONG_KEY),
    "security.unsupported": lambda: fault_of(wireless("7A2A0010081000" + "00" * 16)),
    "security.length": lambda: fault_of(wireless("7A2A002005" + "00" * 16), KEY),
    "security.counter_missing": lambda: fault_of(wireless("7A2A00100710" + "00" * 16), KEY),
    "security.already_plain": lambda: fault_of(
        encode(msgspec.structs.replace(session_telegram(), security=openmetering.SecurityReport("ELL", state="already-plain"))),
        policy=STRICT,
    ),
    "tpl.padding": lambda: fault_of(without_padding(), KEY),
    "counter.replayed": replayed,
    "application.error": lambda: fault_of(wired("7001")),
    "compact.unknown_format": lambda: fault_of(wired(b"\x79" + COMPACT)),
    "compact.crc": lambda: compact_fault(COMPACT[:2] + b"\x00\x00" + COMPACT[4:]),
    "compact.length": lambda: compact_fault(COMPACT[:-1]),
    "compact.signature": lambda: fault_of(wired(b"\x69" + FORMAT[:1] + b"\x00\x00" + FORMAT[3:])),
    "compact.format": lambda: fault_of(wired(b"\x69" + broken_format())),
    "record.truncated": lambda: fault_of(wired("780C142704")),
    "record.lvar": lambda: fault_of(wired("780D78CA")),
    "record.reserved_dif": lambda: fault_of(wired("783F00")),
    "record.too_many_extensions": lambda: fault_of(wired("78" + "84" * 12 + "0013")),
    "sitp.block": lambda: fault_of(wired("C3" + LONG + "0300" + "000000")),
}  # fmt: skip


def without_padding() -> bytes:
    layer = AuthenticationFragmentation.build(message_control=afl_of().message_control, counter=7, mac=bytes(8))
    made = sealed(7, 0x20, (b"\x2f\x2f" + WATER).ljust(32, b"\x2f"), extension=b"\x10", afl=layer)
    assert made.transport is not None
    octets = bytearray(encode(made, KEY))
    bare = AuthenticationFragmentation.build(counter=7)
    at = octets.index(0x7A, 24)
    octets[at + 3] |= 0x08
    return wireless(bare.encode() + bytes(octets[at:]))


def broken_format() -> bytes:
    headers = b"\x0c"
    return bytes((len(headers) + 2,)) + crc16_octets(headers)[::-1] + headers


@pytest.mark.parametrize("code", PROVOKED)
def test_provoked(code: str) -> None:
    fault = PROVOKED[code]()
    assert fault is not None
    assert fault.code == code
    assert fault.message
    assert fault.layer
    assert fault.offset is None or fault.offset >= 0
    assert FAULTS[code].remedy


WARNED: dict[str, Callable[[], Telegram]] = {
    "frame.trailing": lambda: examine(frame() + b"\x00\x01"),
    "address.not_bcd": lambda: examine(frame(meter=Address.parse("OMG-1234567F-01-07"))),
    "afl.incomplete": lambda: Decoder(KEYS).examine(fragments()[0]),
    "afl.mac_missing": lambda: examine(no_mac(), KEY),
    "counter.duplicate": lambda: _twice(frame(profile="B", counter=1)),
    "key.missing": lambda: examine(encode(sealed(0, 0, WATER, afl=afl_of()), KEY)),
    "manufacturer.protocol": lambda: examine(wireless("A20102")),
    "nwl.unsupported": lambda: examine(wireless("810102")),
    "record.text_before_extension": lambda: examine(wired("7802FC0348522574440D")),
    "security.already_plain": lambda: examine(wireless("7A2A002005" + "2F2F" + "2F" * 30)),
    "security.reserved_mode": lambda: examine(wireless("7A2A000006" + WATER.hex())),
}


def no_mac() -> bytes:
    layer = AuthenticationFragmentation.build(counter=7)
    return encode(sealed(7, 0x20, (b"\x2f\x2f" + WATER).ljust(32, b"\x2f"), extension=b"\x10", afl=layer), KEY)


def _twice(octets: bytes) -> Telegram:
    decoder = Decoder(KEYS, counters=CounterLedger())
    decoder.examine(octets)
    return decoder.examine(octets)


@pytest.mark.parametrize("code", WARNED)
def test_warned(code: str) -> None:
    telegram = WARNED[code]()
    assert telegram.ok
    assert codes(telegram) == [code]
    assert telegram.warnings[0].message
    assert FAULTS[code].meaning


def codes_in(path: Path) -> Iterator[str]:
    """The codes that a module gives: ``code=``, ``code = ...`` of a class, warnings and faults as values."""
    makers = {"warn": 0, "_tolerate": 1, "Fault": 0, "_fault": 0}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        candidates: list[ast.expr] = []
        if isinstance(node, ast.Call):
            candidates = [keyword.value for keyword in node.keywords if keyword.arg == "code"]
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in makers and len(node.args) > makers[name]:
                candidates.append(node.args[makers[name]])
        elif isinstance(node, ast.ClassDef):
            candidates = [
                item.value for item in node.body if isinstance(item, ast.Assign) and getattr(item.targets[0], "id", "") == "code"
            ]
        values = [item.value for item in candidates if isinstance(item, ast.Constant) and isinstance(item.value, str)]
        yield from (value for value in values if "." in value)  # every code has a dot; titles of the explain page have none


def test_every_code_of_the_source_is_explained() -> None:
    found = {code: path.name for path in SOURCE.rglob("*.py") for code in codes_in(path)}
    assert len(found) > 60
    assert {code: name for code, name in found.items() if code not in FAULTS} == {}


def test_every_code_of_the_telegram_floor_is_provoked_here() -> None:
    floor = [path for path in (SOURCE / "telegram").glob("*.py") if path.name != "recompose.py"]
    codecs = [
        SOURCE / "codec" / name for name in ("afl.py", "ell.py", "tpl.py", "link/wired.py", "link/wireless.py", "apl/records.py")
    ]
    given = {code for path in floor + codecs for code in codes_in(path)}
    given -= {"frame.start"}  # a frame that starts otherwise is read as a wireless one
    assert given - set(PROVOKED) - set(WARNED) == set()


# -- the faults of other decoders -------------------------------------------------------------------------------


def test_same_number_of_two_makers_is_kept_apart() -> None:
    """Keys, shortcuts, formats and fragments are bound to the whole address, not to the number."""
    keys = ring((METER, KEY), (OTHER_MAKER, WRONG_KEY))
    decoder = Decoder(keys)
    for _ in range(3):
        for meter, key, volume in ((METER, KEY, "1.00"), (OTHER_MAKER, WRONG_KEY, "2.00")):
            telegram = decoder.decode(frame(water(volume), meter=meter, keys=key, profile="A"))
            assert telegram.address == meter
            assert telegram.records[0].value == Decimal(volume)
    assert str(METER) != str(OTHER_MAKER)


@pytest.mark.parametrize("profile", ["none", "A", "B", "D"])
def test_no_stale_values_after_a_failed_telegram(profile: str) -> None:
    """The shortcut is learned; then a corrupted telegram and one with other content come."""
    decoder = Decoder(KEYS)
    good = frame(water("1.00"), profile=profile, counter=1)
    for _ in range(3):
        assert decoder.decode(good).records[0].value == Decimal("1.00")
    at = len(good) - 2
    corrupted = decoder.examine(good[:at] + bytes((good[at] ^ 0x41,)) + good[at + 1 :])
    if profile in ("B", "D"):
        assert not corrupted.ok
        assert corrupted.records == ()
    truncated = decoder.examine(good[:-1])
    assert truncated.error is not None
    assert truncated.records == ()
    assert truncated.payload is None
    wrong = decoder.examine(frame(profile=profile if profile != "none" else "A", keys=WRONG_KEY, counter=2))
    assert wrong.records == ()
    other = decoder.decode(frame([record("5A", Decimal("21.5"), field=2)], profile=profile, counter=3))
    assert [item.quantity for item in other.records] == ["flow temperature"]
    assert decoder.decode(frame(water("3.00"), profile=profile, counter=4)).records[0].value == Decimal("3.00")


@pytest.mark.parametrize(
    ("octets", "code"),
    [
        (wired("7001"), 0x01),
        (wired("70"), 0x00),
        (wireless("6E" + HEADER + "15"), 0x15),
        (wired("6F" + LONG + "20"), 0x20),
        (wired("6F" + LONG + "F1AA"), 0xF1),
    ],
    ids=["70", "70 empty", "6E", "6F", "maker"],
)
def test_error_telegrams_are_errors(octets: bytes, code: int) -> None:
    telegram = examine(octets)
    assert isinstance(telegram.application, ApplicationError)
    assert telegram.application.code == code
    assert telegram.error is not None
    assert telegram.error.code == "application.error"
    assert f"{code:02X}h" in telegram.error.message
    assert telegram.records == ()
    assert not answer(telegram).ok
    assert encode(telegram) == octets
    with pytest.raises(DecodeError):
        decode(octets)


def test_encrypted_error_telegram() -> None:
    made = sealed(5, 0x10, b"\x2f\x2f\x15".ljust(16, b"\x2f"))
    assert made.transport is not None
    made = msgspec.structs.replace(made, transport=msgspec.structs.replace(made.transport, ci=0x6E))
    telegram = examine(encode(made, KEY), KEYS)
    assert isinstance(telegram.application, ApplicationError)
    assert telegram.application.code == 0x15


@pytest.mark.parametrize(
    "unknown",
    ["017F05", "01FF2105", "02FD7C0102", "01EF7F05", "04FDFD7F01020304", "0DFD7E03414243", "01947F05", "0194F80105"],
)
def test_an_unknown_record_never_loses_the_rest(unknown: str) -> None:
    telegram = decode(wired("78" + WATER[:6].hex() + unknown + WATER[6:].hex()))
    assert [item.octets() for item in telegram.records] == [WATER[:6], bytes.fromhex(unknown), WATER[6:11], WATER[11:]]
    first, strange, *behind = telegram.records
    assert first.value == Decimal("28504.27")
    assert strange.raw in bytes.fromhex(unknown)
    assert [item.quantity for item in behind] == ["error flags", "volume"]
    written = answer(telegram).records
    assert len(written) == 4
    assert written[1].raw == strange.raw.hex().upper()


@pytest.mark.parametrize("broken", ["3F", "0D78CA", "84848484848484848484848413", "0C14", "8C"])
def test_records_before_a_fault_are_kept(broken: str) -> None:
    telegram = examine(wired("78" + WATER.hex() + broken))
    assert telegram.error is not None
    assert telegram.error.layer == "apl"
    assert telegram.error.offset is not None
    assert [item.octets() for item in telegram.records] == [WATER[:6], WATER[6:11], WATER[11:]]
    with pytest.raises(openmetering.OmsError) as caught:
        decode(wired("78" + WATER.hex() + broken))
    assert len(caught.value.telegram.records) == 3


@pytest.mark.parametrize(
    ("octets", "quantity"),
    [
        ("426C0000", "date"),
        ("426CFFFF", "date"),
        ("426C3E12", "date"),
        ("046D80000000", "date time"),
        ("0C14EEEEEEEE", "volume"),
        ("0C14A2270485", "volume"),
        ("025A0080", "flow temperature"),
        ("04130000" + "0080", "volume"),
        ("055B0000C07F", "flow temperature"),
    ],
)
def test_invalid_values_are_never_numbers(octets: str, quantity: str) -> None:
    (item,) = decode(wired("78" + octets)).records
    assert item.quantity == quantity
    assert item.value is None
    assert item.error == "value.invalid"
    (written,) = answer(decode(wired("78" + octets))).records
    assert (bytes(written.value), written.error) == (b"null", "value.invalid")


@pytest.mark.parametrize(
    ("octets", "value"),
    [
        ("053B0000803F", "0.001"),
        ("055B00005041", "13"),
        ("01FD3A80", None),
        ("015AFF", "-0.1"),
        ("025AFEFF", "-0.2"),
        ("035AFDFFFF", "-0.3"),
        ("045AFCFFFFFF", "-0.4"),
        ("065AFBFFFFFFFFFF", "-0.5"),
        ("075AFAFFFFFFFFFFFFFF", "-0.6"),
        ("0A5A12F0", "-1.2"),
        ("0C14270485F2", "-28504.27"),
        ("02FB1A1C02", "54.0"),
        ("01FB1B37", "55"),
        ("02FB2D5013", "49.44"),
        ("426CBF2C", "2021-12-31"),
        ("426C1F0F", "2000-*-31"),
        ("426CE0FF", "*-*-*"),
        ("466D0A2B0C3F1C00", "2009-12-31T12:43:10"),
    ],
)  # fmt: skip
def test_signs_scales_and_dates(octets: str, value: str | None) -> None:
    """Floats scaled, every signed width, negative BCD, humidity and frequency, 48-bit date-times, day 31, "every" dates."""
    (item,) = decode(wired("78" + octets)).records
    (written,) = answer(decode(wired("78" + octets))).records
    assert bytes(written.value).decode().strip('"') == (value or "null")
    assert (item.value is None) == (value is None)


# -- policies -----------------------------------------------------------------------------------------------------

LENIENT = {
    "frame.trailing": frame() + b"\x16\x16",
    "address.not_bcd": frame(meter=Address.parse("OMG-1234567F-01-07")),
    "security.reserved_mode": wireless("7A2A000006" + WATER.hex()),
    "security.already_plain": wireless(bytes.fromhex("7A2A002005") + fill(b"\x2f\x2f" + WATER)),
}


@pytest.mark.parametrize("code", LENIENT)
def test_tolerant_and_strict(code: str) -> None:
    tolerant = examine(LENIENT[code])
    assert (tolerant.ok, codes(tolerant), len(tolerant.records)) == (True, [code], 3)
    strict = Decoder(policy=STRICT).examine(LENIENT[code])
    assert strict.error is not None
    assert strict.records == ()
    assert strict.warnings == ()


def test_trailing_octets_are_kept() -> None:
    for octets in (frame(), wired("78" + WATER.hex()), with_crc(frame()), with_crc(frame(), "B")):
        telegram = examine(octets + b"\x01\x02\x03")
        assert telegram.trailer == b"\x01\x02\x03"
        assert codes(telegram) == ["frame.trailing"]
        assert telegram.warnings[0].offset == len(octets)
        assert encode(telegram) == octets
    assert decode(wired("78" + WATER.hex())).trailer == b""


# -- CI fields ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ci", [0x20, 0x4F, 0x58, 0x63, 0x98, 0xC8, 0xFF])
def test_unknown_ci(ci: int) -> None:
    telegram = examine(wireless(bytes((ci,)) + WATER))
    if telegram.error is None:
        pytest.fail(f"CI {ci:02X}h is reserved")
    assert telegram.error.code == "ci.unknown"
    assert f"{ci:02X}h" in telegram.error.message
    assert telegram.records == ()


@pytest.mark.parametrize("data", ["9002000090020000", "90020000" + "8C2001", "8C2001" + "8C2001" + "78", "90020000" + "81"])
def test_layers_in_a_wrong_order(data: str) -> None:
    assert fault_of(wireless(data + WATER.hex())).code == "ci.order"


def test_a_frame_may_end_behind_the_extended_link_layer_only() -> None:
    request = decode(wireless("8C2001", control=0x5B))
    assert request.ell is not None
    assert request.transport is None
    assert encode(request) == wireless("8C2001", control=0x5B)
    assert fault_of(wireless("8C2001" + "90020000")).code == "frame.truncated"


def test_frames_without_data() -> None:
    for octets in (wireless(b"", control=0x40), b"\xe5", WiredFrame.short(0x40, 5).encode()):
        telegram = decode(octets)
        assert (telegram.transport, telegram.records, telegram.payload) == (None, (), None)
        assert encode(telegram) == octets
        assert answer(telegram).transport is None


def test_maker_and_foreign_protocols_are_kept() -> None:
    maker = decode(wireless("A20102030405"))
    assert maker.manufacturer_data == bytes.fromhex("0102030405")
    network = decode(wireless("81AABB"))
    assert network.nwl is not None
    assert encode(network) == wireless("81AABB")
    baud = decode(wired("BD", control=0x53))
    assert isinstance(baud.application, Opaque)
    for ci in ("7D", "7F"):
        foreign = decode(wireless(ci + HEADER + "DEADBEEF"))
        assert isinstance(foreign.application, Opaque)
        assert foreign.application.octets == bytes.fromhex("DEADBEEF")
        assert encode(foreign) == wireless(ci + HEADER + "DEADBEEF")


def test_encrypted_foreign_protocol_comes_without_verification_octets() -> None:
    made = sealed(5, 0x10, b"\x2f\x2f\xde\xad".ljust(16, b"\x2f"))
    assert made.transport is not None
    made = msgspec.structs.replace(made, transport=msgspec.structs.replace(made.transport, ci=0x7F))
    telegram = decode(encode(made, KEY), KEYS)
    assert isinstance(telegram.application, Opaque)
    assert telegram.application.octets[:2] == b"\xde\xad"


def test_response_of_a_selected_application_has_records() -> None:
    telegram = decode(wired("66" + WATER.hex()))
    assert len(telegram.records) == 3
    assert encode(telegram) == wired("66" + WATER.hex())


def test_pure_transport_layer() -> None:
    telegram = decode(wireless("8A" + HEADER))
    assert (telegram.payload, telegram.application, telegram.manufacturer_data) == (b"", None, None)


# -- never anything but our errors ----------------------------------------------------------------------------------------


def test_encrypted_extended_link_layer_on_the_wire() -> None:
    """Its counter block needs the address of a wireless sender."""
    telegram = examine(wired(session_link().encode() + b"\x78" + WATER), KEY)
    assert (telegram.error and telegram.error.code) == "ell.unsupported"
    assert telegram.records == ()


def test_a_key_that_is_none_is_an_input_error() -> None:
    with pytest.raises(InputError):
        Decoder().examine(frame(), b"short")


@pytest.mark.parametrize("octets", [b"", b"\x00", b"\xff" * 9, b"\x68", b"\x68\x03\x03\x68", b"\x10\x40\x01\x41", b"\xe5\x00"])
def test_noise_is_a_fault_and_no_exception(octets: bytes) -> None:
    telegram = general(octets)
    assert telegram.error is not None
    assert telegram.frame == octets
    assert (telegram.link, telegram.records) == (None, ())
    written = answer(telegram)
    assert (written.ok, written.link, written.telegram) == (False, None, octets.hex().upper())


def test_every_prefix_of_a_telegram() -> None:
    """One octet shorter each time: a fault, never an exception, never a value that was not sent."""
    for octets in (
        frame(profile="B", counter=1),
        frame(profile="A"),
        encode(session_telegram(), KEY),
        wired("72" + LONG + WATER.hex()),
    ):
        for end in range(len(octets)):
            telegram = general(octets[:end], KEYS)
            assert telegram.error is not None
            assert telegram.records == ()


def test_prefixes_of_the_application_octets() -> None:
    for end in range(len(WATER)):
        telegram = examine(wired(b"\x78" + WATER[:end]))
        assert [item.octets() for item in telegram.records] == [item.octets() for item in parse(WATER[:end]).records]
        assert telegram.ok == (end in (0, 6, 11))


def test_mode_2_needs_a_des_key() -> None:
    octets = encode(sealed(2, 0x20, b"\x2f" * 16), DES_KEY)
    assert decode(octets, DES_KEY).security.proof == "2f2f"
    assert (examine(octets, KEY).error or FAULTS["oms.error"]).code == "key.missing"
    assert (examine(octets, bytes(8)).error or FAULTS["oms.error"]).code == "key.mismatch.verification"
