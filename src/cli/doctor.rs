//! `doctor`: looks at everything the daemon needs, one line each: how it is, and the next command where it is not well.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use moothall_actors::domain::answer::Answer;
use moothall_actors::domain::council::Endpoint;
use moothall_actors::domain::id::{AgentId, CallId, RunId, Stage, TaskId, Wave};
use moothall_actors::domain::problem::Problem;
use moothall_actors::ports::queue::TaskQueue as _;
use moothall_actors::ports::{AnswerForm, Model as _, ModelCall};
use serde_json::json;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::config::ConfigArgs;
use super::daemon::Daemon;
use super::exit::{Exit, Failure};
use super::output::{Output, brief, duration};
use crate::checks::TextChecks;
use crate::config::{Config, ExecutorConfig, NatsConfig};
use crate::grpc::proto::moothall::v1::GetSystemStatusRequest;
use crate::ray::RayExecutor;
use crate::redis::{RedisQueue, Settings as RedisSettings};
use crate::store::{DatabaseUrl, OpenError, SqliteJournal};
use crate::vllm::{ReplicaReport, VllmModel};

/// How long each part may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// A cold model may take its time for the first tokens.
const COMPLETION_PATIENCE: Duration = Duration::from_secs(60);
const COMPLETION_TOKENS: u32 = 16;

#[derive(Args, Debug)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Do not ask the models for a completion
    #[arg(long)]
    no_completion: bool,
}

/// How a part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Ok,
    /// Not well, but nothing needs it now.
    Note,
    Wrong,
}

struct Finding {
    part: &'static str,
    standing: Standing,
    detail: String,
    /// What to type or do next.
    next: String,
}

impl Finding {
    fn ok(part: &'static str, detail: impl Into<String>) -> Self {
        Self { part, standing: Standing::Ok, detail: detail.into(), next: String::new() }
    }

    fn note(part: &'static str, detail: impl Into<String>, next: impl Into<String>) -> Self {
        Self { part, standing: Standing::Note, detail: detail.into(), next: next.into() }
    }

    fn wrong(part: &'static str, detail: impl Into<String>, next: impl Into<String>) -> Self {
        Self { part, standing: Standing::Wrong, detail: detail.into(), next: next.into() }
    }

    fn word(&self) -> &'static str {
        match self.standing {
            Standing::Ok => "ok",
            Standing::Note => "note",
            Standing::Wrong => "wrong",
        }
    }
}

pub(super) async fn run(args: DoctorArgs, server: &str, output: &Output) -> Result<(), Failure> {
    let findings = match args.config.load() {
        Ok(loaded) => {
            let mut findings = vec![Finding::ok("configuration", "no problem")];
            findings.extend(loaded.unread().into_iter().map(unread));
            look(&loaded.config, server, !args.no_completion, &mut findings).await;
            findings
        }
        // Without a configuration there is nothing to look at.
        Err(error) => {
            let next = "correct these keys, then `moothall check-config`";
            error.problems.iter().map(|problem| Finding::wrong("configuration", problem.to_string(), next)).collect()
        }
    };
    show(&findings, output)?;
    let wrong = findings.iter().find(|finding| finding.standing == Standing::Wrong);
    match wrong {
        None => Ok(()),
        Some(finding) if finding.part == "configuration" => Err(Failure::told(Exit::USAGE)),
        Some(_) => Err(Failure::told(Exit::UNAVAILABLE)),
    }
}

fn unread(key: String) -> Finding {
    Finding::note("configuration", format!("{key} is set, but this version does not use it yet"), "")
}

fn show(findings: &[Finding], output: &Output) -> Result<(), Failure> {
    if output.is_json() {
        let findings = findings.iter().map(|finding| {
            json!({ "part": finding.part, "standing": finding.word(), "detail": finding.detail, "next": finding.next })
        });
        let findings: Vec<_> = findings.collect();
        return Ok(output.document(&json!({ "findings": findings }))?);
    }
    let row = |finding: &Finding| {
        let cells = [finding.word(), finding.part, &finding.detail, &finding.next];
        cells.map(str::to_owned).to_vec()
    };
    Ok(output.table(&["", "PART", "FOUND", "NEXT"], findings.iter().map(row).collect())?)
}

