//! Everything but the policy: what a text is as what it was meant to be.
//!
//! ```text
//! plain ─▶ lint of its only code block          rejected ─▶ artifact │ apply: failed, the rest not run
//! changes ─▶ artifact ─▶ apply ─▶ lint of the changed files, only what the change broke
//! document ─▶ sections, coverage                prose ─▶ nothing
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use moothall_actors::artifact::Rejected;
use moothall_actors::domain::check::CheckOutcome;
use moothall_actors::ports::{Form, Subject};

use super::lint::Linter;
use super::{changes, document, syntax};

/// For all texts of one call together; a usual one takes less than a millisecond.
const MOST_TIME: Duration = Duration::from_secs(2);

pub(super) const ARTIFACT: &str = "artifact";
pub(super) const APPLY: &str = "apply";
const REFUSED: &str = "the artifact is refused";

/// What was found out.
#[derive(Debug)]
pub(super) struct Examined {
    pub(super) lint: CheckOutcome,
    pub(super) additional: BTreeMap<String, CheckOutcome>,
    /// What the policy is to read; or why it does not.
    pub(super) policed: Result<Arc<str>, &'static str>,
}

impl Examined {
    pub(super) fn new(lint: CheckOutcome, policed: Arc<str>) -> Self {
        Self { lint, additional: BTreeMap::new(), policed: Ok(policed) }
    }

    /// Parts of a check's way were gone without fault until one failed; nothing behind it has run.
    pub(super) fn refused(outcomes: impl IntoIterator<Item = (&'static str, CheckOutcome)>) -> Self {
        let additional = outcomes.into_iter().map(|(name, outcome)| (name.to_owned(), outcome)).collect();
        Self { lint: CheckOutcome::not_run(REFUSED), additional, policed: Err(REFUSED) }
    }
}

/// Whether examining takes long enough to be done where blocking is allowed.
pub(super) fn takes_long(subject: &Subject) -> bool {
    match subject.form {
        Form::Plain => syntax::is_lintable(&subject.text),
        Form::Changes(_) => true,
        Form::Prose | Form::Document(_) | Form::Rejected(_) => false,
    }
}

/// One for each subject. Blocks for as long as parses take, two seconds at most.
pub(super) fn all(linter: &Linter, subjects: &[Subject]) -> Vec<Examined> {
    let time = Time { until: Instant::now() + MOST_TIME };
    subjects.iter().map(|subject| one(linter, subject, &time)).collect()
}

fn one(linter: &Linter, subject: &Subject, time: &Time) -> Examined {
    let text = &subject.text;
    let unlinted = |why: &str| Examined::new(CheckOutcome::not_run(why), text.clone());
    match &subject.form {
        Form::Plain => Examined::new(syntax::lint(linter, text, time), text.clone()),
        Form::Prose => unlinted("the task wants no code"),
        Form::Document(spec) => {
            Examined { additional: document::checks(text, spec), ..unlinted("the task wants a document, not code") }
        }
        Form::Changes(terms) => changes::examine(linter, text, &terms.base, time),
        Form::Rejected(why) => rejected(why),
    }
}

/// The first check that an answer did not pass: its form, or how it fits the files.
fn rejected(why: &Rejected) -> Examined {
    let findings = why.failures.iter().map(|failure| {
        let gap = if failure.operation.is_empty() { "" } else { ": " };
        format!("{}{gap}{}: {}", failure.operation, failure.code, failure.message).into()
    });
    let failed = CheckOutcome::Failed { findings: findings.collect() };
    match why.failures.iter().any(|failure| failure.code.is_of_form()) {
        true => Examined::refused([(ARTIFACT, failed), (APPLY, CheckOutcome::not_run(REFUSED))]),
        false => Examined::refused([(ARTIFACT, CheckOutcome::Passed), (APPLY, failed)]),
    }
}

/// What all texts of one call share.
#[derive(Debug)]
pub(super) struct Time {
    until: Instant,
}

impl Time {
    /// Why nothing more is parsed.
    pub(super) fn is_up(&self) -> Option<String> {
        (Instant::now() >= self.until).then(|| format!("the texts before took more than {} s", MOST_TIME.as_secs()))
    }

