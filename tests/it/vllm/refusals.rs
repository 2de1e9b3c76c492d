//! What is never asked again, and where a call never goes.

use moothall::config::Secret;
use moothall::sim::{Fault, FaultKind, SimServer};
use moothall::vllm::{Profile, VllmSettings};
use moothall_actors::domain::answer::Class;
use moothall_actors::domain::council::Endpoint;
use moothall_actors::ports::{Model, ModelCall};

use super::{model, model_of, proposal, settings, sim_with};

const KEY: &str = "sk-very-secret";

fn with_key(sim: &SimServer) -> VllmSettings {
    VllmSettings { api_key: Some(Secret::new(KEY)), ..settings(&[sim.url().unwrap()]) }
}

fn to(sim: &SimServer) -> ModelCall {
    ModelCall { endpoint: Endpoint::Url(sim.url().unwrap().as_str().into()), ..proposal() }
}

fn keys(sim: &SimServer) -> Vec<Option<String>> {
    sim.recorded().into_iter().map(|request| request.authorization).collect()
}

fn saying(status: u16, message: &str) -> Fault {
    let message = Some(message.to_owned());
    Fault::always(FaultKind::Status { status, retry_after: None, location: None, message })
}

#[tokio::test]
async fn other_refusals_are_not_asked_again() {
    for status in [400, 401, 403, 404, 408, 413, 422] {
        let sim = sim_with(vec![saying(status, "because\nof this")]).await;
        let failure = model_of(&sim).complete(&proposal()).await.unwrap_err();
        assert_eq!((failure.class, failure.attempts, sim.stats().calls), (Class::Refused, 1, 1), "{failure}");
        assert!(
            failure.message.contains(&status.to_string()) && failure.message.ends_with("because of this"),
            "{failure}"
        );
    }
}

#[tokio::test]
async fn what_a_server_says_is_quoted_short_and_without_the_key() {
    let said = format!("wrong key {KEY}: {}", "x".repeat(5000));
    let sim = sim_with(vec![saying(401, &said)]).await;
    let failure = model(with_key(&sim)).complete(&proposal()).await.unwrap_err();
    assert!(failure.message.contains("wrong key ***: xxx"), "{failure}");
    assert!(failure.message.len() < 300 && !failure.message.contains(KEY), "{failure}");
}

#[tokio::test]
async fn a_redirect_is_refused() {
    let there = sim_with(Vec::new()).await;
    let location = there.url().unwrap().join("v1/chat/completions").unwrap().to_string();
    let to = Some(location.clone());
    let what = FaultKind::Status { status: 307, retry_after: None, location: to, message: None };
    let here = sim_with(vec![Fault::always(what)]).await;
    let failure = model(with_key(&here)).complete(&proposal()).await.unwrap_err();
    assert_eq!((failure.class, failure.attempts), (Class::Refused, 1));
    assert!(failure.message.contains(&location), "{failure}");
    assert_eq!(there.stats().calls, 0);
}

#[tokio::test]
async fn the_key_of_the_pool_goes_to_the_pool_only() {
    let (pool, other) = (sim_with(Vec::new()).await, sim_with(Vec::new()).await);
    let model = model(with_key(&pool));
    model.complete(&proposal()).await.unwrap();
    model.complete(&to(&other)).await.unwrap();
    model.complete(&to(&pool)).await.unwrap();
    let bearer = Some(format!("Bearer {KEY}"));
    assert_eq!((keys(&pool), keys(&other)), (vec![bearer.clone(), bearer], vec![None]));
}

#[tokio::test]
async fn another_server_gets_the_key_of_its_profile() {
    let (pool, other) = (sim_with(Vec::new()).await, sim_with(Vec::new()).await);
    let hosts = format!("127.0.0.1:{}", other.addr().port()).parse().unwrap();
    let profiles = vec![Profile { hosts, api_key: Secret::new("sk-other") }];
    let model = model(VllmSettings { profiles, ..with_key(&pool) });
    model.complete(&to(&other)).await.unwrap();
    assert_eq!(keys(&other), [Some("Bearer sk-other".to_owned())]);
}

#[tokio::test]
async fn an_address_that_is_not_allowed_is_not_called() {
    let (pool, other) = (sim_with(Vec::new()).await, sim_with(Vec::new()).await);
    let replica = pool.url().unwrap().as_str().replace("127.0.0.1", "localhost").parse().unwrap();
    let model = model(VllmSettings { allowed_endpoints: Vec::new(), ..settings(&[replica]) });
    let failure = model.complete(&to(&other)).await.unwrap_err();
    assert_eq!((failure.class, failure.attempts), (Class::Refused, 0));
    assert!(failure.message.contains("host 127.0.0.1 is not in agents.allowed_endpoints"), "{failure}");
    assert_eq!(other.stats().calls, 0);
}

#[tokio::test]
async fn scripted_agents_are_not_for_this_adapter() {
    let sim = sim_with(Vec::new()).await;
    let failure = model_of(&sim).complete(&ModelCall { endpoint: Endpoint::Mock, ..proposal() }).await.unwrap_err();
    assert_eq!(failure.class, Class::Refused);
    assert_eq!(sim.stats().calls, 0);
}

#[tokio::test]
async fn without_a_server_a_call_says_so() {
    let failure = model(settings(&[])).complete(&proposal()).await.unwrap_err();
    assert_eq!((failure.class, &*failure.message), (Class::Refused, "no model server is configured"));
}
