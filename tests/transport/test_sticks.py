"""Stick protocols: set-up, frames, levels, and finding the place again."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openmetering.errors import InputError, TransportError
from openmetering.transport.reception import Reception
from openmetering.transport.sticks import PROBE_ORDER, STICKS, Answer, Noise, Step, Stick, StickEvent
from openmetering.transport.sticks.amb8465 import Amb8465
from openmetering.transport.sticks.base import crc16_ccitt, signed_rssi
from openmetering.transport.sticks.cul import Cul
from openmetering.transport.sticks.im871a import Im871a
from openmetering.transport.sticks.iu891a import Iu891a, slip, unslip
from openmetering.transport.sticks.rawtty import RawTty, RtlWmbus
from openmetering.transport.sticks.rc1180 import Rc1180
from tests.fleet import radio, with_crc

FRAME = radio(4711)


def receptions(events: list[StickEvent]) -> list[Reception]:
    return [event for event in events if isinstance(event, Reception)]


def xored(octets: bytes) -> bytes:
    checksum = 0
    for octet in octets:
        checksum ^= octet
    return octets + bytes((checksum,))


def hci(endpoint: int, message: int, payload: bytes, *, rssi: int | None = None, stamp: bytes = b"", crc: bool = True) -> bytes:
    flags = (0x80 if crc else 0) | (0x40 if rssi is not None else 0) | (0x20 if stamp else 0)
    body = bytes((flags | endpoint, message, len(payload))) + payload + stamp + (b"" if rssi is None else bytes((rssi,)))
    return b"\xa5" + body + (crc16_ccitt(body).to_bytes(2, "little") if crc else b"")


# -- the HCI CRC ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("octets", "crc"), [("810200", 0xA34C), ("09209F436D38000002E71844AE4C4455223368077A55000000041389E20100023B0000", 0x59AF)]
)
def test_hci_crc_of_recorded_frames(octets: str, crc: int) -> None:
    assert crc16_ccitt(bytes.fromhex(octets)) == crc


def test_hci_crc_residue() -> None:
    body = b"123456789"
    assert crc16_ccitt(body) == 0x906E  # CRC-16/X-25
    assert crc16_ccitt(body + crc16_ccitt(body).to_bytes(2, "little")) == 0x0F47


@pytest.mark.parametrize(("raw", "dbm"), [(0, -74.0), (127, -10.5), (128, -138.0), (255, -74.5)])
def test_signed_level(raw: int, dbm: float) -> None:
    assert signed_rssi(raw) == dbm


# -- iM871A ---------------------------------------------------------------------------------------


def test_im871a_setup() -> None:
    steps = Im871a().setup("ct")
    assert [step.send.hex() for step in steps] == ["a5010100", "a5010f00", "a50103060002" + "0a" + "300100"]
    assert [step.expect for step in steps] == ["01.02", "01.10", "01.04"]


@pytest.mark.parametrize(
    ("mode", "code"), [("s", 0), ("t", 3), ("c", 6), ("c-b", 7), ("ct", 10), ("n1a", 10), ("n2a", 11), ("n1b", 12), ("n2f", 21)]
)
def test_im871a_modes(mode: str, code: int) -> None:
    assert Im871a().setup(mode)[-1].send[6] == code


def test_im871a_ping_answer_of_a_real_stick() -> None:
    assert Im871a().feed(bytes.fromhex("A58102004CA3"), 0.0) == [Answer("01.02")]


def test_im871a_device_information() -> None:
    (event,) = Im871a().feed(hci(1, 0x10, bytes.fromhex("330014" + "02" + "78563412")), 0.0)
    assert isinstance(event, Answer)
    assert event.remark == "iM871A, firmware 14h, number 12345678"


@pytest.mark.parametrize("crc", [True, False])
@pytest.mark.parametrize("stamp", [b"", b"\x01\x02\x03\x04"])
def test_im871a_frame_with_level(crc: bool, stamp: bytes) -> None:
    stick = Im871a("door")
    stick.setup("t")
    (item,) = receptions(stick.feed(hci(2, 3, FRAME[1:], rssi=95, stamp=stamp, crc=crc), 12.5))
    assert (item.frame, item.rssi_dbm, item.rssi_raw, item.received_at) == (FRAME, -75.0, 95, 12.5)
    assert (item.source, item.mode, item.crc, item.frame_format) == ("door", "T", True, None)


@pytest.mark.parametrize(("raw", "dbm"), [(45, -100.0), (229, -8.0), (230, 0.0), (255, 0.0)])
def test_im871a_level_saturates(raw: int, dbm: float) -> None:
    (item,) = receptions(Im871a().feed(hci(2, 3, FRAME[1:], rssi=raw), 0.0))
    assert item.rssi_dbm == dbm


def test_im871a_without_level_and_in_two_modes_at_once() -> None:
    stick = Im871a()
    stick.setup("ct")
    (item,) = receptions(stick.feed(hci(2, 3, FRAME[1:]), 0.0))
    assert (item.rssi_dbm, item.rssi_raw, item.mode) == (None, None, None)


def test_im871a_wrong_crc_is_noise_and_the_next_frame_is_heard() -> None:
    good = hci(2, 3, FRAME[1:], rssi=95)
    broken = good[:-1] + bytes((good[-1] ^ 1,))
    events = Im871a().feed(broken + good, 0.0)
    assert [item.frame for item in receptions(events)] == [FRAME]
    assert any(isinstance(event, Noise) for event in events)


def test_im871a_unfinished_unit_is_given_up_after_silence() -> None:
    stick = Im871a()
    good = hci(2, 3, FRAME[1:], rssi=95)
    assert stick.feed(b"\xa5\x82\x03\xff", 0.0) == []
    assert receptions(stick.feed(good[:5], 1.0)) == []
    events = stick.feed(good, 10.0)
    assert [item.frame for item in receptions(events)] == [FRAME]


def test_im871a_send_in_the_set_mode() -> None:
    stick = Im871a()
    stick.setup("t")
    (step,) = stick.send(FRAME, "t")
    assert step.send == bytes((0xA5, 2, 1, len(FRAME) - 1)) + FRAME[1:]
    assert step.expect == "02.02"


def test_im871a_send_in_another_mode_and_back() -> None:
    stick = Im871a()
    stick.setup("ct")
    change, _, back = stick.send(FRAME, "c2")
    assert (change.send[6], back.send[6]) == (8, 10)
    assert [step.meaning for step in Im871a().send(FRAME, "t")] == ["set link mode t", "send a frame"]


def test_im871a_frame_too_long_to_send() -> None:
    with pytest.raises(TransportError, match="cannot send"):
        Im871a().send(bytes(252), "t")


# -- AMB8465 --------------------------------------------------------------------------------------


def parameters(*, rssi: int = 1, command: int = 0, count: int = 0x78) -> bytes:
    block = bytearray(count)
    block[69], block[5] = rssi, command
    return xored(bytes((0xFF, 0x8A, count + 2, 0, count)) + bytes(block))


def test_amber_setup() -> None:
    steps = Amb8465().setup("ct")
    assert steps[0].send.hex() == "ff0a02008077"
    assert steps[1].send == xored(bytes.fromhex("FF040109"))
    assert [step.expect for step in steps] == ["8A", "84"]


@pytest.mark.parametrize(
    ("mode", "code"), [("s", 3), ("t", 8), ("c", 0x0E), ("ct", 9), ("n1a", 1), ("n2a", 2), ("n1b", 3), ("n2f", 12), ("n2g", 13)]
)
def test_amber_modes(mode: str, code: int) -> None:
    assert Amb8465().setup(mode)[1].send[3] == code


@pytest.mark.parametrize(("count", "kind"), [(0x78, "AMB8465"), (0x80, "AMB3665"), (0x79, "Amber stick")])
def test_amber_learns_its_output(count: int, kind: str) -> None:
    stick = Amb8465()
    (event,) = stick.feed(parameters(count=count), 0.0)
    assert event == Answer("8A", parameters(count=count)[3:-1], f"{kind}, transparent output, RSSI on")
    assert (stick.rssi, stick.command_output) == (True, False)


def test_amber_short_answer_teaches_nothing() -> None:
    stick = Amb8465()
    assert stick.feed(xored(bytes.fromhex("FF8A03000101")), 0.0) == [Answer("8A", b"\x00\x01\x01")]
    assert stick.rssi is None


@pytest.mark.parametrize("command", [False, True])
@pytest.mark.parametrize("rssi", [False, True])
def test_amber_frames_in_every_output(command: bool, rssi: bool) -> None:
    stick = Amb8465()
    stick.setup("c")
    stick.feed(parameters(rssi=int(rssi), command=int(command)), 0.0)
    content = FRAME[1:] + (b"\xd0" if rssi else b"")
    octets = xored(bytes((0xFF, 3, len(content))) + content) if command else bytes((len(content),)) + content
    (item,) = receptions(stick.feed(octets, 1.0))
    assert (item.frame, item.mode) == (FRAME, "C")
    assert item.rssi_dbm == ((0xD0 - 256) / 2 - 74 if rssi else None)


def test_amber_transparent_finds_its_place() -> None:
    stick = Amb8465()
    stick.feed(parameters(), 0.0)
    octets = bytes((len(FRAME),)) + FRAME[1:] + b"\xd0"
    events = stick.feed(b"\x07\x44\x00" + octets + octets[:12], 1.0)
    assert [item.frame for item in receptions(events)] == [FRAME]
    assert isinstance(events[0], Noise)
    assert [item.frame for item in receptions(stick.feed(octets, 9.0))] == [FRAME]


def test_amber_wrong_xor() -> None:
    stick = Amb8465()
    stick.feed(parameters(command=1), 0.0)
    good = xored(bytes((0xFF, 3, len(FRAME))) + FRAME[1:] + b"\xd0")
    events = stick.feed(good[:-1] + bytes((good[-1] ^ 1,)) + good, 1.0)
    assert [item.frame for item in receptions(events)] == [FRAME]


def test_amber_unknown_command_octet() -> None:
    assert Amb8465().feed(b"\xff\x7f\x00\x80", 0.0) == [Noise(b"\xff", "no unit starts here")]


@pytest.mark.parametrize(("mode", "code"), [("s", 1), ("s2", 3), ("n1a", 1), ("t", 5), ("t2", 8), ("c", 0x0C), ("c2", 0x0E)])
def test_amber_send(mode: str, code: int) -> None:
    stick = Amb8465()
    stick.setup("ct")
    change, send, back = stick.send(FRAME, mode)
    assert change.send[3] == code
    assert send.send == xored(bytes((0xFF, 0, len(FRAME) - 1)) + FRAME[1:])
    assert (send.expect, back.send[3]) == ("80", 9)


# -- CUL ------------------------------------------------------------------------------------------


def test_cul_setup() -> None:
    assert [step.send for step in Cul().setup("t")] == [b"V\r\n", b"brt\r\n", b"X21\r\n"]
    assert [step.expect for step in Cul().setup("ct")] == ["V", "CMODE", None]


def test_cul_talk_and_frames() -> None:
    stick = Cul("door")
    stick.setup("t")
    line = "b" + with_crc(FRAME).hex().upper() + "38D1"
    events = stick.feed(f"V 1.67 nanoCUL868\r\n\r\nTMODE\r\n{line}\r\n{line[:-8]}\r\n".encode(), 3.0)
    assert [type(event).__name__ for event in events] == ["Answer", "Answer", "Reception", "Noise"]
    assert isinstance(events[0], Answer)
    assert (events[0].kind, events[0].remark) == ("V", "V 1.67 nanoCUL868")
    (item,) = receptions(events)
    assert (item.frame, item.mode, item.received_at, item.frame_format) == (with_crc(FRAME), "T", 3.0, "A")


def test_cul_in_mode_c_does_not_guess() -> None:
    stick = Cul()
    stick.setup("c")
    lines = f"b{with_crc(FRAME).hex()}\r\nbY{with_crc(FRAME, 'B').hex()}\r\n"
    assert [item.mode for item in receptions(stick.feed(lines.encode(), 0.0))] == [None, "C"]


def test_cul_line_without_end() -> None:
    stick = Cul()
    events = stick.feed(b"b" * 1300, 0.0)
    assert isinstance(events[0], Noise)


def test_cul_send_adds_crcs() -> None:
    (step,) = Cul().send(FRAME, "s")
    assert step.send == f"bss{with_crc(FRAME).hex().upper()}\r\n".encode()
    with pytest.raises(TransportError):
        Cul().send(FRAME, "c")


# -- RC1180 ---------------------------------------------------------------------------------------


def memory(*, rssi: int, mode: int = 1) -> bytes:
    block = bytearray(b"\xff" * 256)
    block[5], block[3] = rssi, mode
    return bytes(block)


@pytest.mark.parametrize("rssi", [0, 1])
def test_rc1180_reads_its_memory_then_frames(rssi: int) -> None:
    stick = Rc1180("door")
    enter, read, leave = stick.setup("t")
    stick.begin(enter)
    assert stick.feed(b"\x14\x44>", 0.0)[-1] == Answer("prompt")
    stick.begin(read)
    assert stick.feed(memory(rssi=rssi)[:100], 0.1) == []
    (event,) = stick.feed(memory(rssi=rssi)[100:] + b">", 0.2)
    assert isinstance(event, Answer)
    assert event.kind == "memory"
    assert event.remark == f"RC1180, RSSI {'on' if rssi else 'off'}, stored mode T"
    stick.begin(leave)
    content = FRAME[1:] + (b"\x96" if rssi else b"")
    (item,) = receptions(stick.feed(b"\x00\x01" + bytes((len(content),)) + content, 1.0))
    assert (item.frame, item.mode, item.rssi_dbm) == (FRAME, "T", -75.0 if rssi else None)


def test_rc1180_says_that_the_mode_is_stored() -> None:
    stick = Rc1180()
    _, read, _ = stick.setup("s")
    stick.begin(read)
    (event,) = stick.feed(memory(rssi=1) + b">", 0.0)
    assert isinstance(event, Answer)
    assert "mode S must be set" in event.remark
    assert stick.mode == "t"


def test_rc1180_memory_that_is_none() -> None:
    stick = Rc1180()
    stick.begin(stick.setup()[1])
    events = stick.feed(memory(rssi=1) + b"?", 0.0)
    assert isinstance(events[0], Noise)


# -- iU891A ---------------------------------------------------------------------------------------

RECORDED = bytes.fromhex("C009209F436D38000002E71844AE4C4455223368077A55000000041389E20100023B0000AF59C0")


def test_iu891a_recorded_frame() -> None:
    stick = Iu891a("door")
    stick.setup("c")
    (item,) = receptions(stick.feed(RECORDED, 7.0))
    assert item.frame == bytes.fromhex("1844AE4C4455223368077A55000000041389E20100023B0000")
    assert (item.rssi_dbm, item.rssi_raw, item.mode, item.received_at) == (-25.0, 0xE7, "C", 7.0)


def test_iu891a_setup() -> None:
    ping, configure = Iu891a().setup("ct")
    assert ping.send == b"\xc0" * 30 + slip(b"\x01\x01")
    content = unslip(configure.send.strip(b"\xc0"))
    assert content[:2] == b"\x09\x03"
    assert content[2:-2] == bytes.fromhex("03" + "0200" + "0000" + "0000" + "00000000")


def test_iu891a_answers_and_their_status() -> None:
    events = Iu891a().feed(slip(b"\x01\x02\x00") + slip(b"\x09\x04\x01"), 0.0)
    assert [(event.kind, event.remark) for event in events if isinstance(event, Answer)] == [
        ("01.02", ""), ("09.04", "the stick answers with status 01h"),
    ]  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60))
def test_slip_round_trip(content: bytes) -> None:
    octets = slip(content)
    assert octets.count(b"\xc0") == 2
    assert unslip(octets[1:-1])[:-2] == content


@pytest.mark.parametrize("size", [1, 4, 1000])
def test_iu891a_finds_its_place(size: int) -> None:
    broken = RECORDED[:20] + bytes((RECORDED[20] ^ 1,)) + RECORDED[21:]
    octets = b"\x55\x55" + broken + RECORDED + RECORDED + b"\xc0"
    stick = Iu891a()
    events: list[StickEvent] = []
    for at in range(0, len(octets), size):
        events += stick.feed(octets[at : at + size], at * 0.01)
    assert len(receptions(events)) == 2
    assert any(isinstance(event, Noise) for event in events)


def test_iu891a_frame_too_short_and_line_too_long() -> None:
    events = Iu891a().feed(slip(b"\x09\x20" + bytes(12)) + b"\xc0", 0.0)
    assert events == [Noise(slip(b"\x09\x20" + bytes(12))[:-1], "too short for a frame")]
    assert isinstance(Iu891a().feed(b"\xc0" + b"\x01" * 800, 0.0)[0], Noise)
    assert isinstance(Iu891a().feed(b"\x01" * 800, 0.0)[0], Noise)


def test_iu891a_does_not_send() -> None:
    with pytest.raises(TransportError) as info:
        Iu891a().send(FRAME, "t")
    assert info.value.code == "transport.send"
    assert not Iu891a.can_send


# -- lines and raw octets -------------------------------------------------------------------------


def test_rawtty() -> None:
    stick = RawTty("door")
    assert stick.setup() == []
    events = stick.feed(b"\x01\x02" + FRAME, 1.0)
    assert [item.frame for item in receptions(events)] == [FRAME]
    assert isinstance(events[0], Noise)
    with pytest.raises(TransportError):
        stick.probe()


def test_rtlwmbus_lines() -> None:
    stick = RtlWmbus("door")
    events = stick.feed(f"T1;1;1;2024-01-01 00:00:00.00Z;-65;;;0x{FRAME.hex()}\nnonsense\n".encode(), 1.0)
    assert [item.frame for item in receptions(events)] == [FRAME]
    assert isinstance(events[1], Noise)


# -- all of them ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(STICKS))
def test_unknown_modes_are_refused_with_a_list(name: str) -> None:
    stick = STICKS[name]()
    if not stick.modes:
        return
    with pytest.raises(InputError, match="choose one of") as info:
        stick.setup("x9")
    assert info.value.code == "input.mode"


@pytest.mark.parametrize("name", PROBE_ORDER)
def test_probes_expect_an_answer(name: str) -> None:
    step = STICKS[name]().probe()
    assert isinstance(step, Step)
    assert step.expect
    assert step.timeout <= 2.0


def test_the_base_has_no_units() -> None:
    with pytest.raises(TransportError):
        Stick().feed(b"\x00", 0.0)
    with pytest.raises(TransportError):
        Stick().unit(b"", 0.0)
    with pytest.raises(TransportError):
        Stick().send(FRAME, "t")


@pytest.mark.parametrize("name", [name for name in STICKS if name != "rtlwmbus"])
@settings(max_examples=40, deadline=None)
@given(st.lists(st.binary(max_size=80), max_size=10))
def test_whatever_comes_a_stick_goes_on(name: str, parts: list[bytes]) -> None:
    stick = STICKS[name]()
    for number, part in enumerate(parts):
        for event in stick.feed(part, number * 0.7):
            assert isinstance(event, Reception | Answer | Noise)
