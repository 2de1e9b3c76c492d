//! The simulator from the outside, the scripted agents, and whether the demo's claims about its code are true.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use http::header::CONTENT_TYPE;
use moothall::checks::TextChecks;
use moothall::sim::{
    Answers, Behaviour, BehaviourChange, Fault, FaultKind, Latency, MODEL, SIMULATED_MODEL, Script, ScriptedModel,
    SimServer, SimSettings,
};
use moothall_actors::domain::answer::Class;
use moothall_actors::domain::council::Endpoint;
use moothall_actors::domain::id::{Stage, Wave};
use moothall_actors::ports::{Checks as _, Model, ModelCall, Subject};
use moothall_actors::testing::model_call;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

struct Client {
    http: reqwest::Client,
    sim: SimServer,
}

impl Client {
    async fn of(settings: SimSettings) -> Self {
        // Whoever was first has set it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self { http: reqwest::Client::new(), sim: SimServer::start(settings).await.unwrap() }
    }

    fn url(&self, path: &str) -> String {
        self.sim.url().unwrap().join(path).unwrap().to_string()
    }

    async fn get(&self, path: &str) -> Value {
        self.http.get(self.url(path)).send().await.unwrap().json().await.unwrap()
    }

    async fn post(&self, path: &str, body: Value) -> reqwest::Response {
        self.http.post(self.url(path)).json(&body).send().await.unwrap()
    }

    async fn ask(&self, call: &str, body: &Value) -> reqwest::Result<reqwest::Response> {
        let url = self.url("/v1/chat/completions");
        self.http.post(url).header("x-moothall-call", call).json(body).send().await
    }

