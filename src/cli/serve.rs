//! `serve`: the daemon in the foreground.

use std::io::{self, Write as _};

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::config::ConfigArgs;
use super::exit::{Exit, Failure};
use super::output::Output;
use crate::app::{self, Addresses};
use crate::{process, telemetry};

#[derive(Args, Debug)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    config: ConfigArgs,
}

pub(super) async fn run(args: ServeArgs, _: &Output) -> Result<(), Failure> {
    let loaded = args.config.load()?;
    telemetry::init(&loaded.config.log).map_err(|error| Failure::of(Exit::INTERNAL, &error))?;
    match telemetry::raise_open_files() {
        Ok(limit) => tracing::debug!(limit, "open files"),
        Err(error) => tracing::warn!(%error, "the limit on open files stays as it is"),
    }
    for key in loaded.unread() {
        tracing::warn!(key, "is set, but this version does not use it yet");
    }
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stop = async {
        tokio::select! { _ = terminate.recv() => {} _ = interrupt.recv() => {} }
        tracing::info!("draining; a second signal ends the daemon at once");
        tokio::spawn(end_at_second_signal());
    };
    let upkeep = tokio::spawn(telemetry::upkeep());
    let outcome = app::run(loaded.config, ready, stop).await;
    upkeep.abort();
    outcome.map_err(|error| Failure::of(Exit(error.exit_code()), &error))
}

/// Says that work is taken, and where: people read it, and so does whoever started this process.
fn ready(addresses: Addresses) {
    let Addresses { grpc, http } = addresses;
    tracing::info!(%grpc, %http, "ready");
    // A starter that has closed our output still wants the daemon.
    let _ = writeln!(io::stdout(), "{} grpc={grpc} http={http}", process::READY);
}

/// Whoever asks twice does not want to wait: the journal holds what is left.
async fn end_at_second_signal() {
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return;
    };
    tokio::select! { _ = terminate.recv() => {} _ = interrupt.recv() => {} }
    tracing::warn!("ended at once; what was running goes on at the next start");
    let own = rustix::process::getpid();
    let _ = rustix::process::kill_process(own, rustix::process::Signal::KILL);
}
