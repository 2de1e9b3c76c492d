//! What a deliberation came to: the ranking with its evidence, what it took, and the winner's text.

use std::collections::BTreeMap;
use std::io;

use moothall_actors::artifact::Artifact;

use super::exit::{Exit, Failure};
use super::output::{Output, count, millis};
use crate::grpc::proto::fleet::orchestrator::v1::{CheckSuite, DeliberationResult};

/// A finished run as an answer holds it.
pub(crate) struct Verdict<'a> {
    /// Best first.
    pub(crate) results: Vec<&'a DeliberationResult>,
    pub(crate) duration_ms: i64,
    pub(crate) tags: &'a BTreeMap<String, String>,
}

impl Verdict<'_> {
    /// Ranking first, the winner's text last: it is what most want to copy.
    pub(crate) fn show(&self, task: &str, output: &Output) -> io::Result<()> {
        if self.tags.contains_key("pruned") {
            let took = millis(self.duration_ms);
            return output.line(&format!("task {task} completed in {took}; what was said in it has been pruned"));
        }
        if self.tags.contains_key("simulated") {
            output.heading("SIMULATED: these answers are scripted, no model wrote them")?;
        }
        output.table(
            &["RANK", "AGENT", "SCORE", "QUALITY", "CHECKS", "REVISIONS"],
            self.results.iter().map(|result| self.row(result)).collect(),
        )?;
        for result in &self.results {
            for (check, finding) in result.checks.iter().flat_map(findings) {
                output.line(&format!("  {}: {check} failed: {finding}", author(result)))?;
            }
            if self.tags.contains_key(&format!("dropped_revisions.{}", author(result))) {
                let kept = "a revision broke what the text before it had right, so that text counts";
                output.line(&format!("  {}: {kept}", author(result)))?;
            }
        }
        output.line("")?;
        output.line(&self.summary(task))?;
        for (name, why) in self.tags.iter().filter(|(name, _)| name.starts_with("missing.")) {
            output.line(&format!("missing: {} ({why})", name.trim_start_matches("missing.")))?;
        }
        if let Some(why) = self.tags.get("context.missing") {
            output.line(&format!("without context: {why}"))?;
        }
        if let Some(why) = self.tags.get("executor_left") {
            output.line(&format!("asked directly, without the executor: {why}"))?;
        }
        let Some(winner) = self.results.first() else { return Ok(()) };
        output.line("")?;
        output.heading(&format!("{} wins", author(winner)))?;
        output.line(content(winner))
    }

    /// The winner's text alone.
    pub(crate) fn show_winner(&self, output: &Output) -> io::Result<()> {
        self.results.first().map_or(Ok(()), |winner| output.line(content(winner)))
    }

    /// The winner's diff alone, as it is.
    pub(crate) fn show_diff(&self, output: &Output) -> Result<(), Failure> {
        let artifact = self.results.first().and_then(|winner| Artifact::read(content(winner)));
        match artifact {
            Some(artifact) => Ok(output.exact(&artifact.diff)?),
            None => {
                let failure = Failure::new(Exit::FAILED, "the winner is no artifact: it has no diff");
                Err(failure.hint("--artifact patch with --file PATH, or --artifact files, asks for one."))
            }
        }
    }

    fn row(&self, result: &DeliberationResult) -> Vec<String> {
        let agent = author(result);
        let quality = self.tags.get(&format!("quality.{agent}")).map(String::as_str).unwrap_or("-");
        let revisions = result.proposal.as_ref().map_or(0, |proposal| proposal.revisions.len());
        vec![
            result.rank.to_string(),
            agent.to_owned(),
            format!("{:.3}", result.score),
            quality.chars().take(5).collect(),
            result.checks.as_ref().map_or_else(String::new, checks),
            revisions.to_string(),
        ]
    }

    fn summary(&self, task: &str) -> String {
        let number = |name: &str| self.tags.get(name).and_then(|text| text.parse::<i64>().ok()).unwrap_or_default();
        let mut text = format!(
            "task {task}: {} calls, {} + {} tokens, {}",
            count(number("calls")),
            count(number("prompt_tokens")),
            count(number("completion_tokens")),
            millis(self.duration_ms),
        );
        for (name, words) in [("stop_reason", "ended by"), ("confidence", "margin of the winner")] {
            if let Some(value) = self.tags.get(name) {
                text.push_str(&format!(", {words} {value}"));
            }
        }
        if let Some(tokens) = self.tags.get("context.tokens") {
            let version: String =
                self.tags.get("context.version_hash").map_or("", String::as_str).chars().take(12).collect();
            text.push_str(&format!(", {tokens} tokens of context in version {version}"));
        }
        if self.tags.contains_key("num_agents.clamped") {
            text.push_str(", more agents were asked for than there are");
        }
        text
    }
}

