//! Configuration as users meet it: layers, problems, and the reference that is the default.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use moothall::config::HostPattern;
use moothall::config::{Config, ConfigError, DEFAULTS, FIXED_NAMES, Loaded, Sources};
use moothall::vllm::Balance;
use moothall_actors::domain::workflow::{ApprovalRule, Dispatch, OnDeadline, Phase, WorkflowType};

fn environment(variables: &[(&str, &str)]) -> Sources {
    let environment = variables.iter().map(|(name, text)| (name.into(), text.into())).collect();
    Sources { environment, ..Sources::default() }
}

fn flags(texts: &[&str]) -> Sources {
    Sources { overrides: texts.iter().map(ToString::to_string).collect(), ..Sources::default() }
}

fn with_file(text: &str) -> (tempfile::TempDir, Sources) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("moothall.toml");
    std::fs::write(&file, text).unwrap();
    (folder, Sources { file: Some(file), ..Sources::default() })
}

fn load(sources: &Sources) -> Loaded {
    Config::load(sources).unwrap()
}

fn refuse(sources: &Sources) -> ConfigError {
    Config::load(sources).unwrap_err()
}

#[test]
fn the_defaults_are_those_of_the_contract() {
    let config = load(&Sources::default()).config;
    assert_eq!(config.server.grpc.to_string(), "127.0.0.1:50055");
    assert_eq!(config.server.http.to_string(), "127.0.0.1:8080");
    assert!(!config.server.is_open());
    assert_eq!(config.store.url.to_string(), "sqlite:///./data/orchestrator.db");
    assert_eq!(config.model.replicas[0].as_str(), "http://vllm:8000/");
    assert_eq!(config.model.model, "Qwen/Qwen3-0.6B");
    assert_eq!(config.model.timeout, Duration::from_secs(300));
    assert!(config.model.stream.is_none() && config.model.extra_body.is_none() && config.model.api_key.is_none());
    assert_eq!(config.limits.open_deliberations.get(), 16_384);
    assert_eq!(config.councils.roles.len(), 5);
    assert_eq!(config.drain, Duration::from_secs(30));
    let ninety_days = Some(Duration::from_secs(90 * 86_400));
    assert_eq!((config.retention.tasks, config.retention.tombstones), (ninety_days, ninety_days));
    assert_eq!(config.model.allowed_endpoints, [HostPattern::Loopback]);
}

#[test]
fn a_profile_may_be_a_runner_and_its_key_is_no_model_servers() {
    let text = "[model.profiles.reviewer]\nurl = \"grpcs://Agents.example.com:7000\"\napi_key = \"sk-1\"";
    let (_folder, sources) = with_file(text);
    let config = load(&sources).config;
    assert_eq!(config.runners.keys[0].address.shown().as_ref(), "grpcs://agents.example.com:7000");
    assert!(config.model.profiles.is_empty());
    let allowed: Vec<_> = config.model.allowed_endpoints.iter().map(ToString::to_string).collect();
    assert_eq!(allowed, ["loopback", "agents.example.com:7000"]);
    let (_folder, sources) = with_file("[model.profiles.reviewer]\nurl = \"grpc://agents.example.com\"");
    let refused = refuse(&sources).to_string();
    assert!(refused.contains("`reviewer` is not an address of a runner: it names no port"), "{refused}");
}

#[test]
fn every_key_is_explained_and_names_its_fixed_variable() {
    let fixed: BTreeMap<&str, &str> = FIXED_NAMES.iter().map(|(name, key)| (*key, *name)).collect();
    let (mut section, mut comment, mut seen) = (String::new(), Vec::new(), BTreeSet::new());
    for line in DEFAULTS.lines() {
        if let Some(text) = line.strip_prefix("# ") {
            comment.push(text);
            continue;
        }
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']').to_owned();
        } else if let Some((name, _)) = line.split_once(" = ") {
            let key = format!("{section}.{name}");
            assert!(!comment.is_empty(), "{key} has no comment");
            if let Some(variable) = fixed.get(key.as_str()) {
                assert!(comment.contains(variable), "{key} does not name {variable}");
            }
            seen.insert(key);
        }
        comment.clear();
    }
    assert!(FIXED_NAMES.iter().all(|(name, key)| seen.contains(*key) || panic!("{name} means no key")));
}

