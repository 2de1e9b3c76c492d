use moothall_actors::domain::answer::Class;
use moothall_actors::domain::event::{NewEvent, SCHEMA, TaskFailure};
use moothall_actors::domain::id::{EventId, StreamId, Timestamp};

use super::super::proto::fleet::orchestrator::v1 as fleet;
use super::*;
use crate::config::UnknownRole;

fn plans() -> PlansConfig {
    let on_dependency_failure = OnDependencyFailure::Skip;
    PlansConfig { max_tasks: 9, unknown_role: UnknownRole::Park, hold_until_phase: None, on_dependency_failure }
}

fn id(text: &str) -> TaskId {
    TaskId::parse("id", text).unwrap()
}

fn work() -> Option<fleet::OrchestrateRequest> {
    Some(fleet::OrchestrateRequest { role: "dev".into(), task_description: "do it".into(), ..Default::default() })
}

fn read(message: wire::SubmitTaskRequest) -> Result<NewTask, Status> {
    new_task(message, &MetadataMap::new(), &plans(), || id("made-up"))
}

#[test]
fn a_task_has_what_it_was_given_and_else_what_is_configured() {
    let new = read(wire::SubmitTaskRequest { work: work(), ..Default::default() }).unwrap();
    assert_eq!((new.task.as_str(), new.priority.get(), new.on_failure), ("made-up", 50, OnDependencyFailure::Skip));
    let story = fleet::OrchestrateRequest { story_id: "S-1".into(), task_id: "T-1".into(), ..work().unwrap() };
    let message = wire::SubmitTaskRequest {
        work: Some(story),
        priority: "critical".into(),
        needs: vec!["T-0".into()],
        on_dependency_failure: wire::OnDependencyFailure::Run.into(),
        hold_until_phase: "build".into(),
    };
    let new = read(message).unwrap();
    assert_eq!((new.task.as_str(), new.priority.get(), new.on_failure), ("T-1", 100, OnDependencyFailure::Run));
    assert_eq!((new.needs, new.hold.as_deref()), (vec![id("T-0")], Some("BUILD")));
}

#[test]
fn every_problem_of_a_task_is_named_at_once() {
    let message = wire::SubmitTaskRequest {
        work: Some(fleet::OrchestrateRequest::default()),
        priority: "101".into(),
        needs: vec![String::new()],
        on_dependency_failure: 7,
        hold_until_phase: "SHIP".into(),
    };
    let told = read(message).unwrap_err().message().to_owned();
    let fields = ["priority", "needs[0]", "on_dependency_failure", "hold_until_phase", "work.role"];
    for field in fields.into_iter().chain(["work.task_description", "BUILD, TEST, IN_PROGRESS"]) {
        assert!(told.contains(field), "{field}: {told}");
    }
    let many = wire::SubmitTaskRequest { work: work(), needs: vec!["a".into(); MAX_NEEDS + 1], ..Default::default() };
    assert!(read(many).unwrap_err().message().contains("at most 1000"));
    let without_story = wire::SubmitTaskRequest { work: work(), hold_until_phase: "TEST".into(), ..Default::default() };
    assert!(read(without_story).unwrap_err().message().contains("story_id"));
}

#[test]
fn every_state_has_its_number() {
    for queue in QueueState::ALL {
        assert_ne!(state(queue), wire::QueueState::Unspecified, "{queue}");
        assert_eq!(QueueState::named(word(state(queue))), Some(queue));
    }
}

#[test]
fn a_page_says_whether_there_is_another_one() {
    let message = |limit, cursor: &str| wire::ListQueueRequest { limit, cursor: cursor.into(), ..Default::default() };
    let filter = filter(&message(1, "T-0")).unwrap();
    assert_eq!((filter.limit, filter.after), (2, Some(id("T-0"))));
    assert!(super::filter(&message(1_001, "")).is_err());
    let paused = Pauses { all: false, roles: [Role::dev()].into() };
    let answer = page(Vec::new(), 2, [((Role::dev(), QueueState::Queued), 3)].into(), paused);
    assert_eq!((answer.next_cursor.as_str(), answer.counts[0].tasks), ("", 3));
    assert_eq!(answer.paused.unwrap().roles, ["DEV"]);
}

#[test]
fn an_event_is_told_with_what_it_says() {
    let recorded = |event| Recorded {
        seq: 7,
        stream: StreamId::task(&id("T-1")),
        version: 1,
        schema: SCHEMA,
        event: NewEvent { id: EventId([0; 16]), at: Timestamp(5), correlation: None, causation: None, event },
    };
    let failure = TaskFailure { run: 2, class: Class::Transient, message: "no model".into() };
    let failed = told(recorded(Event::TaskFailed(failure))).unwrap();
    assert_eq!((failed.seq, failed.task_id.as_str(), failed.r#type.as_str()), (7, "T-1", "TaskFailed"));
    assert_eq!((failed.run, failed.detail.as_str()), (2, "no model"));
    assert_eq!(failed.queue_state(), wire::QueueState::Failed);
    let released = told(recorded(Event::TaskReleased { run: 1, cause: id("T-0") })).unwrap();
    assert_eq!((released.queue_state(), released.detail.as_str()), (wire::QueueState::Queued, "T-0"));
}
