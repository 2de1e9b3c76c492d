//! `watch`: a task's updates as they come, to its end.

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tonic::Status;

use super::daemon::Daemon;
use super::exit::{Exit, Failure};
use super::live::Live;
use super::output::{Output, json};
use super::task;
use crate::grpc::proto::moothall::v1::{Task, TaskStatus, TaskUpdate, WatchTaskRequest};

#[derive(Args, Debug)]
pub(crate) struct WatchArgs {
    /// The task's id
    task: String,
    /// With --json: proposals and revisions as well
    #[arg(long)]
    texts: bool,
}

pub(super) async fn run(args: WatchArgs, daemon: &Daemon, output: &Output) -> Result<(), Failure> {
    let ended =
        if output.is_json() { as_lines(&args, daemon, output).await? } else { on_screen(&args, daemon).await? };
    let Some(ended) = ended else { return Err(Failure::told(Exit::INTERRUPTED)) };
    if !output.is_json() {
        task::show(&ended, output)?;
    }
    match ended.status() {
        TaskStatus::Failed | TaskStatus::Cancelled | TaskStatus::Skipped => Err(Failure::told(Exit::FAILED)),
        _ => Ok(()),
    }
}

async fn on_screen(args: &WatchArgs, daemon: &Daemon) -> Result<Option<Task>, Failure> {
    let mut live = Live::new(false);
    let ended = tokio::select! {
        ended = watch(daemon, &args.task, |update| { live.show(update); true }) => ended?,
        () = interrupted() => None,
    };
    live.finish();
    Ok(ended)
}

async fn as_lines(args: &WatchArgs, daemon: &Daemon, output: &Output) -> Result<Option<Task>, Failure> {
    let request = WatchTaskRequest { task_id: args.task.clone(), after_index: 0, include_texts: args.texts };
    let mut updates = daemon.tasks().watch_task(request).await?.into_inner();
    let mut ended = None;
    while let Some(update) = updates.message().await? {
        output.document(&json("moothall.v1.TaskUpdate", &update)?)?;
        ended = update.task.or(ended);
    }
    Ok(ended)
}

/// Hands every update on, until `show` has seen enough or the task has ended; then how it ended.
pub(super) async fn watch(
    daemon: &Daemon,
    task: &str,
    mut show: impl FnMut(&TaskUpdate) -> bool,
) -> Result<Option<Task>, Status> {
    let request = WatchTaskRequest { task_id: task.to_owned(), after_index: 0, include_texts: false };
    let mut updates = daemon.tasks().watch_task(request).await?.into_inner();
    while let Some(update) = updates.message().await? {
        if !show(&update) || update.r#final {
            return Ok(update.task);
        }
    }
    Ok(None)
}

/// Ctrl-C or SIGTERM. Where neither can be heard, the process ends without us.
pub(super) async fn interrupted() {
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! { _ = terminate.recv() => {} _ = interrupt.recv() => {} }
}
