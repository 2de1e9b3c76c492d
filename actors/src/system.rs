//! A stand-in with the signatures of the real system.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::council::{Council, Endpoint, Sampling, Seat};
use crate::domain::id::{AgentId, Role, TaskId};
use crate::domain::task::TaskSpec;
use crate::domain::verdict::Outcome;
use crate::error::SystemError;
use crate::ports::{TaskQuery, TaskRow};
use crate::progress::{Progress, Updates};
use crate::view::{ActorNode, CouncilView, SystemMetrics, SystemStatus, TaskView};

#[derive(Clone)]
pub struct System;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    Call,
    Stream,
    Background,
}

pub struct Attached {
    task: TaskId,
    progress: Arc<Progress>,
}

impl Attached {
    pub fn task(&self) -> &TaskId {
        &self.task
    }

    pub fn joined(&self) -> bool {
        false
    }

    pub fn updates(&self) -> Updates {
        Updates::from_start(&self.progress)
    }

    pub async fn outcome(&self) -> Result<Arc<Outcome>, SystemError> {
        Err(SystemError::NoCouncils)
    }
}

#[derive(Clone, Debug)]
pub struct CouncilDraft {
    pub role: Role,
    pub num_agents: usize,
    pub rounds: u8,
    pub review: bool,
    pub agent_type: Arc<str>,
    pub model: Arc<str>,
    pub endpoint: Endpoint,
    pub sampling: Sampling,
}

impl System {
    pub async fn submit(&self, task: Option<TaskId>, _spec: TaskSpec, _hold: Hold) -> Result<Attached, SystemError> {
        let task = task.ok_or(SystemError::NoCouncils)?;
        let progress = Progress::new();
        progress.close();
        Ok(Attached { task, progress })
    }

    pub async fn attach(&self, task: &TaskId) -> Result<Attached, SystemError> {
        Err(SystemError::UnknownTask { task: task.clone() })
    }

    pub async fn cancel(&self, task: &TaskId, _reason: &str) -> Result<(), SystemError> {
        Err(SystemError::UnknownTask { task: task.clone() })
    }

    pub async fn task(&self, task: &TaskId) -> Result<TaskView, SystemError> {
        Err(SystemError::UnknownTask { task: task.clone() })
    }

    pub async fn tasks(&self, _query: &TaskQuery) -> Result<Vec<TaskRow>, SystemError> {
        Ok(Vec::new())
    }

    pub async fn create_council(&self, _draft: CouncilDraft) -> Result<Arc<Council>, SystemError> {
        Err(SystemError::NoCouncils)
    }

    pub async fn delete_council(&self, _role: &Role) -> Result<u32, SystemError> {
        Err(SystemError::NoCouncils)
    }

    pub async fn resume_council(&self, _role: &Role) -> Result<(), SystemError> {
        Err(SystemError::NoCouncils)
    }

    pub async fn register_agent(&self, _role: &Role, _seat: Seat) -> Result<(), SystemError> {
        Err(SystemError::NoCouncils)
    }

    pub async fn unregister_agent(&self, _role: &Role, _agent: &AgentId) -> Result<(), SystemError> {
        Err(SystemError::NoCouncils)
    }

    pub fn councils(&self) -> Vec<CouncilView> {
        Vec::new()
    }

    pub fn status(&self) -> SystemStatus {
        SystemStatus::default()
    }

    pub fn metrics(&self, _window: Option<Duration>) -> SystemMetrics {
        SystemMetrics::default()
    }

    pub fn tree(&self) -> Vec<ActorNode> {
        Vec::new()
    }
}
