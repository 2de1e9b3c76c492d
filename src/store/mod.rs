//! The journal on disk: SQLite.
