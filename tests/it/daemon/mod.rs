//! The real daemon, started as its users start it and treated as badly as the world will treat it. The model simulator
//! runs in the test's own process: it is the witness of what the daemon really asked.

mod actors;
mod artifacts;
mod bad_input;
mod context;
mod events;
mod executions;
mod harness;
mod hub;
mod kills;
mod life;
mod log;
mod memory;
mod models;
mod past;
mod prune_kills;
mod python;
mod python_runner;
mod queue;
mod raw;
mod ray;
mod real_vllm;
mod record;
mod request;
mod retention;
mod runners;
mod shared;
mod shared_troubles;
mod streams;
mod wire;
mod workflows;
