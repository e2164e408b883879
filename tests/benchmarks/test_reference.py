"""The benchmark compares equals: reference, general reader, plan and sheet give the same content on the fleets."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from benchmarks import reference
from benchmarks.fleet import FLEETS, LAYOUTS, Device, Fleet, devices, fleet, mixed
from openmetering import Decoder, MeterTime, Record, Telegram, answer_json
from openmetering.telegram.model import TOLERANT
from openmetering.telegram.reading import Reader
from openmetering.telegram.reassembly import Reassembler

METERS, TELEGRAMS = 48, 12


@pytest.fixture(scope="module")
def part() -> Fleet:
    return mixed(METERS, TELEGRAMS)


def general_of(part: Fleet) -> Reader:
    return Reader(part.ring, TOLERANT, Decoder().formats, Reassembler(), None)


def text(value: object) -> str:
    return value.isoformat() if isinstance(value, MeterTime | reference.Date) else str(value)


def facts(record: Record) -> tuple[object, ...]:
    header = record.header
    place = (record.function, header.storage, header.tariff, header.subunit)
    return (header.octets, *place, header.quantity, header.unit, header.qualifiers, record.raw, text(record.value))


def reference_facts(record: reference.Record) -> tuple[object, ...]:
    header = record.header
    place = (header.function, header.storage, header.tariff, header.subunit)
    return (header.octets, *place, header.quantity, header.unit, header.qualifiers, record.raw, text(record.value))


def layers(telegram: Telegram) -> tuple[object, ...]:
    link, transport, ell = telegram.link, telegram.transport, telegram.ell
    assert link is not None
    assert transport is not None
    extended = None if ell is None else (int(ell.communication_control), ell.access_number)
    return int(link.control), extended, transport.ci, transport.access_number, transport.status, int(transport.configuration)


def test_the_reference_reads_what_the_general_reader_reads(part: Fleet) -> None:
    keys = {pattern.octets: key.octets for pattern, key in part.ring}
    read = general_of(part).read
    for frame, _ in part.samples:
        telegram, plain = read(frame), reference.decode(frame, keys)
        assert telegram.error is None
        assert [reference_facts(record) for record in plain.records] == [facts(record) for record in telegram.records]
        assert plain.payload == telegram.payload
        extended, transport = plain.extended_link, plain.transport
        seen = None if extended is None else (extended.communication_control, extended.access_number)
        numbers = (transport.ci, transport.access_number, transport.status, transport.configuration)
        assert (plain.link.control, seen, *numbers) == layers(telegram)
        address = transport.address or plain.link.address
        assert telegram.address is not None
        assert (address.manufacturer, address.identification) == (telegram.address.manufacturer, telegram.address.identification)
        assert (address.version, address.device_type) == (telegram.address.version, telegram.address.device_type)


def test_the_plan_reads_what_the_general_reader_reads(part: Fleet) -> None:
    decoder, read, planned = Decoder(part.ring), general_of(part).read, 0
    for frame, _ in part.samples:
        telegram, expected = decoder.examine(frame), read(frame)
        planned += telegram.plan is not None
        assert telegram.records == expected.records
        assert layers(telegram) == layers(expected)
        assert (telegram.payload, telegram.security, telegram.link) == (expected.payload, expected.security, expected.link)
    assert planned == METERS * (TELEGRAMS - 1), "every telegram but the first of each meter is read by a plan"


@pytest.mark.parametrize("name", FLEETS)
def test_the_sheet_writes_what_the_records_say(name: str) -> None:
    part = fleet(name, 16, 10)
    decoder, read = Decoder(part.ring), general_of(part)
    for frame, key in part.samples:
        expected = answer_json(read.read(frame))
        assert decoder.answer(frame) == (expected, None)
        assert json.loads(expected)["ok"] is True
        assert decoder.answer(frame, key)[1] is None


def sent(device: Device, number: int) -> Sequence[tuple[object, ...]]:
    return [facts(record) for record in device.records(number)]


@pytest.mark.parametrize("name", FLEETS)
def test_what_the_fleet_sends_is_what_is_read(name: str) -> None:
    decoder = Decoder()
    for device in devices(len(LAYOUTS), FLEETS[name]):
        for number in range(4):
            telegram = decoder.decode(device.frame(number), device.key)
            assert [facts(record) for record in telegram.records] == list(sent(device, number))


def test_the_fleet_is_what_the_benchmark_says() -> None:
    part = mixed(METERS, TELEGRAMS)
    assert part.samples == mixed(METERS, TELEGRAMS).samples, "the same on every run"
    assert len(set(part.frames)) == METERS * TELEGRAMS, "no telegram twice"
    assert len({sample.key for sample in part.samples}) == METERS, "a key of its own for every meter"
    assert mixed(METERS, TELEGRAMS, seed=1).samples != part.samples
    assert len(LAYOUTS) == 16
    sizes = {len(layout.fields) for layout in LAYOUTS}
    assert (min(sizes), max(sizes)) == (3, 15)
    assert len({tuple(header for header, _ in layout.fields) for layout in LAYOUTS}) == 16
    assert {7, 6, 4, 2, 3, 8} <= {layout.device_type for layout in LAYOUTS}


def test_values_of_a_meter_move(part: Fleet) -> None:
    device = devices(1)[0]
    first, second = device.records(0), device.records(1)
    moved = [before.header.quantity for before, after in zip(first, second, strict=True) if before.raw != after.raw]
    assert {"volume", "date time"} <= set(moved)
    assert first[0].value < second[0].value, "registers only grow"  # type: ignore[operator]


@pytest.mark.parametrize(
    ("octets", "error"),
    [("00", ValueError), ("0F44AE0C7856341201074447780B134365872A", ValueError), ("0E44AE0C785634120107A0000000", ValueError)],
)
def test_the_reference_refuses_what_it_does_not_know(octets: str, error: type[Exception]) -> None:
    frame = bytearray.fromhex(octets)
    if len(frame) > 1:
        frame[0] = len(frame) - 1
    with pytest.raises(error):
        reference.decode(bytes(frame), {})


def test_the_reference_needs_the_right_key(part: Fleet) -> None:
    frame, _ = part.samples[0]
    keys = {pattern.octets: bytes(16) for pattern, _ in part.ring}
    with pytest.raises(ValueError, match="wrong key"):
        reference.decode(frame, keys)
    with pytest.raises(KeyError):
        reference.decode(frame, {})
