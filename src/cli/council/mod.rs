//! `council`: make, list, delete and resume councils, one by one or as a file says.

mod change;
mod manifest;

use std::path::{Path, PathBuf};

use clap::{Subcommand, ValueEnum};
use moothall_actors::domain::id::Role;
use serde_json::json;

use self::change::Step;
use self::manifest::Manifest;
use super::daemon::Daemon;
use super::exit::{Exit, Failure};
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
    /// Show a council as the file that would make it
    Get {
        role: String,
        /// In which form
        #[arg(long, short, value_name = "FORM", default_value = "toml")]
        output: Form,
    },
    /// Say what `apply` would do; ends with 1 when that is anything
    Diff {
        /// The council's file, such as config/councils/dev.toml
        #[arg(long, short)]
        file: PathBuf,
    },
    /// Make a council as a file says: made, changed, or left alone when it is so already
    Apply {
        /// The council's file, such as config/councils/dev.toml
        #[arg(long, short)]
        file: PathBuf,
        /// Delete the council and make it again where a standing one cannot be changed; what runs finishes first
        #[arg(long)]
        replace: bool,
    },
}

/// How `get` shows a council.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    Toml,
    Json,
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
        CouncilCommand::Get { role, output: form } => get(&role, form, daemon, output).await,
        CouncilCommand::Diff { file } => diff(&file, daemon, output).await,
        CouncilCommand::Apply { file, replace } => apply(&file, replace, daemon, output).await,
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

async fn get(role: &str, form: Form, daemon: &Daemon, output: &Output) -> Result<(), Failure> {
    let role = Role::parse("role", role).map_err(|problem| Failure::usage(problem.to_string()))?;
    let Some(council) = change::standing(daemon, &role).await? else {
        let why = format!("there is no council for role {role}");
        return Err(Failure::new(Exit::NO_INPUT, why).hint("`moothall council list` shows those there are."));
    };
    let manifest = Manifest::of(&council);
    if form == Form::Json || output.is_json() {
        output.document(&serde_json::to_value(&manifest).map_err(|error| Failure::of(Exit::INTERNAL, &error))?)?;
    } else {
        let text = toml::to_string(&manifest).map_err(|error| Failure::of(Exit::INTERNAL, &error))?;
        output.line(text.trim_end())?;
    }
    Ok(())
}

/// The file's council, and what leads to it.
async fn compare(file: &Path, daemon: &Daemon) -> Result<(Manifest, Vec<Step>), Failure> {
    let shown = file.display();
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::new(Exit::NO_INPUT, format!("{shown} cannot be read: {error}")))?;
    let parsed = Manifest::parse(&text);
    let (role, wanted) = parsed.map_err(|problems| Failure::usage(format!("{shown}:\n  {problems}")))?;
    let there = change::standing(daemon, &role).await?.as_ref().map(Manifest::of);
    let steps = change::steps(&wanted, there.as_ref());
    Ok((wanted, steps))
}

async fn diff(file: &Path, daemon: &Daemon, output: &Output) -> Result<(), Failure> {
    let (wanted, steps) = compare(file, daemon).await?;
    for step in &steps {
        tell(&wanted, step, output)?;
    }
    conclude(&wanted, &steps, output)?;
    if steps.is_empty() { Ok(()) } else { Err(Failure::told(Exit::FAILED)) }
}

async fn apply(file: &Path, replace: bool, daemon: &Daemon, output: &Output) -> Result<(), Failure> {
    let (wanted, steps) = compare(file, daemon).await?;
    if let Some(step @ Step::Replace(_)) = steps.first().filter(|_| !replace) {
        let why = format!("{}: this would {step}", wanted.role);
        let hint = "Nothing was done; --replace does it, what runs finishes first.";
        return Err(Failure::new(Exit::REFUSED, why).hint(hint));
    }
    for step in &steps {
        change::take(step, &wanted, daemon).await?;
        // Told as it is done: a later one may fail.
        tell(&wanted, step, output)?;
    }
    conclude(&wanted, &steps, output)
}

fn tell(wanted: &Manifest, step: &Step, output: &Output) -> Result<(), Failure> {
    if !output.is_json() {
        output.line(&format!("{}: {step}", wanted.role))?;
    }
    Ok(())
}

fn conclude(wanted: &Manifest, steps: &[Step], output: &Output) -> Result<(), Failure> {
    if output.is_json() {
        let told: Vec<_> = steps.iter().map(ToString::to_string).collect();
        output.document(&json!({ "role": wanted.role, "steps": told }))?;
    } else if steps.is_empty() {
        output.line(&format!("{}: nothing to do", wanted.role))?;
    }
    Ok(())
}

/// A council, then its agents.
fn rows(council: &CouncilInfo) -> Vec<Vec<String>> {
    let agents = format!("{} agents", council.num_agents);
    let head = [&council.role, &council.status, &council.model, &agents, ""].map(str::to_owned).to_vec();
    let agents = council.agents.iter();
    let agents = agents.map(|agent| ["", "", "", &agent.agent_id, &agent.status].map(str::to_owned).to_vec());
    std::iter::once(head).chain(agents).collect()
}
