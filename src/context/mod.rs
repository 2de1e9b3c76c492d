//! What is known of a story, for the prompts of its tasks: the client of the context service.
//!
//! ```text
//!  query ─▶ check ─▶ shelf: kept? under way? ─▶ place ─▶ line ─▶ GetContext ─▶ cleaned, cut to the budget ─▶ answer
//!                      ▲                          │ 64 at once       │ once more on UNAVAILABLE               │
//!                      │                          └───────── all within the deadline ────────────────────────┤
//!  context.updated ────┘ drops other versions                                                     kept ◀─────┘
//! ```
//!
//! The daemon starts and works without the service: nothing is connected before the first query, a failure is an error
//! with a class that the task goes on without, and the next query tries again. What the service says is data, bounded
//! and never obeyed.

mod answer;
mod cache;
mod client;
mod cut;
mod exchange;
mod settings;
mod shelf;
mod standing;
mod trouble;

pub use client::{ContextClient, StartError};
pub use settings::ContextSettings;
pub use standing::ContextState;
