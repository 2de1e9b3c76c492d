//! The client: a shelf of what is known, and the wire behind it.

use std::sync::Arc;

use async_trait::async_trait;
use moothall_actors::ports::{Context, ContextError, ContextQuery, ContextSource};

use super::cache::Limits;
use super::exchange::Exchange;
use super::settings::ContextSettings;
use super::shelf::Shelf;
use super::standing::ContextState;
use crate::line::{Line, ServiceAddress};

/// Why there can be no client.
#[derive(Debug, thiserror::Error)]
#[error("the context service {address} cannot be connected to")]
pub struct StartError {
    address: Arc<str>,
    source: tonic::transport::Error,
}

/// The context service as the daemon sees it.
pub struct ContextClient {
    exchange: Arc<Exchange>,
    shelf: Shelf,
}

impl std::fmt::Debug for ContextClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ContextClient").field("address", self.exchange.address.shown()).finish_non_exhaustive()
    }
}

impl ContextClient {
    /// Connects nowhere yet.
    pub fn new(address: ServiceAddress, settings: ContextSettings) -> Result<Self, StartError> {
        let line = Line::to(&address, settings.deadline)
            .map_err(|source| StartError { address: Arc::clone(address.shown()), source })?;
        let shelf = Shelf::new(Limits::from(&settings));
        Ok(Self { exchange: Arc::new(Exchange::new(address, line, settings)), shelf })
    }

    /// As messages show it.
    #[must_use]
    pub fn address(&self) -> &Arc<str> {
        self.exchange.address.shown()
    }

    /// How the service stood in its last call; `None` = it was not used yet.
    #[must_use]
    pub fn state(&self) -> Option<ContextState> {
        self.exchange.standing.state()
    }
}

#[async_trait]
impl ContextSource for ContextClient {
    async fn context(&self, query: &ContextQuery) -> Result<Context, ContextError> {
        self.exchange.check(query)?;
        let fetch = || {
            let (exchange, query) = (Arc::clone(&self.exchange), query.clone());
            async move { exchange.fetch(&query).await }
        };
        self.shelf.get(query, self.address(), fetch).await
    }

    /// What is under way is given to those who wait for it, and kept only if it turns out to have that version.
    fn invalidate(&self, story: &str, version: Option<&str>) {
        // The wire says «none» by an empty text.
        self.shelf.invalidate(story, version.filter(|version| !version.is_empty()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_needs_neither_runtime_nor_service_to_start() {
        for address in ["http://context:50054", "https://context:50054"] {
            let parsed = ServiceAddress::parse(address).unwrap().unwrap();
            let client = ContextClient::new(parsed, ContextSettings::default()).unwrap();
            assert_eq!((&**client.address(), client.state()), (address, None));
        }
    }
}
