//! What an event does not say itself: of its task, of the plan that brought the task about, of the verdict on it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use moothall_actors::document::{Document, Standing};
use moothall_actors::domain::event::{Event, Recorded};
use moothall_actors::domain::execution::Executed;
use moothall_actors::domain::id::{Role, RunId, StreamId, TaskId};
use moothall_actors::domain::message::Cause;
use moothall_actors::domain::task::TaskSpec;
use moothall_actors::domain::verdict::{Outcome, Ranked};
use moothall_actors::domain::workflow::WorkflowId;
use moothall_actors::ports::{Journal as _, JournalError, whole_stream};

use super::workflow::OfWorkflow;
use crate::store::SqliteJournal;

/// Tasks and plans that are remembered: what goes out at one time is of few of them.
const REMEMBERED: usize = 1_024;

/// Tasks asked for at once: as many as the store answers at once.
const AT_ONCE: usize = 4;

/// Asks the store, and remembers what it said of late.
pub(super) struct Facts {
    store: Arc<SqliteJournal>,
    tasks: Remembered<TaskId, Arc<OfTask>>,
    plans: Remembered<Arc<str>, Arc<Cause>>,
    /// Whether the winners of these runs passed their checks.
    verdicts: Remembered<RunId, bool>,
    workflows: Remembered<WorkflowId, Arc<OfWorkflow>>,
}

/// What never changes of a task that has begun.
#[derive(Debug)]
pub(super) struct OfTask {
    pub(super) role: Role,
    pub(super) story: Arc<str>,
    /// Empty = it is part of none.
    pub(super) plan: Arc<str>,
    /// Its winner is carried out by others.
    pub(super) is_executed: bool,
    /// The first of its runs that came by the queue; before, it came to its council directly.
    pub(super) queued_since: Option<u32>,
}

impl Facts {
    pub(super) fn new(store: Arc<SqliteJournal>) -> Self {
        let (tasks, plans) = (Remembered::default(), Remembered::default());
        Self { store, tasks, plans, verdicts: Remembered::default(), workflows: Remembered::default() }
    }

    /// `None` = there is no such workflow.
    pub(super) async fn of_workflow(&self, id: WorkflowId) -> Result<Option<Arc<OfWorkflow>>, JournalError> {
        if let Some(known) = self.workflows.get(&id) {
            return Ok(Some(known));
        }
        let Some(workflow) = self.store.workflow(id).await? else { return Ok(None) };
        let of = OfWorkflow { workflow_type: workflow.workflow_type, feature_id: workflow.feature_id };
        Ok(Some(self.workflows.keep(id, Arc::new(of))))
    }

    /// Asks for those that are not remembered, before they are asked for one by one.
    pub(super) async fn look_up(&self, tasks: BTreeSet<TaskId>) -> Result<(), JournalError> {
        let unknown = tasks.into_iter().filter(|task| self.tasks.get(task).is_none());
        let asked = unknown.map(|task| async move { self.of_task(&task).await.map(drop) });
        stream::iter(asked).buffer_unordered(AT_ONCE).try_collect().await
    }

    /// As its stream says; `None` = there is no such task any more.
    pub(super) async fn of_task(&self, task: &TaskId) -> Result<Option<Arc<OfTask>>, JournalError> {
        if let Some(known) = self.tasks.get(task) {
            return Ok(Some(known));
        }
        let events = whole_stream(&*self.store, &StreamId::task(task)).await?;
        let queued_since = events.iter().find_map(|recorded| match &recorded.event.event {
            Event::TaskQueued(entry) => Some(entry.run),
            _ => None,
        });
        let Some(spec) = last_spec(events) else { return Ok(None) };
        let text = |text: Option<&str>| Arc::from(text.unwrap_or_default());
        let (story, plan) = (text(spec.story_id()), text(spec.plan_id()));
        let (role, is_executed) = (spec.role.clone(), spec.awaits_execution());
        let known = OfTask { role, story, plan, is_executed, queued_since };
        Ok(Some(self.tasks.keep(task.clone(), Arc::new(known))))
    }

    /// All that a task asks for; too large to be remembered.
    pub(super) async fn spec(&self, task: &TaskId) -> Result<Option<Arc<TaskSpec>>, JournalError> {
        Ok(last_spec(whole_stream(&*self.store, &StreamId::task(task)).await?))
    }

    /// A plan that was approved anew may want something else of its tasks.
    pub(super) fn forget_plan(&self, plan: &Arc<str>) {
        self.plans.forget(plan);
    }

