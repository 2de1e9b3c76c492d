//! What is asked, what is refused and why.

use moothall_actors::ports::Journal as _;
use moothall_actors::testing::MemoryJournal;
use tonic::Code;

use super::super::fixtures::journal_of;
use super::*;

/// A journal that may have been pruned.
struct Pruned {
    journal: MemoryJournal,
    task_is_known: bool,
    kept: Kept,
}

impl Pruned {
    /// Odd events, from 1 to 9, are of task T-1, even ones of council DEV; event n is of time n.
    async fn up_to(first: u64) -> Self {
        let kept = Kept { first, oldest: Some(Timestamp(first)) };
        Self { journal: journal_of(10).await, task_is_known: false, kept }
    }

    async fn ask(&self, subject: Asked, at: Option<At>) -> Result<wire::StateAtResponse, Status> {
        state_at(self, &wire::StateAtRequest { subject: Some(subject), at }).await
    }

    async fn refused(&self, subject: Asked, at: Option<At>) -> (Code, String) {
        let status = self.ask(subject, at).await.unwrap_err();
        (status.code(), status.message().to_owned())
    }
}

#[async_trait]
impl Streams for Pruned {
    async fn whole(&self, stream: &StreamId) -> Result<Vec<Recorded>, JournalError> {
        whole_stream(&self.journal, stream).await
    }

    async fn was_pruned(&self, task: &TaskId) -> Result<bool, JournalError> {
        Ok(self.journal.tombstone(task).await?.is_some() || self.task_is_known)
    }

    async fn kept(&self) -> Result<Kept, JournalError> {
        Ok(self.kept)
    }
}

fn task(name: &str) -> Asked {
    Asked::TaskId(name.into())
}

fn run(name: &str, run: i32) -> Asked {
    Asked::Deliberation(wire::DeliberationRef { task_id: name.into(), run })
}

#[test]
fn every_problem_of_a_question_is_named_at_once() {
    let problems = |request: wire::StateAtRequest| parsed(|problems| question(&request, problems)).unwrap_err();
    let nothing = problems(wire::StateAtRequest { subject: None, at: Some(At::Seq(0)) });
    assert_eq!(nothing.code(), Code::InvalidArgument);
    for part in ["seq is 0", "subject is not set", "task_id, deliberation and council"] {
        assert!(nothing.message().contains(part), "{part} in {}", nothing.message());
    }
    let wrong = problems(wire::StateAtRequest { subject: Some(run("", -1)), at: Some(At::AtMs(-5)) });
    for part in ["at_ms is -5", "deliberation.task_id is empty", "deliberation.run is -1"] {
        assert!(wrong.message().contains(part), "{part} in {}", wrong.message());
    }
    let role = problems(wire::StateAtRequest { subject: Some(Asked::Council("a b".into())), at: None });
    assert!(role.message().contains("is not a role"), "{role}");
}

#[tokio::test]
async fn the_last_event_at_the_place_is_named_and_those_up_to_it_counted() {
    let journal = Pruned::up_to(1).await;
    let place = |answer: wire::StateAtResponse| (answer.seq, answer.at_ms, answer.events);
    let council = || Asked::Council("dev".into());
    for (at, expected) in [
        (None, (10, 10, 5)),
        (Some(At::Seq(7)), (6, 6, 3)),
        (Some(At::Seq(8)), (8, 8, 4)),
        (Some(At::AtMs(2)), (2, 2, 1)),
        (Some(At::Seq(i64::MAX)), (10, 10, 5)),
    ] {
        assert_eq!(place(journal.ask(council(), at).await.unwrap()), expected, "{at:?}");
    }
}

#[tokio::test]
async fn what_came_later_says_when_and_what_never_came_says_nothing_more() {
    let journal = Pruned::up_to(1).await;
    let early = journal.refused(Asked::Council("DEV".into()), Some(At::Seq(1))).await;
    assert_eq!(
        early,
        (Code::NotFound, "council DEV has no event up to 1; its first is 2, at 1970-01-01T00:00:00.002Z".into())
    );
    let by_time = journal.refused(Asked::Council("DEV".into()), Some(At::AtMs(1))).await;
    assert!(
        by_time.1.starts_with("council DEV has no event up to 1970-01-01T00:00:00.001Z; its first is 2"),
        "{by_time:?}"
    );
    let unknown = journal.refused(run("T-9", 0), None).await;
    assert_eq!(unknown, (Code::NotFound, "task T-9 has no event".into()));
    let no_run = journal.refused(run("T-1", 3), None).await;
    assert_eq!(no_run, (Code::NotFound, "deliberation T-1/3 has no event".into()));
}

#[tokio::test]
async fn what_was_pruned_is_out_of_range_like_a_place_to_read_from() {
    let mut journal = Pruned::up_to(6).await;
    let (code, said) = journal.refused(task("T-9"), Some(At::Seq(4))).await;
    assert_eq!((code, said.as_str()), (Code::OutOfRange, "task T-9 may have been pruned: events before 6 were pruned"));
    assert_eq!(journal.refused(task("T-9"), Some(At::AtMs(5))).await.0, Code::OutOfRange);
    for at in [None, Some(At::Seq(5)), Some(At::AtMs(6))] {
        assert_eq!(journal.refused(task("T-9"), at).await.0, Code::NotFound, "{at:?}");
    }
    // What is never pruned is told from places before.
    assert_eq!(journal.ask(Asked::Council("DEV".into()), Some(At::Seq(3))).await.unwrap().seq, 2);
    journal.task_is_known = true;
    let (code, said) = journal.refused(run("T-1", 1), None).await;
    assert_eq!((code, said.as_str()), (Code::OutOfRange, "deliberation T-1/1 was pruned: events before 6 were pruned"));
}

#[tokio::test]
async fn events_without_their_beginning_are_damage() {
    let journal = Pruned::up_to(1).await;
    assert_eq!(
        journal.refused(task("T-1"), None).await,
        (Code::DataLoss, "the events of task T-1 are not whole".into())
    );
}
