//! The journal as a witness: read from its file when the daemon is down.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Result, ensure};
use moothall::store::StoreReader;
use moothall_actors::domain::event::{Event, Recorded};

const PAGE: usize = 1000;

/// Everything that happened in one store.
pub(super) struct Record {
    pub(super) events: Vec<Recorded>,
}

impl Record {
    /// Also checks that the file is sound.
    pub(super) async fn read(store: &Path) -> Result<Self> {
        let reader = StoreReader::open(store)?;
        let report = reader.verify().await?;
        ensure!(report.first_problems.is_empty(), "{:#?}", report.first_problems);
        let mut events: Vec<Recorded> = Vec::new();
        loop {
            let page = reader.events(events.last().map_or(0, |last| last.seq), PAGE).await?;
            if page.is_empty() {
                return Ok(Self { events });
            }
            events.extend(page);
        }
    }

    /// The final events of each task, by its stream, but for what was made of a run that another daemon had by then.
    pub(super) fn finals(&self) -> BTreeMap<String, Vec<&Event>> {
        let mut finals: BTreeMap<String, Vec<&Event>> = BTreeMap::new();
        for recorded in &self.events {
            let event = &recorded.event.event;
            if matches!(event, Event::TaskAccepted { .. }) {
                finals.entry(recorded.stream.to_string()).or_default();
            }
            if matches!(event, Event::RunSuperseded { .. }) {
                finals.entry(recorded.stream.to_string()).or_default().clear();
            }
            if event.is_final() {
                finals.entry(recorded.stream.to_string()).or_default().push(event);
            }
        }
        finals
    }

    /// The ids of all calls with a durable answer. Each has one.
    pub(super) fn answered(&self) -> Result<BTreeSet<String>> {
        let mut answered = BTreeSet::new();
        for recorded in &self.events {
            if let Event::CallAnswered { call, .. } = &recorded.event.event {
                ensure!(answered.insert(call.to_string()), "{call} was answered twice");
            }
        }
        Ok(answered)
    }
}
