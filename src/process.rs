//! Child processes, mostly of this very program: the demo kills and restarts a daemon, the benchmark measures one.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// How long a child may take until it says that it is ready.
const READY_LIMIT: Duration = Duration::from_secs(30);

/// The same of an executor, whose Ray starts several programs.
const EXECUTOR_LIMIT: Duration = Duration::from_secs(90);

/// A line on standard output that begins so says that the child serves, and where: `ready grpc=… http=…`.
pub const READY: &str = "ready";

/// Why a child could not be started.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    #[error("the program cannot start itself")]
    Start(#[from] io::Error),
    #[error("{what} cannot be started")]
    NotThere {
        what: String,
        #[source]
        source: io::Error,
    },
    #[error("{what} ended before it was ready ({status})")]
    Ended { what: String, status: ExitStatus },
    #[error("{what} was not ready within {limit:?}")]
    Late { what: String, limit: Duration },
    #[error("{what} did not say its {field}")]
    Untold { what: String, field: &'static str },
}

/// A running child. Dropped, it is killed.
#[derive(Debug)]
pub struct Process {
    what: String,
    child: Child,
    told: BTreeMap<String, String>,
}

impl Process {
    /// Starts this program with `arguments` and waits until it is ready. Its log goes where ours goes.
    pub async fn start(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Self, ProcessError> {
        let what = arguments.first().copied().unwrap_or_default().to_owned();
        let mut command = Command::new(std::env::current_exe()?);
        command.args(arguments).envs(environment.iter().copied());
        Self::start_command(what, command, READY_LIMIT).await
    }

    /// The Ray executor with a Ray of its own, which takes its time; for these model servers.
    pub async fn start_executor(program: &Path, models: &str) -> Result<Self, ProcessError> {
        let mut command = Command::new(program);
        command.env("VLLM_URL", models).env("GRPC_PORT", "0").env("LOG_LEVEL", "ERROR");
        command.env_remove("NATS_URL").env_remove("RAY_ADDRESS").env_remove("EXECUTOR_CONFIG");
        Self::start_command(program.display().to_string(), command, EXECUTOR_LIMIT).await
    }

    async fn start_command(what: String, mut command: Command, limit: Duration) -> Result<Self, ProcessError> {
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn();
        let mut child = child.map_err(|source| ProcessError::NotThere { what: what.clone(), source })?;
        let Some(output) = child.stdout.take() else { return Err(io::Error::other("no pipe").into()) };
        let mut lines = BufReader::new(output).lines();
        let ready = async {
            while let Some(line) = lines.next_line().await? {
                if let Some(fields) = line.strip_prefix(READY) {
                    return Ok::<_, io::Error>(Some(fields_of(fields)));
                }
            }
            Ok(None)
        };
        match tokio::time::timeout(limit, ready).await {
            Ok(told) => match told? {
                Some(told) => Ok(Self { what, child, told }),
                None => Err(ProcessError::Ended { what, status: child.wait().await? }),
            },
            Err(_) => Err(ProcessError::Late { what, limit }),
        }
    }

    /// What it said of itself when it was ready, such as its `grpc` address.
    pub fn told(&self, field: &'static str) -> Result<&str, ProcessError> {
        let told = self.told.get(field).map(String::as_str);
        told.ok_or_else(|| ProcessError::Untold { what: self.what.clone(), field })
    }

    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// SIGKILL: no goodbye.
    pub async fn kill(mut self) -> io::Result<()> {
        self.child.kill().await
    }

    /// SIGTERM, then waits for its end.
    pub async fn stop(mut self) -> io::Result<ExitStatus> {
        let pid = self.child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            kill_process(pid, Signal::TERM)?;
        }
        self.child.wait().await
    }
}

fn fields_of(line: &str) -> BTreeMap<String, String> {
    line.split_whitespace()
        .filter_map(|field| field.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ready_line_is_read_field_by_field() {
        let told = fields_of(" grpc=127.0.0.1:1 http=127.0.0.1:2 noise");
        assert_eq!(told["grpc"], "127.0.0.1:1");
        assert_eq!(told.len(), 2);
    }
}
