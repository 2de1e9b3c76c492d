//! How connections are opened.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_service::Service as _;

use super::{BoxError, WireError};

/// Plain or TLS.
pub(crate) type Stream = TokioIo<MaybeHttpsStream<TokioIo<TcpStream>>>;

/// Opens connections; shared by all servers.
#[derive(Clone)]
pub(crate) struct Connector {
    tcp: HttpConnector,
    /// For all of it: name, connection and TLS.
    timeout: Duration,
    /// What is agreed on with TLS.
    http2: bool,
    /// Made when the first `https` address is met: reading the system's certificates takes long, and may fail.
    tls: Arc<OnceLock<Result<HttpsConnector<HttpConnector>, Arc<str>>>>,
}

impl Connector {
    pub(crate) fn new(timeout: Duration) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(timeout));
        Self { tcp, timeout, http2: false, tls: Arc::new(OnceLock::new()) }
    }

    /// For servers that speak HTTP/2.
    pub(crate) fn for_http2(timeout: Duration) -> Self {
        Self { http2: true, ..Self::new(timeout) }
    }

    pub(crate) async fn open(&self, to: &Uri) -> Result<Stream, WireError> {
        let opened = tokio::time::timeout(self.timeout, self.connect(to)).await;
        let opened = opened.unwrap_or_else(|_| Err(format!("no connection within {:?}", self.timeout).into()));
        opened.map(TokioIo::new).map_err(WireError::Connect)
    }

    async fn connect(&self, to: &Uri) -> Result<MaybeHttpsStream<TokioIo<TcpStream>>, BoxError> {
        if to.scheme_str() != Some("https") {
            return Ok(MaybeHttpsStream::Http(self.tcp.clone().call(to.clone()).await?));
        }
        let made = self.tls.get_or_init(|| {
            let provider = rustls::crypto::ring::default_provider();
            HttpsConnectorBuilder::new()
                .with_provider_and_platform_verifier(provider)
                .map(|builder| match self.http2 {
                    true => builder.https_only().enable_http2().wrap_connector(self.tcp.clone()),
                    false => builder.https_only().enable_http1().wrap_connector(self.tcp.clone()),
                })
                .map_err(|error| Arc::from(error.to_string()))
        });
        match made {
            Ok(connector) => connector.clone().call(to.clone()).await,
            Err(why) => Err(format!("no TLS: {why}").into()),
        }
    }
}
