//! Configuration: parsed raw, checked whole, then meant.

mod secret;

pub use secret::Secret;
