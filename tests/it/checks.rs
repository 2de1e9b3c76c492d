//! The built-in policy, rule by rule: what each finds, and the near misses that it must not find.

use std::collections::BTreeSet;
use std::sync::Arc;

use moothall::checks::{BUILT_IN, TextChecks};
use moothall_actors::domain::check::{CheckOutcome, CheckReport};
use moothall_actors::ports::{Checks as _, Subject};

/// Rule, what it finds, what it does not.
type Example = (&'static str, Vec<String>, Vec<String>);

fn own(texts: &[&str]) -> Vec<String> {
    texts.iter().map(ToString::to_string).collect()
}

fn table() -> Vec<Example> {
    [secrets(), disk_commands(), other_commands(), apis()].concat()
}

/// Put together here, so that no scanner takes them for real.
fn secrets() -> Vec<Example> {
    let x = |count| "x1Y2z3W4".repeat(count);
    vec![
        (
            "secret.aws-access-key",
            vec![["key = AKIA", "ABCDEFGH23456789"].concat(), ["ASIA", "ABCDEFGH23456789"].concat()],
            own(&["AKIAIOSFODNN7EXAMPLE", "AKIASHORT", "XAKIAABCDEFGH23456789"]),
        ),
        (
            "secret.aws-secret-key",
            vec![format!("aws_secret_access_key = \"{}\"", x(5)), format!("AWS_SECRET_ACCESS_KEY={}", x(5))],
            vec!["aws_secret_access_key = os.environ['AWS_SECRET_ACCESS_KEY']".into(), format!("sha1 = {}", x(5))],
        ),
        (
            "secret.private-key",
            vec![["-----BEGIN RSA PRIVATE ", "KEY-----"].concat(), ["-----BEGIN PRIVATE ", "KEY-----"].concat()],
            own(&["-----BEGIN PUBLIC KEY-----", "-----BEGIN CERTIFICATE-----"]),
        ),
        (
            "secret.github-token",
            vec![format!("ghp_{}abcd", x(4)), format!("github_pat_{}", x(8))],
            own(&["ghp_token", "github_pat_yours", "ghx_abcdefghijklmnopqrstuvwxyz0123456789"]),
        ),
        ("secret.gitlab-token", vec![format!("glpat-{}", x(3))], own(&["glpat-short"])),
        (
            "secret.slack-token",
            vec![
                format!("xoxb-123456789-{}", x(2)),
                format!("https://hooks.slack.com/services/T0000000/B0000000/{}", x(3)),
            ],
            own(&["xoxb-your-token-here", "https://hooks.slack.com/services/..."]),
        ),
        (
            "secret.model-key",
            vec![format!("sk-{}", x(4)), format!("sk-proj-{}", x(5)), format!("sk-ant-api03-{}", x(5))],
            own(&["sk-learn", "pip install sk-something-with-a-very-long-kebab-name-indeed", "sk-..."]),
        ),
        ("secret.google-key", vec![format!("AIza{}abc", x(4))], own(&["AIzaShort"])),
        ("secret.stripe-key", vec![format!("sk_live_{}", x(3))], vec![format!("sk_test_{}", x(3))]),
        (
            "secret.json-web-token",
            vec![format!("eyJ{0}.eyJ{0}.{0}", x(2))],
            vec!["eyJ.eyJ.sig".into(), format!("eyJ{}", x(2))],
        ),
        (
            "secret.url-password",
            own(&["postgres://joe:hunter22@db/x", "redis://default:S3cr-t!@10.0.0.1:6379", "amqp://a:b0bby@[::1]/"]),
            own(&[
                "postgres://user:password@localhost/db",
                "https://joe:${PASSWORD}@host/",
                "https://joe:<secret>@host",
                "http://host:8080/@scope/package",
                "mailto:joe@example.com",
                "nats://joe:***@host",
            ]),
        ),
    ]
}

fn disk_commands() -> Vec<Example> {
    vec![
        (
            "destructive.remove-root",
            own(&[
                "rm -rf /",
                "sudo rm -rf --no-preserve-root /",
                "rm -r -f ~/",
                "rm -fr \"$HOME\"",
                "rm -Rf /etc;",
                "rm -rf /*",
            ]),
            own(&[
                "rm -rf ./build",
                "rm -rf /tmp/work",
                "rm -rf \"$TMPDIR\"",
                "rm -rf /var/lib/app/cache",
                "rm -f /etc/app.conf",
                "farm -r /",
            ]),
        ),
        (
            "destructive.remove-tree",
            own(&["shutil.rmtree('/')", "shutil.rmtree(Path.home())", "shutil.rmtree(os.path.expanduser('~'), True)"]),
            own(&["shutil.rmtree(tmp)", "shutil.rmtree('/tmp/x')", "shutil.rmtree(Path.home() / '.cache' / 'app')"]),
        ),
        (
            "destructive.write-disk",
            own(&["dd if=/dev/zero of=/dev/sda bs=1M", "cat image > /dev/nvme0n1"]),
            own(&["dd if=/dev/zero of=disk.img", "dd if=x of=/dev/null", "echo x > /dev/stderr"]),
        ),
        (
            "destructive.make-filesystem",
            own(&["mkfs.ext4 -F /dev/sdb1", "mkfs -t xfs /dev/vdb"]),
            own(&["mkfs.ext4 disk.img", "man mkfs"]),
        ),
    ]
}

fn other_commands() -> Vec<Example> {
    vec![
        (
            "destructive.drop-database",
            own(&["DROP DATABASE prod;", "cur.execute(\"drop schema if exists app cascade\")", "drop database x"]),
            own(&["DROP TABLE IF EXISTS tmp;", "drop_database_connection()", "drop index x;"]),
        ),
        (
            "destructive.force-push",
            own(&[
                "git push --force origin main",
                "git push -f origin master",
                "git push origin main --force",
                "git push origin +main",
                "git push -f origin HEAD:main",
            ]),
            own(&[
                "git push origin main",
                "git push --force-with-lease origin feature",
                "git push --force origin feature/main-page",
                "git push -f origin topic",
            ]),
        ),
        (
            "destructive.pipe-to-shell",
            own(&["curl -fsSL https://get.example.com | sh", "wget -qO- x | sudo -E bash -", "curl x | python3"]),
            own(&["curl -s https://api | jq .", "curl x | shasum -c", "curl -o install.sh https://x"]),
        ),
        (
            "destructive.open-permissions",
            own(&["chmod -R 777 /", "chmod 0777 /etc"]),
            own(&["chmod 755 /usr/local/bin/app", "chmod 777 /tmp/socket", "chmod -R 700 /"]),
        ),
        ("destructive.fork-bomb", own(&[":(){ :|:& };:"]), own(&["f() { g | h & }; f"])),
    ]
}

fn apis() -> Vec<Example> {
    vec![
        (
            "api.eval",
            own(&["x = eval(text)", "exec(code, {})", "eval(input())"]),
            own(&[
                "ast.literal_eval(x)",
                "model.eval()",
                "regex.exec(text)",
                "def eval(self, x):",
                "eval('1 + 1')",
                "retrieval(x)",
            ]),
        ),
        (
            "api.unpickle",
            own(&["pickle.loads(body)", "cPickle.load(f)", "dill.load(f)", "pickle.Unpickler(f)"]),
            own(&["json.loads(body)", "pickle.dumps(x)", "import pickle"]),
        ),
        (
            "api.yaml-load",
            own(&["yaml.load(f)", "yaml.load(open(p), Loader=yaml.FullLoader)", "yaml.unsafe_load(f)"]),
            own(&[
                "yaml.safe_load(f)",
                "yaml.load(open(p), Loader=yaml.SafeLoader)",
                "yaml.load(f, yaml.CSafeLoader)",
                "yaml.dump(x)",
            ]),
        ),
        (
            "api.os-system",
            own(&["os.system('ls')", "os.popen(cmd)"]),
            own(&["os.system_info", "pos.system(x)", "os.path.join(a)"]),
        ),
        (
            "api.shell-true",
            own(&["subprocess.run(cmd, shell=True)"]),
            own(&["subprocess.run(cmd, shell=False)", "shell = Truely"]),
        ),
        (
            "api.tls-unverified",
            own(&[
                "requests.get(u, verify=False)",
                "InsecureSkipVerify: true",
                ".danger_accept_invalid_certs(true)",
                "{ rejectUnauthorized: false }",
            ]),
            own(&["requests.get(u, verify=True)", "InsecureSkipVerify: false", "verify = false_positive"]),
        ),
        (
            "api.weak-password-hash",
            own(&["hashlib.md5(password.encode())", "SHA1(salt + passwd)"]),
            own(&["hashlib.md5(data)", "hashlib.sha256(password)", "md5(passenger)"]),
        ),
        (
            "api.sql-format",
            own(&["cur.execute(f\"SELECT * FROM t WHERE id={i}\")", "db.execute(f'''\n delete from t''')"]),
            own(&["cur.execute(\"SELECT * FROM t WHERE id=?\", (i,))", "task.execute(f\"run {x}\")"]),
        ),
        ("api.mktemp", own(&["tempfile.mktemp()"]), own(&["tempfile.mkstemp()", "tempfile.TemporaryDirectory()"])),
    ]
}

async fn report(text: &str) -> CheckReport {
    TextChecks::built_in().unwrap().check(vec![Subject::plain(text)]).await.remove(0)
}

fn findings(report: &CheckReport) -> Vec<Arc<str>> {
    match &report.policy {
        CheckOutcome::Failed { findings } => findings.clone(),
        _ => Vec::new(),
    }
}

#[tokio::test]
async fn each_rule_finds_what_it_should_and_no_near_miss() {
    for (rule, positive, negative) in table() {
        let breaks = |report: &CheckReport| findings(report).iter().any(|text| text.starts_with(&format!("{rule}: ")));
        for text in positive {
            let report = report(&format!("a\n{text}\nb")).await;
            assert!(breaks(&report), "{rule} misses {text:?}");
            assert!(findings(&report).iter().any(|text| text.ends_with("(line 2)")), "{text:?}: {report:?}");
        }
        for text in negative {
            assert!(!breaks(&report(&format!("a\n{text}\nb")).await), "{rule} finds {text:?}");
        }
    }
}

#[test]
fn each_rule_has_examples() {
    let rules: BTreeSet<_> = BUILT_IN.lines().filter_map(|line| line.strip_prefix("id = ")).collect();
    let tried: BTreeSet<_> = table().iter().map(|(rule, ..)| format!("{rule:?}")).collect();
    assert_eq!(rules, tried.iter().map(String::as_str).collect());
}

#[tokio::test]
async fn a_finding_never_quotes_a_secret() {
    let secret = format!("ghp_{}", "a1B2".repeat(9));
    let report = report(&format!("token = \"{secret}\"")).await;
    assert!(!findings(&report).is_empty());
    assert!(!format!("{report:?}").contains(&secret));
}

#[tokio::test]
async fn secrets_count_in_prose_but_apis_only_in_code() {
    let prose = "Never call os.system(x).\n```python\nprint(1)\n```\n";
    assert_eq!(report(prose).await.policy, CheckOutcome::Passed);
    let secret = format!("Use ghp_{}.\n```\nx\n```\n", "a1B2".repeat(9));
    assert!(report(&secret).await.policy.failed());
}

#[tokio::test]
async fn what_did_not_run_is_not_passed() {
    let report = report("fn main() {}").await;
    assert!(report.policy.passed() && !report.any_failed());
    assert!(
        matches!(report.lint, CheckOutcome::NotRun { .. }) && matches!(report.dry_run, CheckOutcome::NotRun { .. })
    );
    let off = TextChecks::disabled();
    let report = off.check(vec![Subject::plain("os.system(x)")]).await.remove(0);
    assert_eq!(report, CheckReport::not_run(&"checks are switched off".into()));
    assert_eq!(&*off.policy_hash(), "off");
}

#[tokio::test]
async fn size_decides_where_and_whether_a_text_is_checked() {
    let long = |bytes: usize| format!("{}\nos.system(x)", "x".repeat(bytes - 13));
    for bytes in [16 * 1024 - 1, 16 * 1024, 256 * 1024] {
        assert!(report(&long(bytes)).await.policy.failed(), "{bytes}");
    }
    let report = report(&long(256 * 1024 + 1)).await;
    assert!(matches!(&report.policy, CheckOutcome::NotRun { why } if why.starts_with("too large")), "{report:?}");
}

#[tokio::test]
async fn reports_come_in_the_order_of_the_texts() {
    let texts = ["os.system(x)", "fine", "os.system(x)"].map(Subject::plain).to_vec();
    let reports = TextChecks::built_in().unwrap().check(texts).await;
    let failed: Vec<_> = reports.iter().map(CheckReport::any_failed).collect();
    assert_eq!(failed, [true, false, true]);
}
