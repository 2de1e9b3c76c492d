//! Which hosts a call may go to and which get a key: decided by pattern, never by what an agent claims.

use std::fmt;
use std::str::FromStr;

use url::{Host, Url};

/// `loopback`, `*`, `host`, `*.domain`, each but the first two with an optional `:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPattern {
    /// `localhost`, `127.0.0.0/8` and `::1`.
    Loopback,
    Any,
    Named {
        /// Lower case; an IPv6 address stands in brackets.
        host: String,
        /// Whether hosts below `host` are meant, not itself.
        below: bool,
        port: Option<u16>,
    },
}

/// A text that is no host pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a host pattern; allowed are loopback, *, host, *.domain, and host:port")]
pub struct NotAPattern(String);

impl FromStr for HostPattern {
    type Err = NotAPattern;

    fn from_str(text: &str) -> Result<Self, NotAPattern> {
        match text {
            "loopback" => return Ok(Self::Loopback),
            "*" => return Ok(Self::Any),
            _ => {}
        }
        let refuse = || NotAPattern(text.into());
        let (below, rest) = text.strip_prefix("*.").map_or((false, text), |rest| (true, rest));
        let (name, port) = match rest.rsplit_once(':') {
            Some((name, port)) if !port.ends_with(']') => (name, Some(port.parse().map_err(|_| refuse())?)),
            _ => (rest, None),
        };
        let host = Host::parse(name).map_err(|_| refuse())?.to_string();
        if host.contains('*') {
            return Err(refuse());
        }
        Ok(Self::Named { host, below, port })
    }
}

impl HostPattern {
    /// This very host, whatever the port.
    #[must_use]
    pub fn host_of(url: &Url) -> Option<Self> {
        url.host_str().map(|host| Self::Named { host: host.to_owned(), below: false, port: None })
    }

    #[must_use]
    pub fn matches(&self, url: &Url) -> bool {
        match self {
            Self::Any => true,
            Self::Loopback => match url.host() {
                Some(Host::Domain(name)) => name == "localhost",
                Some(Host::Ipv4(ip)) => ip.is_loopback(),
                Some(Host::Ipv6(ip)) => ip.is_loopback(),
                None => false,
            },
            Self::Named { host, below, port } => {
                let Some(given) = url.host_str() else { return false };
                let fits = if *below {
                    given.strip_suffix(host.as_str()).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
                } else {
                    given == host
                };
                fits && port.is_none_or(|port| url.port_or_known_default() == Some(port))
            }
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loopback => f.write_str("loopback"),
            Self::Any => f.write_str("*"),
            Self::Named { host, below, port } => {
                f.write_str(if *below { "*." } else { "" })?;
                f.write_str(host)?;
                port.map_or(Ok(()), |port| write!(f, ":{port}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, url: &str) -> bool {
        pattern.parse::<HostPattern>().unwrap().matches(&Url::parse(url).unwrap())
    }

    #[test]
    fn loopback_is_every_way_to_say_here() {
        for here in ["http://localhost:1", "http://127.0.0.1", "http://127.9.9.9:5", "https://[::1]:80"] {
            assert!(matches("loopback", here), "{here}");
        }
        for there in ["http://localhost.evil.com", "http://128.0.0.1", "http://10.0.0.1"] {
            assert!(!matches("loopback", there), "{there}");
        }
    }

    #[test]
    fn a_name_matches_itself_only() {
        assert!(matches("gpu", "http://GPU:8000/v1"));
        assert!(!matches("gpu", "http://gpu.evil.com"));
        assert!(!matches("gpu", "http://gpu@evil.com"));
        assert!(matches("gpu:8000", "http://gpu:8000"));
        assert!(!matches("gpu:8000", "http://gpu:8001"));
        assert!(matches("gpu:443", "https://gpu"));
        assert!(matches("[::1]:80", "http://[::1]"));
    }

    #[test]
    fn a_domain_matches_what_is_below_it() {
        assert!(matches("*.lab.net", "http://a.b.lab.net"));
        assert!(!matches("*.lab.net", "http://lab.net"));
        assert!(!matches("*.lab.net", "http://evil-lab.net"));
        assert!(matches("*", "http://anything"));
    }

    #[test]
    fn spellings_and_ports_by_the_table() {
        let table = [
            ("LocalHost", "http://LOCALHOST:8000", true),
            ("localhost", "http://localhost.evil.com", false),
            ("models:80", "http://models", true),
            ("[::1]", "http://[::1]:9000", true),
            ("[::1]:9000", "http://[::1]:9000", true),
            ("[::1]:9000", "http://[::1]:9001", false),
            ("127.0.0.1", "http://2130706433", true),
            ("127.0.0.1", "http://127.0.0.2", false),
            ("*.example.com:8443", "https://a.example.com:8443", true),
            ("*.example.com:8443", "https://a.example.com", false),
        ];
        for (pattern, url, expected) in table {
            assert_eq!(matches(pattern, url), expected, "{pattern} {url}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for bad in ["", "a b", "host:port", "*.*.com", "http://gpu", "a*b"] {
            assert!(bad.parse::<HostPattern>().is_err(), "{bad}");
        }
        assert_eq!("*.Lab.net:81".parse::<HostPattern>().unwrap().to_string(), "*.lab.net:81");
    }
}
