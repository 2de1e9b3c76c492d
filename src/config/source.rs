//! The layers: the embedded file, a file, the environment and flags become one value per key, each knowing its origin.
//!
//! The embedded file is the schema too: a key that is not in it does not exist, and a value must have the type of its
//! default. So all wrong names and types are found at once, where a deserializer would stop at the first.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::problem::{ConfigProblem, Origin, toml_problem};
use super::value;

/// Every key, its default and its meaning.
pub const DEFAULTS: &str = include_str!("../../config/default.toml");

/// The names that were fixed before this program, and the keys they stand for.
pub const FIXED_NAMES: [(&str, &str); 24] = [
    ("AGENT_HUB_URL", "hub.url"),
    ("AGENT_TYPE", "agents.type"),
    ("ALLOW_MOCK_AGENTS", "agents.allow_mock"),
    ("BIND_ADDRESS", "server.bind"),
    ("CONTEXT_ADDRESS", "context.address"),
    ("DATABASE_URL", "store.url"),
    ("DELIBERATION_TIMEOUT", "deliberation.timeout"),
    ("ENABLE_NATS", "nats.enabled"),
    ("EXECUTOR_ADDRESS", "executor.address"),
    ("GRPC_PORT", "server.grpc_port"),
    ("HTTP_PORT", "server.http_port"),
    ("INIT_DEFAULT_COUNCILS", "councils.init_default"),
    ("LOG_FORMAT", "log.format"),
    ("NATS_ENVELOPE", "nats.envelope"),
    ("NATS_URL", "nats.url"),
    ("RUST_LOG", "log.filter"),
    ("TASK_QUEUE_URL", "queue.url"),
    ("VLLM_API_KEY", "model.api_key"),
    ("VLLM_MAX_TOKENS", "model.max_tokens"),
    ("VLLM_MODEL", "model.name"),
    ("VLLM_TEMPERATURE", "model.temperature"),
    ("VLLM_TIMEOUT", "model.timeout"),
    ("VLLM_URL", "model.urls"),
    ("WORKFLOW_DISPATCH", "workflows.dispatch"),
];

/// What the names of variables that mean `section.key` begin with.
const PREFIX: &str = "MOOTHALL__";

/// Where the configuration is read from, beside the embedded file.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    pub file: Option<PathBuf>,
    pub environment: Vec<(OsString, OsString)>,
    /// `section.key=value`, from flags.
    pub overrides: Vec<String>,
}

impl Sources {
    /// This process's environment, a file and flags.
    #[must_use]
    pub fn of_process(file: Option<PathBuf>, overrides: Vec<String>) -> Self {
        Self { file, environment: std::env::vars_os().collect(), overrides }
    }
}

/// One value per key.
#[derive(Debug)]
pub(super) struct Layers {
    pub(super) values: BTreeMap<String, (Value, Origin)>,
    pub(super) problems: Vec<ConfigProblem>,
}

impl Layers {
    pub(super) fn read(sources: &Sources) -> Result<Self, toml::de::Error> {
        let mut layers = Self { values: BTreeMap::new(), problems: Vec::new() };
        for (section, keys) in toml::from_str::<BTreeMap<String, Table>>(DEFAULTS)? {
            layers.default(&section, keys);
        }
        if let Some(path) = &sources.file {
            layers.take_file(path);
        }
        layers.take_environment(&sources.environment);
        for text in &sources.overrides {
            layers.take_flag(text);
        }
        Ok(layers)
    }

    /// A table that holds something is a section inside a section; an empty one is a value, to be filled at will.
    fn default(&mut self, section: &str, keys: Table) {
        for (name, value) in keys {
            let key = format!("{section}.{name}");
            match value {
                Value::Table(inside) if !inside.is_empty() => self.default(&key, inside),
                value => drop(self.values.insert(key, (value, Origin::Default))),
            }
        }
    }

