//! One connection for everything: made in the background, made again for ever, and told apart by a number.
//!
//! Each connection that comes about is an epoch. What depends on it (streams, consumers, the publisher's repair) starts
//! over in each, since between two of them the server may have lost or repeated anything.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_nats::{Client, ConnectOptions, Event, ServerError};
use tokio::sync::watch;
use tokio::time::sleep;

use super::phase::Phase;
use super::settings::{Auth, Settings};
use super::status::{Board, Part};

/// What the others see of the connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Link {
    pub(super) client: Option<Client>,
    pub(super) up: bool,
    /// Rises with each connection; 0 = there was none.
    pub(super) epoch: u64,
    /// Subjects that this connection may not publish to.
    pub(super) denied: Arc<BTreeSet<String>>,
}

impl Link {
    /// The client, while there is a connection.
    pub(super) fn live(&self) -> Option<(u64, Client)> {
        self.client.clone().filter(|_| self.up).map(|client| (self.epoch, client))
    }
}

/// Waits until there is a connection; `None` = the daemon stops first.
pub(super) async fn live(link: &watch::Receiver<Link>, phase: &watch::Receiver<Phase>) -> Option<(u64, Client)> {
    let mut link = link.clone();
    tokio::select! {
        biased;
        () = Phase::stopping(phase) => None,
        found = link.wait_for(|link| link.live().is_some()) => found.ok()?.live(),
    }
}

/// Returns when this epoch is over.
pub(super) async fn over(link: &watch::Receiver<Link>, epoch: u64) {
    // Without a sender there is no connection either.
    let _ = link.clone().wait_for(|link| !link.up || link.epoch != epoch).await;
}

/// Connects, however long it takes. Returns when there is a client, which from then on looks after itself.
pub(super) async fn connect(settings: Arc<Settings>, link: Arc<watch::Sender<Link>>, board: Board) {
    board.disconnected("not connected yet");
    let mut failures = 0;
    loop {
        match attempt(&settings, &link, &board).await {
            Ok(client) => {
                link.send_modify(|link| link.client = Some(client));
                return;
            }
            Err(why) => {
                failures += 1;
                board.disconnected(&why);
                sleep(settings.reconnect.after(failures)).await;
            }
        }
    }
}

async fn attempt(settings: &Settings, link: &Arc<watch::Sender<Link>>, board: &Board) -> Result<Client, String> {
    let options = options(settings).await.map_err(|error| format!("credentials: {error}"))?;
    let options = {
        let (link, board) = (Arc::clone(link), board.clone());
        options.event_callback(move |event| {
            happened(&event, &link, &board);
            std::future::ready(())
        })
    };
    options.retry_on_initial_connect().connect(&settings.servers).await.map_err(|error| error.to_string())
}

/// Without the callback; also for the check.
pub(super) async fn options(settings: &Settings) -> std::io::Result<ConnectOptions> {
    let reconnect = settings.reconnect;
    let mut options = ConnectOptions::new()
        .name(&settings.name)
        .ping_interval(settings.ping_every)
        .request_timeout(Some(settings.request_timeout))
        .require_tls(settings.tls.required)
        // The first try comes at once.
        .reconnect_delay_callback(move |attempts| {
            reconnect.after(u32::try_from(attempts.saturating_sub(1)).unwrap_or(u32::MAX))
        });
    if let Some(roots) = &settings.tls.roots {
        options = options.add_root_certificates(roots.clone());
    }
    if let Some((certificate, key)) = &settings.tls.client {
        options = options.add_client_certificate(certificate.clone(), key.clone());
    }
    match &settings.auth {
        Auth::None => Ok(options),
        Auth::CredentialsFile(path) => options.credentials_file(path).await,
        Auth::User { user, password } => Ok(options.user_and_password(user.clone(), password.clone())),
        Auth::Token(token) => Ok(options.token(token.clone())),
    }
}

/// What the client tells. It must not wait here: the client's events pass through a small queue.
fn happened(event: &Event, link: &watch::Sender<Link>, board: &Board) {
    match event {
        Event::Connected => {
            // First, so that no part is looked at before it counts as not looked at.
            board.connected();
            link.send_modify(|link| {
                link.up = true;
                link.epoch += 1;
                link.denied = Arc::default();
            });
        }
        Event::Disconnected | Event::Closed => {
            link.send_modify(|link| link.up = false);
            board.disconnected("connection lost");
        }
        Event::ServerError(ServerError::Other(text)) => server_said(text, link, board),
        Event::ServerError(error) => board.disconnected(&error.to_string()),
        Event::ClientError(error) => {
            if !link.borrow().up {
                board.disconnected(&error.to_string());
            }
        }
        Event::SlowConsumer(_) => tracing::warn!("NATS dropped messages of a slow subscription; they come again"),
        Event::LameDuckMode | Event::Draining => tracing::info!(%event, "NATS"),
    }
}

fn server_said(text: &str, link: &watch::Sender<Link>, board: &Board) {
    let Some(subject) = denied_subject(text) else {
        tracing::warn!(error = text, "the NATS server reports an error");
        return;
    };
    board.degraded(Part::Subject(subject.to_owned()), text);
    link.send_modify(|link| {
        Arc::make_mut(&mut link.denied).insert(subject.to_owned());
    });
}

/// `Permissions Violation for Publish to "subject"`, in any case.
fn denied_subject(text: &str) -> Option<&str> {
    let lower = text.to_ascii_lowercase();
    let at = lower.find("permissions violation for publish to \"")?;
    text.get(at..)?.split('"').nth(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denied_subject_is_read_from_the_servers_words() {
        let text = r#"Permissions Violation for Publish to "orchestration.task.failed""#;
        assert_eq!(denied_subject(text), Some("orchestration.task.failed"));
        assert_eq!(denied_subject(&text.to_lowercase()), Some("orchestration.task.failed"));
        assert_eq!(denied_subject(r#"Permissions Violation for Subscription to "a""#), None);
    }
}
