//! `journal replay`: a run told again from the journal, prompts and all; and two verdicts side by side.

use std::collections::BTreeMap;
use std::sync::Arc;

use moothall_actors::Prompts;
use moothall_actors::artifact::Draft;
use moothall_actors::domain::event::{Event, NewEvent, Recorded};
use moothall_actors::domain::id::{EventId, StreamId, Timestamp};
use moothall_actors::replay::{Replayed, replay};
use serde_json::{Value, json};

use super::document::compared;
use super::exit::{Exit, Failure};
use super::output::{Output, count, millis, time};
use super::source::{Query, Source};
use crate::grpc::proto::moothall::v1::JournalEvent;

/// Every stage of a run as it was: what was asked, what came back, what was decided.
pub(super) async fn run(task: &str, run: Option<u32>, source: &Source, output: &Output) -> Result<(), Failure> {
    let events = events_of(task, run, source).await?;
    let prompts = Arc::new(templates(&events, source).await?);
    let told = replay(&events, &prompts)
        .ok_or_else(|| Failure::new(Exit::DATA, format!("the run of task {task} does not begin with its start")))?;
    for step in &told {
        match output.is_json() {
            true => output.document(&document(step))?,
            false => show(step, output)?,
        }
    }
    Ok(())
}

/// What differs between two verdicts, field by field.
pub(super) async fn diff(first: &str, second: &str, source: &Source, output: &Output) -> Result<(), Failure> {
    let (a, b) = (source.verdict(first, 0).await?, source.verdict(second, 0).await?);
    let rows = compared(&a, &b);
    if output.is_json() {
        for [field, a, b] in &rows {
            output.document(&json!({"field": field, "a": a, "b": b}))?;
        }
        return Ok(());
    }
    if rows.is_empty() {
        return Ok(output.line("the verdicts do not differ")?);
    }
    Ok(output.table(&["FIELD", first, second], rows.into_iter().map(Vec::from).collect())?)
}

/// The events of one run, the last one unless it is named.
async fn events_of(task: &str, run: Option<u32>, source: &Source) -> Result<Vec<Recorded>, Failure> {
    let prefix = format!("deliberation/{task}/");
    let mut runs: BTreeMap<u32, Vec<Recorded>> = BTreeMap::new();
    let query = Query { stream: prefix.clone(), ..Query::default() };
    source
        .each(&query, |event| {
            // A longer task id may begin like this one.
            if let Ok(number) = event.stream[prefix.len()..].parse() {
                runs.entry(number).or_default().push(recorded(&event)?);
            }
            Ok(())
        })
        .await?;
    let found = match run {
        Some(run) => runs.remove(&run),
        None => runs.pop_last().map(|(_, events)| events),
    };
    let which = run.map_or_else(|| "a run".to_owned(), |run| format!("run {run}"));
    found.ok_or_else(|| Failure::new(Exit::NO_INPUT, format!("the journal has no event of {which} of task {task}")))
}

