//! A wave for tests.

use std::time::Duration;

use moothall_actors::domain::council::Endpoint;
use moothall_actors::domain::id::{AgentId, CallId, Role, RunId, Stage, TaskId, Wave};
use moothall_actors::ports::executor::WaveCall;
use moothall_actors::ports::{AnswerForm, ModelCall};

use crate::vllm::{Commission, Commissioned};

pub(super) fn wave(seats: usize) -> WaveCall {
    let run = RunId { task: TaskId::parse("task", "t-1").unwrap(), run: 1 };
    let wave = Wave { stage: Stage::Propose, round: 0 };
    let call = |seat: usize| ModelCall {
        id: CallId { run: run.clone(), wave, agent: AgentId::of_council(&Role::dev(), seat), ask: 1 },
        endpoint: Endpoint::Ray,
        model: "".into(),
        shared: "shared".into(),
        ask: format!("ask {seat}").into(),
        form: AnswerForm::Text,
        temperature: None,
        top_p: None,
        seed: None,
        max_tokens: None,
        room: 1,
        timeout: Duration::from_millis(5_500),
        most_attempts: 4,
    };
    WaveCall {
        run: run.clone(),
        wave,
        attempt: 1,
        role: Role::dev(),
        description: "what is to be done".into(),
        story: None,
        backlog: false,
        calls: (1..=seats).map(call).collect(),
    }
}

pub(super) fn commission(seats: usize) -> Commission {
    let made = Commissioned { model: "m".into(), params: r#"{"max_tokens":1}"#.into() };
    Commission { server: "http://gpu:8000".into(), calls: vec![made; seats] }
}
