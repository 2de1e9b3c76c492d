//! HTTP/1 to one server: a small pool of connections, each driven by the call that uses it.
//!
//! A call polls its connection itself instead of handing it to a task: nine calls of a deliberation save nine hand-overs
//! between tasks, and dropping the call drops the socket, so that the server stops generating at once.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::{Request, Response, Uri, response};
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_service::Service as _;

type Body = Full<Bytes>;
type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why no whole answer came over the wire.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    #[error("cannot connect: {0}")]
    Connect(#[source] BoxError),
    /// A kept connection was closed before it brought a byte: the request is safe to send again at once.
    #[error("the server closed the idle connection")]
    Stale,
    #[error("connection lost: {0}")]
    Lost(#[source] hyper::Error),
    #[error("connection lost")]
    Cut,
    #[error("the answer has more than {0} bytes")]
    TooLarge(usize),
}

/// Opens connections; shared by all servers.
#[derive(Clone)]
pub(crate) struct Connector {
    tcp: HttpConnector,
    /// For all of it: name, connection and TLS.
    timeout: Duration,
    /// Made when the first `https` address is met: reading the system's certificates takes long, and may fail.
    tls: Arc<OnceLock<Result<HttpsConnector<HttpConnector>, Arc<str>>>>,
}

impl Connector {
    pub(crate) fn new(timeout: Duration) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(timeout));
        Self { tcp, timeout, tls: Arc::new(OnceLock::new()) }
    }

    async fn open(&self, to: &Uri) -> Result<Stream, BoxError> {
        if to.scheme_str() != Some("https") {
            return Ok(MaybeHttpsStream::Http(self.tcp.clone().call(to.clone()).await?));
        }
        let made = self.tls.get_or_init(|| {
            let provider = rustls::crypto::ring::default_provider();
            HttpsConnectorBuilder::new()
                .with_provider_and_platform_verifier(provider)
                .map(|builder| builder.https_only().enable_http1().wrap_connector(self.tcp.clone()))
                .map_err(|error| Arc::from(error.to_string()))
        });
        match made {
            Ok(connector) => connector.clone().call(to.clone()).await,
            Err(why) => Err(format!("no TLS: {why}").into()),
        }
    }
}

/// The end of a connection that must be polled for anything to happen on it.
struct Driver {
    connection: Connection<Stream, Body>,
    open: bool,
}

impl Driver {
    /// Polls `serve` and the connection that feeds it; `None` = the connection ended without serving.
    fn poll<T>(&mut self, cx: &mut Context<'_>, mut serve: impl FnMut(&mut Context<'_>) -> Poll<T>) -> Poll<Option<T>> {
        if let Poll::Ready(served) = serve(cx) {
            return Poll::Ready(Some(served));
        }
        self.advance(cx);
        match serve(cx) {
            Poll::Ready(served) => Poll::Ready(Some(served)),
            Poll::Pending if self.open => Poll::Pending,
            Poll::Pending => Poll::Ready(None),
        }
    }

    fn advance(&mut self, cx: &mut Context<'_>) {
        if self.open {
            self.open = Pin::new(&mut self.connection).poll(cx).is_pending();
        }
    }
}

/// One connection; dropping it closes the socket.
struct Wire {
    sender: SendRequest<Body>,
    driver: Driver,
    /// Whether it served a request before.
    kept: bool,
}

impl Wire {
    /// Whether the next request may go this way: the server neither closed it nor said anything unasked.
    fn usable(&mut self) -> bool {
        self.driver.advance(&mut Context::from_waker(Waker::noop()));
        self.driver.open && self.sender.is_ready()
    }

    async fn send(mut self: Box<Self>, request: Request<Body>) -> Result<(Response<Incoming>, Box<Self>), WireError> {
        let mut answer = std::pin::pin!(self.sender.send_request(request));
        let driver = &mut self.driver;
        let failed = match std::future::poll_fn(|cx| driver.poll(cx, |cx| answer.as_mut().poll(cx))).await {
            Some(Ok(response)) => {
                self.kept = true;
                return Ok((response, self));
            }
            Some(Err(error)) => Some(error),
            None => None,
        };
        let heard = !self.driver.connection.into_parts().read_buf.is_empty();
        if self.kept && !heard && !failed.as_ref().is_some_and(hyper::Error::is_parse) {
            return Err(WireError::Stale);
        }
        Err(failed.map_or(WireError::Cut, WireError::Lost))
    }
}