#[test]
fn each_fixed_variable_sets_its_key() {
    let values = [
        ("AGENT_HUB_URL", "http://hub:1"),
        ("AGENT_TYPE", "MOCK"),
        ("ALLOW_MOCK_AGENTS", "true"),
        ("BIND_ADDRESS", "0.0.0.0"),
        ("CONTEXT_ADDRESS", "context:1"),
        ("DATABASE_URL", "memory://"),
        ("DELIBERATION_TIMEOUT", "7"),
        ("ENABLE_NATS", "false"),
        ("EXECUTOR_ADDRESS", "ray:1"),
        ("GRPC_PORT", "1"),
        ("HTTP_PORT", "2"),
        ("INIT_DEFAULT_COUNCILS", "false"),
        ("LOG_FORMAT", "json"),
        ("NATS_ENVELOPE", "false"),
        ("NATS_URL", "nats://a:1,nats://b:2"),
        ("RUST_LOG", "debug"),
        ("TASK_QUEUE_URL", "redis://queue:1"),
        ("VLLM_API_KEY", "key"),
        ("VLLM_MAX_TOKENS", "9"),
        ("VLLM_MODEL", "auto"),
        ("VLLM_TEMPERATURE", "0"),
        ("VLLM_TIMEOUT", "0.5"),
        ("VLLM_URL", "http://a:1,https://b/v1"),
        ("WORKFLOW_DISPATCH", "manual"),
    ];
    assert_eq!(values.map(|(name, _)| name), FIXED_NAMES.map(|(name, _)| name));
    let loaded = load(&environment(&values));
    let shown = loaded.to_toml();
    for (name, _) in values {
        assert!(shown.contains(&format!("# environment {name}\n")), "{name} set nothing:\n{shown}");
    }
    assert_eq!(loaded.config.model.replicas.len(), 2);
    assert_eq!(loaded.config.model.timeout, Duration::from_millis(500));
    assert_eq!(loaded.config.model.api_key.as_ref().unwrap().reveal(), "key");
    assert_eq!(loaded.config.workflows.dispatch, Dispatch::Manual);
    assert!(loaded.unread().is_empty());
}

#[test]
fn an_executor_is_there_by_default_and_named_only_by_somebody() {
    let executor = |sources: &Sources| load(sources).config.executor;
    let unnamed = executor(&Sources::default());
    assert_eq!(unnamed.service.unwrap().place(), "localhost:50056");
    assert!(!unnamed.is_named && !unnamed.ray_fallback);
    assert!(executor(&environment(&[("EXECUTOR_ADDRESS", "ray:50056")])).is_named);
    assert!(executor(&environment(&[("AGENT_TYPE", "RAY_VLLM")])).is_named);
    let none = executor(&flags(&["executor.address=", "agents.type=RAY_VLLM", "executor.ray_fallback=direct"]));
    assert!(none.service.is_none() && !none.is_named && none.ray_fallback);
    let wrong = ["executor.address=ray", "executor.ray_fallback=maybe", "executor.waves=0", "executor.away_limit=0"];
    let told = refuse(&flags(&wrong)).to_string();
    for key in ["address", "ray_fallback", "waves", "away_limit"] {
        assert!(told.contains(&format!("executor.{key}")), "{told}");
    }
}

#[test]
fn flags_beat_the_environment_which_beats_the_file_which_beats_the_default() {
    let (_folder, mut sources) =
        with_file("[model]\nretries = 1\nwaiting_per_replica = 1\n[limits]\nopen_deliberations = 1");
    sources.environment =
        environment(&[("MOOTHALL__MODEL__RETRIES", "2"), ("MOOTHALL__MODEL__WAITING_PER_REPLICA", "2")]).environment;
    sources.overrides = vec!["model.retries=3".to_owned()];
    let config = load(&sources).config;
    assert_eq!((config.model.retry.times, config.model.waiting_per_replica), (3, 2));
    assert_eq!(config.limits.open_deliberations.get(), 1);
    assert_eq!(config.model.breaker.failures, 5);
}

#[test]
fn the_mechanical_name_beats_the_fixed_one_and_empty_means_not_set() {
    let both = environment(&[("MOOTHALL__SERVER__GRPC_PORT", "1"), ("GRPC_PORT", "2"), ("HTTP_PORT", "")]);
    let config = load(&both).config;
    assert_eq!((config.server.grpc.port(), config.server.http.port()), (1, 8080));
}

