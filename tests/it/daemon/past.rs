//! The journal of a running daemon, asked by time and for what was.

use std::process::Output;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use moothall::grpc::proto::moothall::v1::journal_service_client::JournalServiceClient;
use moothall::grpc::proto::moothall::v1::state_at_request::{At, Subject};
use moothall::grpc::proto::moothall::v1::state_at_response::State;
use moothall::grpc::proto::moothall::v1::task_service_client::TaskServiceClient;
use moothall::grpc::proto::moothall::v1::{
    DeliberationRef, GetTaskRequest, JournalEvent, PruneRequest, ReadRequest, StateAtRequest, StateAtResponse,
};
use tokio::process::Command;
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::harness::{Home, LIMIT, simulator, until};
use super::request::task;

type Journal = JournalServiceClient<Channel>;

async fn read(journal: &mut Journal, request: ReadRequest) -> Result<Vec<JournalEvent>> {
    let (mut events, mut found) = (journal.read(request).await?.into_inner(), Vec::new());
    while let Some(event) = events.message().await? {
        found.push(event);
    }
    Ok(found)
}

fn at(subject: Subject, at: Option<At>) -> StateAtRequest {
    StateAtRequest { subject: Some(subject), at }
}

fn of_task(id: &str) -> Subject {
    Subject::TaskId(id.into())
}

fn of_run(id: &str, run: i32) -> Subject {
    Subject::Deliberation(DeliberationRef { task_id: id.into(), run })
}

async fn told(journal: &mut Journal, request: StateAtRequest) -> Result<StateAtResponse> {
    Ok(journal.state_at(request).await?.into_inner())
}

async fn refused(journal: &mut Journal, request: StateAtRequest) -> Result<Status> {
    journal.state_at(request).await.err().context("it was answered")
}

