//! A fuzzer that reads the document of the HTTP interface and sends whatever it allows, and what it does not.

mod soak {
    use std::path::Path;
    use std::process::Stdio;
    use std::time::Duration;

    use anyhow::{Context, Result, ensure};
    use tokio::process::Command;
    use tokio::time::timeout;

    use crate::daemon::harness::{Home, simulator};
    use crate::daemon::workflows::stand::Client;

    /// For each operation.
    const EXAMPLES: &str = "200";
    const LIMIT: Duration = Duration::from_secs(3_000);
    /// No answer but those that the document has, each of the shape that it says, none of them 500.
    const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,\
                          response_headers_conformance,unsupported_method";
    /// Pages for people, and a stream that ends when its workflow does.
    const NOT_ASKED: &str = "^/(docs|redoc)|events$";

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_fuzzer_finds_no_breakdown_and_no_answer_that_the_document_lacks() -> Result<()> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let fuzzer = root.join("target/fuzz-env/bin/st");
        ensure!(fuzzer.exists(), "the fuzzer in target/fuzz-env is missing: run `make soak`");
        let home = Home::new(simulator(Duration::ZERO).await?.addr())?.with("WORKFLOW_DISPATCH", "manual");
        let daemon = home.start().await?;
        let client = Client::new(&daemon);
        for _ in 0..3 {
            client.create(&[]).await?;
        }
        let document = format!("http://{}/openapi.json", daemon.http);
        let mut command = Command::new(fuzzer);
        command.args(["run", &document, "--checks", CHECKS, "--exclude-path-regex", NOT_ASKED, "--no-color"]);
        command.args(["--max-examples", EXAMPLES, "--request-timeout", "30"]);
        let folder = tempfile::tempdir()?;
        command.current_dir(folder.path()).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        let told = timeout(LIMIT, command.spawn()?.wait_with_output()).await.context("it does not end")??;
        ensure!(told.status.success(), "{}", String::from_utf8_lossy(&told.stdout));
        daemon.stop().await
    }
}
