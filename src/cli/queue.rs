//! `queue`: what waits, what is paused, and what happens to all tasks as it happens.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _};
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::daemon::Daemon;
use super::exit::Failure;
use super::output::{Output, brief, count, json, time};
use super::watch::interrupted;
use crate::grpc::proto::moothall::v1::{
    ListQueueRequest, ListQueueResponse, PauseDispatchRequest, Pauses, QueueCount, QueueState, QueuedTask,
    ResumeDispatchRequest, TaskEvent, WatchTasksRequest,
};

/// Between two pictures of the queue.
const LOOK_PAUSE: Duration = Duration::from_secs(1);
/// Puts the cursor to the top and takes away what stood there.
const CLEAR: &str = "\x1b[H\x1b[2J";

#[derive(Debug, Subcommand)]
pub(crate) enum QueueCommand {
    /// Tasks that wait or are at work, by id, and how many stand where
    List(ListArgs),
    /// The same, again and again until Ctrl-C
    Top(ListArgs),
    /// Everything that happens to tasks, a line each, until Ctrl-C
    Events {
        /// Only what stands behind this place of the journal; 0 = all that is kept, -1 = from now on
        #[arg(long, value_name = "SEQ", default_value_t = -1, allow_negative_numbers = true)]
        after: i64,
    },
    /// Begin no more tasks of a role, or of any; what runs goes on
    Pause {
        /// Whose tasks; without it, all
        #[arg(default_value = "", hide_default_value = true)]
        role: String,
    },
    /// Begin tasks again
    Resume {
        /// Whose tasks; without it, all
        #[arg(default_value = "", hide_default_value = true)]
        role: String,
    },
}

#[derive(Args, Clone, Debug)]
pub(crate) struct ListArgs {
    #[arg(long, value_enum)]
    state: Option<State>,
    /// Whose council
    #[arg(long, default_value = "", hide_default_value = true)]
    role: String,
    /// Of this story
    #[arg(long, default_value = "", hide_default_value = true)]
    story: String,
    /// Of this plan
    #[arg(long, default_value = "", hide_default_value = true)]
    plan: String,
    /// Most tasks of one page
    #[arg(long, short = 'n', default_value_t = 20)]
    limit: i32,
    /// The last page's cursor
    #[arg(long, default_value = "", hide_default_value = true)]
    cursor: String,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum State {
    Queued,
    Blocked,
    InProgress,
    Parked,
}

impl From<State> for QueueState {
    fn from(state: State) -> Self {
        match state {
            State::Queued => Self::Queued,
            State::Blocked => Self::Blocked,
            State::InProgress => Self::InProgress,
            State::Parked => Self::Parked,
        }
    }
}

pub(super) async fn run(command: QueueCommand, daemon: &Daemon, output: &Output) -> Result<(), Failure> {
    match command {
        QueueCommand::List(args) => {
            let answer = daemon.tasks().list_queue(args.request()).await?.into_inner();
            output.message("moothall.v1.ListQueueResponse", &answer, || show(&answer, output))
        }
        QueueCommand::Top(args) => top(&args, daemon, output).await,
        QueueCommand::Events { after } => events(after, daemon, output).await,
        QueueCommand::Pause { role } => {
            let answer = daemon.tasks().pause_dispatch(PauseDispatchRequest { role }).await?.into_inner();
            output
                .message("moothall.v1.PauseDispatchResponse", &answer, || output.line(&paused(answer.paused.as_ref())))
        }
        QueueCommand::Resume { role } => {
            let answer = daemon.tasks().resume_dispatch(ResumeDispatchRequest { role }).await?.into_inner();
            output
                .message("moothall.v1.ResumeDispatchResponse", &answer, || output.line(&paused(answer.paused.as_ref())))
        }
    }
}

impl ListArgs {
    fn request(&self) -> ListQueueRequest {
        ListQueueRequest {
            state: self.state.map_or(QueueState::Unspecified, Into::into).into(),
            role: self.role.clone(),
            story_id: self.story.clone(),
            plan_id: self.plan.clone(),
            limit: self.limit,
            cursor: self.cursor.clone(),
        }
    }
}

/// A picture takes the place of the one before on a terminal, and stands below it elsewhere.
async fn top(args: &ListArgs, daemon: &Daemon, output: &Output) -> Result<(), Failure> {
    loop {
        let answer = tokio::select! {
            answer = async { daemon.tasks().list_queue(args.request()).await } => answer?.into_inner(),
            () = interrupted() => return Ok(()),
        };
        if output.is_json() {
            output.document(&json("moothall.v1.ListQueueResponse", &answer)?)?;
        } else {
            if io::stdout().is_terminal() {
                output.exact(CLEAR)?;
            }
            show(&answer, output)?;
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_PAUSE) => {}
            () = interrupted() => return Ok(()),
        }
    }
}

