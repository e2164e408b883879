"""Use cases 00, 01, 03, 04, 06, 07, 12, 14 and 20: success, refusals, limits, lost answers."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pytest

from openmetering.codec.address import Address
from openmetering.codec.apl.records import parse
from openmetering.errors import DecodeError, ExchangeFailed, NotRepresentable, OmsError, OutOfRange, Refused
from openmetering.protocol.operator import (
    adapter,
    billing,
    clock,
    conformance,
    consumer,
    disconnector,
    registration,
    selection,
    supervision,
)
from openmetering.protocol.operator.differences import DIFFERENCES, differences, require_use_case
from openmetering.protocol.operator.tags import action_vib, command_header, find, require, vib_octets
from openmetering.security import AddressPattern, KeyRing
from openmetering.telegram.model import SecurityReport
from openmetering.wire.types import MeterTime
from tests.protocol.operator.scripted import (
    ACKNOWLEDGED,
    DEVICE,
    OTHER,
    counters,
    error,
    head_end,
    lost,
    names,
    records,
    result,
    run,
    secured,
    status,
)

LOST = [lost(None), records("2F")]


@pytest.fixture
def office():
    return head_end()


def raised(procedure, script, kind=OmsError):
    done = run(procedure, script)
    assert isinstance(done.error, kind), done.error
    return done.error


# -- differences -------------------------------------------------------------------------------------------


def test_both_releases():
    assert set(DIFFERENCES) == {"4.3.3", "5.0.1"}
    assert differences("5.0.1").use_cases - differences("4.3.3").use_cases == {"UC-07", "UC-12", "UC-14", "UC-20"}
    with pytest.raises(NotRepresentable, match=r"4\.3\.3 or 5\.0\.1"):
        differences("4.1.2")
    with pytest.raises(NotRepresentable, match="UC-14 is not defined"):
        require_use_case("4.3.3", "UC-14")


@pytest.mark.parametrize(
    "make",
    [
        lambda h: consumer.read_consumer_information(b"\x12", issue="4.3.3"),
        lambda h: billing.read_due_dates(issue="4.3.3"),
        lambda h: billing.read_ownership_number(issue="4.3.3"),
        lambda h: billing.set_next_due_date(h, DEVICE, dt.date(2026, 1, 2), today=dt.date(2026, 1, 1), issue="4.3.3"),
        lambda h: billing.set_ownership_number(h, DEVICE, "12", issue="4.3.3"),
        lambda h: selection.select_data(h, DEVICE, 7, issue="4.3.3"),
        lambda h: adapter.set_meter_address(h, DEVICE, OTHER, issue="4.3.3"),
        lambda h: adapter.read_index("VM1!", b"\x13", issue="4.3.3"),
        lambda h: adapter.change_index(h, DEVICE, "VM1!", b"\x0a\x13", "add", Decimal(1), issue="4.3.3"),
        lambda h: clock.set_clock(h, DEVICE, MeterTime("M", relative=5), issue="4.3.3"),
    ],
)
def test_what_433_does_not_know_is_not_sent(office, make):
    done = run(make(office))
    assert isinstance(done.error, NotRepresentable)
    assert done.steps == []


# -- tags ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tag", "action", "field", "octets"),
    [
        ("DT2!D", "get", 0, "40EC0F"),
        ("DT2!N", "get", 0, "40ECFE0F"),
        ("DT2!N", "set", 2, "42ECFE00"),
        ("ID4!", "get", 0, "00FD910F"),
        ("ID4!", "set", 11, "0BFD9100"),
        ("MM6!", "set", 1, "01FDFD8000"),
        ("DP3!", "arl", 0, "00FDBC0C"),
        ("MM8!", "drl", 0, "00FDF40D"),
        ("MM4!", "arl", 0, "00FDAA0C"),
        ("VM1!D", "arl", 0, "40900C"),
        ("ID2!", "set", 7, "07F900"),
        ("PH1!", "arl", 0, "00FC0C024870"),
    ],
)
def test_headers_of_commands(tag, action, field, octets):
    """Printed in Annex M and Annex B, or following from B.1.4."""
    assert command_header(tag, action, field) == bytes.fromhex(octets)


def test_tags_that_are_none():
    for call in (lambda: vib_octets("XX1!"), lambda: vib_octets("XMM2!"), lambda: action_vib(b"\x13", "jump")):
        with pytest.raises(NotRepresentable):
            call()


def test_every_action_octet():
    assert action_vib(b"\x13", "not") == b"\x93\x06"
    assert action_vib(b"\xfd\x11", "clr") == b"\xfd\x91\x07"


def test_a_record_is_found_by_its_tag_whatever_its_subunit():
    parsed = parse(bytes.fromhex("42EC7E1F118140FD1F0201FD1A01")).records
    assert find(parsed, "DC1!").raw == b"\x02"
    assert find(parsed, "DT2!D") is None
    assert require(parsed, "DT2!N").raw == bytes.fromhex("1F11")
    with pytest.raises(DecodeError, match="MM3!"):
        require(parsed, "MM3!")


# -- UC-00 ---------------------------------------------------------------------------------------------------

SHORT, LONG = "04FD9F1D40324242", "0DFD9F1DA2C033" + "43" * 160
GOOD = {
    0x30: error(0x15),
    0x31: records("2F"),
    0x32: records(SHORT + "2F2F"),
    0x33: records("0DFD9F1D044033" + "4343"),
    0x34: records("06FD9F1D403424232221"),
}


def test_conformance_passes():
    done = run(conformance.conformance_test(), GOOD.values())
    report = done.result
    assert report.passed
    assert not report.secured
    assert [octets[:6].hex() if octets[0] == 2 else octets[:7].hex() for octets in done.commands] == [
        "02fd9f1d4030",
        "02fd9f1d4031",
        "02fd9f1d4032",
        "02fd9f1d4033",
        "0dfd9f1d504034",
    ]
    assert len(done.commands[-1]) == 5 + 80
    assert done.commands[-1].endswith(bytes((0x25, 0x24, 0x23, 0x22, 0x21)))
    assert done.progress[0].text == "test function 30h"


@pytest.mark.parametrize(
    ("function", "answer", "words"),
    [
        (0x30, records("2F"), "did not refuse"),
        (0x30, error(0x11), "11h"),
        (0x31, error(0x15), "15h"),
        (0x32, records("04FD9F1D40324243"), "expected 04 FD 9F 1D 40 32 42 42"),
        (0x32, records("04FD9F1D40"), "expected"),
        (0x33, records("2F"), "variable length"),
        (0x33, records("0DFD9F1D02403343"), "LVAR announces 2 octets, 3 are there"),
        (0x33, records("0DFD9F1D03403443"), "expected RC1"),
        (0x33, records("0DFD9F1D0340334443"), "expected RC1"),
        (0x34, records("06FD9F1D403424232220"), "expected 06 FD 9F 1D 40 34 24 23 22 21"),
        (0x32, ACKNOWLEDGED, "protocol none"),
    ],
)
def test_conformance_finds_what_is_wrong(function, answer, words):
    report = result(conformance.conformance_test(functions=[function]), [answer])
    assert not report.passed
    (check,) = report.checks
    assert check.function == function
    assert words in check.words


def test_rc1_with_bit_7_is_copied():
    report = result(conformance.conformance_test(functions=[0x33], rc1=0xC0), [records(LONG)])
    assert report.passed


def test_the_misprint_of_release_a():
    """LVAR A1h in front of 162 octets passes as release A, not as release C."""
    answer = "0DFD9F1DA1C033" + "43" * 160
    for issue, passed in (("4.3.3", True), ("5.0.1", False)):
        report = result(conformance.conformance_test(functions=[0x33], rc1=0xC0, issue=issue), [records(answer)])
        assert report.passed is passed


def test_conformance_under_key_1f(office):
    script = [error(0x15), status(0), secured(SHORT), secured(LONG.replace("C033", "4033")), secured("06FD9F1D403424232221")]
    done = run(conformance.conformance_test(office, DEVICE), script)
    assert done.result.passed
    assert done.result.secured
    assert all(octets[6] == 0x1F for octets in done.commands)


def test_a_device_that_refuses_the_plain_form():
    report = result(conformance.conformance_test(functions=[0x32]), [error(0x22)])
    assert "inadequate security method" in report.checks[0].words


def test_a_long_pattern():
    assert len(conformance.xct1(0x34, pattern=189)) == 7 + 189
    assert set(conformance.xct1(0x34, pattern=189)[7:]) <= set(range(0x20, 0x7F))


@pytest.mark.parametrize(
    "call",
    [
        lambda: conformance.xct1(0x32, rc1=0x41),
        lambda: conformance.xct1(0x40),
        lambda: conformance.xct1(0x34, pattern=3),
        lambda: conformance.xct1(0x34, pattern=190),
    ],
)
def test_conformance_commands_that_are_none(call):
    with pytest.raises(NotRepresentable):
        call()


# -- UC-01 ---------------------------------------------------------------------------------------------------


def test_who_is_accepted():
    octets = DEVICE.link_octets()
    keys = KeyRing()
    keys.add(octets, bytes(16))
    sealed, broken = SecurityReport("B", 7, "decrypted", "mac"), SecurityReport("B", 7, "key-missing")
    found = registration.Found(DEVICE, security=sealed)
    exact, other = AddressPattern.exact(octets), AddressPattern.exact(OTHER.link_octets())
    cases = [
        (found, {}, "accept"),
        (found, {"wanted": [exact, other], "keys": keys}, "accept"),
        (found, {"wanted": [other]}, "foreign"),
        (found, {"known": {DEVICE}}, "known"),
        (found, {"keys": KeyRing()}, "unreadable"),
        (registration.Found(DEVICE), {"keys": KeyRing()}, "accept"),
        (registration.Found(DEVICE, security=broken), {}, "unreadable"),
    ]
    for device, options, verdict in cases:
        decision = registration.decide(device, **options)
        assert decision.verdict == verdict
        assert decision.confirm is (verdict in ("accept", "known"))
        assert str(DEVICE) in decision.words


def test_the_first_reading_of_a_slave():
    found = registration.Found(DEVICE, primary=5)
    done = run(registration.read_for_registration(found), [records("0C7804030201" + "0C1327048502")])
    assert names(done.steps) == ["-"]
    assert done.result.fabrication == "01020304"
    assert len(done.result.records) == 2


def test_the_first_reading_of_a_radio_meter():
    """SND-IR brings the data: nothing is asked."""
    made = registration.first_reading(registration.Found(DEVICE, records=tuple(parse(bytes.fromhex("0C1327048502")).records)))
    assert made.fabrication is None
    assert len(made.records) == 1


# -- UC-03 ---------------------------------------------------------------------------------------------------


def test_read_disconnector():
    done = run(disconnector.read_disconnector(), [records("01FD1F0201FD1A00")])
    assert done.result == disconnector.DisconnectorState(2, 0)
    assert names(done.steps) == ["application-reset"]
    assert done.commands == [b""]
    assert result(disconnector.read_disconnector(), [records("2F")]) == disconnector.DisconnectorState(None, None)


def test_set_disconnector_echo(office):
    """N.12.3: the answer echoes the command; DC2! is missing in it."""
    found = result(disconnector.set_disconnector(office, DEVICE, "disconnected"), [secured("01FD1F00")])
    assert found == disconnector.SetDisconnector(disconnector.DisconnectorState(0, None), False, "answer")


def test_set_disconnector_after_a_lost_answer_reads_the_state(office):
    script = [*LOST, counters((0x20, 0, 1)), records("01FD1F0101FD1A01")]
    found = result(disconnector.set_disconnector(office, DEVICE, "connected"), script)
    assert found == disconnector.SetDisconnector(disconnector.DisconnectorState(1, 1), False, "counter")


def test_a_delayed_command(office):
    done = run(disconnector.set_disconnector(office, DEVICE, "connected", delay=45), [status(1)])
    assert done.commands[0][12:17] == bytes.fromhex("2D00000030")
    assert done.result.scheduled
    done = run(disconnector.set_disconnector(office, DEVICE, "connected", delay=45), [*LOST, counters((0x20, 0, 2))])
    assert (done.result.scheduled, done.result.proof) == (True, "counter")


@pytest.mark.parametrize("code", [0x10, 0x11, 0x15, 0x20, 0x22])
def test_disconnector_refusals(office, code):
    assert raised(disconnector.set_disconnector(office, DEVICE, "released"), [error(code)], Refused).error == code


@pytest.mark.parametrize("code", [0x19, 0x23])
def test_disconnector_status_refusals(office, code):
    assert raised(disconnector.set_disconnector(office, DEVICE, "released", delay=7), [status(code)], Refused).status == code


def test_a_state_that_is_none(office):
    done = run(disconnector.set_disconnector(office, DEVICE, "half open"))
    assert isinstance(done.error, NotRepresentable)
    assert office.journal(DEVICE).counters == ()


# -- UC-04 ---------------------------------------------------------------------------------------------------


def test_read_clock():
    assert result(clock.read_clock(), [records("046D2D0D1D32")]).isoformat() == "2024-02-29T13:45"
    for text in ("2F", "046DFFFFFFFF"):
        raised(clock.read_clock(), [records(text)], DecodeError)


def test_gateway_adjustments():
    done = run(clock.adjust_by_gateway(-60), [records("2F")])
    assert done.commands == [bytes.fromhex("02000100" + "00" * 6 + "2F2F2F2F")]
    done = run(clock.adjust_by_gateway(30, full=False), [records("2F")])
    assert done.commands == [bytes.fromhex("011E0000")]
    done = run(clock.correct_by_gateway(MeterTime("J", hour=11, minute=48, second=59), full=False), [records("2F")])
    assert done.commands == [bytes.fromhex("033B300B")]


@pytest.mark.parametrize("code", [0x10, 0x15, 0x11, 0x22])
def test_gateway_adjustments_refused(code):
    assert raised(clock.adjust_by_gateway(60), [error(code)], Refused).error == code


def test_a_gateway_adjustment_is_never_sent_twice():
    for delivered in (None, True):
        done = run(clock.adjust_by_gateway(30), [lost(delivered)])
        assert isinstance(done.error, ExchangeFailed)
        assert done.error.delivered is delivered
        assert "after 12 hours" in done.error.message
        assert len(done.asked) == 1
    assert raised(clock.adjust_by_gateway(30), [lost(False)], ExchangeFailed).delivered is False


@pytest.mark.parametrize("seconds", [61, -61, 3600])
def test_limits_are_known_before_sending(office, seconds):
    for procedure in (clock.adjust_by_gateway(seconds), clock.adjust_clock(office, DEVICE, seconds)):
        done = run(procedure)
        assert isinstance(done.error, OutOfRange)
        assert "60 s" in done.error.message
    assert office.journal(DEVICE).counters == ()


def test_beyond_the_limit_the_device_decides(office):
    assert raised(clock.adjust_by_gateway(110, beyond_limit=True), [error(0x15)], Refused).error == 0x15
    assert raised(clock.adjust_clock(office, DEVICE, 110, beyond_limit=True), [error(0x15)], Refused).error == 0x15


def test_head_end_clock_commands(office):
    done = run(clock.correct_clock(office, DEVICE, MeterTime("J", hour=1, minute=2, second=3)), [status(0)])
    assert done.commands[0][6:8] == b"\x21\x00"
    assert done.commands[0][17:22] == bytes.fromhex("0403030201")
    done = run(clock.set_clock(office, DEVICE, MeterTime("M", relative=5)), [status(0)])
    assert done.commands[0][17:21] == bytes.fromhex("04050530")
    assert done.result.status == 0


def test_clock_types_that_do_not_fit(office):
    for procedure in (
        clock.set_clock(office, DEVICE, MeterTime("F", 2024, 1, 1, 0, 0)),
        clock.correct_clock(office, DEVICE, MeterTime("I")),
        clock.correct_by_gateway(MeterTime("G", 2024, 1, 1)),
    ):
        assert isinstance(run(procedure).error, NotRepresentable)


def test_plans():
    assert clock.plan_adjustments(0) == ()
    assert clock.plan_adjustments(60) == (60,)
    assert clock.plan_adjustments(-150) == (-60, -60, -30)


def test_adjust_in_steps(office):
    done = run(clock.adjust_in_steps(office, DEVICE, 150), [status(0)] * 3)
    assert done.result == 3
    assert done.pauses == [12 * 3600, 12 * 3600]
    assert [step.text for step in done.progress] == ["adjust by 60 s", "adjust by 60 s", "adjust by 30 s"]
    done = run(clock.adjust_in_steps(office, DEVICE, 150, wait=1), [status(0), error(0x10)])
    assert isinstance(done.error, Refused)


# -- UC-06 ---------------------------------------------------------------------------------------------------


def test_read_status():
    found = result(supervision.read_status(), [records("02FD971D000402FD74B70B", status=0x1C)])
    assert (found.flags, found.standard_flags, found.status) == (None, 0x400, 0x1C)
    assert found.power_low
    assert found.permanent_error
    assert found.temporary_error
    assert found.battery.value == 2999
    found = result(supervision.read_status(), [records("01FD1705")])
    assert (found.flags, found.standard_flags, found.battery, found.power_low) == (5, None, None, False)
    raised(supervision.read_status(), [records("2F")], DecodeError)


def test_clear_flags(office):
    done = run(supervision.clear_flags(office, DEVICE, 0x0405), [secured("02FD971D0500")])
    assert done.result == supervision.ClearedFlags(None, 5, "answer")
    done = run(supervision.clear_flags(office, DEVICE, 3, standard=False, size=1), [secured("01FD1700")])
    assert done.commands[0][18:-8] == bytes.fromhex("01FD970603")
    assert done.result.flags == 0


@pytest.mark.parametrize("script", [[status(0)], [*LOST, counters((0x24, 0, 1))]], ids=["bare status", "lost"])
def test_what_is_left_is_read(office, script):
    found = result(supervision.clear_all_flags(office, DEVICE), [*script, records("02FD971D0800")])
    assert found.standard_flags == 8


@pytest.mark.parametrize(("mask", "size"), [(0, 2), (0x10000, 2), (1, 5)])
def test_masks_that_are_none(office, mask, size):
    assert isinstance(run(supervision.clear_flags(office, DEVICE, mask, size=size)).error, OutOfRange)


# -- UC-07 ---------------------------------------------------------------------------------------------------


def test_consumer_information_needs_a_coding():
    done = run(consumer.read_consumer_information())
    assert done.error.code == "application.coding"
    done = run(consumer.read_consumer_information(b"\x12\x00"), [records("0C1327048502")])
    assert done.commands == [b"\x12\x00"]
    assert len(done.result) == 1


# -- UC-12 ---------------------------------------------------------------------------------------------------


def test_due_dates():
    done = run(billing.read_due_dates(), [records("426C3F3C"), records("42EC7E5F3C")])
    assert done.commands == [bytes.fromhex("40EC0F"), bytes.fromhex("40ECFE0F")]
    assert done.result == billing.DueDates(dt.date(2025, 12, 31), dt.date(2026, 12, 31))
    found = result(billing.read_due_dates(), [records("426CFFFF"), records("42EC7E0000")])
    assert found == billing.DueDates(None, None)


def _due(office, **options):
    return billing.set_next_due_date(office, DEVICE, dt.date(2026, 12, 31), today=dt.date(2026, 12, 30), **options)


def test_set_due_date(office):
    assert result(_due(office), [secured("42EC7E5F3C")]) == dt.date(2026, 12, 31)
    lost_answer = [*LOST, counters((0x26, 0, 2)), records("42EC7E5F3C")]
    assert result(_due(office), lost_answer) == dt.date(2026, 12, 31)
    raised(_due(office), [secured("42EC7EFFFF")], DecodeError)
    assert raised(_due(office), [error(0x15)], Refused).error == 0x15


def test_a_due_date_lies_in_the_future(office):
    procedure = billing.set_next_due_date(office, DEVICE, dt.date(2026, 1, 1), today=dt.date(2026, 1, 1))
    assert isinstance(run(procedure).error, OutOfRange)


def test_ownership_number(office):
    assert result(billing.read_ownership_number(), [records("0BFD11563412")]) == "123456"
    assert result(billing.read_ownership_number(), [records("02FD113930")]) == "12345"
    done = run(billing.set_ownership_number(office, DEVICE, "00001234"), [secured("0CFD1134120000")])
    assert done.result == "00001234"
    assert done.commands[0][18:-8] == bytes.fromhex("0CFD910034120000")
    assert result(billing.set_ownership_number(office, DEVICE, "12"), [status(0), records("09FD1112")]) == "12"
    for digits in ("123", "", "12A4", "١٢"):
        assert isinstance(run(billing.set_ownership_number(office, DEVICE, digits)).error, OutOfRange)


# -- UC-14 ---------------------------------------------------------------------------------------------------


def test_selection_as_printed(office):
    """Table M.38."""
    procedure = selection.select_data(office, DEVICE, 7, 0, add=["DP3!"], remove=["MM8!"])
    done = run(procedure, [secured("01FDFD007001FD3C0F")])
    assert done.commands[0][18:-8] == bytes.fromhex("01FDFD80007000FDBC0C00FDF40D")
    assert len(done.result.records) == 2


def test_selection_refused_and_lost(office):
    assert raised(selection.select_data(office, DEVICE, 7, add=["DP3!"]), [error(0x03)], Refused).error == 3
    found = result(selection.select_data(office, DEVICE, 7, add=["DP3!"]), [*LOST, counters((0x25, 0, 2))])
    assert found == selection.Selected((), "counter")


def test_applications_above_15_need_octets(office):
    assert run(selection.select_data(office, DEVICE, 18)).error.code == "application.coding"
    done = run(selection.select_data(office, DEVICE, 18, raw=b"\x12\x00"), [status(0)])
    assert done.commands[0][18:-8] == bytes.fromhex("02FDFD80001200")
    assert isinstance(run(selection.select_data(office, DEVICE, 18, raw=bytes(9))).error, NotRepresentable)


# -- UC-20 ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "octets"),
    [
        (Address(0x633A, "12345678", 0x0A, 7), "07F900785634123A630A07"),
        (Address(0xFFFF, "12345678", 0xFF, 0xFF), "07F90078563412FFFFFFFF"),
        (Address(0x633A, "1234FFFF", 0xFF, 0xFF), "07F900FFFF34123A63FFFF"),
    ],
)
def test_addresses_as_printed(office, address, octets):
    done = run(adapter.set_meter_address(office, DEVICE, address), [status(1)])
    assert done.commands[0][18:-8] == bytes.fromhex(octets)
    assert done.result.scheduled


def test_the_delay_of_an_address(office):
    assert isinstance(run(adapter.set_meter_address(office, DEVICE, OTHER, delay=121)).error, OutOfRange)
    done = run(adapter.set_meter_address(office, DEVICE, OTHER, delay=121, beyond_limit=True), [status(0x23)])
    assert done.error.status == 0x23


def test_index(office):
    done = run(adapter.read_index("VM1!", b"\x13"), [records("0C1378563412")])
    assert done.commands == [bytes.fromhex("00930F")]
    assert done.result.value == Decimal("12345.678")
    done = run(adapter.change_index(office, DEVICE, "EW1!", b"\x04\x06", "set", Decimal(120000)), [secured("040678000000")])
    assert done.commands[0][18:-8] == bytes.fromhex("04860078000000")
    assert done.result.index.value == 120000


def test_nothing_is_added_twice(office):
    done = run(
        adapter.change_index(office, DEVICE, "VM1!", b"\x0a\x13", "add", Decimal("0.367")),
        [*LOST, counters((0x27, 0, 1)), records("0C1367050000")],
    )
    assert (done.result.proof, done.result.index.value) == ("counter", Decimal("0.567"))
    assert names(done.steps) == ["sitp", "-", "sitp", "m-bus"]
    assert done.commands[2] == bytes.fromhex("060000090000FFFF")


def test_index_refusals(office):
    change = adapter.change_index(office, DEVICE, "VM1!", b"\x0a\x13", "sub", Decimal("0.367"))
    assert raised(change, [error(0x15)], Refused).error == 0x15
    for header, value, kind in (
        (b"\x0a\x13", Decimal(-1), OutOfRange),
        (b"\x0a\x13", Decimal(100), OutOfRange),
        (b"\x8a\x01\x13", Decimal(1), NotRepresentable),
        (b"\x00\x13", Decimal(1), NotRepresentable),
        (b"\x0a", Decimal(1), NotRepresentable),
    ):
        assert isinstance(run(adapter.change_index(office, DEVICE, "VM1!", header, "add", value)).error, kind)
