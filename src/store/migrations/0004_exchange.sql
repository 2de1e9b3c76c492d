-- Schema 4: what was taken in from elsewhere, and how far what goes out has come.
-- Only new tables, and an index on one of them: a store of an earlier schema that may not be changed is read with empty
-- ones in their place.

-- The names of messages whose effect is in the journal; written with it.
CREATE TABLE receipts (
    key   BLOB    PRIMARY KEY,
    until INTEGER NOT NULL  -- ms since 1970; forgotten afterwards
) STRICT, WITHOUT ROWID;

CREATE INDEX receipts_until ON receipts (until);

-- What a reader of every event keeps beside its place in `cursors`.
CREATE TABLE cursor_states (
    name  TEXT PRIMARY KEY,  -- as in cursors
    state TEXT NOT NULL      -- the reader's own
) STRICT, WITHOUT ROWID;
