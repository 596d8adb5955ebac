//! What the benchmarks call of this room; they see only what is public. Built with the feature `bench`.

use std::net::IpAddr;

use http::Version;
use http::header::{HeaderMap, HeaderValue};

use super::forwarding::Forwarding;
use super::headers::{self, FieldsSeen};
use super::identity::Proof;
use super::target::Host;

/// The fields of messages of one client connection.
#[derive(Debug)]
pub struct Fields(Forwarding);

impl Fields {
    /// A client at `peer` that nobody trusts, over HTTP/1.1 in plain text.
    pub fn of_client(peer: IpAddr) -> Self {
        Self(Forwarding::new(peer, false, false, Proof::NotAskedFor))
    }

    /// What a request to `host` goes through.
    pub fn prepare_request(&self, headers: &mut HeaderMap, host: HeaderValue) {
        let seen = FieldsSeen::of(headers);
        let via = headers::via(Version::HTTP_11);
        let host = Host { value: host, is_field: true };
        headers::prepare_request(headers, seen, Some(via), host, &self.0).extend(headers);
    }

    /// What a response goes through.
    pub fn prepare_response(&self, headers: &mut HeaderMap) {
        headers::prepare_response(headers);
    }
}
