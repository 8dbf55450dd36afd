//! A URL that requests go to, checked once.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use http::uri::{Authority, PathAndQuery, Scheme, Uri};

/// The longest URL, in bytes.
pub const URL_BYTES_MAX: usize = 2_048;

const ACCEPTED: &str = "an http:// or https:// URL of at most 2048 bytes, without a user, a password or a fragment";

/// Where a request goes: `https://host[:port]/path?query`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    secured: bool,
    authority: Authority,
    path: PathAndQuery,
    port: u16,
}

impl Target {
    /// Whether it is https.
    #[must_use]
    pub fn is_secured(&self) -> bool {
        self.secured
    }

    /// A name, or an address without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        let host = self.authority.host();
        host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
    }

    /// The address, if the URL has one for a name.
    #[must_use]
    pub fn literal(&self) -> Option<IpAddr> {
        self.host().parse().ok()
    }

    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What `Host` says.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    #[must_use]
    pub fn path(&self) -> &PathAndQuery {
        &self.path
    }
}

impl FromStr for Target {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > URL_BYTES_MAX || text.contains('#') {
            return Err(ACCEPTED);
        }
        let parts = text.parse::<Uri>().map_err(|_| ACCEPTED)?.into_parts();
        let (Some(scheme), Some(authority)) = (parts.scheme, parts.authority) else { return Err(ACCEPTED) };
        let secured = scheme == Scheme::HTTPS;
        // What stands between the host and the path must be a port, if anything.
        let is_odd = authority.port_u16().is_none() && authority.as_str() != authority.host();
        if !(secured || scheme == Scheme::HTTP) || authority.host().is_empty() || is_odd {
            return Err(ACCEPTED);
        }
        let port = authority.port_u16().unwrap_or(if secured { 443 } else { 80 });
        if port == 0 {
            return Err(ACCEPTED);
        }
        let path = parts.path_and_query.unwrap_or_else(|| PathAndQuery::from_static("/"));
        Ok(Self { secured, authority, path, port })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secured { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_and_others_refused() {
        let check = |text: &str, host: &str, port: u16, path: &str| {
            let target: Target = text.parse().expect(text);
            assert_eq!((target.host(), target.port(), target.path().as_str()), (host, port, path), "{text}");
        };
        check("https://a.example/hook?x=1", "a.example", 443, "/hook?x=1");
        check("http://a.example", "a.example", 80, "/");
        check("http://127.0.0.1:8080/x", "127.0.0.1", 8080, "/x");
        check("https://[::1]:8443/", "::1", 8443, "/");
        assert_eq!("http://[::1]/".parse::<Target>().expect("a target").literal(), "::1".parse().ok());
        let long = format!("http://a/{}", "x".repeat(URL_BYTES_MAX));
        for bad in [
            "",
            "/x",
            "a.example",
            "ftp://a/",
            "http://",
            "http://u@a/",
            "http://u:p@a/",
            "http://a/#x",
            "http://a:0/",
            "http://a:99999/",
            &long,
        ] {
            assert!(bad.parse::<Target>().is_err(), "{bad}");
        }
    }
}