    #[cfg(test)]
    pub(super) fn enough() -> Self {
        Self { until: Instant::now() + Duration::from_secs(60) }
    }

    #[cfg(test)]
    pub(super) fn none() -> Self {
        Self { until: Instant::now() }
    }
}

#[cfg(test)]
mod tests {
    use moothall_actors::artifact::{Base, Draft, Guard, Terms, Wanted};

    use super::*;

    fn terms(files: &[(&str, &str)]) -> Arc<Terms> {
        let base = Base::new(files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned()))).unwrap();
        Arc::new(Terms { wanted: Wanted::Patch, base, guard: Guard::default() })
    }

    fn examined(terms: &Arc<Terms>, words: &str) -> Examined {
        let subject = match Draft::of(words, "k7", terms) {
            Draft::Sound(text) => Subject { text, form: Form::Changes(terms.clone()) },
            Draft::Rejected(why) => Subject { text: words.into(), form: Form::Rejected(why) },
        };
        all(&Linter::new(), &[subject]).remove(0)
    }

    fn edit(path: &str, old: &str, new: &str) -> String {
        format!("So:\n### EDIT[k7] {path}\n```\n<<<<<<< SEARCH\n{old}\n=======\n{new}\n>>>>>>> REPLACE\n```\n")
    }

    #[test]
    fn a_change_is_applied_and_its_files_are_parsed() {
        let terms = terms(&[("a.py", "def f():\n    return 1\n"), ("b.txt", "x\n")]);
        let good = examined(&terms, &edit("a.py", "    return 1", "    return 2"));
        assert!(good.lint.passed(), "{good:?}");
        assert!(good.additional[ARTIFACT].passed() && good.additional[APPLY].passed(), "{good:?}");
        let broken = examined(&terms, &edit("a.py", "    return 1", "    return (2"));
        let CheckOutcome::Failed { findings } = &broken.lint else { panic!("{broken:?}") };
        assert!(findings[0].starts_with("a.py: line 2, column "), "{findings:?}");
        let unknown = examined(&terms, &edit("b.txt", "x", "y"));
        assert_eq!(unknown.lint, CheckOutcome::not_run("no changed file is in a language that is known here"));
    }

    #[test]
    fn errors_that_were_there_before_are_nobodys() {
        let terms = terms(&[("a.py", "def f(:\n    return 1\n\n\ndef g():\n    return 2\n")]);
        let other = examined(&terms, &edit("a.py", "    return 2", "    return 3"));
        assert!(!other.lint.failed(), "{other:?}");
    }

    #[test]
    fn a_refused_artifact_names_its_codes_and_nothing_behind_it_has_run() {
        let terms = terms(&[("a.py", "x = 1\n")]);
        let prose = examined(&terms, "I would change x.");
        let CheckOutcome::Failed { findings } = &prose.additional[ARTIFACT] else { panic!("{prose:?}") };
        assert!(findings[0].starts_with("no_artifact: "), "{findings:?}");
        assert_eq!(prose.additional[APPLY], CheckOutcome::not_run(REFUSED));
        let lost = examined(&terms, &edit("a.py", "y = 1", "y = 2"));
        assert!(lost.additional[ARTIFACT].passed() && lost.additional[APPLY].failed(), "{lost:?}");
        assert_eq!((lost.lint, lost.policed), (CheckOutcome::not_run(REFUSED), Err(REFUSED)));
    }

    #[test]
    fn the_policy_reads_what_is_added_and_nothing_else() {
        let terms = terms(&[("a.py", "import os\nos.system('old')\nx = 1\n")]);
        let words = edit("a.py", "os.system('old')\nx = 1", "x = 2");
        let policed = examined(&terms, &words).policed.unwrap();
        assert!(!policed.contains("os.system") && !policed.contains("import os"), "{policed}");
        assert!(policed.contains("\nx = 2\n") && policed.starts_with("So:"), "{policed}");
        assert!(!policed.contains("moothall:artifact"), "hashes look like secrets: {policed}");
    }
}
