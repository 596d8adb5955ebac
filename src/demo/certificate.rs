//! The demo's certificate.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use anyhow::Context as _;

use super::directory::PrivateDirectory;

/// Makes a self-signed certificate for this machine under `ip`, and its key. It returns the certificate's file.
pub(super) fn make(directory: &PrivateDirectory, ip: IpAddr) -> anyhow::Result<PathBuf> {
    let names =
        ["localhost".to_owned(), Ipv4Addr::LOCALHOST.to_string(), Ipv6Addr::LOCALHOST.to_string(), ip.to_string()];
    let made = rcgen::generate_simple_self_signed(names).context("cannot make a certificate")?;
    directory.write("demo.key", &made.signing_key.serialize_pem())?;
    directory.write("demo.pem", &made.cert.pem())
}
