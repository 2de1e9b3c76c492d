//! The effective configuration for people and programs: secrets hidden, origins named.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Map;
use toml::Value;

use super::problem::Origin;
use super::value;

/// One key as it may be shown.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    section: String,
    name: String,
    value: Value,
    origin: Origin,
}

/// Keys that are checked but read by nothing yet: none in this version.
const UNREAD: [(&str, &str); 0] = [];

pub(super) fn all(values: &BTreeMap<String, (Value, Origin)>) -> Vec<Shown> {
    let split = |key: &str| key.rsplit_once('.').map(|(section, name)| (section.to_owned(), name.to_owned()));
    let mut shown: Vec<_> = values
        .iter()
        .filter_map(|(key, (value, origin))| {
            let (section, name) = split(key)?;
            let value = value::hide(&name, value);
            Some(Shown { section, name, value, origin: origin.clone() })
        })
        .collect();
    // A section before those inside it.
    shown.sort_by(|a: &Shown, b| a.section.cmp(&b.section));
    shown
}

pub(super) fn toml(shown: &[Shown]) -> String {
    let mut text = String::new();
    let mut section = "";
    for key in shown {
        if key.section != section {
            section = &key.section;
            let gap = if text.is_empty() { "" } else { "\n" };
            let _ = writeln!(text, "{gap}[{section}]");
        }
        let _ = write!(text, "{} = {}", key.name, key.value);
        let _ = match &key.origin {
            Origin::Default => writeln!(text),
            origin => writeln!(text, "  # {origin}"),
        };
    }
    text
}

pub(super) fn json(shown: &[Shown]) -> serde_json::Value {
    let mut sections = serde_json::Value::from(Map::new());
    for key in shown {
        let path = key.section.split('.');
        // Indexing an object makes what is missing.
        let section = path.fold(&mut sections, |section, part| &mut section[part]);
        section[&key.name] = serde_json::to_value(&key.value).unwrap_or_default();
    }
    sections
}

pub(super) fn unread(shown: &[Shown]) -> Vec<String> {
    let unread = |key: &&Shown| UNREAD.contains(&(key.section.as_str(), key.name.as_str()));
    let set = shown.iter().filter(unread).filter(|key| key.origin != Origin::Default);
    set.map(|key| format!("{}.{}", key.section, key.name)).collect()
}
