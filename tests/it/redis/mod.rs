//! The queue in Redis against a real server, which each test starts and ends itself.

mod fault;
#[cfg(feature = "testing")]
mod killed;
#[cfg(feature = "testing")]
mod play;
mod proxy;
mod rolled_back;
pub(crate) mod server;
#[cfg(feature = "testing")]
mod shared;
#[cfg(feature = "testing")]
mod stages;
mod takeover;
mod texts;
