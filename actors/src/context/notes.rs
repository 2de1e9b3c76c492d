//! What others told of a story, decisions and milestones, in a line each.

use std::sync::Arc;

use crate::domain::event::{Event, Recorded};

/// So many of the last ones: they stand in every prompt.
const MOST: usize = 8;
/// Of one line, in characters.
const LONGEST: usize = 120;

/// The last ones of a story's stream, oldest first.
pub(super) fn of(told: &[Recorded]) -> Vec<Arc<str>> {
    let mut notes: Vec<Arc<str>> =
        told.iter().rev().filter_map(|recorded| note(&recorded.event.event)).take(MOST).collect();
    notes.reverse();
    notes
}

fn note(event: &Event) -> Option<Arc<str>> {
    let text = match event {
        Event::DecisionAdded { decision, kind: Some(kind) } => format!("decision {decision} ({kind})"),
        Event::DecisionAdded { decision, kind: None } => format!("decision {decision}"),
        Event::MilestoneReached { milestone, name } => format!("milestone {milestone}: {name}"),
        _ => return None,
    };
    let line = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    Some(line.take(LONGEST).collect::<String>().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::NewEvent;
    use crate::domain::id::{EventId, Timestamp};

    fn of(told: &[Event]) -> Vec<Arc<str>> {
        let new = |event: &Event| {
            let (id, at) = (EventId([0; 16]), Timestamp(0));
            NewEvent { id, at, correlation: None, causation: None, event: event.clone() }
        };
        super::of(&crate::past::recorded(&told.iter().map(new).collect::<Vec<_>>()))
    }

    #[test]
    fn the_last_notes_are_one_line_each() {
        let mut told: Vec<Event> = (0..9)
            .map(|number| Event::DecisionAdded { decision: format!("d-{number}").into(), kind: Some("API".into()) })
            .collect();
        told.push(Event::StoryMoved { from: None, to: "BUILD".into(), cause: Default::default() });
        told.push(Event::MilestoneReached { milestone: "m".into(), name: "a\n> b".into() });
        let notes = of(&told);
        assert_eq!(notes.len(), MOST);
        assert_eq!((&*notes[0], &*notes[7]), ("decision d-2 (API)", "milestone m: a > b"));
        let long = Event::DecisionAdded { decision: "x".repeat(999).into(), kind: None };
        assert_eq!(of(&[long])[0].chars().count(), LONGEST);
    }
}
