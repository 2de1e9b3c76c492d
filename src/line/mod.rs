//! The way to a gRPC service of others: its address, and one connection that is made anew after a silence.

mod address;
mod channel;
mod dialer;

pub use address::{NoAddress, ServiceAddress};
pub(crate) use channel::Line;
pub(crate) use dialer::Dialer;