/// Kept connections to one server, the last used on top.
#[derive(Clone)]
pub(crate) struct Pool {
    connector: Connector,
    to: Uri,
    idle_timeout: Duration,
    idle: Arc<Mutex<Idle>>,
}

#[derive(Default)]
struct Idle {
    wires: VecDeque<(Instant, Box<Wire>)>,
    /// Whether a task closes what is kept too long.
    swept: bool,
}

impl Pool {
    pub(crate) fn new(connector: Connector, to: Uri, idle_timeout: Duration) -> Self {
        Self { connector, to, idle_timeout, idle: Arc::default() }
    }

    /// Sends one request and waits for the head of its answer.
    pub(crate) async fn send(&self, request: Request<Body>) -> Result<Reply, WireError> {
        let wire = match self.take() {
            Some(wire) => wire,
            // Boxed, since it is seldom needed and large.
            None => Box::pin(self.connect()).await?,
        };
        let (response, wire) = wire.send(request).await?;
        let (head, body) = response.into_parts();
        Ok(Reply { head, body, wire, pool: self.clone() })
    }

    async fn connect(&self) -> Result<Box<Wire>, WireError> {
        let Connector { timeout, .. } = self.connector;
        let opened = tokio::time::timeout(timeout, self.connector.open(&self.to)).await;
        let stream = opened.unwrap_or_else(|_| Err(format!("no connection within {timeout:?}").into()));
        let stream = stream.map_err(WireError::Connect)?;
        let (sender, connection) = http1::handshake(stream).await.map_err(WireError::Lost)?;
        let mut wire = Box::new(Wire { sender, driver: Driver { connection, open: true }, kept: false });
        // The first poll makes the sender ready.
        wire.usable();
        Ok(wire)
    }

    fn take(&self) -> Option<Box<Wire>> {
        loop {
            let (since, mut wire) = lock(&self.idle).wires.pop_back()?;
            if since.elapsed() < self.idle_timeout && wire.usable() {
                return Some(wire);
            }
        }
    }

    fn keep(&self, mut wire: Box<Wire>) {
        if !wire.usable() {
            return;
        }
        let mut idle = lock(&self.idle);
        idle.wires.push_back((Instant::now(), wire));
        if !std::mem::replace(&mut idle.swept, true) {
            tokio::spawn(sweep(Arc::clone(&self.idle), self.idle_timeout));
        }
    }
}

/// Closes what nobody used for a while, and ends when nothing is left.
async fn sweep(idle: Arc<Mutex<Idle>>, timeout: Duration) {
    loop {
        tokio::time::sleep(timeout).await;
        let mut idle = lock(&idle);
        while idle.wires.front().is_some_and(|(since, _)| since.elapsed() >= timeout) {
            idle.wires.pop_front();
        }
        if idle.wires.is_empty() {
            idle.swept = false;
            return;
        }
    }
}

fn lock(idle: &Mutex<Idle>) -> std::sync::MutexGuard<'_, Idle> {
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An answer whose body is still to come. Dropped before its end, it closes the connection.
pub(crate) struct Reply {
    pub(crate) head: response::Parts,
    body: Incoming,
    wire: Box<Wire>,
    pool: Pool,
}

impl Reply {
    /// The next piece of the body; `None` at its end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, WireError> {
        let (body, driver) = (&mut self.body, &mut self.wire.driver);
        loop {
            let frame = std::future::poll_fn(|cx| driver.poll(cx, |cx| Pin::new(&mut *body).poll_frame(cx))).await;
            match frame.ok_or(WireError::Cut)? {
                None => return Ok(None),
                Some(Err(error)) => return Err(WireError::Lost(error)),
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        return Ok(Some(bytes));
                    }
                }
            }
        }
    }

    /// Gives the connection back, once the body was read to its end.
    pub(crate) fn finish(self) {
        if self.body.is_end_stream() {
            self.pool.keep(self.wire);
        }
    }

    /// The whole body, if it has at most `most` bytes.
    pub(crate) async fn whole(mut self, most: usize) -> Result<Bytes, WireError> {
        let Some(first) = self.chunk().await? else {
            self.finish();
            return Ok(Bytes::new());
        };
        let mut body = first;
        if !self.body.is_end_stream() {
            let mut all = BytesMut::from(body);
            while let Some(more) = self.chunk().await? {
                all.extend_from_slice(&more);
                if all.len() > most {
                    return Err(WireError::TooLarge(most));
                }
            }
            body = all.freeze();
        }
        if body.len() > most {
            return Err(WireError::TooLarge(most));
        }
        self.finish();
        Ok(body)
    }
}
