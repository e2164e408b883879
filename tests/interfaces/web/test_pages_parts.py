"""The parts of pages that decide something: plots, diagnosis, forms, files that wait, news, looks."""

from __future__ import annotations

import asyncio
import base64
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec
import pytest
from litestar.datastructures import UploadFile

from openmetering.errors import InputError
from openmetering.interfaces.web.i18n import Words
from openmetering.interfaces.web.pages import job_forms
from openmetering.interfaces.web.pages.charts import consumption, numbers
from openmetering.interfaces.web.pages.diagnosis import STAGES, Facts, diagnose, recent
from openmetering.interfaces.web.pages.forms import Form
from openmetering.interfaces.web.pages.lists import chosen, part
from openmetering.interfaces.web.pages.live import Gathering, names_of
from openmetering.interfaces.web.pages.looks import (
    alarm_detail,
    device_icon,
    device_tone,
    main_readings,
    scaled,
    shortened,
    shown,
    signal_bars,
    worst,
)
from openmetering.interfaces.web.pages.staging import Staging
from openmetering.interfaces.web.pages.visit import own_path
from openmetering.services.gatewayd.health import Counts, SourceState
from openmetering.services.headend.bus import AlarmChanged, DeviceChanged, GatewayChanged, JobChanged
from openmetering.services.headend.jobs.kinds import KINDS, read_parameters
from openmetering.services.headend.model import Alarm, Device, GatewayInfo, Job, SeriesPoint
from openmetering.storage import ReadingRow

NOW = datetime(2026, 1, 14, 12, tzinfo=UTC)


# -- plots ----------------------------------------------------------------------------------------


def _points(*pairs: tuple[float, str | None]) -> list[SeriesPoint]:
    return [SeriesPoint(NOW + timedelta(hours=hours), value, None, None, 1) for hours, value in pairs]


def test_numbers_of_a_series() -> None:
    found = numbers(_points((2, "3"), (0, "1.5"), (1, None), (3, "text"), (4, "NaN"), (2, "3.5")))
    assert found == [(NOW, Decimal("1.5")), (NOW + timedelta(hours=2), Decimal("3.5"))]


def test_consumption_is_shared_between_slots() -> None:
    # 12:30 -> 14:30: two units, half an hour, one hour, half an hour
    points = numbers(_points((0.5, "10"), (2.5, "12")))
    assert consumption(points, 3600.0) == [
        (NOW, Decimal("0.5")),
        (NOW + timedelta(hours=1), Decimal(1)),
        (NOW + timedelta(hours=2), Decimal("0.5")),
    ]


def test_consumption_begins_anew_with_another_meter() -> None:
    points = numbers(_points((0, "100"), (1, "101"), (2, "3"), (3, "5")))
    assert [value for _, value in consumption(points, 3600.0)] == [Decimal(1), Decimal(0), Decimal(2)]


def test_consumption_of_nothing() -> None:
    assert consumption([], 3600.0) == []
    assert consumption(numbers(_points((0, "1"))), 3600.0) == []
    assert consumption(numbers(_points((0, "2"), (1, "1"))), 3600.0) == []


# -- diagnosis ------------------------------------------------------------------------------------


def _facts(**changes: object) -> Facts:
    counts = Counts(receptions=10, crc_good=9, crc_bad=1, by_mode={"T": 10})
    good = SourceState("stick", "here", "open", 0.0, counts=counts)
    base = Facts(online=True, last_seen=NOW, sources=(good,), heard=3, registered=3, locked=0, read=3)
    return msgspec.structs.replace(base, **changes)


def _broken(**changes: object) -> SourceState:
    return SourceState("stick", "here", "open", 0.0, counts=Counts(**{"by_mode": {}, **changes}))  # type: ignore[arg-type]


def test_all_is_well() -> None:
    found = diagnose(_facts())
    assert [stage.name for stage in found] == [name for name, *_ in STAGES]
    assert {stage.tone for stage in found} == {"good"}
    assert not any(stage.advice for stage in found)


