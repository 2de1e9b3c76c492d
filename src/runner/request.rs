//! From a call to the message that a runner gets.

use std::time::Duration;

use moothall_actors::domain::id::Stage;
use moothall_actors::ports::{AnswerForm, ModelCall};

use super::settings::RunnerSettings;
use crate::grpc::proto::moothall::v1::{RunForm, RunRequest, RunStage};

pub(super) fn stage(stage: Stage) -> RunStage {
    match stage {
        Stage::Propose => RunStage::Propose,
        Stage::Critique => RunStage::Critique,
        Stage::Revise => RunStage::Revise,
        Stage::Score => RunStage::Score,
        Stage::Select => RunStage::Select,
    }
}

/// The same call gives the same message, but for the time that is left.
pub(super) fn request(call: &ModelCall, settings: &RunnerSettings, left: Duration) -> RunRequest {
    let wanted = call.max_tokens.unwrap_or_else(|| settings.max_tokens.of(call.stage()));
    let form = match call.form {
        AnswerForm::Text => RunForm::Text,
        AnswerForm::Critique => RunForm::Critique,
        AnswerForm::Ballot => RunForm::Ballot,
    };
    RunRequest {
        call_id: call.id.to_string(),
        agent_id: call.id.agent.to_string(),
        stage: stage(call.stage()).into(),
        round: call.id.wave.round.into(),
        shared: call.shared.to_string(),
        ask: call.ask.to_string(),
        form: form.into(),
        model: call.model.to_string(),
        temperature: call.temperature.unwrap_or(settings.temperature),
        top_p: call.top_p,
        seed: call.seed,
        max_tokens: wanted.saturating_mul(call.room.max(1)),
        timeout_ms: i64::try_from(left.as_millis()).unwrap_or(i64::MAX),
        nonce: String::new(),
    }
}
