"""The operator's end of a wired line: exchanges on a real wired master, the slave written by hand."""

from __future__ import annotations

from typing import TypeVar

import msgspec
import pytest

from openmetering import Address, Decoder, KeyRing, Telegram, compose, encode, encode_fragments, examine
from openmetering import Meter as Shape
from openmetering.codec.link.wired import WiredFrame, unframe
from openmetering.errors import InputError, NotRepresentable, ProtocolError
from openmetering.protocol.events import Heard, Octets, PowerUp, Transmit
from openmetering.protocol.exchange import Answered, Command, Exchange, Failed, GiveKey, Submit, Withdraw
from openmetering.protocol.gateway import wired_gateway as module
from openmetering.protocol.gateway.access import AccessMemory, AccessNumbers
from openmetering.protocol.gateway.events import Alarm, Forget, GatewayConfig, OpenOrder
from openmetering.protocol.gateway.partner_security import application_octets
from openmetering.protocol.gateway.wired_gateway import (
    TRANSITIONS,
    PersistWired,
    RegisterSlave,
    SlaveLink,
    State,
    WiredGateway,
    WiredMemory,
    WiredOutput,
)
from openmetering.protocol.wired.timing import LineTiming
from tests.protocol.gateway_bench import GATEWAY, KEY, METER, NEW_KEY, SECOND, dice, keys

E5 = b"\xe5"
SET = Command("m-bus", b"\x01\xfd\x1f\x00")
SITP = Command("sitp", bytes.fromhex("1C000020003220000F00000000000000300101FD1F00FA41E2812D449B4D"))
T = TypeVar("T")


class Slave:
    """Frames of one slave at primary address 3; ``counter`` is its CM."""

    def __init__(self, address: Address = METER, profile: str = "none", *, key: bytes = KEY, counter: int = 100) -> None:
        self.address = address
        self.profile = profile
        self.key = key
        self.counter = counter
        self.number = 9

    def telegram(
        self, payload: bytes, ci: int = 0x72, status: int = 0, profile: str | None = None, version: int | None = None
    ) -> Telegram:
        kind = self.profile if profile is None else profile
        self.number += 1
        self.counter += kind in ("B", "D")
        counter = self.counter if kind in ("B", "D") else None
        shape = Shape(self.address, kind, primary=3, key_version=version)
        return compose(shape, payload, access_number=self.number, status=status, counter=counter, ci=ci)

    def answer(self, payload: bytes = b"\x04\x13\x09\x00\x00\x00", **options: object) -> bytes:
        return encode(self.telegram(payload, **options), self.key)  # type: ignore[arg-type]

    def fragments(self, payload: bytes, size: int) -> list[bytes]:
        return encode_fragments(self.telegram(payload), self.key, size)


class Line:
    """A gateway on a line; what it asks stands in ``asked``."""

    def __init__(self, *links: SlaveLink, ring: KeyRing | None = None, memory: WiredMemory | None = None) -> None:
        self.gateway = WiredGateway(
            GatewayConfig(GATEWAY), dice(0.0), keys((METER, KEY), (SECOND, KEY)) if ring is None else ring, memory,
            timing=LineTiming(latency=0.0, gap=0.01),
        )  # fmt: skip
        self.now = 10.0
        self.out: list[WiredOutput] = []
        for link in links:
            self.do(RegisterSlave(link))
        self.out.clear()

    def do(self, event: object, after: float = 0.05) -> list[WiredOutput]:
        self.now += after
        out = self.gateway.receive(event, self.now)  # type: ignore[arg-type]
        self.out += out
        return out

    def submit(self, token: int, command: Command | None, *, answer: bool = True, address: Address = METER) -> list[WiredOutput]:
        return self.do(Submit(token, Exchange(address, command, answer)))

    def say(self, octets: bytes) -> list[WiredOutput]:
        """The slave says something."""
        return self.do(Octets(octets))

    def silent(self, seconds: float = 60.0) -> list[WiredOutput]:
        """Nothing comes; deadlines come up."""
        end, out = self.now + seconds, []
        while self.gateway.deadline is not None and self.gateway.deadline <= end:
            self.now = max(self.now, self.gateway.deadline)
            out += self.gateway.timeout(self.now)
        self.now = end
        self.out += out
        return out


def only(out: list[WiredOutput], kind: type[T]) -> T:
    found = [item for item in out if isinstance(item, kind)]
    assert len(found) == 1, out
    return found[0]


