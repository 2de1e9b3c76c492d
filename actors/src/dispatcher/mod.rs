//! Takes tasks from the queue and has councils deliberate on them, as many at once as there is room for.
//!
//! ```text
//!  enqueue ─▶ journal ─▶ queue ──┐ woken: a task came, a run ended, a council is ready, a pause is over
//!                                ▼
//!            room of each role ─▶ round: claim ─▶ begin: journal, deliberation ─▶ watched to its end
//!                                ▲                                                     │
//!                                └──── settle: report to the queue, and in the journal what follows for others
//! ```
//!
//! One round at a time: what wakes it meanwhile makes it look once more. Rounds and settlements are tasks of their own;
//! no handler waits. What the dispatcher knows is how many of each role are at work and what is paused; everything else
//! stands in the journal and the queue, so that it may die at any moment.
//!
//! A queue that other daemons share has leases that run out and a memory of its own (docs/queue.md). Then beats keep what is
//! held, write down what ended elsewhere and tell the queue anew what the journal knows (`keep.rs`, `refill.rs`); a run's end
//! counts when the queue has taken it (`shared.rs`), and a claim may bring a task that another journal has (`takeover.rs`).

mod actor;
mod approve;
mod begin;
mod collect;
mod ending;
mod enqueue;
mod execution;
mod fill;
mod keep;
mod leases;
mod message;
mod pause;
mod refill;
mod settle;
mod shared;
mod state;
mod story;
mod stream;
mod takeover;
mod tell;
mod underway;
mod waiting;

pub(crate) use self::actor::{Arguments, Dispatcher};
pub use self::approve::{Approved, NewPlan};
pub use self::enqueue::{Enqueued, NewTask};
pub use self::execution::{Answer as ExecutionAnswer, MOST_ATTEMPTS};
pub(crate) use self::leases::Leases;
pub(crate) use self::message::Message;
pub use self::pause::Pauses;
pub use self::story::{StoryMove, StoryNote};
pub(crate) use self::stream::{Told, told};
pub use self::underway::{Heard, Underway};
