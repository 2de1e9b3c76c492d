//! Earlier places of the journal, and the last one, which is what everybody else sees.

use moothall_actors::domain::answer::{Class, Failure};
use moothall_actors::domain::event::Recorded;
use moothall_actors::past::{RunThen, TaskThen};
use moothall_actors::ports::ModelCall;
use tonic::Status;

use super::super::super::proto::moothall::v1::state_at_request::{At, Subject};
use super::super::super::proto::moothall::v1::state_at_response::State;
use super::super::super::then;
use super::*;

type Journal = JournalServiceClient<Channel>;

async fn ask(journal: &mut Journal, subject: Subject, seq: u64) -> Result<wire::StateAtResponse, Status> {
    let at = Some(At::Seq(i64::try_from(seq).unwrap()));
    let request = wire::StateAtRequest { subject: Some(subject), at };
    journal.state_at(request).await.map(tonic::Response::into_inner)
}

fn last_run(task: &str) -> Subject {
    Subject::Deliberation(wire::DeliberationRef { task_id: task.into(), run: 0 })
}

/// As told of the events up to there, or refused where there are none.
fn assert_told(found: Result<wire::StateAtResponse, Status>, expected: Option<State>, seqs: &[u64]) {
    let Some(&last) = seqs.last() else {
        assert_eq!(found.unwrap_err().code(), Code::NotFound);
        return;
    };
    let found = found.unwrap();
    assert_eq!((found.seq, found.events), (last as i64, seqs.len() as i64));
    assert_eq!(found.state, expected);
}

#[tokio::test]
async fn every_place_is_told_as_the_events_up_to_it() {
    let house = House::usual().await;
    house.orchestrator().await.deliberate(request("T-1")).await.unwrap();
    let events = house.story.journal.events();
    let mut journal = JournalServiceClient::new(house.channel().await);
    let up_to = |stream: &str, seq| -> Vec<_> {
        events.iter().filter(|of| of.stream.as_str() == stream && of.seq <= seq).cloned().collect()
    };
    let seqs = |events: &[Recorded]| events.iter().map(|of| of.seq).collect::<Vec<_>>();
    for seq in events.iter().map(|event| event.seq) {
        let (run, task) = (up_to("deliberation/T-1/1", seq), up_to("task/T-1", seq));
        let told = RunThen::of(&run).map(|run| State::Deliberation(then::run(&run)));
        assert_told(ask(&mut journal, last_run("T-1"), seq).await, told, &seqs(&run));
        let told = TaskThen::of(&task).map(|task| State::Task(then::task(&task)));
        assert_told(ask(&mut journal, Subject::TaskId("T-1".into()), seq).await, told, &seqs(&task));
    }
    house.close().await;
}

#[tokio::test]
async fn the_last_place_agrees_with_what_the_task_is_now() {
    let reacts = |call: &ModelCall, _| match call.id.run.task.as_str() {
        "fails" => (Duration::ZERO, Reaction::Fail(Failure::new(Class::Refused, "no"))),
        "wins" => (Duration::ZERO, Reaction::Answer(format!("{} says so", call.id.agent).into())),
        _ => (Duration::ZERO, Reaction::Hang),
    };
    let house = House::of(Scenario::new().council("DEV", 3).reacts(reacts)).await;
    let (mut client, mut tasks) = (house.orchestrator().await, house.tasks().await);
    client.deliberate(request("wins")).await.unwrap();
    client.deliberate(request("fails")).await.unwrap_err();
    client.deliberate_for_backlog_review(request("ceremony-1:story-2:role-DEV")).await.unwrap();
    while house.story.model.in_flight() < 3 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let cancel = wire::CancelTaskRequest { task_id: "ceremony-1:story-2:role-DEV".into(), reason: "too dear".into() };
    tasks.cancel_task(cancel).await.unwrap();
    let last = house.story.journal.events().last().unwrap().seq;
    let mut journal = JournalServiceClient::new(house.channel().await);
    for id in ["wins", "fails", "ceremony-1:story-2:role-DEV"] {
        let get = wire::GetTaskRequest { task_id: id.into(), include_results: false };
        let now = tasks.get_task(get).await.unwrap().into_inner().task.unwrap();
        let Some(State::Task(then)) = ask(&mut journal, Subject::TaskId(id.into()), last).await.unwrap().state else {
            panic!("{id} is no task");
        };
        assert_eq!((then.status, then.run, &then.role, then.kind), (now.status, now.run, &now.role, now.kind), "{id}");
        assert_eq!((&then.winner_id, &then.error), (&now.winner_id, &now.error), "{id}");
        assert_eq!((then.accepted_at_ms, then.ended_at_ms), (now.accepted_at_ms, now.ended_at_ms), "{id}");
        let Some(State::Deliberation(run)) = ask(&mut journal, last_run(id), last).await.unwrap().state else {
            panic!("{id} has no run");
        };
        assert_eq!((run.run, &run.winner_id), (now.run, &now.winner_id), "{id}");
        assert_eq!((run.phase, run.prompt_tokens), (now.phase, now.prompt_tokens), "{id}");
    }
    house.close().await;
}
