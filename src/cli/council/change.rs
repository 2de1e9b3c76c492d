//! From a council as it is to one as it is wanted: the fewest calls that make it so, and the calls.

use std::fmt;

use moothall_actors::domain::council::Council;
use moothall_actors::domain::event::Event;
use moothall_actors::domain::id::{Role, StreamId};
use tonic::Code;

use super::manifest::{Guest, Manifest};
use crate::cli::daemon::Daemon;
use crate::cli::exit::{Exit, Failure};
use crate::cli::source::{Query, Source};
use crate::grpc::proto::fleet::orchestrator::v1::{
    AgentCapabilities, CouncilConfig, CreateCouncilRequest, DeleteCouncilRequest, RegisterAgentRequest,
    UnregisterAgentRequest,
};

/// One call, or two that belong together.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    Create,
    /// Deleted and made again, since a standing council cannot be changed so; what runs in it finishes first.
    Replace(Vec<String>),
    Seat(Guest),
    /// Leaves and joins again.
    Reseat(Guest),
    Unseat(String),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create => f.write_str("create the council"),
            Self::Replace(why) => write!(f, "replace the council ({})", why.join(", ")),
            Self::Seat(guest) => write!(f, "seat {}", guest.id),
            Self::Reseat(guest) => write!(f, "seat {} anew", guest.id),
            Self::Unseat(agent) => write!(f, "unseat {agent}"),
        }
    }
}

/// What leads from `there` to `wanted`; nothing when it is so already.
pub(super) fn steps(wanted: &Manifest, there: Option<&Manifest>) -> Vec<Step> {
    let all = || wanted.seats.iter().cloned().map(Step::Seat);
    let Some(there) = there else {
        return std::iter::once(Step::Create).chain(all()).collect();
    };
    let differences = wanted.differences(there);
    if !differences.is_empty() {
        return std::iter::once(Step::Replace(differences)).chain(all()).collect();
    }
    let is_wanted = |guest: &&Guest| !wanted.seats.iter().any(|seat| seat.id == guest.id);
    let gone = there.seats.iter().filter(is_wanted).map(|guest| Step::Unseat(guest.id.clone()));
    let changed = wanted.seats.iter().filter_map(|seat| {
        let now = there.seats.iter().find(|guest| guest.id == seat.id);
        match now {
            None => Some(Step::Seat(seat.clone())),
            Some(now) if !seat.is_met_by(now) => Some(Step::Reseat(seat.clone())),
            Some(_) => None,
        }
    });
    gone.chain(changed).collect()
}

