//! Queries that are not answered as they should be: each ends in time, with a class and a cause.

use std::time::{Duration, Instant};

use futures::future::join_all;
use moothall::context::{ContextClient, ContextSettings, ContextState};
use moothall::grpc::proto::fleet::context::v1::GetContextResponse;
use moothall_actors::domain::answer::Class;
use moothall_actors::ports::{ContextError, ContextQuery, ContextSource};
use prost::Message as _;
use tonic::Status;

use super::stand::{Manner, PATIENCE, Stand, hurried, patient, query, response, says};

async fn failing(client: &ContextClient, story: &str) -> ContextError {
    let error = client.context(&query(story)).await.unwrap_err();
    assert!(error.message.contains(&**client.address()), "{error}");
    error
}

fn why(client: &ContextClient) -> String {
    match client.state() {
        Some(ContextState::Degraded { why }) => why.to_string(),
        other => panic!("not degraded: {other:?}"),
    }
}

#[tokio::test]
async fn a_service_that_hangs_costs_the_deadline_and_no_more() {
    let stand = Stand::start([Manner::Hangs, says("v1")]).await;
    let client = stand.client(hurried());
    let begun = Instant::now();
    let error = failing(&client, "s").await;
    assert!(begun.elapsed() >= Duration::from_millis(300) && begun.elapsed() < PATIENCE);
    assert_eq!(error.class, Class::TimedOut);
    assert!(error.message.ends_with("no answer within 300ms"), "{error}");
    assert_eq!(why(&client), "no answer within 300ms");
    stand.until("the call was cancelled", |seen| seen.in_flight == 0).await;
}

#[tokio::test]
async fn an_answer_after_the_deadline_is_too_late() {
    let stand = Stand::start([Manner::SaysLater(response("v1")), says("v2")]).await;
    let client = stand.client(ContextSettings { deadline: Duration::from_secs(1), ..patient() });
    assert_eq!(failing(&client, "s").await.class, Class::TimedOut);
    stand.open_gate();
    let answer = client.context(&query("s")).await.unwrap();
    assert_eq!((&*answer.version, client.state()), ("v2", Some(ContextState::Healthy)));
}

#[tokio::test]
async fn waiting_for_a_place_counts_against_the_deadline() {
    let stand = Stand::start([Manner::Hangs]).await;
    let client = stand.client(ContextSettings { calls: 1, ..hurried() });
    let stories = ["a", "b", "c", "d", "e"];
    let begun = Instant::now();
    let all = join_all(stories.map(|story| failing(&client, story))).await;
    // One after the other they would take five deadlines.
    assert!(begun.elapsed() < Duration::from_millis(5 * 300), "{:?}", begun.elapsed());
    assert!(all.iter().all(|error| error.class == Class::TimedOut), "{all:?}");
}

#[tokio::test]
async fn unavailable_is_tried_once_more() {
    let unavailable = || Manner::Fails(Status::unavailable("starting"));
    let stand = Stand::start([unavailable(), says("v1")]).await;
    let client = stand.client(patient());
    assert_eq!(&*client.context(&query("s")).await.unwrap().version, "v1");
    assert_eq!((stand.calls(), client.state()), (2, Some(ContextState::Healthy)));

    let down = Stand::start([unavailable()]).await;
    let client = down.client(patient());
    let error = failing(&client, "s").await;
    assert_eq!((error.class, down.calls()), (Class::Transient, 2));
    assert!(error.message.ends_with("status UNAVAILABLE: starting"), "{error}");
    assert_eq!(why(&client), "status UNAVAILABLE: starting");
}

#[tokio::test]
async fn there_is_no_retry_that_the_deadline_does_not_allow() {
    let stand = Stand::start([Manner::Fails(Status::unavailable("starting"))]).await;
    let client = stand.client(ContextSettings { retry_pause: PATIENCE, ..patient() });
    assert_eq!((failing(&client, "s").await.class, stand.calls()), (Class::Transient, 1));
}

#[tokio::test]
async fn a_retry_that_hangs_ends_with_the_deadline() {
    let stand = Stand::start([Manner::Fails(Status::unavailable("starting")), Manner::Hangs]).await;
    let client = stand.client(ContextSettings { deadline: Duration::from_secs(2), ..patient() });
    let error = failing(&client, "s").await;
    assert!(error.message.ends_with("no answer within 2s; before that, status UNAVAILABLE: starting"), "{error}");
}

#[tokio::test]
async fn other_failures_are_not_tried_again() {
    for (status, class, is_degraded) in [
        (Status::internal("broken"), Class::Transient, true),
        (Status::resource_exhausted("full"), Class::Transient, true),
        (Status::unauthenticated("who?"), Class::Refused, true),
        (Status::not_found("no such story"), Class::Refused, false),
        (Status::invalid_argument("no such role"), Class::Invalid, false),
    ] {
        let stand = Stand::start([Manner::Fails(status.clone())]).await;
        let client = stand.client(patient());
        let error = failing(&client, "s").await;
        assert_eq!((error.class, stand.calls()), (class, 1), "{status}");
        assert!(error.message.ends_with(status.message()), "{error}");
        assert_eq!(client.state() != Some(ContextState::Healthy), is_degraded, "{status}");
    }
}

#[tokio::test]
async fn an_answer_of_2_mib_is_an_error_that_says_the_limit() {
    let huge = GetContextResponse { context: "x".repeat(2 << 20), ..response("v1") };
    let stand = Stand::start([Manner::Says(huge), says("v2")]).await;
    let client = stand.client(patient());
    let error = failing(&client, "s").await;
    assert_eq!(error.class, Class::Refused);
    assert!(error.message.ends_with("the answer is larger than the limit of 1048576 bytes"), "{error}");
    assert_eq!(&*client.context(&query("s")).await.unwrap().version, "v2", "the next one is answered");
}

#[tokio::test]
async fn the_limit_is_exact() {
    let of = |bytes: usize| {
        let mut answer = GetContextResponse { context: "x".repeat(bytes), ..GetContextResponse::default() };
        answer.context.truncate(bytes - (answer.encoded_len() - bytes));
        assert_eq!(answer.encoded_len(), bytes);
        Manner::Says(answer)
    };
    let stand = Stand::start([of(1 << 20), of((1 << 20) + 1)]).await;
    let client = stand.client(patient());
    assert!(client.context(&query("s")).await.is_ok());
    assert_eq!(failing(&client, "t").await.class, Class::Refused);
}

#[tokio::test]
async fn a_query_that_is_wrong_is_never_sent() {
    let stand = Stand::start([says("v1")]).await;
    let client = stand.client(patient());
    assert_eq!(failing(&client, "").await.class, Class::Invalid);
    let nothing = ContextQuery { token_budget: 0, ..query("s") };
    assert_eq!(client.context(&nothing).await.unwrap_err().class, Class::Invalid);
    assert_eq!((stand.calls(), client.state()), (0, None));
}
