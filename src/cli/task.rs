//! `task`: look at tasks, queue one, list them, cancel, retry or park one.

use std::collections::BTreeMap;
use std::io;

use clap::{Args, Subcommand, ValueEnum};

use super::daemon::Daemon;
use super::exit::Failure;
use super::output::{Output, brief, count, millis, time};
use super::queue;
use super::verdict::Verdict;
use super::work::Wanted;
use crate::grpc::proto::moothall::v1::{
    CancelTaskRequest, Execution, GetTaskRequest, ListTasksRequest, OnDependencyFailure, ParkTaskRequest, QueueState,
    RetryTaskRequest, SubmitTaskRequest, Task, TaskKind, TaskStatus,
};

#[derive(Debug, Subcommand)]
pub(crate) enum TaskCommand {
    /// One task, and its results when it completed
    Get {
        /// The task's id
        task: String,
        /// Leave the results out
        #[arg(long)]
        no_results: bool,
    },
    /// Tasks, newest first
    List {
        #[arg(long, value_enum)]
        status: Option<Standing>,
        /// Whose council
        #[arg(long, default_value = "", hide_default_value = true)]
        role: String,
        /// Of this story
        #[arg(long, default_value = "", hide_default_value = true)]
        story: String,
        /// Most tasks of one page
        #[arg(long, short = 'n', default_value_t = 20)]
        limit: i32,
        /// The last page's cursor
        #[arg(long, default_value = "", hide_default_value = true)]
        cursor: String,
    },
    /// Put a task into the queue, print its id, and leave
    Submit(Box<SubmitArgs>),
    /// Put a failed, cancelled or skipped task back into the queue, or let a parked one go on
    Retry {
        /// The task's id
        task: String,
    },
    /// Leave a task that waits alone until it is retried
    Park {
        /// The task's id
        task: String,
        /// Why; it stands in the journal
        #[arg(long, default_value = "", hide_default_value = true)]
        reason: String,
    },
    /// End a task's run, or one that waits for its turn; its model calls are dropped
    Cancel {
        /// The task's id
        task: String,
        /// Why; it stands in the journal
        #[arg(long, default_value = "", hide_default_value = true)]
        reason: String,
    },
}

