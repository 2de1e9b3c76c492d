//! Reads a run back from the journal.

use std::sync::Arc;

use super::actor::Loaded;
use super::prompt::Prompts;
use super::record::{End, Record};
use super::state::failure_of;
use crate::domain::event::{Event, Plan, Recorded};
use crate::domain::id::{RunId, StreamId};
use crate::error::SystemError;
use crate::ports::{Journal, JournalError, whole_stream};
use crate::running::{Ending, Running};
use crate::world::World;

pub(super) async fn load(world: &World, running: &Running) -> Result<Loaded, JournalError> {
    let journal = &*world.ports.journal;
    let events = whole_stream(journal, &StreamId::deliberation(&running.run)).await?;
    let version = events.last().map_or(0, |last| last.version);
    let record = fold(&events);
    let prompts = match &record {
        Some(record) if record.plan.prompts_hash != *world.prompts.hash() => {
            adopted(journal, &record.plan, &world.prompts).await?.unwrap_or_else(|| world.prompts.clone())
        }
        _ => world.prompts.clone(),
    };
    Ok(Loaded { record, version, begun: None, prompts })
}

/// How a finished run ended, from its events alone; `None` when they are not there.
pub(crate) async fn read_ending(journal: &dyn Journal, run: &RunId) -> Result<Option<Ending>, JournalError> {
    let events = whole_stream(journal, &StreamId::deliberation(run)).await?;
    Ok(fold(&events).map(|record| match &record.end {
        Some(End::Verdict(_)) => {
            let outcome = record.outcome().map(Arc::new);
            outcome.ok_or_else(|| SystemError::WrongState("the verdict cannot be read".into()))
        }
        Some(End::Failed { .. } | End::Cancelled { .. }) | None => Err(failure_of(&record)),
    }))
}

pub(super) fn fold(events: &[Recorded]) -> Option<Record> {
    let (first, rest) = events.split_first()?;
    let Event::DeliberationStarted(plan) = &first.event.event else { return None };
    let rest = rest.iter().map(|recorded| (&recorded.event.event, recorded.event.at));
    Some(Record::fold(plan.clone(), first.event.at, rest))
}

/// The templates that a plan began with, when they are not today's; today's for those that there were not then.
async fn adopted(journal: &dyn Journal, plan: &Plan, today: &Prompts) -> Result<Option<Arc<Prompts>>, JournalError> {
    let events = journal.stream(&StreamId::prompts(&plan.prompts_hash), 0, 1).await?;
    Ok(events.into_iter().find_map(|recorded| match recorded.event.event {
        Event::PromptsAdopted { sources, .. } => {
            let all = today.sources().into_iter().chain(sources).collect();
            Prompts::compile(all).ok().map(Arc::new)
        }
        _ => None,
    }))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::deliberation::table::plan;
    use crate::domain::event::NewEvent;
    use crate::domain::id::{EventId, Timestamp};
    use crate::ports::{Batch, commit_patiently};
    use crate::testing::{MemoryJournal, embedded_prompts};

    #[tokio::test(start_paused = true)]
    async fn templates_of_an_earlier_version_are_completed_with_todays() {
        let (journal, hash) = (MemoryJournal::new(), Arc::<str>::from("old"));
        let mut earlier = embedded_prompts();
        earlier.remove("dialect.md");
        earlier.insert("propose.md".into(), "Propose. {{ seat_line }}".into());
        let event = Event::PromptsAdopted { hash: hash.clone(), sources: earlier.into_iter().collect() };
        let new = NewEvent { id: EventId([1; 16]), at: Timestamp(1), correlation: None, causation: None, event };
        commit_patiently(&journal, Batch::one(StreamId::prompts(&hash), 0, vec![new])).await.unwrap();
        let today = Prompts::compile(embedded_prompts()).unwrap();
        let then = Plan { prompts_hash: hash, ..plan(2, 1) };
        let prompts = adopted(&journal, &then, &today).await.unwrap().unwrap();
        let sources: BTreeMap<_, _> = prompts.sources().into_iter().collect();
        assert_eq!(&*sources["propose.md"], "Propose. {{ seat_line }}");
        assert_eq!(sources["dialect.md"], embedded_prompts()["dialect.md"]);
        assert!(adopted(&journal, &plan(2, 1), &today).await.unwrap().is_none(), "nobody knows these");
    }
}
