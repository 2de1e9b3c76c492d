//! Configuration: parsed raw, checked whole, then meant.
