//! What this user may publish to, as the server tells it.

use async_nats::Client;
use serde::Deserialize;
use tokio::time::timeout;

use super::super::subject::{DEAD_LETTERS, covers};
use super::{INTERFACE, PATIENCE, PUBLISHES, Permission};

/// What the server says of this user; servers since 2.10 do.
#[derive(Deserialize)]
struct UserInfo {
    data: User,
}

#[derive(Deserialize)]
struct User {
    /// Nothing = everything is allowed.
    permissions: Option<Permissions>,
}

#[derive(Default, Deserialize)]
struct Permissions {
    publish: Option<Rule>,
}

#[derive(Default, Deserialize)]
struct Rule {
    #[serde(default)]
    allow: Vec<String>,
    #[serde(default)]
    deny: Vec<String>,
}

impl Rule {
    /// Of everything under `subject`.
    fn allows(&self, subject: &str) -> bool {
        let denied = |deny: &String| covers(deny, subject) || covers(subject, deny);
        (self.allow.is_empty() || self.allow.iter().any(|allow| covers(allow, subject)))
            && !self.deny.iter().any(denied)
    }
}

pub(super) async fn permissions(client: &Client) -> Option<Vec<Permission>> {
    let asked = client.request("$SYS.REQ.USER.INFO", bytes::Bytes::new());
    let answer = timeout(PATIENCE, asked).await.ok()?.ok()?;
    let info: UserInfo = serde_json::from_slice(&answer.payload).ok()?;
    let rule = info.data.permissions.unwrap_or_default().publish.unwrap_or_default();
    let dead_letters = format!("{DEAD_LETTERS}>");
    let subjects = PUBLISHES.iter().copied().chain([dead_letters.as_str()]).chain(INTERFACE.iter().copied());
    Some(subjects.map(|subject| Permission { subject: subject.into(), allowed: rule.allows(subject) }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_allows_what_it_lists_and_does_not_deny() {
        let rule = |allow: &[&str], deny: &[&str]| Rule {
            allow: allow.iter().map(|s| (*s).into()).collect(),
            deny: deny.iter().map(|s| (*s).into()).collect(),
        };
        assert!(rule(&[], &[]).allows("orchestration.>"));
        assert!(rule(&["orchestration.>"], &[]).allows("orchestration.>"));
        assert!(!rule(&["agent.>"], &[]).allows("orchestration.>"));
        assert!(!rule(&[], &["orchestration.task.failed"]).allows("orchestration.>"));
        assert!(!rule(&[">"], &["orchestration.>"]).allows("orchestration.>"));
    }
}
