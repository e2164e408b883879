"""From receptions to readings, alarms and news."""

from __future__ import annotations

from decimal import Decimal

import pytest

from openmetering.errors import TransportError
from openmetering.services.headend.bus import DeviceChanged, GatewayChanged, ReadingsStored
from openmetering.services.headend.ingest import IngestReport
from openmetering.storage import Store
from openmetering.storage.database import Database
from openmetering.transport.reception import Reception
from tests.fleet import KEY, radio
from tests.services.headend.desk import Desk, address_of


def test_a_telegram_becomes_a_reading_with_exact_digits(desk: Desk) -> None:
    meter = desk.meter(desk.tenant())
    report = desk.head_end.ingest([desk.reception(radio(1234567))])
    assert report == IngestReport(1, 1, 1, 0, 1, 0)
    (row,) = desk.head_end.readings.latest(meter.address)
    assert (row.value, row.mantissa, row.exponent, row.unit) == ("12345.67", 1234567, -2, "m3")
    assert row.received_at == desk.clock.now.timestamp()


def test_the_same_batch_twice_is_stored_once(desk: Desk) -> None:
    desk.meter(desk.tenant())
    batch = [desk.reception(radio(access_number=number), at=number * 10) for number in range(5)]
    assert desk.head_end.ingest(batch).frames == 5
    again = desk.head_end.ingest(batch)
    assert again == IngestReport(5, 0, 0, 0, 0, 0)
    counts = desk.head_end.store.counts()
    assert (counts.frames, counts.receptions, counts.readings, counts.pending) == (5, 5, 5, 0)


def test_copies_of_other_receivers_are_one_telegram_and_two_levels(desk: Desk) -> None:
    meter = desk.meter(desk.tenant())
    frame = radio()
    report = desk.head_end.ingest(
        [desk.reception(frame, source="roof", rssi=-90.0), desk.reception(frame, source="cellar", rssi=-60.0, at=0.1)]
    )
    assert (report.receptions, report.frames) == (2, 1)
    desk.head_end.ingestor.flush()
    gateways = {gateway.id: gateway.name for gateway in desk.head_end.registry.gateways()}
    heard = [(gateways[one.gateway_id], one.rssi) for one in desk.head_end.registry.receivers(meter.id)]
    assert heard == [("cellar", -60.0), ("roof", -90.0)]


def test_a_gateway_is_named_by_who_hands_over(desk: Desk) -> None:
    desk.head_end.ingest([desk.reception(radio())], gateway="house 1")
    desk.head_end.ingestor.flush()
    assert [gateway.name for gateway in desk.head_end.registry.gateways()] == ["house 1"]
    assert [event.gateway.name for event in desk.told(GatewayChanged)] == ["house 1"]  # type: ignore[attr-defined]


def test_an_unknown_device_is_announced_and_belongs_to_nobody(desk: Desk) -> None:
    desk.hear(radio(number=87654321))
    device = desk.device(87654321)
    assert (device.state, device.tenant_id, device.medium) == ("announced", None, "gas")
    assert device.first_heard == device.last_heard == desk.clock.now
    assert [event.device.address for event in desk.told(DeviceChanged)] == [device.address]  # type: ignore[attr-defined]
    desk.hear(radio(number=87654321, access_number=2), after=10)
    assert len(desk.told(DeviceChanged)) == 1


def test_a_registered_device_becomes_active_when_it_is_read(desk: Desk) -> None:
    meter = desk.meter(desk.tenant())
    assert meter.state == "registered"
    desk.hear(radio())
    assert desk.device().state == "active"
    (event,) = desk.told(ReadingsStored)
    assert event.device.state == "active"  # type: ignore[attr-defined]


def test_times_are_noted_and_written_later(desk: Desk) -> None:
    desk.meter(desk.tenant())
    desk.hear(radio(access_number=1))
    first = desk.clock.now
    desk.hear(radio(access_number=2), after=1)
    assert desk.device().last_heard == first
    desk.head_end.ingestor.flush()
    assert desk.device().last_heard == desk.clock.now
    desk.hear(radio(access_number=3), after=6)  # more than five seconds after the last flush
    assert desk.device().last_heard == desk.clock.now
    assert desk.device().first_heard == first


def test_closing_writes_what_was_noted(desk: Desk) -> None:
    desk.meter(desk.tenant())
    desk.hear(radio(access_number=1))
    desk.hear(radio(access_number=2), after=1)
    desk.head_end.ingestor.close()
    assert desk.device().last_heard == desk.clock.now


def test_events_carry_telegram_and_readings(desk: Desk) -> None:
    meter = desk.meter(desk.tenant())
    desk.hear(radio(4711), rssi=-55.5)
    (event,) = desk.told(ReadingsStored)
    assert isinstance(event, ReadingsStored)
    assert (event.device.id if event.device else None) == meter.id
    assert [reading.value for reading in event.readings] == ["47.11"]
    assert event.telegram.records[0].value == Decimal("47.11")
    assert (event.rssi, event.source) == (-55.5, "stick")
    assert event.received_at == desk.clock.now.timestamp()


