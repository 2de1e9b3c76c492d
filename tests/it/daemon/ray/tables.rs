//! A client made from the wire tables alone, which polls.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use super::super::python;
use super::stand::Stand;

#[tokio::test]
async fn who_has_the_tables_and_nothing_else_submits_and_polls() -> Result<()> {
    let stand = Stand::start(Duration::from_millis(200)).await?;
    let seen = python::executor(stand.executor.address(), stand.sim.addr()).await?;
    assert_eq!(seen, json!({ "results": 3, "reviewed": 3 }));
    let stats = stand.sim.stats();
    assert_eq!((stats.finished, stats.by_call.len()), (9, 9), "three waves of three, each call made once");
    stand.stop().await
}
