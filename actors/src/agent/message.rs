//! What an agent is told, and by whom.

use std::sync::Arc;

use ractor::ActorRef;

use super::calls::Calls;
use crate::deliberation::{self, Drafting};
use crate::domain::answer::{Answer, Class, Failure};
use crate::domain::id::{CallId, RunId};
use crate::ports::ModelCall;

/// An agent's mailbox.
#[derive(Debug)]
pub(crate) enum Message {
    /// From a deliberation. Answered through `reply`, whatever happens; an unanswered one would leave its wave open
    /// until the deadline.
    Ask { call: Box<ModelCall>, reply: Reply },
    /// From a deliberation that needs no answers any more. Nobody waits for this.
    Withdraw { run: RunId },
    /// From the agent's own call tasks, while somebody waits for a place: one is over.
    Ended,
    /// From the supervisor, which restarts an agent that does not echo in time.
    Ping { beat: u64 },
}

/// The way to an agent. Bounded by the permits of the deliberations that use it.
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    pub(crate) actor: ActorRef<Message>,
    pub(crate) calls: Arc<Calls>,
}

impl Handle {
    /// Asks for one call. A dead agent drops the reply, which says so.
    pub(crate) fn ask(&self, call: ModelCall, reply: Reply) {
        drop(self.actor.cast(Message::Ask { call: Box::new(call), reply }));
    }

    pub(crate) fn withdraw(&self, run: &RunId) {
        drop(self.actor.cast(Message::Withdraw { run: run.clone() }));
    }

    pub(crate) fn calls_in_flight(&self) -> u32 {
        self.calls.in_flight()
    }
}

/// The promise of an answer: told once, or it tells `Gone` when dropped.
#[derive(Debug)]
pub(crate) struct Reply {
    to: ActorRef<deliberation::Message>,
    call: Option<CallId>,
    drafting: Option<Drafting>,
}

impl Reply {
    /// `drafting`: the answer is to be an artifact.
    pub(crate) fn new(to: ActorRef<deliberation::Message>, call: CallId, drafting: Option<Drafting>) -> Self {
        Self { to, call: Some(call), drafting }
    }

    /// Tells what the call brought. Words that are to be an artifact are translated first, here in the task of the call.
    pub(crate) async fn tell(mut self, result: Result<Answer, Failure>) {
        let answer = match result {
            Ok(answer) => answer,
            Err(failure) => return self.fail(failure),
        };
        let draft = match self.drafting.take() {
            Some(drafting) => drafting.draft(answer.text.clone()).await,
            None => None,
        };
        if let Some(call) = self.call.take() {
            self.send(deliberation::Input::Answered { call, answer, draft });
        }
    }

    /// Tells why there is no answer.
    pub(crate) fn fail(mut self, failure: Failure) {
        if let Some(call) = self.call.take() {
            self.send(deliberation::Input::Failed { call, failure });
        }
    }

    /// Somebody else tells what became of the call.
    pub(crate) fn forget(mut self) {
        self.call = None;
    }

    fn send(&self, input: deliberation::Input) {
        drop(self.to.cast(deliberation::Message::Input(input)));
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(call) = self.call.take() {
            // The call may have gone out: it counts as one request.
            let gone = Failure::new(Class::Gone, "the agent stopped before it answered");
            self.send(deliberation::Input::Failed { call, failure: Failure { attempts: 1, ..gone } });
        }
    }
}
