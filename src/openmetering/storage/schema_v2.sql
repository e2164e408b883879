-- Schema of openmetering, version 2: what a head-end and gateways keep besides the telemetry of version 1.
-- Times are seconds since 1970 (UTC). Numbers of rows are never used twice.

-- Whose installations these are.
CREATE TABLE tenants (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    name       TEXT NOT NULL,
    created_at REAL NOT NULL,
    UNIQUE (name)
);

-- The tree of places: sites, buildings, units, rooms.
CREATE TABLE nodes (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    parent_id  INTEGER REFERENCES nodes (id),
    tenant_id  INTEGER NOT NULL REFERENCES tenants (id),
    kind       TEXT NOT NULL,
    name       TEXT NOT NULL,
    created_at REAL NOT NULL
);
CREATE INDEX nodes_parent ON nodes (parent_id);
CREATE INDEX nodes_tenant ON nodes (tenant_id);

-- Metering points: places that are measured, whatever device is there.
CREATE TABLE points (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    node_id    INTEGER NOT NULL REFERENCES nodes (id),
    name       TEXT NOT NULL,
    medium     TEXT NOT NULL DEFAULT '',
    created_at REAL NOT NULL
);
CREATE INDEX points_node ON points (node_id);

-- Devices that the head-end knows, and how they are reached. (The view devices is what was heard.)
CREATE TABLE registry_devices (
    id               INTEGER PRIMARY KEY AUTOINCREMENT,
    address          TEXT NOT NULL,
    tenant_id        INTEGER REFERENCES tenants (id),
    medium           TEXT NOT NULL DEFAULT '',
    state            TEXT NOT NULL DEFAULT 'announced',
    adapter          TEXT,
    profile          TEXT,
    mode             TEXT,
    bidirectional    INTEGER NOT NULL DEFAULT 0,
    wired_primary    INTEGER,
    label            TEXT NOT NULL DEFAULT '',
    first_heard      REAL,
    last_heard       REAL,
    interval_learned REAL,
    created_at       REAL NOT NULL,
    UNIQUE (address)
);
CREATE INDEX registry_devices_tenant ON registry_devices (tenant_id);

-- Which device measured which point, from when until (excluded) when. Periods of one device never overlap.
CREATE TABLE assignments (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    device_id  INTEGER NOT NULL REFERENCES registry_devices (id),
    point_id   INTEGER NOT NULL REFERENCES points (id),
    valid_from REAL NOT NULL,
    valid_to   REAL,
    created_at REAL NOT NULL,
    CHECK (valid_to IS NULL OR valid_to > valid_from)
);
CREATE INDEX assignments_device ON assignments (device_id, valid_from);
CREATE INDEX assignments_point ON assignments (point_id, valid_from);

-- Gateways that report.
CREATE TABLE gateways (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    name       TEXT NOT NULL,
    address    TEXT,
    state      TEXT NOT NULL DEFAULT 'unknown',
    last_seen  REAL,
    version    TEXT NOT NULL DEFAULT '',
    created_at REAL NOT NULL,
    UNIQUE (name)
);

-- How well a gateway hears a device (dBm).
CREATE TABLE gateway_devices (
    gateway_id INTEGER NOT NULL REFERENCES gateways (id) ON DELETE CASCADE,
    device_id  INTEGER NOT NULL REFERENCES registry_devices (id) ON DELETE CASCADE,
    rssi       REAL,
    last_heard REAL NOT NULL,
    created_at REAL NOT NULL,
    PRIMARY KEY (gateway_id, device_id)
) WITHOUT ROWID;
CREATE INDEX gateway_devices_device ON gateway_devices (device_id);

-- Accounts. password_hash: argon2id; failures and locked_until: wrong passwords in a row and what follows from them.
CREATE TABLE users (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    name          TEXT NOT NULL,
    password_hash TEXT NOT NULL,
    role          TEXT NOT NULL,
    tenant_id     INTEGER REFERENCES tenants (id),
    locale        TEXT NOT NULL DEFAULT 'en',
    disabled      INTEGER NOT NULL DEFAULT 0,
    failures      INTEGER NOT NULL DEFAULT 0,
    locked_until  REAL,
    created_at    REAL NOT NULL,
    UNIQUE (name)
);

-- Which consumer a node and all below it belongs to, from when until (excluded) when.
CREATE TABLE occupancies (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    user_id    INTEGER NOT NULL REFERENCES users (id),
    node_id    INTEGER NOT NULL REFERENCES nodes (id),
    valid_from REAL NOT NULL,
    valid_to   REAL,
    created_at REAL NOT NULL,
    CHECK (valid_to IS NULL OR valid_to > valid_from)
);
CREATE INDEX occupancies_node ON occupancies (node_id);
CREATE INDEX occupancies_user ON occupancies (user_id);

