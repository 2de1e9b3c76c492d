//! A plan approved elsewhere becomes derived tasks.
//!
//! ```text
//! bytes ─▶ which source? ─▶ drafts ─▶ graph ─▶ Plan ─▶ derive(strategy) ─▶ tasks to queue
//!          source/          one per    ids,     in       │
//!          JSON YAML        task,      cycles,  order    ├─▶ to_text, to_dot    for people
//!          Markdown         with its   order             ├─▶ changes            approved again
//!          Spec Kit         place                        └─▶ make_unique        ids across plans
//! ```
//!
//! Plans are written by people and models, so nothing is taken on trust: every length, depth and number has a limit
//! ([`limit`]), and a plan that is wrong is refused with all its [`Problems`] at once, each with its place. What can be
//! carried out but may not be what was meant is a note of the [`Plan`].
//!
//! Everything here is a pure function of its input: no clock, no files, no network.

mod draft;
mod graph;
mod header;
pub mod limit;
mod place;
mod read;
mod report;
mod revision;
mod source;
mod strategy;
mod task;
mod view;

#[cfg(test)]
mod properties;

pub use header::Origin;
pub use read::{Approval, approval, parse};
pub use source::{PHASES, is_task_list};
pub use strategy::{Derived, Strategy};
pub use task::{Constraints, OnDependencyFailure, Plan, PlannedTask, Priority, Source};
