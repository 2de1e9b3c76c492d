//! The built-in hub: a council of this daemon deliberates on what an outside hub would be asked.
//!
//! ```text
//!  not yet ── open: the system runs ──▶ open ── close: it was drained ──▶ over
//!  (invocations wait)                                                     (invocations go on at the next start)
//! ```

use std::sync::Arc;
use std::time::Duration;

use moothall_actors::domain::id::TaskId;
use moothall_actors::domain::problem::{Problem, Problems};
use moothall_actors::domain::task::{TaskDraft, TaskSpec};
use moothall_actors::domain::verdict::Outcome;
use moothall_actors::domain::workflow::{Artifact, Phase, WorkflowType};
use moothall_actors::error::SystemError;
use moothall_actors::ports::{HubError, Invocation, InvocationId};
use moothall_actors::{Attached, Hold, System};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::artefact::Artefact;
use super::wire::{AgentView, InvokeRequest, InvokeResponse, PhaseView};
use super::{evidence, prompt};
use crate::config::{HubConfig, PhaseRoles};
use crate::intake::Intake;
use crate::vllm::Retry;

/// How often a task is looked for that is to be cancelled, and the pause between: its admission may be under way.
const CANCEL_TRIES: u32 = 3;
const CANCEL_PAUSE: Duration = Duration::from_millis(200);

/// Why an agent of this daemon gave no answer, other than by failing at its work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvokeError {
    #[error("no agent is called {agent:?}; there are: {}", names())]
    UnknownAgent { agent: String },
    #[error(transparent)]
    Invalid(#[from] Problems),
    #[error("the idempotency key {key:?} was sent before with another request")]
    KeyReused { key: String },
    #[error("{what}; try again in {} ms", retry_after.as_millis())]
    Busy { what: Arc<str>, retry_after: Duration },
    /// The daemon is not ready yet, is stopping, or cannot write.
    #[error("{0}")]
    Unavailable(Arc<str>),
}

/// Whether there is a system to deliberate with.
enum Door {
    NotYet,
    Open { system: System, intake: Intake },
    Over,
}

struct Inner {
    roles: PhaseRoles,
    /// How long it tries to have a task admitted.
    patience: Duration,
    retry: Retry,
    door: watch::Sender<Door>,
}

/// The hub of this daemon; cheap to clone. It exists before the system does, and waits for it.
#[derive(Clone)]
pub struct BuiltInHub {
    inner: Arc<Inner>,
}

impl BuiltInHub {
    #[must_use]
    pub fn new(roles: PhaseRoles, config: &HubConfig) -> Self {
        let (patience, retry, door) = (config.timeout, config.retry, watch::Sender::new(Door::NotYet));
        Self { inner: Arc::new(Inner { roles, patience, retry, door }) }
    }

    /// From now on there is a system.
    pub fn open(&self, system: System, intake: Intake) {
        self.inner.door.send_replace(Door::Open { system, intake });
    }

    /// Lets go of the system, whose ports hold this hub.
    pub fn close(&self) {
        self.inner.door.send_replace(Door::Over);
    }

    pub(super) fn roles(&self) -> &PhaseRoles {
        &self.inner.roles
    }

    /// Waits until there is a system; `Stopping` = there will be none any more.
    pub(super) async fn opened(&self) -> Result<(System, Intake), HubError> {
        let mut door = self.inner.door.subscribe();
        match door.wait_for(|door| !matches!(door, Door::NotYet)).await.as_deref() {
            Ok(Door::Open { system, intake }) => Ok((system.clone(), intake.clone())),
            _ => Err(HubError::Stopping),
        }
    }

    /// Executes one attempt at a phase.
    pub(super) async fn invoke(&self, invocation: &Invocation) -> Result<Artifact, HubError> {
        let (system, _) = self.opened().await?;
        let (workflow_type, phase) = (invocation.workflow_type, invocation.id.phase);
        let spec = self.spec(workflow_type, phase, &InvokeRequest::of(invocation)).map_err(|found| failed(&found))?;
        let task = TaskId::parse("invocation", &invocation.id.to_string()).map_err(|problem| failed(&problem))?;
        let name = Artefact::of(workflow_type, phase).name;
        match self.deliberate(&system, Some(task.clone()), &spec, Hold::Background).await {
            Ok((task, outcome)) => artifact(&system, name, &task, &outcome).await,
            // It was asked for before the prompts or the roles became what they are now: it is the same attempt all the same.
            Err(SystemError::OtherContent { .. }) => {
                let attached = system.attach(&task).await;
                match ended(attached).await {
                    Ok((task, outcome)) => artifact(&system, name, &task, &outcome).await,
                    Err(error) => Err(hub_error(&system, &error)),
                }
            }
            Err(error) => Err(hub_error(&system, &error)),
        }
    }

