//! The executor with a Ray of its own, as a child.

use super::RayPlan;
use crate::bench::BenchError;
use crate::bench::measure::{descendants, memory};
use crate::process::Process;

pub(super) struct Executor(Process);

impl Executor {
    pub(super) async fn start(plan: &RayPlan, model: &str) -> Result<Self, BenchError> {
        let program = plan.environment.join("ray-executor");
        Ok(Self(Process::start_executor(&program, &format!("http://{model}")).await?))
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
