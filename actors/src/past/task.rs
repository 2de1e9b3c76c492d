//! A task at an earlier place.

use std::sync::Arc;

use crate::domain::event::{Event, Recorded};
use crate::domain::id::TaskId;
use crate::domain::queue::{Entry, Standing};
use crate::ports::TaskRow;

/// A task as the events of its stream tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskThen {
    /// As the store would have had it.
    pub row: TaskRow,
    /// How it was put into the queue last; `None` = it never was there.
    pub entry: Option<Arc<Entry>>,
    /// Because of which other task it stood where it did: what it waited for, or what was there at last.
    pub cause: Option<TaskId>,
    /// Why it was parked or cancelled.
    pub reason: Option<Arc<str>>,
    standing: Option<Standing>,
}

impl TaskThen {
    /// `None` when the events are not those of a task from its start.
    #[must_use]
    pub fn of(events: &[Recorded]) -> Option<Self> {
        let (first, rest) = events.split_first()?;
        let Event::TaskAccepted { task, content_hash, keyed, spec } = &first.event.event else { return None };
        let row = TaskRow::accepted(task, spec, content_hash, *keyed, first.event.at);
        let mut then = Self { row, entry: None, cause: None, reason: None, standing: None };
        rest.iter().for_each(|recorded| then.take_in(recorded));
        Some(then)
    }

    fn take_in(&mut self, recorded: &Recorded) {
        let event = &recorded.event.event;
        self.standing = Standing::fold(self.standing.take(), event);
        self.row.take_in(recorded, self.standing.as_ref());
        // Each event has its own, or ends what the one before it said.
        (self.cause, self.reason) = match event {
            Event::TaskBlocked { cause, .. } | Event::TaskSkipped { cause, .. } => (Some(cause.clone()), None),
            Event::TaskReleased { cause, .. } => (Some(cause.clone()), None),
            Event::TaskParked { reason, .. } | Event::TaskCancelled { reason, .. } => (None, Some(reason.clone())),
            _ => (None, None),
        };
        if let Event::TaskQueued(entry) = event {
            self.entry = Some(entry.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::answer::Class;
    use crate::domain::event::{NewEvent, TaskFailure};
    use crate::domain::id::{AgentId, EventId, Role, Timestamp};
    use crate::domain::queue::{OnDependencyFailure, Priority, QueueState};
    use crate::domain::task::TaskDraft;
    use crate::past::recorded;
    use crate::ports::TaskStatus;

    fn id(name: &str) -> TaskId {
        TaskId::parse("task", name).unwrap()
    }

    fn accepted() -> Event {
        let draft = TaskDraft { role: "DEV".into(), description: "d".into(), ..TaskDraft::default() };
        let spec = draft.check().unwrap();
        Event::TaskAccepted { task: id("t"), content_hash: "h".into(), keyed: true, spec: spec.into() }
    }

    fn queued(run: u32, needs: &[&str]) -> Event {
        Event::TaskQueued(Arc::new(Entry {
            task: id("t"),
            run,
            role: Role::dev(),
            story: Some("S-1".into()),
            plan: Some("P-1".into()),
            priority: Priority::HIGH,
            enqueued_at: Timestamp(1),
            not_before: None,
            needs: needs.iter().map(|need| id(need)).collect(),
            on_failure: OnDependencyFailure::Block,
            hold: None,
            parked: false,
        }))
    }

    /// After each event: status, queue, run, because of what, why.
    type Told = (TaskStatus, Option<QueueState>, u32, Option<&'static str>, Option<&'static str>);

    fn told(log: Vec<(Event, Told)>) {
        let place = |(at, event)| NewEvent { id: EventId([0; 16]), at, correlation: None, causation: None, event };
        let (events, expected): (Vec<_>, Vec<_>) = log.into_iter().unzip();
        let events: Vec<_> = (1..).map(Timestamp).zip(events).map(place).collect();
        let events = recorded(&events);
        for (number, expected) in (1..).zip(expected) {
            let TaskThen { row, cause, reason, .. } = TaskThen::of(&events[..number]).unwrap();
            let found = (row.status, row.queue, row.run, cause.as_ref().map(TaskId::as_str), reason.as_deref());
            assert_eq!(found, expected, "after {:?}", events[number - 1].event.event);
            assert_eq!(row.version, number as u64);
        }
    }

    #[test]
    fn a_queued_task_is_told_step_by_step() {
        use QueueState::{Blocked, InProgress, Parked, Queued};
        use TaskStatus::{Completed, Failed, Open};
        let failure = TaskFailure { run: 1, class: Class::Transient, message: "no model".into() };
        let winner = AgentId::of_council(&Role::dev(), 1);
        told(vec![
            (accepted(), (Open, None, 1, None, None)),
            (queued(1, &["a"]), (Open, Some(Blocked), 1, None, None)),
            (Event::TaskReleased { run: 1, cause: id("a") }, (Open, Some(Queued), 1, Some("a"), None)),
            (Event::TaskBlocked { run: 1, cause: id("b") }, (Open, Some(Blocked), 1, Some("b"), None)),
            (Event::TaskParked { run: 1, reason: "wait".into() }, (Open, Some(Parked), 1, None, Some("wait"))),
            (queued(1, &[]), (Open, Some(Queued), 1, None, None)),
            (Event::TaskClaimed { run: 1 }, (Open, Some(InProgress), 1, None, None)),
            (Event::TaskFailed(failure), (Failed, Some(QueueState::Failed), 1, None, None)),
            (Event::TaskRetried { run: 2 }, (Open, None, 2, None, None)),
            (queued(2, &[]), (Open, Some(Queued), 2, None, None)),
            (Event::TaskClaimed { run: 2 }, (Open, Some(InProgress), 2, None, None)),
            (
                Event::TaskCompleted { run: 2, winner, duration: Duration::from_millis(7) },
                (Completed, None, 2, None, None),
            ),
        ]);
    }

    #[test]
    fn a_task_that_did_not_run_says_why() {
        use TaskStatus::{Cancelled, Open, Skipped};
        let open = (Open, None, 1, None, None);
        told(vec![
            (accepted(), open),
            (Event::TaskSkipped { run: 1, cause: id("a") }, (Skipped, None, 1, Some("a"), None)),
        ]);
        told(vec![
            (accepted(), open),
            (Event::TaskCancelled { run: 1, reason: "no".into() }, (Cancelled, None, 1, None, Some("no"))),
        ]);
    }

    #[test]
    fn how_it_was_queued_is_known_after_its_end_and_its_error_until_it_is_retried() {
        let log = [
            accepted(),
            queued(1, &["a", "b"]),
            Event::TaskFailed(TaskFailure { run: 1, class: Class::Refused, message: "no".into() }),
            Event::TaskRetried { run: 2 },
        ];
        let new =
            |event| NewEvent { id: EventId([0; 16]), at: Timestamp(9), correlation: None, causation: None, event };
        let events = recorded(&log.map(new));
        let failed = TaskThen::of(&events[..3]).unwrap();
        let entry = failed.entry.as_ref().unwrap();
        assert_eq!((entry.priority, entry.needs.len(), entry.plan.as_deref()), (Priority::HIGH, 2, Some("P-1")));
        assert_eq!((failed.row.error.as_deref(), failed.row.ended_at), (Some("refused: no"), Some(Timestamp(9))));
        let retried = TaskThen::of(&events).unwrap().row;
        assert_eq!((retried.error, retried.ended_at), (None, None));
        assert_eq!(TaskThen::of(&events[1..]), None, "no start");
        assert_eq!(TaskThen::of(&[]), None);
    }
}
