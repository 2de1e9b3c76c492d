//! What must hold of every journal, however it came about: named once, checked everywhere.
//!
//! - every admitted task ends in exactly one final event per run;
//! - a task is claimed only while it waits, and not before what it needs has completed;
//! - events of one stream are in order, without gaps, and nothing follows an end;
//! - no verdict without a proposal, and none that ranks who proposed nothing;
//! - no call has two outcomes;
//! - what failed a check never outranks what did not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::domain::event::{Event, Recorded};
use crate::domain::execution::{Executed, Output};
use crate::domain::id::{AgentId, CallId, RunId, Stage, StreamId, TaskId};
use crate::domain::queue::{OnDependencyFailure, QueueState, Standing};

/// The first thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("event {seq} of {stream}, {kind}: {what}")]
pub struct Violation {
    pub seq: u64,
    pub stream: StreamId,
    pub kind: &'static str,
    pub what: String,
}

#[derive(Debug, Default)]
struct Run {
    ended: bool,
    outcomes: BTreeSet<CallId>,
    proposed: BTreeSet<AgentId>,
    verdict: bool,
    /// Answers of authors are to be artifacts.
    translates: bool,
}

/// Reads a journal, event by event, as far as it has come.
#[derive(Debug, Default)]
pub struct Ledger {
    seq: u64,
    versions: BTreeMap<StreamId, u64>,
    /// The last run of each task, and whether it is open.
    tasks: BTreeMap<TaskId, (u32, bool)>,
    queued: BTreeMap<TaskId, Standing>,
    completed: BTreeSet<TaskId>,
    runs: BTreeMap<StreamId, Run>,
    /// Which agents have made something of a task, until it is amended.
    made: BTreeMap<TaskId, BTreeSet<Arc<str>>>,
}

/// Checks a whole journal in which nothing is open any more.
pub fn check(events: &[Recorded]) -> Result<(), Violation> {
    let mut ledger = Ledger::default();
    events.iter().try_for_each(|recorded| ledger.note(recorded))?;
    match (ledger.open().first(), events.last()) {
        (Some(run), Some(last)) => Err(violation(last, format!("and {run} has no final event"))),
        _ => Ok(()),
    }
}

impl Ledger {
    /// Checks one more event.
    pub fn note(&mut self, recorded: &Recorded) -> Result<(), Violation> {
        let wrong = |what: &str| Err(violation(recorded, what));
        if recorded.seq <= self.seq {
            return wrong("its place in the journal is taken");
        }
        self.seq = recorded.seq;
        let version = self.versions.entry(recorded.stream.clone()).or_default();
        *version += 1;
        if recorded.version != *version {
            return wrong("its stream has a gap or a second event of this version");
        }
        let told = match recorded.stream.as_str().split_once('/') {
            Some(("task", task)) => self.of_task(task, &recorded.event.event),
            Some(("deliberation", _)) => self.of_run(recorded),
            _ => Ok(()),
        };
        told.or_else(|what| wrong(&what))
    }

    /// Runs without a final event.
    #[must_use]
    pub fn open(&self) -> Vec<RunId> {
        let open = self.tasks.iter().filter(|(_, (_, open))| *open);
        open.map(|(task, (run, _))| RunId { task: task.clone(), run: *run }).collect()
    }

