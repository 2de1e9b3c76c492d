//! Workflows: a Spec Kit stage in two phases, each executed by the agent hub or a client, then decided on by humans.
//!
//! ```text
//!  create ─▶ journal ─▶ actor ─▶ hub ─▶ agent_complete ─▶ journal ─▶ (at rest) … approve ─▶ woken ─▶ journal ─▶ …
//! ```
//!
//! A workflow has an actor only while there is something to do: its hub works, somebody asks for something, or it was just
//! used. At rest it is a row and a stream; its supervisor knows only when to wake it, and only if it has a deadline. The
//! stream is the truth: an actor decides, writes, and is what it wrote.

mod actor;
mod approval;
mod directory;
mod door;
mod error;
mod message;
mod said;
mod state;

pub(crate) use actor::{Arguments, WorkflowActor};
pub(crate) use directory::{Directory, Present};
pub use door::{Following, NewWorkflow};
pub use error::WorkflowError;
pub(crate) use message::{Mail, Message};
pub(crate) use state::State;
pub use state::{Asked, Wish};
