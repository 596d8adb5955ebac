//! Asks for the addresses of one name: in the hosts file, then at the name servers, along the search list.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::time::Duration;

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::system_conf::parse_resolv_conf;
use hickory_resolver::{Resolver, TokioResolver};
use tokio::time::{Instant, timeout};

use super::files::system_file;
use super::names::{Family, Finding};

/// The deadline of one query to one name server, and how often the query is sent.
const QUERY_TIMEOUT: Duration = Duration::from_secs(2);
const QUERY_ATTEMPTS: usize = 2;
/// The deadline of one question, along the whole search list.
const QUESTION_MAX: Duration = Duration::from_secs(20);

/// The files of the system that say who knows names.
const RESOLV_CONF: &str = "/etc/resolv.conf";
const HOSTS: &str = "/etc/hosts";

/// The contents of these files; an error in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SystemFiles {
    resolv_conf: Result<Vec<u8>, String>,
    hosts: Result<Vec<u8>, String>,
}

impl SystemFiles {
    /// Reads both. It blocks.
    pub(super) fn read() -> Self {
        let read = |path: &str| system_file(Path::new(path)).map_err(|error| format!("cannot read {path}: {error}"));
        Self { resolv_conf: read(RESOLV_CONF), hosts: read(HOSTS) }
    }
}

impl SystemFiles {
    /// Neither can be read.
    pub(super) fn unreadable(why: &str) -> Self {
        Self { resolv_conf: Err(why.to_owned()), hosts: Err(why.to_owned()) }
    }
}

/// Who is asked for names.
pub(super) struct Directory {
    hosts: HashMap<String, Vec<IpAddr>>,
    servers: Result<Servers, String>,
}

/// Name servers, and what is put behind names.
struct Servers {
    resolver: TokioResolver,
    search: Vec<Name>,
    /// A name with so many dots is asked for as it is first.
    dots: usize,
}

/// What asking has brought, and for how long it holds.
pub(super) struct Heard {
    pub(super) finding: Finding,
    pub(super) lives_for: Option<Duration>,
}

impl Directory {
    /// Asks `servers`, or those of the system if there are none.
    pub(super) fn new(servers: &[SocketAddr], files: &SystemFiles) -> Self {
        let hosts = files.hosts.as_deref().map(|text| hosts(&String::from_utf8_lossy(text))).unwrap_or_default();
        let servers = if servers.is_empty() {
            files.resolv_conf.as_deref().map_err(Clone::clone).and_then(|text| {
                let parsed = parse_resolv_conf(text).map_err(|error| format!("{RESOLV_CONF}: {error}"));
                parsed.and_then(|(config, options)| Servers::new(config, options))
            })
        } else {
            let servers = servers.iter().map(|server| name_server(*server)).collect();
            Servers::new(ResolverConfig::from_name_servers(servers), ResolverOpts::default())
        };
        Self { hosts, servers }
    }

    /// Why no name server can be asked, if that is so.
    pub(super) fn problem(&self) -> Option<&str> {
        self.servers.as_ref().err().map(String::as_str)
    }

    /// Asks for the addresses of one family of `host`, which is absolute if it ends with a dot.
    pub(super) async fn ask(&self, host: &str, family: Family) -> Heard {
        let bare = host.trim_end_matches('.');
        if let Some(addresses) = self.hosts.get(bare) {
            return Heard::own(addresses.iter().copied(), family);
        }
        // RFC 6761 section 6.3
        if bare == "localhost" || bare.ends_with(".localhost") {
            return Heard::own(loopback(), family);
        }
        match &self.servers {
            Err(why) => Heard { finding: Finding::Unknown(why.clone()), lives_for: None },
            Ok(servers) => timeout(QUESTION_MAX, servers.ask(host, family)).await.unwrap_or_else(|_| {
                let why = format!("no answer for any name of the search list within {QUESTION_MAX:?}");
                Heard { finding: Finding::Unknown(why), lives_for: None }
            }),
        }
    }
}

