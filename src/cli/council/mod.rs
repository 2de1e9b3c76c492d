//! `council`: make, list, delete and resume councils.

use clap::Subcommand;

use super::daemon::Daemon;
use super::exit::Failure;
use super::output::Output;
use super::pair;
use crate::grpc::proto::fleet::orchestrator::v1::{
    CouncilConfig, CouncilInfo, CreateCouncilRequest, DeleteCouncilRequest, ListCouncilsRequest,
};
use crate::grpc::proto::moothall::v1::ResumeCouncilRequest;

#[derive(Debug, Subcommand)]
pub(crate) enum CouncilCommand {
    /// Make a council
    Create {
        /// Its role, such as DEV
        role: String,
        /// How many agents, 1 to 32
        #[arg(long, default_value_t = 3)]
        agents: i32,
        /// Rounds of review when a task names none, 1 to 8
        #[arg(long, value_name = "N", default_value_t = 1)]
        rounds: i32,
        /// Tasks that name no rounds are not reviewed
        #[arg(long)]
        no_review: bool,
        /// VLLM, RAY_VLLM or MOCK; without it, as configured
        #[arg(long = "type", value_name = "TYPE", default_value = "", hide_default_value = true)]
        agent_type: String,
        /// A profile of the configuration, or a model's name
        #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
        profile: String,
        /// vllm_url, model, temperature, max_tokens, top_p or seed; can be given many times
        #[arg(long = "param", value_name = "KEY=VALUE", value_parser = pair)]
        params: Vec<(String, String)>,
    },
    /// List councils and their agents
    List {
        /// Only this one
        #[arg(default_value = "", hide_default_value = true)]
        role: String,
    },
    /// Delete a council; what runs finishes first
    Delete { role: String },
    /// Take a parked role back to work
    Resume { role: String },
}

pub(super) async fn run(command: CouncilCommand, daemon: &Daemon, output: &Output) -> Result<(), Failure> {
    match command {
        CouncilCommand::Create { role, agents, rounds, no_review, agent_type, profile, params } => {
            let mut custom_params: std::collections::BTreeMap<_, _> = params.into_iter().collect();
            if no_review {
                // Unset and false look the same on the wire: only this says it.
                custom_params.insert("peer_review".to_owned(), "off".to_owned());
            }
            let config = CouncilConfig {
                deliberation_rounds: rounds,
                enable_peer_review: !no_review,
                model_profile: profile,
                custom_params,
                agent_type,
            };
            create(CreateCouncilRequest { role, num_agents: agents, config: Some(config) }, daemon, output).await
        }
        CouncilCommand::List { role } => list(role, daemon, output).await,
        CouncilCommand::Delete { role } => {
            let answer = daemon.orchestrator().delete_council(DeleteCouncilRequest { role }).await?.into_inner();
            let name = "fleet.orchestrator.v1.DeleteCouncilResponse";
            output.message(name, &answer, || output.line(&answer.message))
        }
        CouncilCommand::Resume { role } => {
            let answer = daemon.councils().resume_council(ResumeCouncilRequest { role }).await?.into_inner();
            let text = format!("{} is back at work", answer.council_id);
            output.message("moothall.v1.ResumeCouncilResponse", &answer, || output.line(&text))
        }
    }
}

async fn create(request: CreateCouncilRequest, daemon: &Daemon, output: &Output) -> Result<(), Failure> {
    let answer = daemon.orchestrator().create_council(request).await?.into_inner();
    output.message("fleet.orchestrator.v1.CreateCouncilResponse", &answer, || {
        output.line(&format!("{} has {}", answer.council_id, answer.agent_ids.join(", ")))
    })
}

async fn list(role_filter: String, daemon: &Daemon, output: &Output) -> Result<(), Failure> {
    let request = ListCouncilsRequest { role_filter, include_agents: true };
    let answer = daemon.orchestrator().list_councils(request).await?.into_inner();
    if !output.is_json() && answer.councils.is_empty() {
        output.line("there is no council; `moothall council create DEV` makes one")?;
        return Ok(());
    }
    output.message("fleet.orchestrator.v1.ListCouncilsResponse", &answer, || {
        let rows = answer.councils.iter().flat_map(rows).collect();
        output.table(&["ROLE", "STATUS", "MODEL", "AGENT", "AGENT STATUS"], rows)
    })
}

/// A council, then its agents.
fn rows(council: &CouncilInfo) -> Vec<Vec<String>> {
    let agents = format!("{} agents", council.num_agents);
    let head = [&council.role, &council.status, &council.model, &agents, ""].map(str::to_owned).to_vec();
    let agents = council.agents.iter();
    let agents = agents.map(|agent| ["", "", "", &agent.agent_id, &agent.status].map(str::to_owned).to_vec());
    std::iter::once(head).chain(agents).collect()
}