    /// Ends what works on it, or will in a moment.
    pub(super) async fn cancel(&self, id: InvocationId) {
        let Ok((system, _)) = self.opened().await else { return };
        let Ok(task) = TaskId::parse("invocation", &id.to_string()) else { return };
        for _ in 0..CANCEL_TRIES {
            match system.cancel(&task, "its workflow does not wait for it any more").await {
                Err(SystemError::UnknownTask { .. }) => sleep(CANCEL_PAUSE).await,
                _ => return,
            }
        }
    }

    /// What `POST /invoke/{agent}` of this daemon answers. With a key the same request comes to the same deliberation,
    /// however often it is sent; without one the deliberation ends with its caller.
    pub async fn answer(
        &self,
        agent: &str,
        request: InvokeRequest,
        idempotency_key: Option<&str>,
    ) -> Result<InvokeResponse, InvokeError> {
        let Some(workflow_type) = WorkflowType::named(agent) else {
            return Err(InvokeError::UnknownAgent { agent: agent.chars().take(64).collect() });
        };
        let phase = phase(workflow_type, &request)?;
        let spec = self.spec(workflow_type, phase, &request)?;
        let task = idempotency_key.map(|key| TaskId::parse("Idempotency-Key", &format!("hub/{key}"))).transpose();
        let task = task.map_err(|problem| Problems(vec![problem]))?;
        let system = match &*self.inner.door.borrow() {
            Door::Open { system, .. } => system.clone(),
            Door::NotYet => return Err(InvokeError::Unavailable("the daemon is starting".into())),
            Door::Over => return Err(InvokeError::Unavailable("the daemon is stopping".into())),
        };
        let hold = if task.is_some() { Hold::Background } else { Hold::Call };
        let error = match self.deliberate(&system, task, &spec, hold).await {
            Ok((task, outcome)) => {
                let name = Artefact::of(workflow_type, phase).name;
                match artifact(&system, name, &task, &outcome).await {
                    Ok(artifact) => return Ok(InvokeResponse::done(artifact)),
                    Err(error) => return Ok(InvokeResponse::failed(error.to_string())),
                }
            }
            Err(error) => error,
        };
        match error {
            SystemError::OtherContent { .. } => {
                Err(InvokeError::KeyReused { key: idempotency_key.unwrap_or_default().to_owned() })
            }
            SystemError::Busy { what, retry_after } => Err(InvokeError::Busy { what, retry_after }),
            SystemError::Unavailable(why) => Err(InvokeError::Unavailable(why)),
            SystemError::Invalid(found) => Err(found.into()),
            other => Ok(InvokeResponse::failed(other.to_string())),
        }
    }

    /// Those that can be invoked.
    #[must_use]
    pub fn agents(&self) -> Vec<AgentView> {
        let phases = |of: WorkflowType| {
            let view = |phase: &Phase| PhaseView {
                phase: *phase,
                title: of.title(*phase),
                role: self.inner.roles.of(of, *phase).as_str().into(),
                artifact: Artefact::of(of, *phase).name,
            };
            Phase::ALL.iter().map(view).collect()
        };
        let agent = |of: &WorkflowType| AgentView { name: of.as_str(), workflow_type: *of, phases: phases(*of) };
        WorkflowType::ALL.iter().map(agent).collect()
    }

    fn spec(&self, of: WorkflowType, phase: Phase, request: &InvokeRequest) -> Result<TaskSpec, Problems> {
        let artefact = Artefact::of(of, phase);
        let mut metadata = std::collections::BTreeMap::new();
        metadata.insert("artifact".to_owned(), artefact.kind.as_str().to_owned());
        if let Some(feature) = request.context.feature_id.as_deref().filter(|feature| !feature.is_empty()) {
            metadata.insert("story_id".to_owned(), feature.to_owned());
        }
        let draft = TaskDraft {
            orchestrate: true,
            role: self.inner.roles.of(of, phase).to_string(),
            description: prompt::description(of, phase, &request.context),
            rubric: artefact.rubric.to_owned(),
            metadata,
            ..TaskDraft::default()
        };
        draft.check()
    }