#[test]
fn all_problems_are_named_at_once() {
    let (_folder, mut sources) = with_file(
        r#"
        [server]
        bind = "localhost"
        http_port = "many"
        [modle]
        urls = []
        [model]
        urls = ["ftp://a", "http://joe:secret@b"]
        api_key = "two words"
        api_kee = "sk-123"
        retry_min = 9
        extra_body = { stream = true }
        [model.profiles.large]
        api_key = "k"
        [agents]
        allowed_endpoints = ["*", "a/b"]
        [councils]
        roles = ["DEV", "dev"]
        agents = 33
        "#,
    );
    sources.environment = environment(&[
        ("VLLM_TIMEOUT", "-1"),
        ("GRPC_PORT", "99999"),
        ("AGENT_TYPE", "MOCK"),
        ("MOOTHALL__LOG__FORMATT", "json"),
        ("RUST_LOG", "moothall=loud"),
        ("TASK_QUEUE_URL", "http://queue"),
        ("DATABASE_URL", "postgres://joe:secret@db/x"),
    ])
    .environment;
    sources.overrides = vec!["drain.timeout=soon".to_owned(), "nonsense".to_owned()];
    let text = refuse(&sources).to_string();
    let file = sources.file.unwrap_or_default().display().to_string();
    assert!(!text.contains("secret") && !text.contains("sk-123") && !text.contains("two words"), "{text}");
    insta::assert_snapshot!(text.replace(&file, "FILE"));
}

#[test]
fn a_file_that_is_none_is_one_problem() {
    let missing = Sources { file: Some(PathBuf::from("no-such.toml")), ..Sources::default() };
    assert!(refuse(&missing).to_string().contains("no-such.toml: cannot be read"));
    let (_folder, broken) = with_file("[model]\napi_key = \"sk-123\noops\n");
    let text = refuse(&broken).to_string();
    assert!(text.contains("is not TOML") && text.contains("(line 3)"), "{text}");
    assert!(!text.contains("sk-123"), "{text}");
}

#[test]
fn a_variable_that_is_not_utf8_is_a_problem() {
    use std::os::unix::ffi::OsStringExt as _;
    let bytes = std::ffi::OsString::from_vec(vec![0xff, 0xfe]);
    let sources = Sources { environment: vec![("VLLM_MODEL".into(), bytes)], ..Sources::default() };
    assert_eq!(refuse(&sources).problems[0].rule, "is not UTF-8");
}

#[test]
fn a_shared_queue_has_an_address_whose_password_is_never_shown() {
    for own in ["", "memory"] {
        assert!(load(&flags(&[&format!("queue.url={own}")])).config.queue.shared.is_none(), "{own:?}");
    }
    let loaded = load(&flags(&["queue.url=rediss://me:hunter22@queue.example:6380/2", "queue.lease=9", "queue.age=3"]));
    let shared = loaded.config.queue.shared.clone().unwrap();
    assert_eq!((shared.address.to_string(), shared.prefix.as_str()), ("queue.example:6380".to_owned(), "moothall"));
    assert_eq!((shared.lease, shared.age), (Duration::from_secs(9), Duration::from_secs(3)));
    let shown = format!("{}{}{:?}", loaded.to_toml(), loaded.to_json(), loaded.config.queue);
    assert!(!shown.contains("hunter22"), "{shown}");
    let wrong = ["queue.url=redis://me:hunter22@queue:port", "queue.prefix={tag}", "queue.lease=0"];
    let text = refuse(&flags(&wrong)).to_string();
    assert!(!text.contains("hunter22"), "{text}");
    for key in ["queue.url", "queue.prefix", "queue.lease"] {
        assert!(text.contains(key), "{key}: {text}");
    }
}

#[test]
fn the_balance_of_replicas_is_one_of_two_words() {
    let balance = |sources: &Sources| load(sources).config.model.balance;
    assert_eq!(balance(&Sources::default()), Balance::Prefix);
    assert_eq!(balance(&flags(&["model.balance=least_outstanding"])), Balance::LeastOutstanding);
    let text = refuse(&flags(&["model.balance=random"])).to_string();
    assert!(text.contains("model.balance") && text.contains("must be one of prefix, least_outstanding"), "{text}");
}

