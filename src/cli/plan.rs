//! `plan`: what a plan comes to, before anybody spends a model call on it, and having it carried out.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use moothall_actors::domain::id::Role;
use moothall_actors::domain::problem::Problems;

use super::daemon::Daemon;
use super::exit::{Exit, Failure};
use super::output::Output;
use crate::grpc::proto::moothall::v1::{PlannedTask, SubmitPlanRequest};
use crate::plan::limit::{DEFAULT_MAX_TASKS, HARD_MAX_TASKS, MAX_PLAN_BYTES};
use crate::plan::{Origin, parse};

#[derive(Debug, Subcommand)]
pub(crate) enum PlanCommand {
    /// Read a plan, name every problem, and show its tasks in waves; ends with 1 when it cannot be carried out
    Check(CheckArgs),
    /// Queue a plan's tasks, all or none; the same plan again changes nothing
    Submit(SubmitArgs),
}

#[derive(Args, Debug)]
pub(crate) struct SubmitArgs {
    #[command(flatten)]
    source: SourceArgs,
    /// Who approved it; kept with the approval
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    approved_by: String,
}

#[derive(Args, Debug)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    source: SourceArgs,
    /// In which form
    #[arg(long, value_name = "FORM", default_value = "text")]
    graph: Graph,
    /// Most tasks that are allowed
    #[arg(long, value_name = "N", default_value_t = DEFAULT_MAX_TASKS, value_parser = max_tasks)]
    max_tasks: usize,
}

/// A plan, and what is known of it beside its text.
#[derive(Args, Debug)]
struct SourceArgs {
    /// JSON, YAML, Markdown with `## DEV Tasks`, or Spec Kit's tasks.md, told apart by content; - is standard input
    file: PathBuf,
    /// The plan's id, where the plan does not say it
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    plan_id: String,
    /// The story's id, where the plan does not say it
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    story_id: String,
    /// A role that the plan is for; the first does tasks that name none; can be given many times
    #[arg(long = "role", value_name = "ROLE", value_parser = role)]
    roles: Vec<Role>,
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

pub(super) async fn run(command: PlanCommand, server: &str, output: &Output) -> Result<(), Failure> {
    match command {
        PlanCommand::Check(args) => check(args, output),
        PlanCommand::Submit(args) => submit(args, &Daemon::connect(server).await?, output).await,
    }
}

async fn submit(args: SubmitArgs, daemon: &Daemon, output: &Output) -> Result<(), Failure> {
    let SourceArgs { file, plan_id, story_id, roles } = args.source;
    let (bytes, _) = read(&file)?;
    let roles = roles.iter().map(ToString::to_string).collect();
    let request = SubmitPlanRequest { plan: bytes, plan_id, story_id, roles, approved_by: args.approved_by };
    let answer = daemon.tasks().submit_plan(request).await?.into_inner();
    output.message("moothall.v1.SubmitPlanResponse", &answer, || {
        let known = if answer.new { "is approved" } else { "was approved before, just so" };
        output.line(&format!("plan {} {known}", answer.plan_id))?;
        answer.notes.iter().try_for_each(|note| output.line(&format!("note: {note}")))?;
        let row = |planned: &PlannedTask| vec![planned.task_id.clone(), planned.change.clone()];
        output.table(&["TASK", "CHANGE"], answer.tasks.iter().map(row).collect())
    })
}

fn check(args: CheckArgs, output: &Output) -> Result<(), Failure> {
    let SourceArgs { file, plan_id, story_id, roles } = args.source;
    let (bytes, shown) = read(&file)?;
    let origin = Origin { plan_id, story_id, roles, max_tasks: args.max_tasks };
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

/// With what the file is called.
fn read(file: &Path) -> Result<(Vec<u8>, String), Failure> {
    let shown = if is_stdin(file) { "standard input".to_owned() } else { file.display().to_string() };
    match bytes(file) {
        Ok(bytes) => Ok((bytes, shown)),
        Err(error) => Err(Failure::new(Exit::NO_INPUT, format!("{shown} cannot be read: {error}"))),
    }
}

/// One byte more than a plan may have is enough to know that it has too many.
fn bytes(file: &Path) -> io::Result<Vec<u8>> {
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