-- Access tokens by the hash of their secret. scopes: JSON list.
CREATE TABLE tokens (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    user_id    INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    hash       TEXT NOT NULL,
    scopes     TEXT NOT NULL,
    expires    REAL,
    label      TEXT NOT NULL DEFAULT '',
    last_used  REAL,
    created_at REAL NOT NULL,
    UNIQUE (hash)
);
CREATE INDEX tokens_user ON tokens (user_id);

-- Sessions of browsers by the hash of their number.
CREATE TABLE sessions (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    user_id    INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    hash       TEXT NOT NULL,
    expires    REAL NOT NULL,
    last_used  REAL NOT NULL,
    created_at REAL NOT NULL,
    UNIQUE (hash)
);
CREATE INDEX sessions_expires ON sessions (expires);
CREATE INDEX sessions_user ON sessions (user_id);

-- Who did what. Rows are added and never changed or taken away; user_id is no reference, the trail outlives accounts.
CREATE TABLE audit (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    at         REAL NOT NULL,
    user_id    INTEGER,
    action     TEXT NOT NULL,
    object     TEXT NOT NULL,
    detail     TEXT NOT NULL DEFAULT '',
    personal   INTEGER NOT NULL DEFAULT 0,
    created_at REAL NOT NULL
);
CREATE INDEX audit_at ON audit (at);
CREATE INDEX audit_object ON audit (object, id);
CREATE INDEX audit_user ON audit (user_id, id);

-- Master keys that wrapped keys of the vault, by fingerprint.
CREATE TABLE vault_masters (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    fingerprint TEXT NOT NULL,
    check_value BLOB,
    created_at  REAL NOT NULL,
    UNIQUE (fingerprint)
);

-- Keys, wrapped under a master key; their octets in clear stand nowhere.
CREATE TABLE vault_keys (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    address_pattern TEXT NOT NULL,
    key_id          INTEGER,
    version         INTEGER,
    fingerprint     TEXT NOT NULL,
    state           TEXT NOT NULL DEFAULT 'active',
    created_by      INTEGER,
    uses            INTEGER NOT NULL DEFAULT 0,
    label           TEXT NOT NULL DEFAULT '',
    tenant_id       INTEGER REFERENCES tenants (id),
    last_used       REAL,
    master_id       INTEGER REFERENCES vault_masters (id),
    wrapped         BLOB NOT NULL,
    created_at      REAL NOT NULL
);
CREATE INDEX vault_keys_pattern ON vault_keys (address_pattern, key_id);

-- Alarms; at most one of a kind per device is open.
CREATE TABLE alarms (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    device_id       INTEGER REFERENCES registry_devices (id),
    kind            TEXT NOT NULL,
    severity        TEXT NOT NULL,
    state           TEXT NOT NULL DEFAULT 'raised',
    raised_at       REAL NOT NULL,
    text            TEXT NOT NULL,
    value           TEXT NOT NULL DEFAULT '',
    acknowledged_by INTEGER,
    acknowledged_at REAL,
    cleared_at      REAL,
    created_at      REAL NOT NULL
);
CREATE INDEX alarms_device ON alarms (device_id, id);
CREATE UNIQUE INDEX alarms_open ON alarms (device_id, kind) WHERE state <> 'cleared';
CREATE INDEX alarms_state ON alarms (state, id);

-- Use cases to be carried out. parameters and result: JSON; progress 0 to 1. Nobody approves a job of their own.
CREATE TABLE jobs (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    device_id   INTEGER NOT NULL REFERENCES registry_devices (id),
    kind        TEXT NOT NULL,
    parameters  TEXT NOT NULL DEFAULT '{}',
    state       TEXT NOT NULL DEFAULT 'draft',
    created_by  INTEGER,
    approved_by INTEGER,
    not_before  REAL,
    attempts    INTEGER NOT NULL DEFAULT 0,
    progress    REAL NOT NULL DEFAULT 0,
    result      TEXT,
    error       TEXT,
    created_at  REAL NOT NULL,
    CHECK (approved_by IS NULL OR approved_by <> created_by)
);
CREATE INDEX jobs_device ON jobs (device_id, id);
CREATE INDEX jobs_state ON jobs (state, not_before);

-- What happened to a job, line by line; never changed.
CREATE TABLE job_steps (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id     INTEGER NOT NULL REFERENCES jobs (id),
    at         REAL NOT NULL,
    text       TEXT NOT NULL,
    created_at REAL NOT NULL
);
CREATE INDEX job_steps_job ON job_steps (job_id, id);

