//! Tests of orchestrator.
