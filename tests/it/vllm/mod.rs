//! The model adapter against the simulator, and against servers that misbehave below HTTP.

mod answers;
mod limits;
mod models;
mod raw;
mod refusals;
mod replicas;
mod troubles;

use std::sync::Arc;
use std::time::Duration;

use moothall::sim::{Answers, Behaviour, BehaviourChange, Fault, Script, ScriptedAnswer, SimServer, SimSettings};
use moothall::vllm::{ContextLength, Retry, VllmModel, VllmSettings};
use moothall_actors::domain::council::Endpoint;
use moothall_actors::domain::id::{AgentId, CallId, RunId, Stage, TaskId, Wave};
use moothall_actors::ports::{AnswerForm, ModelCall};
use url::Url;

/// A call of one seat in one stage, as a deliberation makes it.
fn call(stage: Stage, seat: u32) -> ModelCall {
    ModelCall {
        id: CallId {
            run: RunId { task: TaskId::parse("task", "t-1").unwrap(), run: 1 },
            wave: Wave { stage, round: u8::from(stage != Stage::Propose) },
            agent: AgentId::parse("agent", &format!("agent-dev-{seat:03}")).unwrap(),
            ask: 1,
        },
        endpoint: Endpoint::Pool,
        model: "".into(),
        shared: "You are one of three.\n".into(),
        ask: "Say \"what\" is to be done.".into(),
        form: if stage == Stage::Critique { AnswerForm::Critique } else { AnswerForm::Text },
        temperature: Some(0.4),
        top_p: None,
        seed: Some(7),
        max_tokens: None,
        room: 1,
        timeout: Duration::from_secs(20),
        most_attempts: 10,
    }
}

fn proposal() -> ModelCall {
    call(Stage::Propose, 1)
}

/// The defaults, with retries that do not wait.
fn settings(replicas: &[Url]) -> VllmSettings {
    let retry = Retry { times: 3, first: Duration::ZERO, last: Duration::ZERO };
    VllmSettings { retry, ..VllmSettings::new(replicas.to_vec()) }
}

/// As [`settings`], for servers that answer nothing but completions.
fn bare_settings(replica: Url) -> VllmSettings {
    VllmSettings { model: "m".into(), context: ContextLength::Unlimited, ..settings(&[replica]) }
}

fn model(settings: VllmSettings) -> Arc<VllmModel> {
    Arc::new(VllmModel::new(settings).unwrap())
}

async fn sim(settings: SimSettings) -> SimServer {
    SimServer::start(SimSettings { record: 64, ..settings }).await.unwrap()
}

async fn sim_with(faults: Vec<Fault>) -> SimServer {
    sim(SimSettings { behaviour: Behaviour { faults, ..Behaviour::default() }, ..SimSettings::default() }).await
}

fn model_of(sim: &SimServer) -> Arc<VllmModel> {
    model(settings(&[sim.url().unwrap()]))
}

fn faults(faults: Vec<Fault>) -> BehaviourChange {
    BehaviourChange { faults: Some(faults), ..BehaviourChange::default() }
}

/// Everything is answered with this.
fn says(answer: ScriptedAnswer) -> Answers {
    Answers::Script(Script { answers: vec![answer], ..Script::default() })
}

fn text(text: &str) -> ScriptedAnswer {
    toml::from_str(&format!("text = {text:?}")).unwrap()
}

/// Returns when the claim has come true.
async fn until(what: &str, claim: impl Fn() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(20), async {
        while !claim() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    assert!(waited.await.is_ok(), "never came true: {what}");
}
