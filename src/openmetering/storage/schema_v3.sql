-- Version 3: meter data management. What is agreed, what was checked and decided, totals, reports that go out, retention.

-- What is agreed about a metering point: size class, greatest rate per hour, unit, factor of its heat cost allocator,
-- main or sub-meter, seconds between two values of its grid, number of the metering location in the market.
CREATE TABLE point_data (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    point_id   INTEGER NOT NULL REFERENCES points (id) ON DELETE CASCADE,
    size       TEXT NOT NULL DEFAULT '',
    maximum    TEXT,
    unit       TEXT,
    factor     TEXT,
    part       TEXT NOT NULL DEFAULT '',
    grid       REAL,
    identifier TEXT NOT NULL DEFAULT '',
    created_at REAL NOT NULL,
    UNIQUE (point_id)
);

-- What is agreed about a place: area (m2), use, energy that one unit of the heat cost allocators stands for, its number in the
-- files of the property manager.
CREATE TABLE node_data (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    node_id      INTEGER NOT NULL REFERENCES nodes (id) ON DELETE CASCADE,
    area         REAL,
    usage        TEXT NOT NULL DEFAULT '',
    kwh_per_unit TEXT,
    identifier   TEXT NOT NULL DEFAULT '',
    created_at   REAL NOT NULL,
    UNIQUE (node_id)
);

-- When which values were checked, and what was found.
CREATE TABLE validation_runs (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant_id   INTEGER NOT NULL REFERENCES tenants (id),
    since       REAL NOT NULL,
    until       REAL NOT NULL,
    author      INTEGER,
    points      INTEGER NOT NULL DEFAULT 0,
    values_seen INTEGER NOT NULL DEFAULT 0,
    findings    INTEGER NOT NULL DEFAULT 0,
    created_at  REAL NOT NULL
);
CREATE INDEX validation_runs_tenant ON validation_runs (tenant_id, id);

CREATE TABLE findings (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    run_id     INTEGER NOT NULL REFERENCES validation_runs (id) ON DELETE CASCADE,
    point_id   INTEGER NOT NULL REFERENCES points (id) ON DELETE CASCADE,
    rule       TEXT NOT NULL,
    severity   TEXT NOT NULL,
    device     TEXT NOT NULL,
    since      REAL NOT NULL,
    until      REAL NOT NULL,
    reason     TEXT NOT NULL,
    samples    TEXT NOT NULL DEFAULT '[]',
    created_at REAL NOT NULL
);
CREATE INDEX findings_run ON findings (run_id, id);
CREATE INDEX findings_point ON findings (point_id, id);

-- Values as a rule or a person says they are, beside the raw ones; the greatest number of a moment counts.
CREATE TABLE versions (
    point_id    INTEGER NOT NULL REFERENCES points (id) ON DELETE CASCADE,
    at          REAL NOT NULL,
    number      INTEGER NOT NULL,
    value       TEXT,
    unit        TEXT NOT NULL,
    quality     TEXT NOT NULL,
    uncertainty TEXT NOT NULL DEFAULT '0',
    rule        TEXT NOT NULL,
    reason      TEXT NOT NULL,
    author      TEXT NOT NULL,
    made_at     REAL NOT NULL,
    PRIMARY KEY (point_id, at, number)
) WITHOUT ROWID;

-- Consumption of a building by months that stays when the values of its units are erased.
CREATE TABLE kept_totals (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    node_id    INTEGER NOT NULL REFERENCES nodes (id),
    medium     TEXT NOT NULL,
    unit       TEXT NOT NULL,
    month      TEXT NOT NULL,
    amount     TEXT NOT NULL,
    points     INTEGER NOT NULL,
    created_at REAL NOT NULL,
    UNIQUE (node_id, medium, unit, month)
);

-- Reports that are sent by themselves: on which day of the month, how and to whom.
CREATE TABLE report_schedules (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant_id  INTEGER NOT NULL REFERENCES tenants (id),
    node_id    INTEGER REFERENCES nodes (id) ON DELETE CASCADE,
    report     TEXT NOT NULL,
    format     TEXT NOT NULL,
    day        INTEGER NOT NULL DEFAULT 1,
    channel    TEXT NOT NULL,
    target     TEXT NOT NULL,
    locale     TEXT NOT NULL DEFAULT 'en',
    last_at    REAL,
    next_at    REAL NOT NULL,
    error      TEXT,
    created_at REAL NOT NULL
);
CREATE INDEX report_schedules_next ON report_schedules (next_at);

-- How many days what is kept, by purpose.
CREATE TABLE retention (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant_id  INTEGER NOT NULL REFERENCES tenants (id),
    purpose    TEXT NOT NULL,
    days       INTEGER NOT NULL,
    created_at REAL NOT NULL,
    UNIQUE (tenant_id, purpose)
);

-- Readings have no reference to frames any more, as in PostgreSQL: SQLite looked through all of them for each frame that was
-- deleted. What hangs on frames goes with them by its own key.
DROP VIEW meter_readings;
CREATE TABLE readings_v3 (
    series_id   INTEGER NOT NULL REFERENCES series (id),
    received_at REAL NOT NULL,
    frame_id    INTEGER NOT NULL,
    position    INTEGER NOT NULL,
    value       TEXT,
    mantissa    INTEGER,
    exponent    INTEGER,
    time        TEXT,
    error       TEXT,
    PRIMARY KEY (series_id, received_at, frame_id, position)
) WITHOUT ROWID;
INSERT INTO readings_v3 SELECT series_id, received_at, frame_id, position, value, mantissa, exponent, time, error FROM readings;
DROP TABLE readings;
ALTER TABLE readings_v3 RENAME TO readings;
CREATE VIEW meter_readings AS
SELECT a.address, a.medium, r.received_at, s.quantity, r.value, s.unit, s.function, s.storage, s.tariff, s.subunit,
       s.qualifiers, s.obis, s.tag, r.mantissa, r.exponent, r.time, r.error, r.frame_id
FROM readings r JOIN series s ON s.id = r.series_id JOIN addresses a ON a.id = s.address_id;
CREATE TRIGGER frames_gone BEFORE DELETE ON frames
BEGIN
    DELETE FROM readings
    WHERE series_id IN (SELECT s.id FROM telegrams t JOIN series s ON s.address_id = t.address_id WHERE t.frame_id = OLD.id)
      AND received_at = (SELECT received_at FROM telegrams WHERE frame_id = OLD.id) AND frame_id = OLD.id;
END;
