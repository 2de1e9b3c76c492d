//! Which model is asked, and how much fits into its context.

use moothall::sim::{Fault, FaultKind, MODEL, SimServer, SimSettings};
use moothall::vllm::{ContextLength, VllmSettings};
use moothall_actors::domain::answer::Class;
use moothall_actors::ports::{Model, ModelCall};
use serde_json::Value;

use super::{model, model_of, proposal, settings, sim, sim_with};

async fn serving(models: &[&str]) -> SimServer {
    let models = models.iter().map(|&name| name.to_owned()).collect();
    sim(SimSettings { models, strict_model: true, ..SimSettings::default() }).await
}

fn named(sim: &SimServer, name: &str) -> VllmSettings {
    VllmSettings { model: name.into(), ..settings(&[sim.url().unwrap()]) }
}

fn last_body(sim: &SimServer) -> Value {
    serde_json::from_str(&sim.recorded().last().unwrap().body).unwrap()
}

#[tokio::test]
async fn auto_takes_the_model_that_is_served() {
    let sim = serving(&["only-one"]).await;
    model_of(&sim).complete(&proposal()).await.unwrap();
    assert_eq!(last_body(&sim)["model"], "only-one");
}

#[tokio::test]
async fn auto_does_not_choose_between_models() {
    let sim = serving(&["one", "other"]).await;
    let failure = model_of(&sim).complete(&proposal()).await.unwrap_err();
    assert_eq!(failure.class, Class::Refused);
    assert!(failure.message.ends_with("name one of them: one, other"), "{failure}");
    assert_eq!(sim.stats().calls, 0);
}

#[tokio::test]
async fn a_model_that_is_not_served_is_refused_with_those_that_are() {
    let sim = serving(&["one", "other"]).await;
    let failure = model(named(&sim, "third")).complete(&proposal()).await.unwrap_err();
    assert_eq!((failure.class, failure.attempts), (Class::Refused, 1));
    assert!(failure.message.contains(r#"model "third" is not served here; served: one, other"#), "{failure}");
    assert_eq!(sim.stats().calls, 1);
}

#[tokio::test]
async fn a_call_may_name_its_own_model() {
    let sim = serving(&["one", "other"]).await;
    let call = ModelCall { model: "other".into(), ..proposal() };
    model(named(&sim, "one")).complete(&call).await.unwrap();
    assert_eq!(last_body(&sim)["model"], "other");
}

#[tokio::test]
async fn auto_follows_a_server_that_changed_its_model() {
    let before = serving(&["before"]).await;
    let (addr, model) = (before.addr(), model_of(&before));
    model.complete(&proposal()).await.unwrap();
    before.shutdown().await;
    let models = vec!["after".to_owned()];
    let settings = SimSettings { listen: addr, models, strict_model: true, ..SimSettings::default() };
    let after = sim(settings).await;
    let answer = model.complete(&proposal()).await.unwrap();
    assert_eq!(last_body(&after)["model"], "after");
    assert!(answer.attempts >= 2, "the first request named the model before");
}

#[tokio::test]
async fn an_answer_is_asked_to_fit_into_the_context() {
    let sim = sim(SimSettings { max_model_len: Some(1024), ..SimSettings::default() }).await;
    model_of(&sim).complete(&proposal()).await.unwrap();
    let asked = last_body(&sim)["max_tokens"].as_u64().unwrap();
    assert!((800..1000).contains(&asked), "{asked}");
    let fixed = VllmSettings { context: ContextLength::Tokens(200), ..settings(&[sim.url().unwrap()]) };
    model(fixed).complete(&proposal()).await.unwrap();
    assert!(last_body(&sim)["max_tokens"].as_u64().unwrap() < 200);
    let unlimited = VllmSettings { context: ContextLength::Unlimited, ..settings(&[sim.url().unwrap()]) };
    model(unlimited).complete(&proposal()).await.unwrap();
    assert_eq!(last_body(&sim)["max_tokens"], 4096);
}

#[tokio::test]
async fn a_prompt_that_does_not_fit_is_said_clearly() {
    let message = "This model's maximum context length is 1024 tokens.".to_owned();
    let what = FaultKind::Status { status: 400, retry_after: None, location: None, message: Some(message) };
    let sim = sim_with(vec![Fault::always(what)]).await;
    let failure = model_of(&sim).complete(&proposal()).await.unwrap_err();
    assert_eq!(failure.class, Class::Refused);
    assert!(failure.message.contains("the prompt does not fit into the model's context"), "{failure}");
}

#[tokio::test]
async fn a_probe_reports_every_replica() {
    let (well, gone) = (serving(&[MODEL]).await, serving(&[]).await);
    let urls = [well.url().unwrap(), gone.url().unwrap()];
    gone.shutdown().await;
    let model = model(VllmSettings { model: "third".into(), ..settings(&urls) });
    let reports = model.probe().await;
    assert!(reports[0].reachable && reports[0].latency.is_some());
    assert_eq!((reports[0].models.as_slice(), reports[0].max_model_len), ([MODEL.to_owned()].as_slice(), Some(32_768)));
    assert!(reports[0].error.as_ref().is_some_and(|error| error.contains("served: moothall-sim")));
    assert!(!reports[1].reachable);
    assert!(reports[1].error.as_ref().is_some_and(|error| error.contains("Connection refused")), "{reports:?}");
}
