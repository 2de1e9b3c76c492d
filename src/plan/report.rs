//! What reading a plan found: problems, which refuse it, and notes, which do not.

use std::fmt::Display;

use moothall_actors::domain::problem::{Problem, Problems};

use super::limit::MAX_REPORTED;
use super::place::Place;

/// Longest piece of a plan that a message quotes, in characters.
const MAX_QUOTED: usize = 64;

/// A piece of a plan as a message shows it: quoted, escaped, cut.
pub(crate) fn quote(text: &str) -> String {
    let cut: String = text.chars().take(MAX_QUOTED).collect();
    if cut.len() < text.len() { format!("{:?}", cut + "…") } else { format!("{cut:?}") }
}

/// Collects on the way, so that the first problem hides no other. Both lists are bounded; the rest is counted.
#[derive(Debug, Default)]
pub(crate) struct Report {
    problems: Vec<Problem>,
    more_problems: usize,
    notes: Vec<String>,
    more_notes: usize,
}

impl Report {
    /// Notes what refuses the plan.
    pub(crate) fn refuse(&mut self, place: impl Display, message: impl Into<String>) {
        if self.problems.len() < MAX_REPORTED {
            self.problems.push(Problem::new(place.to_string(), message));
        } else {
            self.more_problems += 1;
        }
    }

    /// Notes what somebody should know who wonders about the result.
    pub(crate) fn note(&mut self, place: impl Display, message: impl Display) {
        if self.notes.len() < MAX_REPORTED {
            self.notes.push(format!("{place} {message}"));
        } else {
            self.more_notes += 1;
        }
    }

    /// Notes the problem of a failed parse and goes on with `None`. `parse` is told the place as text.
    pub(crate) fn keep<T>(&mut self, place: &Place, parse: impl FnOnce(&str) -> Result<T, Problem>) -> Option<T> {
        parse(&place.to_string()).map_err(|problem| self.refuse(problem.field, problem.message)).ok()
    }

    pub(crate) fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }

    /// How many problems so far: whoever asks twice knows whether there were any between.
    pub(crate) fn count(&self) -> usize {
        self.problems.len() + self.more_problems
    }

    /// Takes over what reading a text inside a value found, each place after the value's own.
    pub(crate) fn absorb(&mut self, inside: Self, place: &Place) {
        for problem in inside.problems {
            self.refuse(format!("{place}: {}", problem.field), problem.message);
        }
        for note in inside.notes {
            self.note(format!("{place}:"), note);
        }
        self.more_problems += inside.more_problems;
        self.more_notes += inside.more_notes;
    }

    /// The notes, or all problems if there are any.
    pub(crate) fn finish(mut self) -> Result<Vec<String>, Problems> {
        if !self.problems.is_empty() {
            if self.more_problems > 0 {
                let rest = format!("has {} more problems, not shown", self.more_problems);
                self.problems.push(Problem::new("plan", rest));
            }
            return Err(Problems(self.problems));
        }
        if self.more_notes > 0 {
            self.notes.push(format!("{} more notes, not shown", self.more_notes));
        }
        Ok(self.notes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_beyond_the_limit_are_counted() {
        let mut report = Report::default();
        (0..MAX_REPORTED).for_each(|_| report.refuse("x", "is wrong"));
        assert_eq!(report.finish().unwrap_err().0.len(), MAX_REPORTED);
        let mut report = Report::default();
        (0..MAX_REPORTED + 3).for_each(|_| report.refuse("x", "is wrong"));
        let problems = report.finish().unwrap_err().0;
        assert_eq!(problems.len(), MAX_REPORTED + 1);
        assert_eq!(problems.last().unwrap().to_string(), "plan has 3 more problems, not shown");
    }

    #[test]
    fn notes_beyond_the_limit_are_counted() {
        let mut report = Report::default();
        (0..MAX_REPORTED + 2).for_each(|_| report.note("line 1", "is odd"));
        let notes = report.finish().unwrap();
        assert_eq!((notes.len(), notes.last().unwrap().as_str()), (MAX_REPORTED + 1, "2 more notes, not shown"));
    }

    #[test]
    fn quotes_are_cut_and_escaped() {
        assert_eq!(quote("a\n\"b\""), r#""a\n\"b\"""#);
        assert_eq!(quote(&"x".repeat(65)).chars().count(), 64 + 3);
    }
}
