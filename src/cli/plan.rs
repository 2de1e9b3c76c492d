//! `plan`: what a plan comes to, before anybody spends a model call on it.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use moothall_actors::domain::id::Role;
use moothall_actors::domain::problem::Problems;

use super::exit::{Exit, Failure};
use super::output::Output;
use crate::plan::limit::{DEFAULT_MAX_TASKS, HARD_MAX_TASKS, MAX_PLAN_BYTES};
use crate::plan::{Origin, parse};

#[derive(Debug, Subcommand)]
pub(crate) enum PlanCommand {
    /// Read a plan, name every problem, and show its tasks in waves; ends with 1 when it cannot be carried out
    Check(CheckArgs),
}

#[derive(Args, Debug)]
pub(crate) struct CheckArgs {
    /// JSON, YAML, Markdown with `## DEV Tasks`, or Spec Kit's tasks.md, told apart by content; - is standard input
    file: PathBuf,
    /// In which form
    #[arg(long, value_name = "FORM", default_value = "text")]
    graph: Graph,
    /// The plan's id, where the plan does not say it
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    plan_id: String,
    /// The story's id, where the plan does not say it
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    story_id: String,
    /// A role that the plan is for; the first does tasks that name none; can be given many times
    #[arg(long = "role", value_name = "ROLE", value_parser = role)]
    roles: Vec<Role>,
    /// Most tasks that are allowed
    #[arg(long, value_name = "N", default_value_t = DEFAULT_MAX_TASKS, value_parser = max_tasks)]
    max_tasks: usize,
}

/// How the graph of tasks is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Graph {
    /// Waves: the tasks of one can run side by side
    Text,
    /// Graphviz
    Dot,
}

fn role(text: &str) -> Result<Role, String> {
    Role::parse("role", text).map_err(|problem| problem.message)
}

fn max_tasks(text: &str) -> Result<usize, String> {
    let allowed = 1..=HARD_MAX_TASKS;
    let number = text.parse().ok().filter(|number| allowed.contains(number));
    number.ok_or_else(|| format!("allowed are 1 to {HARD_MAX_TASKS}"))
}

pub(super) fn run(command: PlanCommand, output: &Output) -> Result<(), Failure> {
    let PlanCommand::Check(args) = command;
    let shown = if is_stdin(&args.file) { "standard input".to_owned() } else { args.file.display().to_string() };
    let bytes =
        read(&args.file).map_err(|error| Failure::new(Exit::NO_INPUT, format!("{shown} cannot be read: {error}")))?;
    let origin =
        Origin { plan_id: args.plan_id, story_id: args.story_id, roles: args.roles, max_tasks: args.max_tasks };
    let plan = parse(&bytes, &origin).map_err(|problems| refused(&shown, &problems))?;
    if output.is_json() {
        let document = serde_json::to_value(&plan).map_err(|error| Failure::of(Exit::INTERNAL, &error))?;
        return Ok(output.document(&document)?);
    }
    match args.graph {
        Graph::Text => Ok(output.exact(&plan.to_text())?),
        Graph::Dot => Ok(output.exact(&plan.to_dot())?),
    }
}

/// One byte more than a plan may have is enough to know that it has too many.
fn read(file: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let most = MAX_PLAN_BYTES as u64 + 1;
    match is_stdin(file) {
        true => io::stdin().take(most).read_to_end(&mut bytes)?,
        false => File::open(file)?.take(most).read_to_end(&mut bytes)?,
    };
    Ok(bytes)
}

fn is_stdin(file: &Path) -> bool {
    file.as_os_str() == "-"
}

fn refused(shown: &str, problems: &Problems) -> Failure {
    let list: String = problems.0.iter().map(|problem| format!("\n  {problem}")).collect();
    Failure::new(Exit::FAILED, format!("{shown} cannot be carried out:{list}"))
}
