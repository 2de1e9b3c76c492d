//! What waits, as metrics: whoever watches them sees a queue grow, and winners that nobody carries out.

use std::collections::BTreeSet;
use std::time::Duration;

use metrics::{describe_gauge, gauge};
use moothall_actors::System;
use moothall_actors::domain::id::Role;
use moothall_actors::domain::queue::QueueState;
use tokio::task::JoinHandle;

/// As often as scrapes usually come.
const EVERY: Duration = Duration::from_secs(15);

const TASKS: &str = "moothall_queue_tasks";
const UNDERWAY: &str = "moothall_executions";
const STALLED: &str = "moothall_executions_stalled";

/// Tells the numbers again and again until it is aborted.
pub(super) fn begin(system: System) -> JoinHandle<()> {
    describe_gauge!(TASKS, "tasks of the queue by role and state; ended ones as long as others wait for them");
    describe_gauge!(UNDERWAY, "winners that are being carried out");
    describe_gauge!(STALLED, "those of them of which nothing was heard for as long as queue.stall");
    tokio::spawn(async move {
        let mut told = BTreeSet::new();
        loop {
            tell(&system, &mut told).await;
            tokio::time::sleep(EVERY).await;
        }
    })
}

/// What was told once is told for ever: a number that is gone is none.
#[expect(clippy::cast_precision_loss, reason = "a gauge needs no more than 52 bits")]
async fn tell(system: &System, told: &mut BTreeSet<(Role, QueueState)>) {
    match system.queue_counts().await {
        Ok(counts) => {
            told.extend(counts.keys().cloned());
            for key in told.iter() {
                let tasks = counts.get(key).copied().unwrap_or_default();
                gauge!(TASKS, "role" => key.0.to_string(), "state" => key.1.as_str()).set(tasks as f64);
            }
        }
        Err(error) => tracing::debug!(%error, "what waits in the queue is not known now"),
    }
    let (underway, stalled) = system.underway_counts();
    gauge!(UNDERWAY).set(underway as f64);
    gauge!(STALLED).set(stalled as f64);
}