    fn of_task(&mut self, name: &str, event: &Event) -> Result<(), String> {
        let task = TaskId::parse("task", name).map_err(|problem| problem.to_string())?;
        let known = self.tasks.get(&task).copied();
        let (run, open) = match (event, known) {
            (Event::TaskAccepted { .. }, None) => (1, true),
            (Event::TaskRetried { run }, Some((last, false))) if *run == last + 1 => (*run, true),
            (Event::TaskFailed(failure), Some((run, true))) if failure.run == run => (run, false),
            (Event::TaskCancelled { run, .. } | Event::TaskSkipped { run, .. }, Some((last, true))) if *run == last => {
                (*run, false)
            }
            (Event::TaskCompleted { run, .. }, Some((last, true))) if *run == last => {
                let stream = StreamId::deliberation(&RunId { task: task.clone(), run: *run });
                if !self.runs.get(&stream).is_some_and(|run| run.verdict) {
                    return Err("completed without a verdict".to_owned());
                }
                self.completed.insert(task.clone());
                (*run, false)
            }
            (Event::TaskDispatched { run, .. }, Some((last, true))) if *run == last => {
                let stream = StreamId::deliberation(&RunId { task: task.clone(), run: *run });
                if !self.runs.get(&stream).is_some_and(|run| run.verdict) {
                    return Err("dispatched without a verdict".to_owned());
                }
                (last, true)
            }
            (Event::TaskAssigned { run, .. }, Some((last, true))) if *run == last && self.is_held(&task) => {
                (last, true)
            }
            (Event::ExecutionRequested { run, .. }, Some((last, true))) if *run == last => {
                self.of_execution(&task, event)?;
                (last, true)
            }
            (Event::ExecutionEnded(execution), Some((last, true))) if execution.run == last => {
                self.of_execution(&task, event)?;
                (last, true)
            }
            (Event::TaskQueued(entry), Some((run, true))) if entry.run == run => (run, true),
            (Event::TaskAmended { .. }, Some((run, true))) if self.waits(&task) => {
                self.made.remove(&task);
                (run, true)
            }
            (
                Event::TaskReleased { run, .. } | Event::TaskBlocked { run, .. } | Event::TaskParked { run, .. },
                Some((last, true)),
            ) if *run == last && self.waits(&task) => (last, true),
            (Event::TaskClaimed { run }, Some((last, true))) if *run == last => {
                let stream = StreamId::deliberation(&RunId { task: task.clone(), run: *run });
                // What several have carried out is deliberated on afterwards.
                let is_made = self.is_held(&task) && !self.runs.contains_key(&stream);
                if !is_made {
                    self.may_be_claimed(&task)?;
                }
                (last, true)
            }
            _ => return Err(format!("does not follow {known:?} (last run, whether it is open)")),
        };
        let standing = Standing::fold(self.queued.remove(&task), event);
        self.queued.extend(standing.map(|standing| (task.clone(), standing)));
        self.tasks.insert(task, (run, open));
        Ok(())
    }

    /// Nobody is asked again for what they have made.
    fn of_execution(&mut self, task: &TaskId, event: &Event) -> Result<(), String> {
        let made = self.made.entry(task.clone()).or_default();
        match event {
            Event::ExecutionRequested { agent, .. } if made.contains(agent.as_str()) => {
                return Err(format!("{agent} is asked again for what it has made"));
            }
            Event::ExecutionEnded(execution) => {
                let is_made = matches!(execution.outcome, Executed::Completed { output: Some(_), .. });
                made.extend(is_made.then(|| execution.agent.clone()));
            }
            _ => {}
        }
        Ok(())
    }

    /// Nobody works on it, and it is not over.
    fn waits(&self, task: &TaskId) -> bool {
        let state = self.queued.get(task).map(|standing| standing.state);
        state.is_some_and(|state| state.waits() || state == QueueState::Parked)
    }

    fn is_held(&self, task: &TaskId) -> bool {
        self.queued.get(task).is_some_and(|standing| standing.state.is_held())
    }

    fn may_be_claimed(&self, task: &TaskId) -> Result<(), String> {
        let Some(Standing { entry, state }) = self.queued.get(task) else { return Err("was not in the queue".into()) };
        if !state.waits() || entry.hold.is_some() {
            return Err(format!("was claimed although it was {state}"));
        }
        let needs = entry.needs.iter().filter(|_| entry.on_failure != OnDependencyFailure::Run);
        match needs.into_iter().find(|need| !self.completed.contains(*need)) {
            Some(need) => Err(format!("was claimed before {need} had completed")),
            None => Ok(()),
        }
    }

