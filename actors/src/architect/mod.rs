//! The architect: chooses the winner among the best proposals, blind and twice, or leaves the choice to the score.
//!
//! ```text
//!  scored ─▶ shortlist (the best 3 of equal evidence) ─▶ ballot 1: A B C ─┐
//!                                                    └─▶ ballot 2: C B A ─┴─▶ same first? ── yes ─▶ it wins
//!                                                                                        └── no ──▶ the score decides
//! ```
//!
//! Both ballots are calls of one agent of the ARCHITECT council, which sees no names; the second shows the candidates in
//! reverse, so that a preference for a place cancels itself. The deliberation journals the answers as any other call's;
//! the actor here is stateless: it renders a ballot and hands it to the agent.

mod actor;
mod ballot;
mod message;
mod state;

pub(crate) use actor::{Architect, Arguments};
pub(crate) use message::{Message, Paper};
pub(crate) use state::{BALLOTS, Vote, call, candidates, decide, no_choice};
