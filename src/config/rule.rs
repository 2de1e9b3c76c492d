//! The rules: from raw values to meant ones, noting every problem on the way.
//!
//! Each rule answers `None` after noting its problem; a section is built from all its parts at the end, so that the
//! first problem hides no other.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use toml::Value;
use url::Url;

use super::problem::{ConfigProblem, Origin};
use super::value;

/// Longest time that can be set: a day.
pub(super) const DAY: f64 = 86_400.0;

/// Checks values and collects what is wrong with them.
pub(super) struct Rules<'a> {
    values: &'a BTreeMap<String, (Value, Origin)>,
    pub(super) problems: Vec<ConfigProblem>,
}

impl<'a> Rules<'a> {
    pub(super) fn new(values: &'a BTreeMap<String, (Value, Origin)>) -> Self {
        Self { values, problems: Vec::new() }
    }

    /// Notes that a key breaks a rule.
    pub(super) fn refuse<T>(&mut self, key: &str, rule: impl Into<String>) -> Option<T> {
        let given = self.values.get(key);
        let value = given.and_then(|(value, _)| value::quote(key, value));
        let origin = given.map_or(Origin::Default, |(_, origin)| origin.clone());
        self.problems.push(ConfigProblem { key: key.to_owned(), value, rule: rule.into(), origin });
        None
    }

    /// Whether somebody gave it a value.
    pub(super) fn is_set(&self, key: &str) -> bool {
        self.values.get(key).is_some_and(|(_, origin)| *origin != Origin::Default)
    }

    pub(super) fn whole<T: TryFrom<i64>>(&mut self, key: &str, given: i64, allowed: RangeInclusive<i64>) -> Option<T> {
        if allowed.contains(&given) {
            return T::try_from(given).ok();
        }
        self.refuse(key, format!("must be {} to {}", allowed.start(), allowed.end()))
    }

    pub(super) fn tokens(&mut self, key: &str, given: i64) -> Option<u32> {
        self.whole(key, given, 1..=1_000_000)
    }

    pub(super) fn number(&mut self, key: &str, given: f64, allowed: RangeInclusive<f64>) -> Option<f32> {
        if allowed.contains(&given) {
            return Some(given as f32);
        }
        self.refuse(key, format!("must be {} to {}", allowed.start(), allowed.end()))
    }

    /// Seconds, from a millisecond to a day.
    pub(super) fn time(&mut self, key: &str, given: f64) -> Option<Duration> {
        self.time_within(key, given, 0.001..=DAY)
    }

    pub(super) fn time_within(&mut self, key: &str, given: f64, allowed: RangeInclusive<f64>) -> Option<Duration> {
        if allowed.contains(&given) {
            return Duration::try_from_secs_f64(given).ok();
        }
        self.refuse(key, format!("must be {} to {} seconds", allowed.start(), allowed.end()))
    }

    /// Two times of which the second is not the shorter.
    pub(super) fn span(&mut self, from: (&str, f64), to: (&str, f64)) -> Option<(Duration, Duration)> {
        let (shortest, longest) = (self.time(from.0, from.1), self.time(to.0, to.1));
        let (shortest, longest) = (shortest?, longest?);
        if shortest > longest {
            return self.refuse(to.0, format!("must be at least {} ({} seconds)", from.0, from.1));
        }
        Some((shortest, longest))
    }

    pub(super) fn text(&mut self, key: &str, given: &str) -> Option<Arc<str>> {
        if given.trim().is_empty() {
            return self.refuse(key, "must not be empty");
        }
        Some(given.into())
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(&mut self, key: &str, given: &str, allowed: &[(&str, T)]) -> Option<T> {
        if let Some((_, meant)) = allowed.iter().find(|(word, _)| *word == given) {
            return Some(*meant);
        }
        let words: Vec<_> = allowed.iter().map(|(word, _)| *word).collect();
        self.refuse(key, format!("must be one of {}", words.join(", ")))
    }

    /// An address with a host and one of the schemes.
    pub(super) fn url(&mut self, key: &str, given: &str, schemes: &[&str]) -> Option<Url> {
        match Url::parse(given) {
            Ok(url) if schemes.contains(&url.scheme()) && url.has_host() => Some(url),
            Ok(_) => self.refuse(key, format!("must be an address that begins with {}://", schemes.join(":// or "))),
            Err(error) => self.refuse(key, format!("must be an address such as {}://host: {error}", schemes[0])),
        }
    }

    /// A web server: what a client adds its paths to.
    pub(super) fn web(&mut self, key: &str, given: &str) -> Option<Url> {
        let url = self.url(key, given, &["http", "https"])?;
        if url.query().is_some() || url.fragment().is_some() {
            return self.refuse(key, "must not have a query or fragment");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return self.refuse(key, "must not hold a user or password; a key has its own setting");
        }
        Some(url)
    }

    /// Several addresses; every wrong one is named.
    pub(super) fn urls(&mut self, key: &str, given: &[String], schemes: &[&str]) -> Option<Vec<Url>> {
        if given.is_empty() {
            return self.refuse(key, "must name at least one address");
        }
        let parsed: Vec<_> = given.iter().map(|text| self.url(key, text, schemes)).collect();
        parsed.into_iter().collect()
    }

    /// An empty path is none.
    pub(super) fn path(
        &mut self,
        key: &str,
        given: &str,
        is_there: fn(&std::path::Path) -> bool,
        what: &str,
    ) -> Option<Option<PathBuf>> {
        if given.is_empty() {
            return Some(None);
        }
        let path = PathBuf::from(given);
        if is_there(&path) { Some(Some(path)) } else { self.refuse(key, format!("there is no such {what}")) }
    }
}