fn recorded(event: &JournalEvent) -> Result<Recorded, Failure> {
    let schema = u32::try_from(event.schema).unwrap_or_default();
    let read = Event::decode(&event.r#type, schema, &event.payload);
    let event_read = read.map_err(|error| Failure::new(Exit::DATA, format!("event {}: {error}", event.seq)))?;
    let number = |number: i64| u64::try_from(number).unwrap_or_default();
    let new = NewEvent {
        id: EventId([0; 16]),
        at: Timestamp(number(event.at_ms)),
        correlation: None,
        causation: None,
        event: event_read,
    };
    let stream = StreamId::named(&event.stream);
    Ok(Recorded { seq: number(event.seq), stream, version: number(event.version), schema, event: new })
}

/// The templates that the run began with.
async fn templates(events: &[Recorded], source: &Source) -> Result<Prompts, Failure> {
    let hash = events.iter().find_map(|recorded| match &recorded.event.event {
        Event::DeliberationStarted(plan) => Some(plan.prompts_hash.clone()),
        _ => None,
    });
    let stream = format!("prompts/{}", hash.as_deref().unwrap_or_default());
    let mut sources = crate::app::built_in_prompts();
    let mut found = false;
    source
        .each(&Query { stream, ..Query::default() }, |event| {
            if let Event::PromptsAdopted { sources: adopted, .. } = recorded(&event)?.event.event {
                sources.extend(adopted);
                found = true;
            }
            Ok(())
        })
        .await?;
    if !found {
        return Err(Failure::new(Exit::DATA, "the templates of this run are not in the journal"));
    }
    Prompts::compile(sources).map_err(|error| Failure::new(Exit::DATA, format!("the templates of this run: {error}")))
}

fn document(step: &Replayed) -> Value {
    let event = &step.recorded.event;
    let mut value = serde_json::to_value(&event.event).unwrap_or_default();
    value["at_ms"] = event.at.0.into();
    value["version"] = step.recorded.version.into();
    if let Some(prompt) = &step.prompt {
        value["prompt"] = Value::from(&**prompt);
    }
    value
}

fn show(step: &Replayed, output: &Output) -> std::io::Result<()> {
    let at = time(i64::try_from(step.recorded.event.at.0).unwrap_or_default());
    let heading = |text: &str| output.heading(&format!("{at}  {text}"));
    match &step.recorded.event.event {
        Event::DeliberationStarted(plan) => {
            let seats: Vec<_> = plan.seats.iter().map(|seat| seat.agent.as_str()).collect();
            heading(&format!("run {} begins: {}, {} rounds", plan.run, seats.join(", "), plan.rounds))?;
            texts(&[("all calls begin with", &plan.prefix)], output)
        }
        Event::CallAnswered { call, answer, draft } => {
            let (tokens, took) = (answer.usage.total(), answer.duration.as_millis());
            let (tokens, took) =
                (count(i64::try_from(tokens).unwrap_or_default()), millis(i64::try_from(took).unwrap_or_default()));
            heading(&format!("{}, {} answered ({tokens} tokens, {took}, {})", call.wave, call.agent, answer.model))?;
            let prompt = step.prompt.as_deref().unwrap_or("(its prompt cannot be made again)");
            texts(&[("asked", prompt), ("answered", &answer.text)], output)?;
            match draft {
                None => Ok(()),
                Some(Draft::Sound(text)) => texts(&[("as an artifact", text)], output),
                Some(Draft::Rejected(why)) => texts(&[("refused as an artifact", &why.to_string())], output),
            }
        }
        Event::CallFailed { call, failure } => {
            heading(&format!("{}, {} is missing: {}", call.wave, call.agent, failure.message))?;
            texts(&[("asked", step.prompt.as_deref().unwrap_or_default())], output)
        }
        Event::ProposalsScored(scored) => {
            let order: Vec<_> = scored.ranking.iter().map(|one| format!("{} {:.3}", one.agent, one.score)).collect();
            heading(&format!("scored: {}", order.join(", ")))
        }
        Event::VerdictReached(verdict) => {
            let winner = verdict.winner().map(|winner| winner.agent.as_str()).unwrap_or_default();
            heading(&format!("verdict: {winner} wins, by {}: {}", verdict.selection.by.as_str(), verdict.selection.why))
        }
        Event::DeliberationCancelled { reason } => heading(&format!("cancelled: {reason}")),
        Event::DeliberationFailed { message, .. } => heading(&format!("failed: {message}")),
        Event::WaveClosed { wave, missing } => {
            heading(&format!("{wave} was closed, {} seats were missing", missing.len()))
        }
        other => heading(other.kind()),
    }
}

/// Each text under its name, set off from what is ours.
fn texts(named: &[(&str, &str)], output: &Output) -> std::io::Result<()> {
    for (name, text) in named {
        output.line(&format!("  {name}:"))?;
        text.lines().try_for_each(|line| output.line(&format!("  | {line}")))?;
    }
    output.line("")
}
