//! Config and previous snapshot to next snapshot. Pure but for the atomics it carries over.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::time::Instant;

use super::capacity::capacity;
use super::names::Names;
use super::overrides::Overrides;
use super::plans::{errors, limiters, plans};
use crate::access_log::Layout;
use crate::config::address::Address;
use crate::config::model::{self, BackendAddress, BackendState, Config};
use crate::pool::endpoint::Endpoint;
use crate::pool::health::{Health, Machine};
use crate::pool::protocol::PoolProtocol;
use crate::pool::{Member, MemberState, Pool, PoolShared};
use crate::resources::Resources;
use crate::snapshot::Snapshot;
use crate::snapshot::plan::Pages;
use crate::snapshot::routes::Routes;

/// The protocol and TLS settings of each pool's endpoints.
pub(crate) type Protocols = BTreeMap<String, PoolProtocol>;

/// What a snapshot is made of, besides the config and the addresses of names.
#[derive(Debug, Clone, Default)]
pub(crate) struct Material {
    pub(crate) protocols: Protocols,
    pub(crate) pages: Arc<Pages>,
    /// What operators have set over what the config says.
    pub(crate) overrides: Arc<Overrides>,
}

/// Reads the TLS files of each pool; keeps what has not changed since `before`.
///
/// # Errors
/// The pool, the file that is not usable, and why.
pub(crate) fn protocols(config: &Config, before: &Protocols) -> Result<Protocols, String> {
    let load = |(name, pool): (&String, &model::Pool)| {
        let protocol = PoolProtocol::load(pool.protocol, &pool.tls, before.get(name));
        protocol.map(|protocol| (name.clone(), protocol)).map_err(|why| format!("pool {name}: {why}"))
    };
    config.pools.iter().map(load).collect()
}

/// Builds the snapshot for `config`. Endpoints that `previous` knows by (pool, address) are carried over as they are.
pub(crate) fn build(
    config: &Config,
    names: &Names,
    Material { protocols, pages, overrides }: &Material,
    previous: Option<&Snapshot>,
    workers: usize,
    resources: &Resources,
) -> Snapshot {
    let former: HashMap<&str, &Arc<Pool>> =
        previous.iter().flat_map(|snapshot| snapshot.pools.iter().map(|pool| (&*pool.name, pool))).collect();
    let pools: Box<[Arc<Pool>]> = config
        .pools
        .iter()
        .map(|(name, pool)| {
            let before = former.get(name.as_str()).copied();
            let protocol = protocols.get(name).cloned().unwrap_or(PoolProtocol::Http1);
            Arc::new(build_pool((name, pool), protocol, (names, overrides), before, workers))
        })
        .collect();
    let known = previous.filter(|previous| previous.routes.list() == config.routes);
    let routes = match known {
        Some(known) => Arc::clone(&known.routes),
        None => Arc::new(Routes::new(config.routes.as_slice().into())),
    };
    let (timeouts, limits) = (config.timeouts.clone(), config.limits.clone());
    let is_same = |known: &&Snapshot| {
        let names = known.pools.iter().map(|pool| &*pool.name).eq(pools.iter().map(|pool| &*pool.name));
        names && known.pages == *pages && known.timeouts == timeouts && known.limits == limits
    };
    // So that a new address of a name does not begin the round of a split anew.
    let (plans, limiters) = match known.filter(is_same) {
        Some(known) => (Arc::clone(&known.plans), Arc::clone(&known.limiters)),
        None => {
            let limiters = limiters(config, previous.map(|previous| &*previous.limiters), workers);
            (plans(config, pages, &limiters), Arc::new(limiters))
        }
    };
    let access_log = config.log.access.as_ref().map(|log| Arc::new(Layout::new(log)));
    let (errors, explain) = (errors(config, pages), config.explain);
    let traces = config.traces.endpoint.is_some().then(|| Arc::new(config.traces.clone()));
    let (pages, capacity) = (Arc::clone(pages), capacity(config, resources));
    Snapshot { routes, plans, errors, limiters, pages, pools, timeouts, limits, capacity, access_log, explain, traces }
}

