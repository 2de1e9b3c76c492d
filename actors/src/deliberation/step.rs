//! What goes into a deliberation's state, and what comes out.

use std::sync::Arc;
use std::time::Duration;

use crate::artifact::Draft;
use crate::domain::answer::{Answer, Failure};
use crate::domain::check::CheckReport;
use crate::domain::event::{Event, NewEvent};
use crate::domain::id::{CallId, Wave};
use crate::domain::verdict::Outcome;
use crate::error::SystemError;
use crate::ports::Subject;
use crate::progress::Update;

/// What happened.
#[derive(Debug)]
pub(crate) enum Input {
    /// Nothing of this run is in the journal yet.
    Begin,
    /// Its plan is, and nothing else.
    Begun,
    /// The record was folded from the journal.
    Resume,
    Answered {
        call: CallId,
        answer: Answer,
        draft: Option<Draft>,
    },
    Failed {
        call: CallId,
        failure: Failure,
    },
    /// The oldest append is durable.
    Appended {
        events: Arc<[NewEvent]>,
    },
    /// The current wave has had its time.
    WaveTimeUp {
        wave: Wave,
    },
    /// The deliberation has had its time.
    TimeUp,
    /// The wait before a repeated ask is over.
    RepeatDue {
        call: CallId,
    },
    /// The executor has taken what was submitted.
    Accepted {
        wave: Wave,
        attempt: u32,
        name: Arc<str>,
    },
    /// It is away for too long: these calls were not taken.
    ExecutorAway {
        calls: Vec<CallId>,
        why: Arc<str>,
    },
    /// One report per proposal, in seat order.
    Checked {
        reports: Vec<CheckReport>,
    },
    /// The checks have had their time.
    ChecksTimeUp,
    CancelAsked {
        reason: Arc<str>,
    },
}

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Append an outcome to the run's stream, together with those that come at the same time.
    Note(Event),
    /// Append a decision to the run's stream; `task` goes to the task's stream in the same batch.
    Decide {
        event: Event,
        task: Option<Box<Event>>,
    },
    Ask(Ask),
    /// Hand these to the executor, or attach to what it has taken under a name.
    Submit(Submit),
    /// Drop all calls in flight, so that their connections close.
    Withdraw,
    /// Nobody needs what the executor has of the current wave.
    Recall,
    Check {
        subjects: Vec<Subject>,
        within: Duration,
    },
    Arm {
        timer: Timer,
        after: Duration,
    },
    Show(Update),
    /// The run is over and durable.
    End(Result<Arc<Outcome>, SystemError>),
}

/// One call to make; the actor renders its prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ask {
    /// The seat, or the ballot while the architect chooses; from 0.
    pub(crate) seat: usize,
    pub(crate) call: CallId,
    pub(crate) most_attempts: u32,
}

/// Calls that the executor makes; the actor renders their prompts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Submit {
    pub(crate) attempt: u32,
    pub(crate) asks: Vec<Ask>,
    /// Under which it runs already.
    pub(crate) name: Option<Arc<str>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Timer {
    Whole,
    Wave(Wave),
    Repeat(CallId),
}
