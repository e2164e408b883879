"""The RF adapter: both addresses, readouts of its meter, commands through the wire, power cuts; every row of its table."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from openmetering.codec.address import Address, flag_value
from openmetering.codec.apl.records import encode
from openmetering.codec.link.wired import WiredFrame, unframe
from openmetering.errors import OutOfRange, ProtocolError
from openmetering.protocol.device.build import DeviceDescription, GivenKey, make_device
from openmetering.protocol.device.contents import FixedReadings
from openmetering.protocol.device.endpoint import DeviceEndpoint, EndpointConfig
from openmetering.protocol.device.interface import Taken
from openmetering.protocol.device.memory import DeviceMemory
from openmetering.protocol.events import Heard, Octets, PowerUp, Sent, Transmit
from openmetering.protocol.exchange import Answered, Command, Exchange, Submit
from openmetering.protocol.gateway.events import DeviceLink, GatewayConfig, Register
from openmetering.protocol.gateway.gateway import Gateway
from openmetering.protocol.radio.adapter import AdapterConfig, AdapterState, OrderDue, PollDue, RadioAdapter, Side
from openmetering.protocol.radio.adapter_relay import MeterReadings, MeterRelay, RelayOrder
from openmetering.protocol.radio.datagram import datagram, read
from openmetering.protocol.radio.events import ButtonPressed, RadioConfig
from openmetering.protocol.radio.schedule import SlotPlan
from openmetering.protocol.wired.logical import LogicalSlave
from openmetering.protocol.wired.master import LineTiming, WiredMaster
from openmetering.protocol.wired.orders import (
    ReadoutDone,
    ReadoutFailed,
    ReadPrimary,
    TransactionDone,
    TransactionFailed,
)
from openmetering.protocol.wired.slave import WiredSlave
from openmetering.security import KeyRing
from openmetering.simulation.kernel import Kernel, Node
from openmetering.telegram import Decoder, Meter, Telegram, compose
from openmetering.telegram import encode as encode_telegram
from tests.fleet import KEY, address, ring, wired
from tests.protocol.device.partner import VOLUME
from tests.protocol.fake_endpoint import METER, FakeEndpoint
from tests.protocol.radio_bench import REQ_UD2, SND_NKE, SND_UD, dice, down

ADAPTER = Address(flag_value("XYZ"), "00000037", 0x01, 0x37)
E5 = b"\xe5"
TIMING = LineTiming(2400, latency=0.0, gap=0.0)


def config(**options: object) -> AdapterConfig:
    radio = RadioConfig(access="permanent", credits=None, link_address=ADAPTER, plan=SlotPlan(nominal=60.0), command_answer=False)
    return AdapterConfig(radio, **options)  # type: ignore[arg-type]


def adapter(endpoint: object | None = None, **options: object) -> RadioAdapter:
    readings = options.pop("readings", None)
    machine = RadioAdapter(
        config(**options), endpoint or MeterRelay(METER), DeviceMemory(), dice(), readings=readings,  # type: ignore[arg-type]
        make_master=lambda: WiredMaster(TIMING),
    )  # fmt: skip
    machine.receive(Side("radio", PowerUp()), 0.0)
    return machine


def wire(events: Sequence[Side]) -> list[bytes]:
    return [side.event.frame for side in events if side.side == "wire" and isinstance(side.event, Transmit)]


def uplink(events: Sequence[Side]) -> list[bytes]:
    return [side.event.frame for side in events if side.side == "radio" and isinstance(side.event, Transmit)]


def octets(machine: RadioAdapter, frame: bytes, now: float) -> list[Side]:
    return machine.receive(Side("wire", Octets(frame)), now)


def expire(machine: RadioAdapter) -> list[Side]:
    assert machine.deadline is not None
    return machine.timeout(machine.deadline)


# -- the relay --------------------------------------------------------------------------------------------------


def test_before_the_first_readout_only_a_header_is_told() -> None:
    relay = MeterRelay(METER)
    pure = b"\x8b" + METER.transport_octets()
    assert relay.spontaneous("data", 7, 0.0, ell=True) == pure + bytes((7, 0, 0, 0))
    relay.failed(None)
    assert relay.spontaneous("access", 8, 0.0, ell=True) == pure + bytes((8, 0x10, 0, 0))
    relay.readout([wired(5), wired(6)])
    assert relay.spontaneous("data", 9, 0.0, ell=True) == unframe(wired(5))[0].data
    assert relay.spontaneous("demand", 9, 0.0, ell=True) == pure + bytes((9, 0, 0, 0))
    assert (relay.deadline, relay.timeout(0.0), relay.more(), relay.alarm(0.0)) == (None, [], False, None)
    relay.advance()


def test_a_command_goes_on_as_it_is() -> None:
    relay = MeterRelay(METER)
    body = b"\x5b" + METER.transport_octets() + bytes((3, 0, 0, 0)) + b"\x01"
    for frame in (down(SND_UD, 1, ci=0x5B, transport=3, payload=b"\x01"),
                  down(SND_UD, 1, ci=0x5B, transport=3, payload=b"\x01", ella=ADAPTER),
                  datagram(SND_UD, ADAPTER.link_octets(), body)):  # fmt: skip
        assert relay.take(frame, 0.0) == Taken(True, status=1)
        assert relay.orders.popleft() == RelayOrder("SND-UD", body)
    assert relay.take(datagram(SND_UD, ADAPTER.link_octets(), b"", 0x84, 1), 0.0) == Taken(False)
    assert relay.acknowledge(3, 0.0)[-3:] == bytes((1, 0, 0))
    for _ in range(3):
        relay.done(RelayOrder("SND-UD", body), ())
    assert relay.acknowledge(3, 0.0)[-3:] == bytes((0, 0, 0))


def test_a_fragment_is_not_complete() -> None:
    relay = MeterRelay(METER)
    fragment = datagram(SND_UD, ADAPTER.link_octets(), bytes.fromhex("900201 40 5B") + bytes(20), 0x84, 1, ADAPTER.link_octets())
    assert not relay.take(fragment, 0.0).complete


def test_an_answer_is_fetched_once_for_each_number() -> None:
    relay = MeterRelay(METER)
    assert relay.respond(9, 0.0, 235) == ()
    assert relay.respond(9, 0.0, 235) == ()
    (order,) = relay.orders
    assert order == RelayOrder("REQ-UD2", b"\x80" + METER.transport_octets() + bytes((9, 0, 0, 0)), 9)
    relay.done(order, [wired(1)])
    body = unframe(wired(1))[0].data
    assert relay.respond(9, 0.0, 235) == (body,)
    assert relay.respond(9, 0.0, len(body) - 1) == ()
    assert relay.respond(10, 0.0, 235) == ()
    relay.failed(relay.orders.pop())
    assert relay.acknowledge(0, 0.0)[10] == 0x10
    assert relay.respond(10, 0.0, 235) == ()
    assert len(relay.orders) == 2
    relay.done(relay.orders.pop(), [])
    assert relay.respond(10, 0.0, 235) == ()


def test_a_new_command_and_the_end_of_the_session_forget_the_answer() -> None:
    relay = MeterRelay(METER)
    for forget in (lambda: relay.end_session(0.0), lambda: relay.take(down(SND_UD, 1), 0.0), lambda: relay.power_up(0.0)):
        relay.respond(9, 0.0, 235)
        relay.done(relay.orders.pop(), [wired(1)])
        assert relay.respond(9, 0.0, 235)
        forget()
        assert relay.respond(9, 0.0, 235) == ()
        relay.power_up(0.0)


@pytest.mark.parametrize(("ci", "headed", "status"), [("70", "6F", 2), ("71", "75", 0)])
def test_wired_answers_without_header_get_one(ci: str, headed: str, status: int) -> None:
    relay = MeterRelay(METER)
    relay.respond(9, 0.0, 235)
    relay.done(relay.orders.pop(), [WiredFrame.long(0x08, 5, bytes.fromhex(ci) + b"\x11").encode()])
    assert relay.respond(9, 0.0, 235) == (bytes.fromhex(headed) + METER.transport_octets() + bytes((9, status, 0, 0, 0x11)),)


def test_a_failed_command_is_no_longer_busy() -> None:
    relay = MeterRelay(METER)
    relay.take(down(SND_UD, 1), 0.0)
    relay.failed(relay.orders.pop())
    assert relay.acknowledge(1, 0.0)[10] == 0x10


# -- readings of an adapter with an endpoint of its own ------------------------------------------------------------


def test_readings_of_the_last_readout() -> None:
    readings = MeterReadings()
    assert (readings.octets(0, 0, 0.0), readings.read_at) == (b"", None)
    assert readings.store([wired(1234, more=True), wired(99)], 5.0)
    assert readings.read_at == 5.0
    assert [str(record.value) for record in readings.records(0, 0, 6.0)] == ["12.34", "0.99"]
    assert readings.octets(0, 1, 6.0) == encode(readings.records(0, 0, 6.0))
    assert (readings.octets(7, 0, 6.0), list(readings.records(0, 2, 6.0))) == (b"", [])
    sealed = encode_telegram(compose(Meter(address(), "A", primary=5), b"\x0c\x14\x11\x00\x00\x00", access_number=1), ring(KEY))
    assert not readings.store([sealed], 7.0)
    assert not readings.store([WiredFrame.long(0x08, 5, b"\x70\x11").encode()], 7.0)
    assert not readings.store([], 7.0)
    assert readings.read_at == 5.0
    opened = MeterReadings(ring(KEY))
    assert opened.store([sealed], 7.0)
    assert [str(record.value) for record in opened.records(0, 0, 8.0)] == ["0.11"]


# -- the machine -----------------------------------------------------------------------------------------------------


def test_a_readout_every_so_often() -> None:
    machine = adapter(poll=100.0)
    assert machine.deadline == 3.0
    assert wire(machine.timeout(3.0)) == [bytes.fromhex("1040FE3E16")]
    assert machine.state is AdapterState.POLLING
    assert wire(octets(machine, E5, 3.1)) == [bytes.fromhex("107BFE7916")]
    out = octets(machine, wired(4711), 3.5)
    assert Side("wire", ReadoutDone(ReadPrimary(254), 1)) in out
    assert machine.state is AdapterState.READY
    body = unframe(wired(4711))[0].data
    (frame,) = uplink(expire(machine))
    assert frame == datagram(0x44, ADAPTER.link_octets(), body, 0xA4, 129)
    assert machine.receive(Side("radio", Sent(frame, 30.0)), 30.01) == []
    while machine.deadline is not None and machine.deadline < 103.0:
        expire(machine)
    assert wire(machine.timeout(103.0)) == [bytes.fromhex("1040FE3E16")]


def test_both_addresses() -> None:
    machine = adapter()
    machine.timeout(3.0)
    octets(machine, E5, 3.1)
    octets(machine, wired(1), 3.2)
    (frame,) = uplink(expire(machine))
    found = read(frame)
    assert (found.sender, found.application) == (ADAPTER, METER)
    assert machine.radio.link_address == ADAPTER


def test_a_meter_that_does_not_answer() -> None:
    machine = adapter(poll=100.0)
    machine.timeout(3.0)
    out: list[Side] = []
    while machine.state is AdapterState.POLLING:
        out += expire(machine)
    assert any(isinstance(side.event, ReadoutFailed) for side in out)
    frames = uplink(out) or uplink(machine.timeout(30.0))
    assert frames[0][13:] == b"\x8b" + METER.transport_octets() + bytes((129, 0x10, 0, 0))


def test_commands_before_readouts() -> None:
    machine = adapter()
    machine.timeout(3.0)
    octets(machine, E5, 3.1)
    octets(machine, wired(1), 3.2)
    out = machine.receive(Side("radio", Heard(down(SND_UD, 1, transport=8, ci=0x5B, payload=b"\x01\xfd\x1f\x00"), 5.0)), 5.01)
    assert read(uplink(out)[0]).status == 1
    body = down(SND_UD, 1, transport=8, ci=0x5B, payload=b"\x01\xfd\x1f\x00")[13:]
    assert machine.state is AdapterState.FORWARDING
    (reset,) = wire(out)
    (command,) = wire(octets(machine, E5, 5.1)) if reset == bytes.fromhex("1040FE3E16") else (reset,)
    assert unframe(command)[0].data == body
    out = octets(machine, E5, 5.3)
    assert any(isinstance(side.event, TransactionDone) for side in out)
    assert machine.state is AdapterState.READY


def test_an_adapter_with_its_own_endpoint_reads_only() -> None:
    readings = MeterReadings()
    endpoint = FakeEndpoint()
    machine = adapter(endpoint, readings=readings)
    machine.timeout(3.0)
    octets(machine, E5, 3.1)
    octets(machine, wired(4711), 3.2)
    assert [str(record.value) for record in readings.records(0, 0, 4.0)] == ["47.11"]
    out = machine.receive(Side("radio", Heard(down(SND_UD, 1), 5.0)), 5.01)
    assert not wire(out)
    assert endpoint.names("take")
    machine.receive(Side("radio", ButtonPressed()), 6.0)
    machine = adapter(FakeEndpoint())
    machine.timeout(3.0)
    while machine.state is AdapterState.POLLING:
        expire(machine)
    assert machine.state is AdapterState.READY


def test_a_power_cut_in_the_middle() -> None:
    machine = adapter()
    machine.timeout(3.0)
    old = machine.master
    machine.receive(Side("radio", PowerUp()), 3.1)
    assert machine.state is AdapterState.READY
    assert machine.master is not old
    assert machine.deadline == pytest.approx(6.1)
    assert machine.timeout(1.0) == []


def test_settings() -> None:
    with pytest.raises(OutOfRange):
        AdapterConfig(RadioConfig())
    with pytest.raises(OutOfRange):
        AdapterConfig(RadioConfig(link_address=ADAPTER), poll=0.0)
    assert adapter().listening(1.0)


def events(machine: RadioAdapter) -> dict[type, object]:
    target = ReadPrimary(254)
    assert machine._relay is not None
    order = RelayOrder("SND-UD", b"\x5b")
    machine._relay.orders.append(order)
    machine._order = order
    return {
        PowerUp: PowerUp(), PollDue: PollDue(), OrderDue: OrderDue(), ReadoutDone: ReadoutDone(target, 0),
        ReadoutFailed: ReadoutFailed(target, "no-answer", "request", 0), TransactionDone: TransactionDone(target, ()),
        TransactionFailed: TransactionFailed(target, "no-answer", "send", None),
    }  # fmt: skip


@pytest.mark.parametrize("state", AdapterState)
@pytest.mark.parametrize("kind", [PowerUp, PollDue, OrderDue, ReadoutDone, ReadoutFailed, TransactionDone, TransactionFailed])
def test_every_pair_of_state_and_event(state: AdapterState, kind: type) -> None:
    machine = adapter()
    event = events(machine)[kind]
    machine.state = state
    row = RadioAdapter.TRANSITIONS.get((state, kind))
    if row is None:
        with pytest.raises(ProtocolError) as caught:
            machine._step(event, 1.0)
        assert caught.value.state == state.name
    else:
        machine._step(event, 1.0)
        assert machine.state is row[1]


# -- with a wired meter behind it --------------------------------------------------------------------------------------


class Site:
    """An adapter, a wired slave with a meter of profile B, and a wire at 2400 Bd."""

    def __init__(self) -> None:
        self.kernel = Kernel()
        self.memory = DeviceMemory(primary_address=5)
        settings = EndpointConfig(METER, "B", True)
        description = DeviceDescription(settings, {"conformance": {}}, (GivenKey(0, KEY),))
        self.meter = make_device(description, self.memory, FixedReadings({0: VOLUME}), lambda: 0.5)
        slave = WiredSlave([LogicalSlave(self.meter, self.memory)])
        machine = RadioAdapter(config(), MeterRelay(METER), DeviceMemory(), dice(), make_master=lambda: WiredMaster(TIMING))
        self.frames: list[bytes] = []
        self.on_air: Callable[[bytes, float], None] | None = None
        self.adapter: Node[object, object] = Node(self.kernel, machine, self._from_adapter)  # type: ignore[arg-type]
        self.slave: Node[object, object] = Node(self.kernel, slave, self._from_slave)  # type: ignore[arg-type]
        self.adapter.post(Side("radio", PowerUp()))
        self.slave.post(PowerUp())

    def _from_adapter(self, event: object, now: float) -> None:
        assert isinstance(event, Side)
        inner = event.event
        if not isinstance(inner, Transmit):
            return
        start = max(now, inner.not_before)
        if event.side == "wire":
            self.kernel.call_at(start + len(inner.frame) * 11 / 2400, lambda _: self.slave.post(Octets(inner.frame)))
        else:
            self.kernel.call_at(start + 0.01, lambda _: self._left(inner, start))

    def _left(self, event: Transmit, start: float) -> None:
        self.frames.append(event.frame)
        self.adapter.post(Side("radio", Sent(event.frame, start)))
        if self.on_air is not None:
            self.on_air(event.frame, start)

    def _from_slave(self, event: object, now: float) -> None:
        if isinstance(event, Transmit):
            end = max(now, event.not_before) + len(event.frame) * 11 / 2400
            self.kernel.call_at(end, lambda _: self.adapter.post(Side("wire", Octets(event.frame))))

    def hear(self, frame: bytes) -> None:
        self.adapter.post(Side("radio", Heard(frame, self.kernel.now - 0.005)))


def opened(frame: bytes) -> Telegram:
    telegram = Decoder(KeyRing.single(KEY)).examine(frame)
    assert telegram.error is None, telegram.error
    return telegram


def test_command_and_answer_through_the_wire_with_the_security_of_the_meter() -> None:
    """UC-00 function 32 in profile B: the adapter has no key, the access numbers fit."""
    site = Site()
    assert isinstance(site.meter, DeviceEndpoint)
    site.kernel.run(35.0)
    data = opened(site.frames[0])
    assert (data.address, data.security.profile, data.security.authenticated) == (METER, "B", True)
    assert str(read(site.frames[0]).sender) == str(ADAPTER)
    sender = Meter(METER, "B", adapter=Address.parse("CCC-33445566-0A-31"))
    command = encode_telegram(
        compose(sender, bytes.fromhex("02FD9F1D4032"), access_number=77, counter=1000, control=SND_UD, ci=0x5B),
        KeyRing.single(KEY),
    )
    frame = datagram(SND_UD, command[2:10], command[10:], 0x84, 0x21, ADAPTER.link_octets())
    site.hear(frame)
    site.kernel.run(37.0)
    acknowledge = read(site.frames[-1])
    assert (acknowledge.message, acknowledge.status, acknowledge.transport_access) == ("ACK", 1, 77)
    count = len(site.frames)
    for _ in range(6):
        site.hear(down(REQ_UD2, 0x22, transport=78, ella=ADAPTER))
        site.kernel.run(site.kernel.now + 3.0)
        if any(frame[1] == 0x08 for frame in site.frames[count:]):
            break
    (answer,) = [frame for frame in site.frames[count:] if frame[1] == 0x08][:1]
    telegram = opened(answer)
    assert telegram.transport is not None
    assert (telegram.transport.access_number, telegram.transport.status) == (78, 0)
    assert telegram.payload is not None
    assert bytes.fromhex("04FD9F1D40324242") in telegram.payload
    assert read(answer).link_access == 0x22
    site.hear(down(SND_NKE, 0x23, transport=79, ella=ADAPTER))


def test_a_gateway_commands_the_meter_behind_the_adapter() -> None:
    """SND-UD2 is not supported, SND-UD is busy, the answer is asked for until it is there."""
    site = Site()
    gateway_address = Address.parse("CCC-33445566-0A-31")
    keys = KeyRing()
    keys.add(METER.link_octets(), KEY)
    answers: list[Answered] = []
    down_frames: list[bytes] = []

    def from_gateway(event: object, now: float) -> None:
        if isinstance(event, Answered):
            answers.append(event)
        elif isinstance(event, Transmit):
            down_frames.append(event.frame)
            start = max(now, event.not_before)

            def arrive(_: float) -> None:
                gateway.post(Sent(event.frame, start))
                site.adapter.post(Side("radio", Heard(event.frame, start)))

            site.kernel.call_at(start + 0.005, arrive)

    gateway: Node[object, object] = Node(
        site.kernel, Gateway(GatewayConfig(gateway_address), dice(), keys), from_gateway  # type: ignore[arg-type]
    )  # fmt: skip
    site.on_air = lambda frame, start: gateway.post(Heard(frame, start, -60.0))
    gateway.post(PowerUp())
    gateway.post(Register(DeviceLink(METER, "B", ADAPTER)))
    gateway.post(Submit(1, Exchange(METER, Command("m-bus", bytes.fromhex("02FD9F1D4032")))))
    site.kernel.run(300.0)
    (answered,) = answers
    assert (answered.status, answered.protocol) == (0, "m-bus")
    assert bytes.fromhex("04FD9F1D40324242") in answered.payload
    assert answered.security.authenticated
    sent = [frame[1] for frame in down_frames]
    assert sent[0] == 0x43
    assert {0x53, 0x73} & set(sent)
    assert {0x5B, 0x7B} & set(sent)
    assert sent[-1] == 0x40
