//! A workflow that is told what happens, and becomes what it decides.

mod approval;
mod table;

use super::*;
use crate::domain::event::NewEvent;
use crate::domain::id::StreamId;
use crate::domain::workflow::{ApprovalRule, WorkflowType};

const ID: WorkflowId = WorkflowId([7; 16]);
const NEXT: WorkflowId = WorkflowId([8; 16]);
const NOW: Timestamp = Timestamp(1_000_000);

/// A workflow in a test: what it decides is what it becomes.
struct Story {
    state: State,
    ids: u8,
    now: Timestamp,
    /// What it began after itself.
    next: Option<Box<Created>>,
}

fn created(approval: ApprovalRule) -> Created {
    Created {
        workflow: ID,
        workflow_type: WorkflowType::Specify,
        feature_id: "001-sign-in".into(),
        description: "Sign in with a key".into(),
        context: None,
        dispatch: Dispatch::Auto,
        approval,
        chain: Vec::new(),
        origin: None,
        request: None,
    }
}

fn stamped(events: Vec<Event>, version: u64, first: u8, at: Timestamp) -> Vec<Recorded> {
    let stream = StreamId::workflow(ID);
    let stamp = |(place, event): (u8, Event)| Recorded {
        seq: version + u64::from(place) + 1,
        stream: stream.clone(),
        version: version + u64::from(place) + 1,
        schema: 1,
        event: NewEvent { id: EventId([first + place; 16]), at, correlation: None, causation: None, event },
    };
    (0..).zip(events).map(stamp).collect()
}

impl Story {
    fn of(created: Created) -> Self {
        let events = stamped(beginning(created), 0, 0, NOW);
        Self { state: State::of(&events).unwrap(), ids: 2, now: NOW, next: None }
    }

    fn under(approval: ApprovalRule) -> Self {
        Self::of(created(approval))
    }

    fn decide(&mut self, input: &Input<'_>) -> Result<(), WorkflowError> {
        match self.state.decide(input, Drawn { now: self.now, next: NEXT })? {
            Effect::Keep => {}
            Effect::Write { steps, next } => {
                let steps: Vec<_> = steps.into_iter().map(|step| Event::WorkflowAdvanced(Arc::new(step))).collect();
                let (version, count) = (self.state.workflow.version, u8::try_from(steps.len()).unwrap());
                stamped(steps, version, self.ids, self.now).iter().for_each(|recorded| self.state.take_in(recorded));
                self.ids += count;
                self.next = next;
            }
        }
        Ok(())
    }

    fn asks(&mut self, asked: &Asked) -> Result<(), WorkflowError> {
        let event = EventId([self.ids; 16]);
        self.decide(&Input::Asked { asked, event })
    }

    fn wishes(&mut self, wish: Wish) -> Result<(), WorkflowError> {
        self.asks(&Asked::plain(wish))
    }

    fn by(&mut self, wish: Wish, actor: &str) -> Result<(), WorkflowError> {
        self.asks(&Asked { actor: Some(actor.into()), ..Asked::plain(wish) })
    }

    fn answers(&mut self, artifact: Artifact) {
        let id = self.state.invocation().unwrap().id;
        self.decide(&Input::Answered { id, answer: &Ok(artifact) }).unwrap();
    }

    fn stands(&self) -> (Status, Phase, u32) {
        let Workflow { status, phase, attempt, .. } = *self.state.workflow;
        (status, phase, attempt)
    }
}

fn json(text: &str) -> Json {
    Json::parse(text).unwrap()
}

fn artifact(text: &str) -> Artifact {
    Artifact { confidence: Some(85.0), checks_passed: Some(true), ..Artifact::of(json(text)) }
}

/// In each status, without a decision before.
fn at(status: Status) -> Story {
    let mut story = Story::under(ApprovalRule::default());
    match status {
        Status::Pending | Status::InProgress => {}
        Status::WaitingApproval => story.answers(artifact("{}")),
        Status::Failed => story.wishes(Wish::Fail).unwrap(),
        Status::Completed => {
            for _ in 0..2 {
                story.answers(artifact("{}"));
                story.wishes(Wish::Approve).unwrap();
            }
        }
    }
    story
}
