-- Schema 2: what is left of pruned tasks, and how far pruning got.
-- Only new tables, no index: a store of schema 1 that may not be changed is read with empty ones in their place.

-- The last word on a pruned task. Its stream keeps its name, so that nothing begins under it again.
CREATE TABLE tombstones (
    stream       INTEGER PRIMARY KEY,  -- streams.id of task/<id>
    version      INTEGER NOT NULL,     -- of that stream, when it was pruned
    role         TEXT    NOT NULL,
    kind         TEXT    NOT NULL,
    status       TEXT    NOT NULL,     -- completed, failed, cancelled
    run          INTEGER NOT NULL,
    content_hash TEXT    NOT NULL,
    winner       TEXT,
    error        TEXT,                 -- at most 1,024 characters
    duration_ms  INTEGER,
    accepted_at  INTEGER NOT NULL,
    ended_at     INTEGER NOT NULL,
    pruned_at    INTEGER NOT NULL
) STRICT;

-- Pruned tasks whose events are not all deleted: deleting goes on here, whatever stopped it.
CREATE TABLE doomed (
    stream INTEGER PRIMARY KEY,  -- as in tombstones
    run    INTEGER NOT NULL      -- whose deliberation is deleted next; 0 = the task's own events
) STRICT;

-- Readers that must see every event: a task with an event beyond the slowest of them is not pruned.
CREATE TABLE cursors (
    name TEXT    PRIMARY KEY,
    seq  INTEGER NOT NULL        -- the last event it has seen
) STRICT, WITHOUT ROWID;

-- How much was pruned: ever, and by the last prune.
CREATE TABLE pruned (
    one        INTEGER PRIMARY KEY CHECK (one = 1),
    at         INTEGER,                     -- when the last one ended; NULL = never
    last_tasks INTEGER NOT NULL DEFAULT 0,
    tasks      INTEGER NOT NULL DEFAULT 0,
    completed  INTEGER NOT NULL DEFAULT 0,  -- of them
    events     INTEGER NOT NULL DEFAULT 0,
    tombstones INTEGER NOT NULL DEFAULT 0   -- that are there now
) STRICT;

INSERT INTO pruned (one) VALUES (1);