#[derive(Args, Debug)]
pub(crate) struct SubmitArgs {
    #[command(flatten)]
    wanted: Wanted,
    /// 1 to 100, the highest first, or low, medium, high, critical
    #[arg(long, default_value = "", hide_default_value = true)]
    priority: String,
    /// A task that must complete first; can be given many times
    #[arg(long = "needs", value_name = "TASK")]
    needs: Vec<String>,
    /// What becomes of it when one of those fails; else as the daemon is configured
    #[arg(long, value_enum)]
    on_failure: Option<OnFailure>,
    /// The phase that its story has to reach first: BUILD, TEST or IN_PROGRESS
    #[arg(long, value_name = "PHASE", default_value = "", hide_default_value = true)]
    hold: String,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum OnFailure {
    Block,
    Skip,
    Run,
}

impl From<OnFailure> for OnDependencyFailure {
    fn from(on_failure: OnFailure) -> Self {
        match on_failure {
            OnFailure::Block => Self::Block,
            OnFailure::Skip => Self::Skip,
            OnFailure::Run => Self::Run,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Standing {
    Open,
    Completed,
    Failed,
    Cancelled,
    Skipped,
}

impl From<Standing> for TaskStatus {
    fn from(standing: Standing) -> Self {
        match standing {
            Standing::Open => Self::Open,
            Standing::Completed => Self::Completed,
            Standing::Failed => Self::Failed,
            Standing::Cancelled => Self::Cancelled,
            Standing::Skipped => Self::Skipped,
        }
    }
}

pub(super) async fn run(command: TaskCommand, daemon: &Daemon, output: &Output) -> Result<(), Failure> {
    match command {
        TaskCommand::Get { task, no_results } => get(task, !no_results, daemon, output).await,
        TaskCommand::List { status, role, story, limit, cursor } => {
            let status = status.map_or(TaskStatus::Unspecified, TaskStatus::from).into();
            list(ListTasksRequest { status, role, story_id: story, limit, cursor }, daemon, output).await
        }
        TaskCommand::Submit(args) => submit(*args, daemon, output).await,
        TaskCommand::Retry { task } => {
            let answer = daemon.tasks().retry_task(RetryTaskRequest { task_id: task }).await?.into_inner();
            output.message("moothall.v1.RetryTaskResponse", &answer, || {
                answer.task.as_ref().map_or(Ok(()), |task| show(task, output))
            })
        }
        TaskCommand::Park { task, reason } => {
            let answer = daemon.tasks().park_task(ParkTaskRequest { task_id: task, reason }).await?.into_inner();
            output.message("moothall.v1.ParkTaskResponse", &answer, || {
                answer.task.as_ref().map_or(Ok(()), |task| show(task, output))
            })
        }
        TaskCommand::Cancel { task, reason } => {
            let answer = daemon.tasks().cancel_task(CancelTaskRequest { task_id: task, reason }).await?.into_inner();
            output.message("moothall.v1.CancelTaskResponse", &answer, || {
                answer.task.as_ref().map_or(Ok(()), |task| show(task, output))
            })
        }
    }
}

async fn submit(args: SubmitArgs, daemon: &Daemon, output: &Output) -> Result<(), Failure> {
    let request = SubmitTaskRequest {
        work: Some(args.wanted.request()?),
        priority: args.priority,
        needs: args.needs,
        on_dependency_failure: args.on_failure.map_or(OnDependencyFailure::Unspecified, Into::into).into(),
        hold_until_phase: args.hold,
    };
    let answer = daemon.tasks().submit_task(request).await?.into_inner();
    output.message("moothall.v1.SubmitTaskResponse", &answer, || {
        answer.task.as_ref().map_or(Ok(()), |task| output.line(&task.task_id))
    })
}

async fn get(task: String, include_results: bool, daemon: &Daemon, output: &Output) -> Result<(), Failure> {
    let request = GetTaskRequest { task_id: task, include_results };
    let answer = daemon.tasks().get_task(request).await?.into_inner();
    output.message("moothall.v1.GetTaskResponse", &answer, || {
        let Some(task) = &answer.task else { return Ok(()) };
        show(task, output)?;
        let is_shown = |tags: &BTreeMap<_, _>| !answer.results.is_empty() || tags.contains_key("pruned");
        let Some(metadata) = answer.metadata.as_ref().filter(|metadata| is_shown(&metadata.tags)) else {
            return Ok(());
        };
        output.line("")?;
        let results = answer.results.iter().collect();
        Verdict { results, duration_ms: task.duration_ms, tags: &metadata.tags }.show(&task.task_id, output)
    })
}

async fn list(request: ListTasksRequest, daemon: &Daemon, output: &Output) -> Result<(), Failure> {
    let answer = daemon.tasks().list_tasks(request).await?.into_inner();
    output.message("moothall.v1.ListTasksResponse", &answer, || {
        let headers = ["TASK", "ROLE", "STATUS", "RUN", "ACCEPTED", "TOOK", "WINNER OR ERROR"];
        output.table(&headers, answer.tasks.iter().map(row).collect())?;
        if !answer.next_cursor.is_empty() {
            output.line(&format!("more: --cursor {}", answer.next_cursor))?;
        }
        Ok(())
    })
}

fn row(task: &Task) -> Vec<String> {
    let outcome = match &task.error {
        Some(error) => brief(&error.message, 60),
        None => task.winner_id.clone(),
    };
    let took = if task.duration_ms > 0 { millis(task.duration_ms) } else { String::new() };
    let (id, role) = (task.task_id.clone(), task.role.clone());
    vec![id, role, standing(task), task.run.to_string(), time(task.accepted_at_ms), took, outcome]
}

/// With the phase while it is open.
fn standing(task: &Task) -> String {
    match task.status() {
        TaskStatus::Unspecified => "unknown".to_owned(),
        TaskStatus::Open => match waits(task) {
            Some(state) => state,
            None => format!("open ({}, {} %)", task.phase, task.progress_percent),
        },
        TaskStatus::Completed => "completed".to_owned(),
        TaskStatus::Failed => "failed".to_owned(),
        TaskStatus::Cancelled => "cancelled".to_owned(),
        TaskStatus::Skipped => "skipped".to_owned(),
    }
}

/// Where it stands in the queue, until a council works on it.
fn waits(task: &Task) -> Option<String> {
    let state = Some(task.queue_state());
    let state = state.filter(|state| !matches!(state, QueueState::Unspecified | QueueState::InProgress));
    state.map(queue::word)
}

fn carried_out(execution: &Execution) -> String {
    let Execution { agent_id, attempt, asked_at_ms, heard_at_ms, stalled, answered, agents, .. } = execution;
    let heard = if *stalled { "stalled: nothing was heard since" } else { "last heard of" };
    if *agents > 0 {
        return format!(
            "by {agents} agents, {answered} of them are done; {agent_id} works, attempt {attempt}, asked {}; {heard} {}",
            time(*asked_at_ms),
            time(*heard_at_ms)
        );
    }
    format!("by {agent_id}, attempt {attempt}, asked {}; {heard} {}", time(*asked_at_ms), time(*heard_at_ms))
}

/// All there is to say of one task, a line each.
pub(super) fn show(task: &Task, output: &Output) -> io::Result<()> {
    let kind = match task.kind() {
        TaskKind::Orchestrate => "orchestrate",
        TaskKind::Deliberate | TaskKind::Unspecified => "deliberate",
    };
    let mut rows = [
        ["task", &task.task_id],
        ["status", &standing(task)],
        ["role", &task.role],
        ["kind", kind],
        ["run", &task.run.to_string()],
        ["step", &task.current_step],
        ["because", &task.queue_reason],
        ["needs", &task.needs.join(", ")],
        ["winner", &task.winner_id],
        ["error", task.error.as_ref().map_or("", |error| error.message.as_str())],
        ["story", &task.story_id],
        ["accepted", &time(task.accepted_at_ms)],
        ["ended", &time(task.ended_at_ms)],
    ]
    .map(|pair| pair.map(str::to_owned).to_vec())
    .to_vec();
    if task.duration_ms > 0 {
        rows.push(vec!["took".to_owned(), millis(task.duration_ms)]);
    }
    if task.prompt_tokens + task.completion_tokens > 0 {
        let tokens = format!("{} + {}", count(task.prompt_tokens), count(task.completion_tokens));
        rows.push(vec!["tokens".to_owned(), tokens]);
    }
    rows.extend(task.execution.as_ref().map(|execution| vec!["carried out".to_owned(), carried_out(execution)]));
    if task.simulated {
        rows.push(vec!["simulated".to_owned(), "yes: its answers are scripted".to_owned()]);
    }
    rows.retain(|row| !row[1].is_empty());
    output.pairs(rows)
}
