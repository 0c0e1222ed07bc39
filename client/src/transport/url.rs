//! URLs: one line from a laptop's memory to a server.
//!
//! ```text
//! posthaste://host[:port][,host[:port]...]      a server; port 7420 by default
//! memory:  memory:NAME                          inside this process, nothing on disk
//! embedded:./folder                             inside this process, durable
//! ```

use super::Connector;
use crate::error::{Failed, Failure, Local};

/// The port of the native protocol.
const PORT: u16 = 7420;

/// Where the broker is.
#[derive(Debug)]
pub(crate) enum Endpoint {
    /// Hosts and ports, tried in turn.
    Tcp(Vec<(String, u16)>),
    /// However the application does it.
    Custom(Connector),
    /// Inside this process.
    #[cfg(feature = "embedded")]
    Embedded(super::Embedded),
}

impl Endpoint {
    /// Reads a URL.
    pub(crate) fn parse(url: &str) -> Result<Self, Failed> {
        let Some((scheme, rest)) = url.split_once(':') else {
            return Err(invalid(url, "it has no scheme"));
        };
        match scheme {
            "posthaste" => {
                let Some(hosts) = rest.strip_prefix("//") else {
                    return Err(invalid(url, "two slashes come before the host"));
                };
                let hosts = hosts.strip_suffix('/').unwrap_or(hosts);
                let all: Result<Vec<_>, _> =
                    hosts.split(',').map(|one| address(url, one)).collect();
                all.map(Self::Tcp)
            }
            #[cfg(feature = "embedded")]
            "memory" => Ok(Self::Embedded(super::Embedded::memory(rest))),
            #[cfg(feature = "embedded")]
            "embedded" if !rest.is_empty() => Ok(Self::Embedded(super::Embedded::folder(rest))),
            #[cfg(feature = "embedded")]
            "embedded" => Err(invalid(url, "a folder comes behind the colon")),
            #[cfg(not(feature = "embedded"))]
            "memory" | "embedded" => {
                Err(invalid(url, "this program was built without the feature `embedded`"))
            }
            "posthaste+tls" => Err(invalid(url, "TLS is not supported yet")),
            _ => Err(invalid(url, "its scheme is not known")),
        }
    }
}

/// `host`, `host:port`, `[v6]` or `[v6]:port`.
fn address(url: &str, text: &str) -> Result<(String, u16), Failed> {
    let (host, port) = match text.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, rest)) => match rest.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None => return Err(invalid(url, "a colon comes between host and port")),
        },
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let is_foreign = |one: char| one.is_whitespace() || "/@?#[]".contains(one);
    if host.is_empty() || host.contains(is_foreign) {
        return Err(invalid(url, "the host cannot be read"));
    }
    let port = match port {
        None => PORT,
        Some(port) => match port.parse::<u16>() {
            Ok(port) if port != 0 => port,
            _ => return Err(invalid(url, "the port is not a number from 1 to 65535")),
        },
    };
    Ok((host.to_owned(), port))
}

fn invalid(url: &str, why: &str) -> Failed {
    Failure::local(Local::InvalidUrl, format!("cannot read the URL {url:?}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(url: &str) -> Option<Vec<(String, u16)>> {
        match Endpoint::parse(url) {
            Ok(Endpoint::Tcp(addresses)) => Some(addresses),
            _ => None,
        }
    }

    fn one(host: &str, port: u16) -> Option<Vec<(String, u16)>> {
        Some(vec![(host.to_owned(), port)])
    }

    #[test]
    fn hosts_have_a_default_port() {
        assert_eq!(tcp("posthaste://localhost"), one("localhost", 7420));
        assert_eq!(tcp("posthaste://localhost:7/"), one("localhost", 7));
        assert_eq!(tcp("posthaste://[::1]"), one("::1", 7420));
        assert_eq!(tcp("posthaste://[::1]:99"), one("::1", 99));
        let two = vec![("a".to_owned(), 7420), ("b".to_owned(), 8)];
        assert_eq!(tcp("posthaste://a,b:8"), Some(two));
    }

    #[test]
    fn urls_that_cannot_be_read_say_why() {
        for url in [
            "",
            "localhost",
            "posthaste:localhost",
            "posthaste://",
            "posthaste://a:0",
            "posthaste://a:x",
            "posthaste://a:70000",
            "posthaste://a b",
            "posthaste://u@h",
            "posthaste://[::1",
            "amqp://a",
            "posthaste+tls://a",
            "posthaste://a,,b",
            "posthaste://a/queue",
        ] {
            let error = Endpoint::parse(url).expect_err(url);
            assert_eq!(error.code, "PH-0906", "{url}");
        }
    }
}
