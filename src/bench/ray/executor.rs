//! The executor with a Ray of its own, as a child.

use std::time::Duration;

use tokio::process::Command;

use super::RayPlan;
use crate::bench::BenchError;
use crate::bench::measure::{descendants, memory};
use crate::process::Process;

/// Ray takes its time.
const READY_WITHIN: Duration = Duration::from_secs(90);

pub(super) struct Executor(Process);

impl Executor {
    pub(super) async fn start(plan: &RayPlan, model: &str) -> Result<Self, BenchError> {
        let program = plan.environment.join("ray-executor");
        let mut command = Command::new(&program);
        command.env("VLLM_URL", format!("http://{model}")).env("GRPC_PORT", "0").env("LOG_LEVEL", "ERROR");
        command.env_remove("NATS_URL").env_remove("RAY_ADDRESS").env_remove("EXECUTOR_CONFIG");
        let what = program.display().to_string();
        Ok(Self(Process::start_command(what, command, READY_WITHIN).await?))
    }

    pub(super) fn address(&self) -> Result<&str, BenchError> {
        Ok(self.0.told("grpc")?)
    }

    /// Of the executor and all that it started. Pages that several of them share count for each.
    pub(super) fn memory_mib(&self) -> u64 {
        let bytes: u64 = self.0.pid().map(descendants).unwrap_or_default().into_iter().map(memory).sum();
        bytes >> 20
    }

    /// With a goodbye: Ray's processes end with it.
    pub(super) async fn stop(self) -> Result<(), BenchError> {
        self.0.stop().await?;
        Ok(())
    }
}
