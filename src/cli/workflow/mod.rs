//! `workflow`: Spec Kit stages with a human's decision after each phase, over the daemon's REST interface.

mod client;
mod show;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use self::client::Client;
use super::exit::{Exit, Failure};
use super::given::text;
use super::output::Output;
use super::watch::interrupted;

#[derive(Args, Debug)]
pub(crate) struct WorkflowArgs {
    /// Where the daemon's HTTP port is
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "MOOTHALL_HTTP",
        default_value = "http://127.0.0.1:8080",
        hide_env_values = true
    )]
    http: String,
    #[command(subcommand)]
    command: WorkflowCommand,
}

#[derive(Debug, Subcommand)]
enum WorkflowCommand {
    /// Begin one; its first phase is executed at once, unless a client is to do that
    Create(CreateArgs),
    /// One as it stands, with the artifact that waits for its approval
    Show {
        /// Its id
        workflow: String,
    },
    /// Many, newest first
    List(ListArgs),
    /// Approve what waits, as it is or edited
    Approve(ApproveArgs),
    /// Have the phase done again, or end the workflow after too many rejections
    Reject {
        #[command(flatten)]
        decision: DecisionArgs,
        /// What is wrong; the agents are told
        #[arg(long, short)]
        reason: String,
    },
    /// End it
    Cancel {
        #[command(flatten)]
        decision: DecisionArgs,
        /// Why
        #[arg(long, short)]
        reason: Option<String>,
    },
    /// Every step, with who took it and why
    History {
        /// Its id
        workflow: String,
    },
    /// See its steps as they come, to its end; leave whenever you like
    Watch {
        /// Its id
        workflow: String,
        /// Only steps after this version
        #[arg(long, value_name = "VERSION")]
        after: Option<u64>,
    },
}

#[derive(Args, Debug)]
struct CreateArgs {
    /// specify, plan, tasks or implement
    #[arg(value_name = "TYPE")]
    workflow_type: String,
    /// What is wanted, in at least 10 characters; "-" reads it from standard input, "@FILE" from a file
    description: String,
    /// A JSON object that the agents are told; "@FILE" reads it from a file
    #[arg(long, value_name = "JSON")]
    context: Option<String>,
    /// What follows when it is completed, such as plan,tasks,implement
    #[arg(long, value_delimiter = ',', value_name = "TYPE,...")]
    chain: Vec<String>,
    /// A name for this request: sent again under the same name it makes no second workflow
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
}

#[derive(Args, Debug)]
struct ListArgs {
    /// pending, in_progress, waiting_approval, completed or failed
    #[arg(long)]
    status: Option<String>,
    /// specify, plan, tasks or implement
    #[arg(long = "type", value_name = "TYPE")]
    workflow_type: Option<String>,
    /// Such as 001-sign-in
    #[arg(long, value_name = "FEATURE")]
    feature: Option<String>,
    /// How many, 1 to 500
    #[arg(long, short = 'n', default_value_t = 50)]
    limit: u32,
    /// Where the list before ended
    #[arg(long)]
    cursor: Option<String>,
}

#[derive(Args, Debug)]
struct DecisionArgs {
    /// Its id
    workflow: String,
    /// Who decides
    #[arg(long, env = "USER", hide_env_values = true)]
    actor: Option<String>,
}

#[derive(Args, Debug)]
struct ApproveArgs {
    #[command(flatten)]
    decision: DecisionArgs,
    /// Why
    #[arg(long, short)]
    reason: Option<String>,
    /// The artifact with this hash and no other
    #[arg(long, value_name = "SHA-256")]
    hash: Option<String>,
    /// The text in this file takes the artifact's place
    #[arg(long, value_name = "FILE")]
    content: Option<PathBuf>,
}

pub(super) async fn run(args: WorkflowArgs, output: &Output) -> Result<(), Failure> {
    let client = Client::new(&args.http)?;
    match args.command {
        WorkflowCommand::Create(args) => create(args, &client, output).await,
        WorkflowCommand::Show { workflow } => {
            let found = client.get(&[&workflow], &[]).await?;
            let artifacts = client.get(&[&workflow, "artifacts"], &[]).await?;
            show::one(&found, artifacts.get("artifacts"), output)
        }
        WorkflowCommand::List(args) => show::many(&client.get(&[], &args.query()).await?, output),
        WorkflowCommand::Approve(args) => approve(args, &client, output).await,
        WorkflowCommand::Reject { decision, reason } => {
            let body = decision.body("human_rejected", Some(reason));
            show::one(&client.post(&[&decision.workflow, "advance"], &body, None).await?, None, output)
        }
        WorkflowCommand::Cancel { decision, reason } => {
            let body = json!({ "actor": decision.actor, "reason": reason });
            show::one(&client.post(&[&decision.workflow, "cancel"], &body, None).await?, None, output)
        }
        WorkflowCommand::History { workflow } => {
            show::history(&client.get(&[&workflow, "history"], &[]).await?, output)
        }
        WorkflowCommand::Watch { workflow, after } => watch(&workflow, after, &client, output).await,
    }
}

async fn create(args: CreateArgs, client: &Client, output: &Output) -> Result<(), Failure> {
    let mut context = match args.context {
        None => Map::new(),
        Some(given) => match serde_json::from_str(&text(given)?) {
            Ok(Value::Object(context)) => context,
            Ok(_) => return Err(Failure::usage("--context is no JSON object")),
            Err(error) => return Err(Failure::usage(format!("--context is no JSON: {error}"))),
        },
    };
    if !args.chain.is_empty() {
        context.insert("chain".to_owned(), args.chain.into());
    }
    let body = json!({
        "workflow_type": args.workflow_type,
        "feature_description": text(args.description)?,
        "context": Some(context).filter(|context| !context.is_empty()),
    });
    show::one(&client.post(&[], &body, args.key.as_deref()).await?, None, output)
}

async fn approve(args: ApproveArgs, client: &Client, output: &Output) -> Result<(), Failure> {
    let mut body = args.decision.body("human_approved", args.reason);
    if let Some(hash) = args.hash {
        body["artifact_hash"] = hash.into();
    }
    if let Some(file) = args.content {
        let content = std::fs::read_to_string(&file)
            .map_err(|error| Failure::new(Exit::NO_INPUT, format!("{} cannot be read: {error}", file.display())))?;
        body["phase_result"] = json!({ "content": content });
    }
    show::one(&client.post(&[&args.decision.workflow, "advance"], &body, None).await?, None, output)
}

async fn watch(workflow: &str, after: Option<u64>, client: &Client, output: &Output) -> Result<(), Failure> {
    let last = tokio::select! {
        last = client.events(workflow, after, |event| show::event(event, output)) => last?,
        () = interrupted() => return Err(Failure::told(Exit::INTERRUPTED)),
    };
    match last.and_then(|event| event.get("to")?.as_str().map(str::to_owned)).as_deref() {
        Some("failed") => Err(Failure::told(Exit::FAILED)),
        _ => Ok(()),
    }
}

impl DecisionArgs {
    fn body(&self, trigger: &str, reason: Option<String>) -> Value {
        json!({ "trigger": trigger, "actor": self.actor, "reason": reason })
    }
}

impl ListArgs {
    fn query(&self) -> Vec<(&'static str, String)> {
        let given = [
            ("status", self.status.clone()),
            ("type", self.workflow_type.clone()),
            ("feature_id", self.feature.clone()),
            ("limit", Some(self.limit.to_string())),
            ("cursor", self.cursor.clone()),
        ];
        given.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}
