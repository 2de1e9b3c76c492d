//! A real server of one's own, at a place and in a folder of its own; it ends with its test, by its pid.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use moothall::redis::{Address, RedisQueue, Settings, final_id};
use moothall_actors::domain::ended::Ended;
use moothall_actors::domain::event::Event;
use moothall_actors::domain::id::{Role, RunId, Timestamp};
use moothall_actors::ports::queue::QueueError;
use moothall_actors::ports::shared::{Final, Published, SharedQueue};
use tempfile::TempDir;

use crate::place;

/// Nothing here takes longer unless it is broken.
pub(crate) const BOUND: Duration = Duration::from_secs(30);

pub(crate) struct Server {
    child: Option<Child>,
    pub(crate) port: u16,
    folder: TempDir,
}

/// Waits until it is so, and says what was waited for if it never is.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    let waited = tokio::time::timeout(BOUND, async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(waited.await.is_ok(), "waited in vain: {what}");
}

impl Server {
    /// Everything in its file before it answers.
    pub(crate) async fn start() -> Self {
        let mut server = Self { child: None, port: place::vacant().port(), folder: TempDir::new().unwrap() };
        server.run().await;
        server
    }

    pub(crate) async fn run(&mut self) {
        let child = Command::new("redis-server")
            .args(["--bind", &place::own().to_string(), "--port", &self.port.to_string(), "--save", ""])
            .args(["--appendonly", "yes", "--appendfsync", "always", "--dir", &self.folder.path().to_string_lossy()])
            .stdout(Stdio::null())
            .spawn();
        let Ok(child) = child else { panic!("redis-server cannot be started: `make setup` installs it") };
        self.child = Some(child);
        let port = self.port;
        until("the server answers", || async move {
            let client = redis::Client::open((place::own().to_string(), port)).unwrap();
            let Ok(mut connection) = client.get_multiplexed_async_connection().await else { return false };
            redis::cmd("PING").query_async::<String>(&mut connection).await.is_ok()
        })
        .await;
    }

    /// kill -9.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    fn signal(&self, name: &str) {
        let pid = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    /// SIGSTOP: connections stay, answers do not come.
    pub(crate) fn stop(&self) {
        self.signal("-STOP");
    }

    pub(crate) fn go_on(&self) {
        self.signal("-CONT");
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("appendonlydir")
    }

    /// The files of a server that is not running.
    pub(crate) fn copy_data(&self) -> TempDir {
        let copy = TempDir::new().unwrap();
        copy_files(&self.data(), copy.path());
        copy
    }

    pub(crate) fn put_back(&self, copy: &TempDir) {
        std::fs::remove_dir_all(self.data()).unwrap();
        std::fs::create_dir(self.data()).unwrap();
        copy_files(copy.path(), &self.data());
    }

    pub(crate) async fn connection(&self) -> redis::aio::MultiplexedConnection {
        let client = redis::Client::open((place::own().to_string(), self.port)).unwrap();
        let patient = redis::AsyncConnectionConfig::new();
        let patient = patient.set_connection_timeout(Some(BOUND)).set_response_timeout(Some(BOUND));
        client.get_multiplexed_async_connection_with_config(&patient).await.unwrap()
    }

    pub(crate) async fn tell_time(&self, now: u64) {
        let mut connection = self.connection().await;
        let _: () = redis::cmd("SET").arg("{moothall}:now").arg(now).query_async(&mut connection).await.unwrap();
    }

    pub(crate) async fn forget_everything(&self) {
        let mut connection = self.connection().await;
        let _: () = redis::cmd("FLUSHALL").query_async(&mut connection).await.unwrap();
    }
}

fn copy_files(from: &Path, to: &Path) {
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Settings for a server on this port, patient enough for a machine under load. Its daemons have nothing to say of their
/// own, so that it is enough when one has spoken.
pub(crate) fn settings(port: u16) -> Settings {
    let address = Address::parse(&format!("redis://{}:{port}", place::own())).unwrap();
    Settings { deadline: Duration::from_secs(15), each_reasserts: false, ..Settings::new(address) }
}

pub(crate) fn queue(port: u16) -> RedisQueue {
    RedisQueue::new(settings(port)).unwrap()
}

/// The end of a run, in words that tell who ended it.
pub(crate) fn word(of: &str) -> Ended {
    let event = Event::TaskCancelled { run: 1, reason: of.into() };
    let (story, plan, by) = ("".into(), "".into(), of.into());
    Ended { event, at: Timestamp(1), role: Role::dev(), story, plan, checks_passed: false, by }
}

pub(crate) fn whose(end: &Final) -> String {
    Ended::read(&end.event).unwrap().by.to_string()
}

pub(crate) fn nobody_told(run: RunId) -> Published {
    Published { id: final_id(&run), run, sequence: 0 }
}

/// As many as a test makes.
pub(crate) async fn unpublished(queue: &impl SharedQueue) -> Vec<Final> {
    queue.unpublished(9).await.unwrap().finals
}

/// Nothing is known elsewhere: what the queue has is the whole truth.
pub(crate) async fn trust(queue: &impl SharedQueue) {
    queue.reassert(Vec::new(), BTreeMap::new()).await.unwrap();
}

pub(crate) fn is_unavailable<T>(answer: &Result<T, QueueError>) -> bool {
    matches!(answer, Err(QueueError::Unavailable { .. }))
}