    fn of_run(&mut self, recorded: &Recorded) -> Result<(), String> {
        let event = &recorded.event.event;
        if matches!(event, Event::DeliberationStarted(_)) != (recorded.version == 1) {
            return Err("a run begins with its start, once".to_owned());
        }
        let run = self.runs.entry(recorded.stream.clone()).or_default();
        if run.ended {
            return Err("the run had ended".to_owned());
        }
        match event {
            Event::DeliberationStarted(plan) => {
                run.translates = plan.wanted.needs_changes();
                let made = plan.seats.iter().zip(&plan.outputs);
                let made = made.filter(|(_, output)| matches!(output, Output::Made { .. }));
                run.proposed.extend(made.map(|(seat, _)| seat.agent.clone()));
            }
            Event::CallAnswered { call, .. } | Event::CallFailed { call, .. } => {
                if let Event::CallAnswered { draft, .. } = event {
                    let authored = matches!(call.wave.stage, Stage::Propose | Stage::Revise);
                    if draft.is_some() != (run.translates && authored) {
                        return Err(format!("the answer to {call} is translated where it must not be, or is not"));
                    }
                }
                if !run.outcomes.insert(call.clone()) {
                    return Err(format!("call {call} has two outcomes"));
                }
                if call.wave.stage == Stage::Propose && matches!(event, Event::CallAnswered { .. }) {
                    run.proposed.insert(call.agent.clone());
                }
            }
            Event::VerdictReached(verdict) => {
                (run.ended, run.verdict) = (true, true);
                let stranger = verdict.ranking.iter().find(|ranked| !run.proposed.contains(&ranked.agent));
                if verdict.ranking.is_empty() || stranger.is_some() {
                    return Err("a verdict without a proposal".to_owned());
                }
                if !verdict.ranking.is_sorted_by_key(|ranked| ranked.checks.any_failed()) {
                    return Err("a failed check outranks evidence".to_owned());
                }
            }
            Event::DeliberationFailed { .. } | Event::DeliberationCancelled { .. } => run.ended = true,
            _ => {}
        }
        Ok(())
    }
}

fn violation(recorded: &Recorded, what: impl Into<String>) -> Violation {
    let (seq, stream) = (recorded.seq, recorded.stream.clone());
    Violation { seq, stream, kind: recorded.event.event.kind(), what: what.into() }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::event::{NewEvent, SCHEMA};
    use crate::domain::id::{EventId, Timestamp};
    use crate::domain::task::TaskDraft;

    fn recorded(seq: u64, version: u64, event: Event) -> Recorded {
        let new = NewEvent { id: EventId([0; 16]), at: Timestamp(0), correlation: None, causation: None, event };
        Recorded { seq, stream: StreamId::named("task/t"), version, schema: SCHEMA, event: new }
    }

    fn accepted() -> Event {
        let draft = TaskDraft { role: "DEV".into(), description: "d".into(), ..TaskDraft::default() };
        let (task, spec) = (TaskId::parse("task", "t").unwrap(), Arc::new(draft.check().unwrap()));
        Event::TaskAccepted { task, content_hash: "h".into(), keyed: true, spec }
    }

    fn cancelled(run: u32) -> Event {
        Event::TaskCancelled { run, reason: "r".into() }
    }

    #[test]
    fn one_final_per_run_is_right_and_anything_else_is_not() {
        let begin = recorded(1, 1, accepted());
        let end = recorded(2, 2, cancelled(1));
        assert_eq!(check(&[begin.clone(), end.clone()]), Ok(()));
        let retried = recorded(3, 3, Event::TaskRetried { run: 2 });
        assert_eq!(check(&[begin.clone(), end.clone(), retried, recorded(4, 4, cancelled(2))]), Ok(()));
        assert!(check(std::slice::from_ref(&begin)).is_err(), "none");
        assert!(check(&[begin.clone(), end.clone(), recorded(3, 3, cancelled(1))]).is_err(), "two");
        assert!(check(&[begin.clone(), recorded(2, 2, cancelled(2))]).is_err(), "of another run");
    }

    #[test]
    fn gaps_and_repeated_places_are_seen() {
        assert!(check(&[recorded(1, 1, accepted()), recorded(2, 3, cancelled(1))]).is_err());
        assert!(check(&[recorded(1, 1, accepted()), recorded(1, 2, cancelled(1))]).is_err());
    }

    #[test]
    fn a_completed_task_without_a_verdict_is_seen() {
        let winner = AgentId::parse("agent", "a").unwrap();
        let completed = Event::TaskCompleted { run: 1, winner, duration: std::time::Duration::ZERO };
        assert!(check(&[recorded(1, 1, accepted()), recorded(2, 2, completed)]).is_err());
    }
}
