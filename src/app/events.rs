//! Events over NATS: what the configuration says, as the adapter wants it, and the adapter between inbox and outbox.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use moothall_actors::System;
use moothall_actors::ports::shared::SharedQueue;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::AppError;
use crate::config::{Config, NatsConfig};
use crate::http::Health;
use crate::intake::{EventInbox, Intake};
use crate::nats::{Auth, Drained, Nats, Settings, SettingsError, Start, Status, Tls};
use crate::outbox::{self, EventOutbox, Finals};
use crate::ray::RayExecutor;
use crate::store::SqliteJournal;

/// How long what is in hand and in flight may take at a stop.
const DRAIN: Duration = Duration::from_secs(5);

/// How events go, for whoever reports it; `None` = they are switched off.
pub(super) type Watch = Option<watch::Receiver<Status>>;

/// The adapter while the daemon runs, and the ends of runs from a queue that is shared.
pub(super) struct Events {
    nats: Option<Nats>,
    finals: Option<JoinHandle<()>>,
}

impl Events {
    /// Never waits for a server.
    pub(super) async fn begin(
        config: &Config,
        store: Arc<SqliteJournal>,
        (system, intake): (System, Intake),
        (shared, executor): (Option<Arc<dyn SharedQueue>>, Option<Arc<RayExecutor>>),
    ) -> Result<Self, AppError> {
        let facts = store.clone();
        if !config.nats.enabled {
            let finals = shared.map(|shared| tokio::spawn(Finals::unheard(shared, facts).run()));
            return Ok(Self { nats: None, finals });
        }
        let first_start = first_start(&store).await?;
        let settings = settings(&config.nats, store.store_id(), first_start)?;
        let outbox = EventOutbox::open(store, system.clone(), shared.is_some()).await.map_err(lost)?;
        let inbox = EventInbox::new(system, intake, executor);
        let nats = Nats::start(settings, Arc::new(inbox), Arc::new(outbox)).map_err(wrong)?;
        let finals = shared.map(|shared| tokio::spawn(Finals::new(shared, facts, nats.speaker()).run()));
        Ok(Self { nats: Some(nats), finals })
    }

    pub(super) fn watch(&self) -> Watch {
        self.nats.as_ref().map(Nats::status)
    }

    /// Before the journal is closed: what is in hand is still written.
    pub(super) async fn end(self) {
        // What is not out yet waits in the queue, for any daemon.
        self.finals.iter().for_each(JoinHandle::abort);
        let Some(nats) = self.nats else { return };
        if nats.drain(DRAIN).await == Drained::Cut {
            tracing::warn!("events in hand were given back, those in flight are looked for at the next start");
        }
    }
}

async fn first_start(store: &SqliteJournal) -> Result<Timestamp, AppError> {
    let created = store.reader().created_at().await.map_err(lost)?;
    Ok(Timestamp::from_millisecond(i64::try_from(created.0).unwrap_or(i64::MAX)).unwrap_or(Timestamp::UNIX_EPOCH))
}

/// Before anything new happens: from where events go out.
pub(super) async fn keep_place(config: &Config, store: &SqliteJournal) -> Result<(), AppError> {
    outbox::keep_place(store, config.nats.enabled).await.map_err(lost)
}

/// The adapter's settings for a store that was first started at this time.
pub(crate) fn settings(config: &NatsConfig, instance: &str, first_start: Timestamp) -> Result<Settings, AppError> {
    let servers = config.urls.iter().map(ToString::to_string).collect();
    let start = Start::parse(&config.start, first_start).map_err(wrong)?;
    let mut settings = Settings::new(servers, instance, start);
    settings.replicas = config.replicas;
    settings.envelope = config.envelope;
    settings.tls = Tls { required: false, roots: config.ca.clone(), client: config.client.clone() };
    settings.auth = config.credentials.clone().map_or(Auth::None, Auth::CredentialsFile);
    Ok(settings)
}

fn wrong(error: SettingsError) -> AppError {
    AppError::Configuration(error.to_string())
}

fn lost(error: moothall_actors::ports::JournalError) -> AppError {
    AppError::Start(moothall_actors::StartError::Journal(error))
}

/// One word on it, and all that is amiss.
pub(super) fn health(status: &watch::Receiver<Status>) -> Health {
    let status = status.borrow();
    let amiss: Vec<String> = status.degraded.iter().map(|(part, why)| format!("{part}: {why}")).collect();
    match (status.is_well(), amiss.is_empty()) {
        (true, _) => Health::Healthy,
        (false, true) => Health::Degraded("it is being looked at".into()),
        (false, false) => Health::Degraded(amiss.join("; ").into()),
    }
}