#[tokio::test]
async fn a_running_journal_is_read_by_time_and_tells_what_was() -> Result<()> {
    let sim = simulator(Duration::from_millis(5)).await?;
    let daemon = Home::new(sim.addr())?.start().await?;
    let winner = daemon.client().await?.deliberate(task("T-1")).await?.into_inner().winner_id;
    let mut journal = JournalServiceClient::new(daemon.channel().await?);
    let all = read(&mut journal, ReadRequest::default()).await?;

    // Every bound that there is, against what a reader would have picked.
    for bound in all.iter().map(|event| event.at_ms) {
        let since = read(&mut journal, ReadRequest { since_ms: bound, ..Default::default() }).await?;
        let until = read(&mut journal, ReadRequest { until_ms: bound, ..Default::default() }).await?;
        assert_eq!(since, all.iter().filter(|event| event.at_ms >= bound).cloned().collect::<Vec<_>>());
        assert_eq!(until, all.iter().filter(|event| event.at_ms < bound).cloned().collect::<Vec<_>>());
    }

    let last = all.last().context("nothing is there")?;
    let now = told(&mut journal, at(of_task("T-1"), None)).await?;
    ensure!(now == told(&mut journal, at(of_task("T-1"), Some(At::Seq(last.seq)))).await?);
    ensure!(now == told(&mut journal, at(of_task("T-1"), Some(At::AtMs(last.at_ms)))).await?);
    let Some(State::Task(then)) = now.state else { anyhow::bail!("{now:?}") };
    let get = GetTaskRequest { task_id: "T-1".into(), include_results: false };
    let shown = TaskServiceClient::new(daemon.channel().await?).get_task(get).await?.into_inner().task;
    let shown = shown.context("no task")?;
    assert_eq!((then.status, then.run, then.role), (shown.status, shown.run, shown.role));
    assert_eq!((then.winner_id, then.accepted_at_ms), (shown.winner_id, shown.accepted_at_ms));

    // A wave before its end: one call at a time.
    let calls: Vec<_> = all.iter().filter(|event| event.r#type == "CallAnswered").collect();
    assert_eq!(calls.len(), 9);
    for (answered, call) in (1..).zip(&calls) {
        let told = told(&mut journal, at(of_run("T-1", 0), Some(At::Seq(call.seq)))).await?;
        assert_eq!((told.seq, told.at_ms, told.events), (call.seq, call.at_ms, call.version));
        let Some(State::Deliberation(run)) = told.state else { anyhow::bail!("{told:?}") };
        assert_eq!((run.calls, run.status.as_str(), run.seats.len()), (answered, "open", 3));
        assert_eq!(run.waves.iter().map(|wave| wave.answered).sum::<i32>(), answered);
        assert_eq!(
            run.waves.len(),
            if answered < 3 {
                1
            } else if answered < 6 {
                2
            } else {
                3
            },
            "{run:?}"
        );
    }
    let ended = told(&mut journal, at(of_run("T-1", 1), None)).await?;
    let Some(State::Deliberation(run)) = ended.state else { anyhow::bail!("{ended:?}") };
    assert_eq!((run.status.as_str(), run.phase.as_str(), run.winner_id), ("completed", "complete", winner));
    let council = told(&mut journal, at(Subject::Council("dev".into()), None)).await?;
    let Some(State::Council(council)) = council.state else { anyhow::bail!("{council:?}") };
    assert_eq!((council.seats.len(), council.parked.as_str(), council.deleted), (3, "", false));
    daemon.stop().await
}

#[tokio::test]
async fn what_is_not_there_is_told_apart_from_what_is_no_more() -> Result<()> {
    let sim = simulator(Duration::ZERO).await?;
    let daemon = Home::new(sim.addr())?.start().await?;
    daemon.client().await?.deliberate(task("T-1")).await?;
    let mut journal = JournalServiceClient::new(daemon.channel().await?);

    let wrong = refused(&mut journal, StateAtRequest { subject: None, at: Some(At::Seq(-1)) }).await?;
    assert_eq!(wrong.code(), Code::InvalidArgument);
    ensure!(wrong.message().contains("seq is -1") && wrong.message().contains("subject is not set"), "{wrong}");
    let never = refused(&mut journal, at(of_task("T-9"), None)).await?;
    assert_eq!((never.code(), never.message()), (Code::NotFound, "task T-9 has no event"));
    let early = refused(&mut journal, at(of_task("T-1"), Some(At::Seq(1)))).await?;
    assert_eq!(early.code(), Code::NotFound);
    ensure!(early.message().contains("no event up to 1; its first is "), "{early}");
    let run = refused(&mut journal, at(of_run("T-1", 2), None)).await?;
    assert_eq!(run.code(), Code::NotFound, "{run}");
    let times = ReadRequest { since_ms: 9, until_ms: 3, follow: true, ..Default::default() };
    let status = journal.read(times).await.err().context("it was read")?;
    assert_eq!(status.code(), Code::InvalidArgument);
    ensure!(status.message().contains("after since_ms, 9") && status.message().contains("follow"), "{status}");

    // Tasks that ended in this very millisecond stay.
    let prune = || {
        let mut journal = journal.clone();
        let request = PruneRequest { older_than_seconds: Some(0), dry_run: false };
        async move { Ok(Some(journal.prune(request).await?.into_inner()).filter(|pruned| pruned.tasks == 1)) }
    };
    until("the task is pruned", LIMIT, prune).await?;
    for subject in [of_task("T-1"), of_run("T-1", 0), of_run("T-1", 1)] {
        let pruned = refused(&mut journal, at(subject, None)).await?;
        assert_eq!(pruned.code(), Code::OutOfRange, "{pruned}");
        ensure!(pruned.message().contains("was pruned: events before"), "{pruned}");
    }
    let unknown = refused(&mut journal, at(of_task("T-9"), Some(At::Seq(2)))).await?;
    assert_eq!(unknown.code(), Code::OutOfRange, "{unknown}");
    told(&mut journal, at(Subject::Council("DEV".into()), None)).await?;
    daemon.stop().await
}

#[tokio::test]
async fn the_command_line_tells_the_same_with_the_daemon_and_without() -> Result<()> {
    let sim = simulator(Duration::ZERO).await?;
    let home = Home::new(sim.addr())?;
    let daemon = home.start().await?;
    daemon.client().await?.deliberate(task("T-1")).await?;
    let server = format!("http://{}", daemon.grpc);
    let store = home.database().display().to_string();
    let ask = async |words: &[&str], offline: bool| -> Result<Output> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_moothall"));
        let from = if offline { ["--store", &store] } else { ["--server", &server] };
        Ok(command.env_clear().arg("journal").args(words).args(from).output().await?)
    };
    let mut questions = vec![];
    for words in [
        &["state", "task", "T-1"][..],
        &["state", "deliberation", "T-1", "--at", "8"],
        &["state", "council", "DEV", "--at", "0s", "--json"],
        &["state", "deliberation", "T-1", "--run", "1", "--json"],
        &["tail", "--since", "1h", "--json"],
        &["tail", "--until", "2026-01-01T00:00:00Z"],
    ] {
        let output = ask(words, false).await?;
        ensure!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        questions.push((words, String::from_utf8(output.stdout)?));
    }
    let said = |number: usize| questions[number].1.as_str();
    ensure!(said(0).contains("completed") && said(0).contains("winner"), "{}", said(0));
    ensure!(said(1).contains("propose-0") && said(1).contains("AWAITED"), "{}", said(1));
    ensure!(said(2).contains("\"agent-dev-003\"") && said(3).contains("\"completed\""), "{} {}", said(2), said(3));
    ensure!(said(4).contains("TaskCompleted") && said(4).lines().count() > 12 && said(5).is_empty(), "{}", said(5));
    for (words, code) in [
        (&["state", "task", "T-9"][..], 66),
        (&["state", "task", "T-1", "--at", "soon"], 64),
        (&["state", "task", "T-1", "--run", "1"], 64),
        (&["state", "plan", "T-1"], 64),
        (&["tail", "--since", "yesterday"], 64),
        (&["tail", "--until", "1h", "--follow"], 64),
    ] {
        for offline in [false, true] {
            let output = ask(words, offline).await?;
            let said = String::from_utf8(output.stderr)?;
            assert_eq!((output.status.code(), said.is_empty()), (Some(code), false), "{words:?}: {said}");
            ensure!(!words.contains(&"yesterday") || said.contains("15m, 2h or 3d"), "{said}");
        }
    }
    daemon.stop().await?;
    for (words, said) in &questions {
        assert_eq!(&String::from_utf8(ask(words, true).await?.stdout)?, said, "{words:?}");
    }
    Ok(())
}
