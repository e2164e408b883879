"""UC-05 from the operator's side, against a device that is written down: a table of states and a set of blocks."""

from __future__ import annotations

import hashlib

import pytest

from openmetering.codec.apl import image_transfer, security_transfer
from openmetering.codec.apl.image_transfer import ImageMessage
from openmetering.codec.apl.security_transfer import SecuredData
from openmetering.errors import DecodeError, ExchangeFailed, OutOfRange, Refused
from openmetering.protocol.exchange import Answered, Command
from openmetering.protocol.operator.firmware import (
    FirmwareImage,
    UpdateOptions,
    read_image_state,
    terminate_image,
    update_firmware,
)
from openmetering.protocol.operator.journal import ImageEntry
from openmetering.protocol.operator.steps import Ask
from tests.protocol.operator.scripted import (
    DEVICE,
    Run,
    Store,
    counters,
    error,
    head_end,
    image,
    lost,
    result,
    run,
    secured,
    status,
)

IMAGE = FirmwareImage(b"V1.2", bytes(number % 251 for number in range(1000)))
QUICK = UpdateOptions(poll=1)
_NAMES = {0: "prepare", 2: "transfer", 3: "completion", 4: "state", 5: "validate", 6: "activate", 7: "terminate"}


class Device:
    """Keeps blocks and a state; ``lose`` are steps (number of the exchange) whose answer, ``drop`` whose command is lost."""

    def __init__(self, state: int = 15, *, lose: set[int] = frozenset(), drop: set[int] = frozenset(), bad: bool = False):
        self.state = state
        self.lose, self.drop, self.bad = set(lose), set(drop), bad
        self.blocks: set[int] = set()
        self.log: list[str] = []
        self.counter = 0
        self.installed = 0
        self.slow = 0
        self.again: set[int] = set()

    def reply(self, ask: Ask):
        number = len(self.log)
        if number in self.drop:
            self.log.append("dropped")
            return lost(None)
        answer = self.answer(ask)
        return lost(None) if number in self.lose else answer

    def answer(self, ask: Ask):
        if ask.command is None:
            self.log.append("request")
            return Answered(0, 0, "m-bus", b"\x2f")
        if ask.command.protocol == "sitp":
            (block,) = security_transfer.decode(ask.command.payload).blocks
            inner = block.read()
            if not isinstance(inner, SecuredData):
                self.log.append("counters")
                return counters((0x23, 0, self.counter))(ask)
            if inner.counter <= self.counter:
                self.log.append("replay")
                return error(0x20)
            answer = self.execute(image_transfer.decode(inner.apdu))
            if answer.protocol == "application-error":
                return answer
            self.counter = inner.counter
            return secured(answer.payload)(ask)
        return self.execute(image_transfer.decode(ask.command.payload))

    def execute(self, message: ImageMessage) -> Answered:
        function = message.function
        self.log.append(_NAMES[function])
        if function == 4 and self.slow:
            self.slow -= 1
        elif function == 4 and self.state in (7, 8):
            self.state = 10 if self.bad else 9
        elif function == 4 and self.state == 11:
            self.state, self.installed = 12, self.installed + 1
        allowed = {2: (2, 3, 4, 6), 3: (2, 3), 5: (5, 10), 6: (9,)}.get(function)
        if allowed is not None and self.state not in allowed:
            return error(0x10)
        fields = {}
        if function == 0:
            self.state, self.blocks = 2, set()
        elif function == 2:
            self.state = 3
            if message.block not in self.again:
                self.blocks.add(message.block)
            self.again.discard(message.block)
        elif function == 3:
            missing = tuple(number for number in IMAGE.numbers if number not in self.blocks)
            fields = {"lost_total": len(missing), "lost": missing[:3]}
            self.state = 6 if missing else 5
            if missing:
                self.state = 3  # transfer goes on
        elif function == 5:
            self.state = 7
        elif function == 6:
            self.state = 11
        elif function == 7:
            self.state = 14 if message.additional == b"\x02" else 4
        return image(state=self.state, **fields)(_ask(message))


def _ask(message: ImageMessage) -> Ask:
    return Ask(Command("image", message.encode()))


def update(device: Device, store: Store | None = None, options: UpdateOptions = QUICK, img: FirmwareImage = IMAGE):
    return _drive(update_firmware(head_end(store), DEVICE, img, options=options), device, Run())


