//! `deliberate` and `orchestrate`: one request, watched while it runs, its verdict shown at the end.
//!
//! Every task gets an id, so that a daemon that dies in the middle loses nothing: the request is sent again when it is
//! back, which attaches to the task, and no finished call is repeated. Ctrl-C cancels a task that was not given an id,
//! and leaves one that was.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::Value;
use tonic::{Code, Status};
use uuid::Uuid;

use super::daemon::Daemon;
use super::exit::{Exit, Failure, is_lost};
use super::given::{carried, text};
use super::live::Live;
use super::output::{Output, json};
use super::pair;
use super::verdict::Verdict;
use super::watch::{interrupted, watch};
use crate::grpc::proto::fleet::orchestrator::v1 as fleet;
use crate::grpc::proto::moothall::v1::{CancelTaskRequest, GetTaskRequest, TaskStatus};

/// How long a daemon may be away before the command gives up.
const AWAY_LIMIT: Duration = Duration::from_secs(60);
const RETRY_PAUSE: Duration = Duration::from_millis(300);
/// Between looking whether the task was accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// What both commands take.
#[derive(Args, Debug)]
struct WorkArgs {
    /// What is to be done; "-" reads it from standard input, "@FILE" from a file
    description: String,
    /// Whose council
    #[arg(long, short, default_value = "DEV")]
    role: String,
    /// Name of the task; the same name and content attach to it, whoever started it
    #[arg(long, value_name = "TASK")]
    id: Option<String>,
    /// What a good answer is like; "@FILE" reads it from a file
    #[arg(long, default_value = "", hide_default_value = true)]
    rubric: String,
    /// A requirement, rated by every reviewer; can be given many times
    #[arg(long = "require", value_name = "TEXT")]
    requirements: Vec<String>,
    /// Metadata, such as story_id=S-1 or budget_tokens=50000; can be given many times
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    metadata: Vec<(String, String)>,
    /// What the proposals are to be: auto, files, patch, document or none
    #[arg(long, value_name = "KIND")]
    artifact: Option<String>,
    /// A file that the task is about, by its path from here; its text goes along. Can be given many times
    #[arg(long = "file", value_name = "PATH")]
    files: Vec<PathBuf>,
    /// Deadline of the whole deliberation
    #[arg(long, value_name = "SECONDS", default_value_t = 0, hide_default_value = true)]
    timeout: i32,
}

/// What is shown of the answer.
#[derive(Args, Debug)]
struct AnswerArgs {
    /// Start the task, print its id, and leave
    #[arg(long)]
    detach: bool,
    /// Show nothing but the winner's text
    #[arg(long, short, conflicts_with = "json")]
    quiet: bool,
    /// Show nothing but the winner's diff, for `git apply`
    #[arg(long, conflicts_with_all = ["json", "quiet", "detach"])]
    diff: bool,
}

impl AnswerArgs {
    fn shown(&self) -> Shown {
        match (self.quiet, self.diff) {
            (_, true) => Shown::WinnersDiff,
            (true, false) => Shown::WinnersText,
            (false, false) => Shown::All,
        }
    }
}

/// What is shown of an answer.
#[derive(Clone, Copy, Debug)]
enum Shown {
    All,
    WinnersText,
    WinnersDiff,
}

#[derive(Args, Debug)]
pub(crate) struct DeliberateArgs {
    #[command(flatten)]
    work: WorkArgs,
    #[command(flatten)]
    answer: AnswerArgs,
    /// Rounds of review, 1 to 8, or "none"; without it, as the council is set up
    #[arg(long, value_name = "N|none", value_parser = rounds)]
    rounds: Option<Rounds>,
    /// Take only the first so many agents
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    agents: i32,
}

#[derive(Args, Debug)]
pub(crate) struct OrchestrateArgs {
    #[command(flatten)]
    wanted: Wanted,
    #[command(flatten)]
    answer: AnswerArgs,
}

/// What Orchestrate takes, and the queue with it.
#[derive(Args, Debug)]
pub(super) struct Wanted {
    #[command(flatten)]
    work: WorkArgs,
    /// Rounds of review, 1 to 8, or "none"; without it, as the council is set up
    #[arg(long, value_name = "N|none", value_parser = rounds)]
    rounds: Option<Rounds>,
    /// Leave the choice to the score
    #[arg(long)]
    no_architect: bool,
    /// The story that it belongs to
    #[arg(long, value_name = "STORY", default_value = "", hide_default_value = true)]
    story: String,
    /// The plan that it belongs to
    #[arg(long, value_name = "PLAN", default_value = "", hide_default_value = true)]
    plan: String,
}

#[derive(Clone, Copy, Debug)]
enum Rounds {
    None,
    Some(i32),
}