def test_what_was_raw_when_the_process_died_is_taken_up(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.meter(desk.tenant())

    def dies(self: Store, results: object) -> int:
        raise TransportError("no space left", code="storage.failed")

    with monkeypatch.context() as patch:
        patch.setattr(Store, "record", dies)
        with pytest.raises(TransportError):
            desk.head_end.ingest([desk.reception(radio())])
    assert desk.head_end.store.counts().pending == 1
    # the same batch again, as a gateway does that got no acknowledgement
    report = desk.head_end.ingest([desk.reception(radio())])
    assert (report.frames, report.decoded, report.readings) == (1, 1, 1)
    assert desk.head_end.store.counts().pending == 0


def test_a_new_process_takes_up_what_the_old_one_left(monkeypatch: pytest.MonkeyPatch) -> None:
    with Database.open(":memory:") as database:
        desk = Desk(database)
        desk.meter(desk.tenant())
        with monkeypatch.context() as patch:
            patch.setattr(Store, "record", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                desk.head_end.ingest([desk.reception(radio())])
        desk.head_end.store.close()
        after = Desk(database, clock=desk.clock)
        assert after.head_end.recover().decoded == 1
        assert after.head_end.recover() == IngestReport()
        assert after.device().state == "active"
        after.close()


def test_a_failed_transaction_leaves_memory_and_database_alike(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    meter = desk.meter(desk.tenant())
    registry = desk.head_end.registry
    with monkeypatch.context() as patch:
        patch.setattr(type(registry), "step", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            desk.hear(radio(status=0x08))
    assert desk.device().state == "registered"
    assert not desk.head_end.alarms.is_open(meter.id, "abnormal")
    desk.hear(radio(status=0x08))
    assert desk.device().state == "active"


def test_counters_are_kept_and_a_replay_is_found(desk: Desk) -> None:
    tenant = desk.tenant()
    meter = desk.meter(tenant)
    desk.vault.add(address_of(), KEY, 0, tenant_id=tenant)
    old = radio(1000, profile="B", counter=100)
    desk.hear(old)
    desk.hear(radio(1100, profile="B", counter=101, access_number=2), after=60)
    assert desk.head_end.store.counters().entries[0].peer == 101
    desk.hear(old, after=600)
    assert [alarm.kind for alarm in desk.head_end.alarms.open_of(meter.id)] == ["replay"]
    values = [row.value for row in desk.head_end.readings.between(meter.address, None, None, None, 100)]
    assert values == ["10.00", "11.00"]


def test_uses_of_keys_are_counted(desk: Desk) -> None:
    tenant = desk.tenant()
    desk.meter(tenant)
    made = desk.vault.add(address_of(), KEY, 0, tenant_id=tenant)
    for number in range(3):
        desk.hear(radio(profile="A", access_number=number), after=10)
    assert desk.vault.find(made.id).uses == 3  # type: ignore[union-attr]


def test_with_two_keys_the_one_that_opens_is_counted(desk: Desk) -> None:
    tenant = desk.tenant()
    desk.meter(tenant)
    other = desk.vault.add("ELS-12345678-33", bytes(16), 0, tenant_id=tenant)
    right = desk.vault.add("*", KEY, 0, tenant_id=tenant)
    desk.hear(radio(profile="A"))
    uses = {info.id: info.uses for info in desk.vault.keys().items}
    assert uses == {other.id: 0, right.id: 1}


def test_a_line_may_bring_its_key_and_a_broken_one_counts_as_missing(desk: Desk) -> None:
    now = desk.clock.now.timestamp()
    with_key = Reception(radio(profile="A"), now, "file", key=KEY.hex())
    broken = Reception(radio(profile="A", number=2), now, "file", key="no key")
    report = desk.head_end.ingest([with_key, broken])
    assert (report.decoded, report.failed) == (1, 1)


def test_frames_without_sender_are_kept_and_told(desk: Desk) -> None:
    report = desk.head_end.ingest([desk.reception(b"\x10\x5b\x01\x5c\x16"), desk.reception(b"nonsense")])
    assert report.frames == 2
    assert desk.head_end.registry.all_devices() == []
    assert [event.device for event in desk.told(ReadingsStored)] == [None, None]  # type: ignore[attr-defined]


def test_an_empty_batch_is_no_work(desk: Desk) -> None:
    assert desk.head_end.ingest([]) == IngestReport()


def test_late_keys_read_the_past(desk: Desk) -> None:
    tenant = desk.tenant()
    meter = desk.meter(tenant)
    for number in range(4):
        desk.hear(radio(100 + number, profile="A", access_number=number), after=900)
    assert desk.head_end.readings.latest(meter.address) == []
    desk.admin.add_key(address_of(), KEY.hex(), tenant_id=tenant)
    desk.head_end.tick()
    values = [row.value for row in desk.head_end.readings.between(meter.address, None, None, None, 100)]
    assert values == ["1.00", "1.01", "1.02", "1.03"]
    assert "decode again: telegrams" in desk.actions()
    desk.head_end.tick()  # nothing is left to do
    assert desk.actions().count("decode again: telegrams") == 1


def test_a_redecoding_that_fails_is_tried_again(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    tenant = desk.tenant()
    desk.meter(tenant)
    desk.hear(radio(profile="A"))
    desk.admin.add_key(address_of(), KEY.hex(), tenant_id=tenant)
    with monkeypatch.context() as patch:
        patch.setattr(Store, "redecode", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            desk.head_end.tick()
    desk.head_end.tick()
    assert desk.head_end.store.counts().telegrams == {"decoded": 1}


def test_a_retired_key_opens_the_past_only(desk: Desk) -> None:
    tenant = desk.tenant()
    desk.meter(tenant)
    made = desk.admin.add_key(address_of(), KEY.hex(), tenant_id=tenant)
    frame = radio(profile="A")
    desk.hear(frame)
    desk.admin.retire_key(made.id)
    desk.hear(radio(profile="A", access_number=2), after=60)
    assert desk.head_end.store.counts().errors == {"key.missing": 1}
    again = desk.head_end.ingestor.examine_again(frame, desk.clock.now.timestamp())
    assert again.error is None
