"""Every table of the database, for SQLAlchemy Core. Needs the extra ``headend``.

The scripts ``schema_vN.sql`` and ``schema_vN_postgresql.sql`` make the tables (with the triggers and views that metadata
does not know); a test holds both against this module.

    tenants -- nodes (tree) -- points -- assignments -- devices -- gateway_devices -- gateways
                 |                                        |
              occupancies -- users                     alarms, jobs -- job_steps
                              |
                         tokens, sessions        vault_keys -- vault_masters     audit     webhooks -- webhook_deliveries
    point_data, node_data, validation_runs -- findings, versions, kept_totals, report_schedules, retention    data management
    journals, memories, spools                   what operators and gateways must not forget
    sources, frames, receptions, pending, addresses, telegrams, series, readings, formats, counters    the telemetry

Times are seconds since 1970 (UTC) in the database and aware ``datetime`` in Python (``Moment``), but for the tables of
the telemetry, where they stay numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.types import TypeDecorator

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect
    from sqlalchemy.sql.schema import SchemaItem
    from sqlalchemy.types import TypeEngine

    _Kind = TypeEngine[Any] | type[TypeEngine[Any]]

__all__ = [
    "Moment",
    "Number",
    "Words",
    "addresses",
    "alarms",
    "assignments",
    "audit",
    "counters",
    "devices",
    "findings",
    "formats",
    "frames",
    "gateway_devices",
    "gateways",
    "job_steps",
    "jobs",
    "journals",
    "kept_totals",
    "memories",
    "metadata",
    "migrations",
    "node_data",
    "nodes",
    "occupancies",
    "pending",
    "point_data",
    "points",
    "readings",
    "receptions",
    "retention",
    "schedules",
    "series",
    "sessions",
    "sources",
    "spools",
    "telegrams",
    "tenants",
    "tokens",
    "users",
    "validation_runs",
    "vault_keys",
    "vault_masters",
    "versions",
    "webhook_deliveries",
    "webhooks",
]

metadata = MetaData()

_Id = BigInteger().with_variant(Integer(), "sqlite")  # only INTEGER PRIMARY KEY counts by itself in SQLite


class Moment(TypeDecorator[datetime]):
    """A time: seconds since 1970 in the database, aware and UTC in Python; microseconds survive."""

    impl = Double
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> float | None:
        """Raises ValueError for a time without zone: nobody could tell when it was."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"a time needs its zone, got {value.isoformat()}")
        return value.timestamp()

    def process_result_value(self, value: float | None, dialect: Dialect) -> datetime | None:
        return None if value is None else datetime.fromtimestamp(value, UTC)


class Number(TypeDecorator[float]):
    """A float; RETURNING of SQLite gives whole numbers as integers."""

    impl = Double
    cache_ok = True

    def process_result_value(self, value: float | None, dialect: Dialect) -> float | None:
        return None if value is None else float(value)


