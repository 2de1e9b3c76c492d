//! In memory: what a claim costs with few and with many that wait, and what each of them takes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use moothall_actors::domain::id::Role;
use moothall_actors::ports::queue::{Claim, Report, TaskQueue};

use super::super::BenchError;
use super::super::measure::memory;
use super::work::{BATCH, entry, task};
use super::{ClaimCost, failed};
use crate::app::bare_queue;
use crate::config::{Config, Sources};

const STORIES: usize = 10;
const FEW: usize = 100;
/// Claims that are timed.
const CLAIMS: usize = 500;

pub(super) async fn claims(many: usize) -> Result<ClaimCost, BenchError> {
    let config = Config::load(&Sources::default()).map_err(failed)?.config;
    let few_wait = bare_queue(&config);
    fill(&*few_wait, FEW).await?;
    let at_100_us = cost(&*few_wait).await?;
    let many_wait = bare_queue(&config);
    let before = memory(std::process::id());
    let texts = fill(&*many_wait, many).await?;
    let grown = memory(std::process::id()).saturating_sub(before);
    let at_many_us = cost(&*many_wait).await?;
    let bytes_each = (grown as f64 - texts as f64) / many as f64;
    Ok(ClaimCost { at_100_us, at_many_us, ratio: at_many_us / at_100_us, bytes_each })
}

/// The bytes of their names; stories and roles are shared.
async fn fill(queue: &dyn TaskQueue, tasks: usize) -> Result<usize, BenchError> {
    let stories: Vec<Arc<str>> = (0..STORIES).map(|story| format!("story-{story}").into()).collect();
    let (mut texts, mut entries) = (0, Vec::with_capacity(BATCH));
    for number in 0..tasks {
        let task = task(&format!("bench-{number:08}"))?;
        texts += task.as_str().len();
        entries.push(entry(&task, &Role::dev(), &stories[number % STORIES]));
        if entries.len() == BATCH || number + 1 == tasks {
            queue.enqueue(std::mem::take(&mut entries), BTreeMap::new()).await.map_err(failed)?;
        }
    }
    Ok(texts)
}

/// Microseconds for each task that is claimed and given back.
async fn cost(queue: &dyn TaskQueue) -> Result<f64, BenchError> {
    let claim = Claim { role: Role::dev(), most: BATCH, most_per_story: usize::MAX, holder: "bench".into() };
    let (began, mut claimed) = (Instant::now(), 0);
    for _ in 0..CLAIMS {
        for one in queue.claim(&claim).await.map_err(failed)? {
            queue.report(&one.lease, Report::Released).await.map_err(failed)?;
            claimed += 1;
        }
    }
    Ok(began.elapsed().as_secs_f64() * 1e6 / f64::from(claimed))
}
