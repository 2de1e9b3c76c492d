//! A line that repeats itself is cut short: what can happen in every call can happen thousands of times a second, and a
//! log that fills the disk takes the journal with it.
//!
//! Lines are counted by their place in the program. So many of one place pass in a window; the others are counted and
//! told as a number when it is over.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Lines of one place in [`WINDOW`]: a person reads no more, and all places together stay under a megabyte an hour.
const MOST: u32 = 20;
const WINDOW: Duration = Duration::from_secs(60);

/// Only what is logged at the default level: whoever asks for more wants all of it.
const LIMITED: Level = Level::INFO;

type PlaceId = tracing::callsite::Identifier;

#[derive(Debug)]
struct Place {
    began: Instant,
    lines: u32,
    left_out: u64,
    target: &'static str,
    line: u32,
}

/// Lines that did not pass, by the place they came from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LeftOut {
    pub(super) target: &'static str,
    pub(super) line: u32,
    pub(super) lines: u64,
}

/// As many entries as the program has places that log.
#[derive(Debug, Default)]
pub(super) struct Limit {
    places: Mutex<HashMap<PlaceId, Place>>,
}

impl Limit {
    fn lets_pass(&self, metadata: &'static Metadata<'static>, now: Instant) -> bool {
        if *metadata.level() > LIMITED {
            return true;
        }
        let mut places = self.lock();
        let place = places.entry(metadata.callsite()).or_insert_with(|| Place {
            began: now,
            lines: 0,
            left_out: 0,
            target: metadata.target(),
            line: metadata.line().unwrap_or_default(),
        });
        if now.duration_since(place.began) >= WINDOW {
            (place.began, place.lines) = (now, 0);
        }
        place.lines = place.lines.saturating_add(1);
        let passes = place.lines <= MOST;
        place.left_out += u64::from(!passes);
        passes
    }

    /// What was left out in windows that are over, told once.
    pub(super) fn left_out(&self, now: Instant) -> Vec<LeftOut> {
        let mut places = self.lock();
        let over = places.values_mut().filter(|place| now.duration_since(place.began) >= WINDOW && place.left_out > 0);
        let mut left_out: Vec<_> = over
            .map(|place| LeftOut { target: place.target, line: place.line, lines: std::mem::take(&mut place.left_out) })
            .collect();
        left_out.sort();
        left_out
    }

    /// Every change is one statement long: a thread that panicked here left nothing half done.
    fn lock(&self) -> MutexGuard<'_, HashMap<PlaceId, Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A layer that writes lines, and hears only of those that pass.
pub(super) struct Limited<L> {
    pub(super) limit: Arc<Limit>,
    pub(super) lines: L,
}

impl<S: Subscriber, L: Layer<S>> Layer<S> for Limited<L> {
    fn on_layer(&mut self, subscriber: &mut S) {
        self.lines.on_layer(subscriber);
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        self.lines.on_new_span(attributes, id, context);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        self.lines.on_record(id, values, context);
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        if self.limit.lets_pass(event.metadata(), Instant::now()) {
            self.lines.on_event(event, context);
        }
    }

    fn on_enter(&self, id: &Id, context: Context<'_, S>) {
        self.lines.on_enter(id, context);
    }

    fn on_exit(&self, id: &Id, context: Context<'_, S>) {
        self.lines.on_exit(id, context);
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        self.lines.on_close(id, context);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tracing_subscriber::layer::SubscriberExt as _;
    use tracing_subscriber::{EnvFilter, Registry};

    use super::*;

    #[derive(Clone, Default)]
    struct Counter(Arc<AtomicU32>);

    impl<S: Subscriber> Layer<S> for Counter {
        fn on_event(&self, _: &Event<'_>, _: Context<'_, S>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Lines that pass while `work` is done.
    fn lines(filter: &str, limit: &Arc<Limit>, work: impl FnOnce()) -> u32 {
        let counter = Counter::default();
        let limited = Limited { limit: limit.clone(), lines: counter.clone() };
        let subscriber = Registry::default().with(limited.with_filter(EnvFilter::new(filter)));
        tracing::subscriber::with_default(subscriber, work);
        counter.0.load(Ordering::Relaxed)
    }

    #[test]
    fn of_a_place_that_repeats_itself_some_lines_pass_and_the_others_are_counted() {
        let limit = Arc::<Limit>::default();
        let passed = lines("info", &limit, || {
            for n in 0..1_000 {
                tracing::warn!(n, "the model server is down");
                if n == 0 {
                    tracing::info!("another place");
                }
            }
        });
        assert_eq!(passed, MOST + 1);
        assert_eq!(limit.left_out(Instant::now()), []);
        let later = Instant::now() + WINDOW;
        let left_out = limit.left_out(later);
        assert_eq!(left_out.iter().map(|place| place.lines).collect::<Vec<_>>(), [1_000 - u64::from(MOST)]);
        assert!(left_out[0].target.ends_with("limit::tests"), "{left_out:?}");
        assert_eq!(limit.left_out(later), []);
    }

    #[test]
    fn what_is_asked_for_beyond_the_default_is_not_limited() {
        let limit = Arc::<Limit>::default();
        let debug = || (0..100).for_each(|n| tracing::debug!(n, "detail"));
        assert_eq!(lines("debug", &limit, debug), 100);
        assert_eq!(lines("info", &limit, debug), 0);
    }

    #[test]
    fn after_a_window_the_place_speaks_again() {
        let limit = Limit::default();
        let metadata = {
            static CALLSITE: tracing::callsite::DefaultCallsite = {
                static META: Metadata<'static> = tracing::metadata! {
                    name: "line",
                    target: "test",
                    level: Level::WARN,
                    fields: &[],
                    callsite: &CALLSITE,
                    kind: tracing::metadata::Kind::EVENT
                };
                tracing::callsite::DefaultCallsite::new(&META)
            };
            tracing::Callsite::metadata(&CALLSITE)
        };
        let now = Instant::now();
        assert_eq!((0..30).filter(|_| limit.lets_pass(metadata, now)).count(), MOST as usize);
        assert!(limit.lets_pass(metadata, now + WINDOW));
    }
}