fn build_pool(
    (name, config): (&str, &model::Pool),
    protocol: PoolProtocol,
    (names, overrides): (&Names, &Overrides),
    before: Option<&Arc<Pool>>,
    workers: usize,
) -> Pool {
    let name: Arc<str> = before.map_or_else(|| name.into(), |pool| Arc::clone(&pool.name));
    let shared = before.map_or_else(|| Arc::new(PoolShared::new(workers)), |pool| Arc::clone(&pool.shared));
    let known = before.map(|pool| Known::of(&pool.members)).unwrap_or_default();
    let mut members: Vec<Member> = Vec::new();
    let mut taken: HashSet<Address> = HashSet::new();
    for backend in &config.backends {
        let backend_name: Arc<str> = backend.address.to_string().into();
        for address in addresses(&backend.address, names) {
            if !taken.insert(address.clone()) {
                continue;
            }
            let set = overrides.of(&name, &address);
            let state = MemberState::from(set.and_then(|set| set.state).unwrap_or(backend.state));
            let weight = set.and_then(|set| set.weight).unwrap_or(backend.weight);
            let endpoint = known_endpoint(config, &known, &address, state)
                .unwrap_or_else(|| new_endpoint(config, before, &name, &shared, address, workers));
            let (backend, weight) = (Arc::clone(&backend_name), u32::from(weight));
            members.push(Member { endpoint, backend, weight, state });
        }
    }
    if config.reload_guard {
        members.extend(held(config, &members, names, before));
    }
    let kept = Known::of(&members);
    for member in before.iter().flat_map(|pool| pool.members.iter()).filter(|member| !kept.has(member)) {
        shared.remove(&member.endpoint);
    }
    Pool::new(name, config, protocol, members, shared)
}

/// The members of a pool by their address.
#[derive(Default)]
struct Known<'a>(HashMap<&'a Address, &'a Member>);

impl<'a> Known<'a> {
    fn of(members: &'a [Member]) -> Self {
        Self(members.iter().map(|member| (&member.endpoint.address, member)).collect())
    }

    /// Whether the same endpoint is among them.
    fn has(&self, member: &Member) -> bool {
        let found = self.0.get(&member.endpoint.address);
        found.is_some_and(|found| Arc::ptr_eq(&found.endpoint, &member.endpoint))
    }
}

/// The health of an endpoint until its first probe.
fn unprobed(config: &model::Pool) -> Health {
    if config.health.is_some() { Health::Unchecked } else { Health::Healthy }
}

/// The endpoint of this address, if the pool has it already.
fn known_endpoint(
    config: &model::Pool,
    known: &Known<'_>,
    address: &Address,
    state: MemberState,
) -> Option<Arc<Endpoint>> {
    let member = known.0.get(address)?;
    // An endpoint that was down was not probed: what was known of it then says nothing now.
    let was_left_alone = member.state == MemberState::Down && state != MemberState::Down;
    if config.health.is_none() || was_left_alone {
        member.endpoint.update_health(|machine| *machine = Machine::new(unprobed(config)));
    }
    Some(Arc::clone(&member.endpoint))
}

/// An endpoint that the pool gets, or gets back with its counters.
fn new_endpoint(
    config: &model::Pool,
    before: Option<&Arc<Pool>>,
    name: &Arc<str>,
    shared: &PoolShared,
    address: Address,
    workers: usize,
) -> Arc<Endpoint> {
    let endpoint = shared
        .take_back(&address)
        .unwrap_or_else(|| Arc::new(Endpoint::new(Arc::clone(name), address, unprobed(config), workers)));
    endpoint.update_health(|machine| *machine = Machine::new(unprobed(config)));
    // An endpoint that is probed begins with its first pass.
    if let (Some(pool), None) = (before, &config.health) {
        pool.recovered(&endpoint, Instant::now());
    }
    endpoint
}

