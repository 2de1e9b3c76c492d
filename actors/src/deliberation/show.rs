//! What clients see while a deliberation runs: one update per thing that happened.

use std::sync::Arc;

use super::record::{End, Record};
use super::seat::Slot;
use crate::domain::event::{Event, NewEvent};
use crate::domain::id::{AgentId, Stage, Timestamp};
use crate::progress::{Happened, Partial, Phase, Update};

fn phase(stage: Stage) -> Phase {
    match stage {
        Stage::Propose => Phase::Generating,
        Stage::Critique => Phase::Reviewing,
        Stage::Revise => Phase::Revising,
        Stage::Score => Phase::Scoring,
        Stage::Select => Phase::Selecting,
    }
}

/// Where a run is.
pub(crate) fn phase_of(record: &Record) -> Phase {
    match &record.end {
        Some(End::Verdict(_)) => Phase::Complete,
        Some(End::Failed { .. } | End::Cancelled { .. }) => Phase::Failed,
        None if !record.is_settled() => phase(record.wave.stage),
        None if record.scored.is_some() => Phase::Selecting,
        None => Phase::Scoring,
    }
}

/// Waves done and the settled share of the current one, of all waves and the scoring; 100 only at the end.
fn percent(record: &Record) -> u8 {
    let all = 2 + 2 * u32::from(record.plan.rounds) + u32::from(record.plan.architect.is_some());
    let done = record.waves.len() as u32;
    let part = record.slots.iter().filter(|slot| !matches!(slot, Slot::Out)).count().max(1) as u32;
    let settled = part.saturating_sub(record.open_seats().count() as u32);
    let within = if record.is_settled() && part == 1 { 100 } else { 100 * settled / part };
    u8::try_from(((100 * done + within) / all).min(99)).unwrap_or(99)
}

fn update(record: &Record, at: Timestamp, phase: Phase, step: Happened) -> Update {
    let percent = percent(record);
    Update { at, phase, percent, step, agent: None, partial: None, usage: record.usage }
}

/// A wave begins.
pub(super) fn wave(record: &Record) -> Update {
    let open = record.open_seats().count();
    let wave = record.wave;
    let asked = Happened::Asked { wave, agents: open, of: record.slots.len() };
    update(record, record.last_at, phase(wave.stage), asked)
}

/// An agent answered, or its seat is missing; `None` for events of no wave.
pub(super) fn outcome_of(record: &Record, new: &NewEvent) -> Option<Update> {
    let (agent, step, partial) = match &new.event {
        Event::CallAnswered { call, .. } => {
            let wrote = matches!(call.wave.stage, Stage::Propose | Stage::Revise);
            let partial = if wrote { partial(record, &call.agent) } else { None };
            (&call.agent, Happened::Answered { agent: call.agent.clone(), stage: call.wave.stage }, partial)
        }
        Event::CallFailed { call, failure } => {
            (&call.agent, Happened::Missed { agent: call.agent.clone(), failure: failure.clone() }, None)
        }
        _ => return None,
    };
    let shown = update(record, new.at, phase(record.wave.stage), step);
    Some(Update { agent: Some(agent.clone()), partial, ..shown })
}

fn partial(record: &Record, agent: &AgentId) -> Option<Arc<Partial>> {
    let proposal = record.proposal(record.seat_of(agent)?, None)?;
    Some(Arc::new(Partial { proposal, ranked: None }))
}

/// Taken up again after a crash: what is durable is not asked for again.
pub(super) fn resumed(record: &Record) -> Update {
    let step = Happened::Resumed { wave: record.wave, calls: record.calls };
    update(record, record.last_at, phase(record.wave.stage), step)
}

pub(super) fn scoring(record: &Record) -> Update {
    update(record, record.last_at, Phase::Scoring, Happened::ChecksBegan)
}

pub(super) fn failed(record: &Record, why: &str) -> Update {
    update(record, record.last_at, Phase::Failed, Happened::Failed { why: why.into() })
}

/// All results, the winner last.
pub(super) fn results(record: &Record) -> Vec<Update> {
    let Some(End::Verdict(verdict)) = &record.end else { return Vec::new() };
    let ranked = verdict.ranking.iter().rev().filter_map(|ranked| {
        let proposal = record.proposal(record.seat_of(&ranked.agent)?, ranked.text)?;
        let (phase, percent) = if ranked.rank == 1 { (Phase::Complete, 100) } else { (Phase::Selecting, 99) };
        let step = Happened::Ranked { agent: ranked.agent.clone(), rank: ranked.rank };
        let shown = update(record, record.last_at, phase, step);
        let partial = Some(Arc::new(Partial { proposal, ranked: Some(ranked.clone()) }));
        Some(Update { percent, agent: Some(ranked.agent.clone()), partial, ..shown })
    });
    ranked.collect()
}
