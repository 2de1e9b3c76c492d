//! Messages from elsewhere in the simulation: few of them, each comes again and again, and takes effect once.

use std::collections::BTreeSet;

use moothall_actors::domain::event::{Event, Recorded};
use moothall_actors::domain::execution::Executed;
use moothall_actors::domain::id::{AgentId, Timestamp};
use moothall_actors::domain::message::{Cause, Rejected};
use moothall_actors::domain::queue::QueueState;
use moothall_actors::domain::receipt::{Receipt, ReceiptKey};
use moothall_actors::error::SystemError;
use moothall_actors::ports::queue::Filter;
use moothall_actors::testing::Random;
use moothall_actors::{ExecutionAnswer, StoryMove, StoryNote, System};

/// Different ones, so that most come more than once.
const MESSAGES: u64 = 12;

/// Any of them, for the first time or again. An error means nothing: it will come again.
pub(crate) async fn any_comes(system: &System, random: &Random) {
    let number = random.below(MESSAGES);
    let name = format!("m-{number}");
    let receipt = Receipt { keys: vec![ReceiptKey::of(&[&name])], until: Timestamp(u64::MAX) };
    let story = format!("s-{}", number % 3);
    drop(match number % 5 {
        0 => move_story(system, &story, name, receipt).await,
        1 => {
            let note = StoryNote::Decision { id: name.into(), kind: Some("simulated".into()) };
            system.note_of_story(&story, note, receipt).await
        }
        2 => {
            let note = StoryNote::Milestone { id: name.into(), name: "simulated".into() };
            system.note_of_story(&story, note, receipt).await
        }
        3 => system.reject(rejected(name), receipt).await,
        _ => system.refuse_publishing(number, "simulated").await,
    });
}

async fn move_story(system: &System, story: &str, name: String, receipt: Receipt) -> Result<(), SystemError> {
    let cause = Cause { event_id: Some(name.into()), ..Cause::default() };
    let moves = StoryMove { story: story.into(), from: None, to: "BUILD".into(), cause, receipt: Some(receipt) };
    system.move_story(moves).await.map(drop)
}

fn rejected(name: String) -> Rejected {
    Rejected {
        subject: name.into(),
        reason: "simulated".into(),
        stream: "SIMULATED".into(),
        sequence: 1,
        raw: "e30=".into(),
        length: 2,
        sha256: "".into(),
        cause: Cause::default(),
    }
}

/// An answer for any winner that is being carried out; now and then one of no use.
pub(crate) async fn somebody_executes(system: &System, random: &Random) {
    let filter = Filter { state: Some(QueueState::Dispatched), limit: 100, ..Filter::default() };
    let rows = system.queued(&filter).await.unwrap_or_default();
    let Some(row) = rows.get(random.below(rows.len().max(1) as u64) as usize) else { return };
    let outcome = match random.below(4) {
        0 => Executed::Failed { error: "simulated".into(), may_heal: random.chance(50) },
        _ => Executed::Completed { checks_passed: Some(true), duration_ms: None, output: Some("{}".into()) },
    };
    let attempt = random.chance(50).then(|| 1 + random.below(3) as u32);
    let place = ReceiptKey::of(&["answer", &random.below(u64::MAX).to_string()]);
    let receipt = Receipt { keys: vec![place], until: Timestamp(u64::MAX) };
    let agent = AgentId::of_council(&row.entry.role, 1 + random.below(3) as usize).as_str().into();
    let answer = ExecutionAnswer { task: row.entry.task.clone(), agent, attempt, outcome };
    drop(system.executed(answer, receipt).await);
}

/// No message had its effect twice.
pub(crate) fn each_took_effect_once(events: &[Recorded]) {
    let name = |event: &Event| match event {
        Event::StoryMoved { cause, .. } => cause.event_id.as_deref().map(str::to_owned),
        Event::DecisionAdded { decision, .. } => Some(decision.to_string()),
        Event::MilestoneReached { milestone, .. } => Some(milestone.to_string()),
        Event::MessageRejected(rejected) => Some(rejected.subject.to_string()),
        Event::PublishRefused { seq, .. } => Some(seq.to_string()),
        _ => None,
    };
    let mut names = BTreeSet::new();
    for name in events.iter().filter_map(|recorded| name(&recorded.event.event)) {
        assert!(names.insert(name.clone()), "{name} took effect twice");
    }
}
