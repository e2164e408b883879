"""Results in words and as values, those too that no device of the simulated world gives."""

from __future__ import annotations

import datetime as dt

import msgspec
import pytest

from openmetering.codec.apl.records import parse
from openmetering.codec.apl.security_transfer import KeyEntry, KeyList
from openmetering.protocol.operator.billing import DueDates
from openmetering.protocol.operator.conformance import ConformanceCheck, ConformanceReport
from openmetering.protocol.operator.disconnector import DisconnectorState, SetDisconnector
from openmetering.protocol.operator.head_end import Confirmation
from openmetering.protocol.operator.supervision import ClearedFlags, Supervision
from openmetering.services.headend.jobs import outcomes
from openmetering.services.headend.jobs.outcomes import Outcome
from openmetering.wire.types import MeterTime

NOW = dt.datetime(2026, 3, 1, 12, 0, 40)


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        ("0C1378563412", "12345.678 m3"),
        ("0C13FFFFFFFF", "value.invalid"),
        ("426CBF31", "2029-01-31"),
        ("0D78034D4C4B", "KLM"),
        ("04FD0B01020304", "67305985"),
        ("0D7F0401020304", "01020304"),
        ("0C8B1500000000", "record.error.no-data-available"),
    ],
)
def test_values_in_words(octets: str, text: str) -> None:
    assert outcomes.value_text(parse(bytes.fromhex(octets)).records[0]) == text


def test_a_command_that_is_executed_later() -> None:
    found = outcomes.confirmed(Confirmation("counter", status=1), "done")
    assert found.words[0] == "accepted; the device will execute it later"
    assert "the answer was lost" in found.words[1]
    later = outcomes.disconnector_set(SetDisconnector(DisconnectorState(None, None), True, "answer"), "connected")
    assert later.words == ("accepted; it will be connected later",)
    assert later.good


def test_a_device_that_took_a_command_and_refused_it() -> None:
    found = outcomes.disconnector_set(SetDisconnector(DisconnectorState(1, 1), False, "counter"), "disconnected")
    assert not found.good
    assert found.words[0] == "the device took the command, yet its control state is connected"
    other = outcomes.disconnector_set(SetDisconnector(DisconnectorState(7, None), False, "counter"), "disconnected")
    assert other.values["control"] == "7"
    silent = outcomes.disconnector_set(SetDisconnector(DisconnectorState(None, 0), False, "answer"), "disconnected")
    assert silent.good


@pytest.mark.parametrize(
    ("told", "words", "seconds"),
    [
        (MeterTime("I", 2026, 3, 1, 12, 0, 40), "as ours", 0),
        (MeterTime("I", 2026, 3, 1, 12, 0, 50), "10 s ahead of ours", 10),
        (MeterTime("F", 2026, 3, 1, 12, 0), "as ours, to the minute", 0),
        (MeterTime("F", 2026, 3, 1, 11, 58), "120 s behind ours, to the minute", -120),
    ],
)
def test_how_far_a_clock_is_off(told: MeterTime, words: str, seconds: int) -> None:
    found = outcomes.clock_read(told, NOW)
    assert found.words[0].endswith(words)
    assert found.values["difference_seconds"] == seconds


def test_flags_that_stay() -> None:
    found = outcomes.cleared(ClearedFlags(None, 4, "answer"), 7)
    assert found.words[0].startswith("cleared, but some")
    assert found.values["standard_flags"] == 4
    assert outcomes.cleared(ClearedFlags(1, None, "answer"), 7).words == (found.words[0],)
    told = outcomes.supervision(Supervision(4, 0, None), 7)
    assert told.values["status_names"]
    battery = parse(bytes.fromhex("02FD740A00")).records[0]
    assert outcomes.supervision(Supervision(0, 0, 0, battery), 7).values["battery"]


def test_keys_without_a_version() -> None:
    found = outcomes.key_list(KeyList((KeyEntry(0x20, 0xFF, 3), KeyEntry(0, 1, None))))
    rows = found.values["keys"]
    assert isinstance(rows, tuple)
    assert [(row["version"], row["counter"]) for row in rows if isinstance(row, dict)] == [(None, 3), (1, None)]


def test_a_conformance_test_that_fails() -> None:
    checks = (ConformanceCheck(0x30, b"", b"\x01", False, "must refuse"), ConformanceCheck(0x31, b"", b"", True))
    found = outcomes.conformance(ConformanceReport(checks, secured=False))
    assert not found.good
    assert found.words == ("conformance test failed: function 30",)


def test_due_dates() -> None:
    found = outcomes.due_dates(DueDates(None, dt.date(2027, 1, 1)))
    assert found.words == ("last due date none, next due date 2027-01-01",)
    assert found.values == {"last": None, "next": "2027-01-01"}


def test_outcomes_are_read_as_they_are_written() -> None:
    found = outcomes.conformance(ConformanceReport((ConformanceCheck(0x31, b"", b"\x01", True),), secured=True))
    assert msgspec.json.decode(msgspec.json.encode(found), type=Outcome) == found
