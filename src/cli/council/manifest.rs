//! A council as a file: what is wanted of it, and what there is in the same form, so that the two can be compared.

use std::collections::{BTreeMap, BTreeSet};
use std::num::{NonZeroU32, NonZeroU64};

use moothall_actors::artifact::Wanted;
use moothall_actors::domain::council::{Council, Endpoint, MAX_SEATS, Sampling, Seat};
use moothall_actors::domain::id::{AgentId, Role};
use moothall_actors::domain::task::MAX_ROUNDS;
use serde::{Deserialize, Serialize};

use crate::runner::RunnerAddress;

/// One council. What an optional key leaves out is as the daemon is configured, and not compared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    pub(super) role: String,
    /// Seats that the council makes for itself.
    #[serde(default = "three")]
    pub(super) agents: usize,
    #[serde(default = "one")]
    pub(super) rounds: u8,
    /// Whether tasks that name no rounds are reviewed.
    #[serde(default = "yes")]
    pub(super) review: bool,
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub(super) agent_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) model: Option<String>,
    /// An OpenAI-compatible server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) endpoint: Option<String>,
    /// What proposals are to be when a task does not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) artifact: Option<String>,
    /// Who the agents are told to be, instead of their role's template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) persona: Option<String>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) sampling: Tuning,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) limits: Limits,
    /// Agents that joined.
    #[serde(default, rename = "seat", skip_serializing_if = "Vec::is_empty")]
    pub(super) seats: Vec<Guest>,
}

/// Sampling of the council's own seats.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Tuning {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) top_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) seed: Option<u32>,
}

/// An agent that joined the council.
/// For tasks that name none of their own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Limits {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) deadline_seconds: Option<NonZeroU32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) budget_tokens: Option<NonZeroU64>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Guest {
    pub(super) id: String,
    /// A server or a runner, `pool` for the configured servers, `ray` for the executor; empty = as the council's own seats.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) endpoint: String,
    /// A profile of the configuration, or a model's name.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) profile: String,
    /// 0 = as configured.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) max_concurrent_tasks: u32,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) supports: Vec<String>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) languages: Vec<String>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) metadata: BTreeMap<String, String>,
}

fn three() -> usize {
    3
}

fn one() -> u8 {
    1
}

fn yes() -> bool {
    true
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Manifest {
    /// Reads a file's text. Every problem at once, a line for each.
    pub(super) fn parse(text: &str) -> Result<(Role, Self), String> {
        let manifest: Self = toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())?;
        let mut problems = Vec::new();
        let role = Role::parse("role", &manifest.role).map_err(|problem| problems.push(problem.to_string())).ok();
        if !(1..=MAX_SEATS).contains(&manifest.agents) {
            problems.push(format!("agents is {}; allowed are 1 to {MAX_SEATS}", manifest.agents));
        }
        if !(1..=MAX_ROUNDS).contains(&manifest.rounds) {
            problems.push(format!("rounds is {}; allowed are 1 to {MAX_ROUNDS}", manifest.rounds));
        }
        if let Some(artifact) = manifest.artifact.as_ref().filter(|artifact| Wanted::parse(artifact).is_none()) {
            problems.push(format!("artifact is {artifact:?}; allowed are auto, files, patch, document and none"));
        }
        let mut ids = BTreeSet::new();
        for seat in &manifest.seats {
            if let Err(problem) = AgentId::parse("seat.id", &seat.id) {
                problems.push(problem.to_string());
            }
            if !ids.insert(&seat.id) {
                problems.push(format!("seat.id {:?} is there twice", seat.id));
            }
            if role.as_ref().is_some_and(|role| is_own(role, &seat.id)) {
                problems.push(format!("seat.id {:?} is one that the council makes for itself", seat.id));
            }
        }
        match role {
            Some(role) if problems.is_empty() => Ok((role, manifest)),
            _ => Err(problems.join("\n  ")),
        }
    }

    /// What there is.
    pub(super) fn of(council: &Council) -> Self {
        let (own, joined): (Vec<&Seat>, Vec<&Seat>) =
            council.seats.iter().partition(|seat| is_own(&council.role, seat.agent.as_str()));
        let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        Self {
            role: council.role.to_string(),
            agents: own.len(),
            rounds: council.rounds.max(1),
            review: council.review,
            agent_type: some(&council.agent_type),
            model: some(&council.model),
            endpoint: own.first().and_then(|seat| some(address(&seat.endpoint))),
            artifact: council.defaults.artifact.map(|wanted| wanted.as_str().to_owned()),
            persona: council.defaults.persona.as_deref().and_then(some),
            sampling: own.first().map(|seat| Tuning::of(&seat.sampling)).unwrap_or_default(),
            limits: Limits {
                deadline_seconds: council.defaults.deadline_seconds,
                budget_tokens: council.defaults.budget_tokens,
            },
            seats: joined.into_iter().map(Guest::of).collect(),
        }
    }

    /// How the council itself differs from what is wanted, its guests aside; a line for each.
    pub(super) fn differences(&self, there: &Self) -> Vec<String> {
        let mut found = Vec::new();
        note(&mut found, "agents", &there.agents, &self.agents);
        note(&mut found, "rounds", &there.rounds, &self.rounds);
        note(&mut found, "review", &there.review, &self.review);
        let raised = self.agent_type.as_ref().map(|text| text.to_ascii_uppercase());
        let endpoint = self.endpoint.as_deref().map(plain);
        for (key, is, wanted) in [
            ("type", &there.agent_type, raised),
            ("model", &there.model, self.model.clone()),
            ("endpoint", &there.endpoint, endpoint),
        ] {
            if wanted.is_some() {
                note(&mut found, key, is, &wanted);
            }
        }
        note(&mut found, "artifact", &there.artifact, &self.artifact);
        note(&mut found, "persona", &there.persona, &self.persona.as_ref().map(|text| text.trim().to_owned()));
        note(&mut found, "sampling", &there.sampling, &self.sampling);
        note(&mut found, "limits", &there.limits, &self.limits);
        found
    }
}

