//! The actor system as its users see it, in virtual time, with fakes for the world.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod happy_path;
