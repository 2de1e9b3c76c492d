//! What can be set, with the defaults, and what of it is refused.

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;

use crate::backoff::Backoff;

/// Everything this adapter is told. Its `Debug` leaves out what is secret.
#[derive(Clone)]
pub struct Settings {
    /// `nats://`, `tls://`, `ws://` or `wss://`, one or more of one cluster; may hold a user and a password.
    pub servers: Vec<String>,
    /// Shown by the server among its connections.
    pub name: String,
    /// This instance, for the durables that are not shared: letters, digits, `-` and `_`. The store's id.
    pub instance: String,
    pub auth: Auth,
    pub tls: Tls,
    /// Where new consumers start.
    pub start: Start,
    /// Copies of each stream that Moothall creates: 1, 3 or 5, and no more than the cluster has servers.
    pub replicas: usize,
    /// Whether events go out in the envelope.
    pub envelope: bool,
    /// Between two tries to connect.
    pub reconnect: Backoff,
    /// A server that does not answer so long is asked whether it is there; the second silence is a lost connection.
    pub ping_every: Duration,
    /// How long any one request to the server may take.
    pub request_timeout: Duration,
    pub consume: Consume,
    pub publish: Publish,
}

/// How messages are taken in.
#[derive(Clone, Debug)]
pub struct Consume {
    /// Most messages in hand per consumer. They wait for the disk together: the more, the more of them share a write.
    pub in_hand: usize,
    /// Nothing more is pulled while those in hand have so many bytes; a pause holds them.
    pub in_hand_bytes: usize,
    /// Most messages of one pull: so many of the server's `max_payload` may come on top of the bytes above.
    pub a_pull: usize,
    /// The server delivers again what is not acknowledged so long; a handling that lasts says so three times in it. Given
    /// to durables that are made; one that exists keeps its own, and that one is then kept to.
    pub ack_wait: Duration,
    /// Most unacknowledged ones per consumer, those that wait for another try included.
    pub max_ack_pending: i64,
    /// How long one pull waits at the server for messages.
    pub pull_wait: Duration,
    /// A larger message is a format error, in bytes.
    pub max_message: usize,
    /// Until the next try, after so many own failed handlings.
    pub later: Backoff,
    /// So many own failures make a dead letter. They are counted in memory, so that a restart begins again at none.
    pub most_failures: u32,
    /// Between two tries while journal or queue is down.
    pub unavailable: Backoff,
    /// The server forgets an instance's own consumers when nobody pulled from them so long.
    pub inactive_threshold: Duration,
}

/// How events go out.
#[derive(Clone, Debug)]
pub struct Publish {
    /// Most publications sent and not acknowledged, of different keys.
    pub in_flight: usize,
    /// Most publications read ahead of the oldest that is not out.
    pub ahead: usize,
    /// How long the server may take to store one.
    pub ack_timeout: Duration,
    /// How often the cursor is saved while there is something new to save.
    pub save_every: Duration,
    /// A subject that no stream takes is refused after so long.
    pub patience: Duration,
    /// The longest text in a payload, in bytes.
    pub longest_text: usize,
    /// Between two tries: of a publication that was not stored, of an outbox that cannot be reached.
    pub retry: Backoff,
}

/// Who we are; beside what the address says.
#[derive(Clone, Default)]
pub enum Auth {
    #[default]
    None,
    CredentialsFile(PathBuf),
    User {
        user: String,
        password: String,
    },
    Token(String),
}

/// Secrets stay out of logs.
impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::CredentialsFile(path) => write!(f, "CredentialsFile({})", path.display()),
            Self::User { user, .. } => write!(f, "User({user})"),
            Self::Token(_) => f.write_str("Token"),
        }
    }
}

/// For `tls://` and `wss://` addresses.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// Even where the address does not ask for it.
    pub required: bool,
    /// PEM; instead of the system's roots.
    pub roots: Option<PathBuf>,
    /// PEM: certificate and key of this client.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// Where a consumer that is created now starts in its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// What is no older.
    At(Timestamp),
    All,
}

impl Start {
    /// `first_start`, `all`, or a time in RFC 3339; `first_start` is when this store was first started.
    pub fn parse(text: &str, first_start: Timestamp) -> Result<Self, SettingsError> {
        match text {
            "first_start" => Ok(Self::At(first_start)),
            "all" => Ok(Self::All),
            time => time.parse().map(Self::At).map_err(|_| SettingsError::Start(time.to_owned())),
        }
    }
}

/// Which setting cannot work, and why; its text holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    #[error("nats.start is {0:?}, not first_start, all or a time like 2026-01-02T03:04:05Z")]
    Start(String),
    #[error("no NATS server is named")]
    NoServer,
    #[error("{address:?} is no address of a NATS server: {why}")]
    Address { address: String, why: String },
    #[error("the instance {0:?} may hold only letters, digits, - and _, and not be empty")]
    Instance(String),
    #[error("{0} must not be zero")]
    Zero(&'static str),
}

