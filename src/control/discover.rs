//! Backend names to addresses, again and again, as long as their records live.
//!
//! Runs on the control plane. A name that cannot be resolved, or resolves to nothing, changes nothing: the last good
//! answer stays.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::config::{ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::{Resolver, TokioResolver};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{Instant, sleep};

/// A name is asked for again after the time to live of its records, within these bounds.
const TTL_MIN: Duration = Duration::from_secs(1);
const TTL_MAX: Duration = Duration::from_secs(30);
/// Pause after a failure.
const RETRY_PAUSE: Duration = Duration::from_secs(2);
/// Deadline of one question to one name server, and how often it is asked.
const QUERY_TIMEOUT: Duration = Duration::from_secs(2);
const QUERY_ATTEMPTS: usize = 2;
/// Answers that wait for the control plane at most.
const ANSWERS_MAX: usize = 64;

/// A name has new addresses.
#[derive(Debug)]
pub(crate) struct Resolution {
    /// The name.
    pub(crate) host: String,
    /// Its addresses, sorted, never empty.
    pub(crate) addresses: Vec<IpAddr>,
}

/// The resolving tasks, one per name.
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
    /// Asks `servers`, or those of the system if there are none. Answers come through the returned channel.
    ///
    /// # Errors
    /// When the system's resolver configuration cannot be read.
    pub(crate) fn new(servers: &[SocketAddr]) -> Result<(Self, mpsc::Receiver<Resolution>), String> {
        let (answers, receiver) = mpsc::channel(ANSWERS_MAX);
        let discovery =
            Self { resolver: resolver(servers)?, servers: servers.to_vec(), tasks: HashMap::new(), answers };
        Ok((discovery, receiver))
    }

    /// Resolves these names from now on, and no others. Other `servers` than before start every name afresh.
    ///
    /// # Errors
    /// When the system's resolver configuration cannot be read; then nothing changes.
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
    // We ask when the records have died; a second cache below would only make that late.
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

/// Resolves one name until aborted, and reports every change.
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
