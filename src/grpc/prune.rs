//! Pruning as the wire tells it: what is wanted, what was done, and what is left.

use std::sync::Arc;
use std::time::Duration;

use moothall_actors::domain::id::Timestamp;
use moothall_actors::ports::{JournalError, JournalStats};
use tonic::Status;

use super::number::long;
use super::orchestrator::parsed;
use super::proto::moothall::v1 as wire;
use crate::error::{Kind, journal_status, refuse};

/// What somebody wants pruned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// Tasks that ended so long ago; `None` = as configured.
    pub older_than: Option<Duration>,
    /// Only count them.
    pub dry_run: bool,
}

/// What a prune did, or would do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    pub tasks: u64,
    pub events: u64,
    /// Those whose time was over.
    pub tombstones: u64,
    /// Given back to the file system.
    pub bytes: u64,
}

/// What pruning left, ever and the last time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retained {
    /// From this place on no event is missing.
    pub first_kept: u64,
    /// Of the first event from there on.
    pub oldest: Option<Timestamp>,
    pub tombstones: u64,
    pub last_prune: Option<Timestamp>,
    pub last_tasks: u64,
}

/// Why nothing was pruned, or not all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PruneError {
    #[error("pruning is not possible: {0}")]
    NotPossible(Arc<str>),
    #[error(transparent)]
    Journal(#[from] JournalError),
}

pub(super) fn wish(message: &wire::PruneRequest) -> Result<Wish, Status> {
    parsed(|problems| {
        let seconds = message.older_than_seconds.map(u64::try_from).transpose();
        if seconds.is_err() {
            let given = message.older_than_seconds.unwrap_or_default();
            problems.push("older_than_seconds", format!("is {given}; allowed are 0 and above"));
        }
        Some(Wish { older_than: seconds.ok()?.map(Duration::from_secs), dry_run: message.dry_run })
    })
}

pub(super) fn refused(error: &PruneError) -> Status {
    match error {
        PruneError::NotPossible(_) => refuse(Kind::WrongState, &error.to_string()),
        PruneError::Journal(error) => journal_status(error),
    }
}

pub(super) fn answer(pruned: &Pruned) -> wire::PruneResponse {
    let Pruned { tasks, events, tombstones, bytes } = *pruned;
    wire::PruneResponse { tasks: long(tasks), events: long(events), tombstones: long(tombstones), bytes: long(bytes) }
}

pub(super) fn stats(stats: &JournalStats, retained: &Retained) -> wire::StatsResponse {
    let millis = |at: Option<Timestamp>| at.map(|at| long(at.0)).unwrap_or_default();
    wire::StatsResponse {
        first_seq: long(stats.first_seq),
        last_seq: long(stats.last_seq),
        events: long(stats.events),
        streams: long(stats.streams),
        tasks: long(stats.tasks),
        open_tasks: long(stats.open_tasks),
        bytes: long(stats.bytes),
        first_kept: long(retained.first_kept),
        oldest_at_ms: millis(retained.oldest),
        tombstones: long(retained.tombstones),
        last_prune_at_ms: millis(retained.last_prune),
        last_prune_tasks: long(retained.last_tasks),
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    #[test]
    fn no_age_means_the_configured_one_and_none_at_all_means_now() {
        let given = |older_than_seconds| wish(&wire::PruneRequest { older_than_seconds, dry_run: true });
        assert_eq!(given(None).unwrap(), Wish { older_than: None, dry_run: true });
        assert_eq!(given(Some(0)).unwrap().older_than, Some(Duration::ZERO));
        let refused = given(Some(-1)).unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().contains("older_than_seconds is -1"), "{refused}");
    }

    #[test]
    fn a_prune_that_is_not_set_up_is_no_fault_of_the_journal() {
        assert_eq!(refused(&PruneError::NotPossible("for ever".into())).code(), Code::FailedPrecondition);
        assert_eq!(refused(&JournalError::Closed.into()).code(), Code::Unavailable);
    }
}
