//! A system on a store of its own, with neither councils nor doors: for measuring what stands behind them.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use moothall_actors::System;
use moothall_actors::domain::answer::{Answer, Class, Failure};
use moothall_actors::ports::queue::TaskQueue;
use moothall_actors::ports::{AnswerForm, Model, ModelCall, Ports};
use moothall_actors::queue::MemoryQueue;

use super::identity::{SystemClock, UuidSource};
use super::{AppError, prompts, settings};
use crate::checks::TextChecks;
use crate::config::{Config, Sources};
use crate::store::{SqliteJournal, StoreOptions};

/// What is measured.
pub(crate) struct Bare {
    pub(crate) system: System,
    pub(crate) journal: Arc<SqliteJournal>,
    pub(crate) queue: Arc<dyn TaskQueue>,
}

/// With all settings as they are by default.
pub(crate) async fn bare(store: &Path) -> Result<Bare, AppError> {
    let config = Config::load(&Sources::default()).map_err(|error| AppError::Configuration(error.to_string()))?.config;
    let journal = Arc::new(SqliteJournal::open(store, StoreOptions::default())?);
    let queue = bare_queue(&config);
    let ports = Ports {
        executor: None,
        hub: None,
        model: Arc::new(Nobody),
        checks: Arc::new(TextChecks::configured(&config.checks)?),
        journal: journal.clone(),
        queue: queue.clone(),
        shared: None,
        context: None,
        clock: Arc::new(SystemClock),
        ids: Arc::new(UuidSource),
    };
    let settings = settings::system(&config, journal.store_id());
    let system = System::start(ports, settings, prompts::load(None)?).await?;
    Ok(Bare { system, journal, queue })
}

/// The queue alone, as the daemon has it.
pub(crate) fn bare_queue(config: &Config) -> Arc<dyn TaskQueue> {
    Arc::new(MemoryQueue::new(settings::queue_limits(config), Arc::new(SystemClock)))
}

/// Nobody is asked.
struct Nobody;

#[async_trait]
impl Model for Nobody {
    async fn complete(&self, _: &ModelCall) -> Result<Answer, Failure> {
        Err(Failure::new(Class::Refused, "there is no model"))
    }

    fn structured(&self, _: AnswerForm) -> bool {
        false
    }
}
