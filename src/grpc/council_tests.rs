//! Councils and agents, by the tables of the contract.

use std::collections::BTreeMap;

use moothall_actors::domain::council::{Council, Defaults};
use moothall_actors::domain::id::Timestamp;
use moothall_actors::view::{AgentStatus, CouncilStatus};
use tonic::Code;
use tonic_types::StatusExt;

use super::super::fixtures::{agent, role};
use super::*;

fn settings() -> AgentSettings {
    let profile = ModelProfile {
        endpoint: Endpoint::Url("https://models.example.com".into()),
        model: "large-1".into(),
        sampling: Sampling { temperature: Some(0.2), top_p: Some(0.9), ..Sampling::default() },
    };
    AgentSettings {
        agent_type: "VLLM".into(),
        allow_mock: false,
        allowed_endpoints: ["localhost".parse().unwrap()].into_iter().collect(),
        profiles: BTreeMap::from([("large".to_owned(), profile)]),
        default_model: "small-1".into(),
        has_executor: true,
    }
}

fn create(params: &[(&str, &str)]) -> fleet::CreateCouncilRequest {
    let custom_params = params.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
    let config = fleet::CouncilConfig { custom_params, ..Default::default() };
    fleet::CreateCouncilRequest { role: "dev".into(), num_agents: 0, config: Some(config) }
}

fn typed(agent_type: &str) -> fleet::CreateCouncilRequest {
    let config = fleet::CouncilConfig { agent_type: agent_type.into(), ..Default::default() };
    fleet::CreateCouncilRequest { config: Some(config), ..create(&[]) }
}

fn fields(status: &Status) -> Vec<String> {
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let details = status.get_error_details();
    details.bad_request().unwrap().field_violations.iter().map(|found| found.field.clone()).collect()
}

#[test]
fn a_council_without_a_config_gets_the_defaults() {
    let request = fleet::CreateCouncilRequest { role: "dev".into(), num_agents: -5, config: None };
    let draft = draft(request, &settings()).unwrap();
    assert_eq!((draft.role.as_str(), draft.num_agents, draft.rounds, draft.review), ("DEV", 3, 0, true));
    assert_eq!((&*draft.agent_type, &*draft.model), ("VLLM", ""));
    assert_eq!((draft.endpoint, draft.sampling), (Endpoint::Pool, Sampling::default()));
}

#[test]
fn custom_parameters_are_read() {
    let params = [
        ("vllm_url", "http://localhost:8000/"),
        ("model", "tiny"),
        ("temperature", "0.5"),
        ("max_tokens", "256"),
        ("top_p", "1"),
        ("seed", "7"),
        ("colour", "green"),
    ];
    let draft = draft(create(&params), &settings()).unwrap();
    assert_eq!(draft.endpoint, Endpoint::Url("http://localhost:8000".into()));
    assert_eq!(&*draft.model, "tiny");
    let expected = Sampling { temperature: Some(0.5), top_p: Some(1.0), max_tokens: Some(256), seed: Some(7) };
    assert_eq!(draft.sampling, expected);
}

#[test]
fn every_problem_of_a_council_is_named_at_once() {
    let bad = [
        ("vllm_url", "localhost"),
        ("temperature", "hot"),
        ("max_tokens", "0"),
        ("top_p", "NaN"),
        ("seed", "-1"),
        ("peer_review", "maybe"),
    ];
    let mut request = create(&bad);
    request.role = "not a role".into();
    request.num_agents = 33;
    let config = request.config.as_mut().unwrap();
    (config.deliberation_rounds, config.agent_type) = (9, "HUMAN".into());
    let status = draft(request, &settings()).unwrap_err();
    // Ten problems; the first eight are told, and how many there are more.
    let told = fields(&status);
    assert_eq!(told[..4], ["role", "num_agents", "config.deliberation_rounds", "config.custom_params.peer_review"]);
    assert!(status.message().ends_with("2 more problems"), "{}", status.message());
}

