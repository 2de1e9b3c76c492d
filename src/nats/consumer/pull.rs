//! One pull: so many messages at most, for so long at most.
//!
//! What has come is read before the clock: after a standstill both are due at once, and a message that nobody reads is
//! not seen again before its ack wait is over. The server ends a pull; only when it is silent long after is the pull given
//! up here, and that silence is measured from when this was running again.

use std::time::Duration;

use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::consumer::pull::BatchConfig;
use async_nats::jetstream::{Context, Message};
use async_nats::{Client, StatusCode, Subscriber};
use futures::StreamExt as _;
use tokio::time::{Instant, sleep, sleep_until};

/// How long the server may be silent after a pull's time is up.
const GRACE: Duration = Duration::from_secs(5);

pub(super) struct Pull {
    left: usize,
    inbox: Subscriber,
    js: Context,
    expires: Instant,
}

impl Pull {
    /// Asks for at most `most` messages within `wait`. The error says what failed.
    pub(super) async fn ask(
        client: &Client,
        consumer: &PullConsumer,
        most: usize,
        wait: Duration,
    ) -> Result<Self, String> {
        let to = client.new_inbox();
        let inbox = client.subscribe(to.clone()).await.map_err(|error| error.to_string())?;
        let request = BatchConfig { batch: most, expires: Some(wait), ..BatchConfig::default() };
        consumer.request_batch(request, to.into()).await.map_err(|error| error.to_string())?;
        let js = async_nats::jetstream::new(client.clone());
        Ok(Self { left: most, inbox, js, expires: Instant::now() + wait })
    }

    /// `None` = it is over. Loses nothing when it is dropped while it waits.
    pub(super) async fn next(&mut self) -> Option<Result<Message, String>> {
        if self.left == 0 {
            return None;
        }
        let message = tokio::select! {
            biased;
            message = self.inbox.next() => message?,
            () = silent(self.expires) => return None,
        };
        match message.status {
            None | Some(StatusCode::OK) => {
                self.left -= 1;
                Some(Ok(Message { message, context: self.js.clone() }))
            }
            Some(StatusCode::TIMEOUT | StatusCode::NOT_FOUND) => {
                self.left = 0;
                None
            }
            Some(status) => {
                self.left = 0;
                Some(Err(format!("{status}: {}", message.description.unwrap_or_default())))
            }
        }
    }
}

/// The grace begins when this runs again after the time is up, however long it stood still.
async fn silent(expires: Instant) {
    sleep_until(expires).await;
    sleep(GRACE).await;
}
