//! `status`: how the daemon is, and its supervision tree.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use clap::Args;

use super::daemon::Daemon;
use super::exit::{Exit, Failure};
use super::output::{Output, count, duration};
use super::queue::paused_roles;
use crate::grpc::proto::moothall::v1::{
    ActorNode, GetSystemStatusRequest, GetSystemStatusResponse, GetTreeRequest, ModelServer,
};

#[derive(Args, Debug)]
pub(crate) struct StatusArgs {
    /// Show the supervision tree: who restarted, who is parked and why
    #[arg(long)]
    tree: bool,
}

pub(super) async fn run(args: StatusArgs, daemon: &Daemon, output: &Output) -> Result<(), Failure> {
    if args.tree {
        return tree(daemon, output).await;
    }
    let status = daemon.councils().get_system_status(GetSystemStatusRequest {}).await?.into_inner();
    output.message("moothall.v1.GetSystemStatusResponse", &status, || output.pairs(rows(&status)))?;
    if status.status == "unhealthy" { Err(Failure::told(Exit::UNAVAILABLE)) } else { Ok(()) }
}

fn rows(status: &GetSystemStatusResponse) -> Vec<Vec<String>> {
    let uptime = Duration::from_secs(u64::try_from(status.uptime_seconds).unwrap_or_default());
    let permits = format!("{} of {} free", count(status.permits_free.into()), count(status.permits_total.into()));
    let mut rows = [
        ["status", &status.status],
        ["version", &status.version],
        ["uptime", &duration(uptime)],
        ["open tasks", &count(status.open.into())],
        ["permits", &permits],
        ["councils", &status.councils.to_string()],
        ["journal", &status.journal],
    ]
    .map(|pair| pair.map(str::to_owned).to_vec())
    .to_vec();
    if status.draining {
        rows.push(vec!["draining".to_owned(), "yes: new work is refused".to_owned()]);
    }
    if let Some(roles) = status.paused.as_ref().and_then(paused_roles) {
        rows.push(vec!["paused".to_owned(), format!("{roles}: `moothall queue resume` begins their tasks again")]);
    }
    if status.simulated {
        rows.push(vec!["simulated".to_owned(), "yes: answers are scripted".to_owned()]);
    }
    rows.extend(status.model_servers.iter().map(|server| vec!["model server".to_owned(), model_server(server)]));
    rows.extend(status.degraded.iter().map(|(part, why)| vec![format!("degraded {part}"), why.clone()]));
    rows
}

fn model_server(server: &ModelServer) -> String {
    let outstanding = match server.outstanding {
        0 => "idle".to_owned(),
        calls => format!("{} calls", count(calls.into())),
    };
    let requests = format!("{} requests, {} failed", count(server.requests), count(server.failures));
    let breaker = match server.breaker.as_str() {
        "closed" => "",
        "open" => ", left alone for now",
        _ => ", tried again",
    };
    // Many servers say nothing of their cache.
    let cache = match server.cached_tokens {
        0 => String::new(),
        cached => format!(", {} % of its prompt tokens cached", 100 * cached / server.prompt_tokens.max(1)),
    };
    format!("{}: {outstanding}, {requests}{cache}{breaker}", server.url)
}

async fn tree(daemon: &Daemon, output: &Output) -> Result<(), Failure> {
    let tree = daemon.councils().get_tree(GetTreeRequest {}).await?.into_inner();
    output.message("moothall.v1.GetTreeResponse", &tree, || {
        output.table(&["ACTOR", "STATE", "RESTARTS", "REASON"], indented(&tree.actors))
    })
}

/// Each actor below its parent, in the order they came; one whose parent is not among them stands on top.
fn indented(actors: &[ActorNode]) -> Vec<Vec<String>> {
    let mut children: BTreeMap<&str, Vec<&ActorNode>> = BTreeMap::new();
    let known: BTreeSet<&str> = actors.iter().map(|actor| actor.name.as_str()).collect();
    for actor in actors {
        let parent = Some(actor.parent.as_str()).filter(|parent| known.contains(parent) && *parent != actor.name);
        children.entry(parent.unwrap_or_default()).or_default().push(actor);
    }
    let mut rows = Vec::with_capacity(actors.len());
    let mut open: Vec<(usize, &ActorNode)> = Vec::new();
    let mut push = |open: &mut Vec<_>, depth: usize, parent: &str| {
        let below = children.remove(parent).unwrap_or_default();
        open.extend(below.into_iter().rev().map(|actor| (depth, actor)));
    };
    push(&mut open, 0, "");
    while let Some((depth, actor)) = open.pop() {
        let name = format!("{}{}", "  ".repeat(depth), actor.name);
        rows.push(vec![name, actor.state.clone(), actor.restarts.to_string(), actor.reason.clone()]);
        push(&mut open, depth + 1, &actor.name);
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc::proto::moothall::v1::Pauses;

    #[test]
    fn whose_tasks_wait_is_said_only_when_any_do() {
        let shown = |paused| rows(&GetSystemStatusResponse { paused, ..Default::default() });
        let row = |roles: &str| {
            vec!["paused".to_owned(), format!("{roles}: `moothall queue resume` begins their tasks again")]
        };
        assert!(shown(Some(Pauses { all: true, roles: vec![] })).contains(&row("all roles")));
        assert!(shown(Some(Pauses { all: false, roles: vec!["DEV".into(), "QA".into()] })).contains(&row("DEV, QA")));
        assert_eq!(shown(Some(Pauses::default())), shown(None));
    }

    #[test]
    fn a_model_server_says_how_much_it_did_not_have_to_read_again() {
        let idle =
            ModelServer { url: "http://a".into(), breaker: "closed".into(), requests: 9, ..ModelServer::default() };
        assert_eq!(model_server(&idle), "http://a: idle, 9 requests, 0 failed");
        let busy = ModelServer {
            url: "http://b".into(),
            breaker: "half_open".into(),
            outstanding: 2,
            requests: 1_200,
            failures: 3,
            prompt_tokens: 12_084,
            cached_tokens: 7_424,
        };
        let told = "http://b: 2 calls, 1,200 requests, 3 failed, 61 % of its prompt tokens cached, tried again";
        assert_eq!(model_server(&busy), told);
    }

    #[test]
    fn children_stand_below_their_parents() {
        let node =
            |name: &str, parent: &str| ActorNode { name: name.into(), parent: parent.into(), ..ActorNode::default() };
        let rows =
            indented(&[node("DEV", "councils"), node("councils", "root"), node("outbox", "root"), node("root", "")]);
        let names: Vec<_> = rows.iter().map(|row| row[0].as_str()).collect();
        assert_eq!(names, ["root", "  councils", "    DEV", "  outbox"]);
    }
}
