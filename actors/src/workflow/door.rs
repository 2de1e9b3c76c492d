//! What adapters ask of workflows.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use super::actor::{append, recorded};
use super::error::WorkflowError;
use super::message::{Mail, Message};
use super::state::{Asked, State, beginning};
use crate::System;
use crate::domain::event::Recorded;
use crate::domain::id::StreamId;
use crate::domain::json::Json;
use crate::domain::workflow::{ApprovalRule, Created, Dispatch, Request, Workflow, WorkflowId, WorkflowType};
use crate::error::SystemError;
use crate::ports::{Batch, JournalError, WorkflowQuery, whole_stream};
use crate::supervisor::WorkflowsMessage;

/// How often a wish is sent again that got lost on the way to a workflow that just went to rest, or just died.
const MOST_TRIES: u32 = 8;
/// The pause before the first of these; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
/// The longest wait for an answer: longer than any journal should take.
const PATIENCE: Duration = Duration::from_secs(30);
/// When to come back when too many are at work.
const BUSY_RETRY: Duration = Duration::from_secs(1);

/// A workflow that is wanted; checked.
#[derive(Clone, Debug, PartialEq)]
pub struct NewWorkflow {
    /// One that follows from the request's key, so that the same request finds it again; `None` = any.
    pub id: Option<WorkflowId>,
    pub workflow_type: WorkflowType,
    pub description: Arc<str>,
    /// What stands behind the number in its feature id: `[a-z0-9-]+`.
    pub slug: String,
    pub context: Option<Json>,
    pub dispatch: Dispatch,
    pub approval: ApprovalRule,
    pub chain: Vec<WorkflowType>,
    pub request: Option<Request>,
}

/// Follows one workflow; ends the following when dropped.
pub struct Following {
    system: System,
    id: WorkflowId,
    versions: Option<watch::Receiver<u64>>,
}

impl Following {
    /// Waits until there may be something new since the last call.
    pub async fn news(&mut self) {
        let has_more = match &mut self.versions {
            Some(versions) => versions.changed().await.is_ok(),
            None => false,
        };
        if !has_more {
            std::future::pending().await
        }
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.versions = None;
        self.system.world.workflows.unfollow(self.id);
    }
}

impl System {
    /// Durable when it answers, and begun.
    pub async fn create_workflow(&self, new: NewWorkflow) -> Result<Arc<Workflow>, WorkflowError> {
        let system = self.clone();
        self.apart("a workflow's creation", async move { Ok(system.create(new).await) }).await.unwrap_or_else(failed)
    }

    async fn create(&self, new: NewWorkflow) -> Result<Arc<Workflow>, WorkflowError> {
        if let Some(earlier) = self.earlier(&new).await? {
            return Ok(earlier);
        }
        self.world.check_open().map_err(|error| WorkflowError::Unavailable(error.to_string().into()))?;
        let settings = &self.world.settings.workflows;
        let directory = &self.world.workflows;
        if new.dispatch == Dispatch::Auto && directory.present.len() >= settings.most_present {
            let what = format!("{} workflows are at work", settings.most_present).into();
            return Err(WorkflowError::Busy { what, retry_after: BUSY_RETRY });
        }
        let ids = &self.world.ports.ids;
        let workflow = new.id.unwrap_or_else(|| WorkflowId(ids.event_id().0));
        let types: Vec<_> = std::iter::once(new.workflow_type).chain(new.chain.iter().copied()).collect();
        let number = directory.draw_number(&types);
        let created = Created {
            workflow,
            workflow_type: new.workflow_type,
            feature_id: format!("{number:03}-{}", new.slug).into(),
            description: new.description.clone(),
            context: new.context.clone(),
            dispatch: new.dispatch,
            approval: new.approval.clone(),
            chain: new.chain.clone(),
            origin: None,
            request: new.request.clone(),
        };
        let mut ids = std::iter::repeat_with(|| ids.event_id());
        let batch = Batch::of(vec![append(&self.world, workflow, 0, beginning(created), &mut ids)]);
        let committed = match self.world.ports.journal.commit(batch.clone()).await {
            Ok(committed) => committed,
            Err(error @ JournalError::Conflict { .. }) => {
                return self.earlier(&new).await?.ok_or_else(|| error.into());
            }
            Err(error) => return Err(error.into()),
        };
        let state = State::of(&recorded(batch, committed));
        let state = Box::new(state.ok_or_else(|| internal("a workflow that was just created is none"))?);
        let shown = state.workflow.clone();
        if directory.present.len() < settings.most_present || new.dispatch == Dispatch::Auto {
            directory.tell_supervisor(WorkflowsMessage::Begun { id: workflow, state });
        }
        Ok(shown)
    }

