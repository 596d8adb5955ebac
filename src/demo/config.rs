//! The file that the demo's proxy runs on.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use super::fill::fill;
use crate::config::Algorithm;

/// The demo's drain timeout.
pub(super) const DRAIN_SECONDS: u64 = 5;

const TEMPLATE: &str = include_str!("unstick.toml");

const TLS: &str =
    "# HTTP/2 and HTTP/1.1, as the client likes. Replace the files: new ones are in use within two seconds.
tls = { cert = \"demo.pem\", key = \"demo.key\" }
";

/// What the proxy's file says.
pub(super) struct Config {
    pub(super) listen: SocketAddr,
    pub(super) admin: SocketAddr,
    pub(super) backends: Vec<(String, SocketAddr)>,
    /// The file of the certificate, if the proxy speaks TLS.
    pub(super) certificate: Option<PathBuf>,
}

impl Config {
    pub(super) fn to_toml(&self) -> String {
        let Self { listen, admin, backends, certificate } = self;
        let balance = Algorithm::default();
        fill(TEMPLATE, |name| match name {
            "listen" => listen.to_string(),
            "tls" => certificate.as_ref().map_or(String::new(), |_| TLS.to_owned()),
            "others" => others_than(balance),
            "balance" => balance.to_string(),
            "backends" => backends.iter().map(|(name, address)| format!("    \"{address}\", # {name}\n")).collect(),
            "drain" => format!("{DRAIN_SECONDS}s"),
            "admin" => admin.to_string(),
            _ => String::new(),
        })
    }

    /// What to type into a browser on this machine.
    pub(super) fn url(&self) -> String {
        let ip = match self.listen.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        let scheme = if self.certificate.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", SocketAddr::new(ip, self.listen.port()))
    }
}

/// The other algorithms, in quotes.
fn others_than(balance: Algorithm) -> String {
    let others = Algorithm::ALL.iter().filter(|algorithm| **algorithm != balance);
    others.map(|algorithm| format!("\"{algorithm}\"")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::address::ADMIN;

    fn config(listen: &str) -> Config {
        let backends =
            vec![("a".into(), "127.0.0.1:4001".parse().unwrap()), ("b".into(), "127.0.0.1:4002".parse().unwrap())];
        Config { listen: listen.parse().unwrap(), admin: ADMIN, backends, certificate: None }
    }

    #[test]
    fn the_file_is_toml_and_says_it_all() {
        let text = config("127.0.0.1:8080").to_toml();
        toml::de::DeTable::parse(&text).unwrap();
        for line in [
            "[listen.web]\naddress = \"127.0.0.1:8080\"\n",
            "balance = \"round-robin\"\n",
            "backends = [\n    \"127.0.0.1:4001\", # a\n    \"127.0.0.1:4002\", # b\n]\n",
            "[pool.app.health]\npath = \"/healthz\"\ninterval = \"1s\"\n",
            "drain = \"5s\"\n",
            "[admin]\naddress = \"127.0.0.1:9900\"\n",
        ] {
            assert!(text.contains(line), "{line}");
        }
    }

    #[test]
    fn the_url_can_be_opened_here() {
        let table = [
            ("127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("0.0.0.0:80", "http://127.0.0.1:80"),
            ("[::]:8080", "http://[::1]:8080"),
            ("10.1.2.3:1", "http://10.1.2.3:1"),
        ];
        for (listen, url) in table {
            assert_eq!(config(listen).url(), url);
        }
    }
}
