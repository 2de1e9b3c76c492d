//! What is made at the start, what is left alone, what is said of it.

use anyhow::Result;
use async_nats::jetstream::stream::Config;
use moothall::nats::{Auth, CONSUMERS, Found, Part, STREAMS, check};
use serde_json::json;

use super::server::Server;
use super::{Daemon, settings, until};

#[tokio::test]
async fn missing_streams_are_made_as_the_table_says() -> Result<()> {
    let server = Server::start().await?;
    let daemon = Daemon::start(settings(&server))?;
    daemon.well().await?;
    assert!(daemon.status().server.is_some_and(|server| server.contains("2.")));
    let js = server.js().await?;
    for row in STREAMS {
        let config = js.get_stream(row.name).await?.cached_info().config.clone();
        assert_eq!(config.subjects, row.subjects, "{}", row.name);
        assert_eq!((config.max_age, config.max_messages), (row.max_age, row.max_messages), "{}", row.name);
        assert_eq!((config.duplicate_window.as_secs(), config.num_replicas), (120, 1), "{}", row.name);
    }
    Ok(())
}

#[tokio::test]
async fn an_existing_stream_stays_and_what_it_lacks_is_named_until_it_has_it() -> Result<()> {
    let server = Server::start().await?;
    let js = server.js().await?;
    let old = Config {
        name: "AGENT_RESPONSES".into(),
        subjects: vec!["agent.response.>".into()],
        max_messages: 77,
        ..Config::default()
    };
    js.create_stream(old.clone()).await?;
    let daemon = Daemon::start(settings(&server))?;
    let part = Part::Stream("AGENT_RESPONSES".into());
    daemon
        .told("it is named", |status| status.degraded.get(&part).is_some_and(|why| why == "it lacks agent.responses.>"))
        .await?;
    server.send("agent.response.failed", json!({"task_id": "t", "agent_id": "a"}).to_string()).await?;
    until("the others arrive", async || Ok(daemon.inbox.count() == 1)).await?;
    let config = js.get_stream("AGENT_RESPONSES").await?.cached_info().config.clone();
    assert_eq!((config.subjects, config.max_messages), (old.subjects.clone(), 77));
    drop(daemon);
    // With the subject there, a new start asks for it as well, with the same durable.
    js.update_stream(Config { subjects: vec!["agent.response.>".into(), "agent.responses.>".into()], ..old }).await?;
    let daemon = Daemon::start(settings(&server))?;
    daemon.well().await?;
    server.send("agent.responses.failed", json!({"task_id": "t", "agent_id": "b"}).to_string()).await?;
    until("the plural arrives", async || Ok(daemon.inbox.count() == 1)).await?;
    server.settled("AGENT_RESPONSES", "moothall-agent-failed-one").await
}

#[tokio::test]
async fn a_stream_that_cannot_be_made_degrades_only_itself() -> Result<()> {
    let server = Server::start().await?;
    let taken = Config { name: "OTHER".into(), subjects: vec!["context.>".into()], ..Config::default() };
    server.js().await?.create_stream(taken).await?;
    let daemon = Daemon::start(settings(&server))?;
    let part = Part::Stream("CONTEXT".into());
    daemon
        .told("it is named", |status| {
            status.degraded.get(&part).is_some_and(|why| why.contains("cannot be made") && why.contains("overlap"))
        })
        .await?;
    server.send("planning.plan.approved", json!({"story_id": "s", "plan_id": "p"}).to_string()).await?;
    until("plans arrive", async || Ok(daemon.inbox.count() == 1)).await
}

#[tokio::test]
async fn a_server_without_jetstream_is_no_server_yet() -> Result<()> {
    let account = r#"accounts { PLAIN: { users: [ { user: "m", password: "p" } ] } }"#;
    let server = Server::start_with(account).await?;
    let mut settings = settings(&server);
    settings.auth = Auth::User { user: "m".into(), password: "p".into() };
    let report = check(&settings).await?;
    assert!(!report.jetstream && !report.is_well());
    let daemon = Daemon::start(settings)?;
    daemon
        .told("it says so", |status| status.connected && status.degraded.contains_key(&Part::Stream("CONTEXT".into())))
        .await
}

