"""Examples of the OpenAPI description: real values of what the API takes and answers."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from openmetering.interfaces.web.api import billing, data, devices, people, places, work
from openmetering.interfaces.web.errors import FieldFault, Problem
from openmetering.services.headend import model
from openmetering.services.mdm import privacy, subject
from openmetering.storage import mdm_rows

__all__ = ["EXAMPLES"]

_AT = datetime(2025, 1, 31, 12, 0, tzinfo=UTC)
_MONTH = datetime(2025, 1, 1, tzinfo=UTC)
_YEAR_END = datetime(2026, 1, 1, tzinfo=UTC)
_ADDRESS = "ELS-12345678-33-07"
_NODE = model.Node(3, 2, 1, "unit", "Flat 2 left")
_OVERVIEW = model.OverviewNode(_NODE, {"active": 5}, {"warning": 1}, "warning")
_GATEWAY = model.GatewayInfo(1, "cellar", "ELS-00000001-01-31", "online", _AT, "0.1.0")
_USER = people.UserView(4, "meier", "mso", 1, "de", disabled=False)
_TOKEN = people.TokenView(2, 4, ("read:readings", "read:devices"), _YEAR_END, "spreadsheet", None)

#: one value of each struct that the API takes or answers
EXAMPLES: tuple[msgspec.Struct, ...] = (
    model.Tenant(1, "Housing society North"),
    _NODE,
    model.MeteringPoint(7, 3, "Kitchen, cold", "water"),
    model.Device(
        12, _ADDRESS, 1, "water", "active", profile="B", mode="C1", bidirectional=True, label="Kitchen",
        first_heard=datetime(2024, 6, 1, 8, 30, tzinfo=UTC), last_heard=_AT, interval_learned=900.0,
    ),
    model.Assignment(5, 12, 7, datetime(2024, 6, 1, tzinfo=UTC)),
    model.Occupancy(9, 21, 3, datetime(2024, 6, 1, tzinfo=UTC)),
    _GATEWAY,
    model.GatewayDevice(1, 12, -78.5, _AT),
    model.KeyInfo(8, _ADDRESS, 0, None, "5d1f 0a77", "active", 4, 1402, "delivery note", 1, _AT, _AT),
    model.Alarm(31, 12, "leak", "critical", "raised", _AT, "leak: the meter reports leakage", "status 10h"),
    work.JobView(
        17, 12, "disconnector", {"state": "disconnected"}, "awaiting-approval", 4, _AT, None, None, 0, 0.0, None, None
    ),
    model.JobStep(1, 17, _AT, "created by meier"),
    model.AuditEntry(903, _AT, 4, "read readings", "device 12", "latest", personal=True),
    model.SeriesInfo(40, _ADDRESS, "volume", "m³", "instantaneous", 0, 0, 0, "", "8-0:1.0.0*255", "", _AT, _AT),
    model.SeriesPoint(_AT, "12.345", "2025-01-31T11:58:00", None, 55120),
    model.TelegramInfo(55120, _AT, "cellar", "C1", "decoded", None, 42, 0, "decrypted", "mac", 8, -78.5),
    _OVERVIEW,
    model.Overview((_OVERVIEW,), {"active": 5}, {"warning": 1}, 0, (_GATEWAY,)),
    data.ReadingView(
        _ADDRESS, "water", _AT, "volume", "12.345", "m³", "instantaneous", 0, 0, 0, "", "8-0:1.0.0*255", "",
        12345, -3, None, None, 55120,
    ),
    places.AddTenant("Housing society North"),
    places.AddNode("unit", "Flat 2 left", 2),
    places.Rename("Flat 2 right"),
    places.AddPoint(3, "Kitchen, cold", "water"),
    places.AddAssignment(12, 7, _AT),
    places.AddOccupancy(21, 3, _AT),
    places.End(_YEAR_END),
    devices.AddDevice(address=_ADDRESS, label="Kitchen"),
    devices.ChangeDevice(label="Kitchen, cold"),
    devices.Step("retire"),
    devices.CsvFile(f"address,label,unit,point\n{_ADDRESS},Kitchen,Flat 2 left,Kitchen cold\n", 1),
    work.AddJob(12, "disconnector", {"state": "disconnected"}),
    work.AddKey(_ADDRESS, "0102030405060708090A0B0C0D0E0F11", 0, None, "delivery note"),
    work.KeyFile(f"address,key\n{_ADDRESS},0102030405060708090A0B0C0D0E0F11\n".encode(), 1),
    work.WebhookView(2, "https://example.org/meters", ("alarm",), 1),
    work.AddWebhook("https://example.org/meters", ("alarm",), "a-secret-of-32-characters-or-more"),
    _USER,
    people.ChangeOwn("de"),
    people.OwnPassword("correct horse battery staple", "a new one that is longer"),
    people.SetPassword("correct horse battery staple"),
    people.OwnAccount(_USER, ("read:devices", "read:readings")),
    people.AddUser("meier", "correct horse battery staple", "mso", 1, "de"),
    people.ChangeUser(disabled=True),
    _TOKEN,
    people.AddToken(("read:readings", "read:devices"), _YEAR_END, "spreadsheet"),
    people.NewToken(_TOKEN, "om_..."),
    billing.Validate(_MONTH, _AT, 1),
    mdm_rows.ValidationRun(3, 1, _MONTH, _AT, 4, 203, 310_860, 2, _AT),
    billing.FindingView(
        88, 3, 7, "leak", "warn", _ADDRESS, _MONTH, _AT, "never less than 0.014 m3/h for 14 days", (1735689600.0,)
    ),
    billing.VersionView(
        _MONTH, 1, "12.345", "m3", "edited", "0", "person", "read from a photograph of the tenant", "user 4", _AT
    ),
    billing.AddVersion(_MONTH, "12.345", "read from a photograph of the tenant"),
    billing.Agreed("Q3 2.5", "3.125", "m3", None, "sub", 900.0, "DE0001234567890123456789012345678"),
    mdm_rows.PointData(2, 7, "Q3 2.5", "3.125", "m3", None, "sub", 900.0, "DE0001234567890123456789012345678"),
    billing.AgreedPlace(62.5, "flat", None, "0000123450003"),
    mdm_rows.NodeData(2, 3, 62.5, "flat", None, "0000123450003"),
    billing.ReportView(
        "due-dates", "Flat 2 left", _MONTH, _AT, _AT, ("point", "value", "unit", "quality", "source"),
        (("Kitchen, cold", "12.345", "m3", "measured", "meter"),),
    ),
    billing.AddSchedule("monthly", "pdf", "mail", "office@example.org", 3, 3),
    mdm_rows.Schedule(1, 1, 3, "monthly", "pdf", 3, "mail", "office@example.org", "en", _YEAR_END),
    billing.RetentionView({"raw": 90, "readings": 1098}),
    billing.SetRetention("raw", 60, 1),
    billing.Erase(3, _MONTH, _AT, 21),
    privacy.Erased(1204, 8800, 2, 5, 4),
    subject.SubjectFile(
        21, "anna", "consumer", "en", _AT, ({"place": "Flat 2 left", "from": "2025-01-01T00:00:00Z", "until": None},), (), (), ()
    ),
    Problem(422, "Unprocessable Entity", "access.invalid", "/api#access.invalid", "a time is between the years 1900 and 9998"),
    FieldFault("Expected `int` >= 1", "limit", "query"),
)  # fmt: skip