fn show(answer: &ListQueueResponse, output: &Output) -> io::Result<()> {
    let states = [QueueState::Queued, QueueState::Blocked, QueueState::InProgress, QueueState::Parked];
    let mut roles: BTreeMap<&str, Vec<&QueueCount>> = BTreeMap::new();
    answer.counts.iter().for_each(|count| roles.entry(&count.role).or_default().push(count));
    let of = |counts: &[&QueueCount], state| -> i64 {
        counts.iter().filter(|count| count.state() == state).map(|count| count.tasks).sum()
    };
    let row = |(role, counts): (&str, Vec<&QueueCount>)| {
        let numbers = states.iter().map(|state| count(of(&counts, *state)));
        [role.to_owned()].into_iter().chain(numbers).collect()
    };
    output.table(&["ROLE", "QUEUED", "BLOCKED", "IN PROGRESS", "PARKED"], roles.into_iter().map(row).collect())?;
    output.line(&paused(answer.paused.as_ref()))?;
    output.line("")?;
    let headers = ["TASK", "ROLE", "STATE", "PRIORITY", "RUN", "SINCE", "STORY", "WAITS FOR"];
    output.table(&headers, answer.tasks.iter().map(task_row).collect())?;
    if !answer.next_cursor.is_empty() {
        output.line(&format!("more: --cursor {}", answer.next_cursor))?;
    }
    Ok(())
}

fn task_row(task: &QueuedTask) -> Vec<String> {
    vec![
        task.task_id.clone(),
        task.role.clone(),
        word(task.state()),
        task.priority.to_string(),
        task.run.to_string(),
        time(task.enqueued_at_ms),
        task.story_id.clone(),
        waits_for(task),
    ]
}

fn waits_for(task: &QueuedTask) -> String {
    let mut parts = Vec::new();
    if task.not_before_ms > 0 {
        parts.push(time(task.not_before_ms));
    }
    if !task.hold_until_phase.is_empty() {
        parts.push(format!("phase {}", task.hold_until_phase));
    }
    if !task.failed_needs.is_empty() {
        parts.push(format!("failed: {}", task.failed_needs.join(", ")));
    } else if task.open_needs > 0 {
        parts.push(format!("{} of {}", task.open_needs, task.needs.join(", ")));
    }
    brief(&parts.join("; "), 60)
}

fn paused(pauses: Option<&Pauses>) -> String {
    match pauses.and_then(paused_roles) {
        None => "nothing is paused".to_owned(),
        Some(roles) => format!("paused: {roles}"),
    }
}

/// Whose tasks wait; `None` = nobody's.
pub(super) fn paused_roles(pauses: &Pauses) -> Option<String> {
    match pauses {
        Pauses { all: true, .. } => Some("all roles".to_owned()),
        Pauses { roles, .. } => Some(roles.join(", ")).filter(|roles| !roles.is_empty()),
    }
}

/// As people say it.
pub(super) fn word(state: QueueState) -> String {
    let name = state.as_str_name().strip_prefix("QUEUE_STATE_").unwrap_or_default();
    name.replace('_', " ").to_ascii_lowercase()
}

async fn events(after_seq: i64, daemon: &Daemon, output: &Output) -> Result<(), Failure> {
    let mut events = daemon.tasks().watch_tasks(WatchTasksRequest { after_seq }).await?.into_inner();
    loop {
        let event = tokio::select! {
            event = events.message() => event?,
            () = interrupted() => return Ok(()),
        };
        match event {
            Some(event) if output.is_json() => output.document(&json("moothall.v1.TaskEvent", &event)?)?,
            Some(event) => output.line(&event_line(&event))?,
            None => return Ok(()),
        }
    }
}

fn event_line(event: &TaskEvent) -> String {
    let TaskEvent { seq, at_ms, task_id, r#type, detail, .. } = event;
    let line = format!("{seq:>8}  {}  {type:<14} {task_id}  {}", time(*at_ms), brief(detail, 80));
    line.trim_end().to_owned()
}
