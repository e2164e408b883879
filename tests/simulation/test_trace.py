"""The record of a run: who said what to whom, in words, and what became of it; on the radio and on the wire."""

from __future__ import annotations

import pytest

from openmetering.codec.address import Address
from openmetering.codec.link.wired import WiredFrame
from openmetering.protocol.events import Sent, Transmit
from openmetering.protocol.exchange import Command
from openmetering.protocol.operator import clock, disconnector, firmware, keys
from openmetering.protocol.operator.answers import exchange
from openmetering.security import KeyRing
from openmetering.simulation.kernel import Kernel
from openmetering.simulation.propagation import Place
from openmetering.simulation.radio import Antenna, RadioChannel
from openmetering.simulation.trace import Message, Trace, words_of
from openmetering.simulation.wired_bus import Converter, Passage, WiredBus
from openmetering.telegram import examine
from tests.protocol.operator.scripted import DEVICE
from tests.simulation.channel_tools import CALM
from tests.usecases.bench import GATEWAY, Bench

OTHER = Address.parse("XYZ-87654321-55-20")


def radio(way: str = "C B") -> tuple[Bench, Trace]:
    bench = Bench(way)
    trace = Trace(bench.kernel, bench.gateway_keys)
    trace.name(DEVICE, "device")
    trace.name(GATEWAY, "gateway")
    trace.follow_radio(bench.channel)
    return bench, trace


def wire(way: str = "wire none") -> tuple[Bench, Trace]:
    bench = Bench(way)
    trace = Trace(bench.kernel, bench.gateway_keys)
    trace.follow_wire(bench.bus, {bench.port: "device"}, {7: "device"})
    return bench, trace


def said(trace: Trace) -> list[tuple[str, str, str]]:
    return [(message.sender, message.receiver, message.name) for message in trace.conversation()]


# -- radio -------------------------------------------------------------------------------------------------


def test_a_command_over_the_radio() -> None:
    bench, trace = radio()
    bench.run(lambda h: disconnector.set_disconnector(h, DEVICE, "disconnected"))
    assert said(trace) == [("gateway", "device", "SND-UD2"), ("device", "gateway", "RSP-UD")]
    command, answer = trace.conversation()
    assert "key 20h" in command.words
    assert "remote control: 0" in command.words
    assert "digital output: 0" in answer.words
    assert not command.lost
    assert not answer.lost
    assert command.octets == bench.frames[0][1]
    spontaneous = [message for message in trace.messages if message.spontaneous]
    assert {message.name for message in spontaneous} == {"SND-NR"}
    assert {message.receiver for message in spontaneous} == {"all"}
    assert [message.number for message in trace.messages] == list(range(len(trace.messages)))
    times = [message.time for message in trace.messages]
    assert times == sorted(times)


def test_without_keys_it_has_few_words() -> None:
    bench = Bench("C B")
    trace = Trace(bench.kernel)
    trace.follow_radio(bench.channel)
    bench.run(lambda h: disconnector.read_disconnector())
    command, answer = trace.conversation()
    assert command.words == "application-reset, not opened"
    assert answer.words == "m-bus, not opened"
    trace.know(bench.gateway_keys)
    bench.run(lambda h: disconnector.read_disconnector())
    assert trace.conversation()[-1].words.startswith("volume")
    assert any(str(DEVICE) == message.receiver for message in trace.conversation())  # nobody named it


@pytest.mark.parametrize("side", ["device", "gateway"])
def test_what_does_not_arrive_is_lost(side: str) -> None:
    """A fault of the channel takes every frame of one side."""
    bench, trace = radio()
    bench.wait(200.0)
    station = bench.device_station if side == "device" else bench.gateway_station
    station.loss = 1.0
    before = len(trace.messages)
    bench.wait(400.0)
    lost = [message for message in trace.messages[before:] if message.lost]
    assert lost
    assert all(message.lost for message in trace.messages[before + 1 :])
    assert str(lost[0]).endswith("x lost")
    assert "x lost" not in str(trace.messages[0])


