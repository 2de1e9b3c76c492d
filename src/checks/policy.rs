//! The policy: rules read from a file, compiled once, applied to texts.
//!
//! One `RegexSet` says in a single pass which rules match at all, and nearly always it is none; only those are located.
//! Patterns run over bytes without Unicode classes: a Unicode `\b` throws the matcher out of its fast path.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use regex::bytes::{Regex, RegexBuilder, RegexSet, RegexSetBuilder};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::code::CodeBlocks;
use crate::config::toml_problem;

/// The built-in rules.
pub const BUILT_IN: &str = include_str!("../../config/checks/policy.toml");

/// Room for the set's lazily built automaton, per thread that checks; the default thrashes with this many rules.
const AUTOMATON_BYTES: usize = 16 << 20;

/// Whether a finding fails the check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Severity {
    Error,
    Warning,
}

/// Where a rule applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Only {
    Code,
}

/// A rule as written; its serialised form is what the policy's hash covers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    id: String,
    pattern: String,
    reason: String,
    severity: Severity,
    only: Option<Only>,
    unless: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPolicy {
    #[serde(default)]
    rule: Vec<RawRule>,
}

/// Why rules cannot be used; every wrong rule is named.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    #[error("cannot be read")]
    Unreadable(#[source] std::io::Error),
    #[error("is not a list of rules: {0}")]
    Unparsable(String),
    #[error("{}", .0.join("; "))]
    Wrong(Vec<String>),
}

#[derive(Debug)]
struct Rule {
    id: String,
    reason: String,
    severity: Severity,
    only: Option<Only>,
    pattern: Regex,
    unless: Option<Regex>,
}

/// Compiled rules.
#[derive(Debug)]
pub(super) struct Policy {
    set: RegexSet,
    rules: Vec<Rule>,
    pub(super) hash: Arc<str>,
}

impl Policy {
    pub(super) fn read(path: &Path) -> Result<Self, PolicyError> {
        let text = std::fs::read_to_string(path).map_err(PolicyError::Unreadable)?;
        Self::parse(&text)
    }

    pub(super) fn parse(text: &str) -> Result<Self, PolicyError> {
        let raw: RawPolicy =
            toml::from_str(text).map_err(|error| PolicyError::Unparsable(toml_problem(text, &error)))?;
        let mut problems = doubled(&raw.rule);
        let mut rules = Vec::with_capacity(raw.rule.len());
        for rule in &raw.rule {
            match compile(rule) {
                Ok(compiled) => rules.push(compiled),
                Err(problem) => problems.push(problem),
            }
        }
        if !problems.is_empty() {
            return Err(PolicyError::Wrong(problems));
        }
        let patterns = raw.rule.iter().map(|rule| rule.pattern.as_str());
        let set = RegexSetBuilder::new(patterns).unicode(false).dfa_size_limit(AUTOMATON_BYTES).build();
        let set = set.map_err(|error| PolicyError::Wrong(vec![format!("the rules together: {error}")]))?;
        Ok(Self { set, rules, hash: hash(&raw.rule).into() })
    }

    /// One line per broken rule, in the order of the rules. Names lines, never what stands in them.
    pub(super) fn findings(&self, text: &str) -> Vec<Arc<str>> {
        let matched = self.set.matches(text.as_bytes());
        if !matched.matched_any() {
            return Vec::new();
        }
        let blocks = CodeBlocks::of(text);
        let mut findings = Vec::new();
        for rule in matched.iter().filter_map(|place| self.rules.get(place)) {
            let lines = rule.lines(text, &blocks);
            if lines.is_empty() {
                continue;
            }
            match rule.severity {
                Severity::Error => findings.push(rule.finding(&lines)),
                Severity::Warning => {
                    metrics::counter!("moothall_policy_warnings_total", "rule" => rule.id.clone()).increment(1);
                }
            }
        }
        findings
    }
}

impl Rule {
    /// The lines, from 1, where it is broken.
    fn lines(&self, text: &str, blocks: &CodeBlocks) -> BTreeSet<usize> {
        let found = self.pattern.find_iter(text.as_bytes()).filter(|found| {
            let excepted = self.unless.as_ref().is_some_and(|unless| unless.is_match(found.as_bytes()));
            !excepted && (self.only.is_none() || blocks.hold(found.range()))
        });
        found.map(|found| line(text, found.start(), found.as_bytes())).collect()
    }

