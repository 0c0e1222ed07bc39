//! References over HTTP: GET, bounded, and only from where the application allows.

use std::time::Duration;

use ureq::{Agent, Error};

use super::load::{Fetch, Loading, Resolve};
use crate::declare::BoxFuture;
use crate::error::LoadError;

/// Loads references over HTTP, from servers that the application has named: whoever may publish an
/// event could otherwise make its consumers call any address of their network. Redirects are not
/// followed for the same reason.
///
/// ```no_run
/// # async fn demo(event: posthaste::Event<Vec<u64>>) -> Result<(), posthaste::Error> {
/// use posthaste::HttpResolver;
/// let files = HttpResolver::allowing(["http://files.internal/scans/"]);
/// let numbers = event.load(&files).await?;
///
/// // For notices: what the event is about, under this address.
/// let shop = HttpResolver::new().current_at("http://shop.internal/orders/");
/// # Ok(()) }
/// ```
///
/// Plain `http` only: this crate brings no TLS. For `https`, implement [`Resolve`] with the HTTP
/// client that the application has anyway; size and digest are checked all the same.
#[derive(Clone, Debug)]
pub struct HttpResolver {
    agent: Agent,
    allowed: Vec<String>,
    current: Option<String>,
    timeout: Duration,
}

impl Default for HttpResolver {
    fn default() -> Self {
        Self::new()
    }
}

impl HttpResolver {
    /// Allows nothing yet.
    #[must_use]
    pub fn new() -> Self {
        // A connection that is kept may be closed by its server just when it is used again; claim
        // checks are large, and a connection each costs them nothing.
        let config = Agent::config_builder().max_redirects(0).max_idle_connections(0).build();
        let timeout = Duration::from_secs(30);
        Self { agent: config.into(), allowed: Vec::new(), current: None, timeout }
    }

    /// Allows URLs that begin with one of these. Each counts as a folder: `http://files.internal`
    /// allows nothing on `files.internal.example`.
    #[must_use]
    pub fn allowing<P: Into<String>>(prefixes: impl IntoIterator<Item = P>) -> Self {
        let allowed = prefixes.into_iter().map(|prefix| folder(prefix.into())).collect();
        Self { allowed, ..Self::new() }
    }

    /// Where the present state is that notices are about: GET of this address with the event's
    /// subject behind it.
    #[must_use]
    pub fn current_at(mut self, base: impl Into<String>) -> Self {
        self.current = Some(folder(base.into()));
        self
    }

    /// How long one load may take, in all. The default is 30 s.
    ///
    /// ```
    /// use std::time::Duration;
    /// let files = posthaste::HttpResolver::allowing(["http://files.internal/"])
    ///     .timeout(Duration::from_secs(5));
    /// ```
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    fn url(&self, what: Fetch<'_>) -> Result<String, LoadError> {
        match what {
            Fetch::Reference(reference) => {
                let url = reference.url();
                let is_allowed = self.allowed.iter().any(|prefix| url.starts_with(prefix));
                if !is_allowed || leads_up(url) {
                    let text = format!("{url} is not in a folder that this resolver allows");
                    return Err(LoadError::unsupported(text));
                }
                Ok(url.to_owned())
            }
            Fetch::Current { source, subject } => {
                let (Some(base), Some(subject)) = (&self.current, subject) else {
                    let text = format!(
                        "a notice of {source} names no resource: give the resolver current_at(), \
                         and events their subject"
                    );
                    return Err(LoadError::unsupported(text));
                };
                Ok(format!("{base}{}", escaped(subject)))
            }
        }
    }
}

impl Resolve for HttpResolver {
    fn fetch<'a>(
        &'a self,
        what: Fetch<'a>,
        body: Loading,
    ) -> BoxFuture<'a, Result<Loading, LoadError>> {
        Box::pin(async move {
            let url = self.url(what)?;
            let (agent, timeout) = (self.agent.clone(), self.timeout);
            let getting = tokio::task::spawn_blocking(move || get(&agent, &url, timeout, body));
            getting.await.map_err(|error| LoadError::unreachable("the load was cut off", error))?
        })
    }
}

/// Blocks; ends by its timeout also when nobody waits for it any more.
fn get(
    agent: &Agent,
    url: &str,
    timeout: Duration,
    mut body: Loading,
) -> Result<Loading, LoadError> {
    let request = agent.get(url).config().timeout_global(Some(timeout)).build();
    let mut response = request.call().map_err(|error| match error {
        Error::StatusCode(code @ (404 | 410)) => LoadError::not_found(format!("{url}: {code}")),
        error => LoadError::unreachable(url, error),
    })?;
    if !response.status().is_success() {
        // A redirect, for one.
        let cause = std::io::Error::other(format!("it answered {}", response.status()));
        return Err(LoadError::unreachable(url, cause));
    }
    body.announce(response.body().content_length())?;
    body.read_from(&mut response.body_mut().as_reader())?;
    Ok(body)
}

fn folder(mut prefix: String) -> String {
    if !prefix.ends_with('/') {
        prefix.push('/');
    }
    prefix
}

/// Whether a path has a segment that means the folder above, plain or escaped.
fn leads_up(url: &str) -> bool {
    let path = url.split(['?', '#']).next().unwrap_or_default().to_ascii_lowercase();
    path.replace("%2e", ".")
        .replace("%2f", "/")
        .replace('\\', "/")
        .split('/')
        .any(|one| one == "..")
}

/// A subject as one segment of a path.
fn escaped(subject: &str) -> String {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-_~".contains(&b);
    let one = |b: u8| if is_plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") };
    // A dot is escaped as well, or a subject could be the folder above.
    subject.bytes().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Reference;

    #[test]
    fn only_allowed_folders_are_asked() {
        let files = HttpResolver::allowing(["http://files.internal/scans", "http://other:81"]);
        let is_allowed = |url: &str| files.url(Fetch::Reference(&Reference::new(url))).is_ok();
        assert!(is_allowed("http://files.internal/scans/7.png"));
        assert!(is_allowed("http://other:81/a/b?version=../2"));
        for url in [
            "http://files.internal/secret",
            "http://files.internal/scans",
            "http://files.internal/scans/../secret",
            "http://files.internal/scans/%2E%2e/secret",
            "http://files.internal/scans/..%2fsecret",
            "http://other:8100/a",
            "http://other:81@evil/a",
            "https://files.internal/scans/7.png",
            "file:///etc/passwd",
            "",
        ] {
            assert!(!is_allowed(url), "{url}");
        }
        let current = |resolver: &HttpResolver, subject| {
            resolver.url(Fetch::Current { source: "/shop", subject })
        };
        let shop = HttpResolver::new().current_at("http://shop/orders");
        assert_eq!(
            current(&shop, Some("a/../b é")).unwrap(),
            "http://shop/orders/a%2F%2E%2E%2Fb%20%C3%A9"
        );
        assert!(current(&shop, None).is_err() && current(&files, Some("7")).is_err());
    }
}
