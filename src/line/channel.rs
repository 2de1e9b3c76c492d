//! The connection: made when it is first needed, made anew after a silence.
//!
//! A lost connection mends itself. One whose other end vanished without a word does not: calls on it time out one after
//! another, minutes long. So the next call after a silence goes over a connection of its own, and the old one ends with
//! the calls that are still on it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tonic::transport::{Channel, Endpoint};

use super::address::ServiceAddress;
use super::dialer::Dialer;
use crate::vllm::Connector;

const AGENT: &str = concat!("moothall/", env!("CARGO_PKG_VERSION"));
/// An idle connection is looked after by the operating system: gRPC's own keepalive makes servers hang up on idle ones.
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);

/// Makes a channel of an endpoint, without connecting yet.
type Dial = Box<dyn Fn(&Endpoint) -> Channel + Send + Sync>;

pub(crate) struct Line {
    endpoint: Endpoint,
    dial: Dial,
    current: Mutex<Current>,
}

#[derive(Default)]
struct Current {
    channel: Option<Channel>,
    number: u64,
}

impl Line {
    /// Nothing is dialled yet, so that no runtime need run. TLS is opened as it is to model servers and runners.
    pub(crate) fn to(address: &ServiceAddress, connect_within: Duration) -> Result<Self, tonic::transport::Error> {
        if !address.is_tls() {
            return Self::new(address, connect_within, Box::new(Endpoint::connect_lazy));
        }
        let connector = Connector::for_http2(connect_within);
        let dial = move |endpoint: &Endpoint| endpoint.connect_with_connector_lazy(Dialer(connector.clone()));
        Self::new(address, connect_within, Box::new(dial))
    }

    /// `dial` makes the channels.
    pub(crate) fn new(
        address: &ServiceAddress,
        connect_within: Duration,
        dial: Dial,
    ) -> Result<Self, tonic::transport::Error> {
        let endpoint = Endpoint::from_shared(address.shown().to_string())?
            .user_agent(AGENT)?
            .connect_timeout(connect_within)
            .tcp_keepalive(Some(TCP_KEEPALIVE))
            .tcp_nodelay(true);
        Ok(Self { endpoint, dial, current: Mutex::default() })
    }

    /// The channel of now, and its number.
    pub(crate) fn channel(&self) -> (Channel, u64) {
        let mut current = self.lock();
        let channel = current.channel.get_or_insert_with(|| (self.dial)(&self.endpoint)).clone();
        (channel, current.number)
    }

    /// The channel of this number was silent: the next call dials anew, once for all that were on it.
    pub(crate) fn doubt(&self, number: u64) {
        let mut current = self.lock();
        if current.number == number {
            *current = Current { channel: None, number: number + 1 };
        }
    }

    fn lock(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_silent_line_is_dialled_anew_once_for_all_that_were_on_it() {
        let dialled = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&dialled);
        let dial = move |endpoint: &Endpoint| {
            counted.fetch_add(1, Ordering::Relaxed);
            assert!(endpoint.get_tcp_nodelay());
            assert_eq!(endpoint.uri().to_string(), "https://context:50054/");
            endpoint.connect_lazy()
        };
        let address = ServiceAddress::parse("https://context:50054").unwrap().unwrap();
        let line = Line::new(&address, Duration::from_secs(1), Box::new(dial)).unwrap();
        assert_eq!(dialled.load(Ordering::Relaxed), 0, "not before it is needed");
        assert_eq!((line.channel().1, line.channel().1), (0, 0));
        line.doubt(0);
        line.doubt(0);
        assert_eq!((line.channel().1, line.channel().1), (1, 1));
        assert_eq!(dialled.load(Ordering::Relaxed), 2);
    }
}
