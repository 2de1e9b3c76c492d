//! A council: one role, its seats, and how they deliberate by default.

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroU64};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::event::Event;
use super::id::{AgentId, Role, Timestamp};
use crate::artifact::Wanted;

/// Most councils of one daemon, and most seats of one council.
pub const MAX_COUNCILS: usize = 64;
pub const MAX_SEATS: usize = 32;

/// Where a seat's calls go.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Endpoint {
    /// The configured model servers (`VLLM_URL`).
    Pool,
    /// One OpenAI-compatible server of its own.
    Url(Arc<str>),
    /// The executor, which has a wave's calls made on its cluster.
    Ray,
    /// An outside agent, `grpc://host:port` or `grpcs://host:port`, that answers by itself.
    Runner(Arc<str>),
    /// Scripted answers, marked as such in every output.
    Mock,
}

impl Endpoint {
    /// Where a call goes that does not go to the executor with its wave.
    #[must_use]
    pub fn asked_alone(&self) -> Self {
        match self {
            Self::Ray => Self::Pool,
            endpoint => endpoint.clone(),
        }
    }
}

/// Sampling parameters; `None` = the stage's or the configuration's own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u32>,
}

/// What an agent says of itself; kept and shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    #[serde(default)]
    pub supported_tasks: Vec<String>,
    #[serde(default)]
    pub model_profile: String,
    /// Calls at once; 0 = the configured number.
    #[serde(default)]
    pub max_concurrent_tasks: u32,
    #[serde(default)]
    pub languages: Vec<String>,
}

/// What the tasks of a council get that do not say it themselves; `None` = as configured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Defaults {
    /// What proposals are to be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub artifact: Option<Wanted>,
    /// Who its agents are told to be, instead of their role's template.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub persona: Option<Arc<str>>,
    /// For the whole deliberation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline_seconds: Option<NonZeroU32>,
    /// No new call once this many tokens were used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget_tokens: Option<NonZeroU64>,
}

impl Defaults {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// One agent's place in a council, with all that its calls need.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Seat {
    pub agent: AgentId,
    pub endpoint: Endpoint,
    /// The model's name as the server knows it; empty = the configured one.
    #[serde(default)]
    pub model: Arc<str>,
    #[serde(default)]
    pub sampling: Sampling,
    #[serde(default)]
    pub capabilities: Capabilities,
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
}

/// A council as it persists.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Council {
    pub role: Role,
    /// Review rounds when a task names none; 0 = 1.
    #[serde(default)]
    pub rounds: u8,
    /// Whether tasks that name no rounds are reviewed.
    pub review: bool,
    /// What its tasks get that do not say it themselves.
    #[serde(default, skip_serializing_if = "Defaults::is_empty")]
    pub defaults: Defaults,
    /// `VLLM`, `RAY_VLLM` or `MOCK`.
    pub agent_type: Arc<str>,
    /// What `CouncilInfo.model` shows.
    #[serde(default)]
    pub model: Arc<str>,
    /// Ordered by agent id.
    pub seats: Vec<Seat>,
    pub created_at: Timestamp,
    /// Why the role is parked; `None` = at work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parked: Option<Arc<str>>,
}

impl Council {
    /// The council's standing after one event of its stream; `None` = deleted. Events of other streams change nothing.
    #[must_use]
    pub fn fold(current: Option<Self>, event: &Event) -> Option<Self> {
        match (current, event) {
            (_, Event::CouncilCreated(council)) => Some(council.clone()),
            (_, Event::CouncilDeleted { .. }) => None,
            (Some(mut council), Event::SeatJoined { seat }) => {
                council.seats.retain(|other| other.agent != seat.agent);
                council.seats.push(seat.clone());
                council.seats.sort_by(|a, b| a.agent.cmp(&b.agent));
                Some(council)
            }
            (Some(mut council), Event::SeatLeft { agent }) => {
                council.seats.retain(|seat| seat.agent != *agent);
                Some(council)
            }
            (Some(council), Event::RoleParked { reason }) => Some(Self { parked: Some(reason.clone()), ..council }),
            (Some(council), Event::RoleResumed {}) => Some(Self { parked: None, ..council }),
            (current, _) => current,
        }
    }

    #[must_use]
    pub fn seat(&self, agent: &AgentId) -> Option<&Seat> {
        self.seats.iter().find(|seat| seat.agent == *agent)
    }
}