#[test]
fn limits_hold_at_their_edge() {
    let agents = |num_agents| draft(fleet::CreateCouncilRequest { num_agents, ..create(&[]) }, &settings());
    assert_eq!(agents(32).unwrap().num_agents, 32);
    assert_eq!(fields(&agents(33).unwrap_err()), ["num_agents"]);
    for (key, good, bad) in [("temperature", "2", "2.1"), ("top_p", "0.01", "0"), ("seed", "4294967295", "4294967296")]
    {
        assert!(draft(create(&[(key, good)]), &settings()).is_ok(), "{key}={good}");
        assert!(draft(create(&[(key, bad)]), &settings()).is_err(), "{key}={bad}");
    }
}

#[test]
fn review_is_off_only_when_both_say_so() {
    let review = |peer_review: Option<&str>, enable_peer_review| {
        let params: Vec<_> = peer_review.map(|value| ("peer_review", value)).into_iter().collect();
        let mut request = create(&params);
        request.config.as_mut().unwrap().enable_peer_review = enable_peer_review;
        draft(request, &settings()).unwrap().review
    };
    assert!(review(None, false) && review(None, true));
    assert!(review(Some("on"), false) && review(Some("off"), true));
    assert!(!review(Some("off"), false));
}

#[test]
fn a_profile_names_server_model_and_sampling() {
    let mut request = create(&[("temperature", "1.5")]);
    request.config.as_mut().unwrap().model_profile = "large".into();
    let profiled = draft(request.clone(), &settings()).unwrap();
    assert_eq!(profiled.endpoint, Endpoint::Url("https://models.example.com".into()));
    assert_eq!(&*profiled.model, "large-1");
    assert_eq!((profiled.sampling.temperature, profiled.sampling.top_p), (Some(1.5), Some(0.9)));
    request.config.as_mut().unwrap().model_profile = "qwen-7b".into();
    let named = draft(request, &settings()).unwrap();
    assert_eq!((&*named.model, named.endpoint), ("qwen-7b", Endpoint::Pool));
}

#[test]
fn agent_types_are_refused_by_name() {
    let code = |agent_type: &str, settings: &AgentSettings| draft(typed(agent_type), settings).map_err(|s| s.code());
    assert_eq!(code("RAY_VLLM", &settings()).unwrap().endpoint, Endpoint::Ray);
    let without = AgentSettings { has_executor: false, ..settings() };
    assert_eq!(code("RAY_VLLM", &without).unwrap_err(), Code::FailedPrecondition);
    assert_eq!(code("MOCK", &settings()).unwrap_err(), Code::FailedPrecondition);
    assert_eq!(code("HUMAN", &settings()).unwrap_err(), Code::InvalidArgument);
    let lenient = AgentSettings { allow_mock: true, ..settings() };
    assert_eq!(code("mock", &lenient).unwrap().endpoint, Endpoint::Mock);
}

#[test]
fn what_the_executor_asks_has_no_server_of_its_own() {
    let mut request = create(&[("vllm_url", "http://localhost:8000")]);
    request.config.as_mut().unwrap().agent_type = "RAY_VLLM".into();
    let status = draft(request, &settings()).unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    let mut request = typed("RAY_VLLM");
    request.config.as_mut().unwrap().model_profile = "large".into();
    assert_eq!(draft(request, &settings()).unwrap_err().code(), Code::FailedPrecondition);
}

#[test]
fn a_foreign_model_server_is_refused() {
    let status = draft(create(&[("vllm_url", "http://10.0.0.1:8000")]), &settings()).unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(status.message().contains("agents.allowed_endpoints"));
}

fn register(endpoint: &str) -> fleet::RegisterAgentRequest {
    fleet::RegisterAgentRequest {
        agent_id: "guest-1".into(),
        role: "dev".into(),
        endpoint: endpoint.into(),
        ..Default::default()
    }
}

