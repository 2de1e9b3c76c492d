//! All of it, started and ended.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::connection::{self, Link};
use super::consumer::{Pump, Shared};
use super::gate::Gate;
use super::phase::Phase;
use super::port::{Inbox, Outbox};
use super::publisher::{Publisher, Speaker};
use super::settings::{Settings, SettingsError};
use super::status::{Board, Status};
use super::streams::{Keeper, Topology};
use super::subject::CONSUMERS;

/// To give back what is in hand, when the time of a drain is up.
const GIVE_BACK: Duration = Duration::from_secs(2);

/// Runs until it is drained; dropped, it ends at once, like a crash.
pub struct Nats {
    settings: Arc<Settings>,
    phase: watch::Sender<Phase>,
    link: Arc<watch::Sender<Link>>,
    tasks: JoinSet<()>,
    connecting: tokio::task::JoinHandle<()>,
    board: Board,
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Everything in hand was ended, everything in flight acknowledged.
    Clean,
    /// Time was up: what was in hand was given back, what was in flight is looked for at the next start.
    Cut,
}

impl Nats {
    /// Starts it; panics outside of a runtime. It never waits for a server: the status tells when there is one. Fails only
    /// on settings that cannot work.
    pub fn start(settings: Settings, inbox: Arc<dyn Inbox>, outbox: Arc<dyn Outbox>) -> Result<Self, SettingsError> {
        settings.check()?;
        let settings = Arc::new(settings);
        let board = Board::new();
        let (phase, link) = (watch::Sender::new(Phase::Running), Arc::new(watch::Sender::new(Link::default())));
        let topology = watch::Sender::new(Topology::default());
        let mut tasks = JoinSet::new();
        let gate = Gate::new(board.clone());
        let shared = Arc::new(Shared { settings: Arc::clone(&settings), inbox, gate, board: board.clone() });
        for row in CONSUMERS {
            let (topology, phase) = (topology.subscribe(), phase.subscribe());
            tasks.spawn(Pump::new(row, Arc::clone(&shared), link.subscribe(), topology, phase).run());
        }
        let publisher = Publisher {
            settings: Arc::clone(&settings),
            outbox,
            link: link.subscribe(),
            topology: topology.subscribe(),
            phase: phase.subscribe(),
            board: board.clone(),
        };
        tasks.spawn(publisher.run());
        let keeper = Keeper {
            settings: Arc::clone(&settings),
            link: link.subscribe(),
            phase: phase.subscribe(),
            topology,
            board: board.clone(),
        };
        tasks.spawn(keeper.run());
        let connecting = tokio::spawn(connection::connect(Arc::clone(&settings), Arc::clone(&link), board.clone()));
        Ok(Self { settings, phase, link, tasks, connecting, board })
    }

    /// Changes with everything worth showing.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Status> {
        self.board.watch()
    }

    /// For single events that do not come by the outbox.
    #[must_use]
    pub fn speaker(&self) -> Speaker {
        Speaker::new(Arc::clone(&self.settings), self.link.subscribe())
    }

    /// Begins nothing new, ends what is in hand and in flight, says goodbye to the server. Takes at most `limit` and six
    /// seconds more: to give back what is in hand, and for the last acknowledgements to leave.
    pub async fn drain(mut self, limit: Duration) -> Drained {
        self.connecting.abort();
        self.phase.send_replace(Phase::Draining);
        let mut drained = Drained::Clean;
        if timeout(limit, all(&mut self.tasks)).await.is_err() {
            drained = Drained::Cut;
            self.phase.send_replace(Phase::GivenUp);
            let _ = timeout(GIVE_BACK, all(&mut self.tasks)).await;
        }
        let live = self.link.borrow().live();
        if let Some((_, client)) = live {
            // The last acknowledgements are in the client's buffer.
            let _ = timeout(GIVE_BACK, client.flush()).await;
            let _ = timeout(GIVE_BACK, client.drain()).await;
        }
        drained
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        self.connecting.abort();
        self.phase.send_replace(Phase::GivenUp);
        // The client's events hold the link and the link holds the client: without this the connection would stay.
        self.link.send_modify(|link| {
            link.up = false;
            link.client = None;
        });
    }
}

async fn all(tasks: &mut JoinSet<()>) {
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "a part of the NATS adapter died");
        }
    }
}
