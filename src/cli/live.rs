//! A running deliberation, shown while it runs: the stage and one line per agent on a terminal, a line for each thing
//! that happens elsewhere. On standard error, so that the answer alone stands on standard output.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::output::{count, duration, printable};
use crate::grpc::proto::moothall::v1::TaskUpdate;

/// How often the elapsed time moves on.
const TICK: Duration = Duration::from_millis(120);

/// Where updates are shown.
pub(crate) enum Live {
    /// Nobody looks.
    Silent,
    Lines(Lines),
    Terminal(Terminal),
}

impl Live {
    /// As standard error allows.
    pub(crate) fn new(silent: bool) -> Self {
        match io::stderr().is_terminal() {
            _ if silent => Self::Silent,
            true => Self::Terminal(Terminal::new()),
            false => Self::Lines(Lines { started: Instant::now() }),
        }
    }

    pub(crate) fn show(&mut self, update: &TaskUpdate) {
        match self {
            Self::Silent => {}
            Self::Lines(lines) => say(&lines.text(update)),
            Self::Terminal(terminal) => terminal.show(update),
        }
    }

    /// Something beside the deliberation itself, such as a lost connection.
    pub(crate) fn note(&self, text: &str) {
        match self {
            Self::Silent => {}
            Self::Lines(_) => say(text),
            Self::Terminal(terminal) => terminal.note(text),
        }
    }

    /// Takes the live part off the screen; what follows is the answer.
    pub(crate) fn finish(self) {
        if let Self::Terminal(terminal) = self {
            terminal.finish();
        }
    }
}

/// A reader that is gone is no reason to stop the work.
fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{}", printable(text));
}

/// One line per update.
pub(crate) struct Lines {
    started: Instant,
}

impl Lines {
    fn text(&self, update: &TaskUpdate) -> String {
        line(update, self.started.elapsed())
    }
}

fn line(update: &TaskUpdate, elapsed: Duration) -> String {
    let tokens = tokens(update);
    let tokens = if tokens > 0 { format!(" ({} tokens)", count(tokens)) } else { String::new() };
    let (percent, phase, step) = (update.progress_percent, &update.phase, &update.current_step);
    format!("{:>8} {percent:>3} % {phase:<10} {step}{tokens}", duration(elapsed))
}

fn tokens(update: &TaskUpdate) -> i64 {
    update.prompt_tokens.saturating_add(update.completion_tokens)
}

/// A bar for the whole and a spinner for each agent.
pub(crate) struct Terminal {
    area: MultiProgress,
    whole: ProgressBar,
    agents: BTreeMap<String, ProgressBar>,
}

impl Terminal {
    fn new() -> Self {
        let area = MultiProgress::new();
        let whole = area.add(ProgressBar::new(100));
        whole.set_style(style("{spinner:.cyan} {prefix:<10.bold} {bar:30.cyan/dim} {pos:>3} %  {elapsed}  {msg:.dim}"));
        whole.set_prefix("pending");
        whole.enable_steady_tick(TICK);
        Self { area, whole, agents: BTreeMap::new() }
    }

    fn show(&mut self, update: &TaskUpdate) {
        self.whole.set_prefix(printable(&update.phase));
        self.whole.set_position(u64::try_from(update.progress_percent).unwrap_or_default());
        let step = printable(&update.current_step);
        if update.current_agent.is_empty() {
            self.whole.set_message(format!("{} tokens  {step}", count(tokens(update))));
            return;
        }
        self.whole.set_message(format!("{} tokens", count(tokens(update))));
        let agent = printable(&update.current_agent);
        let did = step.strip_prefix(agent.as_str()).map_or(step.as_str(), str::trim_start).to_owned();
        self.agent(agent).set_message(did);
    }

    fn agent(&mut self, name: String) -> &ProgressBar {
        let area = &self.area;
        self.agents.entry(name).or_insert_with_key(|name| {
            let bar = area.add(ProgressBar::no_length());
            bar.set_style(style("  {prefix:<24} {msg}"));
            bar.set_prefix(name.clone());
            bar
        })
    }

    fn note(&self, text: &str) {
        // Without room on the screen there is nobody to tell.
        let _ = self.area.println(printable(text));
    }

    fn finish(self) {
        self.agents.values().for_each(ProgressBar::finish_and_clear);
        self.whole.finish_and_clear();
    }
}

/// A template is a constant; a wrong one shows as the plain bar.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update() -> TaskUpdate {
        TaskUpdate {
            phase: "reviewing".into(),
            progress_percent: 44,
            current_step: "agent-dev-002 criticised".into(),
            current_agent: "agent-dev-002".into(),
            prompt_tokens: 1000,
            completion_tokens: 234,
            ..TaskUpdate::default()
        }
    }

    #[test]
    fn a_line_says_when_where_what_and_how_much() {
        let text = line(&update(), Duration::from_millis(1500));
        assert_eq!(text, "   1.5 s  44 % reviewing  agent-dev-002 criticised (1,234 tokens)");
    }

    #[test]
    fn each_agent_has_one_line_on_a_terminal() {
        let mut terminal = Terminal::new();
        terminal.area.set_draw_target(indicatif::ProgressDrawTarget::hidden());
        terminal.show(&update());
        terminal.show(&TaskUpdate { current_step: "agent-dev-002 revised".into(), ..update() });
        assert_eq!(terminal.agents.len(), 1);
        assert_eq!(terminal.agents["agent-dev-002"].message(), "revised");
        assert_eq!(terminal.whole.position(), 44);
    }

    #[test]
    fn every_template_is_right() {
        for template in [
            "{spinner:.cyan} {prefix:<10.bold} {bar:30.cyan/dim} {pos:>3} %  {elapsed}  {msg:.dim}",
            "  {prefix:<24} {msg}",
        ] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }
}