    /// The text of an answer.
    async fn text(&self, call: &str) -> String {
        let answer = self.ask(call, &asked("anything")).await.unwrap();
        assert_eq!(answer.headers()["x-moothall-simulated"], "true");
        let body: Value = answer.json().await.unwrap();
        assert_eq!(body["model"], MODEL);
        body["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
    }
}

/// Returns when the claim has come true.
async fn until(claim: impl Fn() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(20), async {
        while !claim() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    assert!(waited.await.is_ok(), "never came true");
}

fn asked(prompt: &str) -> Value {
    json!({"model": MODEL, "messages": [{"role": "user", "content": prompt}]})
}

#[tokio::test]
async fn its_pages_say_that_it_is_simulated() {
    let client = Client::of(SimSettings::default()).await;
    assert_eq!(client.get("/health").await, json!({"status": "ok", "simulated": true}));
    assert_eq!(client.get("/v1/models").await["data"][0]["id"], MODEL);
    assert_eq!(client.get("/nothing/here").await["detail"], "Not Found");
}

#[tokio::test]
async fn bench_answers_fit_their_stage_and_differ_by_seat() {
    let client = Client::of(SimSettings::default()).await;
    let proposals = [client.text("t/1/propose-0/a-001").await, client.text("t/1/propose-0/a-002").await];
    assert_ne!(proposals[0], proposals[1]);
    assert_eq!(proposals[0].matches("```").count(), 2);
    let critique: Value = serde_json::from_str(&client.text("t/1/critique-1/a-001").await).unwrap();
    assert!(critique["ratings"][0]["rating"].is_number());
    assert_ne!(client.text("t/1/revise-1/a-001").await, proposals[0]);
}

#[tokio::test]
async fn a_streamed_answer_holds_the_same_text() {
    let client = Client::of(SimSettings::default()).await;
    let whole = client.text("t/1/propose-0/a-001").await;
    let mut request = asked("anything");
    request["stream"] = json!(true);
    let answer = client.ask("t/1/propose-0/a-001", &request).await.unwrap();
    assert_eq!(answer.headers()[CONTENT_TYPE], "text/event-stream");
    let events = answer.text().await.unwrap();
    let pieces = events.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]");
    let text: String = pieces
        .map(|data| serde_json::from_str::<Value>(data).unwrap())
        .filter_map(|piece| piece["choices"][0]["delta"]["content"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(text, whole);
    assert!(events.ends_with("data: [DONE]\n\n"));
}

#[tokio::test]
async fn a_system_message_is_read_once_when_prefill_costs() {
    let behaviour = Behaviour { prefill_ms: 1, ..Behaviour::default() };
    let client = Client::of(SimSettings { behaviour, ..SimSettings::default() }).await;
    let system = "You are one of three.";
    let request = |system: &str, stream: bool| {
        let messages = json!([{"role": "system", "content": system}, {"role": "user", "content": "anything"}]);
        json!({"model": MODEL, "messages": messages, "stream": stream})
    };
    let mut cached = Vec::new();
    for (call, system) in
        [("t/1/propose-0/a-001", system), ("t/1/propose-0/a-002", system), ("t/1/propose-0/a-003", "")]
    {
        let answer: Value = client.ask(call, &request(system, false)).await.unwrap().json().await.unwrap();
        cached.push(answer["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap());
    }
    assert_eq!(cached, [0, system.len().div_ceil(4) as u64, 0]);
    let events = client.ask("t/1/propose-0/a-001", &request(system, true)).await.unwrap().text().await.unwrap();
    assert!(events.contains(r#""prompt_tokens_details":{"cached_tokens":6}"#), "{events}");
    let stats = client.get("/sim/stats").await;
    assert_eq!((&stats["prefix_hits"], &stats["prefix_misses"]), (&json!(2), &json!(2)));
    // Without a cost there is no cache.
    client.post("/sim/script", json!({"prefill_ms": 0})).await;
    let answer: Value = client.ask("", &request(system, false)).await.unwrap().json().await.unwrap();
    assert_eq!(answer["usage"].get("prompt_tokens_details"), None);
    assert_eq!(client.get("/sim/stats").await["prefix_hits"], 2);
}

#[tokio::test]
async fn calls_are_counted_by_their_id_until_a_reset() {
    let client = Client::of(SimSettings::default()).await;
    for call in ["t/1/propose-0/a-001", "t/1/propose-0/a-001", "t/1/propose-0/a-002"] {
        client.text(call).await;
    }
    let stats = client.get("/sim/stats").await;
    assert_eq!((&stats["calls"], &stats["finished"], &stats["aborted"]), (&json!(3), &json!(3), &json!(0)));
    let call = &stats["by_call"]["t/1/propose-0/a-001"];
    assert_eq!((&call["started"], &call["finished"]), (&json!(2), &json!(2)));
    assert!(call["last_finished_at_ms"].as_u64().is_some_and(|at| at > 1_700_000_000_000));
    assert_eq!((&stats["highest_concurrency"], &stats["by_status"]["200"]), (&json!(1), &json!(3)));
    client.post("/sim/reset", json!({})).await;
    assert_eq!(client.get("/sim/stats").await["calls"], 0);
}

#[tokio::test]
async fn counting_by_call_can_be_switched_off() {
    let client = Client::of(SimSettings { by_call: false, ..SimSettings::default() }).await;
    client.text("t/1/propose-0/a-001").await;
    let stats = client.sim.stats();
    assert_eq!((stats.finished, stats.by_call.len()), (1, 0));
}

#[tokio::test]
async fn the_highest_concurrency_is_that_of_calls_at_once() {
    let behaviour = Behaviour { faults: vec![Fault::first(3, FaultKind::Hang)], ..Behaviour::default() };
    let client = Arc::new(Client::of(SimSettings { behaviour, ..SimSettings::default() }).await);
    let mut asking = tokio::task::JoinSet::new();
    for seat in ["a", "b", "c"] {
        let client = Arc::clone(&client);
        asking.spawn(async move { client.ask(&format!("t/1/propose-0/{seat}"), &asked("x")).await });
    }
    until(|| client.sim.stats().in_flight == 3).await;
    asking.abort_all();
    until(|| client.sim.stats().in_flight == 0).await;
    client.text("t/1/propose-0/d").await;
    assert_eq!(client.sim.stats().highest_concurrency, 3);
}

#[tokio::test]
async fn bodies_are_recorded_byte_for_byte_up_to_a_number() {
    let client = Client::of(SimSettings { record: 2, ..SimSettings::default() }).await;
    for prompt in ["one", "two", "grüß\n\u{1}"] {
        client.ask("t/1/propose-0/a", &asked(prompt)).await.unwrap();
    }
    let bodies = client.get("/sim/bodies").await;
    let texts: Vec<_> = bodies.as_array().unwrap().iter().map(|one| one["body"].as_str().unwrap()).collect();
    assert_eq!(texts, [asked("two").to_string(), asked("grüß\n\u{1}").to_string()]);
    let last = client.get("/sim/bodies?limit=1").await;
    assert_eq!((last.as_array().unwrap().len(), &last[0]["call"]), (1, &json!("t/1/propose-0/a")));
}

#[tokio::test]
async fn its_behaviour_changes_while_it_runs() {
    let client = Client::of(SimSettings::default()).await;
    let change = json!({
        "answers": {"script": {"answers": [{"contains": ["weather"], "text": "It rains."}]}},
        "faults": [{"what": {"status": {"status": 429, "retry_after": 7}}, "times": 1}],
    });
    assert!(client.post("/sim/script", change).await.status().is_success());
    let busy = client.ask("t/1/propose-0/a", &asked("the weather")).await.unwrap();
    assert_eq!((busy.status().as_u16(), &busy.headers()["retry-after"]), (429, &"7".parse().unwrap()));
    let answer: Value = client.ask("t/1/propose-0/a", &asked("the weather")).await.unwrap().json().await.unwrap();
    assert_eq!(answer["choices"][0]["message"]["content"], "It rains.");
    assert!(!client.text("t/1/propose-0/a").await.contains("rains"), "no entry fits: prose");
    assert_eq!(client.post("/sim/script", json!({"answer": 1})).await.status(), 400);
}

#[tokio::test]
async fn a_client_that_leaves_aborts_its_answer() {
    let behaviour = Behaviour { faults: vec![Fault::always(FaultKind::Hang)], ..Behaviour::default() };
    let client = Arc::new(Client::of(SimSettings { behaviour, ..SimSettings::default() }).await);
    let asking = tokio::spawn({
        let client = Arc::clone(&client);
        async move { client.ask("t/1/propose-0/a", &asked("x")).await }
    });
    until(|| client.sim.stats().in_flight == 1).await;
    asking.abort();
    until(|| client.sim.stats().aborted == 1).await;
    let counted = client.sim.stats().by_call["t/1/propose-0/a"];
    assert_eq!((counted.started, counted.finished, counted.aborted), (1, 0, 1));
}

#[tokio::test]
async fn a_shut_down_simulator_answers_nobody() {
    let client = Client::of(SimSettings::default()).await;
    client.text("t/1/propose-0/a").await;
    let Client { http, sim } = client;
    let url = sim.url().unwrap();
    sim.shutdown().await;
    assert!(http.get(url).send().await.is_err());
}

// --- Scripted agents and the demo ------------------------------------------------------------------------------------

fn call(stage: Stage, round: u8, seat: usize, shared: &str, ask: &str) -> ModelCall {
    let made = model_call("demo", Wave { stage, round }, seat);
    ModelCall { endpoint: Endpoint::Mock, shared: shared.into(), ask: ask.into(), most_attempts: 1, ..made }
}

/// The demo's script, without its waits.
fn demo() -> (Script, ScriptedModel) {
    let mut script = Script::demo().unwrap();
    script.answers.iter_mut().for_each(|answer| answer.latency_ms = Some(0));
    let model = ScriptedModel::new(&Answers::Script(script.clone()), Latency::default());
    (script, model)
}

async fn told(model: &ScriptedModel, stage: Stage, round: u8, seat: usize, ask: &str) -> String {
    let task = demo().0.task.unwrap().description;
    model.complete(&call(stage, round, seat, &task, ask)).await.unwrap().text.to_string()
}

#[tokio::test]
async fn scripted_agents_say_that_they_are() {
    let (_, model) = demo();
    let answer = model.complete(&call(Stage::Propose, 0, 1, "", "parse 1h30m")).await.unwrap();
    assert_eq!((&*answer.model, answer.attempts), (SIMULATED_MODEL, 1));
    assert!(answer.usage.prompt > 0 && answer.usage.completion > 0);
    let real = ModelCall { endpoint: Endpoint::Pool, ..call(Stage::Propose, 0, 1, "", "") };
    assert_eq!(model.complete(&real).await.unwrap_err().class, Class::Refused);
}

#[tokio::test]
async fn a_scripted_answer_keeps_to_the_time_of_the_call() {
    let slow = ScriptedModel::new(&Answers::Prose, Latency::Fixed { fixed_ms: 3_600_000 });
    let call = ModelCall { timeout: Duration::from_millis(10), ..call(Stage::Propose, 0, 1, "", "") };
    assert_eq!(slow.complete(&call).await.unwrap_err().class, Class::TimedOut);
}

#[tokio::test]
async fn the_demo_does_not_answer_other_tasks() {
    let (script, model) = demo();
    let mut other = call(Stage::Propose, 0, 1, "Sort a list.", "");
    other.id.wave = Wave { stage: Stage::Propose, round: 0 };
    let answer = model.complete(&other).await.unwrap();
    assert!(script.answers.iter().all(|scripted| scripted.text != answer.text));
}

#[tokio::test]
async fn each_proposal_of_the_demo_is_reviewed_for_what_it_is() {
    let (_, model) = demo();
    let requirements = demo().0.task.unwrap().requirements.len() as u64;
    let mut ratings = Vec::new();
    for seat in 1..=3 {
        let proposal = told(&model, Stage::Propose, 0, seat, "").await;
        let revision = told(&model, Stage::Revise, 1, seat, "").await;
        for (round, text) in [(1, &proposal), (2, &revision)] {
            let critique = told(&model, Stage::Critique, round, seat % 3 + 1, text).await;
            let critique: Value = serde_json::from_str(&critique).unwrap();
            for finding in critique["findings"].as_array().unwrap() {
                assert!(["blocker", "major", "minor", "nit"].contains(&finding["severity"].as_str().unwrap()));
                assert!(finding["claim"].is_string() && finding["evidence"].is_string());
                let location = finding["location"].as_str().unwrap();
                assert!(location == "sum(...)" || text.contains(location), "{location} is not in the reviewed text");
            }
            let rated = critique["ratings"].as_array().unwrap();
            assert!(rated.iter().all(|one| one["requirement"].as_u64().is_some_and(|number| number <= requirements)));
            ratings.push(rated.iter().map(|one| one["rating"].as_f64().unwrap()).sum::<f64>());
        }
    }
    let (first, second) = ([ratings[0], ratings[2], ratings[4]], [ratings[1], ratings[3], ratings[5]]);
    assert!(first[0] > first[2] && first[2] > first[1], "what is broken is praised most: {first:?}");
    assert!(second[0] > second[2] && second[2] > second[1], "{second:?}");
}

/// What `parse_duration` of an answer's code makes of each text: a number, or `None` for a `ValueError` that is told
/// apart by whether it names the text. `None` altogether without a Python to ask.
async fn parsed(answer: &str, texts: &[&str]) -> Option<Vec<Value>> {
    let code = answer.split("```python\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let program = format!(
        r#"{code}
import json
def outcome(text):
    try:
        return parse_duration(text)
    except ValueError as error:
        return "named" if repr(text) in str(error) else "refused"
print(json.dumps([outcome(text) for text in json.loads({texts:?})]))
"#,
        texts = serde_json::to_string(texts).unwrap(),
    );
    let mut python = tokio::process::Command::new("python3")
        .arg("-")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .inspect_err(|error| eprintln!("not checked: python3 cannot be started: {error}"))
        .ok()?;
    python.stdin.take().unwrap().write_all(program.as_bytes()).await.unwrap();
    let output = python.wait_with_output().await.unwrap();
    assert!(output.status.success(), "{program}");
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

/// Checks what an answer's code makes of some texts.
async fn assert_parsed(answer: &str, cases: &[(&str, Value)]) {
    let texts: Vec<_> = cases.iter().map(|(text, _)| *text).collect();
    if let Some(outcomes) = parsed(answer, &texts).await {
        let expected: Vec<_> = cases.iter().map(|(_, outcome)| outcome.clone()).collect();
        assert_eq!(outcomes, expected, "of {texts:?} in {answer}");
    }
}

#[tokio::test]
async fn the_flaws_that_the_demo_finds_are_real() {
    let (_, model) = demo();
    let find = told(&model, Stage::Propose, 0, 2, "").await;
    let cases =
        [("45m", json!(2700)), ("abc", json!(0)), ("", json!(0)), ("1h30", json!(3600)), ("30m1h1h", json!(9000))];
    assert_parsed(&find, &cases).await;
    let pattern = told(&model, Stage::Propose, 0, 3, "").await;
    let cases = [("45m", json!(2700)), ("abc", json!("named")), ("", json!("named")), ("٣h", json!(10800))];
    assert_parsed(&pattern, &cases).await;
}

#[tokio::test]
async fn the_winner_of_the_demo_is_right() {
    let (_, model) = demo();
    let good = [("1h30m", json!(5400)), ("45m", json!(2700)), ("2h", json!(7200)), ("10s", json!(10))];
    let bad = ["abc", "", "1h30", "30m1h1h", "1h-5m", "٣h", "1:30", " 1h", "1h\n"].map(|text| (text, json!("named")));
    let cases: Vec<_> = good.into_iter().chain(bad).collect();
    assert_parsed(&told(&model, Stage::Revise, 1, 3, "").await, &cases).await;
}

#[tokio::test]
async fn the_lint_finds_what_is_broken_in_the_demo_and_nothing_else() {
    let (_, model) = demo();
    let mut texts = Vec::new();
    for seat in 1..=3 {
        texts.push(Subject::plain(told(&model, Stage::Propose, 0, seat, "").await));
        texts.push(Subject::plain(told(&model, Stage::Revise, 1, seat, "").await));
    }
    let reports = TextChecks::built_in().unwrap().check(texts).await;
    let failed: Vec<_> = reports.iter().map(|report| report.lint.failed()).collect();
    assert_eq!(failed, [true, true, false, true, false, false], "{reports:?}");
    assert!(reports.iter().all(|report| report.policy.passed()));
}

#[tokio::test]
async fn a_change_keeps_what_it_does_not_name() {
    let client = Client::of(SimSettings::default()).await;
    client.sim.set(BehaviourChange { answers: Some(Answers::Prose), ..BehaviourChange::default() });
    client.sim.set(BehaviourChange { piece_ms: Some(1), ..BehaviourChange::default() });
    assert!(!client.text("t/1/propose-0/a").await.contains("```"));
}
