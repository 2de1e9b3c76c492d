//! Queries that are answered: what comes of the answer, and how often the service is asked.

use std::sync::Arc;

use futures::future::join_all;
use moothall::context::ContextState;
use moothall::grpc::proto::fleet::context::v1::{GetContextResponse, PromptBlocks};
use moothall_actors::ports::{ContextQuery, ContextSource, StoryPhase};
use tokio::time::timeout;

use super::stand::{Manner, PATIENCE, Stand, patient, query, response, says};

#[tokio::test]
async fn a_context_comes_over_whole() {
    let answer = GetContextResponse {
        context: "first\n\nsecond\0".to_owned(),
        token_count: 4,
        scopes: vec!["api".to_owned(), "storage".to_owned()],
        version: "abc".to_owned(),
        blocks: Some(PromptBlocks { system: "s".to_owned(), context: "c".to_owned(), tools: "t".to_owned() }),
    };
    let stand = Stand::start([Manner::Says(answer)]).await;
    let client = stand.client(patient());
    assert_eq!((client.state(), stand.calls()), (None, 0), "nothing is asked before it is needed");

    let query = ContextQuery { subtask_id: "part-2".into(), ..ContextQuery::new("story-1", "QA", StoryPhase::Test) };
    let context = client.context(&query).await.unwrap();
    assert_eq!((&*context.text, context.token_count, &*context.version), ("first\n\nsecond", 4, "abc"));
    assert_eq!(context.scopes.iter().map(|scope| &**scope).collect::<Vec<_>>(), ["api", "storage"]);
    assert_eq!(&*context.version_hash, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    let blocks = [&*context.blocks.system, &*context.blocks.context, &*context.blocks.tools];
    assert_eq!(blocks, ["s", "c", "t"]);
    assert_eq!(client.state(), Some(ContextState::Healthy));

    let asked = stand.seen(|seen| seen.requests[0].clone());
    assert_eq!((&*asked.story_id, &*asked.role, &*asked.phase), ("story-1", "QA", "TEST"));
    assert_eq!((&*asked.subtask_id, asked.token_budget), ("part-2", 200));
}

#[tokio::test]
async fn many_deliberations_of_one_story_ask_once() {
    let stand = Stand::start([Manner::SaysLater(response("v1"))]).await;
    let client = Arc::new(stand.client(patient()));
    let ask = |client: Arc<_>| tokio::spawn(async move { ContextSource::context(&*client, &query("s")).await });
    let asked: Vec<_> = (0..100).map(|_| ask(Arc::clone(&client))).collect();
    stand.until("the call has come", |seen| seen.in_flight == 1).await;
    stand.open_gate();
    for answer in timeout(PATIENCE, join_all(asked)).await.unwrap() {
        assert_eq!(&*answer.unwrap().unwrap().version, "v1");
    }
    assert_eq!(stand.calls(), 1);
}

#[tokio::test]
async fn an_event_brings_the_new_version_once() {
    let stand = Stand::start([says("v1"), says("v2")]).await;
    let client = stand.client(patient());
    let version = async || client.context(&query("s")).await.unwrap().version;
    assert_eq!((&*version().await, &*version().await), ("v1", "v1"));
    client.invalidate("s", Some("v1"));
    client.invalidate("t", None);
    assert_eq!(&*version().await, "v1", "that is the version it has, and that another story");
    client.invalidate("s", Some("v2"));
    assert_eq!((&*version().await, &*version().await), ("v2", "v2"));
    client.invalidate("s", Some("v2"));
    assert_eq!((&*version().await, stand.calls()), ("v2", 2));
    client.invalidate("s", Some(""));
    assert_eq!((&*version().await, stand.calls()), ("v2", 3), "an event without a version drops all");
}

#[tokio::test]
async fn an_event_during_a_call_is_not_lost() {
    let stand = Stand::start([Manner::SaysLater(response("v1")), Manner::SaysLater(response("v2"))]).await;
    let client = Arc::new(stand.client(patient()));
    let ask = || {
        let client = Arc::clone(&client);
        tokio::spawn(async move { client.context(&query("s")).await.unwrap().version })
    };
    let early = ask();
    stand.until("the first call has come", |seen| seen.in_flight == 1).await;
    client.invalidate("s", Some("v2"));
    let late = ask();
    stand.until("the second call has come", |seen| seen.in_flight == 2).await;
    stand.open_gate();
    let (early, late) = timeout(PATIENCE, async { (early.await.unwrap(), late.await.unwrap()) }).await.unwrap();
    assert_eq!((&*early, &*late), ("v1", "v2"));
    assert_eq!(&*client.context(&query("s")).await.unwrap().version, "v2");
    assert_eq!(stand.calls(), 2);
}

#[tokio::test]
async fn at_most_64_calls_are_made_at_once() {
    let stand = Stand::start([Manner::SaysLater(response("v1"))]).await;
    let client = stand.client(patient());
    let queries: Vec<_> = (0..200).map(|n| query(&format!("story-{n}"))).collect();
    let all = join_all(queries.iter().map(|query| client.context(query)));
    let opened = async {
        stand.until("64 calls have come", |seen| seen.in_flight >= 64).await;
        stand.open_gate();
    };
    let (answers, ()) = timeout(PATIENCE, async { tokio::join!(all, opened) }).await.unwrap();
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!((stand.calls(), stand.seen(|seen| seen.highest)), (200, 64));
}

#[tokio::test]
async fn a_text_over_the_budget_is_cut_on_this_side() {
    let long = GetContextResponse { context: "word ".repeat(500), token_count: 500, ..response("v1") };
    let stand = Stand::start([Manner::Says(long)]).await;
    let context = stand.client(patient()).context(&query("s")).await.unwrap();
    assert!(context.text.ends_with("word\n[cut to 200 tokens]"), "{}", context.text);
    assert!(context.text.chars().count() <= 800 && context.token_count <= 200);
}

#[tokio::test]
async fn a_caller_that_leaves_cancels_its_call() {
    let stand = Stand::start([Manner::Hangs]).await;
    let client = stand.client(patient());
    let query = query("s");
    tokio::select! {
        answer = client.context(&query) => panic!("answered: {answer:?}"),
        () = stand.until("the call has come", |seen| seen.in_flight == 1) => {}
    }
    stand.until("the call was cancelled", |seen| seen.in_flight == 0).await;
}
