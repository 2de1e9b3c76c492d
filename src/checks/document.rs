//! The checks of a document: the sections that must be there, and the requirements that must be named.

use std::collections::BTreeMap;
use std::sync::Arc;

use moothall_actors::domain::check::CheckOutcome;
use moothall_actors::domain::task::TaskSpec;

/// Only what the task asks for: no sections, no check of sections.
pub(super) fn checks(text: &str, spec: &TaskSpec) -> BTreeMap<String, CheckOutcome> {
    let sections: Vec<String> = spec.sections().collect();
    let sections = (!sections.is_empty()).then(|| ("sections".to_owned(), has_sections(text, &sections)));
    let coverage = (!spec.requirements.is_empty()).then(|| ("coverage".to_owned(), covers(text, &spec.requirements)));
    sections.into_iter().chain(coverage).collect()
}

/// Each section is a heading of the text, of any level and in any case of letters.
fn has_sections(text: &str, sections: &[String]) -> CheckOutcome {
    let headings: Vec<String> = headings(text).collect();
    let missing = sections.iter().filter(|section| !headings.contains(&plain(section)));
    outcome(missing.map(|section| format!("the section {section:?} is missing").into()).collect())
}

/// Headings outside of code, as they are compared.
fn headings(text: &str) -> impl Iterator<Item = String> + '_ {
    let mut in_code = false;
    text.lines().filter_map(move |line| {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        let title = line.strip_prefix('#').filter(|_| !in_code)?.trim_start_matches('#');
        title.starts_with(' ').then(|| plain(title))
    })
}

/// Without marks, numbers before it, and case.
fn plain(title: &str) -> String {
    let marks = |c: char| c.is_whitespace() || matches!(c, '#' | '*' | '`' | ':' | '_');
    let numbers = |c: char| c.is_ascii_digit() || matches!(c, '.' | ')' | ' ');
    let bare = title.trim_matches(marks);
    let unnumbered = bare.trim_start_matches(numbers).trim_matches(marks);
    if unnumbered.is_empty() { bare.to_lowercase() } else { unnumbered.to_lowercase() }
}

/// Requirements that bear an identifier, such as `FR-001: …`, are traced by it; words alone prove nothing either way.
fn covers(text: &str, requirements: &[Arc<str>]) -> CheckOutcome {
    let traced: Vec<&str> = requirements.iter().filter_map(|requirement| identifier(requirement)).collect();
    if traced.is_empty() {
        return CheckOutcome::not_run("no requirement begins with an identifier such as FR-001");
    }
    let missing = traced.iter().filter(|name| !names(text, name));
    outcome(missing.map(|name| format!("the requirement {name} is not named").into()).collect())
}

/// The identifier that a requirement begins with: letters, a hyphen, digits.
fn identifier(requirement: &str) -> Option<&str> {
    let first = requirement.split_whitespace().next()?;
    let name = first.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    let (letters, digits) = name.rsplit_once('-')?;
    let lettered = letters.starts_with(|c: char| c.is_ascii_alphabetic());
    let plain = letters.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let numbered = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    (lettered && plain && numbered).then_some(name)
}

/// Whether the name stands there, and not as a part of a longer one.
fn names(text: &str, name: &str) -> bool {
    let part = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    text.match_indices(name)
        .any(|(place, _)| !part(text[..place].chars().next_back()) && !part(text[place + name.len()..].chars().next()))
}

fn outcome(findings: Vec<Arc<str>>) -> CheckOutcome {
    if findings.is_empty() { CheckOutcome::Passed } else { CheckOutcome::Failed { findings } }
}

#[cfg(test)]
mod tests {
    use super::*;
    use moothall_actors::domain::task::TaskDraft;

    fn checked(text: &str, sections: &str, requirements: &[&str]) -> BTreeMap<String, CheckOutcome> {
        let draft = TaskDraft {
            role: "DEV".into(),
            description: "d".into(),
            requirements: requirements.iter().map(|text| (*text).to_owned()).collect(),
            metadata: BTreeMap::from([("artifact.sections".to_owned(), sections.to_owned())]),
            ..TaskDraft::default()
        };
        checks(text, &draft.check().unwrap())
    }

    #[test]
    fn every_section_that_is_missing_is_named() {
        let text = "# Plan\n\n## 2. **Risks:**\nx\n```\n# Rollback\n```\n#hashtag\n### rollout\n";
        let checked = checked(text, "risks, Rollout\nRollback, hashtag, Plan", &[]);
        let missing = ["the section \"Rollback\" is missing".into(), "the section \"hashtag\" is missing".into()];
        assert_eq!(checked["sections"], CheckOutcome::Failed { findings: missing.to_vec() });
        assert!(!checked.contains_key("coverage"), "no requirements, no coverage");
    }

    #[test]
    fn requirements_are_traced_by_their_identifiers_only() {
        let requirements = ["FR-001: parses", "**NFR-2** is fast", "looks nice"];
        let covered = checked("FR-001 by a table, (NFR-2) by a cache", "", &requirements);
        assert_eq!(covered["coverage"], CheckOutcome::Passed);
        let partly = checked("FR-0011, xNFR-2", "", &requirements);
        let CheckOutcome::Failed { findings } = &partly["coverage"] else { panic!("{partly:?}") };
        assert_eq!(findings.len(), 2, "{findings:?}");
        let unknown = checked("anything", "", &["looks nice", "well-known"]);
        assert!(matches!(unknown["coverage"], CheckOutcome::NotRun { .. }), "{unknown:?}");
    }
}