@pytest.mark.parametrize(
    ("changes", "stage", "tone"),
    [
        ({"online": False}, "gateway", "bad"),
        ({"sources": (SourceState("a", "", "failed", 0.0, trouble="busy"),)}, "sources", "bad"),
        ({"sources": ()}, "sources", "bad"),
        ({"sources": (_broken(),)}, "octets", "bad"),
        ({"sources": (_broken(noise=5),)}, "frames", "bad"),
        ({"sources": (_broken(receptions=9, crc_good=2, crc_bad=7),)}, "frames", "warn"),
        ({"heard": 0, "registered": 0, "read": 0}, "meters", "bad"),
        ({"registered": 0, "read": 0}, "registered", "bad"),
        ({"registered": 2, "read": 2}, "registered", "warn"),
        ({"locked": 3, "read": 0}, "keys", "bad"),
        ({"locked": 1, "read": 2}, "keys", "warn"),
        ({"read": 0}, "values", "bad"),
    ],
)
def test_where_it_stops(changes: dict[str, object], stage: str, tone: str) -> None:
    found = {one.name: one for one in diagnose(_facts(**changes))}
    assert found[stage].tone == tone
    assert found[stage].advice == stage
    names = [name for name, *_ in STAGES]
    before, behind = names[: names.index(stage)], names[names.index(stage) + 1 :]
    assert all(found[name].tone == "good" for name in before)
    if tone == "bad":
        assert all(found[name].tone == "idle" and not found[name].advice for name in behind)


def test_without_news_of_sources_their_stages_stay_open() -> None:
    found = {stage.name: stage.tone for stage in diagnose(_facts(sources=None))}
    assert [name for name, tone in found.items() if tone == "idle"] == ["sources", "octets", "frames"]
    assert found["values"] == "good"


def test_recent() -> None:
    assert recent([NOW, NOW - timedelta(hours=1), NOW - timedelta(hours=3)], NOW) == 2


# -- forms ----------------------------------------------------------------------------------------


def test_form_reads_with_care() -> None:
    times = {"t": "2026-01-14T12:00", "z": "2026-01-14T12:00+01:00"}
    form = Form({"a": "  x ", "n": "0x20", "m": "-7", "l": ["p", "q"], "p": " s ", **times})
    assert form.text("a") == "x"
    assert form.text("missing") == ""
    assert form.text("l") == "p"
    assert form.texts("l") == ("p", "q")
    assert form.texts("a") == ("  x ",)
    assert form.secret("p") == " s "
    assert form.optional("missing") is None
    assert (form.number("n"), form.number("m"), form.number("missing")) == (32, -7, None)
    assert form.flag("a")
    assert not form.flag("missing")
    assert form.moment("t") == NOW
    assert form.moment("z") == NOW - timedelta(hours=1)
    assert form.moment("missing") is None
    assert form.file("a") == b""
    assert Form({"f": UploadFile("text/plain", "f", file_data=b"abc")}).file("f") == b"abc"


@pytest.mark.parametrize(
    ("method", "value"),
    [
        ("text", "x" * 5000),
        ("text", "a\x00b"),
        ("text", UploadFile("text/plain", "f", file_data=b"")),
        ("secret", 5),
        ("texts", [1]),
        ("number", "twelve"),
        ("moment", "yesterday"),
    ],
)
def test_form_refuses(method: str, value: object) -> None:
    with pytest.raises(InputError) as caught:
        getattr(Form({"field": value}), method)("field")
    assert caught.value.code == "access.invalid"


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_of_job_has_a_form(kind: str) -> None:
    found = job_forms.fields(kind)
    assert found[-1].name == "issue"
    assert {field.name for field in found} == set(KINDS[kind].parameters.__struct_fields__)
    assert all(field.choices for field in found if field.kind == "choice")


def test_forms_become_parameters() -> None:
    form = Form({"state": "disconnected", "delay": "60", "part_of_meter": "yes", "issue": "5.0.1"})
    text = job_forms.parameters("disconnector", form)
    assert json.loads(text) == {"state": "disconnected", "delay": 60, "part_of_meter": True, "issue": "5.0.1"}
    read_parameters("disconnector", text)
    image = UploadFile("application/octet-stream", "image", file_data=b"\x01\x02")
    text = job_forms.parameters("firmware", Form({"identifier": "V2", "image": image, "poll": "2.5", "secured": "yes"}))
    assert json.loads(text)["image"] == base64.b64encode(b"\x01\x02").decode()
    assert json.loads(text)["poll"] == 2.5
    text = job_forms.parameters("select", Form({"application": "1", "add": "VM02 VM03,VM04"}))
    assert json.loads(text)["add"] == ["VM02", "VM03", "VM04"]
    text = job_forms.parameters("supervision", Form({"action": "clear", "mask": "0x10", "size": "4"}))
    assert json.loads(text) == {"action": "clear", "mask": 16, "size": 4, "maker": False}
    read_parameters("supervision", text)
    text = job_forms.parameters("test", Form({"functions": "0x30 49"}))
    assert json.loads(text)["functions"] == [0x30, 49]
    assert json.loads(job_forms.parameters("due-date", Form({"date": "2026-12-31"})))["date"] == "2026-12-31"
    assert "state" not in json.loads(job_forms.parameters("disconnector", Form({"state": ""})))