fn addresses(address: &BackendAddress, names: &Names) -> Vec<Address> {
    match address {
        BackendAddress::Socket(address) => vec![Address::Tcp(*address)],
        BackendAddress::Unix(file) => vec![Address::Unix(Arc::clone(file))],
        BackendAddress::Name { host, port } => {
            names.addresses(host).map(|ip| SocketAddr::new(ip, *port).into()).collect()
        }
    }
}

/// The reload guard: what to keep of the endpoints that an edit removes.
///
/// If no new member is known to be healthy, the healthy members that the edit removes go on serving until one new
/// member has passed its check. The same holds while a name has no addresses yet, with or without a check. An edit that
/// stops the whole pool (all drained or down) is obeyed. What operators have set is no such edit: they have stopped
/// single endpoints, and not those that are held. An address that its name has given up is not held: it may be somebody
/// else's by now.
fn held(config: &model::Pool, members: &[Member], names: &Names, before: Option<&Arc<Pool>>) -> Vec<Member> {
    let wants_any = members.iter().any(|member| member.state == MemberState::Ready)
        || config.backends.iter().any(|backend| backend.state == BackendState::Ready);
    let any_healthy = members.iter().any(|m| m.state == MemberState::Ready && m.endpoint.health() == Health::Healthy);
    if !wants_any || any_healthy {
        return Vec::new();
    }
    let kept = Known::of(members);
    let removed = |member: &&Member| !kept.has(member);
    let serving = |member: &&Member| {
        matches!(member.state, MemberState::Ready | MemberState::Held) && member.endpoint.health() == Health::Healthy
    };
    let given_up = |member: &&Member| {
        let host = member.backend.rsplit_once(':').map_or(&*member.backend, |(host, _)| host);
        member.endpoint.address.tcp().is_some_and(|address| names.has_given_up(host, address.ip()))
    };
    let hold = |member: &Member| Member {
        endpoint: Arc::clone(&member.endpoint),
        backend: Arc::clone(&member.backend),
        weight: member.weight,
        state: MemberState::Held,
    };
    let former = before.iter().flat_map(|pool| pool.members.iter());
    former.filter(removed).filter(serving).filter(|member| !given_up(member)).map(hold).collect()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::super::names::{Family, Finding, News, Resolution};
    use super::super::overrides::Setting;
    use super::*;

    fn build(config: &Config, names: &Names, previous: Option<&Snapshot>, workers: usize) -> Snapshot {
        super::build(config, names, &Material::default(), previous, workers, &Resources::BOUNDLESS)
    }

    fn config(backends: &str) -> Config {
        let text = format!(
            "listen.web.address = '127.0.0.1:0'\npool.app = {{ backends = [{backends}], health = {{ path = '/' }} }}\n"
        );
        crate::config::parse("test.toml", &text).unwrap()
    }

    fn states(snapshot: &Snapshot) -> Vec<(u16, &'static str)> {
        snapshot.pools[0].members.iter().map(|m| (m.endpoint.address.tcp().unwrap().port(), m.state.name())).collect()
    }

    fn pass(snapshot: &Snapshot, port: u16) {
        let check = snapshot.pools[0].config.health.clone().unwrap();
        let member =
            snapshot.pools[0].members.iter().find(|m| m.endpoint.address.tcp().unwrap().port() == port).unwrap();
        member.endpoint.update_health(|machine| machine.observe(Ok(()), &check, SystemTime::UNIX_EPOCH));
    }

    #[test]
    fn an_endpoint_keeps_its_identity() {
        let first = build(&config(r#""127.0.0.1:1", "127.0.0.1:2""#), &Names::default(), None, 1);
        first.pools[0].members[1].endpoint.begin();
        pass(&first, 2);
        let second = build(&config(r#""127.0.0.1:2", "127.0.0.1:3""#), &Names::default(), Some(&first), 1);
        let kept = &second.pools[0].members[0].endpoint;
        assert!(Arc::ptr_eq(kept, &first.pools[0].members[1].endpoint));
        assert_eq!((kept.in_flight(), kept.health()), (1, Health::Healthy));
        assert_eq!(second.pools[0].members[1].endpoint.health(), Health::Unchecked);
        assert!(Arc::ptr_eq(&second.pools[0].shared, &first.pools[0].shared));
    }

    #[test]
    fn the_guard_holds_what_served_until_a_new_one_passes() {
        let first = build(&config(r#""127.0.0.1:1", "127.0.0.1:2""#), &Names::default(), None, 1);
        pass(&first, 1);
        pass(&first, 2);
        let next = config(r#""127.0.0.1:3", "127.0.0.1:4""#);
        let second = build(&next, &Names::default(), Some(&first), 1);
        assert_eq!(states(&second), [(3, "ready"), (4, "ready"), (1, "held"), (2, "held")]);
        assert!(!second.pools[0].can_release_held());
        let again = build(&next, &Names::default(), Some(&second), 1);
        assert_eq!(states(&again).len(), 4, "building again changes nothing while none has passed");
        pass(&second, 4);
        assert!(second.pools[0].can_release_held());
        let third = build(&next, &Names::default(), Some(&second), 1);
        assert_eq!(states(&third), [(3, "ready"), (4, "ready")]);
    }

    #[test]
    fn the_guard_holds_only_what_is_healthy() {
        let first = build(&config(r#""127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3""#), &Names::default(), None, 1);
        pass(&first, 1);
        pass(&first, 2);
        let check = first.pools[0].config.health.clone().unwrap();
        let failing = &first.pools[0].members[1].endpoint;
        let fail = |machine: &mut Machine| machine.observe(Err("gone".to_owned()), &check, SystemTime::UNIX_EPOCH);
        (0..check.fall).for_each(|_| _ = failing.update_health(fail));
        assert_eq!(failing.health(), Health::Unhealthy);
        let second = build(&config(r#""127.0.0.1:9""#), &Names::default(), Some(&first), 1);
        assert_eq!(states(&second), [(9, "ready"), (1, "held")]);
    }

    #[test]
    fn the_guard_lets_go_when_told_to() {
        let first = build(&config(r#""127.0.0.1:1""#), &Names::default(), None, 1);
        pass(&first, 1);
        let partly = build(&config(r#""127.0.0.1:1", "127.0.0.1:2""#), &Names::default(), Some(&first), 1);
        assert_eq!(states(&partly), [(1, "ready"), (2, "ready")], "a healthy one is left: nothing to guard");
        let drained =
            build(&config(r#"{ address = "127.0.0.1:9", state = "down" }"#), &Names::default(), Some(&first), 1);
        assert_eq!(states(&drained), [(9, "down")]);
        let mut unguarded = config(r#""127.0.0.1:2""#);
        unguarded.pools.get_mut("app").unwrap().reload_guard = false;
        assert_eq!(states(&build(&unguarded, &Names::default(), Some(&first), 1)), [(2, "ready")]);
    }

    #[test]
    fn the_guard_holds_whatever_operators_have_set_of_the_new_ones() {
        let first = build(&config(r#""127.0.0.1:1", "127.0.0.1:2""#), &Names::default(), None, 1);
        pass(&first, 1);
        pass(&first, 2);
        let drained = |previous: &Snapshot, port: u16| {
            let next = config(&format!("'127.0.0.1:{port}'"));
            let (mut overrides, drain) = (Overrides::default(), Setting::State(BackendState::Drain));
            let target = ("app", &Address::from(([127, 0, 0, 1], port)), &next.pools["app"].backends[0]);
            overrides.set(target, drain, ("unix", SystemTime::UNIX_EPOCH)).unwrap();
            let material = Material { overrides: overrides.into(), ..Material::default() };
            super::build(&next, &Names::default(), &material, Some(previous), 1, &Resources::BOUNDLESS)
        };
        let second = build(&config("'127.0.0.1:9'"), &Names::default(), Some(&first), 1);
        let third = drained(&second, 9);
        assert_eq!(states(&third), [(9, "drain"), (1, "held"), (2, "held")], "a new one is drained");
        assert!(!third.pools[0].can_release_held());
        let third = drained(&first, 2);
        assert_eq!(states(&third), [(2, "drain"), (1, "held")], "an edit leaves only one that is drained");
    }

    #[test]
    fn what_is_set_of_an_address_holds_whichever_entry_comes_first() {
        let config = config("'localhost:1', '127.0.0.1:1'");
        let names = Names::of("localhost", &[[127, 0, 0, 1].into()]);
        let (mut overrides, drain) = (Overrides::default(), Setting::State(BackendState::Drain));
        let target = ("app", &Address::from(([127, 0, 0, 1], 1)), &config.pools["app"].backends[1]);
        overrides.set(target, drain, ("unix", SystemTime::UNIX_EPOCH)).unwrap();
        let material = Material { overrides: overrides.into(), ..Material::default() };
        let snapshot = super::build(&config, &names, &material, None, 1, &Resources::BOUNDLESS);
        assert_eq!(states(&snapshot), [(1, "drain")]);
    }

    #[test]
    fn the_guard_holds_until_a_name_has_addresses() {
        let first = build(&config(r#""127.0.0.1:1""#), &Names::default(), None, 1);
        pass(&first, 1);
        let mut next = config(r#""app.internal:80""#);
        assert_eq!(states(&build(&next, &Names::default(), Some(&first), 1)), [(1, "held")]);
        next.pools.get_mut("app").unwrap().health = None;
        let second = build(&next, &Names::default(), Some(&first), 1);
        assert_eq!(states(&second), [(1, "held")]);
        let names = Names::of("app.internal", &[[10, 0, 0, 1].into()]);
        assert_eq!(states(&build(&next, &names, Some(&second), 1)), [(80, "ready")]);
    }

    #[test]
    fn the_guard_does_not_hold_what_its_name_has_given_up() {
        let config = config(r#""app.internal:80""#);
        let mut names = Names::of("app.internal", &[[10, 0, 0, 1].into()]);
        let first = build(&config, &names, None, 1);
        pass(&first, 80);
        let mut denied = || {
            let (host, finding) = ("app.internal".to_owned(), Finding::Denied);
            let resolution = Resolution { host, family: Family::V4, finding };
            names.learn(resolution, Instant::now(), Duration::ZERO, |_, _| false)
        };
        assert_eq!(denied(), News::GivenUp(vec![[10, 0, 0, 1].into()]));
        assert_eq!(states(&build(&config, &names, Some(&first), 1)), []);
    }

    #[test]
    fn an_endpoint_that_was_down_must_pass_again() {
        let up = config(r#""127.0.0.1:1""#);
        let first = build(&up, &Names::default(), None, 1);
        pass(&first, 1);
        let down = config(r#"{ address = "127.0.0.1:1", state = "down" }"#);
        let second = build(&down, &Names::default(), Some(&first), 1);
        assert_eq!(second.pools[0].members[0].endpoint.health(), Health::Healthy);
        let third = build(&up, &Names::default(), Some(&second), 1);
        assert_eq!(third.pools[0].members[0].endpoint.health(), Health::Unchecked);
    }

    #[test]
    fn a_name_becomes_one_endpoint_per_address() {
        let names = Names::of("app.internal", &[[10, 0, 0, 1].into(), [10, 0, 0, 2].into()]);
        let snapshot = build(&config(r#""app.internal:80", "10.0.0.2:80""#), &names, None, 1);
        let addresses: Vec<String> = snapshot.pools[0].members.iter().map(|m| m.endpoint.address.to_string()).collect();
        assert_eq!(addresses, ["10.0.0.1:80", "10.0.0.2:80"], "an address that is named twice counts once");
    }
}
