//! `verdict` and `why`: what a run came to, with all its evidence or as a short story.

use std::fmt::Write as _;
use std::io;

use clap::{Args, ValueEnum};

use super::exit::Failure;
use super::output::{Output, count, millis};
use super::source::Source;
use crate::grpc::proto::moothall::v1::{Candidate, Check, VerdictDocument};

#[derive(Args, Debug)]
pub(crate) struct DocumentArgs {
    /// The task's id
    task: String,
    /// Which run, from 1; without it the last one
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    run: i32,
    /// Read this store instead of asking the daemon: a file, or sqlite:///...
    #[arg(long, value_name = "STORE")]
    store: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct VerdictArgs {
    #[command(flatten)]
    document: DocumentArgs,
    /// For people, or for a merge request; --json for programs
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Text,
    Markdown,
}

const MESSAGE: &str = "moothall.v1.VerdictDocument";

pub(super) async fn verdict(args: VerdictArgs, server: &str, output: &Output) -> Result<(), Failure> {
    let document = args.document.read(server).await?;
    output.message(MESSAGE, &document, || match args.format {
        Format::Text => text(&document, output),
        Format::Markdown => output.line(markdown(&document).trim_end()),
    })
}

pub(super) async fn why(args: DocumentArgs, server: &str, output: &Output) -> Result<(), Failure> {
    let document = args.read(server).await?;
    output.message(MESSAGE, &document, || output.line(story(&document).trim_end()))
}

impl DocumentArgs {
    async fn read(&self, server: &str) -> Result<VerdictDocument, Failure> {
        Source::open(self.store.as_deref(), server).await?.verdict(&self.task, self.run).await
    }
}

fn text(document: &VerdictDocument, output: &Output) -> io::Result<()> {
    if document.simulated {
        output.heading("SIMULATED: these answers are scripted, no model wrote them")?;
    }
    output.heading(&headline(document))?;
    if !document.error.is_empty() {
        output.line(&document.error)?;
    }
    if !document.ranking.is_empty() {
        output.line(&choice(document))?;
        output.line("")?;
        let headers = ["RANK", "AGENT", "SCORE", "QUALITY", "CHECKS", "TEXT"];
        output.table(&headers, document.ranking.iter().map(row).collect())?;
    }
    for line in evidence(document).chain(votes(document)).chain(gaps(document)) {
        output.line(&line)?;
    }
    output.line("")?;
    output.line(&cost(document))?;
    output.line(&format!("prompts {}, policy {}", brief(&document.prompts_hash), brief(&document.policy_hash)))
}

fn markdown(document: &VerdictDocument) -> String {
    let mut text = format!("# {}\n\n", headline(document));
    if document.simulated {
        text.push_str("**SIMULATED: these answers are scripted, no model wrote them.**\n\n");
    }
    if !document.error.is_empty() {
        let _ = writeln!(text, "{}\n", document.error);
    }
    if !document.ranking.is_empty() {
        let _ = writeln!(text, "{}\n", choice(document));
        text.push_str("| rank | agent | score | quality | checks | text |\n|---|---|---|---|---|---|\n");
        for candidate in &document.ranking {
            let _ = writeln!(text, "| {} |", row(candidate).join(" | "));
        }
    }
    let sections = [
        ("Evidence", evidence(document).collect::<Vec<_>>()),
        ("Votes", votes(document).collect()),
        ("What is missing, and what speaks against it", gaps(document).collect()),
        ("Reviews", reviews(document).collect()),
    ];
    for (title, lines) in sections.into_iter().filter(|(_, lines)| !lines.is_empty()) {
        let _ = writeln!(text, "\n## {title}\n");
        text.extend(lines.iter().map(|line| format!("- {}\n", line.trim())));
    }
    let _ = writeln!(text, "\n## Cost\n\n{}\n", cost(document));
    let _ = writeln!(text, "Prompts `{}`, policy `{}`.", document.prompts_hash, document.policy_hash);
    if let Some(winner) = document.ranking.first() {
        let _ = writeln!(text, "\n## The winner's text\n\n{}", winner.text);
    }
    text
}

/// For a person who was not there.
fn story(document: &VerdictDocument) -> String {
    let mut text = format!("{}.\n", headline(document));
    if document.simulated {
        text.push_str("SIMULATED: these answers are scripted, no model wrote them.\n");
    }
    let Some(winner) = document.ranking.first() else {
        let _ = writeln!(text, "There is no winner: {}.", or(&document.error, "it has not come to a verdict yet"));
        return text;
    };
    let rounds = document.reviews.iter().map(|review| review.round).max().unwrap_or_default();
    let proposals = document.ranking.len();
    let _ = match rounds {
        0 => writeln!(text, "{proposals} proposals were made; nobody reviewed them."),
        1 => writeln!(text, "{proposals} proposals were made, reviewed by a peer and revised."),
        _ => writeln!(text, "{proposals} proposals were made, and {rounds} times reviewed by a peer and revised."),
    };
    let _ = writeln!(text, "{}.", choice(document));
    let _ = writeln!(text, "{}", standing(winner));
    for other in &document.ranking[1..] {
        let _ = writeln!(text, "{}", behind(winner, other));
    }
    for candidate in document.ranking.iter().filter(|candidate| !candidate.dropped.is_empty()) {
        let broke: Vec<_> = candidate.dropped.iter().flat_map(|one| &one.checks).map(|check| &*check.name).collect();
        let _ = writeln!(
            text,
            "{} broke its own work when it revised ({}): the text before that counts.",
            candidate.agent_id,
            broke.join(", ")
        );
    }
    text.extend(gaps(document).map(|line| format!("{}\n", line.trim())));
    let _ = writeln!(text, "It took {}.", cost(document));
    text
}

fn standing(winner: &Candidate) -> String {
    let ran: Vec<_> =
        winner.checks.iter().filter(|check| check.outcome == "passed").map(|check| &*check.name).collect();
    match (winner.checks.iter().any(failed), ran.is_empty()) {
        (true, _) => format!("It failed checks itself ({}), as did all others.", failures(winner)),
        (false, true) => "No check ran on it.".to_owned(),
        (false, false) => format!("It passed {}.", ran.join(" and ")),
    }
}

fn behind(winner: &Candidate, other: &Candidate) -> String {
    let agent = &other.agent_id;
    if other.checks.iter().any(failed) && !winner.checks.iter().any(failed) {
        return format!("{agent} came behind because it failed {}.", failures(other));
    }
    match (winner.quality, other.quality) {
        (Some(best), Some(quality)) if quality < best => {
            format!(
                "{agent} came behind: its reviewers gave it {:.1} of 10, the winner {:.1}.",
                quality * 10.0,
                best * 10.0
            )
        }
        _ if other.score < winner.score => {
            format!("{agent} came behind with a score of {:.3} to {:.3}.", other.score, winner.score)
        }
        _ => format!("{agent} had the same score of {:.3} and had finished later.", other.score),
    }
}

fn failures(candidate: &Candidate) -> String {
    let line = |check: &Check| match check.findings.first() {
        Some(first) => format!("{}: {first}", check.name),
        None => check.name.clone(),
    };
    candidate.checks.iter().filter(|check| failed(check)).map(line).collect::<Vec<_>>().join("; ")
}

fn failed(check: &Check) -> bool {
    check.outcome == "failed"
}

fn headline(document: &VerdictDocument) -> String {
    let VerdictDocument { task_id, run, role, kind, status, .. } = document;
    format!("Task {task_id}, run {run}: {status} ({kind}, {role})")
}

fn choice(document: &VerdictDocument) -> String {
    let Some(selection) = &document.selection else { return format!("{} wins", document.winner_id) };
    let by = if selection.by == "architect" { "The architect chose" } else { "The score decided for" };
    format!("{by} {}: {}", document.winner_id, or(&selection.why, "it has the best score"))
}

fn row(candidate: &Candidate) -> Vec<String> {
    let word = |check: &Check| format!("{} {}", check.name, check.outcome.replace('_', " "));
    let checks: Vec<_> = candidate.checks.iter().map(word).collect();
    vec![
        candidate.rank.to_string(),
        candidate.agent_id.clone(),
        format!("{:.3}", candidate.score),
        candidate.quality.map_or_else(|| "-".to_owned(), |quality| format!("{quality:.3}")),
        checks.join(", "),
        format!("{} of {}", candidate.kept + 1, candidate.texts),
    ]
}

fn evidence(document: &VerdictDocument) -> impl Iterator<Item = String> {
    document.ranking.iter().flat_map(|candidate| {
        let agent = &candidate.agent_id;
        let found = candidate.checks.iter().flat_map(move |check| {
            check.findings.iter().map(move |finding| format!("  {agent}: {} failed: {finding}", check.name))
        });
        let dropped = candidate.dropped.iter().map(move |dropped| {
            let broke: Vec<_> = dropped.checks.iter().map(|check| &*check.name).collect();
            format!("  {agent}: its text {} was dropped, it broke {}", dropped.text + 1, broke.join(", "))
        });
        found.chain(dropped)
    })
}

fn votes(document: &VerdictDocument) -> impl Iterator<Item = String> {
    let ballots = document.selection.iter().flat_map(|selection| &selection.ballots);
    (1..).zip(ballots).map(|(number, ballot)| match ballot.spoiled.as_str() {
        "" => format!("  ballot {number}, shown {}: {}", ballot.shown.join(", "), ballot.ranking.join(" before ")),
        why => format!("  ballot {number} does not count: {why}"),
    })
}

fn gaps(document: &VerdictDocument) -> impl Iterator<Item = String> {
    let missing = document.missing.iter();
    let missing =
        missing.map(|one| format!("missing: {} in {} ({}: {})", one.agent_id, one.wave, one.class, one.reason));
    let without = document.context.iter().filter(|context| !context.missing.is_empty());
    let without = without.map(|context| format!("without context: {}", context.missing));
    let left = Some(&document.executor_left).filter(|why| !why.is_empty());
    let left = left.map(|why| format!("asked directly, without the executor: {why}"));
    missing.chain(without).chain(left).chain(document.dissent.iter().map(|dissent| format!("against it: {dissent}")))
}

fn reviews(document: &VerdictDocument) -> impl Iterator<Item = String> {
    document.reviews.iter().map(|review| {
        let rated =
            review.quality.map_or_else(|| "no rating".to_owned(), |quality| format!("{:.1} of 10", quality * 10.0));
        let (round, author) = (review.round, &review.author_id);
        format!("round {round}, {} on {author} ({rated}): {}", review.reviewer_id, review.summary.replace('\n', " "))
    })
}

fn cost(document: &VerdictDocument) -> String {
    let stages: Vec<_> =
        document.stages.iter().map(|stage| format!("{} {}", stage.wave, millis(stage.duration_ms))).collect();
    let mut text = format!(
        "{} calls, {} + {} tokens, {}",
        document.calls,
        count(document.prompt_tokens),
        count(document.completion_tokens),
        millis(document.duration_ms)
    );
    if !stages.is_empty() {
        let _ = write!(text, " ({})", stages.join(", "));
    }
    if !document.stop_reason.is_empty() {
        let _ = write!(text, ", ended by {}", document.stop_reason);
    }
    if let Some(context) = document.context.as_ref().filter(|context| context.missing.is_empty()) {
        let _ = write!(text, ", {} tokens of context in version {}", context.tokens, brief(&context.version_hash));
    }
    text
}

/// The fields in which two documents differ, with what each says.
pub(super) fn compared(a: &VerdictDocument, b: &VerdictDocument) -> Vec<[String; 3]> {
    let fields = |document: &VerdictDocument| {
        let selection = document.selection.clone().unwrap_or_default();
        let order: Vec<_> = document.ranking.iter().map(|one| format!("{} {:.3}", one.agent_id, one.score)).collect();
        [
            ("status", document.status.clone()),
            ("error", document.error.clone()),
            ("role", document.role.clone()),
            ("winner", document.winner_id.clone()),
            ("selected by", selection.by),
            ("why", selection.why),
            ("ranking", order.join(", ")),
            ("evidence", evidence(document).map(|line| line.trim().to_owned()).collect::<Vec<_>>().join("; ")),
            ("missing and dissent", gaps(document).collect::<Vec<_>>().join("; ")),
            ("cost", cost(document)),
            ("prompts", document.prompts_hash.clone()),
            ("policy", document.policy_hash.clone()),
        ]
    };
    let both = fields(a).into_iter().zip(fields(b)).filter(|((_, a), (_, b))| a != b);
    both.map(|((name, a), (_, b))| [name.to_owned(), a, b]).collect()
}

fn brief(hash: &str) -> &str {
    hash.get(..12).unwrap_or(hash)
}

fn or<'a>(text: &'a str, otherwise: &'a str) -> &'a str {
    if text.is_empty() { otherwise } else { text }
}

#[cfg(test)]
#[path = "document_tests.rs"]
mod tests;
