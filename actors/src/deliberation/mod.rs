//! One actor per running task: propose → critique → revise → score, decided by what is durable.
//!
//! ```text
//!  begun ─▶ propose-0 ─▶ critique-1 ─▶ revise-1 ─▶ … ─▶ score ─▶ select ─▶ verdict ─▶ ended
//!              │             │            │               ▲  └── no architect ──▲
//!              │             └────────────┴── time up ────┤     Cancel at any place ─▶ cancelled
//!              └── nobody proposed ─▶ failed              └── one proposal, no review wanted, budget spent
//! ```
//!
//! Each arrow is taken when the events before it are on disk. A crash loses the calls in flight and nothing else: the
//! next actor folds the events ([`record`]) and asks only the seats whose answers are not among them.

mod actor;
mod allowance;
pub(crate) mod ask;
mod closing;
pub(crate) mod critique;
mod drafting;
mod election;
mod errand;
pub(crate) mod json;
mod judging;
#[cfg(test)]
mod judging_tests;
mod load;
mod message;
mod outputs;
mod pen;
pub(crate) mod prompt;
mod ranking;
pub(crate) mod record;
mod reports;
mod scoring;
mod seat;
mod show;
mod state;
#[cfg(test)]
mod state_tests;
pub(crate) mod step;
mod submission;
#[cfg(test)]
pub(crate) mod table;
#[cfg(test)]
mod turns_tests;

pub(crate) use actor::{Arguments, Begun, Deliberation};
pub(crate) use closing::{Closing, close};
pub(crate) use drafting::Drafting;
pub(crate) use load::read_ending;
pub(crate) use message::Message;
pub(crate) use show::phase_of;
pub(crate) use step::Input;
