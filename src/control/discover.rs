//! Resolves backend names to addresses, again whenever their records expire.
//!
//! This runs on the control thread. If a name cannot be resolved, or has no addresses, nothing changes: the addresses
//! of the last good response stay in use.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::config::{ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::{Resolver, TokioResolver};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{Instant, sleep};

/// A name is resolved again when its records expire (their TTL, RFC 1035 section 3.2.1), within these bounds.
const TTL_MIN: Duration = Duration::from_secs(1);
const TTL_MAX: Duration = Duration::from_secs(30);
/// The pause after a failed resolution.
const RETRY_PAUSE: Duration = Duration::from_secs(2);
/// The deadline of one query to one name server, and how often the query is sent.
const QUERY_TIMEOUT: Duration = Duration::from_secs(2);
const QUERY_ATTEMPTS: usize = 2;
/// The most results that wait for the control thread.
const ANSWERS_MAX: usize = 64;

/// The new addresses of a name.
#[derive(Debug)]
pub(crate) struct Resolution {
    /// The name.
    pub(crate) host: String,
    /// Its addresses: sorted, never empty.
    pub(crate) addresses: Vec<IpAddr>,
}

/// The tasks that resolve names, one per name.
pub(crate) struct Discovery {
    resolver: TokioResolver,
    servers: Vec<SocketAddr>,
    tasks: HashMap<String, Task>,
    answers: mpsc::Sender<Resolution>,
}

struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Discovery {
    /// Queries `servers`, or the name servers of the system if there are none. Results come through the returned
    /// channel.
    ///
    /// # Errors
    /// The resolver configuration of the system cannot be read.
    pub(crate) fn new(servers: &[SocketAddr]) -> Result<(Self, mpsc::Receiver<Resolution>), String> {
        let (answers, receiver) = mpsc::channel(ANSWERS_MAX);
        let discovery =
            Self { resolver: resolver(servers)?, servers: servers.to_vec(), tasks: HashMap::new(), answers };
        Ok((discovery, receiver))
    }

    /// Resolves exactly these names from now on. If `servers` has changed, every name is resolved afresh.
    ///
    /// # Errors
    /// The resolver configuration of the system cannot be read. Nothing changes then.
    pub(crate) fn sync(&mut self, names: &BTreeSet<String>, servers: &[SocketAddr]) -> Result<(), String> {
        if self.servers != servers {
            self.resolver = resolver(servers)?;
            self.servers = servers.to_vec();
            self.tasks.clear();
        }
        self.tasks.retain(|name, _| names.contains(name));
        for name in names {
            let start = || Task(spawn_local(follow(self.resolver.clone(), name.clone(), self.answers.clone())));
            self.tasks.entry(name.clone()).or_insert_with(start);
        }
        Ok(())
    }
}

fn resolver(servers: &[SocketAddr]) -> Result<TokioResolver, String> {
    let failed = |error: &dyn std::fmt::Display| format!("cannot set up name resolution: {error}");
    let mut builder = if servers.is_empty() {
        Resolver::builder_tokio().map_err(|error| failed(&error))?
    } else {
        let config = ResolverConfig::from_name_servers(servers.iter().map(|server| name_server(*server)).collect());
        Resolver::builder_with_config(config, TokioRuntimeProvider::default())
    };
    let options = builder.options_mut();
    // A query is sent when the records have expired. A cache below would only delay it.
    options.cache_size = 0;
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    options.timeout = QUERY_TIMEOUT;
    options.attempts = QUERY_ATTEMPTS;
    builder.build().map_err(|error| failed(&error))
}

fn name_server(address: SocketAddr) -> NameServerConfig {
    let at_port = |mut connection: ConnectionConfig| {
        connection.port = address.port();
        connection
    };
    let connections = vec![at_port(ConnectionConfig::udp()), at_port(ConnectionConfig::tcp())];
    NameServerConfig::new(address.ip(), true, connections)
}

/// Resolves one name until the task is aborted, and reports every change.
async fn follow(resolver: TokioResolver, host: String, answers: mpsc::Sender<Resolution>) {
    let mut known = Vec::new();
    let mut is_failing = false;
    loop {
        let pause = match resolver.lookup_ip(host.as_str()).await {
            Ok(lookup) => {
                is_failing = false;
                let addresses: BTreeSet<IpAddr> = lookup.iter().collect();
                let addresses: Vec<IpAddr> = addresses.into_iter().collect();
                if !addresses.is_empty() && addresses != known {
                    known.clone_from(&addresses);
                    answers.send(Resolution { host: host.clone(), addresses }).await.ok();
                }
                let lives_until = Instant::from_std(lookup.valid_until());
                lives_until.saturating_duration_since(Instant::now()).clamp(TTL_MIN, TTL_MAX)
            }
            Err(error) => {
                if !std::mem::replace(&mut is_failing, true) {
                    let kept = known.len();
                    tracing::warn!(%host, %error, "cannot resolve a backend; its last {kept} addresses stay in use");
                }
                RETRY_PAUSE
            }
        };
        sleep(pause).await;
    }
}
