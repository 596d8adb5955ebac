//! What the middlewares of a router do, all together: what is written into its routes.

use ipnet::IpNet;

use super::conditions::intersection;
use super::fields::Fields;
use crate::imported::Keys;

/// Whom a closed route lets in: nobody.
pub(super) const NOBODY: [&str; 2] = ["0.0.0.0/0", "::/0"];

/// What is done to a request, besides choosing where it goes.
#[derive(Debug, Clone, Default)]
pub(super) struct Effects {
    /// Whether something that keeps somebody out could not be said.
    pub(super) is_closed: bool,
    /// The clients that are let in, and those that are not.
    pub(super) allow: Option<Vec<IpNet>>,
    pub(super) deny: Vec<IpNet>,
    /// What becomes of the path.
    pub(super) paths: Vec<PathEdit>,
    pub(super) request: Fields,
    pub(super) response: Fields,
    /// Redirects, in their order. Behind one of everything nothing else is done.
    pub(super) redirects: Vec<Redirect>,
    /// Keys of a route: rate, limits, retry and the like.
    pub(super) keys: Keys,
}

/// A change of the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PathEdit {
    /// The first of these that it begins with is taken off.
    Strip(Vec<String>),
    /// This is put before it.
    Add(String),
    /// `from` at its beginning becomes `to`.
    Replace { from: String, to: String },
    /// It becomes this.
    Whole(String),
}

/// A redirect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Redirect {
    /// The host of which it is; nothing means all.
    pub(super) host: Option<String>,
    pub(super) to: String,
    pub(super) status: i64,
}

impl Effects {
    /// Whether nothing behind is reached.
    pub(super) fn redirects_all(&self) -> bool {
        self.redirects.iter().any(|redirect| redirect.host.is_none())
    }

    /// Lets in only these, of those that were let in.
    pub(super) fn let_in(&mut self, networks: &[IpNet]) {
        let allowed = match &self.allow {
            Some(known) => intersection(known, networks),
            None => networks.to_vec(),
        };
        self.is_closed |= allowed.is_empty();
        self.allow = Some(allowed);
    }

    /// Writes who is let in.
    pub(super) fn write_guards(&self, keys: &mut Keys) {
        let shown = |networks: &[IpNet]| networks.iter().map(ToString::to_string).collect::<Vec<_>>();
        if self.is_closed {
            keys.set("deny", NOBODY.to_vec());
            return;
        }
        if let Some(allow) = &self.allow {
            keys.set("allow", shown(allow));
        }
        if !self.deny.is_empty() {
            keys.set("deny", shown(&self.deny));
        }
    }
}
