//! Waves that run: watched, asked about, heard of.

use std::time::Duration;

use futures::future::join_all;
use moothall::grpc::proto::moothall::v1::ExecutorAgentResult;
use moothall::ray::{AgentResult, RaySettings};
use moothall_actors::domain::answer::Class;
use moothall_actors::ports::executor::{Executor as _, Followed, WaveCall};

use super::stand::{Speaks, Stand, client, settings};
use super::{NAME, follow, follow_as, texts, wave};
use crate::place;
use crate::served::until;

const FIRST: &str = "agent-dev-001";
const SECOND: &str = "agent-dev-002";

const WAVE: &str = "t-1/propose-0";

fn result(agent: &str, text: &str) -> AgentResult {
    let (agent_id, content) = (agent.to_owned(), text.to_owned());
    AgentResult { agent_id, content, status: "completed".into(), ..AgentResult::default() }
}

#[tokio::test]
async fn a_watched_wave_is_told_as_it_comes_and_asked_about_never() {
    let stand = Stand::new();
    let served = stand.serve(place::any(), Speaks::Attend).await;
    let client = client(served.address, settings());
    client.submit(&wave(2)).await.unwrap();
    stand.answers(NAME, SECOND, "two");
    let following = follow(&client, wave(2));
    until("it is watched", || stand.seen().watches == 1).await;
    let (error, error_type) = ("slow".to_owned(), "timeout".to_owned());
    let failed = ExecutorAgentResult {
        agent_id: FIRST.into(),
        status: "failed".into(),
        error,
        error_type,
        ..Default::default()
    };
    stand.results(NAME, failed);
    stand.ends(NAME, "completed");
    let (told, followed) = following.await.unwrap();
    assert_eq!(followed, Followed::Ended);
    assert_eq!(told[FIRST].as_ref().unwrap_err().class, Class::TimedOut);
    assert_eq!(&*told[SECOND].as_ref().unwrap().text, "two");
    assert_eq!(stand.seen().looks, 0);
}

#[tokio::test]
async fn an_executor_of_the_contract_alone_is_asked_until_it_has_all() {
    let stand = Stand::new();
    let served = stand.serve(place::any(), Speaks::Contract).await;
    let client = client(served.address, settings());
    client.submit(&wave(2)).await.unwrap();
    let following = follow(&client, wave(2));
    until("it is asked about again and again", || stand.seen().looks > 2).await;
    stand.answers(NAME, FIRST, "one");
    stand.answers(NAME, SECOND, "two");
    let told = following.await.unwrap();
    assert_eq!(texts(&told), [(FIRST, "one"), (SECOND, "two")]);
    // It cannot be called back, and that is no fault.
    client.cancel(NAME).await;
    assert_eq!(stand.seen().watches, 0);
}

#[tokio::test]
async fn events_are_taken_when_they_come_first_and_ignored_after() {
    let stand = Stand::new();
    let served = stand.serve(place::any(), Speaks::Attend).await;
    let client = client(served.address, settings());
    client.submit(&wave(2)).await.unwrap();
    assert!(client.hear(WAVE, None, || result(FIRST, "early")).await.is_none(), "nobody follows it yet");
    let following = follow(&client, wave(2));
    until("it is watched", || stand.seen().watches == 1).await;
    assert!(client.hear(WAVE, Some(2), || result(FIRST, "another attempt's")).await.is_none());
    client.hear(WAVE, Some(1), || result(FIRST, "by event")).await.unwrap().await.unwrap();
    client.hear(WAVE, Some(1), || result(FIRST, "again")).await.unwrap().await.unwrap();
    stand.answers(NAME, FIRST, "by watching");
    client.hear(WAVE, None, || result(SECOND, "by event")).await.unwrap().await.unwrap();
    let told = following.await.unwrap();
    assert_eq!(texts(&told), [(FIRST, "by event"), (SECOND, "by event")]);
    assert!(client.hear(WAVE, None, || result(FIRST, "late")).await.is_none(), "nobody follows it any more");
}

