//! The lint over whole texts.

mod base;
mod broken;
mod corpus;
mod limits;
mod valid;
