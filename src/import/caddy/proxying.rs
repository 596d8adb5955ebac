//! `reverse_proxy`: a pool, and what its route says of it.

use super::edits::Of;
use super::flow::{Draft, Flow, State};
use super::steps::Step;
use super::tree::Line;
use super::units;
use super::upstreams::{Upstream, upstreams};
use crate::imported::{At, Keys, LeftOut, Pool};
use crate::value::Value;

const AUDIT: &str = "run `unstick audit`: it finds whether the application needs that, and where";
const STICKY: &str = "unstick has no stickiness: a client may be served by any replica";
/// The attempts that unstick makes at most.
const ATTEMPTS_MAX: i64 = 10;

/// What a `reverse_proxy` says.
#[derive(Debug, Default)]
pub(super) struct Proxying {
    upstreams: Vec<Upstream>,
    weights: Vec<i64>,
    /// Whether a policy was named. Caddy's own is a random one.
    has_policy: bool,
    is_dynamic: bool,
    /// Whether replicas get their own address in Host.
    has_own_host: bool,
    /// The keys of the pool, and those of its route.
    pub(super) keys: Keys,
    pub(super) route: Keys,
    pub(super) left: Vec<LeftOut>,
}

impl Flow<'_> {
    /// The route to a pool.
    pub(super) fn proxy(&mut self, state: &mut State, step: &Step<'_>) -> Draft {
        let mut found = self.said(state, step);
        let place = step.line.place.clone();
        if found.upstreams.is_empty() {
            let why = "no replica of it can be told before a request comes; it answers 404";
            state.left.append(&mut found.left);
            self.note(state, step, why, "name the replicas in a pool, and write a route to it");
            let mut keys = Keys::default();
            keys.set_in("respond", "status", 404);
            return self.draft(state, keys, step.line.written(), place);
        }
        self.host(state, step, &found);
        let mut route = Keys::default();
        let left = std::mem::take(&mut found.left);
        let own = std::mem::take(&mut found.route);
        let name = self.importer.pool(found);
        for note in left {
            self.importer.out.leave_out(LeftOut { at: At::Pool(name.clone()), ..note });
        }
        route.set("pool", name);
        paths(state, &mut route);
        route.0.extend(own.0);
        let left = state.edits.write(&mut route);
        state.left.extend(left);
        if let Some(size) = &state.body_max {
            route.set_in("limits", "request_body", size.as_str());
        }
        if !self.importer.errors.is_empty() {
            route.set("errors", Value::Table(self.importer.errors.clone()));
        }
        self.draft(state, route, step.line.written(), place)
    }

    /// What its lines say.
    fn said(&self, state: &mut State, step: &Step<'_>) -> Proxying {
        let mut found = Proxying::default();
        step.args.iter().for_each(|arg| found.upstream(step.line, arg));
        for line in step.line.lines() {
            match line.name.as_str() {
                "header_up" if is_own_host(line) => found.has_own_host = true,
                "header_up" => self.request_field(state, line, &line.args),
                "header_down" => {
                    let paths = state.paths();
                    state.left.extend(state.edits.one(line, &line.args, Of::Replica, paths));
                }
                _ => found.option(line, self.importer.base.as_deref()),
            }
        }
        found
    }

    /// The address of the replica in Host: Caddy sends it over TLS, or if it is told to.
    fn host(&self, state: &mut State, step: &Step<'_>, found: &Proxying) {
        let is_tls = found.keys.get("protocol") == Some(&Value::from("https"));
        if state.edits.sets("host") || !is_tls && !found.has_own_host {
            return;
        }
        match &found.upstreams[..] {
            [Upstream { address, .. }] if !address.starts_with("unix:") && !found.is_dynamic => {
                let usual = if is_tls { ":443" } else { ":80" };
                state.edits.set_request(step.line, "Host", address.strip_suffix(usual).unwrap_or(address));
            }
            _ => {
                let why = "Caddy sends the address of the replica in Host here, unstick that of the client";
                self.note(state, step, why, "nothing, unless replicas expect that name; see request_headers");
            }
        }
    }

    /// A header of a request, unless unstick does the same anyway.
    pub(super) fn request_field(&self, state: &mut State, line: &Line, args: &[String]) {
        let field = args.first().map_or("", String::as_str);
        let name = field.trim_start_matches(['+', '-', '>']).trim_end_matches(':').to_ascii_lowercase();
        let value = args.get(1).map_or("", String::as_str);
        let is_trusting = !self.importer.trusted.is_empty();
        let placeholder = value.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        let inner = placeholder.unwrap_or(if value == "https" { value } else { "" });
        let inner = inner.strip_prefix("http.request.").unwrap_or(inner);
        let is_own_scheme = inner == "scheme" || inner == "https" && self.importer.is_tls_only;
        let own = ["header.", ">"].iter().find_map(|prefix| inner.strip_prefix(prefix));
        let mut note = |why: &str, what_to_do: &str| state.left.push(super::left(line, why, what_to_do));
        match (name.as_str(), inner) {
            ("host", "host" | "hostport") | ("connection" | "upgrade", _) => {}
            (name, _) if own.is_some_and(|own| own.eq_ignore_ascii_case(name)) && !field.starts_with('+') => {}
            ("x-forwarded-for", "remote_host" | "remote" | "remote.host" | "client_ip" | "http.vars.client_ip")
            | ("x-forwarded-proto", "scheme" | "https")
            | ("x-forwarded-host", "host" | "hostport")
                if is_own_scheme || name != "x-forwarded-proto" =>
            {
                if is_trusting {
                    let why = "unstick keeps what trusted_proxies send in this header, Caddy replaces it here";
                    note(why, "nothing, if those proxies say the truth");
                }
            }
            ("x-forwarded-for" | "x-forwarded-proto" | "x-forwarded-host" | "forwarded", _) => {
                let why = "unstick writes this header itself, with the client as it is known";
                note(why, "nothing, or see trusted_proxies");
            }
            _ => {
                let paths = state.paths();
                state.left.extend(state.edits.one(line, args, Of::Request, paths));
            }
        }
    }
}

