//! `agent`: let agents join and leave councils while they work.

use clap::{Args, Subcommand};

use super::daemon::Daemon;
use super::exit::Failure;
use super::output::Output;
use super::pair;
use crate::grpc::proto::fleet::orchestrator::v1::{AgentCapabilities, RegisterAgentRequest, UnregisterAgentRequest};

#[derive(Debug, Subcommand)]
pub(crate) enum AgentCommand {
    /// Let an agent join a council
    Register(RegisterArgs),
    /// Let an agent leave; its calls in flight finish
    Unregister {
        /// The agent's id
        agent: String,
        /// Its council
        #[arg(long, short)]
        role: String,
    },
}

#[derive(Args, Debug)]
pub(crate) struct RegisterArgs {
    /// The agent's id, unique over all councils
    agent: String,
    /// The council it joins
    #[arg(long, short)]
    role: String,
    /// Its own OpenAI-compatible server, grpc://host:port for an outside agent, `pool` for the configured servers or `ray` for
    /// the executor; without it, as its council's are
    #[arg(long, value_name = "URL", default_value = "", hide_default_value = true)]
    endpoint: String,
    /// A profile of the configuration, or a model's name
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    profile: String,
    /// Calls at once; without it, as configured
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    max_concurrent_tasks: i32,
    /// What it can do; can be given many times
    #[arg(long = "supports", value_name = "TASK")]
    supported_tasks: Vec<String>,
    /// A language it knows; can be given many times
    #[arg(long = "language", value_name = "NAME")]
    languages: Vec<String>,
    /// Kept and shown; can be given many times
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    metadata: Vec<(String, String)>,
}

pub(super) async fn run(command: AgentCommand, daemon: &Daemon, output: &Output) -> Result<(), Failure> {
    match command {
        AgentCommand::Register(args) => {
            let answer = daemon.orchestrator().register_agent(args.request()).await?.into_inner();
            let name = "fleet.orchestrator.v1.RegisterAgentResponse";
            output.message(name, &answer, || output.line(&answer.message))
        }
        AgentCommand::Unregister { agent, role } => {
            let request = UnregisterAgentRequest { agent_id: agent, role };
            let answer = daemon.orchestrator().unregister_agent(request).await?.into_inner();
            let name = "fleet.orchestrator.v1.UnregisterAgentResponse";
            output.message(name, &answer, || output.line(&answer.message))
        }
    }
}

impl RegisterArgs {
    fn request(self) -> RegisterAgentRequest {
        let capabilities = AgentCapabilities {
            supported_tasks: self.supported_tasks,
            model_profile: self.profile,
            max_concurrent_tasks: self.max_concurrent_tasks,
            languages: self.languages,
        };
        RegisterAgentRequest {
            agent_id: self.agent,
            role: self.role,
            capabilities: Some(capabilities),
            endpoint: self.endpoint,
            metadata: self.metadata.into_iter().collect(),
        }
    }
}