-- Where events are posted to. events: JSON list.
CREATE TABLE webhooks (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    url        TEXT NOT NULL,
    events     TEXT NOT NULL,
    secret     TEXT NOT NULL,
    tenant_id  INTEGER REFERENCES tenants (id),
    created_at REAL NOT NULL
);

-- Posts that wait, and those that arrived.
CREATE TABLE webhook_deliveries (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    webhook_id   INTEGER NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
    event        TEXT NOT NULL,
    payload      TEXT NOT NULL,
    attempts     INTEGER NOT NULL DEFAULT 0,
    due          REAL NOT NULL,
    delivered_at REAL,
    error        TEXT,
    created_at   REAL NOT NULL
);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (due) WHERE delivered_at IS NULL;
CREATE INDEX webhook_deliveries_webhook ON webhook_deliveries (webhook_id, id);

-- Journals of the operator's end (JSON), one per owner and device; saved before a command leaves.
CREATE TABLE journals (
    owner      TEXT NOT NULL,
    address    TEXT NOT NULL,
    journal    TEXT NOT NULL,
    updated_at REAL NOT NULL,
    created_at REAL NOT NULL,
    PRIMARY KEY (owner, address)
) WITHOUT ROWID;

-- What a machine must not forget (JSON), in parts that are saved alone: counters, access numbers, orders.
CREATE TABLE memories (
    owner      TEXT NOT NULL,
    part       TEXT NOT NULL,
    name       TEXT NOT NULL,
    value      TEXT NOT NULL,
    updated_at REAL NOT NULL,
    created_at REAL NOT NULL,
    PRIMARY KEY (owner, part, name)
) WITHOUT ROWID;

-- How far the spool of a gateway is stored here: segment, octet in it, running number of the last entry.
CREATE TABLE spools (
    name       TEXT PRIMARY KEY,
    segment    INTEGER NOT NULL,
    position   INTEGER NOT NULL,
    sequence   INTEGER NOT NULL,
    updated_at REAL NOT NULL,
    created_at REAL NOT NULL
);

-- Raw octets stay as they were received.
CREATE TRIGGER frames_immutable BEFORE UPDATE ON frames
BEGIN
    SELECT RAISE(ABORT, 'frames.immutable');
END;

-- A device measures one point at a time.
CREATE TRIGGER assignments_insert BEFORE INSERT ON assignments
WHEN EXISTS (SELECT 1 FROM assignments o WHERE o.device_id = NEW.device_id
             AND (NEW.valid_to IS NULL OR o.valid_from < NEW.valid_to)
             AND (o.valid_to IS NULL OR o.valid_to > NEW.valid_from))
BEGIN
    SELECT RAISE(ABORT, 'assignments.overlap');
END;
CREATE TRIGGER assignments_update BEFORE UPDATE ON assignments
WHEN EXISTS (SELECT 1 FROM assignments o WHERE o.device_id = NEW.device_id AND o.id <> OLD.id
             AND (NEW.valid_to IS NULL OR o.valid_from < NEW.valid_to)
             AND (o.valid_to IS NULL OR o.valid_to > NEW.valid_from))
BEGIN
    SELECT RAISE(ABORT, 'assignments.overlap');
END;

-- Trails only grow. The INSERT triggers stop INSERT OR REPLACE, which would take a row away unseen.
CREATE TRIGGER audit_update BEFORE UPDATE ON audit
BEGIN
    SELECT RAISE(ABORT, 'audit.append_only');
END;
CREATE TRIGGER audit_delete BEFORE DELETE ON audit
BEGIN
    SELECT RAISE(ABORT, 'audit.append_only');
END;
CREATE TRIGGER audit_insert BEFORE INSERT ON audit WHEN EXISTS (SELECT 1 FROM audit WHERE id = NEW.id)
BEGIN
    SELECT RAISE(ABORT, 'audit.append_only');
END;
CREATE TRIGGER job_steps_update BEFORE UPDATE ON job_steps
BEGIN
    SELECT RAISE(ABORT, 'job_steps.append_only');
END;
CREATE TRIGGER job_steps_delete BEFORE DELETE ON job_steps
BEGIN
    SELECT RAISE(ABORT, 'job_steps.append_only');
END;
CREATE TRIGGER job_steps_insert BEFORE INSERT ON job_steps WHEN EXISTS (SELECT 1 FROM job_steps WHERE id = NEW.id)
BEGIN
    SELECT RAISE(ABORT, 'job_steps.append_only');
END;
