"""Procedures of jobs step by step, with answers that no device of the simulated world gives."""

from __future__ import annotations

from typing import cast

import pytest

from openmetering.codec.address import Address
from openmetering.errors import KeyNotFound, NotRepresentable
from openmetering.protocol.exchange import Answered
from openmetering.protocol.operator.head_end import HeadEnd
from openmetering.protocol.operator.steps import Ask, Procedure
from openmetering.security import KeyRing
from openmetering.services.headend.jobs.kinds import KINDS, Task, read_parameters
from openmetering.services.headend.jobs.outcomes import Outcome

DEVICE = Address.parse("ELS-12345678-33-03")
NOW = 1_782_000_000.0  #: 2026-06-21 00:00 UTC: summer
STANDARD = bytes.fromhex("066D000002D56600")
INVALID = bytes.fromhex("066D808002D56600")


class FixedTask:
    """A task whose time stands still."""

    def __init__(self) -> None:
        self.ring = KeyRing()
        for key_id in (0x10, 0x14, 0x21, 0x22):
            self.ring.add(DEVICE.link_octets(), bytes((key_id,)) * 16, key_id, 0)
        self.head_end = HeadEnd(self.ring)
        self.device = DEVICE
        self.known: list[tuple[int, int]] = []

    def now(self) -> float:
        return NOW

    def new_key(self, key_id: int) -> int:
        return 1

    def renewed(self, key_id: int, version: int) -> None:
        self.known.append((key_id, version))

    def moving(self, address: Address) -> None:
        raise AssertionError(f"{address} is no other address")


def begun(kind: str, parameters: str) -> tuple[Procedure[Outcome], Ask]:
    """A procedure and its first step."""
    procedure = KINDS[kind].make(cast("Task", FixedTask()), read_parameters(kind, parameters))
    step = procedure.send(None)
    assert isinstance(step, Ask)
    return procedure, step


def asked(step: object) -> tuple[str, bytes]:
    assert isinstance(step, Ask)
    assert step.command is not None
    return step.command.protocol, step.command.payload


def test_a_device_that_has_lost_its_time_is_set_all_the_same() -> None:
    procedure, step = begun("clock", '{"action": "set", "zone": "Europe/Berlin", "summer": true}')
    assert asked(step) == ("application-reset", b"")
    step = procedure.send(Answered(0, 0, "m-bus", INVALID))
    protocol, payload = asked(step)
    assert protocol == "sitp"
    assert b"\x00" in payload
    procedure.close()


def test_a_gateway_corrects_a_clock() -> None:
    procedure, _ = begun("clock", '{"action": "correct", "by_gateway": true}')
    protocol, payload = asked(procedure.send(Answered(0, 0, "m-bus", INVALID)))
    assert (protocol, payload[0]) == ("clock", 3)
    with pytest.raises(StopIteration) as end:
        procedure.send(Answered(1, 0, "m-bus", b"\x2f"))
    outcome: Outcome = end.value.value
    assert outcome.values == {"difference_before": None}
    assert outcome.words[0].startswith("sent")


def test_a_gateway_adjusts_a_clock() -> None:
    procedure, step = begun("clock", '{"action": "adjust", "seconds": -7, "by_gateway": true}')
    assert asked(step)[0] == "clock"
    with pytest.raises(StopIteration) as end:
        procedure.send(Answered(1, 0, "m-bus", b"\x2f"))
    assert "-7 s" in end.value.value.words[0]


def test_a_key_that_nobody_wraps_or_has() -> None:
    with pytest.raises(NotRepresentable, match="no wrapper key"):
        begun("keys", '{"action": "renew", "key_id": 200}')
    with pytest.raises(KeyNotFound):
        begun("keys", '{"action": "renew", "key_id": 38}')


@pytest.mark.parametrize(("address", "words"), [("FFFF-FFFFFFFF-FF-FF", "already"), ("ELS-1234567A-33-03", "other digits")])
def test_an_address_that_is_none_or_is_there_already(address: str, words: str) -> None:
    with pytest.raises(NotRepresentable, match=words):
        begun("meter-address", f'{{"address": "{address}"}}')


def test_an_index_is_read_in_a_form_that_every_device_knows() -> None:
    assert asked(begun("index", "{}")[1]) == ("m-bus", bytes.fromhex("00900F"))
    assert asked(begun("index", '{"header": "0413"}')[1]) == ("m-bus", bytes.fromhex("00930F"))


def test_consumer_information_is_asked_for_with_the_octets_that_were_given() -> None:
    procedure, step = begun("consumer", '{"coding": "1200"}')
    assert asked(step) == ("application-reset", bytes.fromhex("1200"))
    with pytest.raises(StopIteration) as end:
        procedure.send(Answered(0, 0, "m-bus", bytes.fromhex("0C1327048502")))
    assert end.value.value.words == ("a display shows: 1 values",)
