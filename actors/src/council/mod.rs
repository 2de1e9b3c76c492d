//! One standing actor per role: knows who sits in it, and turns a task into the plan of a deliberation.
//!
//! ```text
//!             loaded                    change written
//!  reading ───────────▶ at work ◀──────────────────────── writing   (one change at a time; others wait)
//!     ▲                    │  └────── Join, Leave, Delete ────▲ │
//!     └────────────────────┴───── somebody else wrote ──────────┘
//! ```
//!
//! It is a cache of its stream: after a crash the next one reads it again. Agents and deliberations are not its
//! children and go on meanwhile.

mod actor;
mod message;
mod plan;
mod state;

pub(crate) use actor::{Arguments, CouncilActor};
pub(crate) use message::{Change, Message, Reply};
pub(crate) use plan::{Made, plan, seats};