@pytest.mark.parametrize(
    ("kind", "fields"), [("due-date", {"date": "soon"}), ("disconnector", {"delay": "long"}), ("nothing", {})]
)
def test_forms_are_refused(kind: str, fields: dict[str, str]) -> None:
    with pytest.raises(InputError):
        job_forms.parameters(kind, Form(fields))


# -- files that wait ------------------------------------------------------------------------------


def test_a_file_waits_for_its_user_once() -> None:
    staging = Staging()
    name = staging.put(7, "keys", b"secret", NOW)
    for user, kind, now in ((8, "keys", NOW), (7, "devices", NOW), (7, "keys", NOW + timedelta(hours=1))):
        with pytest.raises(InputError):
            staging.take(name, user, kind, now)
    assert staging.take(name, 7, "keys", NOW) == b"secret"
    with pytest.raises(InputError):
        staging.take(name, 7, "keys", NOW)


def test_files_do_not_pile_up() -> None:
    staging = Staging()
    names = [staging.put(1, "keys", bytes([number]), NOW) for number in range(40)]
    with pytest.raises(InputError):
        staging.take(names[0], 1, "keys", NOW)
    assert staging.take(names[-1], 1, "keys", NOW) == b"\x27"
    staging.put(1, "keys", b"", NOW + timedelta(hours=1))
    with pytest.raises(InputError):
        staging.take(names[-2], 1, "keys", NOW)


# -- news -----------------------------------------------------------------------------------------

ALARM = Alarm(1, 7, "leak", "critical", "raised", NOW, "", "water leakage")
JOB = Job(3, 8, "read", "{}", "queued", 1, NOW)


class Session:
    """Sees device 7 only, and no gateways."""

    def __init__(self, gateways: bool = False) -> None:
        self.gateways = gateways

    def can(self, verb: str, resource: str) -> bool:
        return self.gateways and (verb, resource) == ("read", "gateways")

    def device(self, device_id: int) -> None:
        if device_id != 7:
            raise InputError("unknown", code="access.unknown")


def test_names_of_what_changed() -> None:
    assert names_of(AlarmChanged(ALARM)) == ("alarms", "device-7")
    assert names_of(AlarmChanged(msgspec.structs.replace(ALARM, device_id=None))) == ("alarms",)
    assert names_of(JobChanged(JOB)) == ("jobs", "job-3")
    assert names_of(DeviceChanged(Device(7, "ELS-12345678-33-03"))) == ("devices", "device-7")
    assert names_of(GatewayChanged(GatewayInfo(1, "cellar"))) == ("gateways",)


def test_news_of_others_stay_away() -> None:
    async def listen() -> tuple[tuple[str, ...], tuple[str, ...]]:
        gathering = Gathering(asyncio.get_running_loop(), Session())  # type: ignore[arg-type]
        for event in (AlarmChanged(ALARM), JobChanged(JOB), GatewayChanged(GatewayInfo(1, "cellar")), AlarmChanged(ALARM)):
            gathering.add(event)
        return await gathering.take(5.0), await gathering.take(0.01)

    assert asyncio.run(listen()) == (("alarms", "device-7"), ())


def test_news_after_a_device_was_taken_over() -> None:
    async def listen() -> tuple[str, ...]:
        session = Session(gateways=True)
        gathering = Gathering(asyncio.get_running_loop(), session)  # type: ignore[arg-type]
        gathering.add(JobChanged(JOB))
        session.device = lambda device_id: None  # type: ignore[method-assign]
        gathering.add(DeviceChanged(Device(8, "ELS-12345678-33-03")))
        gathering.add(GatewayChanged(GatewayInfo(1, "cellar")))
        return await gathering.take(5.0)

    assert asyncio.run(listen()) == ("devices", "device-8", "gateways")


