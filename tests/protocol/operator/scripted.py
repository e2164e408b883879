"""Procedures against answers that are written down: no link, no device."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from openmetering.codec.address import Address
from openmetering.codec.apl import image_transfer, security_transfer
from openmetering.codec.apl.image_transfer import ImageMessage
from openmetering.codec.apl.security_transfer import KeyEntry, KeyList, SecuredData, SecurityTransfer, StatusResponse
from openmetering.errors import ExchangeFailed
from openmetering.protocol.exchange import Answered
from openmetering.protocol.operator.head_end import HeadEnd
from openmetering.protocol.operator.journal import Journal
from openmetering.protocol.operator.steps import Ask, Pause, Progress, Provide, Step
from openmetering.security import BlockCipher, KeyRing, asp10_mac

DEVICE = Address.parse("XYZ-12345678-55-20")
OTHER = Address.parse("XYZ-87654321-55-20")
APPLICATION_KEY = bytes.fromhex("08154711081547110815471108154711")
WRAPPER_KEY = bytes.fromhex("00112233445566778899AABBCCDDEEFF")
MASTER_KEY = bytes.fromhex("000102030405060708090A0B0C0D0E0F")
NEW_MASTER_KEY = bytes.fromhex("F0E1D2C3B4A5968778695A4B3C2D1E0F")
NEW_APPLICATION_KEY = bytes.fromhex("11" * 16)

Reply = Answered | ExchangeFailed
#: an answer, a failure, or what makes one of the step
Script = Iterable[Reply | Callable[[Ask], Reply]]


class Store:
    """Journals as a disk keeps them: octets, so that nothing is shared with the head-end."""

    def __init__(self) -> None:
        self.disk: dict[Address, bytes] = {}
        self.history: list[Journal] = []
        self.broken = False

    def save(self, journal: Journal) -> None:
        if self.broken:
            raise OSError("disk full")
        self.disk[journal.address] = msgspec.json.encode(journal)
        self.history.append(journal)

    def load(self) -> list[Journal]:
        return [msgspec.json.decode(octets, type=Journal) for octets in self.disk.values()]


def ring(*extra: tuple[bytes, int, int]) -> KeyRing:
    """Application keys 18..27 and wrapper keys, version 0, and more keys (octets, KeyID, version)."""
    keys = KeyRing()
    for key_id in (*range(0x18, 0x28),):
        keys.add(DEVICE.link_octets(), APPLICATION_KEY, key_id, 0)
    for key_id in (0x10, 0x12, 0x14):
        keys.add(DEVICE.link_octets(), WRAPPER_KEY, key_id, 0)
    keys.add(DEVICE.link_octets(), MASTER_KEY, 0, 0)
    keys.add(DEVICE.link_octets(), NEW_MASTER_KEY, 0, 1)
    keys.add(DEVICE.link_octets(), NEW_APPLICATION_KEY, 0x20, 1)
    for octets, key_id, version in extra:
        keys.add(DEVICE.link_octets(), octets, key_id, version)
    return keys


def head_end(store: Store | None = None) -> HeadEnd:
    """A head-end, around what a store holds."""
    if store is None:
        return HeadEnd(ring())
    return HeadEnd(ring(), journals=store.load(), save=store.save)


class Run:
    """What a procedure did: ``steps`` in order, ``result`` or ``error``."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.result: Any = None
        self.error: Exception | None = None

    @property
    def asked(self) -> list[Ask]:
        return [step for step in self.steps if isinstance(step, Ask)]

    @property
    def commands(self) -> list[bytes | None]:
        return [None if ask.command is None else ask.command.payload for ask in self.asked]

    @property
    def pauses(self) -> list[float]:
        return [step.seconds for step in self.steps if isinstance(step, Pause)]

    @property
    def progress(self) -> list[Progress]:
        return [step for step in self.steps if isinstance(step, Progress)]

    @property
    def provided(self) -> list[Provide]:
        return [step for step in self.steps if isinstance(step, Provide)]


def run(procedure: Any, script: Script = ()) -> Run:
    """Drive a procedure to its end; raises AssertionError if the script is too short or too long."""
    done = Run()
    replies = iter(script)
    answer: Answered | None = None
    failure: ExchangeFailed | None = None
    while True:
        try:
            step = procedure.send(answer) if failure is None else procedure.throw(failure)
        except StopIteration as end:
            done.result = end.value
            break
        except Exception as error:
            done.error = error
            break
        done.steps.append(step)
        answer = failure = None
        if isinstance(step, Ask):
            reply = next(replies, None)
            assert reply is not None, f"no answer is written down for {step}"
            if not isinstance(reply, Answered | ExchangeFailed):
                reply = reply(step)
            if isinstance(reply, Answered):
                answer = reply
            else:
                failure = reply
    left = list(replies)
    assert not left, f"{len(left)} answers are left; error {done.error!r}"
    return done