    fn finding(&self, lines: &BTreeSet<usize>) -> Arc<str> {
        let first = lines.first().copied().unwrap_or(1);
        let more = match lines.len() {
            0 | 1 => String::new(),
            count => format!(" and {} more", count - 1),
        };
        format!("{}: {} (line {first}{more})", self.id, self.reason).into()
    }
}

/// Where a match begins; a line break that belongs to it as its first byte is not where a reader looks.
fn line(text: &str, start: usize, found: &[u8]) -> usize {
    let breaks = text.as_bytes()[..start].iter().filter(|byte| **byte == b'\n').count();
    breaks + 1 + usize::from(found.first() == Some(&b'\n'))
}

fn doubled(rules: &[RawRule]) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let twice = rules.iter().filter(|rule| !seen.insert(rule.id.as_str()));
    twice.map(|rule| format!("rule {:?} stands there twice", rule.id)).collect()
}

fn compile(raw: &RawRule) -> Result<Rule, String> {
    let problem = |what: &str| format!("rule {:?}: {what}", raw.id);
    if raw.id.trim().is_empty() || raw.reason.trim().is_empty() {
        return Err(problem("id and reason must not be empty"));
    }
    let regex = |pattern: &str| {
        let built = RegexBuilder::new(pattern).unicode(false).build();
        built.map_err(|error| problem(&error.to_string()))
    };
    let pattern = regex(&raw.pattern)?;
    if pattern.is_match(b"") {
        return Err(problem("the pattern matches the empty text"));
    }
    Ok(Rule {
        id: raw.id.clone(),
        reason: raw.reason.clone(),
        severity: raw.severity,
        only: raw.only,
        pattern,
        unless: raw.unless.as_deref().map(regex).transpose()?,
    })
}

/// SHA-256 of the rules in force, in hex: comments and layout of the file do not count.
fn hash(rules: &[RawRule]) -> String {
    let canonical = serde_json::to_vec(rules).unwrap_or_default();
    Sha256::digest(&canonical).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(extra: &str) -> String {
        format!("[[rule]]\nid = 'a.b'\npattern = 'bad'\nreason = 'is bad'\nseverity = 'error'\n{extra}\n")
    }

    #[test]
    fn a_finding_names_rule_reason_and_line() {
        let policy = Policy::parse(&rule("")).unwrap();
        assert_eq!(policy.findings("good\nbad bad\nworse\nbad"), [Arc::from("a.b: is bad (line 2 and 1 more)")]);
        assert!(policy.findings("good").is_empty());
    }

    #[test]
    fn exceptions_and_prose_are_no_findings() {
        let policy = Policy::parse(&rule("only = 'code'\nunless = 'x'").replace("'bad'", "'bad.?'")).unwrap();
        assert!(policy.findings("bad\n```\ngood\n```\n").is_empty());
        assert!(policy.findings("badx").is_empty());
        assert_eq!(policy.findings("```\nbad\n```\n").len(), 1);
    }

    #[test]
    fn a_warning_fails_nothing() {
        let policy = Policy::parse(&rule("").replace("'error'", "'warning'")).unwrap();
        assert!(policy.findings("bad").is_empty());
    }

    #[test]
    fn every_wrong_rule_is_named() {
        let text = rule("")
            + &rule("")
            + &rule("").replace("a.b", "c").replace("'bad'", "'('")
            + &rule("").replace("a.b", "d").replace("'bad'", "'x*'");
        let text = Policy::parse(&text).unwrap_err().to_string();
        assert!(text.contains("\"a.b\" stands there twice"), "{text}");
        assert!(text.contains("\"c\":") && text.contains("\"d\": the pattern matches the empty text"), "{text}");
        assert!(matches!(Policy::parse("[[rules]]"), Err(PolicyError::Unparsable(_))));
    }

    #[test]
    fn the_hash_is_that_of_the_rules_not_of_the_file() {
        let hash = |text: &str| Policy::parse(text).unwrap().hash;
        assert_eq!(hash(&rule("")), hash(&format!("# why\n{}", rule(""))));
        assert_ne!(hash(&rule("")), hash(&rule("unless = 'x'")));
    }
}