fn author(result: &DeliberationResult) -> &str {
    result.proposal.as_ref().map_or("", |proposal| proposal.author_id.as_str())
}

fn content(result: &DeliberationResult) -> &str {
    result.proposal.as_ref().map_or("", |proposal| proposal.content.as_str())
}

/// What failed, else what passed; what did not run is not called passed.
fn checks(suite: &CheckSuite) -> String {
    let all: Vec<_> = named(suite).collect();
    let of =
        |wanted: Word| all.iter().filter(|(_, word, _)| *word == wanted).map(|(name, ..)| *name).collect::<Vec<_>>();
    let (failed, passed) = (of(Word::Failed), of(Word::Passed));
    match (failed.is_empty(), passed.is_empty()) {
        (false, _) => format!("failed {}", failed.join(", ")),
        (true, false) => format!("passed {}", passed.join(", ")),
        (true, true) => "not run".to_owned(),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Passed,
    Failed,
    NotRun,
}

/// Every check with its outcome and what it found.
fn named(suite: &CheckSuite) -> impl Iterator<Item = (&str, Word, Vec<&str>)> {
    let word = |passed: bool, message: &str| match passed {
        true => Word::Passed,
        false if message.starts_with("not run") => Word::NotRun,
        false => Word::Failed,
    };
    let policy = suite.policy.iter().map(move |of| ("policy", word(of.passed, &of.message), texts(&of.violations)));
    // The lint has no message: why it did not run stands where the errors do.
    let lint = suite
        .lint
        .iter()
        .map(move |of| ("lint", word(of.passed, of.errors.first().map_or("", String::as_str)), texts(&of.errors)));
    let dry_run =
        suite.dryrun.iter().map(move |of| ("dry run", word(of.passed, &of.message), vec![of.output.as_str()]));
    let others = suite.additional_checks.iter().map(move |of| {
        (of.check_type.as_str(), word(of.passed, &of.message), of.details.values().map(String::as_str).collect())
    });
    policy.chain(lint).chain(dry_run).chain(others)
}

fn texts(list: &[String]) -> Vec<&str> {
    list.iter().map(String::as_str).collect()
}

/// What the failed checks found.
fn findings(suite: &CheckSuite) -> impl Iterator<Item = (&str, &str)> {
    let failed = named(suite).filter(|(_, word, _)| *word == Word::Failed);
    failed.flat_map(|(name, _, found)| found.into_iter().map(move |finding| (name, finding)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc::proto::fleet::orchestrator::v1::{LintResult, PolicyResult};

    #[test]
    fn a_check_that_did_not_run_is_not_called_passed() {
        let suite = |passed, message: &str| CheckSuite {
            policy: Some(PolicyResult { passed, violations: vec!["v".into()], message: message.into() }),
            lint: Some(LintResult { errors: vec!["not run: no code".into()], ..LintResult::default() }),
            ..CheckSuite::default()
        };
        assert_eq!(checks(&suite(true, "passed")), "passed policy");
        assert_eq!(checks(&suite(false, "not run: checks are switched off")), "not run");
        let failing = suite(false, "1 finding");
        assert_eq!(checks(&failing), "failed policy");
        assert_eq!(findings(&failing).collect::<Vec<_>>(), [("policy", "v")]);
    }

    #[test]
    fn the_summary_says_what_it_took() {
        let tags =
            [("calls", "9"), ("prompt_tokens", "12345"), ("completion_tokens", "678"), ("stop_reason", "rounds")];
        let tags = tags.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let verdict = Verdict { results: vec![], duration_ms: 3200, tags: &tags };
        assert_eq!(verdict.summary("T-1"), "task T-1: 9 calls, 12,345 + 678 tokens, 3.2 s, ended by rounds");
        let told = [("context.tokens", "7"), ("context.version_hash", "0123456789abcdef")];
        let tags = told.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let verdict = Verdict { tags: &tags, ..verdict };
        assert!(verdict.summary("T-1").ends_with(", 7 tokens of context in version 0123456789ab"));
    }
}
