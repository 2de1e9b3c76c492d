//! The daemon around the actor system: adapters, composition root and command line.

pub mod app;
pub mod backoff;
pub mod bench;
pub mod checks;
pub mod cli;
pub mod config;
pub mod context;
pub mod demo;
pub mod error;
pub mod folder;
pub mod grpc;
pub mod http;
pub mod hub;
pub mod intake;
pub mod line;
mod listen;
pub mod nats;
pub mod outbox;
pub mod plan;
pub mod process;
pub mod ray;
pub mod redis;
pub mod runner;
pub mod sim;
pub mod store;
pub mod telemetry;
pub mod vllm;
