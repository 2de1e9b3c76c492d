//! Kills actors of a running daemon, for tests of what its clients see of that.

use std::time::Duration;

use moothall_actors::System;
use moothall_actors::view::ActorNode;
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
            let restarts = until(&system, &actor, |node| node.state == "running").await;
            let _ = system.kill_actor(&actor);
            // On a slow machine the dead one is still called running for a while: killing it again would count for nothing.
            until(&system, &actor, |node| node.restarts != restarts).await;
        }
    });
    Ok(tasks)
}

/// Its restarts, as soon as it stands so.
async fn until(system: &System, actor: &str, stands: impl Fn(&ActorNode) -> bool) -> u32 {
    loop {
        if let Some(node) = system.tree().iter().find(|node| node.name == actor && stands(node)) {
            return node.restarts;
        }
        tokio::time::sleep(LOOK).await;
    }
}