def asked(out: list[WiredOutput]) -> WiredFrame:
    """The frame that goes out, taken apart."""
    return unframe(only(out, Transmit).frame)[0]


def link(profile: str = "none", **options: object) -> SlaveLink:
    return SlaveLink(METER, 3, profile=profile, **options)  # type: ignore[arg-type]


def ready(*links: SlaveLink, **options: object) -> Line:
    """A line on which the slave at 3 was reset before: frame count bits are known."""
    line = Line(*links, **options)  # type: ignore[arg-type]
    line.submit(0, None)
    line.say(E5)
    line.say(Slave(profile=links[0].profile, counter=10).answer())
    line.out.clear()
    return line


# -- exchanges -------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", ["none", "A", "B", "D"])
def test_a_command_and_its_answer(profile: str) -> None:
    """SND-NKE, SND-UD, E5, REQ-UD2, RSP-UD (Annex M Table M.1)."""
    line, slave = Line(link(profile)), Slave(profile=profile)
    assert asked(line.submit(7, SET)).control == 0x40
    frame = asked(line.say(E5))
    assert (frame.control & ~0x20, frame.address) == (0x53, 3)
    octets = frame.data
    assert octets[0] == (0x51 if profile == "none" else 0x90 if profile == "B" else 0x5B)
    telegram = examine(frame.encode(), KEY)
    assert application_octets(telegram).rstrip(b"\x2f") == SET.payload
    frame = asked(line.say(E5))
    assert frame.control & ~0x20 == 0x5B
    answered = only(line.say(slave.answer()), Answered)
    assert (answered.token, answered.protocol, answered.status) == (7, "m-bus", 0)
    assert answered.payload.startswith(b"\x04\x13\x09\x00\x00\x00")
    assert answered.security.profile == profile
    assert line.gateway.deadline is None


def test_a_command_alone() -> None:
    line = ready(link())
    assert asked(line.submit(1, SET, answer=False)).data == b"\x51" + SET.payload
    assert only(line.say(E5), Answered) == Answered(1, 0)


def test_a_request_alone() -> None:
    line = ready(link())
    assert asked(line.submit(1, None)).control & ~0x20 == 0x5B
    assert only(line.say(Slave().answer()), Answered).token == 1


def test_snd_ud2_where_the_slave_knows_it() -> None:
    line = ready(link("B", snd_ud2=True))
    assert asked(line.submit(1, SITP)).control == 0x43
    answered = only(line.say(Slave(profile="B").answer(b"\x07\x00\x00\xa0\x00\x22\x20\x00\x00", ci=0xC5)), Answered)
    assert (answered.protocol, answered.payload) == ("sitp", b"\x07\x00\x00\xa0\x00\x22\x20\x00\x00")


def test_e5_to_snd_ud2_is_followed_by_a_request() -> None:
    line = ready(link(snd_ud2=True))
    line.submit(1, SET)
    assert asked(line.say(E5)).control & ~0x20 == 0x5B
    assert only(line.say(Slave().answer()), Answered).token == 1


def test_secondary_addressing_selects_the_slave() -> None:
    line = Line(SlaveLink(METER))
    assert asked(line.submit(1, None)).address == 253
    selection = asked(line.silent(0.4))
    assert selection.data == b"\x52" + METER.transport_octets()
    assert asked(line.say(E5)).control & ~0x20 == 0x5B
    only(line.say(Slave().answer()), Answered)


def test_orders_wait_for_each_other() -> None:
    line = ready(link(), SlaveLink(SECOND, 4))
    line.submit(1, None)
    assert line.submit(2, None, address=SECOND) == [PersistWired(line.gateway.memory(line.now))]
    out = line.say(Slave().answer())
    assert only(out, Answered).token == 1
    assert asked(out).address == 4


@pytest.mark.parametrize("profile", ["none", "A", "B", "D"])
def test_a_fragmented_command(profile: str) -> None:
    """Each fragment in a SND-UD of its own; the answer is read behind the last one."""
    line = ready(link(profile, largest=60))
    payload = b"\x02" + bytes(130)
    frame = asked(line.submit(1, Command("image", payload)))
    parts = []
    while frame.control & ~0x20 == 0x53:
        assert len(frame.data) <= 60
        parts.append(frame.encode())
        frame = asked(line.say(E5))
    assert len(parts) >= 3
    decoder = Decoder(KEY)
    whole = [decoder.examine(part) for part in parts][-1]
    assert application_octets(whole).startswith(payload)
    only(line.say(Slave(profile=profile).answer()), Answered)


