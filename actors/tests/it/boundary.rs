//! The actor system stays what it is: no transport, no storage, and only the crates it was designed with.

use std::collections::BTreeSet;

const ALLOWED: [&str; 12] = [
    "async-trait",
    "dashmap",
    "minijinja",
    "petgraph",
    "ractor",
    "serde",
    "serde_json",
    "sha2",
    "similar",
    "thiserror",
    "tokio",
    "tracing",
];
/// Allowed, but nobody needs it yet.
const LATER: [&str; 1] = ["petgraph"];

/// The lines of one table of the manifest, without comments.
fn table(name: &str) -> Vec<String> {
    let manifest = include_str!("../../Cargo.toml");
    let lines = manifest.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let from = lines.skip_while(|line| *line != format!("[{name}]")).skip(1);
    from.take_while(|line| !line.starts_with('[')).map(ToOwned::to_owned).collect()
}

#[test]
fn the_dependencies_are_the_ones_the_design_names() {
    let name = |line: &String| line.split(['.', ' ', '=']).next().unwrap_or_default().to_owned();
    let used: BTreeSet<_> = table("dependencies").iter().map(name).collect();
    let new: Vec<_> = used.iter().filter(|name| !ALLOWED.contains(&name.as_str())).collect();
    assert!(new.is_empty(), "{new:?} are new here: the list grows with an ADR in docs/adr, and in this test");
    let gone: Vec<_> = ALLOWED.iter().filter(|name| !used.contains(**name) && !LATER.contains(*name)).collect();
    assert!(gone.is_empty(), "{gone:?} are not used any more: take them off this list");
    let others = ["target.", "[build-dependencies]"].iter().any(|other| {
        include_str!("../../Cargo.toml").lines().any(|line| line.starts_with('[') && line.contains(other))
    });
    assert!(!others, "dependencies by target or for a build script would pass this test unseen");
}

#[test]
fn tokio_brings_no_io() {
    let line = table("dependencies").into_iter().find(|line| line.starts_with("tokio ")).unwrap();
    let features = line.split_once("features = [").and_then(|(_, rest)| rest.split_once(']')).unwrap().0;
    let features: BTreeSet<_> = features.split(',').map(|feature| feature.trim().trim_matches('"')).collect();
    assert_eq!(features, BTreeSet::from(["macros", "rt", "sync", "time"]), "more of tokio needs an ADR in docs/adr");
}