/// The ids that a council gives to the seats it makes.
fn is_own(role: &Role, agent: &str) -> bool {
    (1..=MAX_SEATS).any(|ordinal| AgentId::of_council(role, ordinal).as_str() == agent)
}

fn note<T: PartialEq + std::fmt::Debug>(found: &mut Vec<String>, key: &str, is: &T, wanted: &T) {
    if is != wanted {
        found.push(format!("{key}: {is:?} → {wanted:?}"));
    }
}

fn address(endpoint: &Endpoint) -> &str {
    match endpoint {
        Endpoint::Url(address) | Endpoint::Runner(address) => address,
        Endpoint::Pool | Endpoint::Ray | Endpoint::Mock => "",
    }
}

/// An address as the daemon keeps it.
fn plain(address: &str) -> String {
    match RunnerAddress::parse(address) {
        Ok(runner) => runner.shown().to_string(),
        Err(_) => url::Url::parse(address)
            .map_or_else(|_| address.to_owned(), |url| url.to_string())
            .trim_end_matches('/')
            .to_owned(),
    }
}

impl Tuning {
    /// With as few digits as the number had when it was written.
    fn of(sampling: &Sampling) -> Self {
        let short = |number: f32| number.to_string().parse().unwrap_or_default();
        Self {
            temperature: sampling.temperature.map(short),
            top_p: sampling.top_p.map(short),
            max_tokens: sampling.max_tokens,
            seed: sampling.seed,
        }
    }
}

impl Guest {
    fn of(seat: &Seat) -> Self {
        Self {
            id: seat.agent.to_string(),
            endpoint: if seat.endpoint == Endpoint::Ray { "ray" } else { address(&seat.endpoint) }.to_owned(),
            profile: seat.capabilities.model_profile.clone(),
            max_concurrent_tasks: seat.capabilities.max_concurrent_tasks,
            supports: seat.capabilities.supported_tasks.clone(),
            languages: seat.capabilities.languages.clone(),
            metadata: seat.metadata.clone(),
        }
    }

    /// Whether a seat is as wanted. A profile brings its own address.
    pub(super) fn is_met_by(&self, there: &Self) -> bool {
        let endpoint = match self.endpoint.as_str() {
            "" if !self.profile.is_empty() || there.endpoint == "ray" => there.endpoint.clone(),
            "" | "pool" => String::new(),
            address => plain(address),
        };
        Self { endpoint, ..self.clone() } == *there
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_can_be_read() {
        for (text, role, agents) in [
            (include_str!("../../../config/councils/dev.toml"), "DEV", 3),
            (include_str!("../../../config/councils/qa.toml"), "QA", 3),
            (include_str!("../../../config/councils/architect.toml"), "ARCHITECT", 3),
        ] {
            let (parsed, manifest) = Manifest::parse(text).unwrap();
            assert_eq!((parsed.as_str(), manifest.agents), (role, agents));
            // Written and read again, it is the same.
            assert_eq!(Manifest::parse(&toml::to_string(&manifest).unwrap()).unwrap().1, manifest);
        }
    }

    #[test]
    fn every_problem_of_a_file_is_named_at_once() {
        let text =
            "role = 'no role'\nagents = 33\nrounds = 9\n[[seat]]\nid = ''\n[[seat]]\nid = 'a'\n[[seat]]\nid = 'a'";
        let problems = Manifest::parse(text).unwrap_err();
        assert_eq!(problems.lines().count(), 5, "{problems}");
        let unknown = Manifest::parse("role = 'DEV'\ncolour = 'green'").unwrap_err();
        assert!(unknown.contains("colour"), "{unknown}");
        let own = Manifest::parse("role = 'DEV'\n[[seat]]\nid = 'agent-dev-002'").unwrap_err();
        assert!(own.contains("makes for itself"), "{own}");
    }

    #[test]
    fn what_tasks_get_by_default_is_compared_and_written_back() {
        let text = "role = 'DEV'\nartifact = 'patch'\npersona = ' Be brief. '\n[limits]\ndeadline_seconds = 60";
        let (_, wanted) = Manifest::parse(text).unwrap();
        let (_, plain) = Manifest::parse("role = 'DEV'").unwrap();
        assert_eq!(wanted.differences(&plain).len(), 3);
        let there = Manifest { persona: Some("Be brief.".to_owned()), ..wanted.clone() };
        assert!(wanted.differences(&there).is_empty());
        assert!(Manifest::parse("role = 'DEV'\nartifact = 'diff'").unwrap_err().contains("files, patch"));
        assert!(Manifest::parse("role = 'DEV'\n[limits]\nbudget_tokens = 0").is_err());
    }

    #[test]
    fn addresses_are_compared_as_the_daemon_keeps_them() {
        let wanted = |endpoint: &str| Guest { id: "g".into(), endpoint: endpoint.into(), ..Guest::default() };
        assert!(wanted("grpc://LocalHost:7000/").is_met_by(&wanted("grpc://localhost:7000")));
        assert!(wanted("HTTP://localhost:80/v1/").is_met_by(&wanted("http://localhost/v1")));
        assert!(!wanted("grpc://localhost:7000").is_met_by(&wanted("grpcs://localhost:7000")));
        let profiled = Guest { profile: "large".into(), ..wanted("") };
        assert!(profiled.is_met_by(&Guest { endpoint: "https://models.example.com".into(), ..profiled.clone() }));
        assert!(!wanted("").is_met_by(&wanted("http://localhost")));
    }
}