#[tokio::test]
async fn a_wave_is_found_again_after_the_connection_broke() {
    let stand = Stand::new();
    let served = stand.serve(place::any(), Speaks::Attend).await;
    let address = served.address;
    let client = client(address, settings());
    client.submit(&wave(2)).await.unwrap();
    let following = follow(&client, wave(2));
    stand.answers(NAME, FIRST, "one");
    until("it is watched", || stand.seen().watches == 1).await;
    served.kill().await;
    stand.answers(NAME, SECOND, "two");
    let _again = stand.serve(address, Speaks::Attend).await;
    let told = following.await.unwrap();
    assert_eq!(texts(&told), [(FIRST, "one"), (SECOND, "two")]);
    assert_eq!(stand.seen().submits.len(), 1);
}

#[tokio::test]
async fn what_the_executor_has_forgotten_is_lost() {
    let stand = Stand::new();
    for speaks in [Speaks::Attend, Speaks::Watch, Speaks::Contract] {
        let served = stand.serve(place::any(), speaks).await;
        let client = client(served.address, settings());
        let (told, followed) = follow(&client, wave(1)).await.unwrap();
        assert_eq!((told.len(), followed), (0, Followed::Ended), "whoever asked hears that nothing came");
    }
}

#[tokio::test]
async fn silence_is_looked_into_and_one_that_stands_still_is_given_up() {
    let stand = Stand::new();
    let served = stand.serve(place::any(), Speaks::Attend).await;
    let quick = Duration::from_millis(100);
    let quick = RaySettings { answer_within: quick, look_every: quick, away_limit: 4 * quick, ..settings() };
    let client = client(served.address, quick);
    client.submit(&wave(2)).await.unwrap();
    let following = follow(&client, wave(2));
    stand.answers(NAME, FIRST, "one");
    until("the silence is looked into", || stand.seen().looks > 1).await;
    assert_eq!(stand.seen().watches, 1, "what is silent is not broken");
    stand.seen().hangs = true;
    let (told, followed) = following.await.unwrap();
    let Followed::Away { why } = followed else { panic!("it is away") };
    assert!(told.contains_key(FIRST) && told.len() == 1 && why.contains("no answer within"), "{told:?}, {why}");
}

#[tokio::test]
async fn calling_back_is_tried_until_it_is_heard() {
    let stand = Stand::new();
    let served = stand.serve(place::any(), Speaks::Attend).await;
    let address = served.address;
    let client = client(address, settings());
    client.submit(&wave(1)).await.unwrap();
    served.kill().await;
    let calling = tokio::spawn({
        let client = client.clone();
        async move { client.cancel(NAME).await }
    });
    until("it is known to be away", || client.state().is_some_and(|state| state != moothall::ray::RayState::Healthy))
        .await;
    let _again = stand.serve(address, Speaks::Attend).await;
    calling.await.unwrap();
    assert_eq!(stand.seen().cancelled, [NAME]);
}

/// Each watch is heard to its end, and none of them breaks the connection.
#[tokio::test]
async fn thousands_of_waves_go_over_one_connection() {
    const WAVES: usize = 1_500;
    let stand = Stand::new();
    let served = stand.serve(place::any(), Speaks::Watch).await;
    let client = client(served.address, settings());
    client.submit(&wave(1)).await.unwrap();
    stand.answers(NAME, FIRST, "one");
    stand.ends(NAME, "completed");
    for _ in 0..WAVES {
        let told = follow(&client, wave(1)).await.unwrap();
        assert_eq!(texts(&told), [(FIRST, "one")]);
    }
    assert_eq!(stand.seen().watches, WAVES, "no watch was broken");
    assert_eq!(stand.seen().connections.len(), 1);
}