#[tokio::test]
async fn a_wrong_password_is_said_and_a_right_token_goes() -> Result<()> {
    let server = Server::start_with(r#"authorization { token: "right" }"#).await?;
    let with = |token: &str| {
        let mut settings = settings(&server);
        settings.auth = Auth::Token(token.into());
        settings
    };
    let wrong = Daemon::start(with("wrong"))?;
    wrong
        .told("it says so", |status| {
            status.degraded.get(&Part::Connection).is_some_and(|why| why.to_lowercase().contains("authorization"))
        })
        .await?;
    assert!(check(&with("wrong")).await.is_err());
    let right = Daemon::start(with("right"))?;
    right.well().await
}

#[tokio::test]
async fn a_credentials_file_that_is_missing_stops_no_start() -> Result<()> {
    let server = Server::start().await?;
    let mut settings = settings(&server);
    settings.auth = Auth::CredentialsFile(server.folder().join("nobody.creds"));
    let daemon = Daemon::start(settings)?;
    daemon
        .told("it says so", |status| {
            status.degraded.get(&Part::Connection).is_some_and(|why| why.contains("credentials"))
        })
        .await
}

#[tokio::test]
async fn one_that_is_dropped_leaves_no_connection() -> Result<()> {
    // With one left over there would be none for the next.
    let server = Server::start_with("max_connections: 1").await?;
    for _ in 0..2 {
        Daemon::start(settings(&server))?.well().await?;
    }
    Ok(())
}

#[tokio::test]
async fn the_check_tells_what_is_there_and_changes_nothing() -> Result<()> {
    let server = Server::start().await?;
    let report = check(&settings(&server)).await?;
    assert!(report.is_well(), "{report}");
    assert!(report.streams.iter().all(|stream| stream.state == Found::Missing));
    assert!(report.consumers.iter().all(|consumer| consumer.state == Found::Missing));
    assert!(server.js().await?.get_stream("CONTEXT").await.is_err());
    let daemon = Daemon::start(settings(&server))?;
    daemon.well().await?;
    for row in CONSUMERS {
        until("the durable is there", async || Ok(server.consumer(row.stream, &row.name("one")).await.is_ok())).await?;
    }
    let report = check(&settings(&server)).await?;
    assert!(report.is_well(), "{report}");
    assert_eq!((report.streams.len(), report.consumers.len()), (6, 8));
    assert!(report.streams.iter().all(|stream| stream.state == Found::There && stream.differs.is_empty()), "{report}");
    assert!(report.consumers.iter().all(|consumer| consumer.state == Found::There && consumer.lacking.is_empty()));
    assert!(report.permissions.iter().flatten().all(|permission| permission.allowed));
    let text = report.to_string();
    assert!(text.contains("stream MOOTHALL_DLQ: there, 0 messages\n"), "{text}");
    assert!(text.contains("consumer moothall-agent-failed-one of AGENT_RESPONSES: there, 0 pending"), "{text}");
    assert!(text.contains("may publish to moothall.dlq.>\n"), "{text}");
    Ok(())
}

#[tokio::test]
async fn the_check_names_what_is_not_permitted() -> Result<()> {
    let denied = r#"authorization { users: [
        { user: "m", password: "p", permissions: { publish: { deny: ["moothall.dlq.>"] } } } ] }"#;
    let server = Server::start_with(denied).await?;
    let mut settings = settings(&server);
    settings.auth = Auth::User { user: "m".into(), password: "p".into() };
    let report = check(&settings).await?;
    assert!(!report.is_well());
    assert!(report.to_string().contains("may not publish to moothall.dlq.>\n"), "{report}");
    assert!(report.to_string().contains("may publish to orchestration.>\n"), "{report}");
    Ok(())
}
