//! From the outbox to the streams: in order per key, and once each.
//!
//! ```text
//!   connected ──▶ repair (look at the streams) ──▶ save the cursor ──▶ send … ──┐
//!       ▲              ▲                                                       │
//!       └── lost ──────┴── doubt: no answer, or a server set back ◀────────────┘
//! ```

mod flight;
mod message;
mod repair;
mod run;
mod speaker;
mod tail;
mod window;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use async_nats::Client;
use async_nats::jetstream::context::ContextBuilder;
use tokio::sync::watch;
use tokio::time::sleep;

use super::connection::{self, Link};
use super::cursor::Cursor;
use super::phase::Phase;
use super::port::Outbox;
use super::settings::Settings;
use super::status::{Board, Part};
use super::streams::Topology;
use super::subject::PUBLISHED_TO;
use flight::Route;
use run::{End, Run};
pub use speaker::Speaker;
use window::Ground;

/// Looks that may fail before it goes on without: the server's own window for duplicates then has to do.
const MOST_LOOKS: u32 = 8;

pub(super) struct Publisher {
    pub(super) settings: Arc<Settings>,
    pub(super) outbox: Arc<dyn Outbox>,
    pub(super) link: watch::Receiver<Link>,
    pub(super) topology: watch::Receiver<Topology>,
    pub(super) phase: watch::Receiver<Phase>,
    pub(super) board: Board,
}

impl Publisher {
    /// Returns when the daemon stops and nothing is in flight.
    pub(super) async fn run(self) {
        let Some(mut cursor) = self.cursor().await else { return };
        while let Some((epoch, client)) = connection::live(&self.link, &self.phase).await {
            let ground = tokio::select! {
                () = connection::over(&self.link, epoch) => continue,
                () = Phase::stopping(&self.phase) => return,
                ground = self.ground(epoch, &client, &mut cursor) => ground,
            };
            let mut run = Run::new(self.route(&client), self.phase.clone(), ground, std::mem::take(&mut cursor));
            let end = run.serve(epoch).await;
            cursor = run.into_cursor();
            if matches!(end, End::Stopped) {
                return;
            }
        }
    }

    /// `None` = the daemon stops first.
    async fn cursor(&self) -> Option<Cursor> {
        let mut tries = 0;
        loop {
            match self.outbox.cursor().await {
                Ok(cursor) => {
                    self.board.well(&Part::Outbox);
                    return Some(cursor.unwrap_or_default());
                }
                Err(error) => self.board.degraded(Part::Outbox, error.why),
            }
            tries += 1;
            tokio::select! {
                () = Phase::stopping(&self.phase) => return None,
                () = sleep(self.settings.publish.retry.after(tries)) => {}
            }
        }
    }

    /// Looks until the streams answer, and cuts the cursor down to what holds.
    async fn ground(&self, epoch: u64, client: &Client, cursor: &mut Cursor) -> Ground {
        let server = tail::Server(async_nats::jetstream::new(client.clone()));
        // The streams were looked for, and made if they could be.
        let _ = self.topology.clone().wait_for(|topology| topology.epoch == epoch).await;
        let mut tries = 0;
        loop {
            self.board.count(|counts| counts.repairs += 1);
            match repair::look(&server, cursor, PUBLISHED_TO).await {
                Ok(repair) => {
                    match repair.beyond {
                        None => self.board.well(&Part::Publishing),
                        Some(stream) => self.board.degraded(Part::Publishing, set_back(&stream, repair.ground.seq)),
                    }
                    *cursor = repair.cursor;
                    return repair.ground;
                }
                Err(why) => {
                    tries += 1;
                    self.board.degraded(Part::Publishing, why);
                    if tries >= MOST_LOOKS {
                        return blind(cursor);
                    }
                    sleep(self.settings.publish.retry.after(tries)).await;
                }
            }
        }
    }

    fn route(&self, client: &Client) -> Route {
        let js = ContextBuilder::new()
            .timeout(self.settings.publish.ack_timeout)
            .max_ack_inflight(self.settings.publish.in_flight.saturating_mul(2))
            .build(client.clone());
        Route {
            js,
            settings: Arc::clone(&self.settings),
            outbox: Arc::clone(&self.outbox),
            link: self.link.clone(),
            board: self.board.clone(),
            max_payload: client.max_payload(),
            untaken: Mutex::new(BTreeSet::new()),
        }
    }
}

fn set_back(stream: &str, seq: u64) -> String {
    format!("stream {stream} was set back further than can be repaired: what was published up to {seq} may be missing")
}

/// From the last checkpoint, with its proofs, and without knowing what stands beyond it.
fn blind(cursor: &Cursor) -> Ground {
    let mut ground = Ground { seq: cursor.seq(), ..Ground::default() };
    for mark in cursor.trail.iter().rev().take(1).flat_map(|checkpoint| &checkpoint.marks) {
        ground.seen.insert(mark.stream.clone(), mark.read_from);
        ground.read_from.insert(mark.stream.clone(), mark.read_from);
        ground.last.extend(mark.last.map(|last| (mark.stream.clone(), last)));
    }
    ground
}
