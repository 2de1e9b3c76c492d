//! The client of the context service against a real server, one that behaves and such that do not.

mod calls;
mod lost;
pub(crate) mod stand;
mod troubles;
mod wire;
