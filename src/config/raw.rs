//! The configuration as written: one struct per section, plain types, nothing checked but the types.
//!
//! Unknown keys are refused and none may be missing, so that this and `config/default.toml` cannot drift apart.

use serde::Deserialize;
use toml::Table;

macro_rules! sections {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $kind:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(super) struct $name { $(pub(super) $field: $kind,)* }
    )*};
}

sections! {
    /// The whole file.
    RawConfig {
        server: RawServer,
        nats: RawNats,
        store: RawStore,
        retention: RawRetention,
        queue: RawQueue,
        plans: RawPlans,
        executor: RawExecutor,
        context: RawContext,
        hub: RawHub,
        workflows: RawWorkflows,
        model: RawModel,
        agents: RawAgents,
        runners: RawRunners,
        councils: RawCouncils,
        deliberation: RawDeliberation,
        checks: RawChecks,
        limits: RawLimits,
        drain: RawDrain,
        log: RawLog,
    }
    RawServer { bind: String, grpc_port: i64, http_port: i64, }
    RawNats {
        enabled: bool,
        url: Vec<String>,
        credentials: String,
        ca: String,
        cert: String,
        key: String,
        start: String,
        replicas: i64,
        envelope: bool,
    }
    RawStore { url: String, backups: String, }
    RawExecutor { address: String, ray_fallback: String, away_limit: f64, waves: i64, }
    RawRetention { days: i64, tombstone_days: i64, every: f64, batch: i64, share: i64, }
    RawQueue {
        url: String,
        prefix: String,
        lease: f64,
        max_tasks: i64,
        age: f64,
        per_role: i64,
        per_story: i64,
        share: i64,
        retries: i64,
        retry_min: f64,
        retry_max: f64,
        stall: f64,
    }
    RawPlans { max_tasks: i64, unknown_role: String, hold_until_phase: String, on_dependency_failure: String, }
    RawHub { url: String, api_key: String, timeout: f64, retries: i64, retry_min: f64, retry_max: f64, }
    RawWorkflows { dispatch: String, phases: i64, roles: RawRoles, approval: RawApproval, }
    /// Empty = as for the type.
    RawRoles {
        specify: String,
        specify_phase_1: String,
        specify_phase_2: String,
        plan: String,
        plan_phase_1: String,
        plan_phase_2: String,
        tasks: String,
        tasks_phase_1: String,
        tasks_phase_2: String,
        implement: String,
        implement_phase_1: String,
        implement_phase_2: String,
    }
    RawApproval {
        approvers: Vec<String>,
        quorum: i64,
        deadline: f64,
        on_deadline: String,
        escalate_to: Vec<String>,
        auto_approve_confidence: f64,
        max_rework: i64,
        confidence_threshold: f64,
    }
    RawContext { address: String, token_budget: i64, timeout: f64, keep: f64, }
    RawModel {
        urls: Vec<String>,
        balance: String,
        name: String,
        api_key: String,
        temperature: f64,
        top_p: f64,
        max_tokens: i64,
        max_tokens_propose: i64,
        max_tokens_critique: i64,
        max_tokens_revise: i64,
        max_tokens_select: i64,
        timeout: f64,
        stream: bool,
        first_token_timeout: f64,
        silence_timeout: f64,
        calls_per_replica: i64,
        waiting_per_replica: i64,
        retries: i64,
        retry_min: f64,
        retry_max: f64,
        breaker_failures: i64,
        breaker_open_min: f64,
        breaker_open_max: f64,
        response_format: String,
        extra_body: Table,
        profiles: Table,
    }
    /// One entry of `model.profiles`, with defaults for what is left out.
    RawProfile { url: Option<String>, name: Option<String>, api_key: Option<String>, }
    RawAgents { r#type: String, allow_mock: bool, allowed_endpoints: Vec<String>, max_concurrent_tasks: i64, }
    RawRunners { calls: i64, silence_timeout: f64, progress_per_second: i64, }
    RawCouncils { init_default: bool, roles: Vec<String>, agents: i64, rounds: i64, }
    RawDeliberation { timeout: f64, prompts: String, }
    RawChecks { enabled: bool, policy: String, protected: Vec<String>, }
    RawLimits { open_deliberations: i64, tokens_per_day: i64, }
    RawDrain { timeout: f64, }
    RawLog { format: String, filter: String, }
}