@pytest.mark.parametrize("profile", ["none", "A", "B", "D"])
def test_a_fragmented_answer(profile: str) -> None:
    """Annex N.4: REQ-UD2 with the other FCB for each fragment."""
    line, slave = ready(link(profile)), Slave(profile=profile)
    payload = b"\x04\x13\x01\x02\x03\x04" * 15
    controls = [asked(line.submit(1, None)).control]
    parts = slave.fragments(payload, 40)
    for part in parts[:-1]:
        controls.append(asked(line.say(part)).control)
    assert only(line.say(parts[-1]), Answered).payload.startswith(payload)
    assert [control & 0x20 for control in controls] in ([0x20, 0, 0x20], [0, 0x20, 0])


@pytest.mark.parametrize("profile", ["none", "A"])
def test_an_answer_of_several_telegrams(profile: str) -> None:
    """DIF 1Fh: more records follow; they are one answer."""
    line, slave = ready(link(profile)), Slave(profile=profile)
    line.submit(1, None)
    line.say(slave.answer(b"\x04\x13\x01\x00\x00\x00\x1f"))
    answered = only(line.say(slave.answer(b"\x04\x13\x02\x00\x00\x00\x0f\xaa\xbb")), Answered)
    assert answered.payload.startswith(b"\x04\x13\x01\x00\x00\x00\x04\x13\x02\x00\x00\x00\x0f\xaa\xbb")
    line.submit(2, None)
    line.say(slave.answer(b"\x04\x13\x01\x00\x00\x00\x1f"))
    assert only(line.say(slave.answer(b"\x04\x13\x02\x00\x00\x00")), Answered).payload == (
        b"\x04\x13\x01\x00\x00\x00\x04\x13\x02\x00\x00\x00"
    )


def test_an_application_error_without_header() -> None:
    line = ready(link())
    line.submit(1, SET)
    line.say(E5)
    answered = only(line.say(WiredFrame.long(0x08, 3, b"\x70\x01").encode()), Answered)
    assert (answered.protocol, answered.payload) == ("application-error", b"\x01")


def test_an_application_error_under_a_profile() -> None:
    line = ready(link("B"))
    line.submit(1, SET)
    line.say(E5)
    answered = only(line.say(Slave().answer(b"\x20", ci=0x6F, status=2)), Answered)
    assert (answered.protocol, answered.payload, answered.error) == ("application-error", b"\x20", True)


# -- busy ------------------------------------------------------------------------------------


def test_a_busy_slave_is_asked_again() -> None:
    line, slave = ready(link("B")), Slave(profile="B")
    line.submit(1, SET)
    line.say(E5)
    out = line.say(slave.answer(status=1))
    assert not [event for event in out if isinstance(event, Transmit | Answered)]
    start = line.now
    assert asked(line.silent(10.0)).control & ~0x20 == 0x5B
    assert line.now == start + 10.0
    assert only(line.say(slave.answer()), Answered).status == 0


def test_a_slave_that_stays_busy() -> None:
    line, slave = ready(link()), Slave()
    line.submit(1, SET)
    line.say(E5)
    start = line.now
    out = line.say(slave.answer(status=1))
    while not [event for event in out if isinstance(event, Failed)]:
        line.silent(10.0)
        out = line.say(slave.answer(status=1))
    assert only(out, Failed) == Failed(1, "busy", delivered=True)
    assert 120.0 <= line.now - start < 145.0


# -- failures --------------------------------------------------------------------------------


def test_silence() -> None:
    line = Line(link())
    line.submit(1, SET)
    assert only(line.silent(), Failed) == Failed(1, "no-answer", delivered=False)
    line = ready(link())
    line.submit(1, SET)
    assert only(line.silent(), Failed) == Failed(1, "no-answer", delivered=None)
    line = ready(link())
    line.submit(1, SET)
    line.say(E5)
    assert only(line.silent(), Failed) == Failed(1, "no-answer", delivered=True)


def test_noise() -> None:
    line = ready(link())
    line.submit(1, None)
    for _ in range(3):
        line.say(b"\x68\x03\x03\x55")
        line.silent(0.1)
    assert only(line.out, Failed).reason == "disturbed"


def test_nobody_under_a_secondary_address() -> None:
    line = Line(SlaveLink(METER, fabrication="00000001"))
    line.submit(1, SET)
    assert only(line.silent(), Failed) == Failed(1, "not-selected", delivered=False)


