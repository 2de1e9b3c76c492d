-- Schema 5: workflows and their history, projected from their streams in the same transaction.
-- Times are RFC 3339 in UTC, JSON is text: reports of an earlier program read the columns that it had.

CREATE TABLE workflows (
    seq                 INTEGER PRIMARY KEY,  -- of its creation: the order of all lists
    id                  TEXT    NOT NULL,     -- UUID
    workflow_type       TEXT    NOT NULL,     -- specify, plan, tasks, implement
    status              TEXT    NOT NULL,     -- pending, in_progress, waiting_approval, completed, failed
    feature_id          TEXT    NOT NULL,
    feature_description TEXT    NOT NULL,
    current_phase       TEXT,                 -- phase_1, phase_2
    context             TEXT,                 -- JSON
    result              TEXT,                 -- JSON
    error               TEXT,
    created_at          TEXT    NOT NULL,
    updated_at          TEXT    NOT NULL,
    completed_at        TEXT,
    wake_at             INTEGER,              -- ms since 1970, 0 = at once; NULL = when somebody asks for it
    state               TEXT    NOT NULL      -- JSON: all but the large texts
) STRICT;

CREATE UNIQUE INDEX workflows_id      ON workflows (id);
CREATE UNIQUE INDEX workflows_feature ON workflows (feature_id, workflow_type);
CREATE INDEX workflows_status         ON workflows (status, seq);
CREATE INDEX workflows_waking         ON workflows (wake_at, seq) WHERE wake_at IS NOT NULL;

CREATE TABLE workflow_history (
    seq         INTEGER NOT NULL,  -- of the event
    place       INTEGER NOT NULL,  -- among those that came with one event
    id          TEXT    NOT NULL,  -- of the event
    workflow_id TEXT    NOT NULL,
    from_status TEXT    NOT NULL,
    to_status   TEXT    NOT NULL,
    trigger     TEXT    NOT NULL,
    metadata    TEXT,              -- JSON: phase, attempt, actor, reason, artifact_hash, metadata
    created_at  TEXT    NOT NULL,
    PRIMARY KEY (seq, place)
) STRICT, WITHOUT ROWID;

CREATE INDEX workflow_history_of ON workflow_history (workflow_id, seq);

-- The last number that was drawn for a feature.
CREATE TABLE feature_numbers (
    workflow_type TEXT    PRIMARY KEY,
    last          INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
