//! `moothall demo`: one worked task, a daemon killed in the middle of it, and the proof that nothing was asked twice.
//!
//! ```text
//!  simulator (or VLLM_URL) ◀── daemon ◀── the task, watched ──▶ live view
//!                                 ✗ SIGKILL once the first review is in
//!                              daemon again ◀── the same task, sent again ──▶ live view ──▶ ranking, counts
//! ```
//!
//! Everything lives in a temporary folder and on free ports of the loopback interface, and goes with the demo.

mod story;

use std::path::Path;
use std::time::Duration;

use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Response, Status, Streaming};

use crate::folder::TemporaryFolder;
use crate::grpc::proto::fleet::orchestrator::v1::orchestrator_service_client::OrchestratorServiceClient;
use crate::grpc::proto::fleet::orchestrator::v1::{DeliberateRequest, DeliberateResponse, TaskConstraints};
use crate::grpc::proto::moothall::v1::task_service_client::TaskServiceClient;
use crate::grpc::proto::moothall::v1::{TaskUpdate, WatchTaskRequest};
use crate::process::{Process, ProcessError};
use crate::sim::{CallCount, Script, ScriptError, SimStats};

pub use self::story::Summary;

/// The demo's one task.
pub const TASK: &str = "demo-duration";

/// How long the task may take to be accepted: tries and the pause between them.
const ACCEPT_TRIES: u32 = 250;
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

type Pending = JoinHandle<Result<Response<DeliberateResponse>, Status>>;

/// Who watches the demo.
pub trait Audience {
    /// A line of the story.
    fn hear(&mut self, line: &str);
    /// One thing that happened in the deliberation.
    fn see(&mut self, update: &TaskUpdate);
}