#[test]
fn the_context_service_has_an_address_and_limits() {
    let context = |texts: &[&str]| load(&flags(texts)).config.context;
    let usual = context(&[]);
    assert_eq!((usual.service, usual.token_budget), (None, 200));
    assert_eq!((usual.settings.deadline, usual.settings.kept_for), (Duration::from_secs(2), Duration::from_secs(600)));
    let shown = |address: &str| context(&[&format!("context.address={address}")]).service.unwrap().shown().to_string();
    assert_eq!(shown("Context:50054"), "http://context:50054");
    assert_eq!(shown("https://context.example.com:443"), "https://context.example.com:443");
    let own = context(&["context.token_budget=1", "context.timeout=30", "context.keep=0"]);
    assert_eq!(
        (own.token_budget, own.settings.deadline, own.settings.kept_for.as_secs()),
        (1, Duration::from_secs(30), 0)
    );
    for wrong in [
        "address=context",
        "address=grpc://a:1",
        "token_budget=0",
        "token_budget=100001",
        "timeout=0",
        "timeout=31",
        "keep=-1",
    ] {
        let (name, _) = wrong.split_once('=').unwrap();
        let text = refuse(&flags(&[&format!("context.{wrong}")])).to_string();
        assert!(text.contains(&format!("context.{name}")), "{text}");
    }
}

#[test]
fn tasks_are_kept_for_days_or_for_ever() {
    let kept = |text: &str| load(&flags(&[text])).config.retention;
    assert_eq!(kept("retention.days=0").tasks, None);
    assert_eq!(kept("retention.tombstone_days=0").tombstones, None);
    assert_eq!(kept("retention.days=1").tasks, Some(Duration::from_secs(86_400)));
    for wrong in ["days=-1", "days=36501", "tombstone_days=-1", "every=0", "batch=0", "share=0", "share=101"] {
        let (name, _) = wrong.split_once('=').unwrap();
        let text = refuse(&flags(&[&format!("retention.{wrong}")])).to_string();
        assert!(text.contains(&format!("retention.{name}")), "{text}");
    }
}

#[test]
fn a_profile_can_take_its_key_from_the_environment() {
    let (_folder, mut sources) = with_file("[model.profiles.large]\nurl = \"https://models.example.com/v1\"");
    sources.environment = environment(&[("MOOTHALL__MODEL__PROFILES__LARGE__API_KEY", "sk-123")]).environment;
    let loaded = load(&sources);
    assert_eq!(loaded.config.profiles["large"].api_key.as_ref().unwrap().reveal(), "sk-123");
    assert_eq!(loaded.config.model.profiles[0].api_key.reveal(), "sk-123");
    assert_eq!(loaded.config.model.allowed_endpoints[1].to_string(), "models.example.com:443");
    let shown = format!("{} {} {loaded:?}", loaded.to_toml(), loaded.to_json());
    assert!(!shown.contains("sk-123"), "{shown}");
}

#[test]
fn what_is_printed_can_be_read_again() {
    let (_folder, sources) = with_file(&load(&flags(&["model.retries=7", "log.format=json"])).to_toml());
    let again = load(&sources);
    assert_eq!(again.config.model.retry.times, 7);
    let number = |text: &str| text.lines().filter(|line| line.contains(" = ")).count();
    assert_eq!(number(&again.to_toml()), number(&load(&Sources::default()).to_toml()));
}

#[test]
fn the_effective_defaults_are_known() {
    insta::assert_snapshot!(load(&Sources::default()).to_toml());
}

#[test]
fn a_hub_has_an_address_limits_and_a_key_that_is_never_shown() {
    let usual = load(&Sources::default()).config.hub;
    assert!(usual.url.is_none() && usual.api_key.is_none());
    assert_eq!((usual.timeout, usual.retry.times), (Duration::from_secs(300), 3));
    assert_eq!((usual.retry.first, usual.retry.last), (Duration::from_millis(200), Duration::from_secs(5)));
    let loaded = load(&flags(&["hub.url=http://hub:1/api", "hub.api_key=sk-123", "hub.retries=0"]));
    assert_eq!(loaded.config.hub.api_key.as_ref().unwrap().reveal(), "sk-123");
    let shown = format!("{} {} {loaded:?}", loaded.to_toml(), loaded.to_json());
    assert!(!shown.contains("sk-123"), "{shown}");
    for wrong in ["url=ftp://a", "url=http://me:pw@a", "timeout=0", "retries=21", "retry_max=0.1", "api_key=two words"]
    {
        let (name, _) = wrong.split_once('=').unwrap();
        let text = refuse(&flags(&[&format!("hub.{wrong}")])).to_string();
        assert!(text.contains(&format!("hub.{name}")) && !text.contains("two words"), "{text}");
    }
}

