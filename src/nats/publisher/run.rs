//! Publishing on one connection, from its repair to its end.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until};

use super::super::connection;
use super::super::cursor::Cursor;
use super::super::phase::Phase;
use super::super::port::{Publication, Unavailable};
use super::super::status::Part;
use super::flight::{Landing, Route, fly};
use super::window::{Acked, Ground, Item, Limits, Window};

/// Publications of one reading.
const PAGE: usize = 256;

pub(super) struct Run {
    route: Arc<Route>,
    phase: watch::Receiver<Phase>,
    news: watch::Receiver<u64>,
    window: Window,
    cursor: Cursor,
    /// Read and neither out nor refused.
    pending: BTreeMap<u64, Arc<Publication>>,
    flights: FuturesUnordered<BoxFuture<'static, (u64, Landing)>>,
    /// There may be more to read.
    more: bool,
    /// The outbox did not answer: not before this.
    read_at: Instant,
    failed_reads: u32,
    saved: u64,
}

#[derive(Debug)]
pub(super) enum End {
    /// The connection is gone.
    Lost,
    /// What the streams hold must be looked at.
    Doubt,
    /// The daemon stops; nothing is in flight.
    Stopped,
}

impl Run {
    pub(super) fn new(route: Route, phase: watch::Receiver<Phase>, ground: Ground, cursor: Cursor) -> Self {
        let publish = &route.settings.publish;
        let limits = Limits { in_flight: publish.in_flight, ahead: publish.ahead };
        Self {
            phase,
            news: route.outbox.news(),
            window: Window::new(limits, ground),
            cursor,
            pending: BTreeMap::new(),
            flights: FuturesUnordered::new(),
            more: true,
            read_at: Instant::now(),
            failed_reads: 0,
            saved: 0,
            route: Arc::new(route),
        }
    }

    /// What is in flight is dropped: the next repair finds out what became of it.
    pub(super) fn into_cursor(self) -> Cursor {
        self.cursor
    }

    pub(super) async fn serve(&mut self, epoch: u64) -> End {
        let link = self.route.link.clone();
        let lost = connection::over(&link, epoch);
        tokio::pin!(lost);
        // Nothing is sent before the place to look from is known for good.
        while let Err(error) = self.save().await {
            self.unavailable(error);
            tokio::select! {
                () = &mut lost => return End::Lost,
                () = Phase::stopping(&self.phase) => return End::Stopped,
                () = sleep_until(self.read_at) => {}
            }
        }
        let end = tokio::select! {
            () = &mut lost => End::Lost,
            end = self.publish() => end,
        };
        if let Err(error) = self.save().await {
            self.unavailable(error);
        }
        end
    }

    async fn publish(&mut self) -> End {
        let mut tick = ticks(&self.route);
        loop {
            let stopping = *self.phase.borrow() != Phase::Running;
            if stopping && self.flights.is_empty() {
                return End::Stopped;
            }
            if !stopping {
                self.read().await;
                self.send();
            }
            let waits = self.more && !stopping;
            tokio::select! {
                Some((seq, landing)) = self.flights.next() => {
                    if let Some(end) = self.landed(seq, landing) {
                        return end;
                    }
                }
                Ok(()) = self.news.changed() => self.more = true,
                () = sleep_until(self.read_at), if waits && self.window.room() > 0 => {}
                _ = tick.tick() => self.tick().await,
                () = Phase::stopping(&self.phase), if !stopping => {}
                () = Phase::given_up(&self.phase), if stopping => return End::Stopped,
            }
        }
    }

    /// Reads ahead as far as there is room.
    async fn read(&mut self) {
        let limit = self.window.room().min(PAGE);
        if !self.more || limit == 0 || Instant::now() < self.read_at {
            return;
        }
        self.news.mark_unchanged();
        match self.route.outbox.next(self.window.read_to(), limit).await {
            Ok(publications) => {
                self.failed_reads = 0;
                self.route.board.well(&Part::Outbox);
                self.more = publications.len() >= limit;
                self.took(publications);
            }
            Err(error) => self.unavailable(error),
        }
    }

    fn took(&mut self, publications: Vec<Publication>) {
        let item = |publication: &Publication| Item {
            seq: publication.seq,
            event_id: publication.event_id,
            key: publication.ordering_key.clone(),
        };
        let items = publications.iter().map(item).collect();
        self.pending.extend(publications.into_iter().map(|publication| (publication.seq, Arc::new(publication))));
        let found = self.window.read(items, !self.more);
        self.route.board.count(|counts| counts.found += found.len() as u64);
        for seq in found {
            self.pending.remove(&seq);
        }
    }

    fn unavailable(&mut self, error: Unavailable) {
        self.failed_reads += 1;
        self.read_at = Instant::now() + self.route.settings.publish.retry.after(self.failed_reads);
        self.route.board.degraded(Part::Outbox, error.why);
    }

    fn send(&mut self) {
        while let Some(seq) = self.window.send() {
            if let Some(publication) = self.pending.get(&seq) {
                self.flights.push(Box::pin(fly(Arc::clone(&self.route), Arc::clone(publication))));
            }
        }
    }

    fn landed(&mut self, seq: u64, landing: Landing) -> Option<End> {
        match landing {
            Landing::Doubt(why) => {
                tracing::warn!(seq, why, "it is not known whether NATS has an event; its stream is looked at");
                return Some(End::Doubt);
            }
            Landing::Refused => {
                self.window.refused(seq);
                self.route.board.count(|counts| counts.refused += 1);
            }
            Landing::Acked(ack) => {
                if self.window.acked(seq, &ack.stream, ack.sequence, ack.duplicate) == Acked::SetBack {
                    tracing::warn!(stream = ack.stream, "NATS gave a sequence again; its streams are looked at");
                    return Some(End::Doubt);
                }
                self.route.board.count(|counts| {
                    counts.published += u64::from(!ack.duplicate);
                    counts.duplicates += u64::from(ack.duplicate);
                });
            }
        }
        self.pending.remove(&seq);
        None
    }

    async fn tick(&mut self) {
        if self.window.done_to() == self.saved {
            return;
        }
        if let Err(error) = self.save().await {
            self.route.board.degraded(Part::Outbox, error.why);
        }
    }

    async fn save(&mut self) -> Result<(), Unavailable> {
        self.cursor.push(self.window.checkpoint(Timestamp::now().as_millisecond()));
        self.route.outbox.saved(self.cursor.clone()).await?;
        self.saved = self.window.done_to();
        Ok(())
    }
}

fn ticks(route: &Route) -> Interval {
    let mut tick = interval(route.settings.publish.save_every);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tick
}
