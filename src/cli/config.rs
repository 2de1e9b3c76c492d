//! `check-config`, `print-config`, and how every command that runs something reads its configuration.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::exit::{Exit, Failure};
use super::output::Output;
use crate::checks::TextChecks;
use crate::config::{Config, ConfigError, ConfigProblem, DEFAULTS, Loaded, Sources};

/// Where the configuration comes from, beside the environment.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ConfigArgs {
    /// Configuration file (TOML); see `print-config --defaults` for every key
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Set one key, over file and environment; can be given many times
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    overrides: Vec<String>,
}

impl ConfigArgs {
    pub(crate) fn load(self) -> Result<Loaded, ConfigError> {
        Config::load(&Sources::of_process(self.config, self.overrides))
    }
}

#[derive(Args, Debug)]
pub(crate) struct PrintArgs {
    /// Show the built-in reference instead: every key, its default and what it means
    #[arg(long)]
    defaults: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

pub(super) fn check(args: ConfigArgs, output: &Output) -> Result<(), Failure> {
    let loaded = match args.load() {
        Ok(loaded) => loaded,
        Err(error) if output.is_json() => {
            output.document(
                &json!({ "ok": false, "problems": error.problems.iter().map(problem).collect::<Vec<_>>() }),
            )?;
            return Err(Failure::told(Exit::USAGE));
        }
        Err(error) => return Err(error.into()),
    };
    TextChecks::configured(&loaded.config.checks).map_err(|error| {
        let failure = Failure::of(Exit::USAGE, &error);
        Failure { message: format!("checks.policy: {}", failure.message), ..failure }
    })?;
    let unread = loaded.unread();
    if output.is_json() {
        output.document(&json!({ "ok": true, "problems": [], "unread": unread }))?;
        return Ok(());
    }
    output.line("the configuration is right")?;
    for key in unread {
        output.line(&format!("note: {key} is set, but this version does not use it yet"))?;
    }
    Ok(())
}

fn problem(problem: &ConfigProblem) -> serde_json::Value {
    json!({
        "key": problem.key,
        "value": problem.value,
        "rule": problem.rule,
        "origin": problem.origin.to_string(),
    })
}

pub(super) fn print(args: PrintArgs, output: &Output) -> Result<(), Failure> {
    if args.defaults {
        output.line(DEFAULTS.trim_end())?;
        return Ok(());
    }
    let loaded = args.config.load()?;
    if output.is_json() {
        output.document(&loaded.to_json())?
    } else {
        output.line(loaded.to_toml().trim_end())?
    }
    Ok(())
}
