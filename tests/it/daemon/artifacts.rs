//! Proposals that carry changes, over the wire: what a client gets is what the real `git apply` takes.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use moothall::grpc::proto::fleet::orchestrator::v1 as fleet;
use moothall::sim::{Answers, Behaviour, Script, SimServer, SimSettings};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::time::timeout;

use super::harness::{Home, LIMIT};
use super::python::{self, NEWER};
use super::request::task;

const BASE: &str = "def seconds(text):\n    return int(text)\n";

/// Agent 1 is right, agent 2 mends its anchor when it is told, agent 3 never writes a change; what agent 1 revises does not
/// parse. Headers without a code word count as long as no header has one.
const SCRIPT: &str = r#"
otherwise = "prose"

[[answers]]
stage = "revise"
seat = "001"
text = """
### EDIT src/duration.py
```
<<<<<<< SEARCH
    return int(text)
=======
    return int(text.strip(
>>>>>>> REPLACE
```
"""

[[answers]]
seat = "002"
contains = ["anchor_not_found", "    return int(text)"]
text = """
### EDIT src/duration.py
```
<<<<<<< SEARCH
    return int(text)
=======
    return int(text or 0)
>>>>>>> REPLACE
```
"""

[[answers]]
stage = "propose"
seat = "002"
text = """
### EDIT src/duration.py
```
<<<<<<< SEARCH
    return float(text)
=======
    return int(text or 0)
>>>>>>> REPLACE
```
"""

[[answers]]
stage = "propose"
seat = "001"
text = """
Blanks are no digits.

### EDIT src/duration.py
```
<<<<<<< SEARCH
    return int(text)
=======
    return int(text.strip())
>>>>>>> REPLACE
```
### FILE tests/test_duration.py
```python
from duration import seconds

def test_blanks():
    assert seconds(" 5 ") == 5
```
"""
"#;

async fn simulator() -> Result<SimServer> {
    let answers = Answers::Script(toml::from_str::<Script>(SCRIPT)?);
    let behaviour = Behaviour { answers, ..Behaviour::default() };
    Ok(SimServer::start(SimSettings { behaviour, record: 1_000, ..SimSettings::default() }).await?)
}

fn request(id: &str) -> fleet::DeliberateRequest {
    let metadata = [("artifact", "patch"), ("file:src/duration.py", BASE), ("repo.paths", "src,tests")];
    let metadata = metadata.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let constraints = fleet::TaskConstraints { metadata: BTreeMap::from(metadata), ..Default::default() };
    fleet::DeliberateRequest { constraints: Some(constraints), ..task(id) }
}

/// Runs git on a text, in a folder of its own.
async fn git(folder: &Path, arguments: &[&str], input: &str) -> Result<()> {
    let mut child = Command::new("git")
        .args(arguments)
        .current_dir(folder)
        .env("GIT_CEILING_DIRECTORIES", folder.parent().context("no parent")?)
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    child.stdin.take().context("no pipe")?.write_all(input.as_bytes()).await?;
    let output = timeout(Duration::from_secs(30), child.wait_with_output()).await??;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// The only diff of a content.
fn diff(content: &str) -> Option<&str> {
    let (_, rest) = content.split_once("```diff\n")?;
    rest.rsplit_once("```\n<!-- moothall:artifact ").map(|(diff, _)| diff)
}

#[tokio::test]
async fn the_winner_is_a_change_that_git_applies_and_its_checks_say_what_was_looked_at() -> Result<()> {
    let sim = simulator().await?;
    let daemon = Home::new(sim.addr())?.start().await?;
    let answer = timeout(LIMIT, daemon.client().await?.deliberate(request("patch-1"))).await??.into_inner();
    let winner = &answer.results[0];
    let proposal = winner.proposal.as_ref().context("no proposal")?;
    // Its revision does not parse: keep-best shows the original, and the revision among the earlier texts.
    assert_eq!(proposal.author_id, "agent-dev-001");
    let folder = tempfile::tempdir()?;
    std::fs::create_dir(folder.path().join("src"))?;
    std::fs::write(folder.path().join("src/duration.py"), BASE)?;
    git(folder.path(), &["apply", "--check", "-"], diff(&proposal.content).context("no diff")?).await?;
    git(folder.path(), &["apply", "-"], diff(&proposal.content).context("no diff")?).await?;
    let changed = std::fs::read_to_string(folder.path().join("src/duration.py"))?;
    assert_eq!(changed, "def seconds(text):\n    return int(text.strip())\n");
    assert!(folder.path().join("tests/test_duration.py").exists());
    let checks = winner.checks.as_ref().context("no checks")?;
    let additional: Vec<_> =
        checks.additional_checks.iter().map(|check| (check.check_type.as_str(), check.passed)).collect();
    assert_eq!(additional, [("apply", true), ("artifact", true)]);
    assert!(checks.lint.as_ref().is_some_and(|lint| lint.passed), "{checks:?}");
    let last = answer.results.last().context("no results")?;
    let failed = last.checks.as_ref().context("no checks")?;
    assert!(failed.additional_checks.iter().any(|check| check.check_type == "artifact" && !check.passed), "{last:?}");
    daemon.stop().await
}

#[tokio::test]
async fn a_client_made_from_the_tables_asks_for_a_change_and_is_told_what_is_wrong_with_its_files() -> Result<()> {
    let sim = simulator().await?;
    let daemon = Home::new(sim.addr())?.start().await?;
    let ask = |metadata: serde_json::Value| {
        let constraints = json!({ "metadata": metadata });
        let request = json!({ "task_description": "d", "role": "DEV", "rounds": 1, "constraints": constraints });
        python::call(daemon.grpc, NEWER, "Deliberate", request)
    };
    let answer = ask(json!({ "artifact": "patch", "file:src/duration.py": BASE })).await?.answer()?;
    let content = answer["results"][0]["proposal"]["content"].as_str().context("no content")?;
    assert!(diff(content).is_some_and(|diff| diff.contains("+    return int(text.strip())")), "{content}");
    let refused = ask(json!({ "artifact": "diff", "file:../a": "x", "repo.commit": "main" })).await?.end;
    assert_eq!(refused.code, "INVALID_ARGUMENT");
    let details = refused.details.unwrap_or_default();
    for part in ["auto, files, patch, document and none", "\"../a\"", "7 to 64 hexadecimal digits"] {
        assert!(details.contains(part), "{part}: {details}");
    }
    daemon.stop().await
}
