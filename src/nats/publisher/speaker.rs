//! Single events besides the outbox: what several daemons would tell, and one of them does.
//!
//! It keeps nothing: whoever speaks remembers what stands where, and looks again when the connection is another one.

use std::sync::Arc;

use async_nats::jetstream::context::ContextBuilder;
use tokio::sync::watch;
use tokio::time::timeout;
use uuid::Uuid;

use super::super::connection::Link;
use super::super::cursor::{Mark, Place};
use super::super::port::{Publication, Unavailable};
use super::super::settings::Settings;
use super::message::{Form, message};
use super::repair::{Extent, Streams as _, intact};
use super::tail::Server;

/// Where what happens to tasks is told.
const EVENTS: &str = "ORCHESTRATOR_EVENTS";

/// Publishes while there is a server.
#[derive(Clone)]
pub struct Speaker {
    settings: Arc<Settings>,
    link: watch::Receiver<Link>,
}

impl Speaker {
    pub(in super::super) fn new(settings: Arc<Settings>, link: watch::Receiver<Link>) -> Self {
        Self { settings, link }
    }

    /// Another number is another connection, and perhaps a server that has lost something since; `None` = there is none.
    #[must_use]
    pub fn connection(&self) -> Option<u64> {
        self.link.borrow().live().map(|(epoch, _)| epoch)
    }

    /// Whether what was published still stands where it stood. What aged out, or was deleted amid others, counts as there.
    pub async fn holds(&self, sequence: u64, event_id: Uuid) -> Result<bool, Unavailable> {
        let Some((_, client)) = self.link.borrow().live() else { return Err(no_connection()) };
        let server = Server(async_nats::jetstream::new(client));
        let extent = server.extent(EVENTS).await.map_err(Unavailable::new)?.unwrap_or(Extent { first: 1, last: 0 });
        let mark = Mark { stream: EVENTS.to_owned(), read_from: 0, last: Some(Place { sequence, event_id }) };
        intact(&server, &mark, extent).await.map_err(Unavailable::new)
    }

    /// Its place in the stream when this returns; again under the same id it stands there once, as long as the server's
    /// window for duplicates lasts. On an error it may stand there.
    pub async fn publish(&self, publication: &Publication) -> Result<u64, Unavailable> {
        let Some((_, client)) = self.link.borrow().live() else { return Err(no_connection()) };
        let form = Form {
            envelope: self.settings.envelope,
            longest_text: self.settings.publish.longest_text,
            max_payload: client.server_info().max_payload,
        };
        let message = message(publication, form).map_err(Unavailable::new)?;
        let js = ContextBuilder::new().timeout(self.settings.publish.ack_timeout).build(client);
        let sending = async { js.send_publish(publication.subject.clone(), message).await?.await };
        match timeout(self.settings.publish.ack_timeout, sending).await {
            Ok(Ok(ack)) => Ok(ack.sequence),
            Ok(Err(error)) => Err(Unavailable::new(error.to_string())),
            Err(_) => Err(Unavailable::new("the server did not acknowledge in time")),
        }
    }
}

fn no_connection() -> Unavailable {
    Unavailable::new("there is no connection to the server")
}
