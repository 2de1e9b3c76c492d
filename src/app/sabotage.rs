//! Kills actors of a running daemon, for tests of what its clients see of that.

use std::time::Duration;

use moothall_actors::System;
use tokio::task::JoinSet;

use super::AppError;

/// Names an actor that is to die, and how often: `council/DEV:9` = nine times, each as soon as it is back.
const FAULT_VARIABLE: &str = "MOOTHALL_FAULT_ACTOR";
/// Between two looks whether it is back.
const LOOK: Duration = Duration::from_millis(2);

/// Begins at once; ends when the answer is dropped.
pub(super) fn begin(system: &System) -> Result<JoinSet<()>, AppError> {
    let mut tasks = JoinSet::new();
    let Ok(text) = std::env::var(FAULT_VARIABLE) else { return Ok(tasks) };
    let wrong = || AppError::Configuration(format!("{FAULT_VARIABLE} is {text:?}; allowed is actor:count"));
    let (actor, count) = text.rsplit_once(':').ok_or_else(wrong)?;
    let (actor, count) = (actor.to_owned(), count.parse::<u32>().map_err(|_| wrong())?);
    tracing::warn!(actor, count, "THE ACTOR WILL BE KILLED so often");
    let system = system.clone();
    tasks.spawn(async move {
        for _ in 0..count {
            until_running(&system, &actor).await;
            let _ = system.kill_actor(&actor);
            tokio::time::sleep(LOOK).await;
        }
    });
    Ok(tasks)
}

async fn until_running(system: &System, actor: &str) {
    while !system.tree().iter().any(|node| node.name == actor && node.state == "running") {
        tokio::time::sleep(LOOK).await;
    }
}
