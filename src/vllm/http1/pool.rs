//! Kept connections to one server, the last used on top.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::Uri;

use super::connector::Connector;
use super::reply::Reply;
use super::wire::Wire;
use super::{Request, WireError};

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Pool(Arc<Inner>);

struct Inner {
    connector: Connector,
    to: Uri,
    idle_timeout: Duration,
    idle: Mutex<Idle>,
}

#[derive(Default)]
struct Idle {
    wires: VecDeque<(Instant, Box<Wire>)>,
    /// Whether a task closes what is kept too long.
    swept: bool,
}

impl Pool {
    pub(crate) fn new(connector: Connector, to: Uri, idle_timeout: Duration) -> Self {
        Self(Arc::new(Inner { connector, to, idle_timeout, idle: Mutex::default() }))
    }

    /// Sends one request and waits for the head of its answer.
    pub(crate) async fn send(&self, request: &Request) -> Result<Reply, WireError> {
        let wire = match self.take() {
            Some(wire) => wire,
            // Boxed, since it is seldom needed and large.
            None => Wire::new(Box::pin(self.0.connector.open(&self.0.to)).await?),
        };
        Reply::to(request, wire, self.clone()).await
    }

    fn take(&self) -> Option<Box<Wire>> {
        loop {
            let (since, mut wire) = self.0.lock().wires.pop_back()?;
            if since.elapsed() < self.0.idle_timeout && wire.is_quiet() {
                return Some(wire);
            }
        }
    }

    pub(super) fn keep(&self, wire: Box<Wire>) {
        let mut idle = self.0.lock();
        idle.wires.push_back((Instant::now(), wire));
        if !std::mem::replace(&mut idle.swept, true) {
            tokio::spawn(sweep(Arc::clone(&self.0)));
        }
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes what nobody used for a while, and ends when nothing is left.
async fn sweep(pool: Arc<Inner>) {
    loop {
        tokio::time::sleep(pool.idle_timeout).await;
        let mut idle = pool.lock();
        while idle.wires.front().is_some_and(|(since, _)| since.elapsed() >= pool.idle_timeout) {
            idle.wires.pop_front();
        }
        if idle.wires.is_empty() {
            idle.swept = false;
            return;
        }
    }
}
