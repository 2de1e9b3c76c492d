//! Tests of council.