#[tokio::test]
async fn waves_at_once_share_one_stream_and_its_messages() {
    const WAVES: u32 = 300;
    let stand = Stand::new();
    let served = stand.serve(place::any(), Speaks::Attend).await;
    let client = client(served.address, settings());
    let waves: Vec<_> = (1..=WAVES).map(|attempt| WaveCall { attempt, ..wave(1) }).collect();
    let names = join_all(waves.iter().map(|wave| client.submit(wave))).await;
    let expected: Vec<_> = (1..=WAVES).map(|attempt| format!("{WAVE}#{attempt}")).collect();
    assert_eq!(names.iter().map(|name| &**name.as_ref().unwrap()).collect::<Vec<_>>(), expected);
    let heard = stand.seen().messages;
    assert!((1..100).contains(&heard), "{heard} messages for {WAVES} waves");
    let following: Vec<_> =
        waves.into_iter().zip(&expected).map(|(wave, name)| follow_as(&client, name, wave)).collect();
    until("all are watched", || stand.seen().watches == expected.len()).await;
    for name in &expected {
        stand.answers(name, FIRST, name);
        stand.ends(name, "completed");
    }
    for (following, name) in following.into_iter().zip(&expected) {
        assert_eq!(texts(&following.await.unwrap()), [(FIRST, name.as_str())]);
    }
    let seen = stand.seen();
    assert_eq!((seen.streams, seen.looks), (1, 0));
}

#[tokio::test]
async fn an_executor_without_the_stream_is_asked_for_each_wave() {
    let stand = Stand::new();
    let served = stand.serve(place::any(), Speaks::Watch).await;
    let client = client(served.address, settings());
    client.submit(&wave(1)).await.unwrap();
    let following = follow(&client, wave(1));
    stand.answers(NAME, FIRST, "one");
    stand.ends(NAME, "completed");
    assert_eq!(texts(&following.await.unwrap()), [(FIRST, "one")]);
    let seen = stand.seen();
    assert_eq!((seen.submits.len(), seen.watches, seen.streams, seen.looks), (1, 1, 0, 0));
}

/// Longer than any message that is read: the stream breaks at it, and brings the others' results all the same.
#[tokio::test]
async fn a_result_that_is_too_long_is_nobodys_and_the_others_are_told() {
    let stand = Stand::new();
    let served = stand.serve(place::any(), Speaks::Attend).await;
    let client = client(served.address, settings());
    client.submit(&wave(1)).await.unwrap();
    stand.answers(NAME, FIRST, &"x".repeat(17 * 1024 * 1024));
    let endless = follow(&client, wave(1));
    until("the stream broke, and was opened again", || stand.seen().streams > 2).await;
    let other = WaveCall { attempt: 2, ..wave(1) };
    let name = client.submit(&other).await.unwrap();
    stand.answers(&name, FIRST, "one");
    stand.ends(&name, "completed");
    assert_eq!(texts(&follow_as(&client, &name, other).await.unwrap()), [(FIRST, "one")]);
    assert!(!endless.is_finished(), "it may yet be answered in another way");
    client.hear(WAVE, Some(1), || result(FIRST, "by event")).await.unwrap().await.unwrap();
    assert_eq!(texts(&endless.await.unwrap()), [(FIRST, "by event")]);
}

/// More results than a wave has agents: nothing is kept of them, and other waves are told as ever.
#[tokio::test]
async fn an_executor_that_tells_too_much_of_one_wave_fills_nothing() {
    let stand = Stand::new();
    let served = stand.serve(place::any(), Speaks::Attend).await;
    let client = client(served.address, settings());
    client.submit(&wave(1)).await.unwrap();
    for number in 0..500 {
        stand.answers(NAME, &format!("nobody-{number}"), "noise");
    }
    let noisy = follow(&client, wave(1));
    until("it is told too much again and again", || stand.seen().watches > 2).await;
    let other = WaveCall { attempt: 2, ..wave(1) };
    let name = client.submit(&other).await.unwrap();
    stand.answers(&name, FIRST, "one");
    stand.ends(&name, "completed");
    assert_eq!(texts(&follow_as(&client, &name, other).await.unwrap()), [(FIRST, "one")]);
    noisy.abort();
    assert_eq!(stand.seen().streams, 1, "the stream holds");
}