fn rounds(text: &str) -> Result<Rounds, String> {
    match (text, text.parse()) {
        ("none", _) => Ok(Rounds::None),
        (_, Ok(number @ 1..=8)) => Ok(Rounds::Some(number)),
        _ => Err("must be none or 1 to 8".to_owned()),
    }
}

/// A request that starts work, complete: it can be sent again.
#[derive(Clone, Debug)]
enum Request {
    Deliberate(fleet::DeliberateRequest),
    Orchestrate(fleet::OrchestrateRequest),
}

enum Answer {
    Deliberated(fleet::DeliberateResponse),
    Orchestrated(Box<fleet::OrchestrateResponse>),
}

pub(super) async fn deliberate(args: DeliberateArgs, daemon: &Daemon, output: &Output) -> Result<(), Failure> {
    let work = args.work.read()?;
    let mut constraints = work.constraints();
    if matches!(args.rounds, Some(Rounds::None)) {
        constraints.metadata.insert("rounds".to_owned(), "none".to_owned());
    }
    let request = fleet::DeliberateRequest {
        task_id: work.task(),
        task_description: work.description.clone(),
        role: work.role.clone(),
        constraints: Some(constraints),
        rounds: if let Some(Rounds::Some(number)) = args.rounds { number } else { 0 },
        num_agents: args.agents,
    };
    run(Request::Deliberate(request), (&work, &args.answer), daemon, output).await
}

pub(super) async fn orchestrate(args: OrchestrateArgs, daemon: &Daemon, output: &Output) -> Result<(), Failure> {
    let (work, request) = args.wanted.read()?;
    run(Request::Orchestrate(request), (&work, &args.answer), daemon, output).await
}

impl Wanted {
    /// The request, complete, and what it was made of.
    fn read(self) -> Result<(WorkArgs, fleet::OrchestrateRequest), Failure> {
        let work = self.work.read()?;
        // Without options review and architect are on; with them each has to be said.
        let options = (self.no_architect || self.rounds.is_some()).then(|| fleet::OrchestratorOptions {
            enable_peer_review: !matches!(self.rounds, Some(Rounds::None)),
            deliberation_rounds: if let Some(Rounds::Some(number)) = self.rounds { number } else { 0 },
            enable_architect_selection: !self.no_architect,
            custom_params: BTreeMap::new(),
        });
        let request = fleet::OrchestrateRequest {
            task_id: work.task(),
            task_description: work.description.clone(),
            role: work.role.clone(),
            constraints: Some(work.constraints()),
            options,
            story_id: self.story,
            plan_id: self.plan,
            ..fleet::OrchestrateRequest::default()
        };
        Ok((work, request))
    }

    pub(super) fn request(self) -> Result<fleet::OrchestrateRequest, Failure> {
        self.read().map(|(_, request)| request)
    }
}

impl WorkArgs {
    /// With the texts that stand elsewhere, and an id.
    fn read(mut self) -> Result<Self, Failure> {
        self.description = text(self.description)?;
        self.rubric = text(self.rubric)?;
        self.metadata.extend(self.artifact.take().map(|kind| ("artifact".to_owned(), kind)));
        for path in std::mem::take(&mut self.files) {
            self.metadata.push(carried(&path)?);
        }
        Ok(self)
    }

    fn task(&self) -> String {
        self.id.clone().unwrap_or_else(|| format!("cli-{}", Uuid::now_v7()))
    }

    fn constraints(&self) -> fleet::TaskConstraints {
        fleet::TaskConstraints {
            rubric: self.rubric.clone(),
            requirements: self.requirements.clone(),
            metadata: self.metadata.iter().cloned().collect(),
            max_iterations: 0,
            timeout_seconds: self.timeout,
        }
    }
}

impl Request {
    fn task(&self) -> &str {
        match self {
            Self::Deliberate(request) => &request.task_id,
            Self::Orchestrate(request) => &request.task_id,
        }
    }

    async fn send(&self, daemon: &Daemon) -> Result<Answer, Status> {
        let mut client = daemon.orchestrator();
        match self.clone() {
            Self::Deliberate(request) => client.deliberate(request).await.map(|a| Answer::Deliberated(a.into_inner())),
            Self::Orchestrate(request) => {
                client.orchestrate(request).await.map(|a| Answer::Orchestrated(Box::new(a.into_inner())))
            }
        }
    }

