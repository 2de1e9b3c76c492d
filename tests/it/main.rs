//! One test binary: adapters against real servers, and the real daemon.
#![cfg(test)]

mod bench;
mod checks;
mod cli;
mod config;
mod context;
mod daemon;
mod hub;
mod licences;
mod nats;
mod place;
mod plan;
#[macro_use]
mod queue;
mod ray;
mod redis;
mod runner;
mod served;
mod sim;
mod store;
mod vllm;
mod wire;
