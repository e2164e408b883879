"""Source strings, their options, and the doors they open."""

from __future__ import annotations

from importlib.metadata import EntryPoint, EntryPoints

import pytest

from openmetering.codec.address import Address, Selection, flag_value
from openmetering.errors import InputError
from openmetering.protocol.wired.master import ReadPrimary, ReadSecondary
from openmetering.transport import sources
from openmetering.transport.doors import BackOff, Emit
from openmetering.transport.serial_door import SerialDoor
from openmetering.transport.source_address import Options, SourceAddress, duration, parse_source, truth
from openmetering.transport.sources import DOORS, open_source
from openmetering.transport.stream_doors import FileDoor, StdinDoor, TcpClientDoor, TcpServerDoor, UdpDoor
from openmetering.transport.wired_door import WiredDoor, primary_addresses, secondary_selection

PARSED = [
    ("-", "-", "-", None, {}, "-"),
    ("file:a b.txt", "file", "a b.txt", None, {}, "file:a b.txt"),
    ("file:///tmp/x", "file", "/tmp/x", None, {}, "file:///tmp/x"),
    ("telegrams.txt", "file", "telegrams.txt", None, {}, "telegrams.txt"),
    ("/tmp/x?follow", "file", "/tmp/x", None, {"follow": ""}, "/tmp/x"),
    ("C:\\logs\\x.txt", "file", "C:\\logs\\x.txt", None, {}, "C:\\logs\\x.txt"),
    ("/dev/ttyUSB0", "serial", "/dev/ttyUSB0", None, {}, "/dev/ttyUSB0"),
    ("COM3", "serial", "COM3", None, {}, "COM3"),
    (
        "serial:/dev/ttyUSB0?stick=im871a&mode=ct",
        "serial",
        "/dev/ttyUSB0",
        None,
        {"stick": "im871a", "mode": "ct"},
        "serial:/dev/ttyUSB0",
    ),
    ("tcp://host:10001?format=hex", "tcp", "host", 10001, {"format": "hex"}, "tcp://host:10001"),
    ("tcp://[::1]:10001", "tcp", "::1", 10001, {}, "tcp://[::1]:10001"),
    ("tcp:host:1", "tcp", "host", 1, {}, "tcp:host:1"),
    ("tcp-listen://:9000", "tcp-listen", "", 9000, {}, "tcp-listen://:9000"),
    ("udp://127.0.0.1:0", "udp", "127.0.0.1", 0, {}, "udp://127.0.0.1:0"),
    ("mbus:/dev/ttyS0?address=1", "mbus", "/dev/ttyS0", None, {"address": "1"}, "mbus:/dev/ttyS0"),
    ("MBUS+TCP://gw:1?address=1", "mbus+tcp", "gw", 1, {"address": "1"}, "MBUS+TCP://gw:1"),
]


@pytest.mark.parametrize(("text", "scheme", "target", "port", "options", "name"), PARSED)
def test_parts(text: str, scheme: str, target: str, port: int | None, options: dict[str, str], name: str) -> None:
    address = parse_source(text)
    assert (address.scheme, address.target, address.port, address.options, address.name) == (scheme, target, port, options, name)


@pytest.mark.parametrize(
    "text", ["file:", "serial:", "tcp://host", "tcp://:80", "tcp://host:0", "udp://host:99999", "tcp://host:x", "", "mbus:"]
)
def test_what_cannot_be_used_says_what_to_write(text: str) -> None:
    with pytest.raises(InputError) as info:
        parse_source(text)
    assert info.value.code == "input.source"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("15m", 900), ("1h30m", 5400), ("500ms", 0.5), ("1.5h", 5400), ("2 d", 172_800), ("3min", 180)],
)
def test_durations(text: str, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "5x", "-5", "1h later"])
def test_no_durations(text: str) -> None:
    with pytest.raises(InputError):
        duration(text)


@pytest.mark.parametrize(("text", "wanted"), [("yes", True), ("", True), ("1", True), ("NO", False), ("off", False)])
def test_yes_and_no(text: str, wanted: bool) -> None:
    assert truth(text) is wanted


def test_neither_yes_nor_no() -> None:
    with pytest.raises(InputError):
        truth("perhaps")


def test_options_nobody_takes() -> None:
    options = Options(parse_source("file:x?a=1&b=2"))
    assert options.text("a") == "1"
    with pytest.raises(InputError, match="no option 'b'; they know a"):
        options.done()


