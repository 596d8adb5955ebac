//! What the connection for a request must be like, and what is done on the way.

use std::net::SocketAddr;

use http::Response;

use super::added::Added;
use super::private::PrivateConnections;
use super::timing::Timing;

/// A client's address, and both ends of its connection where known.
pub type ClientAddresses = (SocketAddr, Option<(SocketAddr, SocketAddr)>);

/// What the connection for a request must be like.
#[derive(Clone, Copy)]
pub struct Wishes<'a> {
    /// Whether it must not have carried another request.
    pub fresh: bool,
    /// Whether it must be one that can be upgraded.
    pub upgrade: Upgrade,
    /// Who else may use it.
    pub sharing: Sharing,
    /// The connections that belong to the client.
    pub private: &'a PrivateConnections,
    /// What is done with an interim response.
    pub interim: &'a dyn Fn(Response<()>),
    /// The client that it is for. It is asked only if connections to the endpoint begin with a PROXY header.
    pub client: &'a dyn Fn() -> ClientAddresses,
    /// Closes what this worker can do without if there is no descriptor left. Returns whether there was anything.
    pub make_room: &'a dyn Fn() -> bool,
    /// What is added to the fields of the request.
    pub added: &'a Added,
    /// Where the steps of the attempt are noted, if somebody wants to know.
    pub timing: Option<&'a Timing>,
}

/// Whether a request asks for another protocol in place of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upgrade {
    /// The request is an ordinary one.
    Unwanted,
    /// The request asks for it. The connection must be HTTP/1.1, and 101 is an acceptable response.
    Wanted,
}

/// Who may use the connection of a request, besides the client that it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// Any client.
    Shared,
    /// Nobody, see [`super::private`].
    Private,
}