#[test]
fn each_phase_of_a_workflow_has_a_role() {
    let role = |sources: &Sources, workflow_type, phase| {
        load(sources).config.workflows.roles.of(workflow_type, phase).as_str().to_owned()
    };
    let usual = Sources::default();
    for workflow_type in [WorkflowType::Specify, WorkflowType::Plan, WorkflowType::Tasks] {
        assert_eq!(role(&usual, workflow_type, Phase::One), "ARCHITECT");
        assert_eq!(role(&usual, workflow_type, Phase::Two), "ARCHITECT");
    }
    assert_eq!(role(&usual, WorkflowType::Implement, Phase::One), "DEV");
    assert_eq!(role(&usual, WorkflowType::Implement, Phase::Two), "QA");
    let (_folder, mut file) = with_file("[workflows.roles]\nspecify = \"PRODUCT\"\nimplement_phase_2 = \"\"\n");
    file.environment = environment(&[("MOOTHALL__WORKFLOWS__ROLES__SPECIFY_PHASE_2", "qa")]).environment;
    assert_eq!(role(&file, WorkflowType::Specify, Phase::One), "PRODUCT");
    assert_eq!(role(&file, WorkflowType::Specify, Phase::Two), "QA");
    assert_eq!(role(&file, WorkflowType::Implement, Phase::Two), "DEV");
    assert_eq!(role(&file, WorkflowType::Plan, Phase::Two), "ARCHITECT", "what the file leaves out stays");
    let wrong = flags(&["workflows.roles.plan=a b", "workflows.roles.tasks_phase_1=9", "workflows.roles.specifi=DEV"]);
    let text = refuse(&wrong).to_string();
    for said in ["roles.plan = \"a b\"", "roles.tasks_phase_1 = \"9\"", "did you mean workflows.roles.specify?"] {
        assert!(text.contains(said), "{said}: {text}");
    }
}

#[test]
fn approvals_follow_a_rule_whose_problems_are_named_at_once() {
    let usual = load(&Sources::default()).config.workflows;
    assert_eq!((usual.approval, usual.dispatch, usual.phases), (ApprovalRule::default(), Dispatch::Auto, 256));
    let (_folder, file) = with_file(
        "[workflows.approval]\napprovers = [\"ann\", \"bob\"]\nquorum = 2\ndeadline = 60\non_deadline = \"reject\"\n\
         auto_approve_confidence = 95",
    );
    let rule = load(&file).config.workflows.approval;
    assert_eq!((rule.quorum, rule.deadline, rule.auto_approve), (2, Some(Duration::from_secs(60)), Some(95.0)));
    assert_eq!((rule.on_deadline, rule.max_rework), (OnDeadline::Reject, 3));
    let wrong = [
        "workflows.approval.quorum=33",
        "workflows.approval.approvers=ann,ann",
        "workflows.approval.deadline=-1",
        "workflows.approval.on_deadline=wait",
        "workflows.approval.auto_approve_confidence=101",
        "workflows.approval.max_rework=-1",
        "workflows.approval.confidence_threshold=-1",
        "workflows.dispatch=maybe",
        "workflows.phases=0",
    ];
    let text = refuse(&flags(&wrong)).to_string();
    for (key, _) in wrong.iter().map(|text| text.split_once('=').unwrap()) {
        assert!(text.contains(&format!("\n  {key} = ")), "{key}: {text}");
    }
    let few = refuse(&flags(&["workflows.approval.quorum=2", "workflows.approval.approvers=ann"])).to_string();
    assert!(few.contains("names 1 people, and the quorum is 2"), "{few}");
    let (_folder, no_section) = with_file("[workflows]\napproval = 3");
    assert!(refuse(&no_section).to_string().contains("is a section: write [workflows.approval]"));
}
