//! The actor system of Moothall: councils deliberate, everything that happened is in the journal first.
//!
//! The way of a task through these folders: [`gate`] admits it, its [`council`] seats it, a [`deliberation`] works on it,
//! each seat's [`agent`] makes the calls, and the [`supervisor`]s bring back whatever dies. [`System`] is the door for
//! adapters; [`ports`] is what the world must provide.

mod admission;
mod agent;
mod architect;
pub mod artifact;
mod attached;
mod budget;
mod census;
mod context;
mod council;
mod deliberation;
mod dispatcher;
pub mod document;
pub mod domain;
pub mod error;
mod exchange;
mod gate;
pub mod past;
pub mod ports;
pub mod progress;
mod pruned;
pub mod queue;
pub mod replay;
mod roster;
mod running;
mod settings;
mod status;
mod supervisor;
mod system;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod view;
mod workflow;
mod world;

pub use attached::{Attached, Hold};
pub use deliberation::prompt::{PromptError, Prompts, TEMPLATES};
pub use dispatcher::{
    Approved, Enqueued, ExecutionAnswer, Heard, MOST_ATTEMPTS, NewPlan, NewTask, Pauses, StoryMove, StoryNote, Underway,
};
pub use roster::CouncilDraft;
pub use settings::{QueueSettings, Settings, WorkflowSettings};
pub use supervisor::policy;
pub use system::{StartError, System};
pub use workflow::{Asked, Following, NewWorkflow, Wish, WorkflowError};
pub use world::Fault;
