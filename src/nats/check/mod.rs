//! What `moothall nats check` shows: what is there, what is missing, what this user may do. Changes nothing.

mod permission;
mod text;

use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::Context;
use serde::Serialize;
use tokio::time::timeout;

use super::connection;
use super::consumer::{filters, find};
use super::settings::{Settings, SettingsError};
use super::streams;
use super::subject::{CONSUMERS, ConsumerRow, STREAMS, StreamRow, lacking};

/// Shorter than a person waits.
const PATIENCE: Duration = Duration::from_secs(5);
/// Subjects that Moothall publishes to, for the question whether it may.
const PUBLISHES: &[&str] = &["orchestration.>", "agent.cmd.>"];
/// What the server's interface for streams and consumers needs.
const INTERFACE: &[&str] = &["$JS.API.>", "$JS.ACK.>"];

/// Why nothing could be looked at; its text holds no secret.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error("credentials: {0}")]
    Credentials(#[from] std::io::Error),
    #[error("no connection to {servers}: {why}")]
    Connection { servers: String, why: String },
}

/// What was found. Its text is for people, its JSON for programs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    pub server: String,
    pub version: String,
    /// At least 2.10.
    pub version_suffices: bool,
    pub jetstream: bool,
    /// The largest message that the server takes, in bytes.
    pub max_payload: usize,
    pub streams: Vec<StreamFound>,
    pub consumers: Vec<ConsumerFound>,
    /// `None` = the server does not tell.
    pub permissions: Option<Vec<Permission>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StreamFound {
    pub name: String,
    pub state: Found,
    /// Wanted subjects that it has not.
    pub lacking: Vec<String>,
    /// What differs from how Moothall would make it; no fault.
    pub differs: Vec<String>,
    pub messages: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConsumerFound {
    pub name: String,
    pub stream: String,
    pub state: Found,
    pub lacking: Vec<String>,
    /// Messages not delivered yet.
    pub pending: u64,
    /// Messages delivered and not acknowledged.
    pub unacknowledged: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Found {
    There,
    /// Moothall makes it at its start.
    Missing,
    Unknown(String),
}

/// Whether this user may publish to a subject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Permission {
    pub subject: String,
    pub allowed: bool,
}

impl Report {
    /// Missing streams and consumers are none: Moothall makes them.
    #[must_use]
    pub fn is_well(&self) -> bool {
        let unknown = |state: &Found| matches!(state, Found::Unknown(_));
        self.version_suffices
            && self.jetstream
            && !self.streams.iter().any(|stream| unknown(&stream.state) || !stream.lacking.is_empty())
            && !self.consumers.iter().any(|consumer| unknown(&consumer.state))
            && !self.permissions.iter().flatten().any(|permission| !permission.allowed)
    }
}

/// Connects once and looks; takes at most a few seconds per question. Fails only without a connection: what is wrong with
/// the rest is in the report.
pub async fn check(settings: &Settings) -> Result<Report, CheckError> {
    settings.check()?;
    let options = connection::options(settings).await?.connection_timeout(PATIENCE).max_reconnects(1);
    let failed = |why: String| CheckError::Connection { servers: settings.shown_servers(), why };
    let connected = timeout(PATIENCE * 2, options.connect(&settings.servers)).await;
    let client = connected.map_err(|_| failed("no answer".into()))?.map_err(|error| failed(error.to_string()))?;
    let report = report(settings, &client).await;
    // The process ends anyway.
    let _ = client.drain().await;
    Ok(report)
}

async fn report(settings: &Settings, client: &Client) -> Report {
    let js = async_nats::jetstream::new(client.clone());
    let info = client.server_info();
    let mut report = Report {
        server: info.server_name,
        version: info.version,
        version_suffices: client.is_server_compatible(2, 10, 0),
        jetstream: info.jetstream && js.query_account().await.is_ok(),
        max_payload: info.max_payload,
        streams: Vec::new(),
        consumers: Vec::new(),
        permissions: permission::permissions(client).await,
    };
    for row in STREAMS {
        report.streams.push(stream(&js, row, settings.replicas).await);
    }
    for row in CONSUMERS {
        report.consumers.push(consumer(&js, row, &settings.instance).await);
    }
    report
}

async fn stream(js: &Context, row: &StreamRow, replicas: usize) -> StreamFound {
    let nothing =
        |state| StreamFound { name: row.name.into(), state, lacking: Vec::new(), differs: Vec::new(), messages: 0 };
    let info = match streams::info(js, row.name).await {
        Ok(Some(info)) => info,
        Ok(None) => return nothing(Found::Missing),
        Err(why) => return nothing(Found::Unknown(why)),
    };
    let (have, want) = (&info.config, streams::config(row, replicas));
    let mut differs = Vec::new();
    if have.max_age != want.max_age {
        differs.push(format!("max age {:?}, not {:?}", have.max_age, want.max_age));
    }
    if have.max_messages != want.max_messages {
        differs.push(format!("max messages {}, not {}", have.max_messages, want.max_messages));
    }
    if have.num_replicas != want.num_replicas {
        differs.push(format!("replicas {}, not {}", have.num_replicas, want.num_replicas));
    }
    if have.duplicate_window != want.duplicate_window {
        differs.push(format!("duplicate window {:?}, not {:?}", have.duplicate_window, want.duplicate_window));
    }
    let lacking = lacking(&have.subjects, row.subjects).into_iter().map(Into::into).collect();
    StreamFound { lacking, differs, messages: info.state.messages, ..nothing(Found::There) }
}

async fn consumer(js: &Context, row: &ConsumerRow, instance: &str) -> ConsumerFound {
    let nothing = |state| ConsumerFound {
        name: row.name(instance),
        stream: row.stream.into(),
        state,
        lacking: Vec::new(),
        pending: 0,
        unacknowledged: 0,
    };
    // Where the stream is missing, the server says just that.
    match streams::info(js, row.stream).await {
        Ok(Some(_)) => {}
        Ok(None) => return nothing(Found::Missing),
        Err(why) => return nothing(Found::Unknown(why)),
    }
    match find(js, row, instance).await {
        Ok(None) => nothing(Found::Missing),
        Err(why) => nothing(Found::Unknown(why)),
        Ok(Some(found)) => {
            let info = found.cached_info();
            ConsumerFound {
                lacking: lacking(&filters(&info.config), row.subjects).into_iter().map(Into::into).collect(),
                pending: info.num_pending,
                unacknowledged: info.num_ack_pending,
                ..nothing(Found::There)
            }
        }
    }
}
