//! Actors that die in a running daemon: the others work on, the tree tells, and an operator takes a parked role back.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use moothall::grpc::proto::fleet::orchestrator::v1::DeliberateRequest;
use moothall::grpc::proto::moothall::v1::council_service_client::CouncilServiceClient;
use moothall::grpc::proto::moothall::v1::{ActorNode, GetTreeRequest};
use tokio::process::Command;
use tokio::task::JoinSet;
use tonic::Code;

use super::harness::{Daemon, Home, LIMIT, simulator, until};
use super::record::Record;
use super::request::{authors, task};

const FAULT: &str = "MOOTHALL_FAULT_ACTOR";

async fn actor(daemon: &Daemon, name: &str) -> Result<Option<ActorNode>> {
    let mut councils = CouncilServiceClient::new(daemon.channel().await?);
    let tree = councils.get_tree(GetTreeRequest {}).await?.into_inner();
    Ok(tree.actors.into_iter().find(|node| node.name == name))
}

async fn deliberate(daemon: &Daemon, request: DeliberateRequest) -> Result<()> {
    let answer = daemon.client().await?.deliberate(request).await?.into_inner();
    ensure!(authors(&answer.results).len() == 3, "{answer:?}");
    Ok(())
}

async fn moothall(daemon: &Daemon, words: &[&str]) -> Result<String> {
    let server = format!("http://{}", daemon.grpc);
    let run = Command::new(env!("CARGO_BIN_EXE_moothall")).args(words).args(["--server", &server]).output().await?;
    ensure!(run.status.success(), "{words:?}: {}", String::from_utf8_lossy(&run.stderr));
    Ok(String::from_utf8(run.stdout)?)
}

#[tokio::test]
async fn a_council_that_keeps_dying_is_parked_while_others_work_until_it_is_resumed() -> Result<()> {
    let sim = simulator(Duration::from_millis(5)).await?;
    let home = Home::new(sim.addr())?.with("MOOTHALL__COUNCILS__ROLES", "DEV,QA").with("RUST_LOG", "off");
    let daemon = home.start_with(&[(FAULT, "council/DEV:9")]).await?;
    let mut meanwhile = 0;
    let parked = loop {
        let qa = DeliberateRequest { role: "QA".to_owned(), ..task(&format!("qa-{meanwhile}")) };
        deliberate(&daemon, qa).await.context("a role that has nothing to do with it")?;
        meanwhile += 1;
        let node = actor(&daemon, "council/DEV").await?.context("it is not in the tree")?;
        if node.state == "parked" {
            break node;
        }
    };
    assert_eq!((parked.restarts, parked.reason.is_empty()), (9, false), "{parked:?}");
    let refused = daemon.client().await?.deliberate(task("dev-1")).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    assert!(refused.message().contains("parked"), "{refused}");
    let status = moothall(&daemon, &["status"]).await?;
    assert!(status.contains("parked: DEV"), "{status}");

    moothall(&daemon, &["council", "resume", "DEV"]).await?;
    let running = || async { Ok(actor(&daemon, "council/DEV").await?.filter(|node| node.state == "running")) };
    until("the council is back", LIMIT, running).await?;
    deliberate(&daemon, task("dev-1")).await?;
    daemon.stop().await?;
    let record = Record::read(home.database()).await?;
    assert_eq!(record.finals().len(), meanwhile + 1);
    Ok(())
}

#[tokio::test]
async fn the_calls_of_an_agent_that_dies_are_made_again_and_no_seat_is_missing() -> Result<()> {
    const AT_ONCE: usize = 8;
    let sim = simulator(Duration::from_millis(200)).await?;
    let home = Home::new(sim.addr())?.with("RUST_LOG", "off");
    let daemon = home.start_with(&[(FAULT, "agent/DEV/agent-dev-002:3")]).await?;
    let mut clients = JoinSet::new();
    for number in 0..AT_ONCE {
        let mut client = daemon.client().await?;
        clients.spawn(async move { client.deliberate(task(&format!("t-{number}"))).await });
    }
    while let Some(answer) = clients.join_next().await {
        let answer = answer??.into_inner();
        assert_eq!(authors(&answer.results).len(), 3);
        assert_eq!(answer.metadata.unwrap().tags.get("missing"), None);
    }
    let node = || async { Ok(actor(&daemon, "agent/DEV/agent-dev-002").await?.filter(|node| node.restarts == 3)) };
    let node = until("it died three times", LIMIT, node).await?;
    assert_eq!(node.state, "running", "{node:?}");
    daemon.stop().await?;
    let record = Record::read(home.database()).await?;
    assert_eq!(record.answered()?.len(), AT_ONCE * 9, "each call is answered once");
    Ok(())
}
