//! The adapter against a real server, which each test starts for itself and ends.

mod checks;
mod consume;
mod fake;
mod faults;
mod publish;
pub(crate) mod server;
mod stall;
mod trouble;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use moothall::backoff::Backoff;
use moothall::nats::{Nats, Settings, Start, Status};
use tokio::time::{Instant, sleep};

use fake::{FakeInbox, FakeOutbox};
use server::Server;

/// The longest that anything may take which is no limit of the adapter's own.
const LIMIT: Duration = Duration::from_secs(30);
/// Between two looks at a condition.
const LOOK: Duration = Duration::from_millis(10);

/// Returns when the claim has come true.
async fn until(what: &str, mut claim: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    let end = Instant::now() + LIMIT;
    while !claim().await? {
        anyhow::ensure!(Instant::now() < end, "not within {LIMIT:?}: {what}");
        sleep(LOOK).await;
    }
    Ok(())
}

/// A handling that panics as a test told it to must not end the others.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// The defaults with shorter waits: what they are is shown elsewhere.
fn settings(server: &Server) -> Settings {
    let mut settings = Settings::new(vec![server.url()], "one", Start::All);
    let quick = Backoff { first: millis(20), most: millis(200) };
    settings.reconnect = quick;
    settings.request_timeout = millis(2_000);
    settings.consume.later = Backoff { first: millis(20), most: millis(40) };
    settings.consume.unavailable = quick;
    settings.consume.pull_wait = millis(1_000);
    // A machine that stands still must not make the server deliver again, unless that is what a test is about.
    settings.consume.ack_wait = LIMIT * 4;
    settings.publish.retry = quick;
    settings.publish.ack_timeout = millis(1_000);
    settings.publish.save_every = millis(50);
    settings.publish.patience = millis(400);
    settings
}

/// A daemon's side and the adapter over it.
struct Daemon {
    nats: Nats,
    inbox: Arc<FakeInbox>,
    outbox: Arc<FakeOutbox>,
}

impl Daemon {
    fn start(settings: Settings) -> Result<Self> {
        let outbox = Arc::new(FakeOutbox::default());
        Self::start_with(settings, Arc::new(FakeInbox::new(&outbox)), outbox)
    }

    fn start_with(settings: Settings, inbox: Arc<FakeInbox>, outbox: Arc<FakeOutbox>) -> Result<Self> {
        let (to, from): (Arc<FakeInbox>, Arc<FakeOutbox>) = (Arc::clone(&inbox), Arc::clone(&outbox));
        Ok(Self { nats: Nats::start(settings, to, from)?, inbox, outbox })
    }

    fn status(&self) -> Status {
        self.nats.status().borrow().clone()
    }

    async fn well(&self) -> Result<()> {
        self.told("all is well", Status::is_well).await
    }

    async fn told(&self, what: &str, claim: impl Fn(&Status) -> bool) -> Result<()> {
        let told = until(what, async || Ok(claim(&self.status()))).await;
        anyhow::ensure!(told.is_ok(), "{what}: {:?}", self.status());
        Ok(())
    }

    /// Everything journaled is out or refused.
    async fn published(&self) -> Result<()> {
        let told = until("all is published", async || Ok(self.outbox.is_through())).await;
        anyhow::ensure!(told.is_ok(), "{:?} {:?}", self.status(), self.outbox);
        Ok(())
    }
}
