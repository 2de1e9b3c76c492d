//! A simulated model server and scripted answers, for demo, tests and benchmarks; every output says so.
//!
//! It is the peer of the benchmark: what it answers there is built beforehand, and counting takes no lock. It is the
//! witness of the tests too: it knows how often each call was really made, and misbehaves when told to.

mod behaviour;
mod body;
mod call_name;
mod canned;
mod completion;
mod prefix;
mod script;
mod scripted;
mod server;
mod stats;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use url::Url;

use crate::listen::listen;

pub use behaviour::{Answers, Behaviour, BehaviourChange, Fault, FaultKind, Latency, MODEL, SimSettings};
pub use script::{Otherwise, Script, ScriptError, ScriptedAnswer, ScriptedTask};
pub use scripted::{SIMULATED_MODEL, ScriptedModel};
pub use stats::{CallCount, RecordedRequest, SimStats};

use server::Sim;

/// A running simulator. Dropping it closes every connection.
pub struct SimServer {
    addr: SocketAddr,
    sim: Arc<Sim>,
    accepting: JoinHandle<()>,
}

impl SimServer {
    /// Listens, and answers from then on.
    pub async fn start(settings: SimSettings) -> io::Result<Self> {
        let listener = listen(settings.listen)?;
        let addr = listener.local_addr()?;
        let sim = Arc::new(Sim::new(settings));
        let accepting = tokio::spawn(accept(listener, Arc::clone(&sim)));
        Ok(Self { addr, sim, accepting })
    }

    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its base address, as `VLLM_URL` takes it.
    pub fn url(&self) -> Result<Url, url::ParseError> {
        Url::parse(&format!("http://{}", self.addr))
    }

    #[must_use]
    pub fn stats(&self) -> SimStats {
        self.sim.counts.snapshot()
    }

    /// The last request bodies, oldest first, if it records.
    #[must_use]
    pub fn recorded(&self) -> Vec<RecordedRequest> {
        self.sim.counts.records(usize::MAX)
    }

    /// Forgets what it counted.
    pub fn reset(&self) {
        self.sim.counts.reset();
    }

    /// Behaves differently from the next request on.
    pub fn set(&self, change: BehaviourChange) {
        self.sim.change(change);
    }

    /// Closes the port and every connection.
    pub async fn shutdown(mut self) {
        self.accepting.abort();
        // Its connections end with it.
        let _ = (&mut self.accepting).await;
    }
}

impl Drop for SimServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Serves until `until` is over: the command line's way.
pub async fn run(settings: SimSettings, until: impl Future<Output = ()>) -> io::Result<()> {
    let server = SimServer::start(settings).await?;
    tracing::info!(address = %server.addr(), "simulated model server: its answers are scripted");
    until.await;
    server.shutdown().await;
    Ok(())
}

async fn accept(listener: TcpListener, sim: Arc<Sim>) {
    let mut connections = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                sim.counts.connections.fetch_add(1, Ordering::Relaxed);
                connections.spawn(converse(stream, Arc::clone(&sim)));
            }
            // Out of file descriptors: some come free when connections end.
            Err(error) => {
                tracing::warn!(%error, "the simulator cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn converse(stream: TcpStream, sim: Arc<Sim>) {
    let served = async {
        stream.set_nodelay(true)?;
        let service = service_fn(|request| sim.serve(request));
        let mut http = http1::Builder::new();
        http.auto_date_header(false).header_read_timeout(None);
        http.serve_connection(TokioIo::new(stream), service).await.map_err(io::Error::other)
    };
    if let Err(error) = served.await {
        tracing::debug!(%error, "a connection to the simulator ended");
    }
}
