//! The durable at the server.

use std::time::Duration;

use async_nats::datetime;
use async_nats::jetstream::consumer::pull::Config;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer};
use async_nats::jetstream::stream::ConsumerErrorKind;
use async_nats::jetstream::{Context, ErrorCode};

use super::super::settings::{Settings, Start};
use super::super::subject::{ConsumerRow, covered};

/// Finds it or makes it. One that exists keeps everything but its subjects, which follow what the stream has.
pub(super) async fn ensure(
    js: &Context,
    row: &ConsumerRow,
    settings: &Settings,
    subjects: &[String],
) -> Result<PullConsumer, String> {
    let wanted: Vec<String> =
        row.subjects.iter().filter(|subject| covered(subjects, subject)).map(|subject| (*subject).into()).collect();
    if wanted.is_empty() {
        return Err(format!("stream {} has none of its subjects", row.stream));
    }
    let config = match find(js, row, &settings.instance).await? {
        Some(consumer) if filters(&consumer.cached_info().config) == wanted => return Ok(consumer),
        Some(mut consumer) => {
            let info = consumer.info().await.map_err(|error| format!("it cannot be looked at: {error}"))?;
            Config { ack_policy: AckPolicy::Explicit, ..kept(&info.config) }
        }
        None => config(row, settings)?,
    };
    let made = js.create_consumer_on_stream(filtered(config, wanted), row.stream).await;
    made.map_err(|error| format!("it cannot be made: {error}"))
}

/// `None` = there is no such durable.
pub(in super::super) async fn find(
    js: &Context,
    row: &ConsumerRow,
    instance: &str,
) -> Result<Option<PullConsumer>, String> {
    let found = js.get_consumer_from_stream::<Config, _, _>(row.name(instance), row.stream).await;
    match found {
        Ok(consumer) => Ok(Some(consumer)),
        Err(error) => match error.kind() {
            ConsumerErrorKind::JetStream(answer) if answer.error_code() == ErrorCode::CONSUMER_NOT_FOUND => Ok(None),
            _ => Err(format!("it cannot be looked at: {error}")),
        },
    }
}

/// Servers tell one subject in one field and several in another.
pub(in super::super) fn filters(config: &async_nats::jetstream::consumer::Config) -> Vec<String> {
    if config.filter_subject.is_empty() { config.filter_subjects.clone() } else { vec![config.filter_subject.clone()] }
}

/// How soon the server delivers again what is in hand and not spoken of. The durable may be older than these settings, or
/// somebody else's: what it says counts, and of its backoff the shortest wait. `otherwise` = it says nothing.
pub(super) fn ack_wait(config: &async_nats::jetstream::consumer::Config, otherwise: Duration) -> Duration {
    let waits = config.backoff.iter().copied().chain([config.ack_wait]);
    waits.filter(|wait| !wait.is_zero()).min().unwrap_or(otherwise)
}

fn filtered(config: Config, wanted: Vec<String>) -> Config {
    match <[String; 1]>::try_from(wanted) {
        Ok([one]) => Config { filter_subject: one, filter_subjects: Vec::new(), ..config },
        Err(several) => Config { filter_subject: String::new(), filter_subjects: several, ..config },
    }
}

fn config(row: &ConsumerRow, settings: &Settings) -> Result<Config, String> {
    let consume = &settings.consume;
    Ok(Config {
        durable_name: Some(row.name(&settings.instance)),
        deliver_policy: match settings.start {
            Start::All => DeliverPolicy::All,
            Start::At(time) => DeliverPolicy::ByStartTime {
                start_time: datetime::from_nanos(time.as_nanosecond())
                    .map_err(|error| format!("its start: {error}"))?,
            },
        },
        ack_policy: AckPolicy::Explicit,
        ack_wait: consume.ack_wait,
        // Own failures are counted here; the server's count of deliveries ends nothing.
        max_deliver: -1,
        max_ack_pending: consume.max_ack_pending,
        inactive_threshold: if row.shared { Duration::ZERO } else { consume.inactive_threshold },
        ..Config::default()
    })
}

/// What exists, as a configuration to send back.
fn kept(config: &async_nats::jetstream::consumer::Config) -> Config {
    Config {
        durable_name: config.durable_name.clone(),
        description: config.description.clone(),
        deliver_policy: config.deliver_policy,
        ack_wait: config.ack_wait,
        max_deliver: config.max_deliver,
        replay_policy: config.replay_policy,
        rate_limit: config.rate_limit,
        sample_frequency: config.sample_frequency,
        max_waiting: config.max_waiting,
        max_ack_pending: config.max_ack_pending,
        headers_only: config.headers_only,
        max_batch: config.max_batch,
        max_bytes: config.max_bytes,
        max_expires: config.max_expires,
        inactive_threshold: config.inactive_threshold,
        num_replicas: config.num_replicas,
        memory_storage: config.memory_storage,
        metadata: config.metadata.clone(),
        backoff: config.backoff.clone(),
        ..Config::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_wait_of_the_durable_counts() {
        let seconds = Duration::from_secs;
        let waits = |ack_wait, backoff: &[u64]| {
            let backoff = backoff.iter().copied().map(seconds).collect();
            ack_wait_of(seconds(ack_wait), backoff).as_secs()
        };
        assert_eq!(waits(5, &[]), 5);
        assert_eq!(waits(5, &[9, 2, 7]), 2);
        assert_eq!(waits(0, &[0, 8]), 8);
        assert_eq!(waits(0, &[]), 30);
    }

    fn ack_wait_of(ack_wait: Duration, backoff: Vec<Duration>) -> Duration {
        let config = async_nats::jetstream::consumer::Config { ack_wait, backoff, ..Default::default() };
        super::ack_wait(&config, Duration::from_secs(30))
    }
}
