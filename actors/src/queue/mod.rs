//! The task queue in memory: the order in which tasks run, and who may run next.
//!
//! ```text
//!               ┌──────────────────── retry, release ───────────────────────┐
//!               ▼                                                           │
//!  enqueue ─▶ QUEUED ─ claim ─▶ IN_PROGRESS ─▶ DISPATCHED ─▶ COMPLETED      │
//!     │         ▲ needs done,        │  │            │                       │
//!     │         │ phase open         │  └────────────┴─────▶ FAILED ─────────┤
//!     └──▶  BLOCKED ◀─ need failed   └─ park ─▶ PARKED ─────────────────────┤
//!               └─ need failed, «skip» ─▶ SKIPPED      any ─▶ CANCELLED ────┘
//! ```
//!
//! `board.rs`, with `leases.rs`, `needs.rs` and `look.rs`, is the whole of it, pure: no clock, no lock, no durability. [`MemoryQueue`] puts a lock and a clock around it.
//! Where the store is the queue, the board is rebuilt from the journal at a start, and every change is in the journal
//! before the board hears of it.
//!
//! Order: each role has a lane for every story, a lane is ordered by rank, and lanes take turns. The rank is the time of
//! arrival less the priority times an age, so that it never has to be written again: a task of the lowest priority is
//! overtaken only by tasks that came at most 99 ages after it.

mod board;
#[cfg(test)]
mod board_tests;
mod lanes;
mod leases;
mod look;
mod memory;
mod needs;
#[cfg(test)]
mod properties;
mod slot;

pub use board::{Board, Limits};
pub use memory::MemoryQueue;
pub(crate) use needs::in_a_circle;
