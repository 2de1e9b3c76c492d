//! A run told again from its events: what every call was asked, word for word, what came back, and what was decided.
//! Nothing is asked of anybody: prompts are rendered from the plan and the templates that the journal holds.

use std::sync::Arc;

use crate::architect;
use crate::deliberation::ask;
use crate::deliberation::prompt::Prompts;
use crate::deliberation::record::Record;
use crate::deliberation::step::Ask;
use crate::domain::event::{Event, Recorded};
use crate::domain::id::{CallId, Stage};

/// One event, and for the outcome of a call what was asked.
#[derive(Clone, Debug)]
pub struct Replayed {
    pub recorded: Recorded,
    /// The user message; the system message is the plan's prefix. `None` = not a call, or its template does not render.
    pub prompt: Option<Arc<str>>,
}

/// `None` when the events are not those of a run from its start.
#[must_use]
pub fn replay(events: &[Recorded], prompts: &Arc<Prompts>) -> Option<Vec<Replayed>> {
    let (first, rest) = events.split_first()?;
    let Event::DeliberationStarted(plan) = &first.event.event else { return None };
    let mut record = Record::new(plan.clone(), first.event.at);
    let mut told = vec![Replayed { recorded: first.clone(), prompt: None }];
    for recorded in rest {
        let prompt = match &recorded.event.event {
            Event::CallAnswered { call, .. } | Event::CallFailed { call, .. } => asked(&record, prompts, call),
            _ => None,
        };
        told.push(Replayed { recorded: recorded.clone(), prompt });
        record.take_in(&recorded.event.event, recorded.event.at);
    }
    Some(told)
}

/// What a call was asked, as the record stood when it was made.
fn asked(record: &Record, prompts: &Arc<Prompts>, call: &CallId) -> Option<Arc<str>> {
    let ask = Ask { seat: record.open_seat(call)?, call: call.clone(), most_attempts: 1 };
    let made = match call.wave.stage {
        Stage::Select => architect::call(ask::ballot_paper(record, prompts, ask)).map(|(_, call)| call),
        _ => ask::model_call(record, prompts, ask),
    };
    made.ok().map(|call| call.ask)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliberation::table::{Table, chosen_by_architect, plan};
    use crate::past::recorded;
    use crate::testing::embedded_prompts;

    #[test]
    fn every_call_is_shown_with_what_it_was_asked() {
        let mut table = Table::begun(chosen_by_architect(plan(3, 1)));
        table.finish();
        let events = recorded(&table.log);
        let prompts = Arc::new(Prompts::compile(embedded_prompts()).unwrap());
        let told = replay(&events, &prompts).unwrap();
        assert_eq!(told.len(), events.len());
        let prompts: Vec<_> = told.iter().filter_map(|step| step.prompt.as_deref()).collect();
        assert_eq!(prompts.len(), 11, "nine calls and two ballots");
        assert!(prompts[3].contains("propose of 2 in 0"), "agent 1 reviews agent 2: {}", prompts[3]);
        assert!(prompts[10].contains("<<<CANDIDATE A"), "{}", prompts[10]);
        assert!(replay(&events[1..], &Arc::new(Prompts::compile(embedded_prompts()).unwrap())).is_none());
    }
}
