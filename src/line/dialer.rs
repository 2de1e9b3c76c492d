//! How gRPC's connections are opened: as those to model servers are.

use std::pin::Pin;
use std::task::{Context, Poll};

use http::Uri;
use hyper_rustls::MaybeHttpsStream;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_service::Service;

use crate::vllm::{Connector, WireError};

/// No proxy, no redirect.
pub(crate) struct Dialer(pub(crate) Connector);

/// Plain or TLS.
pub(crate) type Connection = MaybeHttpsStream<TokioIo<TcpStream>>;

impl Service<Uri> for Dialer {
    type Response = Connection;
    type Error = WireError;
    type Future = Pin<Box<dyn Future<Output = Result<Connection, WireError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), WireError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let connector = self.0.clone();
        Box::pin(async move { Ok(connector.open(&to).await?.into_inner()) })
    }
}