async fn look(config: &Config, server: &str, complete: bool, findings: &mut Vec<Finding>) {
    findings.push(policy(config));
    findings.push(store(config).await);
    findings.extend(models(config, complete).await);
    findings.push(queue(config).await);
    findings.push(nats(&config.nats).await);
    findings.push(executor(config).await);
    findings.push(context(config).await);
    findings.push(daemon(server).await);
}

fn policy(config: &Config) -> Finding {
    match TextChecks::configured(&config.checks) {
        Ok(_) if !config.checks.enabled => Finding::note("checks", "switched off", "unset checks.enabled"),
        Ok(_) => Finding::ok("checks", "the policy's rules are right"),
        Err(error) => {
            let failure = Failure::of(Exit::USAGE, &error);
            Finding::wrong("checks", failure.message, "correct the file named by checks.policy")
        }
    }
}

async fn store(config: &Config) -> Finding {
    let path = match &config.store.url {
        DatabaseUrl::Memory => {
            return Finding::note("store", "in memory: all is lost when the daemon ends", "set DATABASE_URL");
        }
        DatabaseUrl::File(path) => path,
    };
    let shown = path.display();
    let reader = match SqliteJournal::open_read_only(path) {
        Ok(reader) => reader,
        Err(OpenError::Missing { .. }) => return Finding::ok("store", format!("{shown} will be made")),
        Err(error) => {
            return Finding::wrong("store", Failure::from(error).message, "restore a backup, or name another store");
        }
    };
    match reader.stats().await {
        Ok(stats) => {
            let detail = format!("{shown}: {} events, {} open tasks", stats.events, stats.open_tasks);
            Finding::ok("store", detail)
        }
        Err(error) => Finding::wrong("store", error.to_string(), format!("moothall journal verify --store {shown}")),
    }
}

async fn models(config: &Config, complete: bool) -> Vec<Finding> {
    let model = match VllmModel::new(config.model.clone()) {
        Ok(model) => model,
        Err(error) => return vec![Finding::wrong("model", error.to_string(), "correct the section [model]")],
    };
    let reports = model.probe().await;
    let mut findings: Vec<_> = reports.iter().map(replica).collect();
    if complete && reports.iter().any(|report| report.error.is_none()) {
        findings.push(completion(&model).await);
    }
    findings
}

fn replica(report: &ReplicaReport) -> Finding {
    let url = &report.url;
    let Some(error) = &report.error else {
        let context = report.max_model_len.map_or_else(String::new, |tokens| format!(", {tokens} tokens of context"));
        let took = report.latency.map_or_else(String::new, |latency| format!(", {}", duration(latency)));
        return Finding::ok("model", format!("{url} serves {}{context}{took}", report.models.join(", ")));
    };
    let next = match report.models.as_slice() {
        _ if !report.reachable => {
            "start it, correct VLLM_URL, or try `moothall sim` and VLLM_URL=http://127.0.0.1:8000".to_owned()
        }
        [] => "load a model there".to_owned(),
        [only] => format!("set VLLM_MODEL={only}, or VLLM_MODEL=auto"),
        [first, ..] => format!("set VLLM_MODEL to one of these, such as {first}"),
    };
    Finding::wrong("model", format!("{url}: {}", brief(error, 200)), next)
}

async fn completion(model: &VllmModel) -> Finding {
    match ask(model).await {
        Ok(answer) => {
            let tokens = answer.usage.completion;
            let detail = format!("{} wrote {tokens} tokens in {}", answer.model, duration(answer.duration));
            Finding::ok("completion", detail)
        }
        Err(why) => Finding::wrong("completion", brief(&why, 200), "read the model server's log"),
    }
}

async fn ask(model: &VllmModel) -> Result<Answer, String> {
    let call = tiny_call().map_err(|problem| problem.to_string())?;
    model.complete(&call).await.map_err(|failure| failure.to_string())
}

fn tiny_call() -> Result<ModelCall, Problem> {
    Ok(ModelCall {
        id: CallId {
            run: RunId { task: TaskId::parse("task", "doctor")?, run: 1 },
            wave: Wave { stage: Stage::Propose, round: 0 },
            agent: AgentId::parse("agent", "doctor")?,
            ask: 1,
        },
        endpoint: Endpoint::Pool,
        model: Arc::from(""),
        shared: "You answer in one word.".into(),
        ask: Arc::from("Say: ready"),
        form: AnswerForm::Text,
        temperature: Some(0.0),
        top_p: None,
        seed: None,
        max_tokens: Some(COMPLETION_TOKENS),
        room: 1,
        timeout: COMPLETION_PATIENCE,
        most_attempts: 1,
    })
}

