"""The catalogue is whole, every word that pages use is in it, and nothing in it is unused."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from string import Formatter

import pytest

from openmetering.interfaces.reports.records import FILES
from openmetering.interfaces.web.i18n import LOCALES, Words, catalogue, choose_locale, terms
from openmetering.interfaces.web.pages import formats
from openmetering.interfaces.web.pages.diagnosis import STAGES
from openmetering.interfaces.web.pages.job_forms import fields
from openmetering.interfaces.web.pages.visit import THEMES
from openmetering.mdm.quality import Quality
from openmetering.mdm.validation import RULE_IDS
from openmetering.services.headend.conditions import KINDS as ALARM_KINDS
from openmetering.services.headend.jobs.kinds import KINDS
from openmetering.services.headend.model import ALARM_STATES, DEVICE_STATES, JOB_STATES, NODE_KINDS, ROLES
from openmetering.services.headend.rights import PERMISSIONS
from openmetering.services.headend.webhooks import EVENTS
from openmetering.services.mdm.exports import EVERY
from openmetering.services.mdm.reports import REPORTS
from openmetering.tables import FAULTS

_WEB = files("openmetering.interfaces.web")
_TEMPLATES = {place.name: place.read_text(encoding="utf-8") for place in _WEB.joinpath("templates").iterdir()}
_CODE = {
    place.name: place.read_text(encoding="utf-8")
    for folder in (_WEB.joinpath("pages"), files("openmetering.interfaces.reports"))
    for place in folder.iterdir()
    if place.name.endswith(".py")
}

#: closed lists whose members are keys: group -> members
_LISTS = {
    "device": DEVICE_STATES,
    "alarm": ALARM_STATES,
    "job": JOB_STATES,
    "node": NODE_KINDS,
    "event-kind": tuple(EVENTS),
    "proof": ("2f2f", "ell-crc", "mac", "tag"),
    "role": ROLES,
    "role-short": ROLES,
    "alarm-kind": tuple(ALARM_KINDS),
    "job-kind": tuple(KINDS),
    "job-help": tuple(KINDS),
    "theme": THEMES,
    "language": LOCALES,
    "verb": tuple({one.verb for one in PERMISSIONS}),
    "scope": tuple({scope for roles in PERMISSIONS.values() for scope in roles.values()}),
    "quality": tuple(one.value for one in Quality),
    "rule": RULE_IDS,
    "report.title": tuple(REPORTS),
    "every": EVERY,
    "file": FILES,
    "part": ("main", "sub"),
    "severity": ("information", "warning", "critical"),
    "health": ("good", "warning", "critical", "empty"),
    "tone": ("good", "warn", "bad", "idle"),
    "job-field": tuple({field.name for kind in KINDS for field in fields(kind)}),
}
#: keys that are made from parts in code or templates
_MADE = (
    *(f"{group}.{name}" for group, names in _LISTS.items() for name in names),
    *(f"place.points.{number}" for number in ("one", "other")),
    *(f"stage.{name}.{part}" for name, *_ in STAGES for part in ("title", "good", "advice")),
    "stage.gateway.bad",
)
#: groups whose keys are looked up if they are there
_OPTIONAL = tuple(
    f"{group}."
    for group in [
        "fault",
        "why",
        "problem",
        "done",
        "duration",
        "history",
        "import-row",
        "job-choice",
        "radio",
        "overview",
        "meter.tab",
        "alarms.tab",
        "jobs.tab",
        "nav",
        "security",
        "telegram",
        "gateway",
        "source",
        "key",
        "import",
        "language",
        "report.column",
        "report.note",
    ]
)


def test_every_column_and_note_of_reports_has_words() -> None:
    """Columns and notes are named in the service that makes reports."""
    modules = files("openmetering.services.mdm")
    source = "".join((modules / name).read_text(encoding="utf-8") for name in ("reports.py", "slot_reports.py"))
    notes = set(re.findall(r"\"(report\.note\.[a-z-]+)\"", source))
    columns = set()
    for call in re.findall(r"\bcolumns\(([^=]*?)\)\s*(?:#|\n)", source):
        columns |= set(re.findall(r"(?<![\w, ]\s)\"([a-z-]+)\"", call)) - {
            "number", "term", "moment", "day", "quality-kind"
        }  # fmt: skip
    assert len(columns) > 15
    assert notes | {f"report.column.{name}" for name in columns} <= set(catalogue())


def _used() -> set[str]:
    found = set()
    for text in _TEMPLATES.values():
        found |= set(re.findall(r"(?<![\w.])t\(\s*'([a-z0-9.-]+)'\s*[,)]", text))
        found |= set(re.findall(r"'((?:import|radio|alarms|edit|users|point)\.[a-z-]+)'", text))
    for text in _CODE.values():
        found |= set(re.findall(r"(?:\.t|words)\(\s*\"([a-z0-9.-]+)\"", text))
    return found


def test_every_key_that_is_used_is_there() -> None:
    assert len(_used()) > 150
    missing = sorted((_used() | set(_MADE)) - set(catalogue()))
    assert not missing


def test_every_key_is_used() -> None:
    used = _used() | set(_MADE)
    idle = [key for key in catalogue() if key not in used and not key.startswith(_OPTIONAL)]
    assert not idle


@pytest.mark.parametrize("key", sorted(catalogue()))
def test_every_language_says_it_with_the_same_values(key: str) -> None:
    texts = catalogue()[key]
    assert len(texts) == len(LOCALES)
    assert all(text and text == text.strip() for text in texts)
    names = [{name for _, name, _, _ in Formatter().parse(text) if name} for text in texts]
    assert all(one == names[0] for one in names)


def test_notices_and_redirects_know_each_other() -> None:
    sent = {name for text in _CODE.values() for name in re.findall(r"done=\"([a-z-]+)\"", text)}
    sent |= {"asked", "queued"}
    assert {key.removeprefix("done.") for key in catalogue() if key.startswith("done.")} == sent


def test_codes_of_faults_are_real() -> None:
    codes = {
        key.split(".", 1)[1] for key in catalogue() if key.startswith(("fault.", "why.")) and key not in ("why.title", "why.lead")
    }
    unknown = {code for code in codes if code not in FAULTS and not any(one.startswith(code + ".") for one in FAULTS)}
    assert not unknown


def test_terms_are_german_for_english() -> None:
    assert terms()["volume"] == "Volumen"
    assert Words("de").term("volume") == "Volumen"
    assert Words("de").term("no such term") == "no such term"
    assert Words("en").term("volume") == "volume"


def test_words() -> None:
    words = Words("fr")
    assert words.locale == "en"
    assert words("nav.meters") == "Meters"
    assert words.name("device", "active") == "active"
    assert words.name("device", "of a later version") == "of a later version"
    assert words.count("duration.days", 1) == "1 day"
    assert words.count("duration.days", 3) == "3 days"
    with pytest.raises(KeyError):
        words("no.such.key")


@pytest.mark.parametrize(
    ("header", "locale"),
    [
        ("", "en"),
        ("de", "de"),
        ("de-AT,de;q=0.9,en;q=0.8", "de"),
        ("fr, en;q=0.4, de;q=0.7", "de"),
        ("en;q=0, de;q=0.1", "de"),
        ("ja", "en"),
        ("de;q=x, en;q=0.2", "en"),
        ("en, de", "en"),
    ],
)
def test_language_of_the_browser(header: str, locale: str) -> None:
    assert choose_locale(header) == locale


@pytest.mark.parametrize(
    ("text", "english", "german"),
    [
        ("12.50", "12.50", "12,50"),
        ("1234.5", "1234.5", "1234,5"),
        ("12345", "12,345", "12.345"),
        ("-1234567.001", "−1,234,567.001", "−1.234.567,001"),
        ("00012345", "00012345", "00012345"),
        ("2F2F", "2F2F", "2F2F"),
        ("", "", ""),
        ("1.2.3", "1.2.3", "1.2.3"),
        ("5.", "5.", "5."),
    ],
)
def test_numbers(text: str, english: str, german: str) -> None:
    assert formats.number(text, "en") == english
    assert formats.number(text, "de") == german


def test_lengths_of_time() -> None:
    assert [formats.duration(86_400 * 2, Words(locale)) for locale in LOCALES] == ["2 days", "2 Tage"]
    assert [formats.duration(4800, Words(locale)) for locale in LOCALES] == ["80 min", "80 min"]


def test_times_of_meters() -> None:
    assert formats.meter_time("2025-12-31", "de") == "31.12.2025"
    assert formats.meter_time("2025-12-31T23:59", "de") == "31.12.2025 23:59"
    assert formats.meter_time("2025-12-31T23:59", "en") == "2025-12-31 23:59"
    assert formats.meter_time("not set", "de") == "not set"


@pytest.mark.parametrize(
    ("seconds", "english", "german"),
    [
        (0, "just now", "gerade eben"),
        (20, "20 s ago", "vor 20 s"),
        (99, "99 s ago", "vor 99 s"),
        (600, "10 min ago", "vor 10 min"),
        (7200, "2 h ago", "vor 2 h"),
        (86_400 * 2, "2 days ago", "vor 2 Tagen"),
        (-3600, "in 60 min", "in 60 min"),
    ],
)
def test_how_long_ago(seconds: float, english: str, german: str) -> None:
    now = datetime(2026, 1, 14, 12, tzinfo=UTC)
    at = now - timedelta(seconds=seconds)
    assert formats.ago(at, now, Words("en")) == english
    assert formats.ago(at, now, Words("de")) == german


def test_moments() -> None:
    at = datetime(2026, 1, 14, 12, 5, 9, tzinfo=UTC)
    assert formats.moment(at, "en") == "2026-01-14 12:05 UTC"
    assert formats.moment(at, "de") == "14.01.2026 12:05 UTC"
    assert formats.moment(at, "de", day=True) == "14.01.2026"
    assert formats.iso(at) == "2026-01-14T12:05:09Z"
    assert formats.percent(0.456, "de") == "46 %"
