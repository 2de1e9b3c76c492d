//! Who sits where: councils and agents come, change and go.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::System;
use crate::council::{Change, Message as CouncilMessage};
use crate::domain::council::{Capabilities, Council, Defaults, Endpoint, MAX_SEATS, Sampling, Seat};
use crate::domain::id::{AgentId, Role, Timestamp};
use crate::domain::problem::Problems;
use crate::domain::task::MAX_ROUNDS;
use crate::error::SystemError;
use crate::supervisor::RootMessage;

/// Agents of a council that is asked for without a number.
const DEFAULT_AGENTS: usize = 3;
/// How long a change of a council may take before its caller is told to look again.
const CHANGE_LIMIT: Duration = Duration::from_secs(30);

/// A council to create; its agents are made with it.
#[derive(Clone, Debug)]
pub struct CouncilDraft {
    pub role: Role,
    /// 0 = 3; at most 32.
    pub num_agents: usize,
    pub rounds: u8,
    pub review: bool,
    pub agent_type: Arc<str>,
    pub model: Arc<str>,
    pub endpoint: Endpoint,
    pub sampling: Sampling,
    pub defaults: Defaults,
}

impl CouncilDraft {
    fn check(self) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        if self.num_agents > MAX_SEATS {
            problems.push("num_agents", format!("is {}; at most {MAX_SEATS} are allowed", self.num_agents));
        }
        if self.rounds > MAX_ROUNDS {
            problems.push("rounds", format!("is {}; at most {MAX_ROUNDS} are allowed", self.rounds));
        }
        if problems.0.is_empty() { Ok(self) } else { Err(problems) }
    }

    fn into_council(self, created_at: Timestamp) -> Council {
        let number = if self.num_agents == 0 { DEFAULT_AGENTS } else { self.num_agents };
        let seat = |ordinal| Seat {
            agent: AgentId::of_council(&self.role, ordinal),
            endpoint: self.endpoint.clone(),
            model: self.model.clone(),
            sampling: self.sampling.clone(),
            capabilities: Capabilities { model_profile: self.model.to_string(), ..Capabilities::default() },
            metadata: BTreeMap::new(),
        };
        Council {
            seats: (1..=number).map(seat).collect(),
            role: self.role,
            rounds: self.rounds,
            review: self.review,
            defaults: self.defaults,
            agent_type: self.agent_type,
            model: self.model,
            created_at,
            parked: None,
        }
    }
}

impl System {
    /// Durable and at work when it returns.
    pub async fn create_council(&self, draft: CouncilDraft) -> Result<Arc<Council>, SystemError> {
        let council = Box::new(draft.check()?.into_council(self.world.ports.clock.now()));
        let (reply, answer) = oneshot::channel();
        drop(self.root.cast(RootMessage::CreateCouncil { council, reply }));
        answered(answer).await
    }

    /// New tasks are refused at once; running ones finish with the agents they have. Answers how many agents leave.
    pub async fn delete_council(&self, role: &Role) -> Result<u32, SystemError> {
        let council = self.change(role, Change::Delete).await?;
        Ok(u32::try_from(council.seats.len()).unwrap_or(u32::MAX))
    }

    /// Takes a parked role back to work.
    pub async fn resume_council(&self, role: &Role) -> Result<(), SystemError> {
        self.world.council(role)?;
        let (reply, answer) = oneshot::channel();
        drop(self.root.cast(RootMessage::ResumeCouncil { role: role.clone(), reply }));
        answered(answer).await
    }

    pub async fn register_agent(&self, role: &Role, seat: Seat) -> Result<(), SystemError> {
        self.change(role, Change::Join { seat: Box::new(seat) }).await.map(drop)
    }

    /// Calls in flight finish, and so do runs that have the agent's seat.
    pub async fn unregister_agent(&self, role: &Role, agent: &AgentId) -> Result<(), SystemError> {
        self.change(role, Change::Leave { agent: agent.clone() }).await.map(drop)
    }

    async fn change(&self, role: &Role, change: Change) -> Result<Arc<Council>, SystemError> {
        self.world.council(role)?;
        let actor = self.world.registry.councils.get(role).and_then(|entry| entry.actor.clone());
        let (reply, answer) = oneshot::channel();
        if let Some(actor) = actor {
            drop(actor.cast(CouncilMessage::Change { change, reply }));
        }
        answered(answer).await
    }
}

async fn answered<T>(answer: oneshot::Receiver<Result<T, SystemError>>) -> Result<T, SystemError> {
    match tokio::time::timeout(CHANGE_LIMIT, answer).await {
        Ok(Ok(told)) => told,
        Ok(Err(_)) => {
            Err(SystemError::Unavailable("the council is restarting; look whether the change was made".into()))
        }
        Err(_) => Err(SystemError::Unavailable("the change is not written yet; look again later".into())),
    }
}
