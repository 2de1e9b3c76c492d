//! What the actor system needs from the world: one object-safe trait and one classed error each.

mod checks;
mod clock;
mod context;
pub mod executor;
mod hub;
mod journal;
mod model;
pub mod queue;
pub mod shared;
mod task_row;

use std::sync::Arc;

pub use checks::{Checks, Form, Subject};
pub use clock::{Clock, IdSource};
pub use context::{Blocks, Context, ContextError, ContextQuery, ContextSource, DEFAULT_CONTEXT_TOKENS, StoryPhase};
pub use hub::{Hub, HubError, Invocation, InvocationId};
pub use journal::{
    AT_THE_END, Ack, Append, Batch, Committed, Cursor, Journal, JournalError, JournalHealth, JournalStats, Recovery,
    TaskQuery, WorkflowQuery, whole_stream,
};
pub(crate) use journal::{commit_patiently, settled};
pub use model::{AnswerForm, Model, ModelCall};
pub use task_row::{TaskRow, TaskStatus, failed_because_of, skipped_because_of};

/// All of them, as handed to [`crate::System::start`].
#[derive(Clone)]
pub struct Ports {
    pub model: Arc<dyn Model>,
    /// For seats whose calls go there; `None` = there is none, and they are refused.
    pub executor: Option<Arc<dyn executor::Executor>>,
    pub checks: Arc<dyn Checks>,
    pub journal: Arc<dyn Journal>,
    pub queue: Arc<dyn queue::TaskQueue>,
    /// The same queue, where several daemons share it; `None` = it is this daemon's alone.
    pub shared: Option<Arc<dyn shared::SharedQueue>>,
    /// `None` = tasks go on without the contexts of their stories, and say so.
    pub context: Option<Arc<dyn ContextSource>>,
    /// Executes the phases of workflows that are dispatched to it; `None` = clients do.
    pub hub: Option<Arc<dyn Hub>>,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<dyn IdSource>,
}
