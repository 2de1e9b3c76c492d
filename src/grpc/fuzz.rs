//! Whatever bytes a client sends: decoding and checking answer, they never panic.

use moothall_actors::domain::problem::Problems;
use moothall_actors::domain::task::{MAX_DESCRIPTION_BYTES, MAX_ROUNDS, Review};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use prost::Message;
use tonic::metadata::MetadataMap;

use super::council::{AgentSettings, draft, seat};
use super::metrics::Query;
use super::proto::fleet::orchestrator::v1 as fleet;
use super::proto::moothall::v1 as wire;
use super::proto::orchestrator::v1 as older;
use super::{metrics, request};

fn settings() -> AgentSettings {
    AgentSettings { agent_type: "VLLM".into(), allow_mock: true, ..AgentSettings::default() }
}

/// Decodes as every request there is, and checks what could be decoded.
fn feed(bytes: &[u8]) {
    let metadata = MetadataMap::new();
    if let Ok(message) = fleet::DeliberateRequest::decode(bytes) {
        let _ = request::backlog(message.clone(), &metadata);
        let _ = request::deliberate(message, &metadata);
    }
    if let Ok(message) = fleet::OrchestrateRequest::decode(bytes) {
        let _ = request::orchestrate(message, &metadata);
    }
    if let Ok(message) = older::DeliberateRequest::decode(bytes) {
        let _ = request::deliberate(message.into(), &metadata);
    }
    if let Ok(message) = older::OrchestrateRequest::decode(bytes) {
        let _ = request::orchestrate(message.into(), &metadata);
    }
    if let Ok(message) = fleet::CreateCouncilRequest::decode(bytes) {
        let _ = draft(message, &settings());
    }
    if let Ok(message) = fleet::RegisterAgentRequest::decode(bytes) {
        let _ = seat(message, &settings(), |_| None);
    }
    if let Ok(message) = fleet::GetTaskContextRequest::decode(bytes) {
        let _ = super::context::question(&message, &mut Problems::default());
    }
    if let Ok(message) = fleet::GetMetricsRequest::decode(bytes) {
        let _ = metrics::Query::parse(&message);
    }
    if let Ok(message) = wire::ListTasksRequest::decode(bytes) {
        let _ = super::tasks::query(&message);
    }
    if let Ok(message) = wire::ReadRequest::decode(bytes) {
        let _ = super::journal::query(&message);
    }
    if let Ok(message) = wire::StateAtRequest::decode(bytes) {
        let _ = super::past::question(&message, &mut Problems::default());
    }
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), Just("dev".to_owned()), ".{0,40}", "[A-Z_]{1,40}", "-?[0-9]{1,12}(\\.[0-9]{1,3})?"]
}

fn number() -> impl Strategy<Value = i32> {
    prop_oneof![Just(0), -2..40_i32, any::<i32>()]
}

prop_compose! {
    fn constraints()(
        rubric in text(),
        requirements in vec(text(), 0..4),
        keys in btree_map(prop_oneof![text(), Just("rounds".into()), Just("budget_tokens".into())], text(), 0..4),
        max_iterations in number(),
        timeout_seconds in number(),
    ) -> fleet::TaskConstraints {
        fleet::TaskConstraints { rubric, requirements, metadata: keys, max_iterations, timeout_seconds }
    }
}

prop_compose! {
    fn deliberate()(
        task_id in text(),
        task_description in text(),
        role in text(),
        constraints in proptest::option::of(constraints()),
        rounds in number(),
        num_agents in number(),
    ) -> fleet::DeliberateRequest {
        fleet::DeliberateRequest { task_id, task_description, role, constraints, rounds, num_agents }
    }
}

prop_compose! {
    fn council()(
        role in text(),
        num_agents in number(),
        deliberation_rounds in number(),
        enable_peer_review: bool,
        model_profile in text(),
        agent_type in prop_oneof![text(), Just("MOCK".into())],
        url in prop_oneof![text(), "https?://[a-z.:0-9\\[\\]@/]{0,20}"],
        temperature in text(),
    ) -> fleet::CreateCouncilRequest {
        let custom_params = [("vllm_url".to_owned(), url), ("temperature".to_owned(), temperature)].into();
        let config =
            fleet::CouncilConfig { deliberation_rounds, enable_peer_review, model_profile, custom_params, agent_type };
        fleet::CreateCouncilRequest { role, num_agents, config: Some(config) }
    }
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..600)) {
        feed(&bytes);
    }

    #[test]
    fn damaged_requests_never_panic(request in deliberate(), place: prop::sample::Index, byte: u8) {
        let mut bytes = request.encode_to_vec();
        if !bytes.is_empty() {
            let place = place.index(bytes.len());
            bytes[place] = byte;
            feed(&bytes);
            feed(&bytes[..place]);
        }
    }

    #[test]
    fn what_is_accepted_keeps_every_limit(request in deliberate()) {
        let Ok(work) = request::deliberate(request.clone(), &MetadataMap::new()) else {
            return Ok(());
        };
        prop_assert!(!work.spec.description.trim().is_empty());
        prop_assert!(work.spec.description.len() <= MAX_DESCRIPTION_BYTES);
        prop_assert!(!matches!(work.spec.review, Review::Rounds(n) if n == 0 || n > MAX_ROUNDS));
        prop_assert_eq!(work.task.map(|task| task.to_string()).unwrap_or_default(), request.task_id);
    }

    #[test]
    fn a_council_is_drafted_or_refused(request in council()) {
        if let Ok(council) = draft(request, &settings()) {
            prop_assert!((1..=32).contains(&council.num_agents));
            prop_assert!(council.rounds <= MAX_ROUNDS);
            prop_assert!(council.sampling.temperature.is_none_or(|t| (0.0..=2.0).contains(&t)));
        }
    }

    #[test]
    fn metrics_are_asked_for_within_bounds(metric_type in text(), time_range_ms: i64) {
        if Query::parse(&fleet::GetMetricsRequest { metric_type, time_range_ms }).is_ok() {
            prop_assert!(time_range_ms >= 0);
        }
    }
}