/// The council as it stands, from the journal: only there is all of it.
pub(super) async fn standing(daemon: &Daemon, role: &Role) -> Result<Option<Council>, Failure> {
    let stream = StreamId::council(role);
    let query = Query { stream: stream.to_string(), ..Query::default() };
    let mut council = None;
    let fold = |event: crate::grpc::proto::moothall::v1::JournalEvent| {
        // The name is asked for as a prefix: DEVOPS comes with DEV.
        if event.stream == stream.as_str() {
            let schema = u32::try_from(event.schema).unwrap_or(u32::MAX);
            let event = Event::decode(&event.r#type, schema, &event.payload)
                .map_err(|error| Failure::of(Exit::DATA, &error))?;
            council = Council::fold(council.take(), &event);
        }
        Ok(())
    };
    Source::Daemon(daemon.clone()).each(&query, fold).await?;
    Ok(council)
}

/// Does one step.
pub(super) async fn take(step: &Step, wanted: &Manifest, daemon: &Daemon) -> Result<(), Failure> {
    let role = || wanted.role.clone();
    let mut orchestrator = daemon.orchestrator();
    match step {
        Step::Create => drop(orchestrator.create_council(creation(wanted)).await?),
        Step::Replace(_) => {
            // Asked for while it is there: what would be refused anyhow is refused before anything is deleted.
            match orchestrator.create_council(creation(wanted)).await {
                Err(status) if status.code() == Code::AlreadyExists => {}
                Err(status) => return Err(status.into()),
                Ok(_) => return Ok(()),
            }
            orchestrator.delete_council(DeleteCouncilRequest { role: role() }).await?;
            orchestrator.create_council(creation(wanted)).await?;
        }
        Step::Seat(guest) => drop(orchestrator.register_agent(registration(guest, role())).await?),
        Step::Reseat(guest) => {
            orchestrator.unregister_agent(UnregisterAgentRequest { agent_id: guest.id.clone(), role: role() }).await?;
            orchestrator.register_agent(registration(guest, role())).await?;
        }
        Step::Unseat(agent) => {
            orchestrator.unregister_agent(UnregisterAgentRequest { agent_id: agent.clone(), role: role() }).await?;
        }
    }
    Ok(())
}

fn creation(wanted: &Manifest) -> CreateCouncilRequest {
    let tuning = &wanted.sampling;
    let params = [
        ("vllm_url", wanted.endpoint.clone()),
        ("model", wanted.model.clone()),
        ("temperature", tuning.temperature.map(|number| number.to_string())),
        ("top_p", tuning.top_p.map(|number| number.to_string())),
        ("max_tokens", tuning.max_tokens.map(|number| number.to_string())),
        ("seed", tuning.seed.map(|number| number.to_string())),
        ("artifact", wanted.artifact.clone()),
        ("persona", wanted.persona.clone()),
        ("deadline_seconds", wanted.limits.deadline_seconds.map(|number| number.to_string())),
        ("budget_tokens", wanted.limits.budget_tokens.map(|number| number.to_string())),
        // Unset and false look the same on the wire: only this says it.
        ("peer_review", (!wanted.review).then(|| "off".to_owned())),
    ];
    let config = CouncilConfig {
        deliberation_rounds: wanted.rounds.into(),
        enable_peer_review: wanted.review,
        model_profile: String::new(),
        custom_params: params.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect(),
        agent_type: wanted.agent_type.clone().unwrap_or_default(),
    };
    let num_agents = i32::try_from(wanted.agents).unwrap_or(i32::MAX);
    CreateCouncilRequest { role: wanted.role.clone(), num_agents, config: Some(config) }
}

fn registration(guest: &Guest, role: String) -> RegisterAgentRequest {
    let capabilities = AgentCapabilities {
        supported_tasks: guest.supports.clone(),
        model_profile: guest.profile.clone(),
        max_concurrent_tasks: i32::try_from(guest.max_concurrent_tasks).unwrap_or(i32::MAX),
        languages: guest.languages.clone(),
    };
    RegisterAgentRequest {
        agent_id: guest.id.clone(),
        role,
        capabilities: Some(capabilities),
        endpoint: guest.endpoint.clone(),
        metadata: guest.metadata.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(text: &str) -> Manifest {
        Manifest::parse(&format!("role = 'DEV'\n{text}")).unwrap().1
    }

    fn told(wanted: &str, there: &str) -> Vec<String> {
        steps(&manifest(wanted), Some(&manifest(there))).iter().map(ToString::to_string).collect()
    }

    const TWO: &str = "[[seat]]\nid = 'a'\n[[seat]]\nid = 'b'\nendpoint = 'grpc://localhost:1'";

    #[test]
    fn nothing_is_done_to_what_is_as_wanted() {
        assert!(told(TWO, TWO).is_empty());
        // What is left out is not compared.
        assert!(told("", "type = 'VLLM'\nmodel = 'm'").is_empty());
    }

    #[test]
    fn a_council_that_is_not_there_is_made_with_its_guests() {
        let steps: Vec<_> = steps(&manifest(TWO), None).iter().map(ToString::to_string).collect();
        assert_eq!(steps, ["create the council", "seat a", "seat b"]);
    }

    #[test]
    fn guests_come_and_go_without_touching_the_council() {
        assert_eq!(told("[[seat]]\nid = 'b'\n[[seat]]\nid = 'c'", TWO), ["unseat a", "seat b anew", "seat c"]);
    }

    #[test]
    fn what_a_standing_council_cannot_change_replaces_it() {
        assert_eq!(told("rounds = 2", TWO), ["replace the council (rounds: 1 → 2)"]);
        let cooler = told("[sampling]\ntemperature = 0.2", "");
        assert!(cooler[0].starts_with("replace the council (sampling: "), "{cooler:?}");
    }
}
