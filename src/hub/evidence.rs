//! What a deliberation came to, as the artifact of a phase: the winner's text, and beside it all that speaks for and against.

use moothall_actors::domain::id::TaskId;
use moothall_actors::domain::json::Json;
use moothall_actors::domain::verdict::Outcome;
use moothall_actors::domain::workflow::Artifact;
use serde_json::{Value, json};

use super::confidence::{checks_passed, confidence};

/// `None` = nothing was said: the texts are gone, or stand in the journal of another daemon.
pub(super) fn artifact(name: &str, task: &TaskId, run: Option<u32>, outcome: &Outcome) -> Option<Artifact> {
    let winner = outcome.proposals.first().filter(|winner| !winner.text.trim().is_empty())?;
    let content = json!({
        "content": winner.text,
        "artifact": name,
        "agent_id": winner.agent,
        "task_id": task,
        "run": run,
    });
    Some(Artifact {
        confidence: Some(confidence(&outcome.verdict)),
        checks_passed: checks_passed(&outcome.verdict),
        metadata: Json::of(&evidence(task, outcome)).ok(),
        ..Artifact::of(Json::of(&content).ok()?)
    })
}

fn evidence(task: &TaskId, outcome: &Outcome) -> Value {
    let verdict = &outcome.verdict;
    let winner = verdict.winner();
    let ranking = verdict.ranking.iter().map(|ranked| {
        json!({ "agent_id": ranked.agent, "rank": ranked.rank, "score": ranked.score, "quality": ranked.quality })
    });
    let missing = verdict.missing.iter().map(|seat| {
        json!({
            "agent_id": seat.agent,
            "wave": seat.wave.to_string(),
            "class": seat.class,
            "reason": seat.reason,
        })
    });
    let failed = winner.into_iter().flat_map(|winner| winner.checks.named()).filter(|(_, outcome)| outcome.failed());
    json!({
        "task_id": task,
        "winner": winner.map(|winner| &winner.agent),
        "score": winner.map(|winner| winner.score),
        "quality": winner.and_then(|winner| winner.quality),
        "checks_passed": checks_passed(verdict),
        "failed_checks": failed.map(|(name, _)| name).collect::<Vec<_>>(),
        "ranking": ranking.collect::<Vec<_>>(),
        "missing": missing.collect::<Vec<_>>(),
        "selected_by": verdict.selection.by,
        "why": verdict.selection.why,
        "stop": verdict.stop,
        "calls": verdict.calls,
        "tokens": { "prompt": verdict.usage.prompt, "completion": verdict.usage.completion },
        "duration_ms": u64::try_from(verdict.duration.as_millis()).unwrap_or(u64::MAX),
        "simulated": outcome.simulated,
    })
}
