//! The composition root: wires every adapter to the actor system, top to bottom, and takes it all down again.
//!
//! ```text
//!  listen ─▶ HTTP ─▶ journal ─▶ models, checks, prompts ─▶ actors ─▶ default councils ─▶ gRPC ─▶ ready
//!                                                                                                  │ signal
//!  exit 0 ◀─ close journal ◀─ end gRPC and HTTP ◀─ drain the actors ◀─ not ready any more ◀────────┘
//! ```

mod backlog;
mod bare;
mod clients;
mod councils;
mod events;
mod foreign;
mod health;
mod identity;
mod journal;
mod leap;
mod models;
mod prompts;
mod queue;
mod retention;
#[cfg(feature = "testing")]
mod sabotage;
mod settings;
mod sizes;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use moothall_actors::ports::executor::Executor;
use moothall_actors::ports::{ContextSource, JournalHealth, Ports};
use moothall_actors::{Fault, PromptError, StartError, System};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::checks::{PolicyError, TextChecks};
use crate::config::{Config, WorkflowsConfig};
use crate::grpc::ModelServers;
use crate::http::{Doors, Readiness, Stage, WorkflowDoor};
use crate::hub::{BuiltInHub, PhaseHub};
use crate::intake::Intake;
use crate::listen::listen;
use crate::store::{OpenError, SqliteJournal};
use crate::vllm::{VllmError, VllmModel};
use crate::{grpc, http, telemetry};

pub(crate) use self::bare::{Bare, bare, bare_queue};
pub(crate) use self::events::settings as nats_settings;
pub(crate) use self::prompts::built_in_prompts;

use self::clients::Clients;
use self::events::Events;
use self::identity::{SystemClock, UuidSource};
use self::journal::StoredJournal;
use self::models::Models;
use self::queue::Queue;

/// How long servers may take to answer what is open once the actors are down.
const GOODBYE: Duration = Duration::from_secs(5);

