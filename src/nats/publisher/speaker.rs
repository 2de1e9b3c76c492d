//! Single events besides the outbox: what several daemons would tell, and one of them does.

use std::sync::Arc;

use async_nats::jetstream::context::ContextBuilder;
use tokio::sync::watch;
use tokio::time::timeout;

use super::super::connection::Link;
use super::super::port::{Publication, Unavailable};
use super::super::settings::Settings;
use super::message::{Form, message};

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

    /// It stands in a stream when this returns; again under the same id it stands there once, as long as the server's window
    /// for duplicates lasts. On an error it may stand there.
    pub async fn publish(&self, publication: &Publication) -> Result<(), Unavailable> {
        let live = self.link.borrow().live();
        let Some((_, client)) = live else { return Err(Unavailable::new("there is no connection to the server")) };
        let form = Form {
            envelope: self.settings.envelope,
            longest_text: self.settings.publish.longest_text,
            max_payload: client.server_info().max_payload,
        };
        let message = message(publication, form).map_err(Unavailable::new)?;
        let js = ContextBuilder::new().timeout(self.settings.publish.ack_timeout).build(client);
        let sending = async { js.send_publish(publication.subject.clone(), message).await?.await };
        match timeout(self.settings.publish.ack_timeout, sending).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(Unavailable::new(error.to_string())),
            Err(_) => Err(Unavailable::new("the server did not acknowledge in time")),
        }
    }
}
