//! The checks of an artifact: it can be read, it applies to its files, and what it changes parses.

use std::sync::Arc;

use moothall_actors::artifact::{Artifact, Base, Changed};
use moothall_actors::domain::check::CheckOutcome;

use super::examine::{APPLY, ARTIFACT, Examined, Time};
use super::lint::{Language, Linter, Outcome};

/// Findings that are kept of one text: a reader mends the first anyway.
const MOST_FINDINGS: usize = 50;

/// Of a canonical text. Blocks for as long as the parses take.
pub(super) fn examine(linter: &Linter, text: &str, base: &Base, time: &Time) -> Examined {
    let Some(artifact) = Artifact::read(text) else {
        let findings = vec!["the text is not in its canonical form".into()];
        return Examined::refused([(ARTIFACT, CheckOutcome::Failed { findings })]);
    };
    let changed = match artifact.changed(base) {
        Ok(changed) => changed,
        Err(why) => {
            let code = why.code().map(|code| format!("{code}: ")).unwrap_or_default();
            let findings = vec![format!("{code}{why}").into()];
            return Examined::refused([(ARTIFACT, CheckOutcome::Passed), (APPLY, CheckOutcome::Failed { findings })]);
        }
    };
    let mut examined = Examined::new(lint(linter, &changed, time), added(text).into());
    examined.additional.extend([ARTIFACT, APPLY].map(|name| (name.to_owned(), CheckOutcome::Passed)));
    examined
}

/// Passed only when every changed file of a known language was parsed and has no new errors.
fn lint(linter: &Linter, changed: &[Changed], time: &Time) -> CheckOutcome {
    let (mut findings, mut unknown, mut clean) = (Vec::new(), None, 0_usize);
    for file in changed {
        let (Some(after), Some(language)) = (&file.after, Language::of_path(&file.path)) else { continue };
        let outcome = match time.is_up() {
            Some(why) => Outcome::NotRun(why.into()),
            None => linter.errors(language, file.before.as_deref(), after),
        };
        match outcome {
            Outcome::Clean => clean += 1,
            Outcome::NotRun(why) => drop(unknown.get_or_insert_with(|| format!("{}: {why}", file.path))),
            Outcome::Errors { first, more } => {
                findings.extend(first.iter().map(|error| Arc::from(format!("{}: {error}", file.path))));
                findings.extend((more > 0).then(|| Arc::from(format!("{}: {more} more errors", file.path))));
            }
        }
    }
    findings.truncate(MOST_FINDINGS);
    match (findings.is_empty(), unknown, clean) {
        (false, _, _) => CheckOutcome::Failed { findings },
        (true, Some(why), _) => CheckOutcome::not_run(why),
        (true, None, 0) => CheckOutcome::not_run("no changed file is in a language that is known here"),
        (true, None, _) => CheckOutcome::Passed,
    }
}

/// The text with nothing but what its author has written: prose and added lines. Each stands on its own line still, so
/// that a finding's line is that of the proposal.
fn added(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut lines = text.lines().peekable();
    let mut fence: Option<&str> = None;
    while let Some(line) = lines.next() {
        let is_metadata = lines.peek().is_none();
        match (fence, line.strip_suffix("diff")) {
            _ if is_metadata => {}
            (None, Some(mark)) if mark.len() >= 3 && mark.bytes().all(|byte| byte == b'`') => {
                fence = Some(mark);
                kept.push_str(line);
            }
            (None, _) => kept.push_str(line),
            (Some(mark), _) if line == mark => {
                fence = None;
                kept.push_str(line);
            }
            (Some(_), _) if line.starts_with("+++ ") => {}
            (Some(_), _) => kept.push_str(line.strip_prefix('+').unwrap_or_default()),
        }
        kept.push('\n');
    }
    kept
}
