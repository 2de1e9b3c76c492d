//! The executor: takes the calls of a wave together and has them made elsewhere, on as many nodes as it has.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};

use super::model::ModelCall;
use crate::domain::answer::{Answer, Failure};
use crate::domain::id::{CallId, Role, RunId, Wave};

/// Calls that go to the executor together.
#[derive(Clone, Debug)]
pub struct WaveCall {
    pub run: RunId,
    pub wave: Wave,
    /// From 1, within the wave. The same attempt again is the same wave: it starts nothing twice.
    pub attempt: u32,
    pub role: Role,
    /// What the task asks for, for whoever shows what runs.
    pub description: Arc<str>,
    pub story: Option<Arc<str>>,
    /// It is the review of a backlog: executors may treat those apart.
    pub backlog: bool,
    /// One of each seat.
    pub calls: Vec<ModelCall>,
}

/// What one call came to.
pub type Result = std::result::Result<Answer, Failure>;

/// Why a wave was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotTaken {
    /// The executor could not be reached for as long as that is put up with.
    Away {
        why: Arc<str>,
    },
    Refused(Failure),
}

/// The outcome of one call of a wave.
#[derive(Debug)]
pub struct Told {
    pub call: CallId,
    pub result: Result,
    /// Told when it is durable; dropped when it is not needed, or lost.
    pub durable: Option<oneshot::Sender<()>>,
}

/// How following a wave ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Followed {
    /// Nothing more comes of it: what was not told is lost.
    Ended,
    /// The executor cannot be reached for as long as that is put up with.
    Away { why: Arc<str> },
}

/// Has the calls of waves made. Dropping a future stops waiting and nothing else: what was taken goes on.
#[async_trait]
pub trait Executor: Send + Sync + 'static {
    /// Hands a wave over; answers with the name under which it runs.
    async fn submit(&self, wave: &WaveCall) -> std::result::Result<Arc<str>, NotTaken>;

    /// Tells what each call of the wave came to, once, as it comes.
    async fn follow(&self, name: &str, wave: &WaveCall, told: mpsc::Sender<Told>) -> Followed;

    /// Its calls are needed no more: their connections are closed.
    async fn cancel(&self, name: &str);
}
