//! A plan was approved: its tasks are queued, and the same batch says what became of each.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::enqueue::{Enqueued, NewTask, OnOther, claims, prepare, tell_queue, write};
use super::stream::{MOST_TRIES, told};
use crate::System;
use crate::domain::event::{Event, NewEvent};
use crate::domain::id::{Role, StreamId, TaskId};
use crate::domain::message::Cause;
use crate::domain::plan::{Approval, Change, Planned};
use crate::domain::receipt::Receipt;
use crate::error::SystemError;
use crate::exchange::note;
use crate::ports::{Append, JournalError, whole_stream};
use crate::world::World;

/// A plan whose tasks are to be queued.
#[derive(Clone, Debug)]
pub struct NewPlan {
    pub plan: Arc<str>,
    pub story: Option<Arc<str>>,
    /// Of everything that makes two approvals the same.
    pub content_hash: Arc<str>,
    pub approved_by: Option<Arc<str>>,
    pub cause: Cause,
    /// Of the message that approves it; `None` = a call does.
    pub receipt: Option<Receipt>,
    /// The plan as it came; kept with the approval.
    pub source: Arc<str>,
    /// In the order in which they may run.
    pub tasks: Vec<NewTask>,
}

impl NewPlan {
    fn correlation(&self) -> Option<Arc<str>> {
        self.cause.correlation_id.clone().or_else(|| self.story.clone())
    }
}

/// What an approval came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approved {
    pub approval: Arc<Approval>,
    /// `false` = the same had been approved before, and nothing changed.
    pub new: bool,
}

impl System {
    /// Queues a plan's tasks, all or none. Approved again with the same content it changes nothing; with other content new
    /// tasks are added, those that wait are brought up to date, and those that have begun are left.
    pub async fn approve(&self, plan: NewPlan) -> Result<Approved, SystemError> {
        let world = self.world.clone();
        self.apart("an approval", async move { approve(&world, plan).await }).await
    }

    /// A plan as it was approved last.
    pub async fn approval(&self, plan: &str) -> Result<Option<Arc<Approval>>, SystemError> {
        Ok(last(&self.world, plan).await?.0)
    }

    /// Which of these ids belong to tasks of something else than this plan.
    pub async fn taken(&self, plan: &str, tasks: &[TaskId]) -> Result<BTreeSet<TaskId>, SystemError> {
        let journal = &*self.world.ports.journal;
        let mut taken = BTreeSet::new();
        for row in journal.find(tasks).await? {
            if told(journal, &row.task).await?.spec.is_none_or(|spec| spec.plan_id() != Some(plan)) {
                taken.insert(row.task);
            }
        }
        Ok(taken)
    }
}

/// With the version of its stream.
async fn last(world: &World, plan: &str) -> Result<(Option<Arc<Approval>>, u64), JournalError> {
    let events = whole_stream(&*world.ports.journal, &StreamId::plan(plan)).await?;
    let version = events.last().map_or(0, |recorded| recorded.version);
    let approval = events.into_iter().rev().find_map(|recorded| match recorded.event.event {
        Event::PlanApproved(approval) => Some(approval),
        _ => None,
    });
    Ok((approval, version))
}

async fn approve(world: &Arc<World>, plan: NewPlan) -> Result<Approved, SystemError> {
    world.check_open()?;
    for _ in 0..MOST_TRIES {
        let (before, version) = last(world, &plan.plan).await?;
        if let Some(approval) = before.filter(|before| before.content_hash == plan.content_hash) {
            note(world, plan.receipt).await?;
            return Ok(Approved { approval: unchanged(&approval), new: false });
        }
        let _claims = claims(world, &plan.tasks).await;
        let prepared = prepare(world, plan.tasks.clone(), OnOther::Amend).await?;
        let approval = Arc::new(approval(&plan, &prepared.all));
        let event = Event::PlanApproved(approval.clone());
        let (id, at) = (world.ports.ids.event_id(), world.ports.clock.now());
        let new = NewEvent { id, at, correlation: plan.correlation(), causation: None, event };
        let stream = StreamId::plan(&plan.plan);
        let approving = Append { stream, expected_version: version, events: [new].into() };
        match write(world, &prepared, vec![approving], plan.receipt.clone()).await {
            Ok(()) => {
                tell_queue(world, prepared).await;
                return Ok(Approved { approval, new: true });
            }
            Err(JournalError::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(SystemError::Unavailable(format!("plan {} is just approved elsewhere; try again", plan.plan).into()))
}

fn unchanged(approval: &Approval) -> Arc<Approval> {
    let tasks = approval.tasks.iter();
    let tasks = tasks.map(|planned| Planned { task: planned.task.clone(), change: Change::Unchanged }).collect();
    Arc::new(Approval { tasks, ..approval.clone() })
}

fn approval(plan: &NewPlan, enqueued: &[Enqueued]) -> Approval {
    let roles: BTreeSet<Role> = plan.tasks.iter().map(|new| new.spec.role.clone()).collect();
    let planned = |enqueued: &Enqueued| Planned { task: enqueued.task.clone(), change: enqueued.change };
    Approval {
        plan: plan.plan.clone(),
        story: plan.story.clone(),
        content_hash: plan.content_hash.clone(),
        approved_by: plan.approved_by.clone(),
        cause: plan.cause.clone(),
        roles: roles.into_iter().collect(),
        tasks: enqueued.iter().map(planned).collect(),
        source: plan.source.clone(),
    }
}
