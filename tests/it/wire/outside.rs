//! A client that shares nothing with us but the wire tables (Python, `tests/wire`), against the real daemon with a
//! simulated model server.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use moothall::app::{self, Addresses, AppError};
use moothall::config::{Config, Sources};
use moothall::sim::{Answers, Behaviour, Latency, SimServer, SimSettings};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// The daemon, its model server and its disk.
struct House {
    at: Addresses,
    sim: SimServer,
    stop: oneshot::Sender<()>,
    daemon: JoinHandle<Result<(), AppError>>,
    _disk: TempDir,
}

impl House {
    async fn open(behaviour: Behaviour) -> Result<Self> {
        let sim = SimServer::start(SimSettings { behaviour, record: 64, ..SimSettings::default() }).await?;
        let disk = tempfile::tempdir()?;
        let database = format!("sqlite:///{}", disk.path().join("journal.db").display());
        let model = sim.url()?.to_string();
        let environment = [
            ("GRPC_PORT", "0"),
            ("HTTP_PORT", "0"),
            ("ENABLE_NATS", "false"),
            ("DATABASE_URL", &database),
            ("VLLM_URL", &model),
            ("VLLM_MODEL", "auto"),
        ];
        let environment = environment.map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let config = Config::load(&Sources { environment: environment.into(), ..Sources::default() })?.config;
        let (stop, stopped) = oneshot::channel::<()>();
        let (ready, addresses) = oneshot::channel();
        let until = async {
            let _ = stopped.await;
        };
        let tell = |at| {
            let _ = ready.send(at);
        };
        let daemon = tokio::spawn(app::run(config, tell, until));
        match addresses.await {
            Ok(at) => Ok(Self { at, sim, stop, daemon, _disk: disk }),
            Err(_) => Err(daemon.await?.err().context("it ended without an error")?.into()),
        }
    }

    async fn close(self) -> Result<()> {
        drop(self.stop);
        Ok(self.daemon.await??)
    }

    /// Runs one of the scripts of `tests/wire` against the daemon; answers the JSON lines it printed.
    async fn python(&self, script: &str, arguments: &[&str]) -> Result<Vec<Value>> {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let python = root.join("target/python/bin/python");
        ensure!(python.exists(), "{} is missing: scripts/test-deps makes it", python.display());
        let output = Command::new(python)
            .arg("-B")
            .arg(root.join("tests/wire").join(script))
            .arg(self.at.grpc.to_string())
            .args(arguments)
            .kill_on_drop(true)
            .output()
            .await?;
        let told = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{script} ended with {}:\n{told}", output.status);
        let lines = String::from_utf8(output.stdout)?;
        lines.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
    }
}

#[tokio::test]
async fn every_call_of_the_tables_works_for_a_client_that_knows_nothing_else() -> Result<()> {
    let house = House::open(Behaviour::default()).await?;
    let told = house.python("story.py", &[]).await?;
    let calls = json!({"one round": 9, "rounds=2": 15, "rounds=0": 9, "metadata.rounds=none": 3, "num_agents=2": 6});
    assert_eq!(told[0]["calls"], calls);
    house.close().await
}

/// With a model that only ever answers prose.
#[tokio::test]
async fn three_agents_and_one_round_are_nine_calls_in_waves_of_three() -> Result<()> {
    let latency = Latency::Fixed { fixed_ms: 50 };
    let house = House::open(Behaviour { answers: Answers::Prose, latency, ..Behaviour::default() }).await?;
    let constraints = json!({"rubric": "Short is good.", "requirements": ["Rejects negative values."]});
    let request = json!({"task_description": "parse a duration", "role": "DEV", "constraints": constraints});
    let asked = ["fleet.orchestrator.v1", "Deliberate", &request.to_string()];
    let told = house.python("client.py", &asked).await?;
    assert_eq!(told.last().context("a status")?["code"], "OK");
    assert_eq!(told[0]["results"].as_array().context("results")?.len(), 3);

    let stats = house.sim.stats();
    assert_eq!((stats.calls, stats.finished, stats.highest_concurrency), (9, 9, 3));
    assert!(stats.by_call.values().all(|call| call.started == 1), "{:?}", stats.by_call);
    for recorded in house.sim.recorded() {
        let body: Value = serde_json::from_str(&recorded.body)?;
        let prompt = body["messages"].to_string();
        assert!(prompt.contains("Short is good.") && prompt.contains("Rejects negative values."), "{prompt}");
        // Whoever reviews or is reviewed stays unnamed.
        assert!(!prompt.contains("agent-dev") && !prompt.contains(moothall::sim::MODEL), "{prompt}");
    }
    house.close().await
}

#[tokio::test]
async fn a_deadline_that_passes_is_told_as_such() -> Result<()> {
    let latency = Latency::Fixed { fixed_ms: u64::try_from(Duration::from_secs(600).as_millis())? };
    let house = House::open(Behaviour { latency, ..Behaviour::default() }).await?;
    let request = json!({"task_description": "parse a duration", "role": "DEV"}).to_string();
    let asked = ["fleet.orchestrator.v1", "StreamDeliberation", &request, "--timeout", "1"];
    let told = house.python("client.py", &asked).await?;
    assert_eq!(told.last().context("a status")?["code"], "DEADLINE_EXCEEDED");
    house.close().await
}
