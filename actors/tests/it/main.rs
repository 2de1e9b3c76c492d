//! The actor system as its users see it, in virtual time, with fakes for the world.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod artifacts;
mod boundary;
mod clients;
mod context;
mod drain;
mod executor;
mod failures;
mod happy_path;
mod messages;
mod outputs;
mod power;
mod pressure;
mod queue;
mod restarts;
mod selection;
mod simulation;
mod story;
mod workflows;
