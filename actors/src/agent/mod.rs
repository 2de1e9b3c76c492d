//! One standing actor per seat: makes model calls as tasks it owns, many at once, never awaited in a handler.
//!
//! ```text
//!            Ask                    room                     answer or failure
//!  ──────────────────▶ waiting ──────────────▶ in flight ─────────────────────▶ told to the deliberation
//!                         │ queue full            │ Withdraw: task aborted, connection closed
//!                         ▼                       ▼
//!                       Busy                     Gone
//! ```
//!
//! A [`Reply`] that is dropped untold says `Gone`: whatever dies, the deliberation hears of it and asks again.

mod actor;
mod calls;
mod message;
mod state;

pub(crate) use actor::{Agent, Arguments};
pub(crate) use calls::Calls;
pub(crate) use message::{Handle, Message, Reply};
