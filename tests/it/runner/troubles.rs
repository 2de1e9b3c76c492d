//! Runners as they are: full, broken, silent, gone. What comes of it is a classed failure with its cause, and it heals.

use std::time::Duration;

use anyhow::Result;
use moothall::grpc::proto::moothall::v1::run_update::Update;
use moothall::grpc::proto::moothall::v1::{RunResult, RunUpdate};
use moothall::runner::RunnerSettings;
use moothall::sim::{SimServer, SimSettings};
use moothall::vllm::{BreakerSettings, BreakerState};
use moothall_actors::domain::answer::Class;
use moothall_actors::domain::id::Stage;
use moothall_actors::ports::{Model as _, ModelCall};
use tokio::net::TcpListener;
use tokio::time::{Instant, timeout};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::stand::{End, Manner, Stand, progress};
use super::{LIMIT, call, model, proposal, settings};

fn result(text: String) -> RunUpdate {
    RunUpdate { update: Some(Update::Result(RunResult { text, ..RunResult::default() })) }
}

#[tokio::test]
async fn each_status_is_treated_as_its_class_says() -> Result<()> {
    let stand = Stand::start(Manner::says("a")).await;
    let model = model(RunnerSettings { breaker: never_open(), ..settings() });
    for (code, class, attempts) in [
        (Code::Unavailable, Class::Transient, 4),
        (Code::Internal, Class::Transient, 4),
        (Code::Cancelled, Class::Transient, 4),
        (Code::ResourceExhausted, Class::Busy, 4),
        (Code::DeadlineExceeded, Class::TimedOut, 1),
        (Code::InvalidArgument, Class::Invalid, 1),
        (Code::Unauthenticated, Class::Refused, 1),
        (Code::PermissionDenied, Class::Refused, 1),
        (Code::Unimplemented, Class::Refused, 1),
        (Code::NotFound, Class::Refused, 1),
    ] {
        stand.set(Manner::fails(Status::new(code, "as told")));
        let failure = model.complete(&proposal(&stand)).await.unwrap_err();
        assert_eq!((failure.class, failure.attempts), (class, attempts), "{code:?}: {failure}");
        assert!(failure.message.contains("as told") && failure.message.contains("grpc://"), "{failure}");
    }
    Ok(())
}

fn never_open() -> BreakerSettings {
    BreakerSettings { failures: 1_000, ..RunnerSettings::default().breaker }
}

#[tokio::test]
async fn a_full_runner_is_asked_again_when_it_said() -> Result<()> {
    let delay = Duration::from_millis(700);
    let details = ErrorDetails::with_retry_info(Some(delay));
    let full = Status::with_error_details(Code::ResourceExhausted, "full", details);
    let stand = Stand::start(Manner::fails(full)).await;
    let started = Instant::now();
    let once = ModelCall { most_attempts: 2, ..proposal(&stand) };
    let failure = model(settings()).complete(&once).await.unwrap_err();
    assert_eq!((failure.class, failure.attempts, failure.retry_after), (Class::Busy, 2, Some(delay)));
    assert!(started.elapsed() >= delay);
    Ok(())
}

#[tokio::test]
async fn an_answer_that_is_none_is_trouble() -> Result<()> {
    let stand = Stand::start(Manner::says("a")).await;
    let model = model(RunnerSettings { breaker: never_open(), ..settings() });
    let mebibyte = 1 << 20;
    for (updates, class, cause) in [
        (vec![], Class::Transient, "ended without a result"),
        (vec![progress("almost")], Class::Transient, "ended without a result"),
        (vec![result(" \n".into())], Class::Transient, "its text is empty"),
        (vec![result("x".repeat(mebibyte + 1))], Class::Refused, "more than 1048576 bytes"),
        (vec![result("x".repeat(2 * mebibyte))], Class::Refused, "OUT_OF_RANGE"),
        (vec![progress(&"x".repeat(mebibyte)); 17], Class::Refused, "its updates have more than"),
    ] {
        stand.set(Manner::of(updates, End::Ok));
        let failure = model.complete(&proposal(&stand)).await.unwrap_err();
        assert_eq!(failure.class, class, "{cause}: {failure}");
        assert!(failure.message.contains(cause), "{cause}: {failure}");
    }
    Ok(())
}