def test_e5_to_a_request_is_no_answer() -> None:
    line = ready(link())
    line.submit(1, None)
    assert only(line.say(E5), Failed) == Failed(1, "no-answer", delivered=False)


def test_a_lost_fragment_of_a_command() -> None:
    line = ready(link(largest=60))
    line.submit(1, Command("image", b"\x02" + bytes(130)))
    line.say(E5)
    assert only(line.silent(), Failed) == Failed(1, "no-answer", delivered=None)


@pytest.mark.parametrize("profile", ["A", "B", "D"])
def test_a_wrong_key(profile: str) -> None:
    line, slave = ready(link(profile)), Slave(profile=profile, key=NEW_KEY)
    line.submit(1, None)
    for _ in range(2):
        assert asked(line.say(slave.answer())).control & ~0x20 == 0x5B
    assert only(line.say(slave.answer()), Failed) == Failed(1, "security", delivered=False)


def test_answers_that_are_not_proven() -> None:
    line, slave = ready(link("B")), Slave(profile="B")
    line.submit(1, None)
    out = line.say(slave.answer(profile="none"))
    assert only(out, Alarm) == Alarm(METER, "unprotected")
    out = line.say(Slave(profile="B", counter=5).answer())
    assert only(out, Alarm) == Alarm(METER, "replayed")
    assert only(line.say(slave.answer()), Answered).security.proof == "mac"


def test_an_answer_of_another_slave() -> None:
    line = ready(link())
    line.submit(1, None)
    assert asked(line.say(Slave(SECOND).answer())).control & ~0x20 == 0x5B
    only(line.say(Slave().answer()), Answered)


def test_a_slave_without_key() -> None:
    line = Line(link("B"), ring=KeyRing())
    assert only(line.submit(1, SET), Failed) == Failed(1, "security", delivered=False)


def test_commands_that_cannot_be_carried() -> None:
    line = ready(link())
    with pytest.raises(NotRepresentable, match="dlms"):
        line.submit(1, Command("dlms", b""))
    assert only(line.submit(1, SET, address=SECOND), Failed) == Failed(1, "no-access", delivered=False)
    used = AccessMemory(METER.link_octets(), 0, tuple((number, line.now) for number in range(256)))
    line.gateway._numbers = AccessNumbers(dice(0.0), (used,))
    assert only(line.submit(1, SET), Failed) == Failed(1, "refused-link", delivered=False)


def test_application_keys_are_refused() -> None:
    with pytest.raises(InputError):
        WiredGateway(GatewayConfig(GATEWAY), dice(), keys((METER, KEY, 0x20, 0)))


# -- withdrawal ------------------------------------------------------------------------------


def test_withdrawal() -> None:
    line = ready(link())
    for token in (1, 2, 3):
        line.submit(token, SET)
    assert only(line.do(Withdraw(2)), Failed) == Failed(2, "withdrawn", delivered=False)
    out = line.do(Withdraw(1))
    assert only(out, Failed) == Failed(1, "withdrawn", delivered=None)
    assert asked(out).control == 0x40  # the third begins with a reset: the frame count bits are not known any more
    assert asked(line.say(E5)).control & ~0x20 == 0x53
    assert line.do(Withdraw(9)) == []


def test_withdrawal_in_a_pause() -> None:
    line, slave = ready(link()), Slave()
    line.submit(1, SET)
    line.say(E5)
    line.say(slave.answer(status=1))
    assert only(line.do(Withdraw(1)), Failed) == Failed(1, "withdrawn", delivered=True)
    assert line.gateway.deadline is None


def test_forgetting_a_slave() -> None:
    line = ready(link(), SlaveLink(SECOND, 4))
    line.submit(1, SET)
    line.submit(2, SET)
    line.submit(3, None, address=SECOND)
    out = line.do(Forget(METER))
    assert {event.token for event in out if isinstance(event, Failed)} == {1, 2}
    assert asked(out).address == 4
    assert line.do(Forget(METER)) == []


def test_forgetting_a_slave_that_is_not_asked() -> None:
    line = ready(link(), SlaveLink(SECOND, 4))
    line.submit(1, SET)
    assert [type(event) for event in line.do(Forget(SECOND))] == [PersistWired]


# -- keys and power --------------------------------------------------------------------------


