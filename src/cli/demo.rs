//! `demo`: a whole deliberation before your eyes.

use clap::Args;

use super::exit::{Exit, Failure};
use super::output::Output;

#[derive(Args, Clone, Copy, Debug)]
pub struct DemoArgs {
    /// End after the deliberation, as it does without a terminal
    #[arg(long)]
    pub exit: bool,
}

pub(super) async fn run(_: DemoArgs, _: &Output) -> Result<(), Failure> {
    Err(Failure::new(Exit::UNAVAILABLE, "the demo is not in this build"))
}