    pub(super) fn forget_task(&self, task: &TaskId) {
        self.tasks.forget(task);
    }

    /// What brought a plan's last approval about.
    pub(super) async fn of_plan(&self, plan: &Arc<str>) -> Result<Arc<Cause>, JournalError> {
        if plan.is_empty() {
            return Ok(Arc::default());
        }
        if let Some(known) = self.plans.get(plan) {
            return Ok(known);
        }
        let events = whole_stream(&*self.store, &StreamId::plan(plan)).await?;
        let cause = events.into_iter().rev().find_map(|recorded| match recorded.event.event {
            Event::PlanApproved(approval) => Some(approval.cause.clone()),
            _ => None,
        });
        Ok(self.plans.keep(plan.clone(), Arc::new(cause.unwrap_or_default())))
    }

    /// The outcome of a run that has one.
    pub(super) async fn outcome(&self, run: &RunId) -> Result<Option<Arc<Outcome>>, JournalError> {
        let events = whole_stream(&*self.store, &StreamId::deliberation(run)).await?;
        Ok(Document::of(&events).and_then(|document| match document.standing {
            Standing::Completed(outcome) => Some(outcome),
            _ => None,
        }))
    }

    /// A verdict stands just before the end of its run, which wants to know this of it.
    pub(super) fn decided(&self, run: &RunId, winner: Option<&Ranked>) {
        self.verdicts.keep(run.clone(), passed(winner));
    }

    /// Whether the winner passed: by the word of whoever carried it out, else by the checks here.
    pub(super) async fn checks_passed(&self, run: &RunId, of: &OfTask) -> Result<bool, JournalError> {
        if of.is_executed
            && let Some(said) = self.executed(run).await?
        {
            return Ok(said);
        }
        if let Some(known) = self.verdicts.get(run) {
            return Ok(known);
        }
        let outcome = self.outcome(run).await?;
        Ok(passed(outcome.as_ref().and_then(|outcome| outcome.verdict.winner())))
    }

    async fn executed(&self, run: &RunId) -> Result<Option<bool>, JournalError> {
        let events = whole_stream(&*self.store, &StreamId::task(&run.task)).await?;
        Ok(events.into_iter().rev().find_map(|recorded| match recorded.event.event {
            Event::ExecutionEnded(execution) if execution.run == run.run => match execution.outcome {
                Executed::Completed { checks_passed, .. } => checks_passed,
                _ => None,
            },
            _ => None,
        }))
    }
}

fn last_spec(events: Vec<Recorded>) -> Option<Arc<TaskSpec>> {
    events.into_iter().rev().find_map(|recorded| match recorded.event.event {
        Event::TaskAccepted { spec, .. } | Event::TaskAmended { spec, .. } => Some(spec),
        _ => None,
    })
}

fn passed(winner: Option<&Ranked>) -> bool {
    winner.is_some_and(|winner| !winner.checks.any_failed())
}

/// A few of many, the oldest goes first.
#[derive(Debug)]
struct Remembered<K, V>(Mutex<(BTreeMap<K, V>, VecDeque<K>)>);

impl<K, V> Default for Remembered<K, V> {
    fn default() -> Self {
        Self(Mutex::new((BTreeMap::new(), VecDeque::new())))
    }
}

impl<K: Ord + Clone, V: Clone> Remembered<K, V> {
    fn get(&self, key: &K) -> Option<V> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0.get(key).cloned()
    }

    fn keep(&self, key: K, value: V) -> V {
        let mut both = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (values, order) = &mut *both;
        if values.insert(key.clone(), value.clone()).is_none() {
            order.push_back(key);
        }
        if order.len() > REMEMBERED
            && let Some(oldest) = order.pop_front()
        {
            values.remove(&oldest);
        }
        value
    }

    fn forget(&self, key: &K) {
        let mut both = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if both.0.remove(key).is_some() {
            both.1.retain(|other| other != key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_forgotten_first_and_nothing_is_kept_twice() {
        let few = Remembered::default();
        for key in 0..REMEMBERED + 2 {
            few.keep(key, key);
        }
        assert_eq!((few.get(&0), few.get(&1), few.get(&2)), (None, None, Some(2)));
        few.keep(2, 9);
        few.forget(&2);
        assert_eq!(few.get(&2), None);
        assert_eq!(few.0.lock().unwrap().1.len(), REMEMBERED - 1);
    }
}