    /// The workflow that the same request made before.
    async fn earlier(&self, new: &NewWorkflow) -> Result<Option<Arc<Workflow>>, WorkflowError> {
        let (Some(id), Some(request)) = (new.id, &new.request) else { return Ok(None) };
        let Some(earlier) = self.find_workflow(id).await? else { return Ok(None) };
        match earlier.request(&request.key) {
            Some(made) if made.content != request.content => Err(WorkflowError::KeyReused { key: request.key.clone() }),
            _ => Ok(Some(earlier)),
        }
    }

    /// Carries a wish out, once; durable when it answers.
    pub async fn advance_workflow(&self, id: WorkflowId, asked: Asked) -> Result<Arc<Workflow>, WorkflowError> {
        let (asked, event) = (Arc::new(asked), self.world.ports.ids.event_id());
        let directory = &self.world.workflows;
        for attempt in 0..MOST_TRIES {
            if attempt > 0 {
                tokio::time::sleep(FIRST_PAUSE * 2u32.pow(attempt)).await;
            }
            if self.world.has_stopped() {
                break;
            }
            let (reply, answer) = oneshot::channel();
            let mail = Mail { asked: asked.clone(), event, reply };
            match directory.present.get(&id).map(|present| present.actor.clone()) {
                Some(actor) => drop(actor.cast(Message::Asked(mail))),
                None => directory.tell_supervisor(WorkflowsMessage::Wake { id, mail: Some(mail) }),
            }
            match tokio::time::timeout(PATIENCE, answer).await {
                Ok(Ok(told)) => return told,
                Ok(Err(_)) => {}
                Err(_) => break,
            }
        }
        let why = format!("workflow {id} did not answer; read it before you try again");
        Err(WorkflowError::Unavailable(why.into()))
    }

    pub async fn workflow(&self, id: WorkflowId) -> Result<Arc<Workflow>, WorkflowError> {
        self.find_workflow(id).await?.ok_or(WorkflowError::Unknown { id })
    }

    async fn find_workflow(&self, id: WorkflowId) -> Result<Option<Arc<Workflow>>, WorkflowError> {
        let present = self.world.workflows.present.get(&id).and_then(|present| present.workflow.clone());
        match present {
            None => Ok(self.world.ports.journal.workflow(id).await?.map(Arc::new)),
            present => Ok(present),
        }
    }

    /// Newest first.
    pub async fn workflows(&self, query: &WorkflowQuery) -> Result<Vec<Workflow>, WorkflowError> {
        Ok(self.world.ports.journal.workflows(query).await?)
    }

    /// All that happened to it, in order.
    pub async fn workflow_past(&self, id: WorkflowId) -> Result<Vec<Recorded>, WorkflowError> {
        let events = whole_stream(&*self.world.ports.journal, &StreamId::workflow(id)).await?;
        if events.is_empty() { Err(WorkflowError::Unknown { id }) } else { Ok(events) }
    }

    /// What happened to it after one of its versions.
    pub async fn workflow_events(&self, id: WorkflowId, after: u64) -> Result<Vec<Recorded>, WorkflowError> {
        const PAGE: usize = 256;
        Ok(self.world.ports.journal.stream(&StreamId::workflow(id), after, PAGE).await?)
    }

    /// Told of news from now on: what happened before is read, after this.
    #[must_use]
    pub fn follow_workflow(&self, id: WorkflowId) -> Following {
        Following { system: self.clone(), id, versions: Some(self.world.workflows.follow(id)) }
    }
}

fn failed(error: SystemError) -> Result<Arc<Workflow>, WorkflowError> {
    match error {
        SystemError::Internal { id } => Err(WorkflowError::Internal { id }),
        other => Err(WorkflowError::Unavailable(other.to_string().into())),
    }
}

fn internal(what: &'static str) -> WorkflowError {
    tracing::error!("{what}");
    WorkflowError::Internal { id: "workflow".into() }
}
