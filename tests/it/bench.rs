//! The benchmark as its users call it, small: the figures are of no use here, their shape is.

use std::fs;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::served::until;

/// The last line that the benchmark prints.
fn report(arguments: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_moothall")).arg("bench").args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    serde_json::from_str(text.lines().last().unwrap()).unwrap()
}

#[test]
fn a_row_compares_the_daemon_with_its_floor() {
    let report = report(&["--concurrency", "2", "--latency", "5", "--rounds", "1", "--window", "1"]);
    let row = &report["rows"][0];
    assert_eq!((&row["concurrency"], &row["latency_ms"]), (&Value::from(2), &Value::from(5)));
    assert_eq!(row["kept"].as_u64().unwrap() + row["dropped"].as_u64().unwrap(), 1, "{row}");
    assert!(row["peak_rss_bytes"].as_u64().unwrap() > 1 << 20, "{row}");
    // A round whose floors differ is dropped, and with it the only one.
    if row["kept"] == 1 {
        assert!(row["daemon_per_s"].as_f64().unwrap() > 0.0 && row["floor_per_s"].as_f64().unwrap() > 0.0, "{row}");
        // Three waves of five milliseconds.
        assert!(row["daemon_p50_ms"].as_f64().unwrap() >= 15.0, "{row}");
    }
    assert_eq!(report["simulated"], true);
}

#[test]
fn replicas_are_compared_with_and_without_a_home() {
    let small = ["--concurrency", "2", "--latency", "5", "--prefill", "5", "--rounds", "2", "--window", "1"];
    let report = report(&[&["--replicas", "2"], &small[..]].concat());
    let row = &report["rows"][0];
    assert_eq!((&report["replicas"], &report["places"], &report["simulated"]), (&2.into(), &16.into(), &true.into()));
    assert!((report["ideal"].as_f64().unwrap() - 8.0 / 9.0).abs() < 1e-9);
    // Two deliberations at once never reach the bound.
    let of_ideal = |balance: &str| row[balance]["of_ideal"].as_f64().unwrap();
    assert!(of_ideal("prefix") >= 0.8, "{row}");
    assert!(of_ideal("least_outstanding") > 0.0, "{row}");
    for balance in ["prefix", "least_outstanding"] {
        // Three waves of five milliseconds, and the first prefill.
        assert!(row[balance]["p50_ms"].as_f64().unwrap() >= 15.0, "{row}");
        assert!(row[balance]["per_s"].as_f64().unwrap() > 0.0, "{row}");
    }
}

#[test]
fn memory_is_measured_while_nobody_is_answered() {
    let report = report(&["--in-flight", "6", "--places", "4"]);
    assert_eq!((&report["in_flight"], &report["open_calls"]), (&Value::from(6), &Value::from(4)));
    let (all, each) = (report["rss_bytes"].as_u64().unwrap(), report["bytes_each"].as_u64().unwrap());
    assert_eq!(each, all / 6);
    assert!(report["peak_rss_bytes"].as_u64().unwrap() >= all && report["simulated"] == true, "{report}");
}

#[tokio::test]
async fn interrupted_it_leaves_no_process_and_no_folder() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = Command::new(env!("CARGO_BIN_EXE_moothall"));
    bench.args(["bench", "--concurrency", "1", "--rounds", "1000"]).env("TMPDIR", folder.path()).stdout(Stdio::null());
    let mut bench = bench.spawn().unwrap();
    let pid = bench.id();
    let children = || fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    let is_empty = || fs::read_dir(folder.path()).unwrap().next().is_none();
    until("its daemon has a store", || !is_empty()).await;
    let started: Vec<_> = children().split_whitespace().map(str::to_owned).collect();
    assert!(!started.is_empty());
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::TERM).unwrap();
    assert_eq!(tokio::task::spawn_blocking(move || bench.wait()).await.unwrap().unwrap().code(), Some(130));
    let is_gone = |child: &String| fs::read_to_string(format!("/proc/{child}/cmdline")).unwrap_or_default().is_empty();
    until("its children are gone", || started.iter().all(is_gone)).await;
    assert!(is_empty(), "its folders are removed");
}