/// Why the daemon did not start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error("{what} cannot listen on {address}")]
    Listen {
        what: &'static str,
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
    #[error(transparent)]
    Store(#[from] OpenError),
    #[error("the model servers are not configured as they should be")]
    Model(#[from] VllmError),
    #[error(transparent)]
    Context(#[from] crate::context::StartError),
    #[error(transparent)]
    Executor(#[from] crate::ray::StartError),
    #[error(transparent)]
    Hub(#[from] crate::hub::HubStartError),
    #[error("the policy cannot be used")]
    Policy(#[from] PolicyError),
    #[error("the prompts cannot be used")]
    Prompts(#[from] PromptError),
    #[error("the prompts in {folder} cannot be read")]
    PromptFolder {
        folder: String,
        #[source]
        source: std::io::Error,
    },
    #[error("the configuration cannot be used: {0}")]
    Configuration(String),
    #[error("the actors did not start")]
    Start(#[from] StartError),
    #[error("the default councils cannot be made: {0}")]
    Councils(#[from] moothall_actors::error::SystemError),
    #[error("the journal is lost: {why}")]
    JournalLost { why: Arc<str>, exit_code: u8 },
    #[error("an actor can be neither used nor ended: {0:?}")]
    Fault(Fault),
    #[error("a server ended by itself: {0}")]
    Server(String),
}

impl AppError {
    /// As `sysexits` has them: 64 usage, 65 data, 69 unavailable, 70 internal, 74 input or output.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Listen { .. } | Self::Start(_) | Self::Councils(_) => 69,
            Self::Store(error) => error.exit_code(),
            Self::Model(_) | Self::Policy(_) | Self::Prompts(_) | Self::PromptFolder { .. } => 64,
            Self::Configuration(_) | Self::Context(_) | Self::Executor(_) | Self::Hub(_) => 64,
            Self::JournalLost { exit_code, .. } => *exit_code,
            Self::Fault(_) | Self::Server(_) => 70,
        }
    }
}

/// Where the daemon listens, once it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    pub grpc: SocketAddr,
    pub http: SocketAddr,
}

impl Addresses {
    fn of(grpc: &TcpListener, http: &TcpListener, config: &Config) -> Self {
        Self { grpc: bound(grpc, config.server.grpc), http: bound(http, config.server.http) }
    }
}

/// Runs the daemon until `stop` resolves, then drains it. `ready` is told the addresses once work is taken.
pub async fn run(
    config: Config,
    ready: impl FnOnce(Addresses),
    stop: impl Future<Output = ()>,
) -> Result<(), AppError> {
    let grpc_listener = open("gRPC", config.server.grpc)?;
    let http_listener = open("HTTP", config.server.http)?;
    let addresses = Addresses::of(&grpc_listener, &http_listener, &config);
    let (readiness, doors) = (Arc::new(Readiness::default()), Arc::new(Doors::default()));
    let (end, ended) = watch::channel(false);
    let http = serve_http(http_listener, (readiness.clone(), doors.clone()), ended.clone());

    let journal = Arc::new(StoredJournal::open(&config.store, config.retention).await?);
    let clock = retention::watch_clock(&journal.store()).await.map_err(StartError::Journal)?;
    let clients = Clients::new(&config)?;
    let queue = queue::open(&config, journal.clone(), journal.store().store_id())?;
    let shared = queue.shared.clone();
    let ports = ports(&config, journal.clone(), &clients, queue)?;
    let prompts = prompts::load(config.deliberation.prompts.as_deref())?;
    events::keep_place(&config, &journal.store()).await?;
    foreign::import(&journal.store(), &config.workflows).await.map_err(StartError::Journal)?;
    let system = System::start(ports, settings::system(&config, journal.store().store_id()), prompts).await?;
    councils::make_default(&system, &config).await?;
    doors.open_workflows(workflow_door(&system, &config.workflows, clients.built_in.clone()));

    let unreachable = health::watch(&clients);
    let models_standing = replica_states(clients.model.clone());
    let intake = Intake::new(system.clone(), settings::intake(&config));
    clients.built_in.open(system.clone(), intake.clone());
    let hub = clients.built_in.clone();
    let heard = (shared.clone(), clients.executor.clone());
    let events = Events::begin(&config, journal.store(), (system.clone(), intake.clone()), heard).await?;
    let watched = (unreachable, events.watch(), shared);
    readiness.observe(health::components(system.clone(), journal.store(), clients, watched));
    let standing = (readiness.clone(), models_standing);
    let settings = settings::grpc(&config);
    let serving =
        grpc::serve(grpc_listener, (system.clone(), intake), journal.clone(), standing, settings, until(ended));
    let grpc = tokio::spawn(serving);
    let pruning = retention::begin(journal.store(), config.retention, clock);
    let upkeep = [pruning, sizes::begin(journal.store()), backlog::begin(system.clone())];
    readiness.enter(Stage::Ready);
    warn_if_open(&config);
    ready(addresses);
    #[cfg(feature = "testing")]
    let _sabotage = sabotage::begin(&system)?;

    let outcome = tokio::select! {
        () = stop => Ok(()),
        fault = system.fault() => Err(AppError::Fault(fault)),
        lost = lost(journal.store()) => Err(lost),
    };
    readiness.enter(Stage::Draining);
    upkeep.iter().for_each(JoinHandle::abort);
    if outcome.is_ok() {
        let drained = system.drain(config.drain).await;
        if !drained.open.is_empty() {
            tracing::warn!(open = drained.open.len(), "runs are left in the journal and go on at the next start");
        }
    }
    hub.close();
    events.end().await;
    end.send_replace(true);
    say_goodbye(grpc, http).await;
    journal.close().await;
    outcome
}

fn ports(
    config: &Config,
    journal: Arc<StoredJournal>,
    Clients { model, runners, executor, context, hub, built_in }: &Clients,
    Queue { queue, shared }: Queue,
) -> Result<Ports, AppError> {
    Ok(Ports {
        hub: Some(Arc::new(PhaseHub::new(built_in.clone(), hub.clone()))),
        executor: executor.clone().map(|client| client as Arc<dyn Executor>),
        model: Arc::new(Models::new(model.clone(), runners.clone())),
        checks: Arc::new(TextChecks::configured(&config.checks)?),
        journal,
        queue,
        shared,
        context: context.clone().map(|client| client as Arc<dyn ContextSource>),
        clock: Arc::new(SystemClock),
        ids: Arc::new(UuidSource),
    })
}

fn replica_states(model: Arc<VllmModel>) -> ModelServers {
    Arc::new(move || model.replica_states())
}

fn open(what: &'static str, address: SocketAddr) -> Result<TcpListener, AppError> {
    listen(address).map_err(|source| AppError::Listen { what, address, source })
}

fn bound(listener: &TcpListener, asked: SocketAddr) -> SocketAddr {
    listener.local_addr().unwrap_or(asked)
}

fn workflow_door(system: &System, config: &WorkflowsConfig, hub: BuiltInHub) -> WorkflowDoor {
    WorkflowDoor { system: system.clone(), approval: config.approval.clone(), dispatch: config.dispatch, hub }
}

async fn until(mut ended: watch::Receiver<bool>) {
    // A sender that is gone has ended too.
    let _ = ended.wait_for(|ended| *ended).await;
}

fn serve_http(
    listener: TcpListener,
    (readiness, doors): (Arc<Readiness>, Arc<Doors>),
    ended: watch::Receiver<bool>,
) -> JoinHandle<std::io::Result<()>> {
    let render = Arc::new(|| telemetry::prometheus().map(|handle| handle.render()).unwrap_or_default());
    tokio::spawn(http::serve(listener, readiness, doors, render, until(ended)))
}

async fn say_goodbye(grpc: JoinHandle<Result<(), grpc::ServeError>>, http: JoinHandle<std::io::Result<()>>) {
    let stop = (grpc.abort_handle(), http.abort_handle());
    let both = async { (grpc.await, http.await) };
    if tokio::time::timeout(GOODBYE, both).await.is_err() {
        tracing::warn!("clients did not close their connections in time");
        stop.0.abort();
        stop.1.abort();
    }
}

/// Resolves when the journal can never be written again.
async fn lost(store: Arc<SqliteJournal>) -> AppError {
    let mut health = store.watch_health();
    let gone = health.wait_for(|health| matches!(health, JournalHealth::Lost { .. })).await;
    match gone.ok().map(|health| health.clone()) {
        Some(JournalHealth::Lost { why, exit_code }) => AppError::JournalLost { why, exit_code },
        _ => AppError::JournalLost { why: "its writer is gone".into(), exit_code: 74 },
    }
}

fn warn_if_open(config: &Config) {
    if config.server.is_open() {
        let address = config.server.grpc;
        tracing::warn!(%address, "OPEN TO OTHER MACHINES WITHOUT AUTHENTICATION: whoever reaches this port controls the daemon");
    }
}
