//! The connection: made when somebody asks, again and again for ever, with growing pauses.
//!
//! One connection carries all calls of a daemon. Whoever finds it lost says so, and the next call makes another; while
//! the server is away calls fail at once instead of all trying.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use moothall_actors::ports::shared::QueueHealth as State;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ErrorKind, RedisError, RedisResult};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tracing::{info, warn};

use super::address::AddressError;
use super::place::random;
use super::settings::Settings;

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Why there is no connection, and when it is worth another try.
pub(super) struct Away {
    pub(super) why: Arc<str>,
    pub(super) retry_after: Duration,
}

/// A connection that worked when it was last used.
#[derive(Clone)]
pub(super) struct Live {
    pub(super) connection: MultiplexedConnection,
    /// The server's own id, new with each of its starts.
    pub(super) server: Arc<str>,
    number: u64,
}

/// Why the queue cannot be used: it cannot be reached, or not be trusted.
struct Troubles {
    reach: Option<Arc<str>>,
    trust: Option<Arc<str>>,
}

struct Attempts {
    made: u64,
    failures: u32,
    next: Instant,
}

pub(super) struct Link {
    client: Client,
    shown: String,
    patience: Duration,
    connect: Duration,
    live: Mutex<Option<Live>>,
    /// Held by the one who connects; the others wait for what comes of it.
    attempts: tokio::sync::Mutex<Attempts>,
    troubles: Mutex<Troubles>,
}

impl Link {
    pub(super) fn new(settings: &Settings) -> Result<Self, AddressError> {
        let troubles = Troubles { reach: Some("nobody has asked it yet".into()), trust: None };
        let attempts = Attempts { made: 0, failures: 0, next: Instant::now() };
        Ok(Self {
            client: Client::open(settings.address.info()).map_err(|_| AddressError::unusable())?,
            shown: settings.address.to_string(),
            patience: settings.patience,
            connect: settings.connect,
            live: Mutex::new(None),
            attempts: tokio::sync::Mutex::new(attempts),
            troubles: Mutex::new(troubles),
        })
    }

    /// Out of reach, or not to be trusted, or healthy.
    pub(super) fn state(&self) -> State {
        let troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        match troubles.reach.clone().or_else(|| troubles.trust.clone()) {
            Some(why) => State::Degraded { why },
            None => State::Healthy,
        }
    }

    pub(super) fn reach(&self, trouble: Option<Arc<str>>) {
        self.note(|troubles| troubles.reach = trouble);
    }

    pub(super) fn trust(&self, trouble: Option<Arc<str>>) {
        self.note(|troubles| troubles.trust = trouble);
    }

    /// Logs how it is when that is news.
    fn note(&self, change: impl FnOnce(&mut Troubles)) {
        let before = self.state();
        change(&mut self.troubles.lock().unwrap_or_else(PoisonError::into_inner));
        match self.state() {
            state if state == before => {}
            State::Healthy => info!(server = self.shown, "the queue can be used"),
            State::Degraded { why } => warn!(server = self.shown, %why, "the queue cannot be used"),
        }
    }

    fn away(&self, why: &str, retry_after: Duration) -> Away {
        let why: Arc<str> = why.into();
        self.reach(Some(why.clone()));
        Away { why, retry_after }
    }

    fn current(&self) -> Option<Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The connection, made anew if need be and if there is time for it.
    pub(super) async fn live(&self, deadline: Instant) -> Result<Live, Away> {
        if let Some(live) = self.current() {
            return Ok(live);
        }
        let waited = timeout_at(deadline, self.attempts.lock()).await;
        let Ok(mut attempts) = waited else { return Err(self.away("it does not answer", FIRST_PAUSE)) };
        loop {
            if let Some(live) = self.current() {
                return Ok(live);
            }
            if attempts.next >= deadline {
                return Err(self.still_away(attempts.next));
            }
            sleep_until(attempts.next).await;
            self.attempt(&mut attempts).await;
        }
    }

    fn still_away(&self, next: Instant) -> Away {
        let retry_after = next.saturating_duration_since(Instant::now());
        match self.state() {
            State::Degraded { why } => Away { why, retry_after },
            State::Healthy => self.away("the connection was lost", retry_after),
        }
    }

    async fn attempt(&self, attempts: &mut Attempts) {
        match timeout(self.connect, self.make()).await.unwrap_or_else(|_| Err(silent())) {
            Ok((connection, server)) => {
                attempts.made += 1;
                attempts.failures = 0;
                let live = Live { connection, server, number: attempts.made };
                *self.live.lock().unwrap_or_else(PoisonError::into_inner) = Some(live);
                self.reach(None);
            }
            Err(error) => {
                attempts.next = Instant::now() + pause(attempts.failures);
                attempts.failures = attempts.failures.saturating_add(1);
                self.reach(Some(error.to_string().into()));
            }
        }
    }

    async fn make(&self) -> RedisResult<(MultiplexedConnection, Arc<str>)> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.connect))
            .set_response_timeout(Some(self.patience));
        let mut connection = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        let server = ask(&mut connection, "server").await?;
        let replication = ask(&mut connection, "replication").await?;
        if field(&replication, "role") != Some("master") {
            return Err(RedisError::from((ErrorKind::Client, "the server is a replica")));
        }
        let server = field(&server, "run_id").map(Arc::from);
        let server =
            server.ok_or_else(|| RedisError::from((ErrorKind::Client, "the server does not say its run_id")))?;
        Ok((connection, server))
    }

    /// This connection is of no use any more; another may have taken its place already.
    pub(super) fn lost(&self, lost: &Live, why: &str) {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        if live.as_ref().is_some_and(|current| current.number == lost.number) {
            *live = None;
            self.reach(Some(why.into()));
        }
    }
}

async fn ask(connection: &mut MultiplexedConnection, section: &str) -> RedisResult<String> {
    redis::cmd("INFO").arg(section).query_async(connection).await
}

fn silent() -> RedisError {
    RedisError::from((ErrorKind::Io, "the server does not answer"))
}

fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
}

/// Before something is sent again over another connection.
pub(super) fn breath() -> Duration {
    pause(0)
}

/// Grows twofold; between half of it and all of it, so that daemons do not come back at once.
fn pause(failures: u32) -> Duration {
    let longest = FIRST_PAUSE.saturating_mul(1 << failures.min(16)).min(LONGEST_PAUSE);
    let share = u32::try_from(random() % 1_000).unwrap_or_default();
    longest / 2 + longest / 2 * share / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_differ() {
        for failures in 0..40 {
            let longest = FIRST_PAUSE.saturating_mul(1 << failures.min(16)).min(LONGEST_PAUSE);
            let pauses: Vec<Duration> = (0..50).map(|_| pause(failures)).collect();
            assert!(pauses.iter().all(|pause| *pause >= longest / 2 && *pause <= longest));
            assert!(pauses.iter().any(|pause| *pause != pauses[0]));
        }
    }

    #[test]
    fn what_the_server_says_of_itself_is_found_by_its_name() {
        let info = "# Server\r\nredis_version:7.0.15\r\nrun_id:abc\r\nrun_ids:d\r\n";
        assert_eq!((field(info, "run_id"), field(info, "run")), (Some("abc"), None));
    }
}
