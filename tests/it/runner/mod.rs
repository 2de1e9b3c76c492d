//! The adapter of outside agents against runners that behave and such that do not.

mod calls;
pub(crate) mod stand;
mod troubles;

use std::sync::Arc;
use std::time::Duration;

use moothall::runner::{RunnerModel, RunnerSettings};
use moothall::vllm::Retry;
use moothall_actors::domain::council::Endpoint;
use moothall_actors::domain::id::{AgentId, CallId, RunId, Stage, TaskId, Wave};
use moothall_actors::ports::{AnswerForm, ModelCall};

use stand::Stand;

/// The longest that anything may take which is no limit of the adapter's own.
const LIMIT: Duration = Duration::from_secs(30);

/// A call of one stage, as a deliberation makes it.
fn call(runner: &str, stage: Stage) -> ModelCall {
    ModelCall {
        id: CallId {
            run: RunId { task: TaskId::parse("task", "t-1").unwrap(), run: 1 },
            wave: Wave { stage, round: u8::from(stage != Stage::Propose) },
            agent: AgentId::parse("agent", "guest").unwrap(),
            ask: 1,
        },
        endpoint: Endpoint::Runner(runner.into()),
        model: "".into(),
        shared: "You are one of three.\n".into(),
        ask: "Say \"what\" is to be done.".into(),
        form: if stage == Stage::Critique { AnswerForm::Critique } else { AnswerForm::Text },
        temperature: Some(0.5),
        top_p: None,
        seed: Some(7),
        max_tokens: None,
        room: 1,
        timeout: LIMIT,
        most_attempts: 10,
    }
}

fn proposal(stand: &Stand) -> ModelCall {
    call(&stand.endpoint(), Stage::Propose)
}

/// The defaults, with retries that do not wait.
fn settings() -> RunnerSettings {
    let retry = Retry { times: 3, first: Duration::ZERO, last: Duration::ZERO };
    RunnerSettings { retry, ..RunnerSettings::default() }
}

fn model(settings: RunnerSettings) -> Arc<RunnerModel> {
    Arc::new(RunnerModel::new(settings))
}