impl Heard {
    /// What needs no name server.
    fn own(addresses: impl Iterator<Item = IpAddr>, family: Family) -> Self {
        let finding = finding(addresses.filter(|address| address.is_ipv6() == (family == Family::V6)));
        Self { finding, lives_for: Some(Duration::MAX) }
    }
}

fn finding(addresses: impl Iterator<Item = IpAddr>) -> Finding {
    let mut addresses: Vec<IpAddr> = addresses.map(|address| address.to_canonical()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    if addresses.is_empty() { Finding::Denied } else { Finding::Addresses(addresses) }
}

impl Servers {
    fn new(config: ResolverConfig, mut options: ResolverOpts) -> Result<Self, String> {
        // A query is sent when the records have expired. A cache below would only delay it.
        options.cache_size = 0;
        options.use_hosts_file = ResolveHosts::Never;
        options.timeout = QUERY_TIMEOUT;
        options.attempts = QUERY_ATTEMPTS;
        let search = match config.search() {
            [] => config.domain().cloned().into_iter().collect(),
            search => search.to_vec(),
        };
        let dots = options.ndots;
        let mut builder = Resolver::builder_with_config(config, TokioRuntimeProvider::default());
        *builder.options_mut() = options;
        let resolver = builder.build().map_err(|error| format!("cannot set up name resolution: {error}"))?;
        Ok(Self { resolver, search, dots })
    }

    /// Asks along the search list. A name that does not exist is followed by the next one. It exists nowhere only if
    /// everybody has said so: when one could not be asked, nothing is known.
    async fn ask(&self, host: &str, family: Family) -> Heard {
        let mut unknown = None;
        let mut denied_for: Option<Duration> = None;
        let names = match candidates(host, &self.search, self.dots) {
            Ok(names) => names,
            Err(why) => return Heard { finding: Finding::Unknown(why), lives_for: None },
        };
        for name in names {
            let heard = self.ask_for(name, family).await;
            match heard.finding {
                Finding::Addresses(_) => return heard,
                Finding::Denied => denied_for = denied_for.into_iter().chain(heard.lives_for).min(),
                Finding::Unknown(why) => unknown = Some(why),
            }
        }
        match unknown {
            Some(why) => Heard { finding: Finding::Unknown(why), lives_for: None },
            None => Heard { finding: Finding::Denied, lives_for: denied_for },
        }
    }

    async fn ask_for(&self, name: Name, family: Family) -> Heard {
        let record_type = if family == Family::V4 { RecordType::A } else { RecordType::AAAA };
        match self.resolver.lookup(name, record_type).await {
            Ok(lookup) => {
                let lives_for = Instant::from_std(lookup.valid_until()).saturating_duration_since(Instant::now());
                let addresses = lookup.answers().iter().filter_map(|record| match &record.data {
                    RData::A(address) => Some(IpAddr::V4(address.0)),
                    RData::AAAA(address) => Some(IpAddr::V6(address.0)),
                    _ => None,
                });
                Heard { finding: finding(addresses), lives_for: Some(lives_for) }
            }
            Err(NetError::Dns(DnsError::NoRecordsFound(none))) => {
                let lives_for = none.negative_ttl.map(|seconds| Duration::from_secs(seconds.into()));
                Heard { finding: Finding::Denied, lives_for }
            }
            Err(error) => Heard { finding: Finding::Unknown(error.to_string()), lives_for: None },
        }
    }
}

/// The names that `host` may mean, in the order in which they are asked for.
fn candidates(host: &str, search: &[Name], dots: usize) -> Result<Vec<Name>, String> {
    // Not as UTF-8: that would refuse an underscore within a label.
    let name = Name::from_ascii(host).map_err(|error| format!("{host}: {error}"))?;
    let mut absolute = name.clone();
    absolute.set_fqdn(true);
    if name.is_fqdn() {
        return Ok(vec![absolute]);
    }
    let searched = search.iter().filter_map(|domain| name.clone().append_domain(domain).ok());
    let searched = searched.map(|mut name| {
        name.set_fqdn(true);
        name
    });
    let is_absolute_first = usize::from(name.num_labels()) > dots;
    Ok(if is_absolute_first {
        std::iter::once(absolute).chain(searched).collect()
    } else {
        searched.chain([absolute]).collect()
    })
}

/// The names of a hosts file (hosts(5)), in lower case.
fn hosts(text: &str) -> HashMap<String, Vec<IpAddr>> {
    let mut hosts: HashMap<String, Vec<IpAddr>> = HashMap::new();
    for line in text.lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let Some(Ok(address)) = words.next().map(str::parse::<IpAddr>) else { continue };
        for name in words {
            hosts.entry(name.trim_end_matches('.').to_ascii_lowercase()).or_default().push(address);
        }
    }
    hosts
}