/// Why the demo could not go on.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    #[error(transparent)]
    Process(#[from] ProcessError),
    #[error("the scripted answers are broken")]
    Script(#[from] ScriptError),
    #[error("a temporary folder cannot be made, or a process not be ended")]
    Io(#[from] std::io::Error),
    #[error("the daemon answered: {} ({:?})", .0.message(), .0.code())]
    Daemon(#[from] Status),
    #[error("the daemon cannot be reached")]
    Channel(#[from] tonic::transport::Error),
    #[error("the simulator's statistics cannot be read")]
    Statistics(#[from] reqwest::Error),
    #[error("the deliberation ended before it was to be interrupted")]
    TooFast,
}

/// A daemon with its store and model server, once the task is done.
pub struct Demo {
    folder: TemporaryFolder,
    /// `None` when a real model answers.
    simulator: Option<Process>,
    models: String,
    model_name: String,
    /// Where the calls are made on Ray.
    executor: Option<Process>,
    daemon: Option<Process>,
}

impl Demo {
    /// `real`: the model servers to use (`VLLM_URL`) instead of the simulator. `executor`: a program that has the calls made
    /// on Ray.
    pub async fn start(real: Option<String>, executor: Option<&Path>) -> Result<Self, DemoError> {
        let simulator = match &real {
            Some(_) => None,
            None => Some(Process::start(&["sim", "--port", "0", "--answers", "demo"], &[]).await?),
        };
        let models = match (&simulator, real) {
            (Some(simulator), _) => format!("http://{}", simulator.told("http")?),
            (None, real) => real.unwrap_or_default(),
        };
        let model_name = std::env::var("VLLM_MODEL").unwrap_or_else(|_| "auto".to_owned());
        let executor = match executor {
            Some(program) => Some(Process::start_executor(program, &models).await?),
            None => None,
        };
        let mut demo = Self { folder: TemporaryFolder::new()?, simulator, models, model_name, executor, daemon: None };
        demo.start_daemon().await?;
        Ok(demo)
    }

    async fn start_daemon(&mut self) -> Result<(), DemoError> {
        let database = format!("sqlite:///{}", self.folder.path().join("journal.db").display());
        let backups = self.folder.path().join("backups").display().to_string();
        let environment = [
            ("GRPC_PORT", "0"),
            ("HTTP_PORT", "0"),
            ("BIND_ADDRESS", "127.0.0.1"),
            ("DATABASE_URL", database.as_str()),
            ("MOOTHALL__STORE__BACKUPS", backups.as_str()),
            ("VLLM_URL", self.models.as_str()),
            ("VLLM_MODEL", self.model_name.as_str()),
            ("ENABLE_NATS", "false"),
            ("RUST_LOG", "error"),
        ];
        let executor = match &self.executor {
            Some(executor) => vec![("AGENT_TYPE", "RAY_VLLM"), ("EXECUTOR_ADDRESS", executor.told("grpc")?)],
            None => Vec::new(),
        };
        self.daemon = Some(Process::start(&["serve"], &[&environment[..], &executor].concat()).await?);
        Ok(())
    }

    #[must_use]
    pub fn is_simulated(&self) -> bool {
        self.simulator.is_some()
    }

    #[must_use]
    pub fn is_on_ray(&self) -> bool {
        self.executor.is_some()
    }

    /// Where the daemon's gRPC is.
    pub fn server(&self) -> Result<String, DemoError> {
        let daemon = self.daemon.as_ref().ok_or(DemoError::TooFast)?;
        Ok(format!("http://{}", daemon.told("grpc")?))
    }

    /// Sends the task, kills the daemon in the middle, starts it again, and sees the task through.
    pub async fn play(&mut self, audience: &mut dyn Audience) -> Result<Summary, DemoError> {
        let request = request()?;
        let lost = self.send(request.clone()).await?;
        let mut updates = self.watch().await?;
        loop {
            let update = updates.message().await?.ok_or(DemoError::TooFast)?;
            audience.see(&update);
            if update.phase == "reviewing" && !update.current_agent.is_empty() {
                break;
            }
        }
        let at_kill = self.statistics().await?;
        self.crash(audience).await?;
        // Its connection died with the daemon.
        lost.abort();
        let answer = self.send(request).await?;
        let mut updates = self.watch().await?;
        while let Some(update) = updates.message().await? {
            audience.see(&update);
        }
        let answer = answer.await.map_err(std::io::Error::other)??.into_inner();
        self.summary(answer, at_kill).await
    }

    /// The request as any client would send it: it waits for the answer.
    async fn send(&self, request: DeliberateRequest) -> Result<Pending, DemoError> {
        let mut client = OrchestratorServiceClient::new(self.connect().await?);
        Ok(tokio::spawn(async move { client.deliberate(request).await }))
    }

    async fn connect(&self) -> Result<Channel, DemoError> {
        let endpoint = Endpoint::from_shared(self.server()?)?.connect_timeout(Duration::from_secs(5));
        Ok(endpoint.connect().await?)
    }

    /// The task's updates, as soon as the task is accepted.
    async fn watch(&self) -> Result<Streaming<TaskUpdate>, DemoError> {
        let mut client = TaskServiceClient::new(self.connect().await?);
        let request = WatchTaskRequest { task_id: TASK.to_owned(), ..WatchTaskRequest::default() };
        let mut tries = ACCEPT_TRIES;
        loop {
            match client.watch_task(request.clone()).await {
                Err(status) if status.code() == Code::NotFound && tries > 0 => tries -= 1,
                answer => return Ok(answer?.into_inner()),
            }
            tokio::time::sleep(ACCEPT_PAUSE).await;
        }
    }

    async fn crash(&mut self, audience: &mut dyn Audience) -> Result<(), DemoError> {
        let Some(daemon) = self.daemon.take() else { return Err(DemoError::TooFast) };
        let pid = daemon.pid().map_or_else(|| "?".to_owned(), |pid| pid.to_string());
        daemon.kill().await?;
        audience.hear(&format!("SIGKILL to the daemon (pid {pid}): no goodbye, nothing saved on the way out"));
        let began = std::time::Instant::now();
        self.start_daemon().await?;
        let took = began.elapsed().as_millis();
        audience.hear(&format!("the daemon is back after {took} ms; the same task is sent again and attaches"));
        Ok(())
    }

    /// What the model server counted: it is the witness, not the daemon.
    async fn statistics(&self) -> Result<Option<SimStats>, DemoError> {
        if self.simulator.is_none() {
            return Ok(None);
        }
        Ok(Some(reqwest::get(format!("{}/sim/stats", self.models)).await?.json().await?))
    }

    async fn summary(&self, answer: DeliberateResponse, at_kill: Option<SimStats>) -> Result<Summary, DemoError> {
        let after = self.statistics().await?;
        let count = |wanted: fn(&CallCount) -> bool| {
            after.as_ref().map(|stats| stats.by_call.values().filter(|call| wanted(call)).count())
        };
        Ok(Summary {
            repeated: count(|call| call.finished > 1),
            asked_again: count(|call| call.started > 1 && call.finished <= 1),
            finished_before: at_kill.map(|stats| stats.finished),
            answer,
        })
    }

    /// Ends the daemon and the simulator, and removes the folder.
    pub async fn end(mut self) -> Result<(), DemoError> {
        for process in [self.daemon.take(), self.executor.take(), self.simulator.take()].into_iter().flatten() {
            process.stop().await?;
        }
        Ok(())
    }
}

fn request() -> Result<DeliberateRequest, DemoError> {
    let script = Script::demo()?;
    let task = script.task.unwrap_or_default();
    let constraints =
        TaskConstraints { rubric: task.rubric, requirements: task.requirements, ..TaskConstraints::default() };
    Ok(DeliberateRequest {
        task_id: TASK.to_owned(),
        task_description: task.description,
        role: task.role,
        constraints: Some(constraints),
        ..DeliberateRequest::default()
    })
}
