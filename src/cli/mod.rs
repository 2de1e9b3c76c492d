//! The command line: what can be asked of the program, and which file answers it.
//!
//! Commands about work talk to a daemon over gRPC; `doctor`, `check-config` and `print-config` need none, and `journal`
//! can read a store whose daemon is gone. Each command is one file: arguments on top, then what it does.

mod agent;
mod bench;
mod config;
mod council;
mod daemon;
mod demo;
mod doctor;
mod document;
mod exit;
mod export;
mod given;
mod journal;
mod live;
mod moment;
mod nats;
mod output;
mod plan;
mod queue;
mod replay;
mod serve;
mod sim;
mod source;
mod state;
mod status;
mod task;
mod verdict;
mod watch;
mod work;
mod workflow;

use std::io;
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;

pub use bench::BenchArgs;
pub use demo::DemoArgs;

use self::daemon::Daemon;
use self::exit::{Exit, Failure};
use self::output::Output;

/// Councils of AI agents deliberate on software tasks; nothing that was finished is ever lost or repeated.
#[derive(Debug, Parser)]
#[command(name = "moothall", version, after_help = exit::HELP, max_term_width = 100, arg_required_else_help = true)]
pub struct Cli {
    #[command(flatten)]
    shared: Shared,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Args, Debug)]
struct Shared {
    /// Answer in JSON: one document, or a line for each where there are many
    #[arg(long, global = true)]
    json: bool,
    /// Where the daemon's gRPC port is
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "MOOTHALL_SERVER",
        default_value = "http://127.0.0.1:50055",
        hide_env_values = true
    )]
    server: String,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon until SIGTERM or Ctrl-C; a second one ends it at once
    Serve(serve::ServeArgs),
    /// See a whole deliberation, its crash and its recovery, with simulated or real models
    Demo(DemoArgs),
    /// Have a council deliberate, and show what comes out
    Deliberate(work::DeliberateArgs),
    /// Deliberate, then let the architect choose
    Orchestrate(work::OrchestrateArgs),
    /// Watch a task to its end; leave whenever you like
    Watch(watch::WatchArgs),
    /// Make, list, change, delete and resume councils
    #[command(subcommand)]
    Council(council::CouncilCommand),
    /// Let agents join and leave councils
    #[command(subcommand)]
    Agent(agent::AgentCommand),
    /// Look at tasks, queue, cancel, retry and park them
    #[command(subcommand)]
    Task(task::TaskCommand),
    /// What waits for its turn, and pausing it
    #[command(subcommand)]
    Queue(queue::QueueCommand),
    /// Look at plans, and have them carried out
    #[command(subcommand)]
    Plan(plan::PlanCommand),
    /// Spec Kit stages with a human's decision after each phase
    Workflow(workflow::WorkflowArgs),
    /// Look at the server that events come from and go to
    #[command(subcommand)]
    Nats(nats::NatsCommand),
    /// What a task came to, with all its evidence
    Verdict(document::VerdictArgs),
    /// Why a task's winner won, as a short story
    Why(document::DocumentArgs),
    /// How the daemon is
    Status(status::StatusArgs),
    /// Read the journal and look after it
    Journal(journal::JournalArgs),
    /// Find out what is wrong and what to do about it
    Doctor(doctor::DoctorArgs),
    /// Run a simulated model server; its answers are scripted and say so
    Sim(sim::SimArgs),
    /// Measure the daemon against a bare client
    Bench(BenchArgs),
    /// Check the configuration and name every problem
    CheckConfig(config::ConfigArgs),
    /// Show the configuration in force, secrets hidden
    PrintConfig(config::PrintArgs),
    /// Write completions for a shell to standard output
    Completions { shell: Shell },
}

/// Runs the command that this process was started with.
pub async fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let output = Output::new(cli.shared.json);
    match dispatch(cli, &output).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.message.is_empty() {
                tell(&failure);
            }
            failure.exit.into()
        }
    }
}

/// Help and version are no errors.
fn usage(error: &clap::Error) -> ExitCode {
    let printed = error.print();
    match (error.use_stderr(), printed) {
        (false, Ok(())) => ExitCode::SUCCESS,
        (false, Err(error)) => Failure::from(error).exit.into(),
        (true, _) => Exit::USAGE.into(),
    }
}

/// Nothing is left to do when standard error is gone too.
fn tell(failure: &Failure) {
    use io::Write as _;
    let _ = writeln!(io::stderr(), "{}", output::printable(&failure.to_string()));
}

async fn dispatch(cli: Cli, output: &Output) -> Result<(), Failure> {
    let server = cli.shared.server.as_str();
    match cli.command {
        Command::Serve(args) => serve::run(args, output).await,
        Command::Demo(args) => demo::run(args, output).await,
        Command::Deliberate(args) => work::deliberate(args, &connect(server).await?, output).await,
        Command::Orchestrate(args) => work::orchestrate(args, &connect(server).await?, output).await,
        Command::Watch(args) => watch::run(args, &connect(server).await?, output).await,
        Command::Council(command) => council::run(command, &connect(server).await?, output).await,
        Command::Agent(command) => agent::run(command, &connect(server).await?, output).await,
        Command::Task(command) => task::run(command, &connect(server).await?, output).await,
        Command::Queue(command) => queue::run(command, &connect(server).await?, output).await,
        Command::Plan(command) => plan::run(command, server, output).await,
        Command::Workflow(args) => workflow::run(args, output).await,
        Command::Nats(command) => nats::run(command, output).await,
        Command::Verdict(args) => document::verdict(args, server, output).await,
        Command::Why(args) => document::why(args, server, output).await,
        Command::Status(args) => status::run(args, &connect(server).await?, output).await,
        Command::Journal(args) => journal::run(args, server, output).await,
        Command::Doctor(args) => doctor::run(args, server, output).await,
        Command::Sim(args) => sim::run(args).await,
        Command::Bench(args) => bench::run(args, output).await,
        Command::CheckConfig(args) => config::check(args, output),
        Command::PrintConfig(args) => config::print(args, output),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "moothall", &mut io::stdout());
            Ok(())
        }
    }
}

async fn connect(server: &str) -> Result<Daemon, Failure> {
    Daemon::connect(server).await
}

/// `key=value`, for arguments that can be given many times.
fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("must be key=value".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_tree_is_sound() {
        Cli::command().debug_assert();
    }
}
