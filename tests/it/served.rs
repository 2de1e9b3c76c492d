//! A gRPC server of a test, under a runtime of its own: it can be killed like a process, and come back where it was.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::time::{Instant, sleep, timeout};
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

/// Between two looks at a condition.
const LOOK: Duration = Duration::from_millis(5);
/// For whatever is sure to come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Dropped, it is killed: sockets close, nothing says goodbye.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    runtime: Option<Runtime>,
}

impl Served {
    /// Port 0 is any free one; another one may just have been somebody else's.
    pub(crate) async fn start(address: SocketAddr, routes: Routes) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (told, bound) = tokio::sync::oneshot::channel();
        runtime.spawn(async move {
            let listener = listen(address).await;
            told.send(listener.local_addr().unwrap()).unwrap();
            let server = Server::builder().add_routes(routes);
            server.serve_with_incoming(TcpIncoming::from(listener)).await.unwrap();
        });
        let address = timeout(PATIENCE, bound).await.unwrap().unwrap();
        Self { address, runtime: Some(runtime) }
    }

    /// Returns when its sockets are closed.
    pub(crate) async fn kill(mut self) {
        let runtime = self.runtime.take().unwrap();
        tokio::task::spawn_blocking(move || runtime.shutdown_timeout(PATIENCE)).await.unwrap();
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Returns when the claim has come true.
pub(crate) async fn until(what: &str, claim: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !claim() {
        assert!(Instant::now() < end, "never: {what}");
        sleep(LOOK).await;
    }
}

/// One whose place was another's a moment ago may have to wait for it.
async fn listen(address: SocketAddr) -> TcpListener {
    let end = Instant::now() + PATIENCE;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return listener,
            Err(error) => assert!(Instant::now() < end, "{address}: {error}"),
        }
        sleep(LOOK).await;
    }
}
