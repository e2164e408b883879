"""Why do I receive nothing? Every stage can be the one that stops."""

from __future__ import annotations

import pytest

from openmetering.errors import InputError, TransportError
from openmetering.security import KeyRing
from openmetering.services.gatewayd.diagnosis import Diagnosis, Stage, of_health
from openmetering.services.gatewayd.health import Counts, SourceHealth, SourceState, crc_of, mode_of
from openmetering.transport.reception import BadLine, Notice, Reception
from tests.fleet import KEY, bare_wired, compact, radio, wired, with_crc

NOW = 1_700_000_000.0


def heard(frame: bytes, mode: str | None = "T", crc: bool | None = True, **more: object) -> Reception:
    return Reception(frame, NOW, "x", -70.0, mode=mode, crc=crc, **more)  # type: ignore[arg-type]


def keys(pattern: str = "12345678", key: bytes = KEY) -> KeyRing:
    ring = KeyRing()
    ring.add(pattern, key)
    return ring


BAD = BadLine(1, "x", InputError("no telegram in any known format"))
CRC = BadLine(1, "x", InputError("the receiver says that the CRC is wrong", code="input.crc"))
NOISE = Notice("x", "5 octets skipped", "debug", "input.noise")


def diagnosis(*items: object, ring: KeyRing | None = None, kind: str = "serial", octets: int = 0) -> Diagnosis:
    made = Diagnosis(kind, ring)
    for item in items:
        made.item(item)  # type: ignore[arg-type]
    if octets:
        made.heard(octets)
    return made


def stop(made: Diagnosis) -> Stage | None:
    return next((stage for stage in made.stages() if stage.state == "stops"), None)


def test_all_is_well() -> None:
    made = diagnosis(heard(radio(1)), heard(radio(2, access_number=2), "C"), ring=keys(), octets=99)
    assert made.complete
    assert [stage.text for stage in made.stages()] == [
        "it is open",
        "99 octets",
        "2 frames found",
        "C 1, T 1",
        "1 of 1: ELS-12345678-33-03",
        "1 meter can be opened",
        "2 telegrams of ELS-12345678-33-03",
    ]


def test_behind_the_stage_that_stops_nothing_is_said() -> None:
    states = [stage.state for stage in diagnosis(NOISE).stages()]
    assert states == ["good", "good", "stops", "open", "open", "open", "open"]


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        ("transport.open", "plug it in"),
        ("transport.setup", "?stick="),
        ("transport.extra", "install"),
        ("transport.failed", "look at the message"),
    ],
)
def test_no_device(code: str, remedy: str) -> None:
    made = Diagnosis("serial")
    made.failed(TransportError("it cannot be opened", code=code))
    stage = stop(made)
    assert stage is not None
    assert (stage.name, stage.text) == ("device present", "it cannot be opened")
    assert remedy in stage.remedy


def test_a_device_that_does_not_open_in_time() -> None:
    made = Diagnosis("serial")
    made.waited()
    assert stop(made) == Stage("device present", "stops", "it could not be opened in time", made.stages()[0].remedy)
    other = Diagnosis("tcp")
    other.waited()
    stage = stop(other)
    assert stage is not None
    assert stage.name == "octets"


@pytest.mark.parametrize(
    ("made", "name", "text", "remedy"),
    [
        (diagnosis(Notice("x", "connected")), "octets", "nothing comes in", "mode="),
        (diagnosis(Notice("x", "connected"), kind="wired"), "octets", "nothing comes in", "baud"),
        (diagnosis(Notice("x", "connected"), kind="udp"), "octets", "nothing comes in", "sender"),
        (diagnosis(Notice("x", "1 does not answer", "warning"), kind="wired"), "octets", "1 does not answer", "address="),
        (diagnosis(BAD), "sync", "1 line came, none is a telegram; the last: no telegram", "format"),
        (diagnosis(NOISE, NOISE, octets=10), "sync", "no frame begins in them (2 pieces skipped)", "?stick="),
        (diagnosis(CRC, CRC), "CRC-good frames", "all of 2 frames are damaged", "antenna"),
        (diagnosis(heard(radio(1)[:-1], crc=None)), "CRC-good frames", "all of 1 frame are damaged", "antenna"),
        (diagnosis(heard(bare_wired(), None)), "known meter", "without an address", "secondary"),
        (diagnosis(heard(radio(1)), ring=keys("99999999")), "known meter", "only others are heard: ELS-12345678", "key file"),
        (diagnosis(heard(radio(1, profile="A"))), "key", "no key for ELS-12345678-33-03", "--keys"),
        (diagnosis(heard(radio(1, profile="A")), ring=keys(key=bytes(16))), "key", "does not open ELS-12345678", "renewed"),
        (diagnosis(heard(compact(1))), "decoded", "compact.unknown_format", "explain"),
    ],
)
def test_where_it_stops(made: Diagnosis, name: str, text: str, remedy: str) -> None:
    stage = stop(made)
    assert stage is not None
    assert stage.name == name
    assert text in stage.text
    assert remedy in stage.remedy
    assert not made.complete