/// The addresses of this machine that only it can reach. Without IPv6 there is only one.
fn loopback() -> impl Iterator<Item = IpAddr> {
    let has_v6 = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    let v6 = has_v6.then_some(IpAddr::V6(Ipv6Addr::LOCALHOST));
    std::iter::once(IpAddr::V4(Ipv4Addr::LOCALHOST)).chain(v6)
}

fn name_server(address: SocketAddr) -> NameServerConfig {
    let at_port = |mut connection: ConnectionConfig| {
        connection.port = address.port();
        connection
    };
    let connections = vec![at_port(ConnectionConfig::udp()), at_port(ConnectionConfig::tcp())];
    NameServerConfig::new(address.ip(), true, connections)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_searched_for_unless_they_are_absolute() {
        let search = ["shop.svc.", "svc."].map(|domain| Name::from_ascii(domain).unwrap());
        for (host, dots, expected) in [
            ("app", 1, &["app.shop.svc.", "app.svc.", "app."][..]),
            ("app.shop", 1, &["app.shop.", "app.shop.shop.svc.", "app.shop.svc."]),
            ("app.shop", 5, &["app.shop.shop.svc.", "app.shop.svc.", "app.shop."]),
            ("app.shop.", 5, &["app.shop."]),
            ("app.", 1, &["app."]),
            ("my_app._tcp", 1, &["my_app._tcp.", "my_app._tcp.shop.svc.", "my_app._tcp.svc."]),
        ] {
            let names: Vec<String> =
                candidates(host, &search, dots).unwrap().iter().map(|name| name.to_ascii()).collect();
            assert_eq!(names, expected, "{host}");
        }
    }

    #[test]
    fn a_hosts_file_is_read_as_the_system_does() {
        let hosts =
            hosts("127.0.0.1\tlocalhost # 1.2.3.4 no\n\n10.0.0.1 App.internal app\nbad x\n::1 localhost\n10.0.0.2 app");
        let of = |name: &str| hosts.get(name).map(|ips| ips.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(of("app.internal"), Some(vec!["10.0.0.1".into()]));
        assert_eq!(of("app"), Some(vec!["10.0.0.1".into(), "10.0.0.2".into()]));
        assert_eq!(of("localhost"), Some(vec!["127.0.0.1".into(), "::1".into()]));
        assert_eq!((of("x"), of("no")), (None, None));
    }

    #[tokio::test]
    async fn localhost_needs_no_name_server() {
        let none = || Err("cannot read".to_owned());
        let directory = Directory::new(&[], &SystemFiles { resolv_conf: none(), hosts: none() });
        for host in ["localhost", "localhost.", "a.localhost"] {
            let heard = directory.ask(host, Family::V4).await;
            assert_eq!(heard.finding, Finding::Addresses(vec![[127, 0, 0, 1].into()]), "{host}");
        }
        let heard = directory.ask("app", Family::V4).await;
        assert_eq!(heard.finding, Finding::Unknown("cannot read".into()));
    }
}
