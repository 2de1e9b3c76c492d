//! Keeps a text within a budget of tokens, cut where it hurts least.

/// The estimate where nobody counted.
const CHARACTERS_PER_TOKEN: usize = 4;
/// More than this to each token that was counted, and the count is not believed: it would let any text through.
const MOST_CHARACTERS_PER_TOKEN: usize = 16;

/// A text within its budget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fitted {
    pub(super) text: String,
    /// Counted by the service, or estimated.
    pub(super) tokens: u32,
}

/// The text without control characters other than newline and tab.
pub(super) fn clean(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect()
}

/// Four characters a token.
fn estimate(characters: usize) -> u32 {
    u32::try_from(characters.div_ceil(CHARACTERS_PER_TOKEN)).unwrap_or(u32::MAX)
}

/// The text as it is if it has at most `budget` tokens, else cut, with a last line that says so. `counted` is what the
/// service says it has; zero and less mean that it did not count.
///
/// What is cut fits with its last line, unless the budget is too small for that line alone; then nothing else is left.
pub(super) fn fit(text: String, counted: i32, budget: u32) -> Fitted {
    let characters = text.chars().count();
    let counted = believed(counted, characters);
    let tokens = counted.unwrap_or_else(|| estimate(characters));
    if tokens <= budget {
        return Fitted { text, tokens };
    }
    let note = format!("[cut to {budget} tokens]");
    let room = room(characters, counted, budget);
    let kept = prefix(&text, room.saturating_sub(note.len() + 1));
    let text = if kept.is_empty() { note } else { format!("{kept}\n{note}") };
    let left = text.chars().count();
    let tokens = estimate(left).max(counted.map_or(0, |counted| share(left, counted, characters)));
    Fitted { text, tokens }
}

fn believed(counted: i32, characters: usize) -> Option<u32> {
    let counted = u32::try_from(counted).ok().filter(|counted| *counted > 0)?;
    let most = (counted as usize).saturating_mul(MOST_CHARACTERS_PER_TOKEN);
    (characters <= most).then_some(counted)
}

/// Characters that fit into the budget: by the estimate, and by the service's own count where that is higher.
fn room(characters: usize, counted: Option<u32>, budget: u32) -> usize {
    let by_estimate = (budget as usize).saturating_mul(CHARACTERS_PER_TOKEN);
    let Some(counted) = counted else { return by_estimate };
    let by_count = characters as u128 * u128::from(budget) / u128::from(counted.max(1));
    by_estimate.min(usize::try_from(by_count).unwrap_or(usize::MAX))
}

/// Tokens of so many characters of a text that has `counted` in `of` characters.
fn share(characters: usize, counted: u32, of: usize) -> u32 {
    let share = (characters as u128 * u128::from(counted)).div_ceil(of.max(1) as u128);
    u32::try_from(share).unwrap_or(u32::MAX)
}

/// At most `room` characters from the beginning, up to the end of a paragraph, else of a line, else of a word, without
/// the white space there. An end that would waste more than half of the room is none: a heading is no context.
fn prefix(text: &str, room: usize) -> &str {
    let Some((end, _)) = text.char_indices().nth(room) else { return text.trim_end() };
    let Some(half) = text.char_indices().nth(room / 2).map(|(at, _)| at) else { return "" };
    // With the character behind it: the room may end exactly where a word does.
    let next = text[end..].chars().next().map_or(0, char::len_utf8);
    let seen = &text[..end + next];
    let ends = [paragraph_end(seen), seen.rfind('\n'), seen.rfind(char::is_whitespace)];
    let end = ends.into_iter().flatten().find(|at| *at >= half && *at <= end).unwrap_or(end);
    text[..end].trim_end()
}

/// Where the last empty line begins, be there spaces on it or not.
fn paragraph_end(text: &str) -> Option<usize> {
    let mut last = None;
    let mut before = None;
    for (at, _) in text.match_indices('\n') {
        if before.is_some_and(|before: usize| text[before..at].trim().is_empty()) {
            last = before;
        }
        before = Some(at);
    }
    last
}

#[cfg(test)]
#[path = "cut_tests.rs"]
mod tests;
