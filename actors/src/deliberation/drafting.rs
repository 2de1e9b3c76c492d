//! Where changes are wanted: what answers are translated against, and as what their texts are checked.

use std::sync::Arc;

use super::prompt::Derived;
use super::record::Record;
use super::seat::Written;
use crate::artifact::{Draft, Guard, Terms, Wanted};
use crate::domain::event::Plan;
use crate::domain::id::{CallId, Stage};
use crate::ports::{Form, Subject};

/// Answers and files up to this many bytes together are translated on the spot, in well under a millisecond; more where
/// blocking is allowed.
const INLINE_BYTES: usize = 32 * 1024;

/// What one call's answer is translated against.
#[derive(Clone, Debug)]
pub(crate) struct Drafting {
    terms: Arc<Terms>,
    nonce: String,
}

impl Drafting {
    /// Translates the words, in the task of their call.
    pub(crate) async fn draft(self, words: Arc<str>) -> Option<Draft> {
        let files: usize = self.terms.base.iter().map(|(_, text)| text.len()).sum();
        let bytes = files + words.len();
        match bytes {
            ..=INLINE_BYTES => Some(self.now(&words)),
            // It fails only when the runtime ends: then nothing is written any more.
            _ => tokio::task::spawn_blocking(move || self.now(&words)).await.ok(),
        }
    }

    /// The same on the spot. Blocks for as long as it takes.
    pub(crate) fn now(&self, words: &str) -> Draft {
        Draft::of(words, &self.nonce, &self.terms)
    }
}

/// `None` = the run wants no changes, and words stay as they are.
pub(super) fn terms(plan: &Plan) -> Option<Arc<Terms>> {
    if !plan.wanted.needs_changes() {
        return None;
    }
    let protected = plan.protected.iter().map(ToString::to_string);
    // Both were checked where they came in.
    let guard = Guard::new(protected, plan.spec.paths()).unwrap_or_default();
    Some(Arc::new(Terms { wanted: plan.wanted, base: plan.spec.base(), guard }))
}

impl Record {
    /// What the answer to this call is translated against; reviews and ballots never are.
    pub(super) fn drafting(&self, call: &CallId) -> Option<Drafting> {
        let terms = self.terms.clone().filter(|_| matches!(call.wave.stage, Stage::Propose | Stage::Revise))?;
        Some(Drafting { terms, nonce: Derived::of(self.plan.salt, call).nonce })
    }

    /// A text as it is to be checked.
    pub(super) fn subject(&self, written: &Written) -> Subject {
        let form = match (&written.rejected, &self.terms, self.plan.wanted) {
            (Some(why), _, _) => Form::Rejected(why.clone()),
            (None, Some(terms), _) => Form::Changes(terms.clone()),
            (None, None, Wanted::Document) => Form::Document(self.plan.spec.clone()),
            (None, None, Wanted::None) => Form::Prose,
            (None, None, _) => Form::Plain,
        };
        Subject { text: written.text.clone(), form }
    }

    /// A seat's last words as their author is shown them: with the code word that its next answer must bear.
    pub(super) fn own_words(&self, seat: usize, nonce: &str) -> Arc<str> {
        let Some(last) = self.seats[seat].texts.last() else { return Arc::default() };
        if self.terms.is_none() {
            return last.words.clone();
        }
        let call = CallId { wave: last.wave, ask: last.ask, ..self.call_of(seat) };
        renewed(&last.words, &Derived::of(self.plan.salt, &call).nonce, nonce)
    }
}

/// Headers of an earlier answer, as a later one must write them.
pub(super) fn renewed(words: &str, old: &str, new: &str) -> Arc<str> {
    words.replace(&format!("[{old}]"), &format!("[{new}]")).into()
}