/// `header_up Host {upstream_hostport}`.
fn is_own_host(line: &Line) -> bool {
    let own = ["{upstream_hostport}", "{http.reverse_proxy.upstream.hostport}", "{rp.upstream.hostport}"];
    line.arg(0).eq_ignore_ascii_case("host") && own.contains(&line.arg(1))
}

/// What becomes of the path.
fn paths(state: &State, keys: &mut Keys) {
    let bare = |path: &str| {
        let path = path.trim_end_matches('/');
        if path.is_empty() { "/".to_owned() } else { path.to_owned() }
    };
    let from = bare(state.stripped.as_deref().unwrap_or_default());
    let to = bare(state.put.as_deref().unwrap_or_default());
    match (from.as_str(), to.as_str()) {
        (from, to) if from == to => {}
        (from, "/") => keys.set("strip_prefix", from),
        (from, to) => {
            keys.set_in("replace_prefix", "from", from);
            keys.set_in("replace_prefix", "to", to);
        }
    }
}

impl Proxying {
    pub(super) fn note(&mut self, line: &Line, why: impl Into<String>, what_to_do: impl Into<String>) {
        self.left.push(super::left(line, why, what_to_do));
    }

    fn upstream(&mut self, line: &Line, written: &str) {
        match upstreams(written) {
            Ok(more) => {
                for Upstream { protocol, .. } in more.iter().filter(|upstream| !upstream.protocol.is_empty()) {
                    self.keys.set("protocol", *protocol);
                }
                self.upstreams.extend(more);
            }
            Err(why) => self.note(line, format!("{written}: {why}"), "name each replica in the pool"),
        }
    }

    fn option(&mut self, line: &Line, base: Option<&std::path::Path>) {
        match line.name.as_str() {
            "to" => line.args.iter().for_each(|arg| self.upstream(line, arg)),
            "dynamic" => self.dynamic(line),
            "lb_policy" => self.policy(line),
            "lb_retries" => match line.arg(0).parse::<i64>() {
                Ok(retries) => self.keys.set("retry.attempts", retries.saturating_add(1).clamp(1, ATTEMPTS_MAX)),
                Err(_) => self.note(line, "this is no number", "see [pool.NAME.retry]"),
            },
            name if name.starts_with("health_") => self.health(line),
            "fail_duration" | "max_fails" | "unhealthy_request_count" | "unhealthy_status" | "unhealthy_latency" => {
                self.passive(line);
            }
            "transport" => self.transport(line, base),
            _ => super::words::note_option("reverse_proxy", line, &mut self.left),
        }
    }