#[tokio::test]
async fn a_silent_runner_is_timed_out_once_and_told_to_stop() -> Result<()> {
    for manner in [Manner::hangs(), Manner::of(vec![progress("and then nothing")], End::Hangs)] {
        let stand = Stand::start(manner).await;
        let model = model(RunnerSettings { silence: Duration::from_millis(300), ..settings() });
        let failure = model.complete(&proposal(&stand)).await.unwrap_err();
        assert_eq!((failure.class, failure.attempts), (Class::TimedOut, 1), "{failure}");
        assert!(failure.message.contains("silent for 300ms"), "{failure}");
        stand.until("it is told", LIMIT, |seen| (seen.in_flight, seen.cancelled) == (0, 1)).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_call_that_is_dropped_ends_at_the_runner_within_a_second() -> Result<()> {
    for manner in [Manner::hangs(), Manner::of(vec![progress("begun")], End::Hangs)] {
        let stand = Stand::start(manner).await;
        let model = model(settings());
        let asked = proposal(&stand);
        let course = tokio::spawn(async move { model.complete(&asked).await });
        stand.until("it is asked", LIMIT, |seen| seen.in_flight == 1).await?;
        course.abort();
        stand.until("it is told", Duration::from_secs(1), |seen| seen.cancelled == 1).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_runner_that_takes_connections_and_says_nothing_is_timed_out() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let mute = format!("grpc://{}", listener.local_addr()?);
    let hurried = ModelCall { timeout: Duration::from_millis(300), ..call(&mute, Stage::Propose) };
    let failure = timeout(LIMIT, model(settings()).complete(&hurried)).await?.unwrap_err();
    assert_eq!(failure.class, Class::TimedOut, "{failure}");
    Ok(())
}

#[tokio::test]
async fn what_is_no_runner_is_a_failure_with_its_cause() -> Result<()> {
    let model = model(settings());
    let web = SimServer::start(SimSettings::default()).await?;
    let failure = model.complete(&call(&format!("grpc://{}", web.addr()), Stage::Propose)).await.unwrap_err();
    assert_eq!((failure.class, failure.attempts), (Class::Transient, 4), "{failure}");
    let foreign = model.complete(&call("grpc://10.0.0.1:7000", Stage::Propose)).await.unwrap_err();
    assert_eq!((foreign.class, foreign.attempts), (Class::Refused, 0), "{foreign}");
    assert!(foreign.message.contains("agents.allowed_endpoints"), "{foreign}");
    Ok(())
}

#[tokio::test]
async fn a_plain_runner_is_not_met_with_tls() -> Result<()> {
    let stand = Stand::start(Manner::says("a")).await;
    let endpoint = stand.endpoint().replace("grpc://", "grpcs://");
    let failure = model(settings()).complete(&call(&endpoint, Stage::Propose)).await.unwrap_err();
    assert_eq!(failure.class, Class::Transient, "{failure}");
    assert_eq!(stand.seen(|seen| seen.keys.len()), 0);
    Ok(())
}

#[tokio::test]
async fn a_runner_that_is_gone_is_left_alone_and_taken_back_when_it_returns() -> Result<()> {
    let stand = Stand::start(Manner::says("before")).await;
    let model = model(settings());
    let asked = proposal(&stand);
    model.complete(&asked).await?;
    let address = stand.kill();
    for _ in 0..2 {
        let failure = model.complete(&asked).await.unwrap_err();
        assert_eq!(failure.class, Class::Transient, "{failure}");
    }
    let state = model.states().remove(0);
    assert_eq!(state.breaker, BreakerState::Open);
    assert!(state.last_failure.is_some_and(|why| why.contains("refused")));

    let back = Stand::start_at(address, Manner::says("after")).await;
    let end = Instant::now() + LIMIT;
    let answer = loop {
        match model.complete(&asked).await {
            Ok(answer) => break answer,
            Err(failure) => assert!(Instant::now() < end, "{failure}"),
        }
        tokio::task::yield_now().await;
    };
    assert_eq!((&*answer.text, back.seen(|seen| seen.requests.len())), ("after", 1));
    Ok(())
}

#[tokio::test]
async fn a_call_in_flight_is_made_again_at_the_runner_that_took_the_place() -> Result<()> {
    let stand = Stand::start(Manner::hangs()).await;
    let retry = moothall::vllm::Retry { times: 20, first: Duration::from_millis(50), last: Duration::from_millis(200) };
    let model = model(RunnerSettings { retry, breaker: never_open(), ..settings() });
    let asked = ModelCall { most_attempts: 100, ..proposal(&stand) };
    let course = tokio::spawn(async move { model.complete(&asked).await });
    stand.until("it is asked", LIMIT, |seen| seen.in_flight == 1).await?;
    let back = Stand::start_at(stand.kill(), Manner::says("after")).await;
    let answer = timeout(LIMIT, course).await???;
    assert_eq!(&*answer.text, "after");
    assert_eq!(back.seen(|seen| seen.requests[0].call_id.clone()), "t-1/1/propose-0/guest");
    Ok(())
}