class Words(TypeDecorator[tuple[str, ...]]):
    """Several words: a JSON list in the database, a tuple in Python."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Sequence[str] | None, dialect: Dialect) -> str | None:
        return None if value is None else msgspec.json.encode(list(value)).decode()

    def process_result_value(self, value: str | None, dialect: Dialect) -> tuple[str, ...] | None:
        return None if value is None else msgspec.json.decode(value, type=tuple[str, ...])


def _id() -> Column[int]:
    return Column("id", _Id, primary_key=True)


def _to(name: str, target: str, *, nullable: bool = False, cascade: bool = False) -> Column[int]:
    return Column(name, _Id, ForeignKey(f"{target}.id", ondelete="CASCADE" if cascade else None), nullable=nullable)


def _must(name: str, kind: _Kind = Text, default: str | None = None) -> Column[Any]:
    return Column(name, kind, nullable=False, server_default=None if default is None else text(default))


def _may(name: str, kind: _Kind = Text) -> Column[Any]:
    return Column(name, kind)


def _table(name: str, *items: SchemaItem) -> Table:
    """A table of the domain: a number that is never used twice, and when the row was made."""
    return Table(name, metadata, _id(), *items, _must("created_at", Moment), sqlite_autoincrement=True)


# -- registry -----------------------------------------------------------------------------------

tenants = _table("tenants", _must("name"), UniqueConstraint("name"))
nodes = _table(
    "nodes",
    _to("parent_id", "nodes", nullable=True),
    _to("tenant_id", "tenants"),
    _must("kind"),
    _must("name"),
    Index("nodes_parent", "parent_id"),
    Index("nodes_tenant", "tenant_id"),
)
points = _table("points", _to("node_id", "nodes"), _must("name"), _must("medium", default="''"), Index("points_node", "node_id"))
devices = _table(
    "registry_devices",  # the view "devices" is what was heard
    _must("address"),
    _to("tenant_id", "tenants", nullable=True),
    _must("medium", default="''"),
    _must("state", default="'announced'"),
    _may("adapter"),
    _may("profile"),
    _may("mode"),
    _must("bidirectional", Boolean, "false"),
    _may("wired_primary", Integer),
    _must("label", default="''"),
    _may("first_heard", Moment),
    _may("last_heard", Moment),
    _may("interval_learned", Number),
    UniqueConstraint("address"),
    Index("registry_devices_tenant", "tenant_id"),
)
assignments = _table(
    "assignments",
    _to("device_id", "registry_devices"),
    _to("point_id", "points"),
    _must("valid_from", Moment),
    _may("valid_to", Moment),
    CheckConstraint("valid_to IS NULL OR valid_to > valid_from"),
    Index("assignments_device", "device_id", "valid_from"),
    Index("assignments_point", "point_id", "valid_from"),
)
gateways = _table(
    "gateways",
    _must("name"),
    _may("address"),
    _must("state", default="'unknown'"),
    _may("last_seen", Moment),
    _must("version", default="''"),
    UniqueConstraint("name"),
)
gateway_devices = Table(
    "gateway_devices",
    metadata,
    _to("gateway_id", "gateways", cascade=True),
    _to("device_id", "registry_devices", cascade=True),
    _may("rssi", Number),
    _must("last_heard", Moment),
    _must("created_at", Moment),
    PrimaryKeyConstraint("gateway_id", "device_id"),
    Index("gateway_devices_device", "device_id"),
)

# -- accounts -----------------------------------------------------------------------------------

users = _table(
    "users",
    _must("name"),
    _must("password_hash"),
    _must("role"),
    _to("tenant_id", "tenants", nullable=True),
    _must("locale", default="'en'"),
    _must("disabled", Boolean, "false"),
    _must("failures", Integer, "0"),
    _may("locked_until", Moment),
    UniqueConstraint("name"),
)
occupancies = _table(
    "occupancies",
    _to("user_id", "users"),
    _to("node_id", "nodes"),
    _must("valid_from", Moment),
    _may("valid_to", Moment),
    CheckConstraint("valid_to IS NULL OR valid_to > valid_from"),
    Index("occupancies_user", "user_id"),
    Index("occupancies_node", "node_id"),
)
tokens = _table(
    "tokens",
    _to("user_id", "users", cascade=True),
    _must("hash"),
    _must("scopes", Words),
    _may("expires", Moment),
    _must("label", default="''"),
    _may("last_used", Moment),
    UniqueConstraint("hash"),
    Index("tokens_user", "user_id"),
)
sessions = _table(
    "sessions",
    _to("user_id", "users", cascade=True),
    _must("hash"),
    _must("expires", Moment),
    _must("last_used", Moment),
    UniqueConstraint("hash"),
    Index("sessions_user", "user_id"),
    Index("sessions_expires", "expires"),
)
audit = _table(
    "audit",
    _must("at", Moment),
    _may("user_id", _Id),  # no reference: the trail outlives the account
    _must("action"),
    _must("object"),
    _must("detail", default="''"),
    _must("personal", Boolean, "false"),
    Index("audit_at", "at"),
    Index("audit_user", "user_id", "id"),
    Index("audit_object", "object", "id"),
)

# -- key vault ----------------------------------------------------------------------------------

vault_masters = _table("vault_masters", _must("fingerprint"), _may("check_value", LargeBinary), UniqueConstraint("fingerprint"))
vault_keys = _table(
    "vault_keys",
    _must("address_pattern"),
    _may("key_id", Integer),
    _may("version", Integer),
    _must("fingerprint"),
    _must("state", default="'active'"),
    _may("created_by", _Id),
    _must("uses", BigInteger, "0"),
    _must("label", default="''"),
    _to("tenant_id", "tenants", nullable=True),
    _may("last_used", Moment),
    _to("master_id", "vault_masters", nullable=True),
    _must("wrapped", LargeBinary),
    Index("vault_keys_pattern", "address_pattern", "key_id"),
)

# -- alarms and jobs ----------------------------------------------------------------------------

alarms = _table(
    "alarms",
    _to("device_id", "registry_devices", nullable=True),
    _must("kind"),
    _must("severity"),
    _must("state", default="'raised'"),
    _must("raised_at", Moment),
    _must("text"),
    _must("value", default="''"),
    _may("acknowledged_by", _Id),
    _may("acknowledged_at", Moment),
    _may("cleared_at", Moment),
    Index("alarms_device", "device_id", "id"),
    Index("alarms_state", "state", "id"),
    Index(
        "alarms_open",
        "device_id",
        "kind",
        unique=True,
        sqlite_where=text("state <> 'cleared'"),
        postgresql_where=text("state <> 'cleared'"),
    ),
)
jobs = _table(
    "jobs",
    _to("device_id", "registry_devices"),
    _must("kind"),
    _must("parameters", default="'{}'"),
    _must("state", default="'draft'"),
    _may("created_by", _Id),
    _may("approved_by", _Id),
    _may("not_before", Moment),
    _must("attempts", Integer, "0"),
    _must("progress", Number, "0"),
    _may("result"),
    _may("error"),
    CheckConstraint("approved_by IS NULL OR approved_by <> created_by"),
    Index("jobs_state", "state", "not_before"),
    Index("jobs_device", "device_id", "id"),
)
job_steps = _table("job_steps", _to("job_id", "jobs"), _must("at", Moment), _must("text"), Index("job_steps_job", "job_id", "id"))

# -- webhooks -----------------------------------------------------------------------------------

webhooks = _table(
    "webhooks",
    _must("url"),
    _must("events", Words),
    _must("secret"),
    _to("tenant_id", "tenants", nullable=True),
)
webhook_deliveries = _table(
    "webhook_deliveries",
    _to("webhook_id", "webhooks", cascade=True),
    _must("event"),
    _must("payload"),
    _must("attempts", Integer, "0"),
    _must("due", Moment),
    _may("delivered_at", Moment),
    _may("error"),
    Index("webhook_deliveries_due", "due", sqlite_where=text("delivered_at IS NULL"),
          postgresql_where=text("delivered_at IS NULL")),
    Index("webhook_deliveries_webhook", "webhook_id", "id"),
)  # fmt: skip

# -- meter data management --------------------------------------------------------------------------

point_data = _table(
    "point_data",
    _to("point_id", "points", cascade=True),
    _must("size", default="''"),
    _may("maximum"),
    _may("unit"),
    _may("factor"),
    _must("part", default="''"),
    _may("grid", Number),
    _must("identifier", default="''"),
    UniqueConstraint("point_id"),
)
node_data = _table(
    "node_data",
    _to("node_id", "nodes", cascade=True),
    _may("area", Number),
    _must("usage", default="''"),
    _may("kwh_per_unit"),
    _must("identifier", default="''"),
    UniqueConstraint("node_id"),
)
validation_runs = _table(
    "validation_runs",
    _to("tenant_id", "tenants"),
    _must("since", Moment),
    _must("until", Moment),
    _may("author", _Id),
    _must("points", Integer, "0"),
    _must("values_seen", BigInteger, "0"),
    _must("findings", Integer, "0"),
    Index("validation_runs_tenant", "tenant_id", "id"),
)
findings = _table(
    "findings",
    _to("run_id", "validation_runs", cascade=True),
    _to("point_id", "points", cascade=True),
    _must("rule"),
    _must("severity"),
    _must("device"),
    _must("since", Moment),
    _must("until", Moment),
    _must("reason"),
    _must("samples", default="'[]'"),
    Index("findings_run", "run_id", "id"),
    Index("findings_point", "point_id", "id"),
)
versions = Table(
    "versions",
    metadata,
    _to("point_id", "points", cascade=True),
    _must("at", Double),
    _must("number", Integer),
    _may("value"),
    _must("unit"),
    _must("quality"),
    _must("uncertainty", default="'0'"),
    _must("rule"),
    _must("reason"),
    _must("author"),
    _must("made_at", Double),
    PrimaryKeyConstraint("point_id", "at", "number"),
)
kept_totals = _table(
    "kept_totals",
    _to("node_id", "nodes"),
    _must("medium"),
    _must("unit"),
    _must("month"),
    _must("amount"),
    _must("points", Integer),
    UniqueConstraint("node_id", "medium", "unit", "month"),
)
schedules = _table(
    "report_schedules",
    _to("tenant_id", "tenants"),
    _to("node_id", "nodes", nullable=True, cascade=True),
    _must("report"),
    _must("format"),
    _must("day", Integer, "1"),
    _must("channel"),
    _must("target"),
    _must("locale", default="'en'"),
    _may("last_at", Moment),
    _must("next_at", Moment),
    _may("error"),
    Index("report_schedules_next", "next_at"),
)
retention = _table(
    "retention",
    _to("tenant_id", "tenants"),
    _must("purpose"),
    _must("days", Integer),
    UniqueConstraint("tenant_id", "purpose"),
)

# -- what operators and gateways must not forget ---------------------------------------------------

journals = Table(
    "journals",
    metadata,
    _must("owner"),
    _must("address"),
    _must("journal"),
    _must("updated_at", Moment),
    _must("created_at", Moment),
    PrimaryKeyConstraint("owner", "address"),
)
memories = Table(
    "memories",
    metadata,
    _must("owner"),
    _must("part"),
    _must("name"),
    _must("value"),
    _must("updated_at", Moment),
    _must("created_at", Moment),
    PrimaryKeyConstraint("owner", "part", "name"),
)
spools = Table(
    "spools",
    metadata,
    Column("name", Text, primary_key=True, nullable=False),
    _must("segment", BigInteger),
    _must("position", BigInteger),
    _must("sequence", BigInteger),
    _must("updated_at", Moment),
    _must("created_at", Moment),
)

# -- telemetry (schema version 1) ------------------------------------------------------------------

migrations = Table(
    "migrations", metadata, Column("version", Integer, primary_key=True), _must("file"), _must("applied_at", Double)
)
sources = Table("sources", metadata, _id(), _must("name"), _may("position", BigInteger), _may("mark"), UniqueConstraint("name"))
frames = Table(
    "frames",
    metadata,
    _id(),
    _must("identity", BigInteger),
    _must("received_at", Double),
    _to("source_id", "sources"),
    _may("mode"),
    _must("octets", LargeBinary),
    Index("frames_identity", "identity", "received_at"),
    Index("frames_received", "received_at"),
)
receptions = Table(
    "receptions",
    metadata,
    _to("frame_id", "frames", cascade=True),
    _to("source_id", "sources"),
    _must("received_at", Double),
    _may("rssi_dbm", Double),
    _may("rssi_raw", Integer),
    _may("mode"),
    _may("address_hint"),
    _may("octets", LargeBinary),
    PrimaryKeyConstraint("frame_id", "source_id", "received_at"),
)
pending = Table("pending", metadata, Column("frame_id", _Id, ForeignKey("frames.id", ondelete="CASCADE"), primary_key=True))
addresses = Table(
    "addresses",
    metadata,
    _id(),
    _must("address"),
    _may("manufacturer"),
    _may("identification"),
    _may("version", Integer),
    _may("device_type", Integer),
    _may("medium"),
    UniqueConstraint("address"),
)
telegrams = Table(
    "telegrams",
    metadata,
    Column("frame_id", _Id, ForeignKey("frames.id", ondelete="CASCADE"), primary_key=True),
    _to("address_id", "addresses", nullable=True),
    _must("received_at", Double),
    _must("decoded_at", Double),
    _must("state"),
    _may("error"),
    _may("message"),
    _may("access_number", Integer),
    _may("status", Integer),
    _must("security"),
    _may("proof"),
    _must("readings", Integer, "0"),
    _may("answer"),
    Index("telegrams_address", "address_id", "received_at"),
    Index("telegrams_open", "error", "received_at", sqlite_where=text("error IS NOT NULL"),
          postgresql_where=text("error IS NOT NULL")),
    Index("telegrams_fragments", "received_at", "frame_id", sqlite_where=text("state = 'fragment'"),
          postgresql_where=text("state = 'fragment'")),
)  # fmt: skip
series = Table(
    "series",
    metadata,
    _id(),
    _to("address_id", "addresses"),
    _must("quantity"),
    _must("unit"),
    _must("function"),
    _must("storage", BigInteger),
    _must("tariff", BigInteger),
    _must("subunit", BigInteger),
    _must("qualifiers"),
    _must("obis", default="''"),
    _must("tag", default="''"),
    _must("dib"),
    _must("vib"),
    UniqueConstraint("address_id", "dib", "vib", "quantity", "unit", "obis", "tag"),
)
readings = Table(
    "readings",
    metadata,
    _to("series_id", "series"),
    _must("received_at", Double),
    Column("frame_id", _Id, nullable=False),
    _must("position", Integer),
    _may("value"),
    _may("mantissa", BigInteger),
    _may("exponent", Integer),
    _may("time"),
    _may("error"),
    PrimaryKeyConstraint("series_id", "received_at", "frame_id", "position"),
)
formats = Table(
    "formats",
    metadata,
    Column("headers", Text, primary_key=True),
    _must("signature"),
    _must("source"),
    _must("learned_at", Double),
)
counters = Table(
    "counters",
    metadata,
    _must("address", LargeBinary),
    _must("key_id", Integer),
    _must("version", Integer),
    _must("own", BigInteger),
    _may("peer", BigInteger),
    _must("digest", LargeBinary),
    _must("updated_at", Double),
    PrimaryKeyConstraint("address", "key_id", "version"),
)