def _drive(procedure, device: Device, done, stop: int | None = None):
    answer = failure = None
    while True:
        try:
            step = procedure.throw(failure) if failure is not None else procedure.send(answer)
        except StopIteration as end:
            done.result = end.value
            return done
        except Exception as fault:
            done.error = fault
            return done
        done.steps.append(step)
        answer = failure = None
        if isinstance(step, Ask):
            if stop is not None and len(done.asked) > stop:
                return done
            reply = device.reply(step)
            if isinstance(reply, ExchangeFailed):
                failure = reply
            else:
                answer = reply if step.answer else Answered(0, reply.status)


# -- the way through ----------------------------------------------------------------------------------------


def test_an_update():
    device = Device()
    done = update(device)
    assert device.log == ["prepare"] + ["transfer"] * 6 + ["completion", "validate", "state", "activate", "state"]
    assert (done.result.state, done.result.sent, done.result.resumed) == (12, 6, False)
    assert done.result.state_name == "activation successful"
    assert device.installed == 1


def test_what_is_sent():
    done = update(Device())
    prepare = security_transfer.decode(done.commands[0]).blocks[0]
    inner = prepare.read()
    assert isinstance(inner, SecuredData)
    assert (prepare.key_id, inner.pid, inner.immediate) == (0x23, 6, True)
    message = image_transfer.decode(inner.apdu)
    assert (message.identifier, message.image_size, message.block_size) == (b"V1.2", 1000, 190)
    assert (message.mac.algorithm, message.mac.key_id) == (4, 0x18)
    blocks = [image_transfer.decode(octets) for octets in done.commands[1:7]]
    assert b"".join(block.data for block in blocks) == IMAGE.octets
    assert [block.block for block in blocks] == list(range(6))
    assert [ask.answer for ask in done.asked[1:7]] == [False] * 6
    activate = security_transfer.decode(done.commands[-2]).blocks[0].read()
    assert isinstance(activate, SecuredData)
    assert activate.target_time == bytes.fromhex("0000008030")
    assert image_transfer.decode(activate.apdu).time == bytes.fromhex("0000000030")


def test_progress_counts_blocks():
    done = update(Device())
    texts = [(step.done, step.total, step.text) for step in done.progress]
    assert texts[0] == (0, 6, "prepare")
    assert texts[1:7] == [(number, 6, f"block {number} of 6") for number in range(6)]
    assert texts[-2:] == [(6, 6, "validate"), (6, 6, "activate")]


def test_an_idis_gateway():
    """Blocks of 200 octets, answered one by one; activation without ASP10 (Annex E.2)."""
    img = FirmwareImage(b"V1.2", IMAGE.octets, 200)
    done = update(Device(), options=UpdateOptions(poll=1, secured=False, confirmed=True), img=img)
    assert all(ask.answer for ask in done.asked)
    assert [ask.command.protocol for ask in done.asked].count("sitp") == 1
    assert len(image_transfer.decode(done.commands[1]).data) == 200


def test_only_validated():
    device = Device()
    done = update(device, options=UpdateOptions(poll=1, activate=False))
    assert done.result.state == 9
    assert "activate" not in device.log


def test_a_slow_device_is_asked_again():
    device = Device()
    device.slow = 3
    done = update(device)
    assert done.pauses == [1, 1, 1]


def test_a_delayed_activation():
    device = Device()
    done = update(device, options=UpdateOptions(poll=1, after=3600))
    activate = security_transfer.decode(done.commands[-2]).blocks[0].read()
    assert image_transfer.decode(activate.apdu).time == bytes.fromhex("100E000030")


# -- losses ----------------------------------------------------------------------------------------------------


def test_lost_blocks_are_sent_again():
    """A lost block is not repeated at once: the completion tells."""
    device = Device(drop={2, 4})
    done = update(device)
    assert device.log.count("transfer") == 6
    assert device.log.count("completion") == 2
    assert (done.result.state, done.result.sent) == (12, 6)


def test_a_long_list_of_lost_blocks_comes_in_parts():
    device = Device()
    device.again = set(range(6))
    done = update(device)
    assert device.log.count("completion") == 3
    assert done.result.sent == 12


def test_blocks_that_stay_missing():
    device = Device()

    class Forgetful(Device):
        def execute(self, message):
            if message.function == 2:
                self.again = {0}
            return super().execute(message)

    device = Forgetful()
    done = update(device)
    assert isinstance(done.error, Refused)
    assert "1 blocks stay missing" in done.error.message


def test_the_link_is_dead():
    device = Device(drop={1, 2, 3, 4, 5, 6, 7, 8, 9, 10})
    done = update(device)
    assert isinstance(done.error, ExchangeFailed)


