//! Words that the stories share.

use std::sync::Arc;
use std::time::Duration;

use moothall_actors::StoryMove;
use moothall_actors::domain::answer::{Class, Failure};
use moothall_actors::domain::event::{Event, Recorded};
use moothall_actors::domain::id::{Role, TaskId};
use moothall_actors::domain::task::TaskDraft;
use moothall_actors::domain::verdict::Outcome;
use moothall_actors::error::SystemError;
use moothall_actors::ports::ModelCall;
use moothall_actors::testing::{FakeModel, Reaction, Stage, draft, spec};
use moothall_actors::{Attached, Hold};

pub(crate) fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Virtual time passes; whoever can go on does.
pub(crate) async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

pub(crate) fn role(name: &str) -> Role {
    Role::parse("role", name).unwrap()
}

pub(crate) fn task(name: &str) -> TaskId {
    Stage::task(name)
}

/// Submits a task for DEV under this id.
pub(crate) async fn submit(stage: &Stage, id: &str) -> Attached {
    submit_as(stage, id, draft("d"), Hold::Call).await.unwrap()
}

pub(crate) async fn submit_as(stage: &Stage, id: &str, draft: TaskDraft, hold: Hold) -> Result<Attached, SystemError> {
    stage.system().submit(Some(task(id)), spec(draft), hold).await
}

/// Submits and waits for the end.
pub(crate) async fn deliberate(stage: &Stage, id: &str) -> Result<Arc<Outcome>, SystemError> {
    submit(stage, id).await.outcome().await
}

/// The usual answer after a while.
pub(crate) fn usual(call: &ModelCall, after: Duration) -> (Duration, Reaction) {
    (after, Reaction::Answer(FakeModel::usual(call)))
}

pub(crate) fn is_seat(call: &ModelCall, ordinal: usize) -> bool {
    call.id.agent.as_str().ends_with(&format!("-{ordinal:03}"))
}

pub(crate) fn fails(class: Class, message: &str) -> (Duration, Reaction) {
    (ms(5), Reaction::Fail(Failure { attempts: 1, ..Failure::new(class, message) }))
}

/// Final events, in order.
pub(crate) fn finals(stage: &Stage) -> Vec<Recorded> {
    stage.journal.events().into_iter().filter(|recorded| recorded.event.event.is_final()).collect()
}

/// How many events of this kind are durable.
pub(crate) fn count(stage: &Stage, kind: &str) -> usize {
    stage.journal.events().iter().filter(|recorded| recorded.event.event.kind() == kind).count()
}

/// The one final event there is.
pub(crate) fn the_final(stage: &Stage) -> Event {
    let mut finals = finals(stage);
    assert_eq!(finals.len(), 1, "{finals:?}");
    finals.remove(0).event.event
}

pub(crate) fn assert_all_permits_are_back(stage: &Stage) {
    let status = stage.system().status();
    assert_eq!((status.permits_free, status.open), (status.permits_total, 0));
}

pub(crate) fn ranking(outcome: &Outcome) -> Vec<(String, u32)> {
    outcome.verdict.ranking.iter().map(|ranked| (ranked.agent.to_string(), ranked.rank)).collect()
}

/// State of a named actor in the tree.
pub(crate) fn actor_state(stage: &Stage, name: &str) -> Option<(&'static str, u32)> {
    stage.system().tree().into_iter().find(|node| node.name == name).map(|node| (node.state, node.restarts))
}

/// Of a story, as a call tells it.
pub(crate) fn moves(story: &str, from: Option<&str>, to: &str) -> StoryMove {
    StoryMove { story: story.into(), from: from.map(Into::into), to: to.into(), ..StoryMove::default() }
}
