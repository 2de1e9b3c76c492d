//! One test binary: adapters against real servers, and the real daemon.
#![cfg(test)]

mod bench;
mod checks;
mod cli;
mod config;
mod context;
mod daemon;
mod licences;
mod nats;
mod plan;
mod runner;
mod sim;
mod store;
mod vllm;
mod wire;