def test_option_that_is_no_number() -> None:
    with pytest.raises(InputError, match="baud=fast"):
        Options(parse_source("serial:x?baud=fast")).number("baud", 1)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("-", StdinDoor),
        ("x.txt", FileDoor),
        ("tcp://h:1", TcpClientDoor),
        ("tcp-listen://:1", TcpServerDoor),
        ("udp://:1", UdpDoor),
        ("/dev/ttyUSB0", SerialDoor),
        ("mbus:/dev/ttyUSB0?address=1", WiredDoor),
        ("mbus+tcp://h:1?address=1", WiredDoor),
    ],
)
def test_doors(text: str, kind: type) -> None:
    door = open_source(text)
    assert isinstance(door, kind)
    assert door.name == parse_source(text).name


def test_every_kind_of_door_is_tested() -> None:
    assert set(DOORS) == {"-", "file", "tcp", "tcp-listen", "udp", "serial", "mbus", "mbus+tcp"}


@pytest.mark.parametrize(
    "text",
    [
        "x.txt?format=morse",
        "x.txt?folow=yes",
        "x.txt?from=middle",
        "x.txt?start=never",
        "-?format=x",
        "serial:/dev/x?stick=magic",
        "serial:/dev/x?stick=im871a&mode=x9",
        "mbus:/dev/x",
        "mbus:/dev/x?address=300",
        "mbus:/dev/x?address=5-1",
        "mbus:/dev/x?address=253",
        "mbus:/dev/x?address=1-254",
        "mbus:/dev/x?address=abc",
        "mbus:/dev/x?secondary=hello",
        "mbus:/dev/x?address=1&every=often",
        "carrier:pigeon",
    ],
)
def test_wrong_sources_are_refused_before_anything_is_opened(text: str) -> None:
    with pytest.raises(InputError):
        open_source(text)


def test_the_format_of_the_command_counts_where_the_source_names_none() -> None:
    first, second = open_source("x.txt", "cul"), open_source("x.txt?format=hex", "cul")
    assert isinstance(first, FileDoor)
    assert isinstance(second, FileDoor)
    assert (first.format, second.format) == ("cul", "hex")
    raw = open_source("/dev/ttyS0", "raw-serial")
    assert isinstance(raw, SerialDoor)
    assert raw.stick_name == "rawtty"


class Pigeon:
    """A door of a plug-in."""

    def __init__(self, address: SourceAddress, fmt: str) -> None:
        self.name = f"{address.target}/{fmt}"

    async def run(self, emit: Emit) -> None:
        """Nothing comes."""


def test_plugins_add_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    def found(*, group: str, name: str) -> EntryPoints:
        assert group == "openmetering.transport"
        entry = EntryPoint(name, f"{__name__}:Pigeon", group)
        monkeypatch.setattr(EntryPoint, "load", lambda self: Pigeon)
        return EntryPoints([entry] if name == "pigeon" else [])

    monkeypatch.setattr(sources, "entry_points", found)
    assert open_source("pigeon:coop", "hex").name == "coop/hex"


# -- wired targets ------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "wanted"), [("1", [1]), ("0, 250", [0, 250]), ("1-3,7", [1, 2, 3, 7]), ("254", [254])])
def test_primary_addresses(text: str, wanted: list[int]) -> None:
    assert primary_addresses(text) == wanted


ANY = 0xFFFF


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("12345678", Address(ANY, "12345678", 0xFF, 0xFF)),
        ("1234ffff", Address(ANY, "1234FFFF", 0xFF, 0xFF)),
        ("1234567893153303", Address(flag_value("ELS"), "12345678", 0x33, 0x03)),
        ("ELS-12345678", Address(flag_value("ELS"), "12345678", 0xFF, 0xFF)),
        ("ELS-12345678-33-03", Address(flag_value("ELS"), "12345678", 0x33, 0x03)),
    ],
)
def test_secondary_selection(text: str, wanted: Address) -> None:
    assert secondary_selection(text) == Selection(wanted)


def test_targets_in_order() -> None:
    door = open_source("mbus:/dev/x?address=1,2&secondary=12345678,87654321&baud=300&latency=250ms&every=15m&attempts=2")
    assert isinstance(door, WiredDoor)
    assert [type(target) for target in door.targets] == [ReadPrimary, ReadPrimary, ReadSecondary, ReadSecondary]
    assert (door.timing.baud, door.timing.latency, door.every, door.attempts) == (300, 0.25, 900.0, 2)


def test_back_off_grows_and_starts_over() -> None:
    pauses = BackOff(1.0, 5.0)
    assert [pauses.pause() for _ in range(4)] == [1.0, 2.0, 4.0, 5.0]
    pauses.good()
    assert pauses.pause() == 1.0
