"""The table of a session: every row, every pair that is no row, and the corners the gateway's tests do not reach."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from openmetering.errors import ProtocolError
from openmetering.protocol.events import Transmit
from openmetering.protocol.exchange import Answered, Command, Exchange, Failed
from openmetering.protocol.gateway import session as module
from openmetering.protocol.gateway.access import AccessMemory, AccessNumbers, Transmitter, Window
from openmetering.protocol.gateway.events import DeviceLink, GatewayConfig
from openmetering.protocol.gateway.frames import Glance, glance
from openmetering.protocol.gateway.partner_security import Opened, PartnerSecurity
from openmetering.protocol.gateway.session import TRANSITIONS, Session, State
from openmetering.protocol.gateway.session_order import Order
from openmetering.telegram.model import Telegram
from tests.protocol.gateway_bench import ADAPTER, ALWAYS, GATEWAY, KEY, METER, NOT_NOW, SHORT, Bench, Device, dice, keys, sent

SET = Command("m-bus", b"\x01\xfd\x1f\x00")
OWN = METER.link_octets()
EVENTS = [
    module.Queued(), module.Chance(Window(0.0, 1.0)), module.GivenUp("busy"), module.PartTaken(), module.Accepted(),
    module.AcceptedBusy(), module.Confirmed(0), module.Unsupported(), module.Refused(), module.PartCame(),
    module.WholeCame(Opened(Telegram(b""), "new"), 0), module.Doubted(), module.Cancelled(), module.Elapsed(), module.Repeated(),
    module.Quiet(),
]  # fmt: skip


def make(link: DeviceLink | None = None, config: GatewayConfig | None = None, numbers: AccessNumbers | None = None) -> Session:
    security = PartnerSecurity(keys((METER, KEY)))
    link = link or DeviceLink(METER)
    security.enrol(METER, link.profile)
    numbers = numbers or AccessNumbers(dice(0.0))
    return Session(link, config or GatewayConfig(GATEWAY), security, numbers, Transmitter(), dice(0.0))


class Driven:
    """A session with a device that answers when it is told to."""

    def __init__(
        self, command: Command | None = SET, *, answer: bool = True, snd_ud2: bool = True, profile: str = "none"
    ) -> None:
        self.session = make(DeviceLink(METER, profile, snd_ud2=snd_ud2))
        self.device = Device(profile=profile)
        self.now = 100.0
        self.out: list[object] = []
        self.frame = b""
        self.answered = b""
        self.out += self.session.submit(1, Exchange(METER, command, answer), self.now)

    def hear(self, frame: bytes, after: float = 2.0) -> None:
        self.now += after
        heard = glance(frame)
        assert heard is not None
        self.take(self.session.heard(heard, self.session._security.open(frame, self.now), -84.0, self.now))

    def take(self, out: list[object]) -> None:
        self.out += out
        for event in out:
            if isinstance(event, Transmit):
                self.frame = event.frame

    def window(self) -> None:
        self.hear(self.device.spontaneous(), 16.0)

    def ack(self, status: int = 0, control: int = 0, cc: int = SHORT) -> None:
        self.hear(self.device.acknowledge(self.frame, status=status, control=control, cc=cc))

    def answer(self, status: int = 0, cc: int = SHORT, **options: object) -> None:
        self.answered = self.device.answer(self.frame, status=status, cc=cc, **options)  # type: ignore[arg-type]
        self.hear(self.answered)

    def later(self, seconds: float) -> None:
        self.now += seconds
        self.take(self.session.timeout(self.now))


def waiting() -> Driven:
    return Driven()


def asked() -> Driven:
    driven = Driven()
    driven.window()
    return driven


def pausing() -> Driven:
    driven = asked()
    driven.answer(status=1, cc=NOT_NOW)
    return driven


def lingering() -> Driven:
    driven = asked()
    driven.answer()
    return driven


def closing() -> Driven:
    driven = lingering()
    driven.later(0.6)
    return driven


def idle() -> Driven:
    driven = closing()
    driven.later(40.0)
    return driven


def commanded(*, answer: bool = True) -> Driven:
    driven = Driven(answer=answer, snd_ud2=False)
    driven.window()
    return driven


def parted() -> Driven:
    driven = Driven(Command("image", bytes(250)))
    driven.window()
    return driven


def more(driven: Driven) -> None:
    driven.take(driven.session.submit(2, Exchange(METER, None), driven.now))


def fragment(driven: Driven) -> None:
    part = driven.device.fragments(driven.frame, b"\x04\x13\x01\x02\x03\x04" * 12, 40)[0]
    driven.hear(part)


def no_key() -> Driven:
    driven = Driven(profile="B")
    driven.session._security = PartnerSecurity()
    driven.session._security.enrol(METER, "B")
    driven.session._maker._security = driven.session._security
    return driven


def withdraw(driven: Driven) -> None:
    driven.take(driven.session.withdraw(1, driven.now) or [])


#: (state, event) -> how it is reached, what happens, how many events come out, where the session ends up
ROWS: dict[tuple[State, type], tuple[Callable[[], Driven], Callable[[Driven], None], State]] = {
    (State.IDLE, module.Queued): (idle, more, State.WAITING),
    (State.WAITING, module.Queued): (waiting, more, State.WAITING),
    (State.WAITING, module.Chance): (waiting, Driven.window, State.ASKED),
    (State.WAITING, module.GivenUp): (no_key, Driven.window, State.IDLE),
    (State.WAITING, module.Cancelled): (waiting, withdraw, State.IDLE),
    (State.ASKED, module.Queued): (asked, more, State.ASKED),
    (State.ASKED, module.Chance): (asked, Driven.window, State.ASKED),
    (State.ASKED, module.GivenUp): (asked, lambda driven: driven.later(20_000.0), State.LINGERING),
    (State.ASKED, module.Cancelled): (asked, withdraw, State.LINGERING),
    (State.ASKED, module.PartTaken): (parted, lambda driven: driven.ack(cc=NOT_NOW), State.WAITING),
    (State.ASKED, module.Accepted): (commanded, lambda driven: driven.ack(cc=NOT_NOW), State.WAITING),
    (State.ASKED, module.AcceptedBusy): (commanded, lambda driven: driven.ack(status=1), State.PAUSING),
    (State.ASKED, module.Confirmed): (lambda: commanded(answer=False), Driven.ack, State.LINGERING),
    (State.ASKED, module.Unsupported): (asked, lambda driven: driven.ack(cc=NOT_NOW), State.WAITING),
    (State.ASKED, module.Refused): (asked, lambda driven: driven.ack(control=1), State.LINGERING),
    (State.ASKED, module.PartCame): (asked, fragment, State.ASKED),
    (State.ASKED, module.WholeCame): (asked, Driven.answer, State.LINGERING),
    (State.ASKED, module.Doubted): (asked, lambda driven: driven.answer(profile="B", cc=NOT_NOW), State.WAITING),
    (State.PAUSING, module.Queued): (pausing, more, State.PAUSING),
    (State.PAUSING, module.Elapsed): (pausing, lambda driven: driven.later(11.0), State.WAITING),
    (State.PAUSING, module.Cancelled): (pausing, withdraw, State.LINGERING),
    (State.LINGERING, module.Queued): (lingering, more, State.ASKED),
    (State.LINGERING, module.Elapsed): (lingering, lambda driven: driven.later(0.6), State.CLOSING),
    (State.LINGERING, module.Quiet): (waiting, withdraw, State.IDLE),
    (State.CLOSING, module.Queued): (closing, more, State.WAITING),
    (State.CLOSING, module.Repeated): (closing, lambda driven: driven.hear(driven.answered), State.CLOSING),
    (State.CLOSING, module.Elapsed): (closing, lambda driven: driven.later(40.0), State.IDLE),
}


def test_the_rows_of_this_test_are_the_rows_of_the_table() -> None:
    assert set(ROWS) == set(TRANSITIONS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0].name}-{row[1].__name__}")
def test_every_row(row: tuple[State, type], monkeypatch: pytest.MonkeyPatch) -> None:
    reach, happen, ends = ROWS[row]
    driven = reach()
    seen = []
    step = Session._step

    def record(self: Session, event: object, now: float) -> list[object]:
        seen.append((self.state, type(event)))
        return step(self, event, now)

    monkeypatch.setattr(Session, "_step", record)
    if row == (State.ASKED, module.Doubted):  # nothing is proven without a key for it
        driven.session._security.enrol(METER, "A")
    happen(driven)
    assert row in seen
    assert driven.session.state is ends


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_what_is_no_row_is_an_error(state: State, event: object) -> None:
    if (state, type(event)) in TRANSITIONS:
        return
    session = make()
    session.state = state
    with pytest.raises(ProtocolError) as caught:
        session._step(event, 0.0)
    assert (caught.value.state, caught.value.event) == (state.name, type(event).__name__)


# -- results ---------------------------------------------------------------------------------


def test_the_whole_way_of_a_command() -> None:
    driven = idle()
    kinds = [type(event) for event in driven.out]
    assert kinds == [Transmit, Answered, Transmit]
    assert driven.frame[1] == 0x40
    assert driven.session.deadline is None
    assert driven.session.timeout(driven.now + 1e6) == []


def test_nothing_happens_before_the_deadline() -> None:
    driven = lingering()
    assert driven.session.timeout(driven.now) == []
    assert driven.session.state is State.LINGERING


def test_withdrawing_what_is_not_there() -> None:
    driven = asked()
    more(driven)
    assert driven.session.withdraw(3, driven.now) is None
    assert driven.session.orders == [(1, True), (2, False)]
    assert driven.session.withdraw(2, driven.now) == [Failed(2, "withdrawn", delivered=False)]


def test_a_copy_of_the_answer_that_was_seen_before_answers_nothing() -> None:
    driven = asked()
    heard = glance(driven.device.answer(driven.frame))
    assert heard is not None
    assert driven.session.awaits(heard)
    assert driven.session.heard(heard, None, None, driven.now + 2.0) == []
    assert driven.session.state is State.ASKED


@pytest.mark.parametrize(
    "heard", [Glance(0x08, OWN), Glance(0x44, OWN, 0x80, 0, None, None, 0), Glance(0x08, OWN, 0x80, 0, None, OWN, 1)]
)
def test_what_is_no_answer(heard: Glance) -> None:
    """Without any access number, not an answer at all, one number of two."""
    assert not asked().session.awaits(heard)


# -- corners ---------------------------------------------------------------------------------


def test_without_a_free_access_number_the_window_passes() -> None:
    used = AccessMemory(OWN, 0, tuple((number, 100.0) for number in range(256)))
    session = make(numbers=AccessNumbers(dice(0.0), (used,)))
    session.submit(1, Exchange(METER, None), 110.0)
    heard = glance(Device().spontaneous())
    assert heard is not None
    assert session.heard(heard, None, None, 110.0) == []
    assert session.state is State.WAITING
    assert len(session.heard(heard, None, None, 401.0)) == 1


def test_without_a_free_access_number_there_is_no_snd_nke() -> None:
    driven = lingering()
    driven.session._maker._numbers = AccessNumbers(dice(0.0), (AccessMemory(OWN, 0, tuple((n, driven.now) for n in range(256))),))
    driven.out.clear()
    driven.later(0.6)
    assert driven.out == []
    assert driven.session.state is State.CLOSING


def test_snd_nke_gives_way_to_another_transmission() -> None:
    driven = lingering()
    driven.session._transmitter.plan(Window(driven.now, driven.now + 5.0), 0.1, driven.now)
    driven.out.clear()
    driven.later(0.6)
    assert driven.out == []
    driven.hear(driven.answered, 10.0)
    assert driven.frame[1] == 0x40


def test_a_device_that_always_listens_is_closed_without_a_window() -> None:
    driven = Driven()
    driven.hear(driven.device.spontaneous(cc=ALWAYS))
    driven.answer(cc=ALWAYS)
    driven.session._window = None
    driven.later(3.0)
    assert driven.frame[1] == 0x40
    assert isinstance(driven.out[-1], Transmit)
    assert driven.out[-1].not_before == driven.now


def test_a_session_whose_window_is_taken_waits_for_the_cycle() -> None:
    driven = Driven()
    driven.hear(driven.device.spontaneous(cc=ALWAYS))
    driven.answer(cc=ALWAYS)
    driven.session.quiet(driven.now + 100.0)
    driven.out.clear()
    driven.later(3.0)
    assert driven.out == []


def test_evidence_must_be_about_this_meter_and_about_later() -> None:
    """An old answer of another meter behind the adapter proves nothing; neither does one before the transmission."""
    link = DeviceLink(METER, adapter=ADAPTER)
    session = make(link)
    session.submit(1, Exchange(METER, SET), 0.0)
    heard = glance(Device(adapter=ADAPTER).spontaneous())
    assert heard is not None
    session.heard(heard, None, None, 1.0)
    datagram = session._datagram
    assert datagram is not None
    assert datagram.since == pytest.approx(1.9995)
    without = Glance(0x08, ADAPTER.link_octets(), 0x80, 99)
    session.heard(without, None, None, 5.0)
    assert datagram.since is not None
    own = Glance(0x08, ADAPTER.link_octets(), 0x80, 99, None, OWN, 99)
    session.heard(own, None, None, 1.5)
    assert datagram.since is not None
    session.heard(own, None, None, 5.0)
    assert datagram.since is None


@pytest.mark.parametrize(
    ("command", "renewal"),
    [(None, False), (SET, False), (Command("sitp", b""), False), (Command("sitp", b"\x1c\x00\x00\x20"), False),
     (Command("sitp", b"\x26\x00\x00\x00"), True), (Command("sitp", b"\x1e\x00\x00\x04"), True)],
)  # fmt: skip
def test_which_commands_renew_a_key(command: Command | None, renewal: bool) -> None:
    order = Order(1, Exchange(METER, command), "whole")
    assert order.renewal == renewal
    assert order.busy_limit(GatewayConfig(GATEWAY)) == 120.0
    assert order.repeatable == (command is None or command.protocol == "sitp")


def test_a_gateway_that_is_asked_too_early_has_nothing_to_do() -> None:
    bench, device = Bench(DeviceLink(METER)), Device()
    assert bench.gateway.timeout(bench.now) == []
    bench.submit(1, None)
    assert bench.gateway.timeout(bench.now) == []
    assert sent(bench.hear(device.spontaneous()))