@pytest.mark.parametrize("number", range(12))
def test_a_lost_answer_at_every_step(number):
    device = Device(lose={number})
    done = update(device)
    assert done.error is None
    assert (done.result.state, device.installed) == (12, 1)
    assert device.log.count("prepare") == 1
    assert device.log.count("activate") == 1


@pytest.mark.parametrize("number", range(12))
def test_a_lost_command_at_every_step(number):
    device = Device(drop={number})
    done = update(device)
    assert done.error is None
    assert (done.result.state, device.installed) == (12, 1)
    assert "replay" not in device.log


@pytest.mark.parametrize("number", range(12))
@pytest.mark.parametrize("executed", [False, True], ids=["before", "after"])
def test_a_power_cut_of_the_operator_at_every_step(number, executed):
    device, store = Device(), Store()
    done = _drive(update_firmware(head_end(store), DEVICE, IMAGE, options=QUICK), device, Run(), stop=number)
    if executed:
        device.reply(done.asked[-1])
    done = update(device, store)
    assert done.error is None
    assert done.result.resumed
    assert device.installed == 1
    assert device.log.count("prepare") == 1
    assert head_end(store).journal(DEVICE).image is None
    assert "replay" not in device.log


# -- where it goes on ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "first"),
    [
        (2, "completion"),
        (3, "completion"),
        (4, "transfer"),
        (5, "validate"),
        (6, "transfer"),
        (7, "state"),
        (8, "state"),
        (9, "activate"),
        (11, "state"),
        (14, "prepare"),
        (15, "prepare"),
        (1, "prepare"),
    ],
)
def test_it_goes_on_from_every_state(state, first):
    store, device = Store(), Device(state)
    device.slow = 1
    head_end(store).note_image(DEVICE, ImageEntry(IMAGE.identifier, IMAGE.digest, 190, "transferring"))
    done = update(device, store)
    assert device.log[:2] == ["state", first]
    assert done.result.resumed
    assert done.result.state == 12


@pytest.mark.parametrize("stage", ["transferring", "activating"])
def test_idle_means_installed_only_after_an_activation(stage):
    store, device = Store(), Device(15)
    head_end(store).note_image(DEVICE, ImageEntry(IMAGE.identifier, IMAGE.digest, 190, stage))
    done = update(device, store)
    assert done.result.state == (15 if stage == "activating" else 12)
    assert ("prepare" in device.log) is (stage == "transferring")


def test_idle_after_an_activation_that_was_not_taken():
    """The key counter says that the activation did not reach the device, which has forgotten the image since."""
    store, device = Store(), Device()
    _drive(update_firmware(head_end(store), DEVICE, IMAGE, options=QUICK), device, Run(), stop=10)
    assert head_end(store).journal(DEVICE).image.stage == "activating"
    device.state, device.blocks = 15, set()
    done = update(device, store)
    assert device.log.count("prepare") == 2
    assert device.installed == 1
    assert done.result.state == 12


def test_another_image_is_prepared_anew():
    store, device = Store(), Device(9)
    head_end(store).note_image(DEVICE, ImageEntry(IMAGE.identifier, hashlib.sha256(b"x").digest()[:16], 190, "transferring"))
    done = update(device, store)
    assert device.log[0] == "prepare"
    assert not done.result.resumed


@pytest.mark.parametrize("code", [0x10, 0x15])
def test_a_device_that_does_not_know_the_image_any_more(code):
    store = Store()
    head_end(store).note_image(DEVICE, ImageEntry(IMAGE.identifier, IMAGE.digest, 190, "transferring"))
    done = run(update_firmware(head_end(store), DEVICE, IMAGE, options=QUICK), [error(code), error(0x22)])
    assert done.error.error == 0x22


def test_a_device_that_does_not_tell_its_state():
    store = Store()
    head_end(store).note_image(DEVICE, ImageEntry(IMAGE.identifier, IMAGE.digest, 190, "transferring"))
    done = run(update_firmware(head_end(store), DEVICE, IMAGE, options=QUICK), [error(0x22)])
    assert done.error.error == 0x22


# -- refusals --------------------------------------------------------------------------------------------------


def test_an_image_that_is_not_valid():
    store = Store()
    done = update(Device(bad=True), store)
    assert isinstance(done.error, Refused)
    assert "not valid" in done.error.message
    assert head_end(store).journal(DEVICE).image is None


def test_an_image_that_cannot_be_installed():
    store = Store()
    head_end(store).note_image(DEVICE, ImageEntry(IMAGE.identifier, IMAGE.digest, 190, "activating"))
    done = update(Device(13), store)
    assert "could not install" in done.error.message


