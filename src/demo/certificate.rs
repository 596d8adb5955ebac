//! The demo's certificate, which only a build with the feature `demo-tls` can make.

use std::net::IpAddr;
use std::path::PathBuf;

use super::directory::PrivateDirectory;

/// Whether this build can make a certificate, and so whether the demo can speak TLS.
pub const HAS_TLS: bool = cfg!(feature = "demo-tls");

/// What a user is told who asks for TLS of a build without it.
pub const HOW_TO_GET_TLS: &str = "this build has no `demo --tls`; build it with the feature `demo-tls`: \
    cargo run --release --features demo-tls -- demo --tls";

/// Makes a self-signed certificate for this machine under `ip`, and its key. It returns the certificate's file.
#[cfg(feature = "demo-tls")]
pub(super) fn make(directory: &PrivateDirectory, ip: IpAddr) -> anyhow::Result<PathBuf> {
    use anyhow::Context as _;
    use std::net::{Ipv4Addr, Ipv6Addr};

    let names =
        ["localhost".to_owned(), Ipv4Addr::LOCALHOST.to_string(), Ipv6Addr::LOCALHOST.to_string(), ip.to_string()];
    let made = rcgen::generate_simple_self_signed(names).context("cannot make a certificate")?;
    directory.write("demo.key", &made.signing_key.serialize_pem())?;
    directory.write("demo.pem", &made.cert.pem())
}

#[cfg(not(feature = "demo-tls"))]
pub(super) fn make(_: &PrivateDirectory, _: IpAddr) -> anyhow::Result<PathBuf> {
    anyhow::bail!(HOW_TO_GET_TLS)
}
