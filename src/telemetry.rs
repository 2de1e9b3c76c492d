//! Logs and metrics: set up once at start.