    /// Until there is an outcome, a reason why there is none, or no patience left.
    async fn deliberate(
        &self,
        system: &System,
        task: Option<TaskId>,
        spec: &TaskSpec,
        hold: Hold,
    ) -> Result<(TaskId, Arc<Outcome>), SystemError> {
        let mut refusals = Refusals::new(self.inner.patience, self.inner.retry);
        loop {
            let attached = system.submit(task.clone(), spec.clone(), hold).await;
            if attached.is_ok() {
                refusals = Refusals::new(self.inner.patience, self.inner.retry);
            }
            match ended(attached).await {
                Ok(told) => return Ok(told),
                Err(error) => refusals.wait_after(system, error).await?,
            }
        }
    }

    /// The same patience for other work.
    pub(super) fn refusals(&self) -> Refusals {
        Refusals::new(self.inner.patience, self.inner.retry)
    }
}

/// How often something was refused for a while, and until when it is tried again.
pub(super) struct Refusals {
    deadline: Instant,
    retry: Retry,
    so_far: u32,
}

impl Refusals {
    fn new(patience: Duration, retry: Retry) -> Self {
        Self { deadline: Instant::now() + patience, retry, so_far: 0 }
    }

    /// Waits before the next try; the error is given back when there is none.
    pub(super) async fn wait_after(&mut self, system: &System, error: SystemError) -> Result<(), SystemError> {
        let asked = match &error {
            SystemError::Busy { retry_after, .. } => *retry_after,
            SystemError::Unavailable(_) if !system.status().draining => Duration::ZERO,
            _ => return Err(error),
        };
        self.so_far = self.so_far.saturating_add(1);
        // At least half of it, so that an empty patience is not spent in no time.
        let wait = asked.max(self.retry.bound(self.so_far).mul_f64(0.5 + rand::random::<f64>() / 2.0));
        if Instant::now() + wait >= self.deadline {
            return Err(error);
        }
        sleep(wait).await;
        Ok(())
    }
}

async fn ended(attached: Result<Attached, SystemError>) -> Result<(TaskId, Arc<Outcome>), SystemError> {
    let attached = attached?;
    let outcome = attached.outcome().await?;
    Ok((attached.task().clone(), outcome))
}

async fn artifact(system: &System, name: &str, task: &TaskId, outcome: &Outcome) -> Result<Artifact, HubError> {
    let run = system.find(std::slice::from_ref(task)).await.ok().and_then(|rows| Some(rows.first()?.run));
    let told = evidence::artifact(name, task, run, outcome);
    told.ok_or_else(|| failed(&format!("task {task} completed, but what was said in it is not known here")))
}

/// What a workflow is told of an error.
pub(super) fn hub_error(system: &System, error: &SystemError) -> HubError {
    match error {
        SystemError::Unavailable(_) if system.status().draining => HubError::Stopping,
        other => failed(other),
    }
}

pub(super) fn failed(why: &impl ToString) -> HubError {
    HubError::Failed(why.to_string().into())
}

/// The phase that a request is about.
fn phase(workflow_type: WorkflowType, request: &InvokeRequest) -> Result<Phase, Problems> {
    let mut problems = Problems::default();
    if let Some(given) = request.workflow_type.as_deref().filter(|given| *given != workflow_type.as_str()) {
        let rule = format!("is {given:?}; the agent {workflow_type} executes {workflow_type}");
        problems.push("workflow_type", rule);
    }
    if request.context.feature_description.as_deref().is_none_or(|text| text.trim().is_empty()) {
        problems.push("context.feature_description", "is empty; say what the feature is");
    }
    let given = request.context.phase.as_deref().unwrap_or(Phase::One.as_str());
    let unknown = || Problem::new("context.phase", format!("is {given:?}; allowed are phase_1 and phase_2"));
    match problems.keep(Phase::named(given).ok_or_else(unknown)) {
        Some(phase) if problems.0.is_empty() => Ok(phase),
        _ => Err(problems),
    }
}

fn names() -> String {
    WorkflowType::ALL.iter().map(|of| of.as_str()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
#[path = "built_in_tests.rs"]
mod tests;
