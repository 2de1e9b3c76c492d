//! Places around a commit where a test may end the process, to show that a start makes up for it.

use std::str::FromStr;
use std::sync::Arc;

/// A place on the writer's thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultPoint {
    /// All rows of a group are written, nothing is durable.
    BeforeCommit,
    /// A group is durable, nobody knows.
    AfterCommit,
    /// Before each batch of a durable group is told.
    BeforeAck,
    /// A step of pruning is taken, nothing of it is durable.
    BeforePrune,
    /// A step of pruning is durable.
    AfterPrune,
}

/// Called at every point reached, on the writer's thread. It may panic or end the process.
pub type FaultHook = Arc<dyn Fn(FaultPoint) + Send + Sync>;

impl FaultPoint {
    pub const ALL: [Self; 5] =
        [Self::BeforeCommit, Self::AfterCommit, Self::BeforeAck, Self::BeforePrune, Self::AfterPrune];
    /// Those that every group passes.
    pub const OF_A_GROUP: [Self; 3] = [Self::BeforeCommit, Self::AfterCommit, Self::BeforeAck];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BeforeCommit => "before_commit",
            Self::AfterCommit => "after_commit",
            Self::BeforeAck => "before_ack",
            Self::BeforePrune => "before_prune",
            Self::AfterPrune => "after_prune",
        }
    }
}

/// No such place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("allowed are before_commit, after_commit, before_ack, before_prune and after_prune")]
pub struct UnknownFaultPoint;

impl FromStr for FaultPoint {
    type Err = UnknownFaultPoint;

    fn from_str(text: &str) -> Result<Self, UnknownFaultPoint> {
        Self::ALL.into_iter().find(|point| point.as_str() == text).ok_or(UnknownFaultPoint)
    }
}
