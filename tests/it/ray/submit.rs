//! Waves on their way to the executor.

use std::time::Duration;

use futures::future::join_all;
use moothall::ray::{RaySettings, RayState};
use moothall_actors::domain::answer::Class;
use moothall_actors::ports::executor::{Executor as _, NotTaken, WaveCall};
use tonic::Status;

use super::stand::{Speaks, Stand, client, settings};
use super::{NAME, wave};
use crate::place;
use crate::served::until;

#[tokio::test]
async fn a_wave_is_handed_over_whole_and_may_be_handed_over_again() {
    let stand = Stand::new();
    let served = stand.serve(place::any(), Speaks::Attend).await;
    let client = client(served.address, settings());
    assert_eq!(client.state(), None, "nothing is connected before it is needed");
    for _ in 0..2 {
        assert_eq!(&*client.submit(&wave(3)).await.unwrap(), NAME);
    }
    let backlog = WaveCall { backlog: true, ..wave(1) };
    assert_eq!(&*client.submit(&backlog).await.unwrap(), NAME);
    let seen = stand.seen();
    assert_eq!((seen.submits.len(), seen.backlogs), (3, 1));
    assert_eq!(seen.submits[0], seen.submits[1], "the same wave has the same bytes");
    let first = &seen.submits[0];
    assert_eq!((first.agents.len(), &*first.vllm_url, &*first.vllm_model), (3, "http://gpu:8000", "m"));
    assert_eq!(first.agents[2].prompt_template, "shared\n---user---\nask 3");
    drop(seen);
    assert_eq!(client.state(), Some(RayState::Healthy));
}

#[tokio::test]
async fn an_executor_that_is_away_or_busy_is_waited_for() {
    let stand = Stand::new();
    let served = stand.serve(place::any(), Speaks::Attend).await;
    let address = served.address;
    let client = client(address, settings());
    stand.seen().refusals = [Status::unavailable("starting"), Status::resource_exhausted("full")].into();
    assert_eq!(&*client.submit(&wave(1)).await.unwrap(), NAME);
    served.kill().await;
    let (waiting, later) = (client.clone(), wave(1));
    let submitted = tokio::spawn(async move { waiting.submit(&later).await });
    until("it is known to be away", || matches!(client.state(), Some(RayState::Away { .. }))).await;
    let _again = stand.serve(address, Speaks::Attend).await;
    assert_eq!(&*submitted.await.unwrap().unwrap(), NAME);
    assert_eq!(client.state(), Some(RayState::Healthy));
}

#[tokio::test]
async fn one_that_stays_away_is_given_up_and_from_then_on_at_once() {
    let stand = Stand::new();
    let served = stand.serve(place::any(), Speaks::Attend).await;
    let client = client(served.address, RaySettings { away_limit: Duration::from_millis(300), ..settings() });
    served.kill().await;
    for _ in 0..2 {
        let NotTaken::Away { why } = client.submit(&wave(1)).await.unwrap_err() else { panic!("it is away") };
        assert!(why.contains("no connection"), "{why}");
    }
    assert!(client.probe().await.is_err());
    assert_eq!(stand.seen().submits.len(), 0);
}

#[tokio::test]
async fn one_that_stands_still_is_away() {
    let stand = Stand::new();
    stand.seen().hangs = true;
    let served = stand.serve(place::any(), Speaks::Attend).await;
    let quick =
        RaySettings { answer_within: Duration::from_millis(100), away_limit: Duration::from_millis(300), ..settings() };
    let client = client(served.address, quick);
    let NotTaken::Away { why } = client.submit(&wave(1)).await.unwrap_err() else { panic!("it is away") };
    assert!(why.ends_with("no answer within 100ms"), "{why}");
    stand.seen().hangs = false;
    assert_eq!(client.probe().await.as_deref(), Ok("healthy"), "asked anew, over a connection of its own");
    assert_eq!(client.state(), Some(RayState::Healthy));
}

#[tokio::test]
async fn what_is_refused_is_not_tried_again() {
    let stand = Stand::new();
    let served = stand.serve(place::any(), Speaks::Attend).await;
    let client = client(served.address, settings());
    for (status, class) in [
        (Status::invalid_argument("role is empty; agents: there are none"), Class::Invalid),
        (Status::permission_denied("no"), Class::Refused),
        (Status::unimplemented("no such method"), Class::Refused),
    ] {
        let message = status.message().to_owned();
        stand.seen().refusals = [status].into();
        let NotTaken::Refused(failure) = client.submit(&wave(1)).await.unwrap_err() else { panic!("it is there") };
        assert_eq!(failure.class, class);
        assert!(failure.message.contains(&message) && failure.message.contains(&served.address.to_string()));
    }
    assert_eq!(stand.seen().submits.len(), 3);
}

#[tokio::test]
async fn long_waves_share_no_message_and_the_longest_go_alone() {
    let stand = Stand::new();
    let served = stand.serve(place::any(), Speaks::Attend).await;
    let client = client(served.address, settings());
    let of_bytes = |attempt, bytes| {
        let mut wave = WaveCall { attempt, ..wave(1) };
        wave.calls[0].ask = "x".repeat(bytes).into();
        wave
    };
    let long: Vec<_> = (1..=3).map(|attempt| of_bytes(attempt, 600 * 1024)).collect();
    for submitted in join_all(long.iter().map(|wave| client.submit(wave))).await {
        submitted.unwrap();
    }
    assert_eq!(stand.seen().messages, 3);
    client.submit(&of_bytes(4, 3 * 1024 * 1024)).await.unwrap();
    let seen = stand.seen();
    assert_eq!((seen.messages, seen.submits.len()), (3, 4), "the last is a call of its own");
}
