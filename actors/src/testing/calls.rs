//! Calls for tests of whoever makes them.

use std::time::Duration;

use crate::domain::council::Endpoint;
use crate::domain::id::{AgentId, CallId, Role, RunId, Stage, TaskId, Wave};
use crate::ports::executor::WaveCall;
use crate::ports::{AnswerForm, ModelCall};

/// A call of the DEV council's seat with this number, with nothing set that can be left open.
///
/// # Panics
/// When `task` is no id: a mistake of the test.
#[must_use]
pub fn model_call(task: &str, wave: Wave, seat: usize) -> ModelCall {
    let task = TaskId::parse("task", task).unwrap_or_else(|problem| std::panic::panic_any(problem.to_string()));
    ModelCall {
        id: CallId { run: RunId { task, run: 1 }, wave, agent: AgentId::of_council(&Role::dev(), seat), ask: 1 },
        endpoint: Endpoint::Pool,
        model: "".into(),
        shared: "shared".into(),
        ask: format!("ask {seat}").into(),
        form: AnswerForm::Text,
        temperature: None,
        top_p: None,
        seed: None,
        max_tokens: None,
        room: 1,
        timeout: Duration::from_secs(60),
        most_attempts: 4,
    }
}

/// The first wave of a task `t-1`, with this many seats.
#[must_use]
pub fn wave_call(seats: usize) -> WaveCall {
    let wave = Wave { stage: Stage::Propose, round: 0 };
    let call = |seat| ModelCall { endpoint: Endpoint::Ray, ..model_call("t-1", wave, seat) };
    let calls: Vec<ModelCall> = (1..=seats).map(call).collect();
    WaveCall {
        run: model_call("t-1", wave, 1).id.run,
        wave,
        attempt: 1,
        role: Role::dev(),
        description: "what is to be done".into(),
        story: None,
        backlog: false,
        calls,
    }
}
