//! Which pool serves which request.

use std::fmt;

/// Sends the requests for one host and path to one pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Which `Host` this route is for.
    pub host: HostPattern,
    /// Which path this route is for.
    pub path: PathPattern,
    /// Name of the pool in [`super::Config::pools`].
    pub pool: String,
}

/// Which hosts a route serves. Names are lower case, without port and trailing dot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum HostPattern {
    /// Any host.
    Any,
    /// This host only.
    Exact(String),
    /// Any host below this domain, written `*.example.com`; holds `example.com`.
    Below(String),
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Exact(name) => f.write_str(name),
            Self::Below(domain) => write!(f, "*.{domain}"),
        }
    }
}

/// Which paths a route serves.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum PathPattern {
    /// The path itself and all below it, by whole segments: `/api` serves `/api` and `/api/x`, not `/apix`.
    Prefix(String),
    /// This path only; written `=/x`.
    Exact(String),
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prefix(path) => f.write_str(path),
            Self::Exact(path) => write!(f, "={path}"),
        }
    }
}
