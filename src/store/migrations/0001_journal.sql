-- Schema 1: the journal, and what is projected from it in the same transaction.
-- References between tables are checked by `verify`, not on every insert.

CREATE TABLE store (
    one        INTEGER PRIMARY KEY CHECK (one = 1),
    id         TEXT    NOT NULL,           -- UUID, made once: names this store as a holder of leases
    created_at INTEGER NOT NULL,           -- ms since 1970
    first_kept INTEGER NOT NULL DEFAULT 1  -- events with a smaller seq were pruned
) STRICT;

-- Names stand here once; events carry the number.
CREATE TABLE streams (
    id   INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE events (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    stream      INTEGER NOT NULL,  -- streams.id
    version     INTEGER NOT NULL,  -- from 1, without gaps
    event_id    BLOB    NOT NULL UNIQUE,
    type        TEXT    NOT NULL,
    schema      INTEGER NOT NULL,
    at          INTEGER NOT NULL,  -- ms since 1970
    correlation TEXT,
    causation   BLOB,
    payload     TEXT    NOT NULL,  -- JSON
    UNIQUE (stream, version)
) STRICT;

-- One row per task/… stream. `seq` is that of its acceptance: the order of all lists.
CREATE TABLE tasks (
    seq          INTEGER PRIMARY KEY,
    task         TEXT    NOT NULL UNIQUE,
    role         TEXT    NOT NULL,
    kind         TEXT    NOT NULL,  -- deliberate, orchestrate
    status       TEXT    NOT NULL,  -- open, completed, failed, cancelled
    run          INTEGER NOT NULL,
    keyed        INTEGER NOT NULL,
    content_hash TEXT    NOT NULL,
    version      INTEGER NOT NULL,
    story_id     TEXT,
    winner       TEXT,
    error        TEXT,
    duration_ms  INTEGER,
    accepted_at  INTEGER NOT NULL,
    ended_at     INTEGER
) STRICT;

-- Partial: a completed task, the usual case, costs them nothing to keep.
CREATE INDEX tasks_open      ON tasks (seq) WHERE status = 'open';
CREATE INDEX tasks_failed    ON tasks (seq) WHERE status = 'failed';
CREATE INDEX tasks_cancelled ON tasks (seq) WHERE status = 'cancelled';
CREATE INDEX tasks_of_story  ON tasks (story_id, seq) WHERE story_id IS NOT NULL;

-- Completed tasks, added up so that a start counts nothing.
CREATE TABLE finished (
    role        TEXT    NOT NULL,
    kind        TEXT    NOT NULL,
    tasks       INTEGER NOT NULL,
    duration_ms INTEGER NOT NULL,
    PRIMARY KEY (role, kind)
) STRICT, WITHOUT ROWID;

CREATE TABLE councils (
    role    TEXT    PRIMARY KEY,
    version INTEGER NOT NULL,  -- of council/<role>
    council TEXT               -- JSON; NULL = deleted
) STRICT, WITHOUT ROWID;

-- Row counts, kept by the writer: counting millions of rows would take its time.
CREATE TABLE totals (
    one        INTEGER PRIMARY KEY CHECK (one = 1),
    events     INTEGER NOT NULL DEFAULT 0,
    streams    INTEGER NOT NULL DEFAULT 0,
    tasks      INTEGER NOT NULL DEFAULT 0,
    open_tasks INTEGER NOT NULL DEFAULT 0
) STRICT;

INSERT INTO totals (one) VALUES (1);