impl Settings {
    /// The defaults, for these servers.
    #[must_use]
    pub fn new(servers: Vec<String>, instance: impl Into<String>, start: Start) -> Self {
        Self {
            servers,
            name: "moothall".into(),
            instance: instance.into(),
            auth: Auth::None,
            tls: Tls::default(),
            start,
            replicas: 1,
            envelope: true,
            reconnect: Backoff { first: Duration::from_millis(100), most: Duration::from_secs(10) },
            ping_every: Duration::from_secs(10),
            request_timeout: Duration::from_secs(5),
            consume: Consume::default(),
            publish: Publish::default(),
        }
    }

    /// Without what is secret in them.
    pub(super) fn shown_servers(&self) -> String {
        self.servers.iter().map(|address| without_secret(address)).collect::<Vec<_>>().join(", ")
    }

    /// What can be known without a server. The error names the first setting that cannot work.
    pub fn check(&self) -> Result<(), SettingsError> {
        if self.servers.is_empty() {
            return Err(SettingsError::NoServer);
        }
        for address in &self.servers {
            address.parse::<async_nats::ServerAddr>().map_err(|error| SettingsError::Address {
                // The address may hold a password.
                address: without_secret(address),
                why: error.to_string(),
            })?;
        }
        let plain = |char: char| char.is_ascii_alphanumeric() || char == '-' || char == '_';
        if self.instance.is_empty() || !self.instance.chars().all(plain) {
            return Err(SettingsError::Instance(self.instance.clone()));
        }
        let zeros = [
            ("reconnect.first", self.reconnect.first.is_zero()),
            ("ping_every", self.ping_every.is_zero()),
            ("request_timeout", self.request_timeout.is_zero()),
            ("consume.in_hand", self.consume.in_hand == 0),
            ("consume.in_hand_bytes", self.consume.in_hand_bytes == 0),
            ("consume.a_pull", self.consume.a_pull == 0),
            ("consume.ack_wait", self.consume.ack_wait.is_zero()),
            ("consume.most_failures", self.consume.most_failures == 0),
            ("consume.pull_wait", self.consume.pull_wait.is_zero()),
            ("consume.max_message", self.consume.max_message == 0),
            ("consume.unavailable.first", self.consume.unavailable.first.is_zero()),
            ("publish.in_flight", self.publish.in_flight == 0),
            ("publish.ahead", self.publish.ahead == 0),
            ("publish.ack_timeout", self.publish.ack_timeout.is_zero()),
            ("publish.save_every", self.publish.save_every.is_zero()),
            ("publish.retry.first", self.publish.retry.first.is_zero()),
        ];
        zeros.iter().find(|(_, zero)| *zero).map_or(Ok(()), |(what, _)| Err(SettingsError::Zero(what)))
    }
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("servers", &self.shown_servers())
            .field("name", &self.name)
            .field("instance", &self.instance)
            .field("auth", &self.auth)
            .field("tls", &self.tls)
            .field("start", &self.start)
            .field("replicas", &self.replicas)
            .field("envelope", &self.envelope)
            .field("reconnect", &self.reconnect)
            .field("ping_every", &self.ping_every)
            .field("request_timeout", &self.request_timeout)
            .field("consume", &self.consume)
            .field("publish", &self.publish)
            .finish()
    }
}

impl Default for Consume {
    fn default() -> Self {
        Self {
            in_hand: 256,
            in_hand_bytes: 32 * 1024 * 1024,
            a_pull: 64,
            ack_wait: Duration::from_secs(30),
            max_ack_pending: 1_000,
            pull_wait: Duration::from_secs(5),
            max_message: 8 * 1024 * 1024,
            later: Backoff { first: Duration::from_secs(1), most: Duration::from_secs(60) },
            most_failures: 10,
            unavailable: Backoff { first: Duration::from_millis(200), most: Duration::from_secs(5) },
            inactive_threshold: Duration::from_secs(3_600),
        }
    }
}

impl Default for Publish {
    fn default() -> Self {
        Self {
            in_flight: 256,
            ahead: 1_024,
            ack_timeout: Duration::from_secs(5),
            save_every: Duration::from_secs(1),
            patience: Duration::from_secs(30),
            longest_text: super::cut::LONGEST_TEXT,
            retry: Backoff { first: Duration::from_millis(200), most: Duration::from_secs(10) },
        }
    }
}

/// Scheme and host alone.
fn without_secret(address: &str) -> String {
    match (address.split_once("://"), address.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
        (None, Some((_, host))) => host.to_owned(),
        (_, None) => address.to_owned(),
    }
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
