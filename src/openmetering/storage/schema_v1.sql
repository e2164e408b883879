-- Schema of openmetering, version 1. Times are seconds since 1970 (UTC).

CREATE TABLE migrations (
    version    INTEGER PRIMARY KEY,
    file       TEXT NOT NULL,
    applied_at REAL NOT NULL
);

-- Where receptions come from. For files: how far they are stored, and what tells this file from another one.
CREATE TABLE sources (
    id         INTEGER PRIMARY KEY,
    name       TEXT NOT NULL UNIQUE,
    position   INTEGER,
    mark       TEXT
);

-- One row per telegram on air or wire, however many receivers heard it. Octets as the first receiver gave them.
-- identity: 64 bits that copies of the same telegram share (CRCs and hop bits left out).
CREATE TABLE frames (
    id           INTEGER PRIMARY KEY,
    identity     INTEGER NOT NULL,
    received_at  REAL NOT NULL,
    source_id    INTEGER NOT NULL REFERENCES sources (id),
    mode         TEXT,
    octets       BLOB NOT NULL
);
CREATE INDEX frames_identity ON frames (identity, received_at);
CREATE INDEX frames_received ON frames (received_at);

-- One row per receiver and frame. octets only where they differ from those of the frame (CRCs, hop bits).
CREATE TABLE receptions (
    frame_id     INTEGER NOT NULL REFERENCES frames (id) ON DELETE CASCADE,
    source_id    INTEGER NOT NULL REFERENCES sources (id),
    received_at  REAL NOT NULL,
    rssi_dbm     REAL,
    rssi_raw     INTEGER,
    mode         TEXT,
    address_hint TEXT,
    octets       BLOB,
    PRIMARY KEY (frame_id, source_id, received_at)
) WITHOUT ROWID;

-- Frames that nobody has decoded yet; emptied as telegrams are stored.
CREATE TABLE pending (
    frame_id INTEGER PRIMARY KEY REFERENCES frames (id) ON DELETE CASCADE
);

-- Devices that sent telegrams: FLAG-number-version-type, or source#primary address where a frame names no more.
CREATE TABLE addresses (
    id             INTEGER PRIMARY KEY,
    address        TEXT NOT NULL UNIQUE,
    manufacturer   TEXT,
    identification TEXT,
    version        INTEGER,
    device_type    INTEGER,
    medium         TEXT
);

-- What decoding gave. state: decoded, fragment (part of a message), failed. error is the stable code.
CREATE TABLE telegrams (
    frame_id      INTEGER PRIMARY KEY REFERENCES frames (id) ON DELETE CASCADE,
    address_id    INTEGER REFERENCES addresses (id),
    received_at   REAL NOT NULL,
    decoded_at    REAL NOT NULL,
    state         TEXT NOT NULL,
    error         TEXT,
    message       TEXT,
    access_number INTEGER,
    status        INTEGER,
    security      TEXT NOT NULL,
    proof         TEXT,
    readings      INTEGER NOT NULL DEFAULT 0,
    answer        TEXT
);
CREATE INDEX telegrams_address ON telegrams (address_id, received_at);
CREATE INDEX telegrams_open ON telegrams (error, received_at) WHERE error IS NOT NULL;
CREATE INDEX telegrams_fragments ON telegrams (received_at, frame_id) WHERE state = 'fragment';

-- What a reading is: one row per device and kind of value.
CREATE TABLE series (
    id         INTEGER PRIMARY KEY,
    address_id INTEGER NOT NULL REFERENCES addresses (id),
    quantity   TEXT NOT NULL,
    unit       TEXT NOT NULL,
    function   TEXT NOT NULL,
    storage    INTEGER NOT NULL,
    tariff     INTEGER NOT NULL,
    subunit    INTEGER NOT NULL,
    qualifiers TEXT NOT NULL,
    obis       TEXT NOT NULL DEFAULT '',
    tag        TEXT NOT NULL DEFAULT '',
    dib        TEXT NOT NULL,
    vib        TEXT NOT NULL,
    UNIQUE (address_id, dib, vib, quantity, unit, obis, tag)
);

-- The values. value: exact digits, ISO 8601 time, text, or hexadecimal octets; number = mantissa * 10^exponent
-- (exponent only for numbers; mantissa missing where it has more than 64 bits). time: the device's own time of
-- the value, where the telegram carries it. error: why there is no value.
CREATE TABLE readings (
    series_id   INTEGER NOT NULL REFERENCES series (id),
    received_at REAL NOT NULL,
    frame_id    INTEGER NOT NULL REFERENCES frames (id) ON DELETE CASCADE,
    position    INTEGER NOT NULL,
    value       TEXT,
    mantissa    INTEGER,
    exponent    INTEGER,
    time        TEXT,
    error       TEXT,
    PRIMARY KEY (series_id, received_at, frame_id, position)
) WITHOUT ROWID;

-- Known formats of compact frames.
CREATE TABLE formats (
    headers   TEXT PRIMARY KEY,
    signature TEXT NOT NULL,
    source    TEXT NOT NULL,
    learned_at REAL NOT NULL
);

-- Message counters by peer and key; version -1 stands for a key without version.
CREATE TABLE counters (
    address    BLOB NOT NULL,
    key_id     INTEGER NOT NULL,
    version    INTEGER NOT NULL,
    own        INTEGER NOT NULL,
    peer       INTEGER,
    digest     BLOB NOT NULL,
    updated_at REAL NOT NULL,
    PRIMARY KEY (address, key_id, version)
) WITHOUT ROWID;

CREATE VIEW devices AS
SELECT a.id, a.address, a.manufacturer, a.identification, a.version, a.device_type, a.medium,
       count(t.frame_id) AS telegrams,
       sum(t.state = 'failed') AS failed,
       min(t.received_at) AS first_heard,
       max(t.received_at) AS last_heard
FROM addresses a LEFT JOIN telegrams t ON t.address_id = a.id
GROUP BY a.id;

CREATE VIEW meter_readings AS
SELECT a.address, a.medium, r.received_at, s.quantity, r.value, s.unit, s.function, s.storage, s.tariff, s.subunit,
       s.qualifiers, s.obis, s.tag, r.mantissa, r.exponent, r.time, r.error, r.frame_id
FROM readings r JOIN series s ON s.id = r.series_id JOIN addresses a ON a.id = s.address_id;