@pytest.mark.parametrize("refusal", [error(0x22), error(0x15), error(0x11), status(0x19), status(0x23)])
def test_a_refused_prepare(refusal):
    assert isinstance(run(update_firmware(head_end(), DEVICE, IMAGE), [refusal]).error, Refused)


def test_not_now_for_ever():
    """Error 10h although the state says otherwise: told, not tried for ever."""
    done = run(update_firmware(head_end(), DEVICE, IMAGE), [error(0x10)])
    assert done.error.error == 0x10


def test_not_now_because_a_lost_answer_had_moved_the_device_on():
    """The state is another one than thought: it goes on from there."""
    store = Store()
    head_end(store).note_image(DEVICE, ImageEntry(IMAGE.identifier, IMAGE.digest, 190, "transferring"))
    procedure = update_firmware(head_end(store), DEVICE, IMAGE, options=QUICK)
    done = run(procedure, [image(state=5), error(0x10), image(state=9), status(0), image(state=12)])
    assert done.result.state == 12
    store = Store()
    head_end(store).note_image(DEVICE, ImageEntry(IMAGE.identifier, IMAGE.digest, 190, "transferring"))
    done = run(update_firmware(head_end(store), DEVICE, IMAGE, options=QUICK), [image(state=5), error(0x10), image(state=5)])
    assert done.error.error == 0x10


def test_a_refused_block():
    script = [status(0), Answered(0, 2), error(0x15)]
    done = run(update_firmware(head_end(), DEVICE, IMAGE), script)
    assert done.error.error == 0x15
    assert done.asked[-1].command is None
    options = UpdateOptions(confirmed=True)
    done = run(update_firmware(head_end(), DEVICE, IMAGE, options=options), [status(0), error(0x15)])
    assert done.error.error == 0x15


def test_an_answer_about_another_image():
    options = UpdateOptions(confirmed=True)
    done = run(update_firmware(head_end(), DEVICE, IMAGE, options=options), [status(0), image(identifier=b"V9")])
    assert isinstance(done.error, DecodeError)
    assert isinstance(run(read_image_state(b"V1"), [image(identifier=b"V9", state=3)]).error, DecodeError)
    assert isinstance(run(read_image_state(b"V1"), [image()]).error, DecodeError)


def test_a_device_that_never_finishes():
    device = Device()
    device.slow = 10_000
    done = update(device, options=UpdateOptions(poll=100))
    assert isinstance(done.error, ExchangeFailed)
    assert done.error.reason == "busy"


def test_a_device_that_falls_silent_while_it_validates():
    device = Device(drop=set(range(9, 100)))
    done = update(device, options=UpdateOptions(poll=100))
    assert isinstance(done.error, ExchangeFailed)
    assert done.error.reason == "no-answer"


@pytest.mark.parametrize("img", [FirmwareImage(b"V", b""), FirmwareImage(b"V", b"x", 0), FirmwareImage(b"V", bytes(65536), 1)])
def test_images_that_are_none(img):
    with pytest.raises(OutOfRange):
        result(update_firmware(head_end(), DEVICE, img))


def test_a_poll_that_takes_no_time():
    assert isinstance(run(update_firmware(head_end(), DEVICE, IMAGE, options=UpdateOptions(poll=0))).error, OutOfRange)


def test_blocks_of_an_image():
    assert IMAGE.block_count == 6
    assert len(IMAGE.block(5)) == 50
    with pytest.raises(OutOfRange):
        IMAGE.block(6)
    assert "1000 octets" in repr(IMAGE)


# -- terminate -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by_asp10", [True, False])
@pytest.mark.parametrize(("everything", "flags", "state"), [(True, b"\x02", 14), (False, b"\x01", 4)])
def test_terminate(by_asp10, everything, flags, state):
    store = Store()
    head_end(store).note_image(DEVICE, ImageEntry(IMAGE.identifier, IMAGE.digest, 190, "transferring"))
    answer = status(0) if by_asp10 else image()
    procedure = terminate_image(head_end(store), DEVICE, b"V1.2", everything=everything, secured=by_asp10)
    done = run(procedure, [answer, image(state=state)])
    assert done.result == state
    assert flags in done.commands[0]
    assert (head_end(store).journal(DEVICE).image is None) is everything


def test_terminate_refused():
    assert run(terminate_image(head_end(), DEVICE, b"V1"), [error(0x10)]).error.error == 0x10
