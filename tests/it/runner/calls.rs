//! Calls that go well: what a runner gets, what comes back, and how many at once.

use std::time::Duration;

use anyhow::Result;
use moothall::config::Secret;
use moothall::grpc::proto::moothall::v1::run_update::Update;
use moothall::grpc::proto::moothall::v1::{RunForm, RunRequest, RunResult, RunStage, RunUpdate, RunUsage};
use moothall::runner::{RunnerAddress, RunnerKey, RunnerSettings};
use moothall_actors::domain::answer::{Class, Finish, Usage};
use moothall_actors::domain::id::Stage;
use moothall_actors::ports::{Model as _, ModelCall};

use super::stand::{End, Manner, Stand, progress};
use super::{LIMIT, call, model, proposal, settings};

#[tokio::test]
async fn a_call_arrives_whole_and_its_answer_comes_back() -> Result<()> {
    let result = RunResult {
        text: "so".into(),
        reasoning: "hm".into(),
        usage: Some(RunUsage { prompt_tokens: 11, completion_tokens: 2 }),
        model: "agent-model".into(),
        ..RunResult::default()
    };
    let result = RunUpdate { update: Some(Update::Result(result)) };
    let stand = Stand::start(Manner::of(vec![progress("reading"), RunUpdate::default(), result], End::Ok)).await;
    let critique = ModelCall { room: 2, model: "m".into(), ..call(&stand.endpoint(), Stage::Critique) };
    let answer = model(settings()).complete(&critique).await?;
    assert_eq!((&*answer.text, answer.reasoning.as_deref()), ("so", Some("hm")));
    assert_eq!((answer.usage, &*answer.model), (Usage { prompt: 11, completion: 2 }, "agent-model"));
    assert_eq!((answer.attempts, answer.finish), (1, Finish::Other));

    let mut asked = stand.seen(|seen| seen.requests.clone());
    let left = std::mem::take(&mut asked[0].timeout_ms);
    assert!(left > 0 && left <= i64::try_from(LIMIT.as_millis())?, "{left}");
    let expected = RunRequest {
        call_id: "t-1/1/critique-1/guest".into(),
        agent_id: "guest".into(),
        stage: RunStage::Critique.into(),
        round: 1,
        shared: "You are one of three.\n".into(),
        ask: "Say \"what\" is to be done.".into(),
        form: RunForm::Critique.into(),
        model: "m".into(),
        temperature: 0.5,
        top_p: None,
        seed: Some(7),
        max_tokens: 2048,
        timeout_ms: 0,
        nonce: String::new(),
    };
    assert_eq!(asked, [expected]);
    // Nobody's key, and a stream that was read to its end.
    stand.until("the stream ends", LIMIT, |seen| seen.in_flight == 0).await?;
    assert!(stand.seen(|seen| seen.keys.iter().all(Option::is_none) && seen.cancelled == 0));
    Ok(())
}

#[tokio::test]
async fn a_runner_that_says_little_is_named_and_estimated() -> Result<()> {
    let bare = RunUpdate { update: Some(Update::Result(RunResult { text: "12345".into(), ..RunResult::default() })) };
    let stand = Stand::start(Manner::of(vec![bare], End::Ok)).await;
    let answer = model(settings()).complete(&proposal(&stand)).await?;
    assert_eq!((&*answer.model, answer.usage.completion), ("stand", 2));
    Ok(())
}

#[tokio::test]
async fn a_key_goes_to_its_runner_and_to_no_other() -> Result<()> {
    let (own, other) = (Stand::start(Manner::says("a")).await, Stand::start(Manner::says("a")).await);
    let key = RunnerKey { address: RunnerAddress::parse(&own.endpoint())?, key: Secret::new("sk-1") };
    let model = model(RunnerSettings { keys: vec![key], ..settings() });
    for stand in [&own, &other] {
        model.complete(&proposal(stand)).await?;
    }
    let bearer = Some("Bearer sk-1".to_owned());
    assert_eq!(own.seen(|seen| seen.keys.clone()), [bearer.clone(), bearer]);
    assert_eq!(other.seen(|seen| seen.keys.clone()), [None, None]);
    Ok(())
}

#[tokio::test]
async fn a_stage_that_a_runner_does_not_take_is_not_sent() -> Result<()> {
    let stand = Stand::start(Manner::says("a")).await;
    stand.describe(|said| said.stages = vec![RunStage::Propose.into()]);
    let model = model(settings());
    model.complete(&proposal(&stand)).await?;
    let refused = model.complete(&call(&stand.endpoint(), Stage::Critique)).await.unwrap_err();
    assert_eq!((refused.class, refused.attempts), (Class::Refused, 1));
    assert!(refused.message.contains("does not take calls of stage critique"), "{refused}");
    assert_eq!(stand.seen(|seen| seen.requests.len()), 1);
    Ok(())
}

#[tokio::test]
async fn a_runner_gets_no_more_calls_at_once_than_it_takes() -> Result<()> {
    let stand = Stand::start(Manner { pause: Duration::from_millis(5), ..Manner::says("a") }).await;
    stand.describe(|said| said.max_concurrent = 2);
    let model = model(settings());
    let calls: Vec<_> = (0..8).map(|_| proposal(&stand)).collect();
    for answer in futures::future::join_all(calls.iter().map(|call| model.complete(call))).await {
        answer?;
    }
    assert_eq!(stand.seen(|seen| (seen.requests.len(), seen.highest)), (8, 2));
    let states = model.states();
    assert_eq!((states[0].url.as_str(), states[0].requests, states[0].outstanding), (&*stand.endpoint(), 8, 0));
    Ok(())
}

#[tokio::test]
async fn progress_keeps_a_call_alive_for_longer_than_a_silence_may_last() -> Result<()> {
    let mut updates = vec![progress("still at it"); 10];
    updates.extend(Manner::says("a").updates);
    let pause = Duration::from_millis(250);
    let stand = Stand::start(Manner { pause, ..Manner::of(updates, End::Ok) }).await;
    let model = model(RunnerSettings { silence: Duration::from_secs(2), ..settings() });
    let answer = model.complete(&proposal(&stand)).await?;
    assert!(answer.duration > Duration::from_secs(2), "{answer:?}");
    Ok(())
}
