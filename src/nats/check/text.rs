//! A report for people.

use std::fmt;

use super::{Found, Report};

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let old = if self.version_suffices { "" } else { ", older than 2.10" };
        let without = if self.jetstream { "" } else { ", without JetStream" };
        writeln!(f, "server {} {}{old}{without}, max payload {}", self.server, self.version, self.max_payload)?;
        for stream in &self.streams {
            write!(f, "stream {}: {}", stream.name, stream.state)?;
            if stream.state == Found::There {
                write!(f, ", {} messages", stream.messages)?;
            }
            rest(f, &stream.lacking, &stream.differs)?;
        }
        for consumer in &self.consumers {
            write!(f, "consumer {} of {}: {}", consumer.name, consumer.stream, consumer.state)?;
            if consumer.state == Found::There {
                write!(f, ", {} pending, {} unacknowledged", consumer.pending, consumer.unacknowledged)?;
            }
            rest(f, &consumer.lacking, &[])?;
        }
        match &self.permissions {
            None => writeln!(f, "permissions: the server does not tell"),
            Some(permissions) => permissions.iter().try_for_each(|permission| {
                let may = if permission.allowed { "may" } else { "may not" };
                writeln!(f, "{may} publish to {}", permission.subject)
            }),
        }
    }
}

fn rest(f: &mut fmt::Formatter<'_>, lacking: &[String], differs: &[String]) -> fmt::Result {
    if !lacking.is_empty() {
        write!(f, "; lacks {}", lacking.join(", "))?;
    }
    if !differs.is_empty() {
        write!(f, "; differs: {}", differs.join(", "))?;
    }
    writeln!(f)
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::There => f.write_str("there"),
            Self::Missing => f.write_str("missing, will be made"),
            Self::Unknown(why) => write!(f, "unknown ({why})"),
        }
    }
}
