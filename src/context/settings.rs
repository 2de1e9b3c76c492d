//! What the client can be told, with the defaults of the design; the configuration fills it.

use std::time::Duration;

/// Limits of the client. Each bounds what one story, or a service gone wrong, can cost the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContextSettings {
    /// For one query: place, connection, retry and answer together. 2 s: a deliberation waits for it.
    pub deadline: Duration,
    /// Before the one retry. Short against the deadline, long enough for a server that has just restarted.
    pub retry_pause: Duration,
    /// Largest answer, decoded, in bytes.
    pub most_answer_bytes: usize,
    /// Calls at once. 64: servers allow 100 streams a connection by default; others wait, within their deadline.
    pub calls: usize,
    /// Contexts kept; the one not used for longest goes first.
    pub kept_entries: usize,
    /// Text of all contexts kept, in bytes: likewise.
    pub kept_bytes: usize,
    /// How long one is kept: an event that was lost must not matter for ever.
    pub kept_for: Duration,
}

impl Default for ContextSettings {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(2),
            retry_pause: Duration::from_millis(100),
            most_answer_bytes: 1024 * 1024,
            calls: 64,
            kept_entries: 4_096,
            kept_bytes: 64 * 1024 * 1024,
            kept_for: Duration::from_secs(10 * 60),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_the_design() {
        let settings = ContextSettings::default();
        assert_eq!(settings.deadline, Duration::from_secs(2));
        assert_eq!((settings.most_answer_bytes, settings.calls), (1 << 20, 64));
        assert_eq!((settings.kept_entries, settings.kept_bytes), (4_096, 64 << 20));
        assert_eq!(settings.kept_for, Duration::from_secs(600));
    }
}