#[test]
fn endpoints_of_agents_follow_the_table() {
    let seat = |endpoint: &str, of_council: &str| {
        seat(register(endpoint), &settings(), |_| Some(of_council.into())).map(|(_, seat)| seat.endpoint)
    };
    assert_eq!(seat("", "VLLM").unwrap(), Endpoint::Pool);
    assert_eq!(seat("", "MOCK").unwrap(), Endpoint::Mock);
    assert_eq!(seat("http://localhost:9/v1", "MOCK").unwrap(), Endpoint::Url("http://localhost:9/v1".into()));
    assert_eq!(seat("https://elsewhere", "VLLM").unwrap_err().code(), Code::FailedPrecondition);
    assert_eq!(seat("grpc://LocalHost:9/", "MOCK").unwrap(), Endpoint::Runner("grpc://localhost:9".into()));
    assert_eq!(seat("grpcs://elsewhere:9", "VLLM").unwrap_err().code(), Code::FailedPrecondition);
    assert_eq!(fields(&seat("grpc://localhost", "VLLM").unwrap_err()), ["endpoint"]);
    assert_eq!(fields(&seat("ftp://localhost", "VLLM").unwrap_err()), ["endpoint"]);
    assert_eq!(seat("", "RAY_VLLM").unwrap(), Endpoint::Ray);
    assert_eq!(seat("pool", "RAY_VLLM").unwrap(), Endpoint::Pool);
    assert_eq!(seat("ray", "VLLM").unwrap(), Endpoint::Ray);
    assert_eq!(seat("http://localhost:9", "RAY_VLLM").unwrap(), Endpoint::Url("http://localhost:9".into()));
}

#[test]
fn every_problem_of_an_agent_is_named_at_once() {
    let capabilities = fleet::AgentCapabilities {
        supported_tasks: vec![String::new(); 129],
        model_profile: "x".repeat(257),
        max_concurrent_tasks: -1,
        languages: vec!["x".repeat(4097)],
    };
    let request = fleet::RegisterAgentRequest {
        capabilities: Some(capabilities),
        metadata: BTreeMap::from([("note".to_owned(), "x".repeat(4097))]),
        ..Default::default()
    };
    let told = fields(&seat(request, &settings(), |_| None).unwrap_err());
    let expected = [
        "agent_id",
        "role",
        "capabilities.supported_tasks",
        "capabilities.languages[0]",
        "capabilities.max_concurrent_tasks",
        "capabilities.model_profile",
        "metadata[note]",
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_council_is_shown_with_its_agents_only_when_asked() {
    let seat = Seat {
        agent: agent(1),
        endpoint: Endpoint::Pool,
        model: "".into(),
        sampling: Sampling::default(),
        capabilities: Capabilities { languages: vec!["rust".into()], ..Capabilities::default() },
        metadata: BTreeMap::new(),
    };
    let council = Council {
        role: role(),
        rounds: 0,
        review: true,
        defaults: Defaults::default(),
        agent_type: "VLLM".into(),
        model: "".into(),
        seats: vec![seat.clone()],
        created_at: Timestamp(1),
        parked: None,
    };
    let view = CouncilView {
        council: Arc::new(council),
        status: CouncilStatus::Busy,
        agents: vec![AgentView { seat, status: AgentStatus::Busy, calls_in_flight: 1 }],
        running: 1,
        completed: 0,
        failed: 0,
    };
    let brief = info(&view, false, &settings());
    assert_eq!((brief.council_id.as_str(), brief.num_agents, brief.agents.len()), ("council-dev", 1, 0));
    assert_eq!((brief.status.as_str(), brief.model.as_str()), ("busy", "small-1"));
    let whole = info(&view, true, &settings());
    assert_eq!((whole.agents[0].agent_id.as_str(), whole.agents[0].status.as_str()), ("agent-dev-001", "busy"));
    assert_eq!(whole.agents[0].capabilities.as_ref().unwrap().languages, ["rust"]);
}
