"""UC-00: the functions 30 to 34 with their printed octets, plain and inside SITP, in every profile."""

from __future__ import annotations

import pytest

from openmetering.codec.apl.records import parse
from openmetering.protocol.device.conformance import LONGEST_PATTERN, ConformanceFeature
from openmetering.protocol.device.interface import Instruction
from tests.protocol.device.partner import WAYS, Partner, device

Way = tuple[str, bool]
SHORT = "02 FD 9F 1D 40 32"
LONG = "02 FD 9F 1D C0 33"
ECHO = bytes.fromhex("0D FD 9F 1D 50 40 34") + bytes(range(0x6E, 0x20, -1))


def partner(way: Way = ("B", False), **options: bool | int) -> Partner:
    return Partner(device(*way, functions={"conformance": options}))


@pytest.mark.parametrize("way", WAYS)
def test_function_30_is_refused(way: Way) -> None:
    one = partner(way)
    assert one.send("m-bus", "02 FD 9F 1D 40 30").status == 2
    assert one.error() == 0x15


@pytest.mark.parametrize("way", WAYS)
def test_function_31_is_answered_somehow(way: Way) -> None:
    one = partner(way)
    assert one.send("m-bus", "02 FD 9F 1D 40 31").status == 0
    assert one.read().records[0].quantity == "volume"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("rc1", ["40", "C0"])
def test_function_32(way: Way, rc1: str) -> None:
    one = partner(way)
    one.send("m-bus", f"02 FD 9F 1D {rc1} 32")
    assert one.octets(one.read()) == bytes.fromhex(f"04 FD 9F 1D {rc1} 32 42 42")


@pytest.mark.parametrize("issue", ["4.3.3", "5.0.1"])
def test_function_33_as_printed(issue: str) -> None:
    """A2h in both issues: release A prints A1h, which does not fit its own 160 octets."""
    one = Partner(device("none", True, functions={"conformance": {"pattern": 160}}, oms_issue=issue))
    one.send("m-bus", LONG)
    assert one.read().payload == bytes.fromhex("0D FD 9F 1D A2 C0 33") + b"\x43" * 160


@pytest.mark.parametrize("way", WAYS)
def test_function_33_makes_the_largest_datagram(way: Way) -> None:
    one = partner(way)
    one.send("m-bus", LONG)
    items = one.endpoint.respond(1, 0.0, one.config.largest)
    assert len(items) == 1
    (record,) = one.open(items).records
    assert record.lvar == len(record.raw) <= 0xBF
    spare = one.config.largest - len(items[0])
    assert spare < 16 or len(record.raw) == 0xBF


@pytest.mark.parametrize("way", WAYS)
def test_function_33_fits_into_one_datagram_inside_sitp(way: Way) -> None:
    one = partner(way)
    one.secured(0x1F, 1, LONG)
    items = one.endpoint.respond(1, 0.0, one.config.largest)
    assert len(items) == 1
    assert one.config.largest - len(items[0]) < 32 or way[0] in ("none", "D")


@pytest.mark.parametrize("way", WAYS)
def test_function_34_echoes_the_last_four(way: Way) -> None:
    one = partner(way)
    one.send("m-bus", ECHO)
    assert one.octets(one.read()) == bytes.fromhex("06 FD 9F 1D 40 34 24 23 22 21")


@pytest.mark.parametrize("function", range(0x35, 0x40))
def test_reserved_functions(function: int) -> None:
    one = partner()
    one.send("m-bus", f"02 FD 9F 1D 40 {function:02X}")
    assert one.error() == 0x11


@pytest.mark.parametrize(
    "command", ["02 FD 9F 1D 41 32", "02 FD 9F 1D 00 32", "02 FD 9F 1D 40 42", "01 FD 9F 1D 40", "04 FD 9F 1D 40 34 01 02"]
)
def test_wrong_parameters(command: str) -> None:
    one = partner()
    one.send("m-bus", command)
    assert one.error() == 0x15


def test_the_sitp_variant() -> None:
    one = partner()
    one.secured(0x1F, 0x10, SHORT)
    assert one.apdu() == bytes.fromhex("04 FD 9F 1D 40 32 42 42")
    one.secured(0x1F, 0x11, "02 FD 9F 1D 40 31")
    assert one.status() == 0
    one.secured(0x20, 0x11, SHORT)
    assert one.error() == 0x22


def test_the_plain_form_may_be_refused() -> None:
    one = partner(proof_demanded=True)
    one.send("m-bus", SHORT)
    assert one.error() == 0x22
    one.secured(0x1F, 0x10, SHORT)
    assert one.apdu().endswith(b"\x42\x42")


def test_the_answer_lives_255_seconds() -> None:
    one = partner()
    one.send("m-bus", SHORT)
    one.endpoint.timeout(one.now + 254.9)
    assert one.octets(one.read()).endswith(b"\x42\x42")
    one.endpoint.timeout(one.now + 255)
    assert one.read().records[0].quantity == "volume"


def test_the_pattern_is_never_longer_than_lvar() -> None:
    feature = ConformanceFeature(pattern=500)
    outcome = feature.execute(Instruction("m-bus", b"", tuple(parse(bytes.fromhex(LONG), uplink=False).records)), 0.0)
    assert outcome is not None
    assert outcome.payload is not None
    assert outcome.payload.count(b"\x43") == LONGEST_PATTERN


def test_other_commands_are_not_meant() -> None:
    one = partner()
    one.send("m-bus", SHORT + SHORT)
    assert one.error() == 0x11