    fn is_section(&self, name: &str) -> bool {
        self.values.keys().any(|key| key.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')))
    }

    fn take_file(&mut self, path: &Path) {
        let origin = Origin::File(path.to_owned());
        match read_file(path) {
            Ok(table) => table.into_iter().for_each(|(section, keys)| self.take_section(&section, keys, &origin)),
            Err(rule) => self.refuse(&path.display().to_string(), None, rule, origin),
        }
    }

    fn take_section(&mut self, section: &str, keys: Value, origin: &Origin) {
        if !self.is_section(section) {
            let rule = unknown("section", nearest(section, self.values.keys().filter_map(|key| key.split('.').next())));
            return self.refuse(section, None, rule, origin.clone());
        }
        let Value::Table(keys) = keys else {
            return self.refuse(section, None, format!("is a section: write [{section}]"), origin.clone());
        };
        for (name, given) in keys {
            let key = format!("{section}.{name}");
            if self.is_section(&key) {
                self.take_section(&key, given, origin);
                continue;
            }
            self.take(&key, origin.clone(), |default| value::fit(default, given.clone()).map_err(|rule| (rule, given)));
        }
    }

    /// The older names first, so that the mechanical ones win.
    fn take_environment(&mut self, variables: &[(OsString, OsString)]) {
        let variables: BTreeMap<_, _> = variables.iter().map(|(name, text)| (name.to_string_lossy(), text)).collect();
        let fixed = FIXED_NAMES.iter().filter_map(|(name, key)| Some((*name, key.to_string(), *variables.get(*name)?)));
        let mechanical = variables.iter().filter_map(|(name, text)| {
            let key = name.strip_prefix(PREFIX)?.to_lowercase().replace("__", ".");
            Some((name.as_ref(), key, *text))
        });
        for (name, key, text) in fixed.chain(mechanical) {
            let origin = Origin::Environment(name.to_owned());
            match text.to_str() {
                Some("") if self.values.contains_key(&key) => {}
                Some(text) => self.take_text(&key, text, origin),
                None => self.refuse(&key, None, "is not UTF-8".to_owned(), origin),
            }
        }
    }

    fn take_flag(&mut self, text: &str) {
        match text.split_once('=') {
            Some((key, text)) => self.take_text(key.trim(), text, Origin::Flag),
            None => self.refuse(text, None, "must be section.key=value".to_owned(), Origin::Flag),
        }
    }

    fn take_text(&mut self, key: &str, text: &str, origin: Origin) {
        if let Some(path) = self.inside_table(key) {
            return self.take_inside(&path, text, origin);
        }
        let given = || Value::String(text.to_owned());
        self.take(key, origin, |default| value::read(default, text).map_err(|rule| (rule, given())));
    }

    /// `model.profiles.large.api_key` as (`model.profiles`, [`large`, `api_key`]): so that keys need stand in no file.
    fn inside_table(&self, key: &str) -> Option<(String, Vec<String>)> {
        let (table, _) = self.values.iter().find(|(table, (value, _))| {
            value.is_table() && key.strip_prefix(table.as_str()).is_some_and(|rest| rest.starts_with('.'))
        })?;
        let path = key[table.len() + 1..].split('.').map(str::to_owned).collect();
        Some((table.clone(), path))
    }

    fn take_inside(&mut self, (key, path): &(String, Vec<String>), text: &str, origin: Origin) {
        let Some((Value::Table(table), set_by)) = self.values.get_mut(key) else { return };
        *set_by = origin;
        let Some((name, parents)) = path.split_last() else { return };
        let mut place = table;
        for parent in parents {
            let inner = place.entry(parent.clone()).or_insert_with(|| Value::Table(Table::new()));
            let Value::Table(inner) = inner else { return };
            place = inner;
        }
        place.insert(name.clone(), Value::String(text.to_owned()));
    }

    fn take(&mut self, key: &str, origin: Origin, fit: impl FnOnce(&Value) -> Result<Value, (&'static str, Value)>) {
        let Some((value, _)) = self.values.get(key) else {
            let rule = unknown("key", nearest(key, self.values.keys().map(String::as_str)));
            return self.refuse(key, None, rule, origin);
        };
        match fit(value) {
            Ok(fitting) => drop(self.values.insert(key.to_owned(), (fitting, origin))),
            Err((rule, given)) => {
                let shown = if value.is_table() { None } else { value::quote(key, &given) };
                self.refuse(key, shown, rule.to_owned(), origin);
            }
        }
    }

    fn refuse(&mut self, key: &str, value: Option<String>, rule: String, origin: Origin) {
        self.problems.push(ConfigProblem { key: key.to_owned(), value, rule, origin });
    }

    /// The sections again, ready to be deserialized.
    pub(super) fn table(&self) -> Table {
        let mut sections = Table::new();
        for (key, (value, _)) in &self.values {
            let (path, name) = key.rsplit_once('.').unwrap_or((key, ""));
            let section = path.split('.').try_fold(&mut sections, |section, part| {
                section.entry(part).or_insert_with(|| Value::Table(Table::new())).as_table_mut()
            });
            if let Some(section) = section {
                section.insert(name.to_owned(), value.clone());
            }
        }
        sections
    }
}

/// The message names a line but quotes none: it may hold a key.
fn read_file(path: &Path) -> Result<Table, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("cannot be read: {error}"))?;
    let text = String::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned())?;
    toml::from_str(&text).map_err(|error| format!("is not TOML: {}", toml_problem(&text, &error)))
}

fn unknown(what: &str, near: Option<String>) -> String {
    match near {
        Some(near) => format!("unknown {what}; did you mean {near}?"),
        None => format!("unknown {what}; `moothall print-config` lists all"),
    }
}

/// The most similar name, if one is similar at all.
fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<String> {
    let scored = names.map(|other| (strsim::normalized_damerau_levenshtein(name, other), other));
    let best = scored.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 >= 0.6).then(|| best.1.to_owned())
}