def test_a_key_is_changed_by_the_answer() -> None:
    ring = keys((METER, KEY, 0, 0))
    line = Line(link("B", key_version=0), ring=ring)
    line.do(GiveKey(METER, keys((METER, NEW_KEY, 0, 1)), 0, 1))
    line.submit(1, Command("sitp", bytes.fromhex("1E0000040003120000")))
    frame = asked(line.say(E5))
    command = examine(frame.encode(), KEY)
    assert command.afl is not None
    assert command.afl.key_information is not None
    line.say(E5)
    out = line.say(Slave(profile="B", key=NEW_KEY, counter=0).answer(b"\x07\x00\x00\x84\x00\x22\x12\x00\x00", ci=0xC5, version=1))
    assert only(out, Answered).security.key_version == 1
    assert only(out, Alarm) == Alarm(METER, "key")
    assert only(out, PersistWired).memory.security.partners[0].version == 1


@pytest.mark.parametrize("step", ["queued", "sent", "pausing", "answered"])
def test_a_power_cut_at_every_step(step: str) -> None:
    line, slave = ready(link("B")), Slave(profile="B")
    line.submit(5, None)
    line.submit(1, SITP)
    counter = 0
    if step == "queued":
        lost = [Failed(5, "power", delivered=False), Failed(1, "power", delivered=False)]
    else:
        frame = asked(line.say(slave.answer()))
        counter = examine(frame.encode(), KEY).security.counter or 0
        lost = [Failed(1, "power", delivered=None)]
    if step in ("pausing", "answered"):
        line.say(E5)
        line.say(slave.answer(status=int(step == "pausing")))
        lost = lost if step == "pausing" else []
    stored = [event for event in line.out if isinstance(event, PersistWired)][-1].memory
    stored = msgspec.msgpack.decode(msgspec.msgpack.encode(stored), type=WiredMemory)
    after = Line(memory=stored)
    after.now = line.now + 5.0
    assert [event for event in after.do(PowerUp()) if isinstance(event, Failed)] == lost
    after.submit(2, SITP)
    frame = asked(after.say(E5))
    assert (examine(frame.encode(), KEY).security.counter or 0) > counter
    after.say(E5)
    only(after.say(slave.answer()), Answered)


def test_the_same_gateway_comes_back() -> None:
    line = ready(link())
    line.submit(1, SET)
    line.submit(2, SET)
    out = line.do(PowerUp())
    assert [event for event in out if isinstance(event, Failed)] == [
        Failed(1, "power", delivered=None),
        Failed(2, "power", delivered=False),
    ]
    assert line.gateway.memory(line.now).orders == ()
    assert line.gateway.deadline is None
    line.submit(3, None)
    line.say(E5)
    only(line.say(Slave().answer()), Answered)


def test_orders_are_stored_before_they_are_sent() -> None:
    line = ready(link("B"))
    out = line.submit(1, SET)
    assert isinstance(out[0], PersistWired)
    assert out[0].memory.orders == (OpenOrder(1, sent=True),)
    assert out[0].memory.links == (link("B"),)


# -- the table -------------------------------------------------------------------------------

EVENTS = [
    module.Queued(), module.PartTaken(), module.Acknowledged(), module.BusyCame(), module.Doubted(), module.Elapsed(),
    module.Finished(Failed(1, "busy")),
]  # fmt: skip


def test_every_row_is_visited() -> None:
    seen = set()

    class Recorder(WiredGateway):
        __slots__ = ()

        def _step(self, event: object, now: float) -> list[object]:
            seen.add((self.state, type(event)))
            return super()._step(event, now)

    line, slave = ready(link(snd_ud2=True, largest=60)), Slave()
    line.gateway.__class__ = Recorder
    frame = asked(line.submit(1, Command("image", b"\x02" + bytes(100))))
    while frame.control & ~0x20 == 0x53:
        frame = asked(line.say(E5))
    line.say(Slave(SECOND).answer())  # whose answer is this?
    line.say(slave.answer(status=1))
    line.silent(10.0)
    line.say(slave.answer())
    line.submit(2, SET)
    line.say(E5)
    line.say(slave.answer(status=1))
    line.do(Withdraw(2))
    assert seen == set(TRANSITIONS)


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_what_is_no_row_is_an_error(state: State, event: object) -> None:
    if (state, type(event)) in TRANSITIONS:
        return
    gateway = Line(link()).gateway
    gateway.state = state
    with pytest.raises(ProtocolError):
        gateway._step(event, 0.0)


def test_other_events_are_errors() -> None:
    with pytest.raises(ProtocolError):
        Line(link()).do(Heard(b"", 0.0))
    line = Line(link())
    assert line.gateway.timeout(line.now) == []
    line.submit(1, None)
    assert line.gateway.timeout(line.now) == []
