//! What an edit has changed, in words: as the file would say it before and after.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::config::address::Address;
use crate::config::{Change, Config, Listener, Route};
use crate::pool::{Member, MemberState, Pool};
use crate::snapshot::Snapshot;

/// The keys that hold for the whole process.
pub(super) fn settings(before: &Config, next: &Config) -> Vec<String> {
    before.changes(next).iter().map(Change::to_string).collect()
}

/// What is different between two snapshots: pools, their endpoints and keys, and routes.
pub(super) fn differences(before: &Snapshot, next: &Snapshot) -> Vec<String> {
    let mut changes = Vec::new();
    let by_name = |pools: &[Arc<Pool>]| -> HashMap<Arc<str>, Arc<Pool>> {
        pools.iter().map(|pool| (Arc::clone(&pool.name), Arc::clone(pool))).collect()
    };
    let (former, present) = (by_name(&before.pools), by_name(&next.pools));
    for pool in &next.pools {
        match former.get(&pool.name) {
            Some(old) => {
                let parts = pool_changes(old, pool);
                changes.extend((!parts.is_empty()).then(|| format!("pool {}: {}", pool.name, parts.join(", "))));
            }
            None => changes.push(format!("pool {} is new with {} endpoints", pool.name, pool.members.len())),
        }
    }
    let gone = before.pools.iter().filter(|pool| !present.contains_key(&pool.name));
    changes.extend(gone.map(|pool| format!("pool {} is gone", pool.name)));
    let has_new_pages = before.pages != next.pages;
    changes.extend(has_new_pages.then(|| "new contents in the files of responses".to_owned()));
    changes.extend(route_changes(before.routes.list(), next.routes.list()));
    changes
}

/// What is different about a listener that keeps its address.
pub(super) fn listener(before: &Listener, next: &Listener) -> Option<String> {
    let mut parts: Vec<String> = before.changes(next).iter().map(Change::to_string).collect();
    parts.extend((before.name != next.name).then(|| format!("is called {} now", next.name)));
    (!parts.is_empty()).then(|| format!("listener {}: {}", before.name, parts.join(", ")))
}

fn pool_changes(before: &Pool, next: &Pool) -> Vec<String> {
    let mut parts = member_changes(&before.members, &next.members);
    let has_named_members = !parts.is_empty();
    let keys = before.config.changes(&next.config);
    let has_new_tls = !before.protocol.is_same(&next.protocol);
    let has_named_tls = keys.iter().any(|change| change.key == "protocol" || change.key.starts_with("tls."));
    // The endpoints say more than the list of backends, unless only its order is new, or a name for the same addresses.
    let keys = keys.into_iter().filter(|change| change.key != "backends" || !has_named_members);
    parts.extend(keys.map(|change| change.to_string()));
    parts.extend((has_new_tls && !has_named_tls).then(|| "new contents in the files of tls".to_owned()));
    parts
}

fn member_changes(before: &[Member], next: &[Member]) -> Vec<String> {
    let by_address = |members: &'_ [Member]| -> HashMap<Address, (MemberState, u32)> {
        let each = members.iter().map(|member| (member.endpoint.address.clone(), (member.state, member.weight)));
        each.collect()
    };
    let (former, present) = (by_address(before), by_address(next));
    let missing = |from: &[Member], to: &HashMap<Address, _>| -> Vec<String> {
        let missing = from.iter().filter(|member| !to.contains_key(&member.endpoint.address));
        missing.map(|member| member.endpoint.address.to_string()).collect()
    };
    let (added, removed) = (missing(next, &former), missing(before, &present));
    let mut parts = Vec::new();
    parts.extend((!added.is_empty()).then(|| format!("added {}", added.join(", "))));
    parts.extend((!removed.is_empty()).then(|| format!("removed {}", removed.join(", "))));
    for member in next {
        let address = &member.endpoint.address;
        let Some((old_state, old_weight)) = former.get(address) else { continue };
        let (state, weight) = ((*old_state, member.state), (*old_weight, member.weight));
        parts.extend((state.0 != state.1).then(|| format!("{address} state {} -> {}", state.0.name(), state.1.name())));
        parts.extend((weight.0 != weight.1).then(|| format!("{address} weight {} -> {}", weight.0, weight.1)));
    }
    parts
}

