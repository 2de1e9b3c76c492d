//! The gRPC services.

pub(crate) mod codec;
pub mod proto;
