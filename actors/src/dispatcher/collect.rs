//! A task that several agents carry out, each by itself: what they make is collected, and then deliberated on.
//!
//! ```text
//!  claimed ─▶ TaskAssigned, ExecutionRequested 1 ─▶ each has answered, failed or was silent ─▶ TaskClaimed, deliberation
//!                                   ▲                    │                              └─▶ nobody made anything ─▶ TaskFailed
//!                                   └─── 2, 3 ◀──────────┘ a failure that may heal; silence, while nobody has made anything
//! ```
//!
//! What was made is kept for the task's later runs: only whoever has made nothing is asked again.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use super::begin::{Begun, start};
use super::execution;
use super::execution::{Answer, MOST_ATTEMPTS, Seen, own_name, tell_queue};
use super::refill::{NO_FENCE, regain};
use super::stream::{append, last_spec};
use super::takeover::Found;
use super::underway::{self, Underway};
use crate::council::{self, Made};
use crate::domain::answer::Class;
use crate::domain::council::{Council, Seat};
use crate::domain::event::{Event, Recorded, TaskFailure};
use crate::domain::execution::{Executed, Execution, Output};
use crate::domain::id::{StreamId, TaskId, Timestamp};
use crate::domain::receipt::Receipt;
use crate::domain::task::TaskSpec;
use crate::error::SystemError;
use crate::ports::queue::{Lease, Report};
use crate::ports::{Batch, JournalError, TaskRow, commit_patiently, whole_stream};
use crate::world::World;

/// One agent's part.
#[derive(Clone, Debug, PartialEq)]
struct Part {
    seat: Seat,
    /// 0 = it was not asked yet.
    attempt: u32,
    asked_at: Timestamp,
    /// `None` = it works.
    came_to: Option<Output>,
}

impl Part {
    fn new(seat: Seat) -> Self {
        Self { seat, attempt: 0, asked_at: Timestamp(0), came_to: None }
    }

    /// What it made is kept; otherwise it begins anew.
    fn renew(&mut self) {
        if !self.is_made() {
            *self = Self::new(self.seat.clone());
        }
    }

    fn is_made(&self) -> bool {
        matches!(self.came_to, Some(Output::Made { .. }))
    }

    fn request(&self, run: u32) -> Event {
        Event::ExecutionRequested { run, attempt: self.attempt + 1, agent: self.seat.agent.clone() }
    }
}

/// A task that is carried out by several, as its stream tells.
#[derive(Debug)]
pub(super) struct Collection {
    row: TaskRow,
    parts: Vec<Part>,
    /// For one attempt.
    limit: Duration,
}

impl Collection {
    pub(super) fn fold(row: TaskRow, spec: &TaskSpec, events: Vec<Recorded>) -> Self {
        let mut collection = Self { row, parts: Vec::new(), limit: spec.execution.unwrap_or_default() };
        events.into_iter().for_each(|recorded| collection.take_in(recorded));
        collection
    }

    fn take_in(&mut self, Recorded { event, .. }: Recorded) {
        let at = event.at;
        match event.event {
            Event::TaskAmended { .. } => self.parts.clear(),
            Event::TaskRetried { .. } if !self.has_made() => self.parts.clear(),
            Event::TaskRetried { .. } if !self.is_complete() => self.parts.iter_mut().for_each(Part::renew),
            Event::TaskAssigned { seat, .. } if self.part(seat.agent.as_str()).is_none() => {
                self.parts.push(Part::new(*seat));
            }
            Event::ExecutionRequested { attempt, agent, .. } => {
                if let Some(place) = self.part(agent.as_str()) {
                    let seat = self.parts[place].seat.clone();
                    self.parts[place] = Part { seat, attempt, asked_at: at, came_to: None };
                }
            }
            Event::ExecutionEnded(execution) => {
                if let Some(place) = self.part(&execution.agent) {
                    self.parts[place].came_to = Some(self.output(&execution.outcome, at));
                }
            }
            _ => {}
        }
    }

    fn part(&self, agent: &str) -> Option<usize> {
        self.parts.iter().position(|part| part.seat.agent.as_str() == agent)
    }

    fn output(&self, outcome: &Executed, at: Timestamp) -> Output {
        match outcome {
            Executed::Completed { output: Some(output), checks_passed, .. } => {
                Output::Made { text: words(output), at, checks_passed: *checks_passed }
            }
            Executed::Completed { output: None, .. } => {
                Output::Missing { class: Class::Invalid, reason: "it did not say what it has made".into() }
            }
            Executed::Failed { error, may_heal } => {
                let class = if *may_heal { Class::Transient } else { Class::Refused };
                Output::Missing { class, reason: error.clone() }
            }
            Executed::Silent => {
                let reason = format!("no answer within {} s", self.limit.as_secs()).into();
                Output::Missing { class: Class::TimedOut, reason }
            }
        }
    }

