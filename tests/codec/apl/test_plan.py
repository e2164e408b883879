"""Format plans: the same records as the general parser, record by record, or no match."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openmetering.codec.apl.format import Plan, RecordFormat
from openmetering.codec.apl.records import parse
from openmetering.wire.types import MeterTime
from tests.strategies import messages
from tests.vector_files import octets, own, shared


def same(found, expected):
    """Records are equal in every part, types of numbers included."""
    assert len(found) == len(expected)
    for have, want in zip(found, expected, strict=True):
        assert have.header.octets == want.header.octets
        assert (have.raw, have.lvar) == (want.raw, want.lvar)
        assert type(have.content) is type(want.content)
        assert have.content == want.content
        if isinstance(want.content, Decimal):
            assert str(have.content) == str(want.content)
        assert (have.error, have.number_text()) == (want.error, want.number_text())
        assert have.octets() == want.octets()


def plan_of(data):
    parsed = parse(data)
    assert parsed.fault is None
    return Plan(data, parsed), parsed


def data_places(parsed, length):
    """Octets that belong to values: everything else of a message is fixed in its plan."""
    free = set()
    for offset, record in zip(parsed.offsets, parsed.records, strict=True):
        end = offset + len(record.octets())
        free.update(range(end - len(record.raw), end))
    if parsed.manufacturer_data is not None:
        free.update(range(length - len(parsed.manufacturer_data), length))
    return free


@given(messages())
def test_a_plan_reads_its_own_message(message):
    parts, block = message
    data = b"".join(parts) + block
    plan, parsed = plan_of(data)
    assert plan.matches(data)
    same(plan.read(data), parsed.records)
    assert plan.format == RecordFormat.of(parsed.records)
    assert [header.octets for header in plan.headers] == [record.header.octets for record in parsed.records]
    assert plan.length == len(data)
    assert plan.more_follows is parsed.more_follows
    assert plan.manufacturer_at == (None if parsed.manufacturer_data is None else len(data) - len(block) + 1)


@given(messages(), st.data())
def test_a_plan_reads_other_values_as_the_parser_does(message, draws):
    """Some data octets change in place: the headers still match, every content follows."""
    parts, block = message
    data = b"".join(parts) + block
    plan, parsed = plan_of(data)
    free = sorted(data_places(parsed, len(data)))
    changed = bytearray(data)
    if free:
        for at in draws.draw(st.lists(st.sampled_from(free), max_size=30)):
            changed[at] = draws.draw(st.integers(0, 255))
    other = bytes(changed)
    assert plan.matches(other)
    again = parse(other)
    same(plan.read(other), again.records)
    if plan.manufacturer_at is not None:
        assert other[plan.manufacturer_at :] == again.manufacturer_data


@given(messages(), st.data())
def test_a_plan_rejects_another_structure(message, draws):
    """One changed header, LVAR or filler octet, or another length, is no match."""
    parts, block = message
    data = b"".join(parts) + block
    plan, parsed = plan_of(data)
    assert not plan.matches(data + b"\x2f")
    if not data:
        return
    assert not plan.matches(data[:-1])
    fixed = sorted(set(range(len(data))) - data_places(parsed, len(data)))
    if fixed:
        changed = bytearray(data)
        changed[draws.draw(st.sampled_from(fixed))] ^= draws.draw(st.integers(1, 255))
        assert not plan.matches(bytes(changed))


@given(messages(), messages())
def test_a_match_means_the_same_headers(one, other):
    first, second = (b"".join(parts) + block for parts, block in (one, other))
    plan, _ = plan_of(first)
    if plan.matches(second):
        same(plan.read(second), parse(second).records)


@given(messages(uplink=False))
def test_plans_of_commands(message):
    parts, block = message
    data = b"".join(parts) + block
    parsed = parse(data, uplink=False)
    plan = Plan(data, parsed)
    same(plan.read(data), parsed.records)
    assert [header.action for header in plan.headers] == [record.header.action for record in parsed.records]


@pytest.mark.parametrize("data_field", [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14])
@pytest.mark.parametrize("vif", ["13", "FD17", "6D", "79", "FB1A"])
@given(draws=st.data())
def test_every_kind_of_data(data_field, vif, draws):
    """BCD with letters and signs, invalid dates, NaN and the most negative numbers among them."""
    head = bytes((data_field,)) + bytes.fromhex(vif)
    size = {0: 0, 5: 4, 7: 8, 8: 0, 9: 1, 10: 2, 11: 3, 12: 4, 14: 6}.get(data_field, data_field)
    values = st.binary(min_size=size, max_size=size) | st.sampled_from([b"\xff", b"\x00", b"\x80", b"\xf1", b"\x99"]).map(
        lambda octet: (bytes(max(0, size - 1)) + octet)[:size]
    )
    data = head + draws.draw(values) + b"\x01\x13\x05"
    plan, parsed = plan_of(data)
    same(plan.read(data), parsed.records)
    other = head + draws.draw(values) + b"\x01\x13\x80"
    assert plan.matches(other)
    same(plan.read(other), parse(other).records)


@pytest.mark.parametrize("vector", own("spec/apl_records.toml", "record"))
def test_the_vectors_of_the_records(vector):
    data = octets(vector["hex"])
    uplink = not vector.get("down", False)
    parsed = parse(data, uplink=uplink)
    plan = Plan(data, parsed)
    assert plan.matches(data)
    same(plan.read(data), parsed.records)


def record_kinds(row):
    return row["kind"] in ("apdu-records", "apdu-compact-profile")


@pytest.mark.parametrize("vector", shared("application.json", record_kinds))
def test_the_shared_messages(vector):
    data = octets(vector["hex"])
    plan, parsed = plan_of(data)
    assert plan.matches(data)
    same(plan.read(data), parsed.records)


def test_an_empty_message():
    plan, _ = plan_of(b"")
    assert plan.matches(b"")
    assert not plan.matches(b"\x00")
    assert plan.read(b"") == ()


def test_reading_is_compiled_when_it_is_first_used():
    plan, _ = plan_of(octets("011305"))
    assert plan.read is plan.read
    with pytest.raises(AttributeError, match="Plan has no attribute 'write'"):
        plan.write  # noqa: B018


def test_fillers_and_a_manufacturers_block():
    data = octets("2F2F 011305 2F 0C1427048502 0F AABB")
    plan, _ = plan_of(data)
    other = octets("2F2F 0113FF 2F 0C1499999999 0F 1234")
    assert plan.matches(other)
    first, second = plan.read(other)
    assert (first.value, second.value) == (Decimal("-0.001"), Decimal("999999.99"))
    assert other[plan.manufacturer_at :] == b"\x12\x34"
    assert not plan.matches(octets("2F2F 011305 2F 0C1427048502 1F AABB"))


def test_a_plan_may_be_read_from_the_middle_of_a_frame():
    """The layout is that of the octets given: a plan knows nothing of what stands in front."""
    data = octets("0C1427048502 046D32371F15")
    plan, _ = plan_of(data)
    volume, moment = plan.read(data)
    assert volume.number_text() == "28504.27"
    assert isinstance(moment.value, MeterTime)
    assert moment.value.isoformat() == "2008-05-31T23:50"


def test_lvar_octets_are_part_of_the_layout():
    plan, _ = plan_of(octets("0DFD1103434241"))
    assert plan.matches(octets("0DFD1103444546"))
    assert plan.read(octets("0DFD1103444546"))[0].value == "FED"
    assert not plan.matches(octets("0DFD1104434241"))
    assert not plan.matches(octets("0DFD11C3434241"))
