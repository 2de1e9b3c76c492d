use super::*;
use crate::deliberation::table::plan;
use crate::domain::event::{NewEvent, SCHEMA};
use crate::domain::id::EventId;
use crate::domain::task::TaskDraft;

const LIMIT: Duration = Duration::from_secs(60);

fn spec() -> TaskSpec {
    let draft = TaskDraft { role: "DEV".into(), description: "d".into(), ..TaskDraft::default() };
    TaskSpec { execution: Some(LIMIT), collective: true, ..draft.check().unwrap() }
}

/// The stream of a task, an event each second.
fn folded(events: Vec<Event>) -> Collection {
    let row = TaskRow::accepted(&TaskId::parse("task", "t").unwrap(), &spec(), &"h".into(), true, Timestamp(0));
    let recorded = (1..).zip(events).map(|(place, event)| Recorded {
        seq: place,
        stream: StreamId::named("task/t"),
        version: place,
        schema: SCHEMA,
        event: NewEvent {
            id: EventId([0; 16]),
            at: Timestamp(place * 1_000),
            correlation: None,
            causation: None,
            event,
        },
    });
    Collection::fold(row, &spec(), recorded.collect())
}

fn seat(ordinal: usize) -> Seat {
    plan(ordinal, 1).seats.swap_remove(ordinal - 1)
}

fn agent(ordinal: usize) -> String {
    seat(ordinal).agent.to_string()
}

/// Two agents are asked.
fn asked() -> Vec<Event> {
    let assigned = |ordinal| Event::TaskAssigned { run: 1, seat: Box::new(seat(ordinal)) };
    let requested = |ordinal| Event::ExecutionRequested { run: 1, attempt: 1, agent: seat(ordinal).agent };
    vec![assigned(1), assigned(2), requested(1), requested(2)]
}

fn ended(ordinal: usize, attempt: u32, outcome: Executed) -> Event {
    Event::ExecutionEnded(Arc::new(Execution { run: 1, attempt, agent: agent(ordinal).into(), outcome }))
}

fn made(text: &str) -> Executed {
    Executed::Completed { checks_passed: None, duration_ms: None, output: Some(text.into()) }
}

fn failed(may_heal: bool) -> Executed {
    Executed::Failed { error: "no disk".into(), may_heal }
}

fn kinds(events: &[Event]) -> Vec<&'static str> {
    events.iter().map(Event::kind).collect()
}

fn follow(collection: &mut Collection, place: usize, outcome: Executed) -> (Vec<&'static str>, Option<Report>) {
    let (events, report) = collection.follow(&[(place, outcome)], Timestamp(99_000));
    (kinds(&events), report)
}

#[test]
fn a_text_is_what_it_says_and_everything_else_its_json() {
    let outcomes = [r#""two lines\nof words""#, r#"{"files":2}"#, "[1"];
    let texts = outcomes.map(|output| match folded(asked()).output(&made(output), Timestamp(1)) {
        Output::Made { text, .. } => text.to_string(),
        missing => panic!("{missing:?}"),
    });
    assert_eq!(texts, ["two lines\nof words", r#"{"files":2}"#, "[1"]);
    let nothing = Executed::Completed { checks_passed: Some(true), duration_ms: None, output: None };
    assert!(matches!(folded(asked()).output(&nothing, Timestamp(1)), Output::Missing { class: Class::Invalid, .. }));
}

#[test]
fn each_agent_has_its_own_attempts() {
    let mut collection = folded(asked());
    assert_eq!(follow(&mut collection, 0, made("\"a\"")), (vec!["ExecutionEnded"], None));
    assert_eq!(follow(&mut collection, 1, failed(true)), (vec!["ExecutionEnded", "ExecutionRequested"], None));
    assert!(!collection.is_complete());
    let mut events = asked();
    events.extend([ended(1, 1, made("\"a\"")), ended(2, 1, failed(true))]);
    events.push(Event::ExecutionRequested { run: 1, attempt: 2, agent: seat(2).agent });
    let mut collection = folded(events);
    assert_eq!((collection.parts[0].attempt, collection.parts[1].attempt), (1, 2));
    assert_eq!(collection.parts[1].came_to, None);
    assert_eq!(collection.due(&collection.parts[1]), Timestamp(7_000 + 60_000));
    assert_eq!(follow(&mut collection, 1, failed(false)), (vec!["ExecutionEnded"], None), "it is given up");
    assert!(collection.is_complete());
    let Made { seats, outputs } = collection.made();
    assert_eq!(seats, [seat(1), seat(2)]);
    assert!(matches!(&outputs[..], [Output::Made { .. }, Output::Missing { class: Class::Refused, .. }]));
}

#[test]
fn whoever_is_silent_is_not_waited_for_once_somebody_has_made_something() {
    let mut events = asked();
    let mut nobody = folded(events.clone());
    let silent = [(0, Executed::Silent), (1, Executed::Silent)];
    let again = ["ExecutionEnded", "ExecutionEnded", "ExecutionRequested", "ExecutionRequested"];
    assert_eq!(kinds(&nobody.follow(&silent, Timestamp(99_000)).0), again);
    events.push(ended(1, 1, made("\"a\"")));
    let mut one = folded(events);
    assert_eq!(follow(&mut one, 1, Executed::Silent), (vec!["ExecutionEnded"], None));
    assert!(one.is_complete());
}

#[test]
fn a_task_of_which_nobody_made_anything_has_failed() {
    let mut events = asked();
    events.push(ended(1, 1, failed(false)));
    let mut collection = folded(events.clone());
    collection.parts[1].attempt = MOST_ATTEMPTS;
    let (events_of_end, report) = collection.follow(&[(1, Executed::Silent)], Timestamp(99_000));
    assert_eq!((kinds(&events_of_end), report), (vec!["ExecutionEnded", "TaskFailed"], Some(Report::Failed)));
    let Some(Event::TaskFailed(failure)) = events_of_end.last() else { panic!("it failed") };
    let told =
        format!("no agent has carried the task out ({}: no disk; {}: no answer within 60 s)", agent(1), agent(2));
    assert_eq!(*failure.message, *told);
    events.extend([ended(2, 3, Executed::Silent), Event::TaskRetried { run: 2 }]);
    assert_eq!(folded(events).parts, [], "all are asked anew");
}

#[test]
fn a_later_run_keeps_what_was_made() {
    let mut events = asked();
    events.push(ended(1, 1, made("\"a\"")));
    let cut_short = [events.clone(), vec![Event::TaskRetried { run: 2 }]].concat();
    let cut_short = folded(cut_short);
    assert!(cut_short.parts[0].is_made() && !cut_short.is_complete());
    assert_eq!(cut_short.parts[1], Part::new(seat(2)), "it is asked anew");
    events.push(ended(2, 3, Executed::Silent));
    let complete = folded([events.clone(), vec![Event::TaskRetried { run: 2 }]].concat());
    assert!(complete.is_complete() && complete.parts.len() == 2);
    events.push(Event::TaskAmended { content_hash: "h2".into(), spec: Arc::new(spec()) });
    assert_eq!(folded(events).parts, [], "that was for something else");
}
