//! Plans become tasks of the queue: the same way for every client, whether it calls or publishes.
//!
//! ```text
//! Plan ─▶ ids that others have ─▶ tasks left to do ─▶ specs ─▶ roles without a council ─▶ System::approve
//!          {plan_id}/{id}                              all problems     park or create
//! ```

mod inbox;
mod task;
mod wave;

use std::collections::BTreeSet;
use std::sync::Arc;

use moothall_actors::domain::id::{Role, TaskId};
use moothall_actors::domain::message::Cause;
use moothall_actors::domain::problem::Problems;
use moothall_actors::domain::receipt::{Receipt, ReceiptKey};
use moothall_actors::error::SystemError;
use moothall_actors::{Approved, CouncilDraft, NewPlan, NewTask, System};

use crate::config::{PlansConfig, UnknownRole};
use crate::plan::{Origin, Plan, parse};

pub use self::inbox::{EventInbox, MAX_PHASE_BYTES};

/// So often the ids of a plan's tasks may be taken by others while it is submitted.
const MOST_TRIES: usize = 3;

/// How plans are taken.
#[derive(Clone, Debug)]
pub struct IntakeSettings {
    pub plans: PlansConfig,
    /// What a council is made from where one is missing; `None` = none can be made.
    pub council: Option<CouncilDraft>,
}

/// Who approves a plan, and by what.
#[derive(Clone, Debug, Default)]
pub struct By {
    /// May be empty.
    pub approved_by: String,
    pub cause: Cause,
    /// Of the message that does; `None` = a call does.
    pub receipt: Option<Receipt>,
}

impl By {
    /// A caller, who may say who approves.
    #[must_use]
    pub fn caller(approved_by: &str) -> Self {
        Self { approved_by: approved_by.to_owned(), ..Self::default() }
    }
}

/// The way of plans into the queue; cheap to clone.
#[derive(Clone, Debug)]
pub struct Intake {
    system: System,
    settings: Arc<IntakeSettings>,
}

impl Intake {
    #[must_use]
    pub fn new(system: System, settings: IntakeSettings) -> Self {
        Self { system, settings: Arc::new(settings) }
    }

    #[must_use]
    pub fn settings(&self) -> &PlansConfig {
        &self.settings.plans
    }

    /// What is known of a plan beside its text.
    #[must_use]
    pub fn origin(&self, plan_id: &str, story_id: &str, roles: Vec<Role>) -> Origin {
        let (plan_id, story_id) = (plan_id.to_owned(), story_id.to_owned());
        Origin { plan_id, story_id, roles, max_tasks: self.settings.plans.max_tasks }
    }

    /// The plan that was approved under this id last, and how it came; `None` = there is none.
    pub async fn stored(&self, origin: &Origin) -> Result<Option<(Plan, Arc<str>)>, SystemError> {
        let Some(approval) = self.system.approval(&origin.plan_id).await? else { return Ok(None) };
        let story_id = approval.story.as_deref().unwrap_or(&origin.story_id).to_owned();
        let origin = Origin { story_id, ..origin.clone() };
        let plan = parse(approval.source.as_bytes(), &origin).map_err(SystemError::Invalid)?;
        Ok(Some((plan, approval.source.clone())))
    }

    /// Queues a plan's tasks, all or none. `source`: the plan as it came, kept with the approval.
    pub async fn submit(&self, plan: Plan, by: By, source: &str) -> Result<Approved, SystemError> {
        for _ in 1..MOST_TRIES {
            match self.try_to_submit(plan.clone(), by.clone(), source).await {
                // Another plan has just taken the id of one of its tasks, which gets a longer one now.
                Err(SystemError::OtherContent { .. }) => {}
                told => return told,
            }
        }
        self.try_to_submit(plan, by, source).await
    }

    async fn try_to_submit(&self, plan: Plan, by: By, source: &str) -> Result<Approved, SystemError> {
        let mut problems = Problems::default();
        if plan.plan_id.trim().is_empty() {
            problems.push("plan_id", "is missing: neither the request nor the plan names it");
            return Err(SystemError::Invalid(problems));
        }
        let content_hash: Arc<str> = plan.content_hash().into();
        let receipt = by.receipt.map(|receipt| named(receipt, &plan.plan_id, &content_hash));
        let plan = self.renamed(plan).await?;
        let derived = plan.derive(None).map_err(SystemError::Invalid)?;
        let hold = plan.hold_until_phase.as_deref().or(self.settings.plans.hold_until_phase.as_deref());
        let mut tasks = Vec::with_capacity(derived.tasks.len());
        for planned in &derived.tasks {
            match task::new_task(planned, hold, &self.settings.plans) {
                Ok(new) => tasks.push(new),
                Err(found) => problems.0.extend(found.0),
            }
        }
        if !problems.0.is_empty() {
            return Err(SystemError::Invalid(problems));
        }
        self.see_to_roles(&mut tasks).await?;
        let of = |text: &str| Some(Arc::from(text)).filter(|text: &Arc<str>| !text.is_empty());
        let new = NewPlan {
            plan: plan.plan_id.as_str().into(),
            story: of(&plan.story_id),
            content_hash,
            approved_by: of(&by.approved_by),
            cause: by.cause,
            receipt,
            source: source.into(),
            tasks,
        };
        self.system.approve(new).await
    }

    /// Ids that tasks of something else have get the plan before them.
    async fn renamed(&self, plan: Plan) -> Result<Plan, SystemError> {
        let longer = |id: &TaskId| TaskId::parse("id", &format!("{}/{id}", plan.plan_id)).ok();
        let ids: Vec<TaskId> =
            plan.tasks.iter().flat_map(|task| [Some(task.id.clone()), longer(&task.id)]).flatten().collect();
        let taken = self.system.taken(&plan.plan_id, &ids).await?;
        plan.make_unique(|id| taken.contains(id)).map_err(SystemError::Invalid)
    }

    /// Tasks whose role has no council are parked, or get one.
    async fn see_to_roles(&self, tasks: &mut [NewTask]) -> Result<(), SystemError> {
        let known: BTreeSet<Role> = self.system.councils().iter().map(|view| view.council.role.clone()).collect();
        let missing: BTreeSet<Role> =
            tasks.iter().map(|new| new.spec.role.clone()).filter(|role| !known.contains(role)).collect();
        let template = self.settings.council.as_ref();
        let template = template.filter(|_| self.settings.plans.unknown_role == UnknownRole::Create);
        for role in missing {
            match template {
                Some(template) => self.make_council(CouncilDraft { role, ..template.clone() }).await?,
                None => park(tasks, &role),
            }
        }
        Ok(())
    }

    async fn make_council(&self, draft: CouncilDraft) -> Result<(), SystemError> {
        match self.system.create_council(draft).await {
            Ok(_) | Err(SystemError::CouncilExists { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// A plan's own name is what it says: it is known again wherever it lies.
fn named(mut receipt: Receipt, plan: &str, content_hash: &str) -> Receipt {
    receipt.keys.push(ReceiptKey::of(&["plan", plan, content_hash]));
    receipt
}

fn park(tasks: &mut [NewTask], role: &Role) {
    let reason: Arc<str> = format!("no council has the role {role}; create it, then retry the task").into();
    tasks.iter_mut().filter(|new| new.spec.role == *role).for_each(|new| new.parked = Some(reason.clone()));
}