    fn dynamic(&mut self, line: &Line) {
        let of_block = |name: &str| line.one(name).map(|line| line.arg(0).to_owned());
        let name = line.args.get(1).cloned().or_else(|| of_block("name"));
        let port = line.args.get(2).cloned().or_else(|| of_block("port")).unwrap_or_else(|| "80".to_owned());
        match (line.arg(0), name) {
            ("a", Some(name)) => {
                self.is_dynamic = true;
                self.upstream(line, &format!("{name}:{port}"));
            }
            _ => self.note(line, "unstick asks for A and AAAA records", "name the replicas as \"name:port\""),
        }
    }

    fn policy(&mut self, line: &Line) {
        self.has_policy = true;
        match line.arg(0) {
            "round_robin" => {}
            "random" => self.keys.set("balance", "random"),
            "least_conn" => self.keys.set("balance", "least-connections"),
            "random_choose" => {
                self.keys.set("balance", "p2c");
                if !matches!(line.arg(1), "" | "2") {
                    self.note(line, "p2c compares two endpoints", "nothing, or balance = \"least-connections\"");
                }
            }
            "weighted_round_robin" => match line.args[1..].iter().map(|arg| arg.parse().ok()).collect() {
                Some(weights) => self.weights = weights,
                None => self.note(line, "these are no weights", "write `weight` for each backend"),
            },
            "first" => {
                let why = "a pool has no first replica: requests go to all of them";
                self.note(line, why, "make a pool of the others, and name that as `fallback`");
            }
            _ => self.note(line, STICKY, AUDIT),
        }
    }

    fn passive(&mut self, line: &Line) {
        match (line.name.as_str(), line.arg(0).parse::<i64>(), units::time(line.arg(0))) {
            ("fail_duration", _, Some(time)) if time != "0s" => {
                let failures = self.keys.get("eject.failures").cloned().unwrap_or(Value::Number(1));
                self.keys.set("eject.failures", failures);
                self.keys.set("eject.duration", time);
                let why = "unstick counts failures in a row, Caddy those within `fail_duration`";
                self.note(line, why, "see [pool.NAME.eject]");
            }
            ("fail_duration", ..) => {}
            ("max_fails", Ok(count), _) => self.keys.set("eject.failures", count.max(1)),
            ("unhealthy_request_count", Ok(count), _) if count > 0 => {
                self.keys.set("max_requests", count);
                self.keys.set("queue.size", 0);
            }
            _ => super::words::note_option("reverse_proxy", line, &mut self.left),
        }
    }

    /// The pool with its backends. `is_taken` says which names others have.
    pub(super) fn pool(self, is_taken: impl Fn(&str) -> bool) -> Pool {
        let Self { upstreams, weights, has_policy, is_dynamic, keys: mut own, .. } = self;
        let mut keys = Keys::default();
        // Without `fail_duration` Caddy counts nothing.
        if own.get("eject.duration").is_none() {
            own.remove("eject.failures");
        }
        let addresses: Vec<String> = upstreams.iter().map(|upstream| upstream.address.clone()).collect();
        if weights.len() == addresses.len() && weights.iter().all(|weight| (0..=256).contains(weight)) {
            let entry = |(address, weight): (&String, &i64)| {
                let mut entry = Keys::default();
                entry.set("address", address.as_str());
                match weight {
                    0 => entry.set("state", "drain"),
                    weight => entry.set("weight", *weight),
                }
                Value::Table(entry)
            };
            keys.set("backend", Value::List(addresses.iter().zip(&weights).map(entry).collect()));
        } else {
            keys.set("backends", addresses.clone());
        }
        if !has_policy && (addresses.len() > 1 || is_dynamic) {
            keys.set("balance", "random");
        }
        keys.0.append(&mut own.0);
        let name = name(addresses.first().map_or("", String::as_str));
        let numbered = (2..).map(|n| format!("{name}-{n}")).find(|name| !is_taken(name));
        let name = if is_taken(&name) { numbered.unwrap_or(name) } else { name };
        Pool { name, keys }
    }
}

/// The name of a pool after its first replica: `app-3000`.
fn name(address: &str) -> String {
    let bare = address.replace("{$", "").replace('}', "");
    let dashed: String = bare.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let parts: Vec<&str> = dashed.split('-').filter(|part| !part.is_empty()).collect();
    if parts.is_empty() { "pool".to_owned() } else { parts.join("-") }
}
