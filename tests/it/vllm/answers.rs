//! What is asked, byte for byte, and what is made of the answer.

use std::time::Duration;

use moothall::sim::{Answers, Behaviour, BehaviourChange, MODEL, SimSettings};
use moothall::vllm::{ResponseFormat, StreamLimits, VllmSettings};
use moothall_actors::domain::answer::{Answer, Finish};
use moothall_actors::domain::id::{Stage, TaskId};
use moothall_actors::ports::{AnswerForm, Model};
use serde_json::Value;

use super::{call, model, model_of, proposal, says, settings, sim, sim_with, text};

fn body(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[tokio::test]
async fn an_answer_is_read_whole() {
    let sim = sim_with(Vec::new()).await;
    let answer = model_of(&sim).complete(&proposal()).await.unwrap();
    assert!(answer.text.contains("```python"));
    assert_eq!((&*answer.model, answer.finish, answer.attempts), (MODEL, Finish::Stop, 1));
    assert!(answer.usage.prompt > 0 && answer.usage.completion > 0);
    let stats = sim.stats();
    assert_eq!((stats.calls, stats.finished, stats.aborted), (1, 1, 0));
    assert_eq!(stats.by_call["t-1/1/propose-0/agent-dev-001"].finished, 1);
}

#[tokio::test]
async fn the_request_is_what_the_call_says() {
    let sim = sim_with(Vec::new()).await;
    let model = model_of(&sim);
    model.complete(&call(Stage::Critique, 2)).await.unwrap();
    let expected = concat!(
        r#"{"model":"moothall-sim","messages":[{"role":"system","content":"You are one of three.\n"},"#,
        r#"{"role":"user","content":"Say \"what\" is to be done."}],"temperature":0.4,"seed":7,"max_tokens":1024,"#,
        r#""response_format":{"type":"json_object"},"stream":false}"#
    );
    assert_eq!(sim.recorded()[0].body, expected);
    assert!(model.structured(AnswerForm::Critique) && !model.structured(AnswerForm::Text));
}

#[tokio::test]
async fn a_repeated_call_is_byte_identical() {
    let sim = sim_with(Vec::new()).await;
    for _ in 0..2 {
        model_of(&sim).complete(&call(Stage::Revise, 3)).await.unwrap();
    }
    let recorded = sim.recorded();
    assert_eq!(recorded.len(), 2);
    assert_eq!(recorded[0], recorded[1]);
}

#[tokio::test]
async fn response_format_is_sent_for_critiques_only_and_as_configured() {
    let sim = sim_with(Vec::new()).await;
    for format in [ResponseFormat::None, ResponseFormat::JsonSchema] {
        let model = model(VllmSettings { response_format: format, ..settings(&[sim.url().unwrap()]) });
        model.complete(&call(Stage::Critique, 1)).await.unwrap();
        model.complete(&proposal()).await.unwrap();
        assert_eq!(model.structured(AnswerForm::Critique), format == ResponseFormat::JsonSchema);
    }
    let formats: Vec<_> = sim.recorded().iter().map(|request| body(&request.body)["response_format"].clone()).collect();
    assert!(formats[0].is_null() && formats[1].is_null() && formats[3].is_null());
    assert_eq!(formats[2]["type"], "json_schema");
}

#[tokio::test]
async fn a_streamed_answer_equals_the_whole_one() {
    let answers = Answers::Script(moothall::sim::Script::demo().unwrap());
    let behaviour = Behaviour { answers, piece_ms: 1, ..Behaviour::default() };
    let sim = sim(SimSettings { behaviour, ..SimSettings::default() }).await;
    let whole = model_of(&sim).complete(&proposal()).await.unwrap();
    let streaming = VllmSettings { stream: Some(StreamLimits::default()), ..settings(&[sim.url().unwrap()]) };
    let streamed = model(streaming).complete(&proposal()).await.unwrap();
    let timeless = |answer: Answer| Answer { duration: Duration::ZERO, ..answer };
    assert_eq!(timeless(streamed), timeless(whole));
    let last = body(&sim.recorded()[1].body);
    assert_eq!((&last["stream"], &last["stream_options"]["include_usage"]), (&Value::Bool(true), &Value::Bool(true)));
}

#[tokio::test]
async fn thoughts_are_kept_apart_streamed_or_not() {
    let mut thinking = text("<think>it may\nbe so</think>\n\nIt is so.");
    thinking.reasoning = Some("first".into());
    let behaviour = Behaviour { answers: says(thinking), ..Behaviour::default() };
    let sim = sim(SimSettings { behaviour, ..SimSettings::default() }).await;
    for stream in [None, Some(StreamLimits::default())] {
        let model = model(VllmSettings { stream, ..settings(&[sim.url().unwrap()]) });
        let answer = model.complete(&proposal()).await.unwrap();
        assert_eq!((&*answer.text, answer.reasoning.as_deref()), ("It is so.", Some("first\nit may\nbe so")));
    }
}

#[tokio::test]
async fn a_cut_off_answer_says_so_and_double_room_is_asked_for() {
    let mut cut = text("It is");
    cut.finish = Some(Finish::Length);
    let behaviour = Behaviour { answers: says(cut), ..Behaviour::default() };
    let sim = sim(SimSettings { behaviour, ..SimSettings::default() }).await;
    let model = model_of(&sim);
    let mut call = proposal();
    assert_eq!(model.complete(&call).await.unwrap().finish, Finish::Length);
    call.room = 2;
    model.complete(&call).await.unwrap();
    call.max_tokens = Some(300);
    model.complete(&call).await.unwrap();
    let limits: Vec<_> = sim.recorded().iter().map(|request| body(&request.body)["max_tokens"].clone()).collect();
    assert_eq!(limits, [4096, 8192, 600]);
}

#[tokio::test]
async fn a_call_is_known_by_its_id_whatever_is_in_it() {
    let sim = sim_with(Vec::new()).await;
    let mut call = proposal();
    call.id.run.task = TaskId::parse("task", "grüß/dich 100%").unwrap();
    call.id.ask = 2;
    model_of(&sim).complete(&call).await.unwrap();
    assert_eq!(sim.stats().by_call["grüß/dich 100%/1/propose-0/agent-dev-001~2"].finished, 1);
}

#[tokio::test]
async fn base_addresses_come_with_v1_and_with_a_path() {
    let sim = sim_with(Vec::new()).await;
    for base in ["v1", "v1/", "models/a", "models/a/v1"] {
        let url = sim.url().unwrap().join(base).unwrap();
        model(settings(&[url])).complete(&proposal()).await.unwrap();
    }
    let paths: Vec<_> = sim.recorded().into_iter().map(|request| request.path).collect();
    let (plain, deep) = ("/v1/chat/completions", "/models/a/v1/chat/completions");
    assert_eq!(paths, [plain, plain, deep, deep]);
}

#[tokio::test]
async fn connections_are_kept_between_calls() {
    let sim = sim_with(Vec::new()).await;
    let model = model_of(&sim);
    for seat in 1..=5 {
        model.complete(&call(Stage::Propose, seat)).await.unwrap();
    }
    // A list of models and five calls.
    assert_eq!(sim.stats().connections, 1);
    sim.set(BehaviourChange { answers: Some(Answers::Prose), ..BehaviourChange::default() });
    assert!(!model.complete(&proposal()).await.unwrap().text.contains("```"));
}
