//! `nats check`: what the server has for the daemon, what is missing and what this user may do. Changes nothing.

use clap::{Args, Subcommand};
use jiff::Timestamp;

use super::config::ConfigArgs;
use super::exit::{Exit, Failure};
use super::output::Output;
use crate::app::nats_settings;
use crate::config::Config;
use crate::nats::{CheckError, check};
use crate::store::SqliteJournal;

/// Stands for the store's id where there is no store yet.
const NO_STORE: &str = "no-store-yet";

#[derive(Debug, Subcommand)]
pub(crate) enum NatsCommand {
    /// See which streams, consumers and permissions are there
    Check(CheckArgs),
}

#[derive(Args, Debug)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    config: ConfigArgs,
}

pub(super) async fn run(command: NatsCommand, output: &Output) -> Result<(), Failure> {
    let NatsCommand::Check(args) = command;
    let config = args.config.load()?.config;
    let settings = nats_settings(&config.nats, &instance(&config), Timestamp::UNIX_EPOCH);
    let settings = settings.map_err(|error| Failure::of(Exit::USAGE, &error))?;
    let report = check(&settings).await.map_err(|error| match &error {
        CheckError::Settings(_) => Failure::of(Exit::USAGE, &error),
        CheckError::Credentials(_) | CheckError::Connection { .. } => Failure::of(Exit::UNAVAILABLE, &error),
    })?;
    if output.is_json() {
        output.document(&serde_json::to_value(&report).unwrap_or_default())?;
    } else {
        output.exact(&report.to_string())?;
    }
    if report.is_well() { Ok(()) } else { Err(Failure::told(Exit::FAILED)) }
}

/// The store's id names the daemon's own consumers.
fn instance(config: &Config) -> String {
    let reader = config.store.url.path().and_then(|path| SqliteJournal::open_read_only(path).ok());
    reader.map_or_else(|| NO_STORE.to_owned(), |reader| reader.store_id().to_owned())
}
