//! The example runner in Python, in a council of the real daemon: what its page promises, it keeps.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::StreamExt as _;
use moothall::grpc::proto::fleet::orchestrator::v1::{DeliberateRequest, RegisterAgentRequest};
use moothall::sim::{BehaviourChange, Fault, FaultKind};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::harness::{Daemon, Home, LIMIT, simulator, until_in_flight};
use super::request::{assert_texts_are_the_models, authors, task};

/// A runner as a process. Dropped, it is killed.
struct Runner {
    _child: Child,
    endpoint: String,
}

impl Runner {
    async fn start(arguments: &[&str]) -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let python = root.join("target/python/bin/python");
        ensure!(python.exists(), "the Python environment target/python is missing: run `make setup`");
        let mut child = Command::new(python)
            .arg("-B")
            .arg(root.join("examples/runner/runner.py"))
            .args(["--listen", "127.0.0.1:0"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let mut lines = BufReader::new(child.stdout.take().context("no pipe")?).lines();
        let line = timeout(LIMIT, lines.next_line()).await.context("the runner was not ready in time")??;
        let line = line.context("the runner ended before it was ready")?;
        let endpoint = line.strip_prefix("ready ").context("the runner said something else")?.to_owned();
        Ok(Self { _child: child, endpoint })
    }

    async fn join(&self, daemon: &Daemon) -> Result<()> {
        let request = RegisterAgentRequest {
            agent_id: "guest".into(),
            role: "DEV".into(),
            endpoint: self.endpoint.clone(),
            ..RegisterAgentRequest::default()
        };
        daemon.client().await?.register_agent(request).await?;
        Ok(())
    }
}

#[tokio::test]
async fn the_example_runner_deliberates_with_two_models_by_script_and_by_model() -> Result<()> {
    let sim = simulator(Duration::ZERO).await?;
    let daemon = Home::new(sim.addr())?.with("MOOTHALL__COUNCILS__AGENTS", "2").start().await?;
    let scripted = Runner::start(&["--echo"]).await?;
    scripted.join(&daemon).await?;
    let mut client = daemon.client().await?;
    let answer = client.deliberate(task("T-1")).await?.into_inner();
    let expected = ["agent-dev-001", "agent-dev-002", "guest"];
    assert_eq!(authors(&answer.results).into_iter().collect::<Vec<_>>(), expected);
    let own = |text: &str| text.starts_with("This is scripted: stage 3, round 1, ");
    let proposals = || answer.results.iter().filter_map(|result| result.proposal.as_ref());
    assert!(proposals().any(|proposal| proposal.author_id == "guest" && own(&proposal.content)), "{answer:?}");

    // Another process at another place takes the seat over.
    let leave = moothall::grpc::proto::fleet::orchestrator::v1::UnregisterAgentRequest {
        agent_id: "guest".into(),
        role: "DEV".into(),
    };
    client.unregister_agent(leave).await?;
    drop(scripted);
    let url = format!("http://{}", sim.addr());
    let asking = Runner::start(&["--model-url", &url, "--model", "moothall-sim"]).await?;
    asking.join(&daemon).await?;
    sim.reset();
    let answer = client.deliberate(task("T-2")).await?.into_inner();
    assert_eq!(authors(&answer.results).into_iter().collect::<Vec<_>>(), expected);
    assert_texts_are_the_models(&answer.results);
    assert_eq!(sim.stats().calls, 9);
    let ids: Vec<_> = sim.stats().by_call.into_keys().filter(|id| id.ends_with("/guest")).collect();
    assert_eq!(ids, ["T-2/1/critique-1/guest", "T-2/1/propose-0/guest", "T-2/1/revise-1/guest"]);
    daemon.stop().await
}

/// Certificates that are made for tests: an authority, and a runner on this machine whom it knows.
fn certificate(file: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/runner/tls").join(file).display().to_string()
}

#[tokio::test]
async fn a_runner_behind_tls_is_met_only_when_its_certificate_is_known() -> Result<()> {
    let sim = simulator(Duration::ZERO).await?;
    let home = Home::new(sim.addr())?
        .with("MOOTHALL__COUNCILS__AGENTS", "2")
        .with("MOOTHALL__MODEL__RETRIES", "0")
        .with("RUST_LOG", "error");
    let files = [certificate("runner.pem"), certificate("runner.key")];
    let runner = Runner::start(&["--echo", "--certificate", &files[0], "--private-key", &files[1]]).await?;
    assert!(runner.endpoint.starts_with("grpcs://"), "{}", runner.endpoint);
    let daemon = home.start().await?;
    runner.join(&daemon).await?;
    let stranger = daemon.client().await?.deliberate(task("T-1")).await?.into_inner();
    let tags = stranger.metadata.context("no metadata")?.tags;
    let why = tags.get("missing.guest.propose-0").context("a stranger was trusted")?;
    assert!(why.starts_with("transient: ") && why.contains("certificate"), "{why}");
    daemon.stop().await?;

    let daemon = home.start_with(&[("SSL_CERT_FILE", &certificate("authority.pem"))]).await?;
    let answer = daemon.client().await?.deliberate(task("T-2")).await?.into_inner();
    assert_eq!(answer.results.len(), 3);
    daemon.stop().await
}

#[tokio::test]
async fn the_example_runner_stops_its_model_when_it_is_cancelled() -> Result<()> {
    let sim = simulator(Duration::ZERO).await?;
    let daemon = Home::new(sim.addr())?.with("MOOTHALL__COUNCILS__AGENTS", "2").start().await?;
    let url = format!("http://{}", sim.addr());
    let runner = Runner::start(&["--model-url", &url, "--model", "moothall-sim"]).await?;
    runner.join(&daemon).await?;
    sim.set(BehaviourChange { faults: Some(vec![Fault::always(FaultKind::Hang)]), ..BehaviourChange::default() });
    let request = DeliberateRequest { num_agents: 3, ..task("") };
    let mut stream = daemon.client().await?.stream_deliberation(request).await?.into_inner();
    ensure!(stream.next().await.is_some());
    until_in_flight(&sim, 3, LIMIT).await?;
    drop(stream);
    until_in_flight(&sim, 0, Duration::from_secs(2)).await?;
    daemon.stop().await
}
