//! The actor system of Moothall: councils deliberate, everything that happened is in the journal first.

pub mod domain;
pub mod error;
pub mod ports;
pub mod progress;
pub mod view;

mod system;

pub use system::{Attached, CouncilDraft, Hold, System};