async fn queue(config: &Config) -> Finding {
    let Some(settings) = &config.queue.shared else { return Finding::ok("queue", "this daemon's own") };
    let shown = settings.address.to_string();
    let next = "start it, or correct TASK_QUEUE_URL; until then tasks are taken in and wait";
    let asked = match RedisQueue::new(RedisSettings { deadline: PATIENCE, ..settings.clone() }) {
        Ok(queue) => queue.counts().await,
        Err(error) => return Finding::wrong("queue", error.to_string(), "correct TASK_QUEUE_URL"),
    };
    match asked {
        Ok(counts) => {
            let open: usize = counts.iter().filter(|((_, state), _)| !state.is_over()).map(|(_, count)| count).sum();
            Finding::ok("queue", format!("{shown}: {open} tasks that are not over, under {}", settings.prefix))
        }
        Err(error) => Finding::wrong("queue", format!("{shown}: {}", brief(&error.to_string(), 200)), next),
    }
}

async fn nats(config: &NatsConfig) -> Finding {
    if !config.enabled {
        return Finding::ok("nats", "switched off");
    }
    let urls: Vec<_> = config.urls.iter().map(|url| url.as_str().to_owned()).collect();
    let hosts: Vec<_> = config.urls.iter().filter_map(|url| url.host_str()).collect();
    let shown = hosts.join(", ");
    // One try: the connection is only looked at.
    let connecting = async_nats::ConnectOptions::new().connection_timeout(PATIENCE).connect(urls);
    match timeout(PATIENCE, connecting).await {
        Ok(Ok(client)) => Finding::ok(
            "nats",
            format!("{shown}: version {}; `moothall nats check` says more", client.server_info().version),
        ),
        Ok(Err(error)) => absent_nats(&format!("{shown}: {error}")),
        Err(_) => absent_nats(&format!("{shown} does not answer")),
    }
}

/// It keeps nobody from working: events wait, and go out later.
fn absent_nats(detail: &str) -> Finding {
    Finding::note("nats", detail, "start it, name it with NATS_URL, or do without: ENABLE_NATS=false")
}

async fn executor(config: &Config) -> Finding {
    let ExecutorConfig { service, is_named, settings, .. } = config.executor.clone();
    let Some(service) = service.filter(|_| is_named) else { return Finding::ok("executor", "not in use") };
    let next = "start it, or correct EXECUTOR_ADDRESS; VLLM agents need none";
    let address = service.shown().clone();
    let asked =
        match VllmModel::new(config.model.clone()).map(|model| RayExecutor::new(service, settings, model.into())) {
            Ok(Ok(executor)) => executor.probe().await,
            Ok(Err(error)) => Err(error.to_string()),
            Err(error) => Err(error.to_string()),
        };
    match asked {
        Ok(health) if health == "healthy" => Finding::ok("executor", format!("{address}: {health}")),
        Ok(health) => Finding::wrong("executor", format!("{address}: {health}"), "look at its log"),
        Err(why) => Finding::wrong("executor", format!("{address}: {why}"), next),
    }
}

async fn context(config: &Config) -> Finding {
    let Some(service) = &config.context.service else { return Finding::ok("context", "not in use") };
    let next = "start it, or correct CONTEXT_ADDRESS; tasks go on without it";
    match timeout(PATIENCE, TcpStream::connect(service.place())).await {
        Ok(Ok(_)) => Finding::ok("context", format!("{} answers", service.shown())),
        Ok(Err(error)) => Finding::note("context", format!("{}: {error}", service.shown()), next),
        Err(_) => Finding::note("context", format!("{} does not answer", service.shown()), next),
    }
}

async fn daemon(server: &str) -> Finding {
    let daemon = match Daemon::connect(server).await {
        Ok(daemon) => daemon,
        Err(failure) => return Finding::note("daemon", failure.message, "moothall serve"),
    };
    match daemon.councils().get_system_status(GetSystemStatusRequest {}).await {
        Ok(answer) => {
            let status = answer.into_inner();
            let detail =
                format!("{server}: {}, {} councils, {} open tasks", status.status, status.councils, status.open);
            if status.status == "healthy" {
                Finding::ok("daemon", detail)
            } else {
                Finding::wrong("daemon", detail, "moothall status")
            }
        }
        Err(status) => Finding::wrong("daemon", Failure::from(status).message, "read the daemon's log"),
    }
}