    /// Everybody has answered or is given up, and somebody made something.
    fn is_complete(&self) -> bool {
        self.has_made() && self.parts.iter().all(|part| part.came_to.is_some())
    }

    fn has_made(&self) -> bool {
        self.parts.iter().any(Part::is_made)
    }

    fn due(&self, part: &Part) -> Timestamp {
        let limit = u64::try_from(self.limit.as_millis()).unwrap_or(u64::MAX);
        Timestamp(part.asked_at.0.saturating_add(limit))
    }

    /// What has come of these parts, and what follows; and the report to the queue when that is the end.
    fn follow(&mut self, ended: &[(usize, Executed)], now: Timestamp) -> (Vec<Event>, Option<Report>) {
        let (mut events, run) = (Vec::new(), self.row.run);
        for (place, outcome) in ended {
            let came_to = self.output(outcome, now);
            let part = &mut self.parts[*place];
            let (attempt, agent) = (part.attempt, Arc::from(part.seat.agent.as_str()));
            events.push(Event::ExecutionEnded(Arc::new(Execution { run, attempt, agent, outcome: outcome.clone() })));
            part.came_to = Some(came_to);
        }
        for (place, outcome) in ended {
            let is_again = match outcome {
                Executed::Completed { .. } => false,
                Executed::Failed { may_heal, .. } => *may_heal,
                // What there is by then is deliberated on.
                Executed::Silent => !self.has_made(),
            };
            let part = &mut self.parts[*place];
            if is_again && part.attempt < MOST_ATTEMPTS {
                part.came_to = None;
                events.push(part.request(run));
            }
        }
        if self.has_made() || self.parts.iter().any(|part| part.came_to.is_none()) {
            return (events, None);
        }
        events.push(Event::TaskFailed(TaskFailure { run, class: Class::Refused, message: self.why_nothing() }));
        (events, Some(Report::Failed))
    }

    fn why_nothing(&self) -> Arc<str> {
        let why = |part: &Part| match &part.came_to {
            Some(Output::Missing { reason, .. }) => format!("{}: {reason}", part.seat.agent),
            _ => part.seat.agent.to_string(),
        };
        let causes: Vec<_> = self.parts.iter().map(why).collect();
        format!("no agent has carried the task out ({})", causes.join("; ")).into()
    }

    fn made(&self) -> Made {
        let outputs = self.parts.iter().filter_map(|part| part.came_to.clone()).collect();
        Made { seats: self.parts.iter().map(|part| part.seat.clone()).collect(), outputs }
    }

    /// As it is watched from now on: whoever is asked and works, the first of them.
    fn underway(&self, part: &Part, since: Timestamp) -> Underway {
        let answered = self.parts.iter().filter(|part| part.came_to.is_some()).count();
        Underway {
            run: self.row.run,
            attempt: part.attempt,
            agent: part.seat.agent.clone(),
            asked_at: part.asked_at,
            heard: None,
            since,
            stalled: false,
            answered: Some((answered, self.parts.len())),
        }
    }
}

/// What an agent said of it, if that is a text; else the JSON.
fn words(output: &Arc<str>) -> Arc<str> {
    serde_json::from_str::<String>(output).map_or_else(|_| output.clone(), Into::into)
}

/// A claimed task begins: what was made in earlier runs is deliberated on, or `None` = its agents are asked.
pub(super) async fn claimed(
    world: &World,
    council: &Council,
    lease: &Lease,
    found: &Found,
) -> Result<Option<Made>, SystemError> {
    let events = whole_stream(&*world.ports.journal, &StreamId::task(&lease.task)).await?;
    let collection = Collection::fold(found.row.clone(), &found.spec, events);
    if collection.is_complete() {
        return Ok(Some(collection.made()));
    }
    assign(world, council, lease, (found, collection)).await?;
    Ok(None)
}

/// Each agent is asked that has not made anything yet; in the first run those of the council are found.
async fn assign(
    world: &World,
    council: &Council,
    lease: &Lease,
    (found, mut collection): (&Found, Collection),
) -> Result<(), SystemError> {
    if collection.parts.is_empty() {
        let seats = council::seats(world, council, &found.spec).map_err(SystemError::Unavailable)?;
        collection.parts = seats.into_iter().map(Part::new).collect();
    }
    let (run, mut events) = (lease.run, found.events.clone());
    events.push(Event::TaskClaimed { run });
    let asked = || collection.parts.iter().filter(|part| part.came_to.is_none());
    events.extend(asked().map(|part| Event::TaskAssigned { run, seat: Box::new(part.seat.clone()) }));
    events.extend(asked().map(|part| part.request(run)));
    let batch = Batch::of(vec![append(world, &lease.task, found.row.version, events)]);
    commit_patiently(&*world.ports.journal, batch).await?;
    execution::hand_over(world, lease).await;
    Ok(())
}

