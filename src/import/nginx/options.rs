//! Deadlines, bounds, rates and logs: what holds for the whole file, and what a location says otherwise.

use super::grammar::Directive;
use super::scope::Scope;
use super::{Draft, Importer, left, proxying, units};

/// What nginx allows where nothing is said.
const BODY_MAX: &str = "1MiB";

/// Deadlines that a route may have: nginx's word, ours.
const OF_ROUTES: [(&str, &[&str]); 5] = [
    ("client_body_timeout", &["request_body"]),
    ("proxy_connect_timeout", &["connect"]),
    ("grpc_connect_timeout", &["connect"]),
    ("proxy_read_timeout", &["response_head", "response_body"]),
    ("grpc_read_timeout", &["response_head", "response_body"]),
];

/// Deadlines of connections, which hold for all routes.
const OF_ALL: [(&str, &str); 3] =
    [("client_header_timeout", "request_head"), ("keepalive_timeout", "client_idle"), ("send_timeout", "client_write")];

impl<'t> Importer<'t> {
    /// The tables of the top.
    pub(super) fn globals(&mut self, servers: &[&'t Directive]) {
        let scope = self.scope();
        self.deadlines_of_all(servers);
        for (theirs, ours) in OF_ROUTES {
            if let Some(time) = scope.one(theirs).and_then(|item| units::time(item.arg(0))) {
                ours.iter().for_each(|ours| self.out.table("timeouts").set(*ours, time.as_str()));
            }
        }
        let body = self.body_max(&scope).unwrap_or_else(|| BODY_MAX.to_owned());
        self.out.table("limits").set("request_body", body);
        self.log(&scope, servers);
    }

    fn deadlines_of_all(&mut self, servers: &[&'t Directive]) {
        for (theirs, ours) in OF_ALL {
            let scopes = servers.iter().map(|server| self.scope().within(server.items()));
            let found: Vec<Option<&Directive>> = scopes.map(|scope| scope.one(theirs)).collect();
            let Some(first) = found.iter().flatten().next() else { continue };
            let time = |item: &Option<&Directive>| item.map(|item| item.arg(0).to_owned());
            let is_same = found.iter().all(|other| time(other) == time(&found[0]));
            match units::time(first.arg(0)).filter(|time| is_same && time != "0s") {
                Some(time) => self.out.table("timeouts").set(ours, time),
                None => {
                    let why = format!("`timeouts.{ours}` holds for all listeners, and is never 0");
                    self.out.leave_out(left(first, why, "decide on one value in [timeouts]"));
                }
            }
        }
    }

    fn body_max(&self, scope: &Scope<'t>) -> Option<String> {
        scope.one("client_max_body_size").and_then(|item| units::size(item.arg(0)))
    }

    fn log(&mut self, scope: &Scope<'t>, servers: &[&'t Directive]) {
        let said = scope.one("error_log").or_else(|| self.main.iter().rfind(|item| item.name == "error_log"));
        let level = match said.map(|item| item.arg(1)) {
            Some("debug") => Some("debug"),
            Some("info" | "notice") => Some("info"),
            Some("warn") => Some("warn"),
            // nginx's own default is `error`, too.
            Some(_) => Some("error"),
            None => None,
        };
        if let Some(level) = level {
            self.out.table("log").set("level", level);
        }
        let mut all: Vec<&Directive> = scope.nearest("access_log");
        for server in servers {
            all.extend(server.items().iter().filter(|item| item.name == "access_log"));
        }
        let all: Vec<&Directive> = all.into_iter().filter(|item| item.arg(0) != "off").collect();
        let Some(first) = all.first().copied() else { return };
        let target = if first.arg(0) == "/dev/stdout" { "stdout".to_owned() } else { self.file(first.arg(0)) };
        self.out.table("log").set("access", target);
        self.out.table("log").set("access_format", "combined");
        for item in &all {
            if item.arg(0) != first.arg(0) {
                self.out.leave_out(left(item, "there is one access log", "tell its lines apart by their host"));
            }
        }
        if !matches!(first.arg(1), "" | "combined") && !first.arg(1).contains('=') {
            let why = "this format is nginx's; lines are in `combined` instead";
            self.out.leave_out(left(first, why, "see `access_format` and `access_fields` of [log]"));
        }
    }

    /// What a location says otherwise than the whole file.
    pub(super) fn options(&mut self, draft: &mut Draft, scope: &Scope<'t>) {
        let http = self.scope();
        for (theirs, ours) in OF_ROUTES {
            let value = |scope: &Scope<'t>| scope.one(theirs).and_then(|item| units::time(item.arg(0)));
            if let Some(time) = value(scope).filter(|time| value(&http).as_ref() != Some(time)) {
                ours.iter().for_each(|ours| draft.route.keys.set_in("timeouts", ours, time.as_str()));
            }
            if theirs == "proxy_read_timeout" && proxying::is_tunnel(scope) {
                let idle = value(scope).unwrap_or_else(|| "60s".to_owned());
                draft.route.keys.set_in("timeouts", "tunnel_idle", idle);
            }
        }
        let whole = self.body_max(&http).unwrap_or_else(|| BODY_MAX.to_owned());
        if let Some(size) = self.body_max(scope).filter(|size| *size != whole) {
            draft.route.keys.set_in("limits", "request_body", size);
        }
        self.rate(draft, scope);
    }

    /// `proxy_next_upstream`.
    pub(super) fn retries(draft: &mut Draft, scope: &Scope<'t>) {
        let tries = scope.one("proxy_next_upstream_tries").and_then(|item| item.arg(0).parse::<i64>().ok());
        if let Some(tries) = tries.filter(|tries| *tries > 0) {
            draft.route.keys.set_in("retry", "attempts", tries);
        }
        let Some(item) = scope.one("proxy_next_upstream") else { return };
        let mut statuses: Vec<i64> = Vec::new();
        for word in &item.args {
            match (word.as_str(), word.strip_prefix("http_").and_then(|status| status.parse::<i64>().ok())) {
                ("off", _) => draft.route.keys.set_in("retry", "attempts", 1),
                ("error" | "timeout" | "invalid_header", _) => {}
                (_, Some(status @ 502..=504)) => statuses.push(status),
                (other, _) => {
                    let why = format!("unstick does not repeat a request for `{other}`");
                    draft.left.push(left(item, why, "nothing: such a response is the application's own"));
                }
            }
        }
        if !statuses.is_empty() {
            draft.route.keys.set_in("retry", "on_status", statuses);
        }
    }

    /// `access_log off`.
    pub(super) fn logging(&mut self, draft: &mut Draft, scope: &Scope<'t>) {
        if scope.one("access_log").is_some_and(|item| item.arg(0) == "off") {
            draft.route.keys.set("access_log", false);
        }
    }
}
