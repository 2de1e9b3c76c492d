//! What the program is built from: only allowed licences, no banned crates, nothing from git or stray folders.
//!
//! The lists are those of `deny.toml`, which `cargo deny` reads too; this needs neither that tool nor a network.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;
use spdx::{Expression, LicenseReq, ParseMode};

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_root: PathBuf,
    workspace_members: Vec<String>,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    license: Option<String>,
    source: Option<String>,
    manifest_path: PathBuf,
}

#[derive(Deserialize)]
struct Deny {
    licenses: Licenses,
    bans: Bans,
}

#[derive(Deserialize)]
struct Licenses {
    allow: Vec<String>,
}

#[derive(Deserialize)]
struct Bans {
    deny: Vec<Ban>,
}

#[derive(Deserialize)]
struct Ban {
    #[serde(rename = "crate")]
    name: String,
}

fn metadata() -> Metadata {
    let mut command = Command::new(env!("CARGO"));
    command.args(["metadata", "--format-version", "1", "--locked", "--all-features"]);
    let output = command.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn deny() -> Deny {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deny.toml");
    toml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Whether an expression can be met with allowed licences alone.
fn is_allowed(expression: &str, allowed: &[LicenseReq]) -> bool {
    let parsed = Expression::parse_mode(expression, ParseMode::LAX);
    parsed.is_ok_and(|parsed| parsed.evaluate(|wanted| allowed.contains(wanted)))
}

fn allowed() -> Vec<LicenseReq> {
    let one = |text: &String| Expression::parse(text).unwrap().requirements().next().unwrap().req.clone();
    deny().licenses.allow.iter().map(one).collect()
}

#[test]
fn every_crate_has_an_allowed_licence() {
    let allowed = allowed();
    let package = |package: Package| {
        let licence = package.license.unwrap_or_default();
        (!is_allowed(&licence, &allowed)).then(|| format!("{}: {licence:?}", package.name))
    };
    let wrong: Vec<_> = metadata().packages.into_iter().filter_map(package).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn an_expression_is_allowed_when_it_can_be_met() {
    let allowed = allowed();
    for expression in ["MIT", "MIT OR GPL-3.0-only", "MIT/Apache-2.0", "(MIT OR Apache-2.0) AND Unicode-3.0"] {
        assert!(is_allowed(expression, &allowed), "{expression}");
    }
    for expression in ["", "GPL-3.0-only", "MIT AND GPL-3.0-only", "LicenseRef-Own"] {
        assert!(!is_allowed(expression, &allowed), "{expression}");
    }
}

#[test]
fn no_banned_crate_is_in_the_tree() {
    let bans = deny().bans.deny;
    assert!(!bans.is_empty());
    let banned = |package: &Package| bans.iter().any(|ban| ban.name == package.name);
    let found: Vec<_> = metadata().packages.into_iter().filter(banned).map(|package| package.name).collect();
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn every_crate_is_from_the_registry_or_this_workspace() {
    let metadata = metadata();
    let stray = |package: &Package| match &package.source {
        Some(source) => !source.starts_with("registry+"),
        None => {
            let member = metadata.workspace_members.contains(&package.id);
            !member || !package.manifest_path.starts_with(&metadata.workspace_root)
        }
    };
    let found: Vec<_> =
        metadata.packages.iter().filter(|package| stray(package)).map(|package| &package.name).collect();
    assert!(found.is_empty(), "{found:?}");
}