def test_one_good_meter_is_enough() -> None:
    made = diagnosis(heard(radio(1)), heard(radio(1, number=22222222, profile="A")), CRC)
    assert made.complete
    texts = {stage.name: stage.text for stage in made.stages()}
    assert texts["CRC-good frames"] == "T 2; 1 damaged"
    assert texts["key"] == "1 meter can be opened; none for ELS-22222222-33-03"


def test_many_meters_are_not_all_listed() -> None:
    made = diagnosis(*(heard(radio(1, number=n)) for n in range(12)))
    assert "and 4 more" in made.stages()[4].text


def test_the_memory_of_a_diagnosis_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openmetering.services.gatewayd.diagnosis._METERS", 2)
    made = diagnosis(*(heard(radio(1, number=n)) for n in range(5)))
    assert len(made._meters) == 2


# -- health ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("item", "whole"),
    [
        (heard(radio(1)), True),
        (heard(radio(1), crc=False), False),
        (heard(radio(1), crc=None), True),
        (heard(with_crc(radio(1)), crc=None, frame_format="A"), True),
        (heard(with_crc(radio(1))[:-1] + b"\x00", crc=None, frame_format="A"), False),
        (heard(with_crc(radio(1)), crc=None), True),
        (heard(wired(1), crc=None), True),
        (heard(b"\x01\x02", crc=None), False),
    ],
)
def test_whole_frames(item: Reception, whole: bool) -> None:
    assert crc_of(item) is whole


def test_modes() -> None:
    assert [mode_of(heard(radio(1), mode)) for mode in ("C", None)] == ["C", "unknown"]
    assert mode_of(heard(wired(1), None)) == "wired"


def test_health() -> None:
    health = SourceHealth("stick", "serial:/dev/x", NOW)
    assert health.snapshot(NOW).state == "starting"
    assert health.snapshot(NOW + 5).silent is None
    health.item(Notice("x", "found a stick"), NOW + 1)
    state = health.snapshot(NOW + 31)
    assert (state.state, state.since, state.silent, state.level_dbm) == ("open", NOW + 1, 30.0, None)
    for second in range(60):
        health.item(heard(radio(second)), NOW + 40 + second)
    health.item(BAD, NOW + 100)
    health.item(CRC, NOW + 100)
    health.item(NOISE, NOW + 100)
    health.item(Notice("x", "low battery", "warning"), NOW + 100)
    state = health.snapshot(NOW + 121)
    assert state.counts == Counts(60, 60, 1, 2, 1, 0, {"T": 60})
    assert (state.last_heard, state.silent, state.level_dbm, state.trouble) == (NOW + 99, 22.0, -70.0, "low battery")
    assert state.per_minute == pytest.approx(30.0)
    assert health.snapshot(NOW + 5_000).per_minute == 0.0
    health.item(Notice("x", "gone", "warning", "transport.lost"), NOW + 200)
    assert (health.snapshot(NOW + 201).state, health.snapshot(NOW + 201).counts.failures) == ("failed", 1)
    health.opened(NOW + 210)
    health.ended(NOW + 220)
    assert health.snapshot(NOW + 230).state == "ended"


def health_of(state: str, at: str = "serial:/dev/x", trouble: str = "", **counts: object) -> SourceState:
    return SourceState("s", at, state, NOW, trouble=trouble, counts=Counts(**counts))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("state", "stops"),
    [
        (health_of("failed", trouble="unplugged"), "device present"),
        (health_of("open"), "octets"),
        (health_of("open", "mbus+tcp://h:1", "1: no-answer"), "octets"),
        (health_of("open", "tcp://h:1", bad_lines=3), "sync"),
        (health_of("open", noise=3), "sync"),
        (health_of("open", receptions=3, crc_bad=3, by_mode={"T": 3}), "CRC-good frames"),
        (health_of("open", receptions=3, crc_good=3, by_mode={"T": 3}), None),
    ],
)
def test_stages_of_a_running_gateway(state: SourceState, stops: str | None) -> None:
    stages = of_health(state)
    assert len(stages) == 4
    assert next((stage.name for stage in stages if stage.state == "stops"), None) == stops