def test_a_frame_that_only_a_stranger_hears_is_lost() -> None:
    kernel = Kernel()
    channel = RadioChannel(kernel, 1, CALM)
    gateway = channel.attach("gateway", Place(), Antenna(mode="C", hears=("C",), uplink=True), "gateway")
    device = channel.attach("device", Place(x=5.0), Antenna(mode="C", hears=("C",), downlink=True), "water")
    stranger = channel.attach("stranger", Place(x=9.0), Antenna(mode="C", hears=("C",), downlink=True), "water")
    told: list[Sent] = []
    gateway.sent = told.append
    trace = Trace(kernel)
    trace.name(DEVICE, "device")
    trace.follow_radio(channel)
    bench, _ = radio()
    bench.run(lambda h: disconnector.read_disconnector())
    frame = bench.frames[0][1]
    device.switch(False)
    gateway.transmit(Transmit(frame, 1.0, None, downlink=True))
    kernel.run(2.0)
    assert [(message.receiver, message.lost) for message in trace.messages] == [("device", True)]
    device.switch(True)
    gateway.transmit(Transmit(frame, 3.0, None, downlink=True))
    kernel.run(4.0)
    assert [message.lost for message in trace.messages] == [True, False]
    assert len(told) == 2  # who listened before goes on listening
    assert stranger.taps


def test_frames_that_are_none() -> None:
    kernel = Kernel()
    channel = RadioChannel(kernel, 1, CALM)
    channel.attach("gateway", Place(), Antenna(mode="C", hears=("C",), uplink=True), "gateway")
    device = channel.attach("device", Place(x=5.0), Antenna(mode="C", downlink=True), "water")
    trace = Trace(kernel)
    trace.follow_radio(channel)
    device.transmit(Transmit(b"\x05\x44\x01", 1.0))
    kernel.run(2.0)
    (message,) = trace.messages
    assert (message.name, message.words, message.receiver, message.lost) == ("unreadable", "", "all", False)


