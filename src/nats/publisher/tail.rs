//! The streams at the server, as a repair asks of them.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::consumer::pull::Config;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy};
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use async_nats::jetstream::{Context, ErrorCode};
use async_trait::async_trait;
use futures::StreamExt as _;
use uuid::Uuid;

use super::super::streams;
use super::repair::{Extent, Found, Streams};

/// Messages of one request.
const FETCH: usize = 500;
/// The server forgets the reader by itself when it is not ended properly.
const READER_GONE: Duration = Duration::from_secs(30);

pub(super) struct Server(pub(super) Context);

#[async_trait]
impl Streams for Server {
    async fn extent(&self, stream: &str) -> Result<Option<Extent>, String> {
        let info = streams::info(&self.0, stream).await.map_err(|why| format!("stream {stream}: {why}"))?;
        Ok(info.map(|info| Extent { first: info.state.first_sequence, last: info.state.last_sequence }))
    }

    async fn at(&self, stream: &str, sequence: u64) -> Result<Found, String> {
        let trouble = |error: &dyn std::fmt::Display| format!("message {sequence} of stream {stream}: {error}");
        let handle = self.0.get_stream_no_info(stream).await.map_err(|error| trouble(&error))?;
        match handle.get_raw_message(sequence).await {
            Ok(message) => Ok(Found::Id(id(&message.headers))),
            Err(error) => match error.kind() {
                LastRawMessageErrorKind::NoMessageFound => Ok(Found::Nothing),
                LastRawMessageErrorKind::JetStream(answer) if answer.error_code() == ErrorCode::NO_MESSAGE_FOUND => {
                    Ok(Found::Nothing)
                }
                _ => Err(trouble(&error)),
            },
        }
    }

    async fn tail(&self, stream: &str, after: u64, last: u64) -> Result<Vec<(u64, Uuid)>, String> {
        let trouble = |error: &dyn std::fmt::Display| format!("the tail of stream {stream}: {error}");
        let config = Config {
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: after + 1 },
            ack_policy: AckPolicy::None,
            headers_only: true,
            memory_storage: true,
            inactive_threshold: READER_GONE,
            ..Config::default()
        };
        let reader = self.0.create_consumer_on_stream(config, stream).await.map_err(|error| trouble(&error))?;
        let mut left = reader.cached_info().num_pending;
        let mut found = Vec::new();
        while left > 0 {
            let before = left;
            let mut batch = reader.fetch().max_messages(FETCH).messages().await.map_err(|error| trouble(&error))?;
            while let Some(message) = batch.next().await {
                let message = message.map_err(|error| trouble(&error))?;
                let sequence = message.info().map_err(|error| trouble(&error))?.stream_sequence;
                left = if sequence >= last { 0 } else { left.saturating_sub(1) };
                found.extend(message.headers.as_ref().and_then(id).map(|id| (sequence, id)));
            }
            if left == before {
                return Err(trouble(&"it ended too early"));
            }
        }
        // Only to be tidy: it goes by itself as well.
        let _ = self.0.delete_consumer_from_stream(&reader.cached_info().name, stream).await;
        Ok(found)
    }
}

/// Ours are UUIDs; others may be anything.
fn id(headers: &HeaderMap) -> Option<Uuid> {
    headers.get_last("Nats-Msg-Id")?.as_str().parse().ok()
}
