-- Schema 3: tasks that wait in the queue, or that came from it and are at work.
-- Only a new table, no index: a store of an earlier schema that may not be changed is read with an empty one in its place.

-- Filled from the events of the task; a start fills the queue from here.
CREATE TABLE queue (
    seq   INTEGER PRIMARY KEY,  -- tasks.seq
    state TEXT NOT NULL,        -- QUEUED, BLOCKED, IN_PROGRESS, DISPATCHED, PARKED
    entry TEXT NOT NULL         -- JSON
) STRICT;
