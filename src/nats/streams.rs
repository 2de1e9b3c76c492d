//! The streams: made where they are missing, left as they are where they exist, looked at again while one is not right.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::context::GetStreamErrorKind;
use async_nats::jetstream::stream::{Config, DiscardPolicy, Info, RetentionPolicy, StorageType};
use async_nats::jetstream::{Context, ErrorCode};
use tokio::sync::watch;
use tokio::time::sleep;

use super::connection::{self, Link};
use super::phase::Phase;
use super::settings::Settings;
use super::status::{Board, Part};
use super::subject::{STREAMS, StreamRow, lacking};
use crate::backoff::Backoff;

/// How long the server tells duplicates by their ids.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);
/// When all is right, somebody may still delete a stream.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
const WHILE_WRONG: Backoff = Backoff { first: Duration::from_millis(250), most: Duration::from_secs(30) };

/// What was found in one epoch: the subjects of each stream that is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Topology {
    pub(super) epoch: u64,
    pub(super) streams: BTreeMap<&'static str, Vec<String>>,
}

/// Looks after the streams of the table, and tells the others what they have.
pub(super) struct Keeper {
    pub(super) settings: Arc<Settings>,
    pub(super) link: watch::Receiver<Link>,
    pub(super) phase: watch::Receiver<Phase>,
    pub(super) topology: watch::Sender<Topology>,
    pub(super) board: Board,
}

impl Keeper {
    pub(super) async fn run(self) {
        while let Some((epoch, client)) = connection::live(&self.link, &self.phase).await {
            tokio::select! {
                () = connection::over(&self.link, epoch) => {}
                () = Phase::stopping(&self.phase) => return,
                () = self.keep(epoch, &client) => {}
            }
        }
    }

    async fn keep(&self, epoch: u64, client: &Client) {
        let js = async_nats::jetstream::new(client.clone());
        let mut failures = 0;
        loop {
            let found = self.ensure(epoch, &js).await;
            self.server(client);
            let complete = found.streams.len() == STREAMS.len();
            self.topology.send_if_modified(|topology| {
                let new = *topology != found;
                *topology = found;
                new
            });
            failures = if complete { 0 } else { failures + 1 };
            sleep(if complete { LOOK_AGAIN } else { WHILE_WRONG.after(failures) }).await;
        }
    }

    fn server(&self, client: &Client) {
        let Some(info) = client.try_server_info() else { return };
        self.board.server(format!("{} {}", info.server_name, info.version));
        if client.is_server_compatible(2, 10, 0) {
            self.board.well(&Part::Server);
        } else {
            self.board.degraded(Part::Server, format!("the server is {}, older than 2.10", info.version));
        }
    }

    async fn ensure(&self, epoch: u64, js: &Context) -> Topology {
        let mut found = Topology { epoch, ..Topology::default() };
        for row in STREAMS {
            let part = Part::Stream(row.name.into());
            match ensure(js, row, self.settings.replicas).await {
                Err(why) => self.board.degraded(part, why),
                Ok(subjects) => {
                    match lacking(&subjects, row.subjects)[..] {
                        [] => self.board.well(&part),
                        ref lacking => self.board.degraded(part, format!("it lacks {}", lacking.join(", "))),
                    }
                    found.streams.insert(row.name, subjects);
                }
            }
        }
        found
    }
}

/// The subjects of the stream, which is made if it is missing.
async fn ensure(js: &Context, row: &StreamRow, replicas: usize) -> Result<Vec<String>, String> {
    if let Some(info) = info(js, row.name).await? {
        return Ok(info.config.subjects);
    }
    let made = js.create_stream(config(row, replicas)).await;
    let made = made.map_err(|error| format!("it is missing and cannot be made: {error}"))?;
    tracing::info!(stream = row.name, "made a NATS stream");
    Ok(made.cached_info().config.subjects.clone())
}

/// `None` = there is no such stream.
pub(super) async fn info(js: &Context, name: &str) -> Result<Option<Info>, String> {
    match js.get_stream(name).await {
        Ok(stream) => Ok(Some(stream.cached_info().clone())),
        Err(error) => match error.kind() {
            GetStreamErrorKind::JetStream(answer) if answer.error_code() == ErrorCode::STREAM_NOT_FOUND => Ok(None),
            _ => Err(format!("it cannot be looked at: {error}")),
        },
    }
}

pub(super) fn config(row: &StreamRow, replicas: usize) -> Config {
    Config {
        name: row.name.into(),
        subjects: row.subjects.iter().map(|subject| (*subject).into()).collect(),
        max_age: row.max_age,
        max_messages: row.max_messages,
        retention: RetentionPolicy::Limits,
        storage: StorageType::File,
        discard: DiscardPolicy::Old,
        num_replicas: replicas,
        duplicate_window: DUPLICATE_WINDOW,
        ..Config::default()
    }
}