/// An agent says what came of its part; `false` = nobody waits for that.
pub(super) async fn take(
    world: &World,
    mut collection: Collection,
    answer: &Answer,
    mut receipt: Receipt,
) -> Result<bool, JournalError> {
    let awaited = |place: &usize| {
        let part = &collection.parts[*place];
        part.came_to.is_none() && answer.attempt.is_none_or(|attempt| attempt == part.attempt)
    };
    let Some(place) = collection.part(&answer.agent).filter(awaited) else { return Ok(false) };
    receipt.keys.push(own_name(answer, collection.row.run, collection.parts[place].attempt));
    end(world, &mut collection, &[(place, answer.outcome.clone())], Some(receipt)).await?;
    execution::look_at(world, &answer.task);
    Ok(true)
}

async fn end(
    world: &World,
    collection: &mut Collection,
    ended: &[(usize, Executed)],
    receipt: Option<Receipt>,
) -> Result<(), JournalError> {
    let (events, report) = collection.follow(ended, world.ports.clock.now());
    let row = &collection.row;
    let batch = Batch { receipt, ..Batch::of(vec![append(world, &row.task, row.version, events)]) };
    commit_patiently(&*world.ports.journal, batch).await?;
    world.registry.underway.remove(&row.task);
    if let Some(report) = report {
        tell_queue(world, row, &Executed::Silent, report).await;
        world.registry.wake_dispatcher();
    }
    Ok(())
}

/// Gives up whoever is silent for too long. `None` = something was written, and it wants another look.
pub(super) async fn see_to(world: &World, mut collection: Collection) -> Result<Option<Seen>, JournalError> {
    let now = world.ports.clock.now();
    let works = collection.parts.iter().enumerate().filter(|(_, part)| part.came_to.is_none());
    let (late, timely): (Vec<_>, Vec<_>) = works.partition(|(_, part)| collection.due(part) <= now);
    if !late.is_empty() {
        let late: Vec<_> = late.into_iter().map(|(place, _)| (place, Executed::Silent)).collect();
        return end(world, &mut collection, &late, None).await.map(|()| None);
    }
    let Some((_, first)) = timely.first() else {
        let role = collection.row.role.clone();
        return Ok(Some(if collection.is_complete() { Seen::Collected { role } } else { Seen::Over }));
    };
    underway::begin(world, &collection.row.task, collection.underway(first, now));
    let due = timely.iter().map(|(_, part)| collection.due(part)).min().unwrap_or(now);
    Ok(Some(Seen::LookAt { due, of: Some(collection.row.role.clone()) }))
}

/// All that was made is there: the council deliberates on it. What is on its way there goes on when the dispatcher dies.
pub(super) async fn deliberate(world: &Arc<World>, task: &TaskId) -> Result<Begun, SystemError> {
    let (world, task, presence) = (world.clone(), task.clone(), world.census.enter());
    let beginning = Handle::current().spawn(async move {
        let _presence = presence;
        // A dispatcher that starts meanwhile waits for what comes of it.
        let _claim = world.registry.claimed(&task).await;
        begin(&world, &task).await
    });
    beginning.await.unwrap_or_else(|error| Err(SystemError::Unavailable(error.to_string().into())))
}

async fn begin(world: &Arc<World>, task: &TaskId) -> Result<Begun, SystemError> {
    let gone = || SystemError::WrongState(format!("task {task} is not to be deliberated on").into());
    let row = world.ports.journal.task(task).await?.filter(execution::is_dispatched).ok_or_else(gone)?;
    let events = whole_stream(&*world.ports.journal, &StreamId::task(task)).await?;
    let spec = last_spec(&events).filter(|spec| spec.collective).ok_or_else(gone)?;
    let collection = Collection::fold(row.clone(), &spec, events);
    if !collection.is_complete() {
        return Err(gone());
    }
    let council = world.open_council(&spec.role)?;
    world.check_tokens()?;
    let permit = world.gate.try_admit()?;
    let lease = lease(world, task, row.run).await?.ok_or_else(gone)?;
    let found = Found { row, events: Vec::new(), spec, resumes: None };
    match start(world, &council, (found, permit), collection.made()).await {
        Ok(running) => {
            world.registry.underway.remove(task);
            Ok(Begun { running, lease })
        }
        Err(error) => {
            execution::hand_over(world, &lease).await;
            Err(error)
        }
    }
}

/// `None` = another daemon has the run by now.
async fn lease(world: &Arc<World>, task: &TaskId, run: u32) -> Result<Option<Lease>, SystemError> {
    let Some(shared) = &world.ports.shared else {
        let lease = world.ports.queue.adopt(task, run, &world.settings.queue.holder).await?;
        return Ok(Some(lease));
    };
    regain(world, shared, &Lease { task: task.clone(), run, fence: NO_FENCE }).await
}

#[cfg(test)]
#[path = "collect_tests.rs"]
mod tests;
