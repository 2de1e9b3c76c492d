//! Configuration: read in layers, parsed raw, checked whole, then meant.
//!
//! ```text
//! config/default.toml < file < environment < flags ─▶ Layers ─▶ RawConfig ─▶ rules ─▶ Config
//!      (embedded)                                  names, types   serde     values    meant
//! ```
//!
//! Nothing stops at the first problem: whoever starts the daemon sees all of them at once, each with its key, its
//! value, the rule and where the value came from. Secrets appear in none of that.

mod host;
mod meaning;
mod model;
mod problem;
mod raw;
mod rule;
mod secret;
mod section;
mod shown;
mod source;
mod value;
mod workflow;

use serde::Deserialize;

pub use host::{HostPattern, NotAPattern};
pub(crate) use problem::toml_problem;
pub use problem::{ConfigError, ConfigProblem, Origin};
pub use secret::{HIDDEN, Secret};
pub use section::{
    AgentType, AgentsConfig, ChecksConfig, Config, ContextConfig, CouncilsConfig, DeliberationConfig, ExecutorConfig,
    HubConfig, LimitsConfig, LogConfig, LogFormat, NatsConfig, PhaseRoles, PlansConfig, ProfileConfig, QueueConfig,
    RetentionConfig, ServerConfig, StoreConfig, UnknownRole, WorkflowsConfig,
};
pub use source::{DEFAULTS, FIXED_NAMES, Sources};

use self::raw::RawConfig;
use self::rule::Rules;
use self::shown::Shown;
use self::source::Layers;

/// A configuration and what can be said about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub config: Config,
    shown: Vec<Shown>,
}

impl Config {
    /// Reads all sources and checks everything.
    pub fn load(sources: &Sources) -> Result<Loaded, ConfigError> {
        let mut layers = Layers::read(sources).map_err(|error| broken(&error))?;
        let raw = RawConfig::deserialize(layers.table()).map_err(|error| broken(&error))?;
        let mut rules = Rules::new(&layers.values);
        let config = meaning::config(&raw, &mut rules);
        let found = rules.problems;
        layers.problems.extend(found);
        match config {
            Some(config) if layers.problems.is_empty() => Ok(Loaded { config, shown: shown::all(&layers.values) }),
            _ => Err(ConfigError { problems: layers.problems }),
        }
    }
}

impl Loaded {
    /// The effective values as TOML, secrets hidden, each that is no default with where it came from.
    #[must_use]
    pub fn to_toml(&self) -> String {
        shown::toml(&self.shown)
    }

    /// The same as one JSON object: sections, keys, values.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        shown::json(&self.shown)
    }

    /// Keys that were set though nothing reads them yet.
    #[must_use]
    pub fn unread(&self) -> Vec<String> {
        shown::unread(&self.shown)
    }
}

/// Only the embedded file can cause this, and a test reads it.
fn broken(error: &toml::de::Error) -> ConfigError {
    let rule = format!("cannot be used: {}", error.message());
    let key = "config/default.toml".to_owned();
    ConfigError { problems: vec![ConfigProblem { key, value: None, rule, origin: Origin::Default }] }
}