def result(procedure: Any, script: Script = ()) -> Any:
    """The result of a procedure; its error is raised."""
    done = run(procedure, script)
    if done.error is not None:
        raise done.error
    return done.result


def first(procedure: Any) -> bytes:
    """The octets of the first command of a procedure."""
    while True:
        step = procedure.send(None)
        if isinstance(step, Ask):
            procedure.close()
            assert step.command is not None
            return step.command.payload


# -- replies -------------------------------------------------------------------------------------------


def records(text: str, status: int = 0) -> Answered:
    """M-Bus data."""
    return Answered(0, status, "m-bus", bytes.fromhex(text))


def error(code: int) -> Answered:
    """An application error."""
    return Answered(0, 2, "application-error", bytes((code,)))


def lost(delivered: bool | None = None, reason: str = "no-answer") -> ExchangeFailed:
    """No answer."""
    return ExchangeFailed("lost", reason=reason, delivered=delivered)


def _block(ask: Ask) -> security_transfer.SitpBlock:
    assert ask.command is not None
    assert ask.command.protocol == "sitp"
    (block,) = security_transfer.decode(ask.command.payload).blocks
    return block


def sitp(*blocks: security_transfer.SitpBlock, status: int = 0) -> Answered:
    """A SITP answer."""
    return Answered(0, status, "sitp", SecurityTransfer(blocks).encode())


def status(code: int) -> Callable[[Ask], Reply]:
    """DSI 22 with a status."""
    return lambda ask: sitp(_block(ask).answer(0x22, StatusResponse(code).encode()), status=0 if code < 2 else 2)


def secured(apdu: str | bytes, *, key: bytes = APPLICATION_KEY, counter: int | None = None) -> Callable[[Ask], Reply]:
    """DSI 32 with an APDU, proven."""
    octets = bytes.fromhex(apdu) if isinstance(apdu, str) else apdu

    def reply(ask: Ask) -> Reply:
        block = _block(ask)
        return sitp(_proven(block, octets, key, counter))

    return reply


def _proven(block: security_transfer.SitpBlock, apdu: bytes, key: bytes, counter: int | None) -> security_transfer.SitpBlock:
    data = block.read()
    assert isinstance(data, SecuredData)
    number = data.counter if counter is None else counter
    mac = asp10_mac(BlockCipher(key), number, data.target_time, data.pid, apdu)
    return block.answer(0x32, SecuredData(data.target_time, number, data.pid, apdu, mac).encode())


def again(payload: bytes, apdu: str) -> Answered:
    """The answer to a container that was sent before: what REQ-UD2 brings."""
    (block,) = security_transfer.decode(payload).blocks
    return sitp(_proven(block, bytes.fromhex(apdu), APPLICATION_KEY, None))


def counters(*entries: tuple[int, int, int]) -> Callable[[Ask], Reply]:
    """DSI 23: KeyID, KeyVersion, key counter."""
    content = KeyList(tuple(KeyEntry(*entry) for entry in entries)).encode()
    return lambda ask: sitp(msgspec.structs.replace(_block(ask).answer(0x23, content), header=b"\xff\xff"))


def active(*entries: tuple[int, int]) -> Callable[[Ask], Reply]:
    """DSI 21: KeyID, KeyVersion."""
    content = KeyList(tuple(KeyEntry(*entry) for entry in entries)).encode()
    return lambda ask: sitp(msgspec.structs.replace(_block(ask).answer(0x21, content), header=b"\xff\xff"))


ACKNOWLEDGED = Answered(0, 0)


def image(**fields: Any) -> Callable[[Ask], Reply]:
    """The answer to an image command."""

    def reply(ask: Ask) -> Reply:
        assert ask.command is not None
        message = image_transfer.decode(ask.command.payload)
        own = {"function": message.function | 0x80, "identifier": message.identifier, **fields}
        return Answered(0, 0, "image", ImageMessage(**own).encode())

    return reply


def names(steps: Sequence[Step]) -> list[str]:
    """Protocols of what was asked; "-" for REQ-UD2."""
    return [("-" if step.command is None else step.command.protocol) for step in steps if isinstance(step, Ask)]
