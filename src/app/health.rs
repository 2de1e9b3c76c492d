//! How the daemon's parts are: the journal, what the system finds amiss, and whom the daemon calls.

use std::sync::Arc;
use std::time::Duration;

use moothall_actors::System;
use moothall_actors::ports::shared::SharedQueue;
use tokio::sync::watch;

use super::clients::Clients;
use super::{events, queue};
use crate::context::ContextState;
use crate::http::{Components, Health, probe};
use crate::hub::{HubClient, HubState};
use crate::ray::{RayExecutor, RayState};
use crate::runner::RunnerModel;
use crate::store::SqliteJournal;
use crate::vllm::{BreakerState, VllmModel};

/// How often idle model servers are asked whether they are there; calls notice by themselves at once.
const PROBE_EVERY: Duration = Duration::from_secs(10);

/// The model servers that did not answer lately, or do not serve the model; empty = all is well.
pub(super) type Unreachable = watch::Receiver<Arc<str>>;

/// Looks after what does not heal by being used.
pub(super) fn watch(clients: &Clients) -> Unreachable {
    watch_executor(clients.executor.as_ref());
    watch_hub(clients.hub.as_ref());
    watch_models(clients.model.clone())
}

/// Asks every model server what it serves, again and again, until nobody listens. What it learns also serves calls.
fn watch_models(model: Arc<VllmModel>) -> Unreachable {
    let (tell, told) = watch::channel(Arc::from(""));
    tokio::spawn(async move {
        while !tell.is_closed() {
            let reports = model.probe().await;
            let failing =
                reports.iter().filter_map(|report| Some(format!("{}: {}", report.url, report.error.as_ref()?)));
            let silent: Arc<str> = failing.collect::<Vec<_>>().join("; ").into();
            tell.send_if_modified(|before| {
                let changed = *before != silent;
                if changed {
                    match silent.is_empty() {
                        true => tracing::info!("all model servers are well"),
                        false => tracing::warn!(%silent, "model servers are not as they should be"),
                    }
                    *before = silent;
                }
                changed
            });
            tokio::time::sleep(PROBE_EVERY).await;
        }
    });
    told
}

/// An executor that is away is asked again and again until it answers, also when no wave needs it.
fn watch_executor(executor: Option<&Arc<RayExecutor>>) {
    let Some(weak) = executor.map(Arc::downgrade) else { return };
    tokio::spawn(async move {
        while let Some(executor) = weak.upgrade() {
            if matches!(executor.state(), Some(RayState::Away { .. })) {
                // Its standing has what it said.
                let _ = executor.probe().await;
            }
            drop(executor);
            tokio::time::sleep(PROBE_EVERY).await;
        }
    });
}

/// Phases may be hours apart: whoever waits for one should know before whether its hub is there.
fn watch_hub(hub: Option<&Arc<HubClient>>) {
    let Some(weak) = hub.map(Arc::downgrade) else { return };
    tokio::spawn(async move {
        while let Some(hub) = weak.upgrade() {
            // It keeps what it found.
            let _ = hub.look().await;
            drop(hub);
            tokio::time::sleep(PROBE_EVERY).await;
        }
    });
}

/// Asked often; looks at what is known and asks nobody.
pub(super) fn components(
    system: System,
    store: Arc<SqliteJournal>,
    Clients { model, runners, executor, context, hub, built_in: _ }: Clients,
    (unreachable, events, queue): (Unreachable, events::Watch, Option<Arc<dyn SharedQueue>>),
) -> impl Fn() -> Components + Send + Sync {
    let of_system = probe(system, store);
    move || {
        let mut components = of_system();
        let replicas = model.replica_states();
        let open = replicas.iter().filter(|replica| replica.breaker == BreakerState::Open).count();
        let silent = unreachable.borrow().clone();
        let health = match (open, silent.is_empty()) {
            (0, true) => Health::Healthy,
            (0, false) => Health::Degraded(silent),
            (open, _) => Health::Degraded(format!("{open} of {} model servers fail", replicas.len()).into()),
        };
        components.insert("model".to_owned(), health);
        components.extend(events.as_ref().map(|status| ("nats".to_owned(), events::health(status))));
        components.extend(queue.iter().map(|queue| ("queue".to_owned(), queue::health(&**queue))));
        components.extend(of_runners(&runners).map(|health| ("runners".to_owned(), health)));
        components.extend(
            executor.iter().filter_map(|executor| Some(("executor".to_owned(), of_executor(executor.state()?)))),
        );
        components.extend(context.iter().map(|context| ("context".to_owned(), of_context(context.state()))));
        components.extend(hub.iter().map(|hub| ("hub".to_owned(), of_hub(hub.state()))));
        components
    }
}

/// It counts only once it is in use.
fn of_executor(state: RayState) -> Health {
    match state {
        RayState::Away { why } => Health::Degraded(why),
        RayState::Healthy => Health::Healthy,
    }
}

/// As its last call found it; the next one that is answered heals it. Not used yet, it has not failed.
fn of_context(state: Option<ContextState>) -> Health {
    match state {
        Some(ContextState::Degraded { why }) => Health::Degraded(why),
        Some(ContextState::Healthy) | None => Health::Healthy,
    }
}

/// Before the first look it has not failed.
fn of_hub(state: Option<HubState>) -> Health {
    match state {
        Some(HubState::Away { why }) => Health::Degraded(why),
        Some(HubState::Healthy) | None => Health::Healthy,
    }
}

/// The runners that fail again and again. They count only while any is in use: `None` = none is.
fn of_runners(runners: &RunnerModel) -> Option<Health> {
    let states = runners.states();
    let open = states.iter().filter(|runner| runner.breaker == BreakerState::Open);
    let failing: Vec<_> =
        open.map(|runner| format!("{}: {}", runner.url, runner.last_failure.as_deref().unwrap_or("fails"))).collect();
    match (states.is_empty(), failing.is_empty()) {
        (true, _) => None,
        (_, true) => Some(Health::Healthy),
        _ => Some(Health::Degraded(failing.join("; ").into())),
    }
}