/// Where a route leads, in words.
fn leads_to(route: &Route) -> String {
    let pools: Vec<&str> = route.pools().collect();
    match pools.as_slice() {
        [] => ", answered here".to_owned(),
        [pool] => format!(", to pool {pool}"),
        pools => format!(", to pools {}", pools.join(", ")),
    }
}

/// Routes are the same if they have the same conditions.
fn route_changes(before: &[Route], next: &[Route]) -> Vec<String> {
    let by_name = |routes: &'_ [Route]| -> BTreeMap<String, Route> {
        routes.iter().map(|route| (route.to_string(), route.clone())).collect()
    };
    let (former, present) = (by_name(before), by_name(next));
    let mut changes = Vec::new();
    for route in next {
        let name = route.to_string();
        match former.get(&name) {
            Some(old) => {
                let parts: Vec<String> = old.changes(route).iter().map(Change::to_string).collect();
                changes.extend((!parts.is_empty()).then(|| format!("route {name}: {}", parts.join(", "))));
            }
            None => changes.push(format!("route {name} is new{}", leads_to(route))),
        }
    }
    let gone = before.iter().map(ToString::to_string).filter(|name| !present.contains_key(name));
    changes.extend(gone.map(|name| format!("route {name} is gone")));
    changes
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::config::{self, known_keys};
    use crate::control::build::{Material, build};
    use crate::control::names::Names;
    use crate::resources::Resources;

    /// A key, what else both files say, its value in each (empty: the key is absent), and the words for the edit.
    type Edit = (&'static str, &'static str, &'static str, &'static str, &'static str);

    const CHECKED: &str = "pool.app.health.kind = 'http'";
    const GRPC: &str = "pool.app.protocol = 'h2c'\npool.app.health.kind = 'grpc'";
    const SECURE: &str = "pool.app.protocol = 'https'";
    const UNIX: &str = "listen.web.address = 'unix:/tmp/web.sock'";
    const TLS: &str = "listen.web.address = ':1'\nlisten.web.tls.cert = 'a'\nlisten.web.tls.key = 'a'";
    const TLS_CERT: &str = "listen.web.address = ':1'\nlisten.web.tls.cert = 'a'";
    const TLS_KEY: &str = "listen.web.address = ':1'\nlisten.web.tls.key = 'a'";
    const TLS_CA: &str =
        "listen.web.address = ':1'\nlisten.web.tls = { cert = 'a', key = 'a', client_ca = 'ca', client_auth = 'AUTH' }";
    const ACCESS: &str = "log.access = 'stdout'";

    #[rustfmt::skip]
    const POOL: &[Edit] = &[
        ("balance", "", "", "'lc'", "balance round-robin -> least-connections"),
        ("backends", "", "['10.0.0.1:1']", "['10.0.0.1:1', '10.0.0.2:1']", "added 10.0.0.2:1"),
        ("backends", "", "['10.0.0.1:1', '10.0.0.2:1']", "['10.0.0.2:1']", "removed 10.0.0.1:1"),
        ("backends", "", "['10.0.0.1:1', '10.0.0.2:1']", "['10.0.0.2:1', '10.0.0.1:1']",
         "backends [\"10.0.0.1:1\", \"10.0.0.2:1\"] -> [\"10.0.0.2:1\", \"10.0.0.1:1\"]"),
        ("backend", "", "[{ address = '10.0.0.1:1' }]", "[{ address = '10.0.0.2:1' }]",
         "added 10.0.0.2:1, removed 10.0.0.1:1"),
        ("backend", "", "[{ address = '10.0.0.1:1' }]", "[{ address = '10.0.0.1:1', weight = 3 }]",
         "10.0.0.1:1 weight 1 -> 3"),
        ("backend", "", "[{ address = '10.0.0.1:1' }]", "[{ address = '10.0.0.1:1', state = 'drain' }]",
         "10.0.0.1:1 state ready -> drain"),
        ("backend", "", "[{ address = 'a:1', weight = 2 }]", "[{ address = 'b:1', state = 'down' }]",
         "backends [{ address = \"a:1\", weight = 2, state = \"ready\" }] -> \
          [{ address = \"b:1\", weight = 1, state = \"down\" }]"),
        ("fail_open_below", "", "", "'0%'", "fail_open_below 50% -> 0%"),
        ("reload_guard", "", "", "false", "reload_guard true -> false"),
        ("retry.attempts", "", "", "5", "retry.attempts 3 -> 5"),
        ("retry.attempt_timeout", "", "", "'250ms'", "retry.attempt_timeout 0s -> 250ms"),
        ("retry.on_status", "", "", "[502, 503]", "retry.on_status [] -> [502, 503]"),
        ("retry.budget", "", "", "'30%'", "retry.budget 20% -> 30%"),
        ("retry.budget_per_second", "", "", "0", "retry.budget_per_second 10 -> 0"),
        ("max_requests", "", "", "50", "max_requests 0 -> 50"),
        ("queue.size", "", "", "10", "queue.size 100 -> 10"),
        ("queue.timeout", "", "", "'90s'", "queue.timeout 1s -> 90s"),
        ("eject.failures", "", "", "0", "eject.failures 5 -> 0"),
        ("eject.duration", "", "", "'1m'", "eject.duration 10s -> 1m"),
        ("eject.max_duration", "", "", "'1h'", "eject.max_duration 5m -> 1h"),
        ("eject.share", "", "", "'34%'", "eject.share 50% -> 34%"),
        ("protocol", "", "", "'h2c'", "protocol http1 -> h2c"),
        ("proxy_protocol", "", "'v1'", "'v2'", "proxy_protocol v1 -> v2"),
        ("via", "", "", "false", "via true -> false"),
        ("tls.ca", SECURE, "", "'ca.pem'", "tls.ca absent -> \"ca.pem\""),
        ("tls.server_name", SECURE, "'a.test'", "'b.test'", "tls.server_name \"a.test\" -> \"b.test\""),
        ("tls.cert", "pool.app.protocol = 'https'\npool.app.tls.key = 'k'", "'a'", "'b'", "tls.cert \"a\" -> \"b\""),
        ("tls.key", "pool.app.protocol = 'https'\npool.app.tls.cert = 'c'", "'a'", "'b'", "tls.key \"a\" -> \"b\""),
        ("slow_start", "", "", "'5s'", "slow_start 10s -> 5s"),
        ("health.kind", "", "", "'tcp'",
         "health.kind absent -> tcp, health.interval absent -> 2s, health.timeout absent -> 1s, \
          health.rise absent -> 2, health.fall absent -> 3"),
        ("health.kind", "", "'http'", "'tcp'",
         "health.kind http -> tcp, health.path \"/\" -> absent, health.status 200-399 -> absent"),
        ("health.path", CHECKED, "", "'/healthz'", "health.path \"/\" -> \"/healthz\""),
        ("health.host", CHECKED, "", "'a.test'", "health.host absent -> \"a.test\""),
        ("health.status", CHECKED, "'2xx'", "[200, '300-301']", "health.status 200-299 -> [200, 300-301]"),
        ("health.body", CHECKED, "", "\"a\\nb\"", "health.body absent -> \"a\\u000Ab\""),
        ("health.service", GRPC, "", "'shop.Cart'", "health.service \"\" -> \"shop.Cart\""),
        ("health.interval", CHECKED, "", "'500ms'", "health.interval 2s -> 500ms"),
        ("health.timeout", CHECKED, "", "'2s'", "health.timeout 1s -> 2s"),
        ("health.rise", CHECKED, "", "1", "health.rise 2 -> 1"),
        ("health.fall", CHECKED, "", "1", "health.fall 3 -> 1"),
    ];

    #[rustfmt::skip]
    const LISTENER: &[Edit] = &[
        ("unix_mode", UNIX, "'660'", "'0600'", "unix_mode \"660\" -> \"600\""),
        ("trusted_proxies", "", "", "['10.0.0.0/8']", "trusted_proxies [] -> [\"10.0.0.0/8\"]"),
        ("protocols", "", "", "['h1']", "protocols [\"h1\", \"h2\"] -> [\"h1\"]"),
        ("tls.cert", TLS_KEY, "'a'", "'b'", "tls.cert \"a\" -> \"b\""),
        ("tls.key", TLS_CERT, "'a'", "'b'", "tls.key \"a\" -> \"b\""),
        ("tls.certificate", TLS, "", "[{ cert = 'b', key = 'c' }]",
         "tls.certificate absent -> [{ cert = \"b\", key = \"c\" }]"),
        ("tls.client_ca", TLS, "", "'ca'", "tls.client_ca absent -> \"ca\", tls.client_auth absent -> required"),
        ("proxy_protocol", "listen.web.trusted_proxies = ['10.0.0.1']", "", "'accept'", "proxy_protocol off -> accept"),
        ("redirect_to_https", "", "", "443", "redirect_to_https absent -> 443"),
        ("errors", "", "", "{ 503 = { body = 'a' } }",
         "errors.503.body absent -> \"a\", errors.503.content_type absent -> \"text/plain; charset=utf-8\""),
    ];

    #[rustfmt::skip]
    const PROCESS: &[Edit] = &[
        ("workers", "", "", "2", "workers 0 -> 2"),
        ("timeouts.tls_handshake", "", "", "'5s'", "timeouts.tls_handshake 10s -> 5s"),
        ("timeouts.request_head", "", "", "'5s'", "timeouts.request_head 10s -> 5s"),
        ("timeouts.request_body", "", "", "'5s'", "timeouts.request_body 30s -> 5s"),
        ("timeouts.half_closed", "", "", "'1s'", "timeouts.half_closed 5s -> 1s"),
        ("timeouts.connect", "", "", "'500ms'", "timeouts.connect 2s -> 500ms"),
        ("timeouts.response_head", "", "", "'5s'", "timeouts.response_head 1m -> 5s"),
        ("timeouts.response_body", "", "", "'5s'", "timeouts.response_body 1m -> 5s"),
        ("timeouts.client_write", "", "", "'5s'", "timeouts.client_write 1m -> 5s"),
        ("timeouts.client_idle", "", "", "'5s'", "timeouts.client_idle 75s -> 5s"),
        ("timeouts.h2_ping", "", "", "'5s'", "timeouts.h2_ping 20s -> 5s"),
        ("timeouts.upstream_h2_ping", "", "", "'5m'", "timeouts.upstream_h2_ping 0s -> 5m"),
        ("timeouts.upstream_idle", "", "", "'5s'", "timeouts.upstream_idle 4s -> 5s"),
        ("timeouts.tunnel_idle", "", "", "'5s'", "timeouts.tunnel_idle 1h -> 5s"),
        ("timeouts.tunnel", "", "", "'5s'", "timeouts.tunnel 0s -> 5s"),
        ("timeouts.request", "", "", "'5s'", "timeouts.request 0s -> 5s"),
        ("timeouts.shutdown_delay", "", "", "'5s'", "timeouts.shutdown_delay 0s -> 5s"),
        ("timeouts.drain", "", "", "'0s'", "timeouts.drain 25s -> 0s"),
        ("timeouts.drain_idle", "", "", "'2s'", "timeouts.drain_idle 5s -> 2s"),
        ("timeouts.upgrade", "", "", "'5s'", "timeouts.upgrade 30s -> 5s"),
        ("limits.connections", "", "", "10", "limits.connections 0 -> 10"),
        ("limits.connections_per_address", "", "", "10", "limits.connections_per_address 0 -> 10"),
        ("limits.request_head", "", "", "'8KiB'", "limits.request_head 64KiB -> 8KiB"),
        ("limits.h2_streams", "", "", "10", "limits.h2_streams 0 -> 10"),
        ("limits.h2_window", "", "", "'1MiB'", "limits.h2_window 64KiB -> 1MiB"),
        ("limits.request_fields", "", "", "10", "limits.request_fields 100 -> 10"),
        ("limits.request_body", "", "", "'10MB'", "limits.request_body 0B -> 10000000B"),
        ("limits.replay", "", "", "'0B'", "limits.replay 64KiB -> 0B"),
        ("limits.idle_per_endpoint", "", "", "0", "limits.idle_per_endpoint 1024 -> 0"),
        ("log.level", "", "", "'warn'", "log.level info -> warn"),
        ("log.format", "", "", "'json'", "log.format auto -> json"),
        ("log.access", "", "'stdout'", "'a.log'", "log.access \"stdout\" -> \"a.log\""),
        ("log.access_format", ACCESS, "", "'common'", "log.access_format json -> common"),
        ("log.access_fields", ACCESS, "", "['time', 'status']", "log.access_fields absent -> [\"time\", \"status\"]"),
        ("log.access_format", ACCESS, "'combined'", "'\"{path}\"'", "log.access_format combined -> \"\\\"{path}\\\"\""),
        ("log.access_sample", ACCESS, "", "'0.5%'", "log.access_sample 100% -> 0.5%"),
        ("log.access_queue", ACCESS, "", "10", "log.access_queue 8192 -> 10"),
        ("errors.503.body", "", "'a'", "'b'", "errors.503.body \"a\" -> \"b\""),
        ("admin.address", "", "", "'off'", "admin.address \"127.0.0.1:9900\" -> \"off\""),
        ("admin.control", "", "", "false", "admin.control absent -> false"),
        ("admin.hosts", "", "", "['Admin.Test']", "admin.hosts [] -> [\"admin.test\"]"),
        ("admin.socket", "", "", "'off'", "admin.socket \"/run/unstick/ctl.sock\" -> \"off\""),
        ("dns.servers", "", "", "['10.0.0.2']", "dns.servers [] -> [\"10.0.0.2:53\"]"),
        ("dns.families", "", "", "'ipv4'", "dns.families both -> ipv4"),
        ("dns.give_up", "", "", "'1m'", "dns.give_up 30s -> 1m"),
        ("explain.slow", "", "", "'100ms'", "explain.slow 1s -> 100ms"),
        ("explain.keep", "", "", "0", "explain.keep 1000 -> 0"),
        ("explain.sample", "", "", "1", "explain.sample 64 -> 1"),
        ("traces.endpoint", "", "", "'http://a:4318/t'", "traces.endpoint absent -> \"http://a:4318/t\""),
        ("traces.sample", "", "", "'0.05%'", "traces.sample 1% -> 0.05%"),
        ("traces.service", "", "", "'shop'", "traces.service \"unstick\" -> \"shop\""),
        ("traces.headers", "", "", "{ x-key = 'a' }", "traces.headers.x-key absent -> \"a\""),
        ("traces.ca", "", "", "'ca'", "traces.ca absent -> \"ca\""),
        ("traces.timeout", "", "", "'1s'", "traces.timeout 5s -> 1s"),
    ];

    /// The routes before and after; two pools are there.
    const ROUTES: &[(&str, &str, &str)] = &[
        ("host = 'a.test'", "host = '*.a.test'", "route *.a.test / is new, to pool app; route a.test / is gone"),
        ("path = '/a'", "path = '=/a'", "route * =/a is new, to pool app; route * /a is gone"),
        ("host = 'a.test'", "pool = 'api', host = 'a.test'", "route a.test /: pool \"app\" -> \"api\""),
        ("listen = 'web'", "path = '/'", "route * / is new, to pool app; route * / listen web is gone"),
        (
            "method = 'GET', header = { a = '1' }",
            "method = ['GET', 'PUT'], query = { q = '!' }",
            "route * / method GET|PUT query q=! is new, to pool app; route * / method GET header a=1 is gone",
        ),
        ("priority = 1", "priority = -1", "route * / priority -1 is new, to pool app; route * / priority 1 is gone"),
    ];

    /// The keys of a route for `a.test` that say what becomes of its requests.
    #[rustfmt::skip]
    const ROUTE: &[Edit] = &[
        ("pool", "", "'app'", "'api'", "pool \"app\" -> \"api\""),
        ("split", "", "{ app = 9, api = 1 }", "{ app = 8, api = 2 }", "split.app 9 -> 8, split.api 1 -> 2"),
        ("respond.status", "respond.body = 'a'", "200", "404", "respond.status 200 -> 404"),
        ("respond.body", "", "'a'", "'b'", "respond.body \"a\" -> \"b\""),
        ("respond.body_file", "", "'a'", "'b'", "respond.body_file \"a\" -> \"b\""),
        ("respond.content_type", "respond.body = 'a'", "'a/b'", "'a/c'", "respond.content_type \"a/b\" -> \"a/c\""),
        ("redirect.to", "", "'/{path}'", "'/{{'", "redirect.to \"/{path}\" -> \"/{{\""),
        ("redirect.status", "redirect.to = '/'", "301", "302", "redirect.status 301 -> 302"),
        ("fallback", "pool = 'app'", "", "'api'", "fallback absent -> \"api\""),
        ("allow", "pool = 'app'", "", "['10.0.0.1']", "allow [] -> [\"10.0.0.1/32\"]"),
        ("deny", "pool = 'app'", "", "['10.0.0.0/8']", "deny [] -> [\"10.0.0.0/8\"]"),
        ("rate.per", "pool = 'app'\nrate.requests = 9\nrate.in = '1m'", "'route'", "'header:x'",
         "rate.per \"route\" -> \"header:x\""),
        ("rate.requests", "pool = 'app'\nrate.in = '1m'\nrate.burst = 1", "1", "2", "rate.requests 1 -> 2"),
        ("rate.in", "pool = 'app'\nrate.requests = 9", "'1m'", "'2m'", "rate.in \"1m\" -> \"2m\""),
        ("rate.burst", "pool = 'app'\nrate.requests = 9\nrate.in = '1m'", "1", "2", "rate.burst 1 -> 2"),
        ("strip_prefix", "pool = 'app'", "", "'/'", "strip_prefix absent -> \"/\""),
        ("replace_prefix.to", "pool = 'app'\nreplace_prefix.from = '/'", "'/a'", "'/b'",
         "replace_prefix.to \"/a\" -> \"/b\""),
        ("replace_prefix.from", "pool = 'app'\npath = '/a'\nreplace_prefix.to = '/x'", "'/a'", "'/'",
         "replace_prefix.from \"/a\" -> \"/\""),
        ("request_headers.remove", "pool = 'app'", "", "['X-A']", "request_headers.remove absent -> [\"x-a\"]"),
        ("request_headers.set", "pool = 'app'", "", "{ a = '1' }", "request_headers.set.a absent -> \"1\""),
        ("request_headers.add", "pool = 'app'", "", "{ a = '1' }", "request_headers.add.a absent -> \"1\""),
        ("response_headers.remove", "pool = 'app'", "", "['a']", "response_headers.remove absent -> [\"a\"]"),
        ("response_headers.set", "pool = 'app'", "", "{ a = '1' }", "response_headers.set.a absent -> \"1\""),
        ("response_headers.add", "pool = 'app'", "", "{ a = '1' }", "response_headers.add.a absent -> \"1\""),
        ("errors", "pool = 'app'", "", "{ 503 = { body = 'a' } }",
         "errors.503.body absent -> \"a\", errors.503.content_type absent -> \"text/plain; charset=utf-8\""),
        ("timeouts.request_body", "pool = 'app'", "", "'1s'", "timeouts.request_body absent -> 1s"),
        ("timeouts.connect", "pool = 'app'", "", "'1s'", "timeouts.connect absent -> 1s"),
        ("timeouts.response_head", "pool = 'app'", "", "'1s'", "timeouts.response_head absent -> 1s"),
        ("timeouts.response_body", "pool = 'app'", "", "'1s'", "timeouts.response_body absent -> 1s"),
        ("timeouts.tunnel_idle", "pool = 'app'", "", "'1s'", "timeouts.tunnel_idle absent -> 1s"),
        ("timeouts.tunnel", "pool = 'app'", "", "'0s'", "timeouts.tunnel absent -> 0s"),
        ("timeouts.request", "pool = 'app'", "", "'0s'", "timeouts.request absent -> 0s"),
        ("limits.request_body", "pool = 'app'", "", "'0B'", "limits.request_body absent -> 0B"),
        ("limits.replay", "pool = 'app'", "", "'0B'", "limits.replay absent -> 0B"),
        ("retry.attempts", "pool = 'app'", "", "1", "retry.attempts absent -> 1"),
        ("retry.attempt_timeout", "pool = 'app'", "", "'1s'", "retry.attempt_timeout absent -> 1s"),
        ("retry.on_status", "pool = 'app'", "", "[503]", "retry.on_status absent -> [503]"),
        ("access_log", "pool = 'app'", "", "false", "access_log true -> false"),
        ("maintenance", "pool = 'app'", "", "true", "maintenance false -> true"),
    ];

    /// Everything that is said of the way from one text to another.
    fn words(before: &str, after: &str) -> String {
        let [before, after] = [before, after].map(|text| {
            let mut text = text.to_owned();
            for (key, line) in [
                ("listen.web.address", "listen.web.address = ':1'\n"),
                ("pool.app.backend", "pool.app.backends = ['10.0.0.1:1']\n"),
            ] {
                let is_there = text.lines().any(|line| line.starts_with(key));
                text.push_str(if is_there { "" } else { line });
            }
            config::parse("test.toml", &text).unwrap_or_else(|problems| panic!("{problems}"))
        });
        let [old, new] = [&before, &after]
            .map(|config| build(config, &Names::default(), &Material::default(), None, 1, &Resources::BOUNDLESS));
        let mut changes = differences(&old, &new);
        changes.extend(settings(&before, &after));
        changes.extend(before.listeners.iter().zip(&after.listeners).filter_map(|(old, new)| listener(old, new)));
        changes.join("; ")
    }

    fn check(table: &str, edits: &[Edit], said_of: &str) {
        for (key, common, before, after, expected) in edits {
            let [before, after] = [before, after].map(|value| match *value {
                "" => format!("{common}\n"),
                value => format!("{common}\n{table}{key} = {value}\n"),
            });
            assert_eq!(words(&before, &after), format!("{said_of}{expected}"), "{before}->\n{after}");
            assert_eq!(words(&after, &after), "", "{after}");
        }
    }

    #[test]
    fn an_edit_of_a_pool_is_named() {
        check("pool.app.", POOL, "pool app: ");
    }

    #[test]
    fn an_edit_of_a_listener_is_named() {
        check("listen.web.", LISTENER, "listener web: ");
        let [required, optional] = ["required", "optional"].map(|auth| format!("{}\n", TLS_CA.replace("AUTH", auth)));
        assert_eq!(words(&required, &optional), "listener web: tls.client_auth required -> optional");
        let renamed = "listen.main.address = ':1'\nlisten.main.protocols = ['h2']";
        let expected = "listener main: protocols [\"h2\"] -> [\"h1\", \"h2\"], is called other now";
        assert_eq!(words_of_listeners(renamed, "listen.other.address = ':1'"), expected);
    }

    fn words_of_listeners(before: &str, after: &str) -> String {
        let [before, after] = [before, after]
            .map(|text| config::parse("test.toml", &format!("{text}\npool.app.backends = ['10.0.0.1:1']\n")).unwrap());
        listener(&before.listeners[0], &after.listeners[0]).unwrap_or_default()
    }

    #[test]
    fn an_edit_that_holds_for_the_process_is_named() {
        check("", PROCESS, "");
    }

    #[test]
    fn an_edit_of_a_route_is_named() {
        let text = |route: &str| {
            let pool = if route.contains("pool") { "" } else { "pool = 'app', " };
            let others = "{ host = 'b.test', pool = 'app' }, { host = 'b.test', path = '/api', pool = 'api' }";
            format!("pool.api.backends = ['10.0.0.9:1']\nroute = [{{ {pool}{route} }}, {others}]\n")
        };
        for (before, after, expected) in ROUTES {
            assert_eq!(words(&text(before), &text(after)), *expected);
        }
    }

    #[test]
    fn an_edit_of_what_a_route_does_is_named() {
        for (key, common, before, after, expected) in ROUTE {
            let [before, after] = [before, after].map(|value| {
                let line = if value.is_empty() { String::new() } else { format!("{key} = {value}\n") };
                format!(
                    "pool.api.backends = ['10.0.0.9:1']\n[[route]]\nhost = 'b.test'\npool = 'app'\n[[route]]\n\
                     host = 'c.test'\npool = 'api'\n[[route]]\nhost = 'a.test'\n{common}\n{line}\n[pool.app]\n\
                     backends = ['10.0.0.1:1']\n[listen.web]\naddress = ':1'\n"
                )
            });
            let parsed =
                [before, after].map(|text| config::parse("t.toml", &text).unwrap_or_else(|why| panic!("{why}")));
            let [old, new] = [0, 1]
                .map(|at| build(&parsed[at], &Names::default(), &Material::default(), None, 1, &Resources::BOUNDLESS));
            let path = if common.contains("path") { "/a" } else { "/" };
            assert_eq!(differences(&old, &new), [format!("route a.test {path}: {expected}")]);
        }
    }

    #[test]
    fn pools_come_and_go() {
        let two = "pool.api.backends = ['10.0.0.9:1', '10.0.0.8:1']\n\
                   route = [{ pool = 'app' }, { path = '/a', pool = 'api' }]\n";
        assert_eq!(words("", two), "pool api is new with 2 endpoints; route * /a is new, to pool api");
        assert_eq!(words(two, ""), "pool api is gone; route * /a is gone");
    }

    /// Every key that the reader knows is in one of the tables above: a new key needs words for its edit. A token comes
    /// from elsewhere, so its edit is in the test of the admin port.
    #[test]
    fn no_key_is_forgotten() {
        let others = "include listen.*.address listen.*.tls.client_auth listen.*.tls.certificate.cert \
            listen.*.tls.certificate.key \
                      pool.*.backend.address pool.*.backend.weight pool.*.backend.state route.host \
                      errors.*.body errors.*.body_file \
                      errors.*.content_type errors route.path route.listen route.method route.header route.query \
                      route.priority admin.token";
        let mut named: BTreeSet<String> = others.split_whitespace().map(String::from).collect();
        for (table, edits) in [("pool.*.", POOL), ("listen.*.", LISTENER), ("route.", ROUTE), ("", PROCESS)] {
            named.extend(edits.iter().map(|(key, ..)| format!("{table}{key}")));
        }
        let known = known_keys();
        let is_table = |key: &str| known.iter().any(|other| other.starts_with(&format!("{key}.")));
        let forgotten: Vec<_> = known.iter().filter(|key| !named.contains(*key) && !is_table(key)).collect();
        assert!(known.len() > 80 && forgotten.is_empty(), "an edit of these is not in the tables: {forgotten:?}");
    }
}
