//! The program as people and scripts use it: what it says, what it answers, and how it ends.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_moothall");

/// The program with an environment of its own: what the tests' user has set does not count.
fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).env_clear().env("NO_COLOR", "1").stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> Output {
    program(arguments).output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

/// A `serve` or `sim` on a free port, ended with the test.
struct Server {
    child: Child,
    ready: String,
}

impl Server {
    fn start(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = program(arguments);
        command.envs(environment.iter().copied()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = lines.map(Result::unwrap).find(|line| line.starts_with("ready ")).unwrap();
        Self { child, ready }
    }

    fn address(&self, name: &str) -> String {
        let field = self.ready.split(' ').find_map(|field| field.strip_prefix(&format!("{name}=")));
        format!("http://{}", field.unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A daemon with a store in a temporary folder, and the simulator as its model.
struct House {
    daemon: Server,
    _sim: Server,
    folder: tempfile::TempDir,
}

impl House {
    fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let sim = Server::start(&["sim", "--port", "0", "--answers", "bench", "--latency", "100"], &[]);
        let (store, backups) = (folder.path().join("h.db"), folder.path().join("backups"));
        let daemon = Server::start(
            &["serve", "--set", "councils.roles=DEV"],
            &[
                ("GRPC_PORT", "0"),
                ("HTTP_PORT", "0"),
                ("ENABLE_NATS", "false"),
                ("VLLM_URL", &sim.address("http")),
                ("VLLM_MODEL", "auto"),
                ("DATABASE_URL", &format!("sqlite:///{}", store.display())),
                ("MOOTHALL__STORE__BACKUPS", &backups.display().to_string()),
            ],
        );
        Self { daemon, _sim: sim, folder }
    }

    fn ask(&self, arguments: &[&str]) -> Output {
        program(arguments).env("MOOTHALL_SERVER", self.daemon.address("grpc")).output().unwrap()
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.ask(&[arguments, &["--json"]].concat());
        assert_eq!(code(&output), 0, "{arguments:?}: {}", err(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

#[test]
fn the_help_is_known() {
    insta::assert_snapshot!(out(&run(&["--help"])));
    insta::assert_snapshot!("deliberate", out(&run(&["deliberate", "--help"])));
}

#[test]
fn every_command_explains_itself() {
    let help = out(&run(&["--help"]));
    let commands = help.lines().skip_while(|line| !line.starts_with("Commands:")).skip(1);
    let commands: Vec<_> = commands.map_while(|line| line.split_whitespace().next()).collect();
    assert!(commands.len() >= 17, "{commands:?}");
    for command in commands.into_iter().filter(|&command| command != "help") {
        let output = run(&[command, "--help"]);
        assert_eq!(code(&output), 0, "{command}");
        assert!(out(&output).contains("Usage: moothall"), "{command}");
    }
}

#[test]
fn wrong_use_ends_with_64_and_help_with_0() {
    for wrong in
        [&["no-such-command"][..], &["deliberate"], &["deliberate", "x", "--rounds", "9"], &["bench", "--rounds", "0"]]
    {
        let output = run(wrong);
        assert_eq!(code(&output), 64, "{wrong:?}");
        assert!(out(&output).is_empty() && !err(&output).is_empty(), "{wrong:?}");
    }
    assert_eq!(code(&run(&["--version"])), 0);
}

#[test]
fn a_daemon_that_is_not_there_ends_with_69_and_says_what_to_do() {
    let output = run(&["status", "--server", "http://127.0.0.1:1"]);
    assert_eq!(code(&output), 69);
    assert!(err(&output).contains("no daemon answers") && err(&output).contains("moothall serve"), "{}", err(&output));
    assert_eq!(code(&run(&["status", "--server", "https://127.0.0.1:1"])), 64);
}

#[test]
fn check_config_names_every_problem_and_ends_with_64() {
    let output = program(&["check-config", "--set", "model.retries=99"]).env("GRPC_PORT", "none").output().unwrap();
    assert_eq!(code(&output), 64);
    let text = err(&output);
    assert!(text.contains("2 problems") && text.contains("model.retries = 99") && text.contains("GRPC_PORT"), "{text}");
    let right = run(&["check-config"]);
    assert_eq!((code(&right), out(&right).trim()), (0, "the configuration is right"));
}

#[test]
fn print_config_hides_secrets_and_names_origins() {
    let output = program(&["print-config"]).env("VLLM_API_KEY", "sk-123").output().unwrap();
    assert!(out(&output).contains("api_key = \"***\"  # environment VLLM_API_KEY"), "{}", out(&output));
    let json: Value = serde_json::from_slice(&run(&["print-config", "--json"]).stdout).unwrap();
    assert_eq!(json["server"]["grpc_port"], 50055);
    assert!(out(&run(&["print-config", "--defaults"])).contains("# GRPC_PORT\ngrpc_port = 50055"));
}

#[test]
fn there_are_completions_for_each_shell() {
    for shell in ["bash", "zsh", "fish"] {
        let output = run(&["completions", shell]);
        assert_eq!(code(&output), 0);
        assert!(out(&output).contains("deliberate"), "{shell}");
    }
}

#[test]
fn the_doctor_names_what_is_wrong_and_the_next_command() {
    let output = run(&[
        "doctor",
        "--json",
        "--set",
        "model.urls=http://127.0.0.1:1",
        "--set",
        "store.url=memory://",
        "--set",
        "nats.enabled=false",
        "--server",
        "http://127.0.0.1:1",
    ]);
    assert_eq!(code(&output), 69);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let wrong: Vec<_> =
        report["findings"].as_array().unwrap().iter().filter(|finding| finding["standing"] == "wrong").collect();
    assert_eq!(wrong.len(), 1, "{report}");
    assert!(wrong[0]["part"] == "model" && wrong[0]["next"].as_str().unwrap().contains("moothall sim"));
    assert_eq!(code(&run(&["doctor", "--set", "model.timeout=never"])), 64);
}

#[test]
fn a_task_goes_the_whole_way_from_the_command_line() {
    let house = House::open();
    let done = house.ask(&["deliberate", "parse a duration", "--id", "T-1", "--require", "handles 45m"]);
    assert_eq!(code(&done), 0, "{}", err(&done));
    assert!(out(&done).contains("\nRANK") && out(&done).contains("task T-1: 9 calls"), "{}", out(&done));
    assert!(out(&done).lines().next().unwrap().starts_with("SIMULATED"), "{}", out(&done));
    assert!(err(&done).contains("agent-dev-002 proposed"), "{}", err(&done));

    assert_eq!(house.json(&["task", "get", "T-1"])["task"]["status"], "TASK_STATUS_COMPLETED");
    assert_eq!(house.json(&["task", "list"])["tasks"].as_array().unwrap().len(), 1);
    assert_eq!(
        house.json(&["deliberate", "parse a duration", "--id", "T-1", "--require", "handles 45m"])["task_id"],
        "T-1"
    );
    let other = house.ask(&["deliberate", "something else", "--id", "T-1"]);
    assert_eq!(code(&other), 73, "{}", err(&other));

    let chosen = house.json(&["orchestrate", "parse a duration", "--rounds", "none"]);
    assert_eq!(chosen["metadata"]["tags"]["calls"], "3");
    let winner = house.ask(&["orchestrate", "parse a duration", "--quiet"]);
    assert!(err(&winner).is_empty() && !out(&winner).starts_with("RANK"), "{}", out(&winner));
}

#[test]
fn councils_agents_and_the_daemon_can_be_looked_after() {
    let house = House::open();
    let made = house.ask(&["council", "create", "qa", "--agents", "2"]);
    assert_eq!(out(&made), "council-qa has agent-qa-001, agent-qa-002\n", "{}", err(&made));
    assert_eq!(code(&house.ask(&["council", "create", "QA"])), 73);
    assert_eq!(code(&house.ask(&["agent", "register", "guest", "--role", "QA"])), 0);
    let outside = house.ask(&["agent", "register", "spy", "--role", "QA", "--endpoint", "http://10.0.0.1"]);
    assert!(code(&outside) == 77 && err(&outside).contains("agents.allowed_endpoints"), "{}", err(&outside));
    assert_eq!(house.json(&["council", "list", "QA"])["councils"][0]["num_agents"], 3);
    assert_eq!(code(&house.ask(&["agent", "unregister", "guest", "--role", "QA"])), 0);
    assert_eq!(code(&house.ask(&["council", "delete", "QA"])), 0);
    assert_eq!(code(&house.ask(&["council", "delete", "QA"])), 66);
    assert_eq!(house.json(&["status"])["status"], "healthy");
    assert!(out(&house.ask(&["status", "--tree"])).contains("  role/DEV"));
    let bad = house.ask(&["deliberate", "", "--role", "a b"]);
    assert!(code(&bad) == 64 && err(&bad).contains("2 problems"), "{}", err(&bad));
}

#[test]
fn the_journal_is_read_through_the_daemon_and_without_it() {
    let house = House::open();
    assert_eq!(code(&house.ask(&["deliberate", "parse a duration", "--id", "T-1", "--quiet"])), 0);
    let tail = out(&house.ask(&["journal", "tail", "--json", "-n", "1", "--type", "TaskCompleted"]));
    let last: Value = serde_json::from_str(&tail).unwrap();
    assert_eq!(last["stream"], "task/T-1");
    assert!(last["payload"]["winner"].is_string(), "{tail}");
    let shown = out(&house.ask(&["journal", "show", "T-1"]));
    assert!(shown.contains("TaskAccepted") && shown.contains("propose-0 agent-dev-001"), "{shown}");
    assert!(house.json(&["journal", "verify"])["sound"].as_bool().unwrap());
    assert_eq!(house.json(&["journal", "backup", "one.db"])["file_name"], "one.db");
    assert_eq!(code(&house.ask(&["journal", "backup", "one.db"])), 73);
    assert_eq!(code(&house.ask(&["journal", "backup", "../one.db"])), 64);
    let events = house.json(&["journal", "stats"])["events"].clone();
    let copy = house.folder.path().join("backups/one.db");
    drop(house.daemon);

    let offline = |arguments: &[&str], store: &std::path::Path| {
        run(&[&["journal", "--store", store.to_str().unwrap(), "--json"], arguments].concat())
    };
    for store in [house.folder.path().join("h.db"), copy] {
        let stats: Value = serde_json::from_slice(&offline(&["stats"], &store).stdout).unwrap();
        assert_eq!(stats["events"], events);
        assert_eq!(code(&offline(&["verify"], &store)), 0);
        let lines = out(&offline(&["tail", "--after", "0"], &store)).lines().count();
        assert_eq!(events, lines);
    }
    assert_eq!(code(&offline(&["stats"], &house.folder.path().join("no.db"))), 66);
    assert_eq!(code(&offline(&["tail", "--follow"], &house.folder.path().join("h.db"))), 64);
}

#[test]
fn a_council_is_as_its_file_says() {
    let house = House::open();
    let file = house.folder.path().join("qa.toml");
    let path = file.display().to_string();
    let write = |text: &str| std::fs::write(&file, text).unwrap();
    let steps = |command: &[&str]| house.json(command)["steps"].clone();
    let apply = ["council", "apply", "-f", &path];
    let diff = ["council", "diff", "-f", &path];
    let guest = "[[seat]]\nid = 'outside'\nendpoint = 'grpc://LocalHost:7000/'\nmax_concurrent_tasks = 2\n";
    let council = "role = 'qa'\nagents = 2\nrounds = 2\nreview = false\n";

    write(&format!("{council}[sampling]\ntemperature = 0.3\nseed = 7\n{guest}"));
    let missing = house.ask(&diff);
    assert_eq!((code(&missing), out(&missing).as_str()), (1, "qa: create the council\nqa: seat outside\n"));
    assert_eq!(steps(&apply), serde_json::json!(["create the council", "seat outside"]));
    // Once is enough.
    assert_eq!(steps(&apply), serde_json::json!([]));
    assert_eq!(out(&house.ask(&diff)), "qa: nothing to do\n");

    // What there is makes the same council again.
    let there = out(&house.ask(&["council", "get", "QA"]));
    assert!(there.contains("temperature = 0.3\n") && there.contains("grpc://localhost:7000"), "{there}");
    write(&there);
    assert_eq!(steps(&apply), serde_json::json!([]));

    // Guests come and go; the rest needs a word more.
    write(&format!("{council}[sampling]\ntemperature = 0.3\nseed = 7\n[[seat]]\nid = 'other'\nprofile = 'm'\n"));
    assert_eq!(steps(&apply), serde_json::json!(["unseat outside", "seat other"]));
    write("role = 'QA'\nagents = 3\n");
    let refused = house.ask(&apply);
    assert_eq!(code(&refused), 77, "{}", err(&refused));
    assert!(err(&refused).contains("rounds: 2 → 1") && err(&refused).contains("--replace"), "{}", err(&refused));
    assert_eq!(out(&house.ask(&["council", "get", "QA"])).matches("rounds = 2").count(), 1);
    // Refused before anything is deleted.
    write("role = 'QA'\nendpoint = 'http://10.0.0.1:1'\n");
    assert_eq!(code(&house.ask(&[&apply[..], &["--replace"]].concat())), 77);
    assert!(out(&house.ask(&["council", "get", "QA"])).contains("rounds = 2"));
    write("role = 'QA'\nagents = 3\n");
    let replaced = steps(&[&apply[..], &["--replace"]].concat());
    assert!(
        replaced[0].as_str().unwrap().starts_with("replace the council (agents: 2 → 3, rounds: 2 → 1"),
        "{replaced}"
    );
    assert_eq!(out(&house.ask(&diff)), "QA: nothing to do\n");

    assert_eq!(code(&house.ask(&["council", "get", "NOBODY"])), 66);
    assert_eq!(code(&house.ask(&["council", "apply", "-f", "/nowhere"])), 66);
    write("role = 'QA'\nagents = 0\nrounds = 9\n");
    assert_eq!(code(&house.ask(&apply)), 64);
}

#[test]
fn a_journal_is_exported_pruned_and_restored() {
    let house = House::open();
    assert_eq!(code(&house.ask(&["deliberate", "parse a duration", "--id", "T-1", "--quiet"])), 0);
    let at = |name: &str| house.folder.path().join(name).display().to_string();
    let lines = |text: &[u8]| -> Vec<Value> {
        std::str::from_utf8(text).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };

    let whole = house.json(&["journal", "export", "--out", &at("all.jsonl")]);
    let events = lines(&std::fs::read(at("all.jsonl")).unwrap());
    assert_eq!(whole["events"], events.len());
    assert_eq!(house.json(&["journal", "stats"])["events"], events.len());
    assert!(events.iter().zip(1..).all(|(event, seq)| event["seq"] == seq));
    assert_eq!(code(&house.ask(&["journal", "export", "--out", &at("all.jsonl")])), 73);
    house.json(&["journal", "export", "--task", "T-1", "--out", &at("one.jsonl.zst")]);
    let packed = std::fs::read(at("one.jsonl.zst")).unwrap();
    let of_task = lines(&zstd::decode_all(&packed[..]).unwrap());
    let streams: std::collections::BTreeSet<_> =
        of_task.iter().map(|event| event["stream"].as_str().unwrap()).collect();
    assert_eq!(streams.into_iter().collect::<Vec<_>>(), ["deliberation/T-1/1", "task/T-1"]);
    assert!(of_task.iter().all(|event| events.contains(event)));
    let part = house.ask(&["journal", "export", "--from", "2", "--until", "4", "--out", "-"]);
    assert_eq!(lines(&part.stdout), events[1..4]);
    assert_eq!(code(&house.ask(&["journal", "export", "--task", "T-9", "--out", &at("none.jsonl")])), 66);
    assert!(!house.folder.path().join("none.jsonl").exists());

    house.json(&["journal", "backup", "one.db"]);
    let would = house.ask(&["journal", "prune", "--older-than", "0s", "--dry-run"]);
    assert_eq!(out(&would), "1 tasks would be pruned\n", "{}", err(&would));
    assert_eq!(house.json(&["journal", "prune", "--older-than", "0s"])["tasks"], 1);
    let pruned = house.ask(&["task", "get", "T-1"]);
    assert!(out(&pruned).contains("has been pruned"), "{}", out(&pruned));
    assert_eq!(code(&house.ask(&["journal", "tail"])), 0);
    assert!(out(&house.ask(&["journal", "show", "council/DEV"])).contains("CouncilCreated"));

    let (store, backup) = (at("h.db"), at("backups/one.db"));
    let restore = |more: &[&str]| run(&[&["journal", "restore", &backup, "--store", &store], more].concat());
    assert_eq!(code(&restore(&["--force"])), 75);
    let House { daemon, folder, .. } = house;
    drop(daemon);
    assert_eq!(code(&restore(&[])), 73);
    let restored = restore(&["--force"]);
    assert_eq!(code(&restored), 0, "{}", err(&restored));
    let offline = |arguments: &[&str]| run(&[&["journal", "--store", &store], arguments].concat());
    assert!(out(&offline(&["show", "T-1"])).contains("TaskCompleted"));
    assert_eq!(code(&offline(&["verify"])), 0);
    assert_eq!(code(&offline(&["prune"])), 64);
    let pruned = offline(&["prune", "--older-than", "0s"]);
    assert!(out(&pruned).starts_with("1 tasks pruned"), "{} {}", out(&pruned), err(&pruned));
    assert_eq!(code(&offline(&["verify"])), 0);
    drop(folder);
}