    /// Sends it again when the daemon was lost: it attaches to what the daemon has in its journal.
    async fn send_until_answered(&self, daemon: &Daemon) -> Result<Answer, Status> {
        let mut away: Option<Instant> = None;
        loop {
            let asked = Instant::now();
            let status = match self.send(daemon).await {
                Ok(answer) => return Ok(answer),
                Err(status) if is_lost(&status) => status,
                Err(status) => return Err(status),
            };
            // One that was cut off after a while had been there until then.
            let since = away.filter(|_| asked.elapsed() < AWAY_LIMIT / 2).unwrap_or_else(Instant::now);
            if since.elapsed() > AWAY_LIMIT {
                return Err(status);
            }
            away = Some(since);
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }
}

async fn run(
    request: Request,
    (work, wanted): (&WorkArgs, &AnswerArgs),
    daemon: &Daemon,
    output: &Output,
) -> Result<(), Failure> {
    let task = request.task().to_owned();
    let mut live = Live::new(wanted.quiet || wanted.diff || wanted.detach || output.is_json());
    let outcome = tokio::select! {
        answer = request.send_until_answered(daemon) => Some(answer),
        accepted = follow(daemon, &task, &mut live, wanted.detach) => {
            let Accepted = accepted;
            return Ok(output.line(&task)?);
        }
        () = interrupted() => None,
    };
    live.finish();
    match outcome {
        Some(Ok(answer)) => answer.show(&task, wanted.shown(), output),
        Some(Err(status)) => Err(failed(status, &task, daemon).await),
        None => Err(leave(work, &task, daemon).await),
    }
}

/// The daemon has the task.
struct Accepted;

/// Shows what happens in the task, whatever becomes of the connection. Ends only for those who want no more than to
/// know that it was accepted.
async fn follow(daemon: &Daemon, task: &str, live: &mut Live, only_accepted: bool) -> Accepted {
    let mut noted = false;
    loop {
        let watched = watch(daemon, task, |update| {
            noted = false;
            live.show(update);
            !only_accepted
        });
        let pause = match watched.await {
            Ok(_) if only_accepted => return Accepted,
            Ok(_) => return std::future::pending().await,
            // It was not accepted yet.
            Err(status) if status.code() == Code::NotFound => ACCEPT_PAUSE,
            Err(status) if is_lost(&status) => RETRY_PAUSE,
            // The answer says it.
            Err(_) => return std::future::pending().await,
        };
        if pause == RETRY_PAUSE && !noted {
            noted = true;
            live.note("the daemon is away; the task is sent again as soon as it is back");
        }
        tokio::time::sleep(pause).await;
    }
}

impl Answer {
    fn show(&self, task: &str, shown: Shown, output: &Output) -> Result<(), Failure> {
        if output.is_json() {
            return Ok(output.document(&self.json()?)?);
        }
        let none = BTreeMap::new();
        let tags =
            |metadata: &Option<fleet::OrchestratorMetadata>| metadata.as_ref().map(|metadata| metadata.tags.clone());
        let (results, duration_ms, tags) = match self {
            Self::Deliberated(answer) => (answer.results.iter().collect(), answer.duration_ms, tags(&answer.metadata)),
            Self::Orchestrated(answer) => {
                (answer.winner.iter().chain(&answer.candidates).collect(), answer.duration_ms, tags(&answer.metadata))
            }
        };
        let verdict = Verdict { results, duration_ms, tags: tags.as_ref().unwrap_or(&none) };
        match shown {
            Shown::All => Ok(verdict.show(task, output)?),
            Shown::WinnersText => Ok(verdict.show_winner(output)?),
            Shown::WinnersDiff => verdict.show_diff(output),
        }
    }

    fn json(&self) -> Result<Value, Failure> {
        match self {
            Self::Deliberated(answer) => json("fleet.orchestrator.v1.DeliberateResponse", answer),
            Self::Orchestrated(answer) => json("fleet.orchestrator.v1.OrchestrateResponse", &**answer),
        }
    }
}

/// A task that was taken on and failed is no fault of the daemon's.
async fn failed(status: Status, task: &str, daemon: &Daemon) -> Failure {
    let request = GetTaskRequest { task_id: task.to_owned(), include_results: false };
    let ended = daemon.tasks().get_task(request).await.ok().and_then(|answer| answer.into_inner().task);
    let is_failed = ended.is_some_and(|task| {
        [TaskStatus::Failed, TaskStatus::Cancelled, TaskStatus::Skipped].contains(&task.status())
            && task.error.is_some()
    });
    let failure = Failure::from(status);
    if !is_failed {
        return failure;
    }
    Failure::new(Exit::FAILED, format!("task {task} failed: {}", failure.message))
        .hint("`moothall doctor` looks at the model servers.")
}

async fn leave(work: &WorkArgs, task: &str, daemon: &Daemon) -> Failure {
    let interrupted = Failure::new(Exit::INTERRUPTED, "interrupted");
    if work.id.is_some() {
        let next = format!("Task {task} goes on: `moothall watch {task}` or `moothall task cancel {task}`.");
        return interrupted.hint(next);
    }
    let request = CancelTaskRequest { task_id: task.to_owned(), reason: "its client was interrupted".to_owned() };
    match daemon.tasks().cancel_task(request).await {
        Ok(_) => interrupted.hint(format!("Task {task} is cancelled.")),
        Err(status) => interrupted.hint(format!("Task {task} could not be cancelled: {}", status.message())),
    }
}
