//! Takes the names of those who take part out of a context: reviewers and judges may not learn who wrote what.

use std::sync::Arc;

use crate::domain::council::Seat;
use crate::ports::Context;

/// What stands in the place of a name.
const SOMEBODY: &str = "[an agent]";
const SOMETHING: &str = "[a model]";

/// The ids and models of some seats, and what stands in their place.
pub(crate) struct Names<'a>(Vec<(&'a str, &'static str)>);

impl<'a> Names<'a> {
    pub(crate) fn of(seats: impl Iterator<Item = &'a Seat>) -> Self {
        let mut names: Vec<(&str, &str)> = Vec::new();
        for seat in seats {
            names.push((seat.agent.as_str(), SOMEBODY));
            if is_a_name(&seat.model) {
                names.push((&seat.model, SOMETHING));
            }
        }
        // The longest first: one name may begin with another.
        names.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        Self(names)
    }

    pub(crate) fn taken_out(&self, text: &Arc<str>) -> Arc<str> {
        self.0.iter().fold(text.clone(), |text, (name, instead)| replaced(text, name, instead))
    }

    pub(crate) fn taken_out_of(&self, context: Context) -> Context {
        let scopes = context.scopes.iter().map(|scope| self.taken_out(scope)).collect();
        Context { text: self.taken_out(&context.text), scopes, ..context }
    }
}

/// A model called by a plain word, such as `auto`, would make holes in the text.
fn is_a_name(model: &str) -> bool {
    model.chars().any(|c| !c.is_alphabetic())
}

/// Replaces the name where it stands alone, and not within a longer one.
fn replaced(text: Arc<str>, name: &str, instead: &str) -> Arc<str> {
    if name.is_empty() || !text.contains(name) {
        return text;
    }
    let goes_on = |c: char| c.is_alphanumeric() || c == '_';
    let (mut clean, mut rest) = (String::with_capacity(text.len()), &*text);
    while let Some(at) = rest.find(name) {
        let (before, after) = (&rest[..at], &rest[at + name.len()..]);
        // What was taken before ends where a name did, or within a longer word.
        let begins = before.chars().next_back().or_else(|| clean.chars().next_back()).is_none_or(|c| !goes_on(c));
        let ends = after.chars().next().is_none_or(|c| !goes_on(c));
        clean.push_str(before);
        clean.push_str(if begins && ends { instead } else { name });
        rest = after;
    }
    clean.push_str(rest);
    clean.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliberation::table::plan;
    use crate::ports::Blocks;

    fn cleaned(text: &str, models: [&str; 3]) -> String {
        let mut seats = plan(3, 1).seats;
        seats.iter_mut().zip(models).for_each(|(seat, model)| seat.model = model.into());
        let context = Context {
            text: text.into(),
            token_count: 9,
            scopes: [Arc::from("by agent-dev-003")].into(),
            version: "v".into(),
            version_hash: "h".into(),
            blocks: Blocks::default(),
        };
        let clean = Names::of(seats.iter()).taken_out_of(context);
        assert_eq!((&*clean.scopes[0], &*clean.version_hash, clean.token_count), ("by [an agent]", "h", 9));
        clean.text.to_string()
    }

    #[test]
    fn who_takes_part_is_not_named() {
        let told = "agent-dev-001 (org/m-1) won; agent-dev-002's was second, agent-qa-001 judged with org/m-1.5";
        let want = "[an agent] ([a model]) won; [an agent]'s was second, agent-qa-001 judged with [a model]";
        assert_eq!(cleaned(told, ["org/m-1", "org/m-1.5", ""]), want);
    }

    #[test]
    fn plain_words_and_longer_names_stay() {
        let told =
            "auto is tiny; agent-dev-0012, xagent-dev-001 and agent-dev-001_b are others; agent-dev-001agent-dev-001";
        assert_eq!(cleaned(told, ["auto", "tiny", ""]), told);
    }
}
