//! How the system runs, in numbers.

use std::sync::Arc;
use std::time::Duration;

use crate::ports::DEFAULT_CONTEXT_TOKENS;

/// How the system runs. Numbers come from configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Deliberations open at once; the gate's permits.
    pub open_deliberations: u32,
    /// For tasks that name no deadline.
    pub deadline: Duration,
    /// For one model call.
    pub call_timeout: Duration,
    /// For agents that name no number of their own.
    pub calls_per_agent: usize,
    /// The middle of the seats' temperatures.
    pub temperature: f32,
    /// How long work without a client goes on after a cut stream.
    pub orphan_grace: Duration,
    /// Tokens that may be used in a day (UTC) before admission closes; `None` = no limit.
    pub tokens_per_day: Option<u64>,
    /// Globs of what no proposal may change.
    pub protected: Vec<Arc<str>>,
    /// Most tokens of a story's context: it stands in every prompt.
    pub context_tokens: u32,
    pub queue: QueueSettings,
    pub workflows: WorkflowSettings,
    /// Whether runs ask model servers themselves when the executor is away for too long.
    pub ray_fallback: bool,
    /// Waves at the executor at once; others wait.
    pub executor_waves: usize,
    /// Whether reviews of backlogs have their calls made by the executor.
    pub backlog_by_executor: bool,
    /// How often children are pinged; unanswered for twice as long they are restarted.
    pub ping_every: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            open_deliberations: 16_384,
            deadline: Duration::from_secs(300),
            call_timeout: Duration::from_secs(300),
            calls_per_agent: 1_024,
            temperature: 0.7,
            orphan_grace: Duration::from_secs(30),
            tokens_per_day: None,
            protected: Vec::new(),
            context_tokens: DEFAULT_CONTEXT_TOKENS,
            queue: QueueSettings::default(),
            workflows: WorkflowSettings::default(),
            ray_fallback: false,
            executor_waves: 1_024,
            backlog_by_executor: false,
            ping_every: Duration::from_secs(5),
        }
    }
}

/// How the dispatcher works through the queue.
#[derive(Clone, Debug)]
pub struct QueueSettings {
    /// Most tasks that are not over; one more is refused as busy.
    pub most: usize,
    /// Most runs from the queue at once for each role.
    pub per_role: usize,
    /// Most of them of one story.
    pub per_story: usize,
    /// The part of the gate that runs from the queue may hold, in percent: clients who wait come in beside them.
    pub share_percent: u32,
    /// How often a run that failed for a while is tried again.
    pub retries: u32,
    /// The pause before the first of them; it doubles each time.
    pub retry_min: Duration,
    pub retry_max: Duration,
    /// A winner that is carried out elsewhere and of which nothing is heard for so long is stalled.
    pub stall: Duration,
    /// Who works: the store's id, so that a restart knows its own leases.
    pub holder: Arc<str>,
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self {
            most: 1_000_000,
            per_role: 256,
            per_story: 64,
            share_percent: 75,
            retries: 3,
            retry_min: Duration::from_secs(1),
            retry_max: Duration::from_secs(300),
            stall: Duration::from_secs(600),
            holder: "here".into(),
        }
    }
}

/// How workflows are worked on.
#[derive(Clone, Debug)]
pub struct WorkflowSettings {
    /// Phases that the hub executes at once; others wait.
    pub phases: usize,
    /// Workflows with an actor, above which no new one is taken for the hub.
    pub most_present: usize,
    /// Whoever had nothing to do for so long goes to rest.
    pub idle: Duration,
}

impl Default for WorkflowSettings {
    fn default() -> Self {
        Self { phases: 256, most_present: 16_384, idle: Duration::from_secs(5) }
    }
}