def test_fragments() -> None:
    """A long answer in fragments: the last one has the words."""
    from openmetering.codec.apl.records import parse
    from openmetering.protocol.device.contents import FixedReadings

    many = tuple(parse(b"".join(bytes((0x84 | 0x40 * (n & 1), n // 2, 0x13)) + bytes(4) for n in range(2, 60))).records)
    bench = Bench("C B", device_readings=FixedReadings({0: many[:5], 7: many}))
    trace = Trace(bench.kernel, bench.gateway_keys)
    trace.follow_radio(bench.channel)
    bench.run(lambda h: exchange(Command("application-reset", b"\x70")))
    words = [message.words for message in trace.conversation() if message.name == "RSP-UD"]
    assert words[0] == "fragment"
    assert words[-1].startswith("volume")


# -- wire --------------------------------------------------------------------------------------------------


def test_a_command_over_the_wire() -> None:
    bench, trace = wire()
    bench.run(lambda h: disconnector.set_disconnector(h, DEVICE, "disconnected"))
    assert said(trace) == [
        ("master", "device", "SND-NKE"),
        ("device", "master", "ACK"),
        ("master", "device", "SND-UD"),
        ("device", "master", "ACK"),
        ("master", "device", "REQ-UD2"),
        ("device", "master", "RSP-UD"),
    ]
    assert str(trace).count("\n") == 5


def test_a_selection_names_who_answered_it() -> None:
    bench, trace = wire("wire A")
    bench.run(lambda h: disconnector.read_disconnector())
    assert said(trace) == [
        ("master", "all", "SND-NKE"),
        ("master", "all", "SND-UD"),
        ("device", "master", "ACK"),
        ("master", "device", "SND-UD2"),
        ("device", "master", "RSP-UD"),
    ]
    words = [message.words for message in trace.conversation()]
    assert words[1].startswith("select-device")
    assert words[3] == "application reset: standard response"


def test_a_burst_that_is_cut_off_is_disturbed() -> None:
    bench, trace = wire()
    bench.bus.master.send(WiredFrame.short(0x40, 7).encode())
    bench.wait(0.01)
    bench.bus.power_off()
    bench.wait(1.0)
    (message,) = trace.messages
    assert message.fate == "disturbed"
    assert message.lost


def test_an_answer_that_is_cut_off_is_disturbed() -> None:
    bench, trace = wire()
    bench.run(lambda h: disconnector.read_disconnector())
    before = len(trace.messages)
    bench.bus.master.send(WiredFrame.short(0x7B, 7).encode())
    bench.wait(0.06)
    bench.bus.master.send_break()
    bench.wait(1.0)
    assert [message.fate for message in trace.messages[before:]] == ["received", "disturbed"]


def test_two_slaves_at_once_are_disturbed() -> None:
    kernel = Kernel()
    bus = WiredBus(kernel, converter=Converter(collision=None))
    passed: list[Passage] = []
    bus.taps.append(passed.append)

    class Talker:
        deadline = None

        def __init__(self, answer: bytes) -> None:
            self.answer = answer

        def receive(self, event: object, now: float) -> list[object]:
            return [Transmit(self.answer, now + 0.02)] if getattr(event, "octets", b"") else []

        def timeout(self, now: float) -> list[object]:
            return []

    ports = [bus.attach(Talker(answer)) for answer in (b"\x10\x08\x01\x09\x16", b"\x10\x08\x02\x0a\x16\x00")]
    bus.master.send(b"\x10\x5b\xfe\x59\x16")
    kernel.run(2.0)
    assert [(one.port in (None, *ports), one.whole) for one in passed] == [(True, True), (True, False), (True, False)]


# -- words -------------------------------------------------------------------------------------------------


def words(way: str, procedure: object, which: int = -1) -> str:
    bench = Bench(way)
    bench.run(procedure)  # type: ignore[arg-type]
    return bench.trace.conversation()[which].words


def test_words_of_answers() -> None:
    assert words("C B", lambda h: clock.adjust_clock(h, DEVICE, 30)).endswith("status 00h, success")
    listed = words("C D", lambda h: keys.key_list(h, DEVICE, counters=True))
    assert "20h version 0 counter 0" in listed
    assert "counter" not in words("C D", lambda h: keys.key_list(h, DEVICE)).partition(":")[2]


def test_words_of_a_refusal() -> None:
    bench = Bench("C A")
    with pytest.raises(Exception, match="application error 15h"):
        bench.run(lambda h: clock.adjust_by_gateway(61, beyond_limit=True))
    assert bench.trace.conversation()[-1].words.startswith("application error 15h")


def test_words_of_an_update() -> None:
    bench = Bench("C B 4.3.3")
    image = firmware.FirmwareImage(b"V2", bytes(380))
    bench.run(lambda h: firmware.update_firmware(h, DEVICE, image, issue="4.3.3"))
    texts = [message.words for message in bench.trace.conversation()]
    assert "image transfer: transfer block 1, 190 octets" in texts
    assert "image transfer: completion, 0 blocks missing" in texts
    assert any("state 12" in text for text in texts)


def test_words_of_a_wrapped_key_show_no_key() -> None:
    bench = Bench("wire none")
    bench.run(lambda h: keys.renew_key(h, DEVICE, 0x20, 1))
    text = str(bench.trace)
    assert "under key 14h" in text
    assert "11" * 8 not in text


def test_words_of_what_is_not_known() -> None:
    frame = WiredFrame.long(0x08, 1, bytes.fromhex("7178")).encode()  # an alarm
    assert words_of(examine(frame)) == "alarm: 78"
    broken = WiredFrame.long(0x08, 1, bytes.fromhex("C5") + DEVICE.transport_octets() + bytes(4) + b"\x09").encode()
    assert words_of(examine(broken)).startswith("sitp: ")
    assert words_of(examine(WiredFrame.short(0x5B, 1).encode())) == ""


def test_a_message_as_a_line() -> None:
    message = Message(0, 1.5, "a", "b", "REQ-UD2", "", b"\x10")
    assert str(message) == "      1.5000  a -> b  REQ-UD2"
    assert not message.spontaneous
    ring = KeyRing()
    trace = Trace(Kernel(), ring)
    assert trace.note("a", "b", b"\xe5", 0.0, "lost").lost
    assert str(trace) == "      0.0000  a -> b  ACK  x lost"
