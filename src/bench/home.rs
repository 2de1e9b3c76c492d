//! A folder and a simulated model server, for daemons that live there one after the other.

use std::path::PathBuf;

use super::BenchError;
use crate::folder::TemporaryFolder;
use crate::process::Process;
use crate::sim::SimStats;

pub(super) struct Home {
    model: Process,
    folder: TemporaryFolder,
}

impl Home {
    /// `latency_ms`: how long the model takes for an answer.
    pub(super) async fn new(latency_ms: &str) -> Result<Self, BenchError> {
        Self::with(latency_ms, &["--no-calls"]).await
    }

    /// With a model server that knows each call by its name.
    pub(super) async fn counting(latency_ms: &str) -> Result<Self, BenchError> {
        Self::with(latency_ms, &[]).await
    }

    async fn with(latency_ms: &str, more: &[&str]) -> Result<Self, BenchError> {
        let model = ["sim", "--port", "0", "--answers", "bench", "--latency", latency_ms];
        Ok(Self { model: Process::start(&[&model, more].concat(), &[]).await?, folder: TemporaryFolder::new()? })
    }

    /// What the model server has counted.
    pub(super) async fn stats(&self) -> Result<SimStats, BenchError> {
        let failed = |error: reqwest::Error| BenchError::Call(error.to_string());
        let answer = reqwest::get(format!("http://{}/sim/stats", self.model.told("http")?)).await.map_err(failed)?;
        answer.json().await.map_err(failed)
    }

    /// Where its daemons keep their journal.
    pub(super) fn store(&self) -> PathBuf {
        self.folder.path().join("bench.db")
    }

    /// A daemon on the folder's store, without events unless `more` of the environment says so.
    pub(super) async fn start(&self, more: &[(&str, &str)]) -> Result<Process, BenchError> {
        let database = format!("sqlite:///{}", self.store().display());
        let model = format!("http://{}", self.model.told("http")?);
        let environment = [
            ("GRPC_PORT", "0"),
            ("HTTP_PORT", "0"),
            ("BIND_ADDRESS", "127.0.0.1"),
            ("DATABASE_URL", database.as_str()),
            ("VLLM_URL", &model),
            ("VLLM_MODEL", "auto"),
            ("ENABLE_NATS", "false"),
            ("RUST_LOG", "warn"),
            ("MOOTHALL__PLANS__MAX_TASKS", "10000"),
        ];
        Ok(Process::start(&["serve"], &[&environment, more].concat()).await?)
    }
}