# -- looks ----------------------------------------------------------------------------------------


def _reading(quantity: str = "volume", value: str | None = "12.5", unit: str = "m3", **changes: object) -> ReadingRow:
    base = ReadingRow("A", "water", 0.0, quantity, value, unit, "instantaneous", 0, 0, 0, "", "", "", None, -1, None, None, 1)
    return msgspec.structs.replace(base, **changes)


def test_values_are_shown_exactly() -> None:
    german = Words("de")
    volume, energy = shown(_reading(value="1234567.50"), german), shown(_reading("energy", "12428000", "Wh"), german)
    assert (volume.value, volume.unit) == ("1.234.567,50", "m³")
    assert (energy.value, energy.unit) == ("12.428,000", "kWh")
    assert shown(_reading(value=None, error="record.value"), german).value == "Fehler: record.value"
    assert shown(_reading(value=None), german).value == "–"
    assert shown(_reading("date time", "2026-01-14T12:00", "", exponent=None), german).value == "14.01.2026 12:00"
    several = _reading(storage=1, tariff=2, subunit=3, function="maximum", qualifiers="x")
    assert shown(several, german).detail == "Höchstwert, Speicher 1, Tarif 2, Untereinheit 3, x"


def test_scaling_keeps_every_digit() -> None:
    assert scaled("9999", "Wh") == ("9999", "Wh")
    assert scaled("-12428001", "Wh") == ("-12428.001", "kWh")
    assert scaled("123456", "m3") == ("123456", "m³")
    assert shortened("A" * 25) == "A" * 23 + "…"


def test_what_stands_for_a_meter() -> None:
    readings = [_reading("energy", unit="Wh"), _reading(), _reading(storage=1), _reading("flow temperature"), _reading("date")]
    assert [one.quantity for one in main_readings("cold water", readings)] == ["volume", "energy", "flow temperature"]
    assert [one.quantity for one in main_readings("heat, volume at flow", readings, 1)] == ["energy"]
    assert main_readings("smoke alarm device", [_reading("status smoke alarm")]) == []


def test_pictures_and_tones() -> None:
    assert device_icon(Device(1, "A", medium="warm water")) == "warm-water"
    assert device_icon(Device(1, "A", medium="something new")) == "meter"
    assert device_tone(Device(1, "A", state="active"), "critical") == "bad"
    assert device_tone(Device(1, "A", state="active"), "information") == "good"
    assert device_tone(Device(1, "A", state="retired"), "critical") == "idle"
    assert [signal_bars(level) for level in (-50.0, -70.0, -80.0, -100.0, -120.0, None)] == [4, 3, 2, 1, 0, 0]
    assert worst(["warning", "information"]) == "warning"
    assert worst([]) is None


@pytest.mark.parametrize("path", ["", "https://evil.example", "//evil.example", "/\\evil.example", "javascript:x", "/a\nb", None])
def test_ways_back_stay_here(path: str | None) -> None:
    assert own_path(path) == "/"
    assert own_path("/meters?q=1") == "/meters?q=1"


def test_parts_of_a_list() -> None:
    tabs = {"open": (), "all": ()}
    assert [chosen(tabs, which) for which in ("all", "open", "nonsense", "")] == ["all", "open", "open", "open"]
    first = part("/alarms", {"state": "all", "q": "", "node": None}, None, 17)
    assert (first.self, first.first, first.next) == ("/alarms?state=all", "", "/alarms?state=all&before=17")
    last = part("/users", {}, 5, None, name="after")
    assert (last.self, last.first, last.next) == ("/users?after=5", "/users", "")


def test_reasons_of_alarms() -> None:
    german = Words("de")
    told = Alarm(1, 1, "leak", "critical", "raised", NOW, "", "water leakage")
    assert alarm_detail(told, german) == "Wasser tritt aus"
    wrong = msgspec.structs.replace(told, kind="wrong-key", value="key.mismatch.verification")
    assert alarm_detail(wrong, Words("en")) == "The key does not open its telegrams."
    assert alarm_detail(msgspec.structs.replace(told, value="status 13h"), german) == "status 13h"
