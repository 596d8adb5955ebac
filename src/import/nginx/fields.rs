//! Header fields: what is set towards replicas, and what is added to responses.

use super::grammar::Directive;
use super::scope::Scope;
use super::text::template;
use super::{Draft, Importer, left};
use crate::fields::OF_CONNECTION;
use crate::value::Value;

/// The statuses that `add_header` without `always` is for.
const ADDED: [i64; 10] = [200, 201, 204, 206, 301, 302, 303, 304, 307, 308];

const TRUST: &str = "list the balancers in front in trusted_proxies; from all others unstick replaces it";

/// What is done with a header of a request.
enum Field {
    /// unstick does it by itself.
    Same,
    Set(String),
    Remove,
    Left(String, &'static str),
    /// The same once per file: why, and what to do.
    Once(&'static str, &'static str),
}

impl<'t> Importer<'t> {
    /// What `proxy_set_header` says.
    pub(super) fn request_fields(&mut self, draft: &mut Draft, pass: &Directive, scope: &Scope<'t>) {
        let items = scope.nearest_of(&["proxy_set_header", "grpc_set_header"]);
        if !items.iter().any(|item| item.arg(0).eq_ignore_ascii_case("host")) {
            self.once(
                draft,
                pass,
                "nginx sends the name of the upstream in Host, unstick that of the client",
                "nothing, unless replicas expect that name",
            );
        }
        let is_trusting = !scope.nearest("set_real_ip_from").is_empty();
        let mut removed: Vec<String> = Vec::new();
        for item in items {
            let name = item.arg(0).to_ascii_lowercase();
            match self.field(&name, item.arg(1), draft, scope, is_trusting) {
                Field::Same => {}
                Field::Set(value) => draft.route.keys.set_within("request_headers", "set", &name, &value),
                Field::Remove => removed.push(name),
                Field::Left(why, what_to_do) => draft.left.push(left(item, why, what_to_do)),
                Field::Once(why, what_to_do) => self.once(draft, item, why, what_to_do),
            }
        }
        if !removed.is_empty() {
            draft.route.keys.set_in("request_headers", "remove", removed);
        }
    }

    /// Notes something that is told once, however often it is said.
    fn once(&mut self, draft: &mut Draft, item: &Directive, why: &'static str, what_to_do: &'static str) {
        if !self.told.contains(&why) {
            self.told.push(why);
            draft.left.push(left(item, why, what_to_do));
        }
    }

    fn field(&self, name: &str, value: &str, draft: &Draft, scope: &Scope<'t>, is_trusting: bool) -> Field {
        let listeners = || {
            self.sockets
                .iter()
                .filter(|socket| draft.route.listen.is_empty() || draft.route.listen.contains(&socket.name))
        };
        let is_tls = listeners().all(|socket| socket.is_tls);
        match (name, value) {
            ("host", "$host" | "$http_host" | "$host:$server_port" | "$http_host:$server_port") => Field::Same,
            ("host", "$proxy_host") => Field::Once(
                "nginx sends the name of the upstream in Host, unstick that of the client",
                "nothing, unless replicas expect that name",
            ),
            ("upgrade", "$http_upgrade") | ("connection", "" | "upgrade" | "Upgrade" | "keep-alive") => Field::Same,
            ("connection", value) if self.is_upgrade_map(value) => Field::Same,
            ("connection", value) => Field::Left(
                format!("connections to replicas are unstick's own, whatever `{value}` says"),
                "nothing, unless the replica must close",
            ),
            ("x-forwarded-for", "$proxy_add_x_forwarded_for") if is_trusting => Field::Same,
            ("x-forwarded-for", "$proxy_add_x_forwarded_for") => {
                Field::Once("nginx keeps what any client has written into X-Forwarded-For", TRUST)
            }
            ("x-forwarded-for", "$remote_addr") if !is_trusting => Field::Same,
            ("x-forwarded-proto" | "x-forwarded-host", "$scheme" | "$host" | "$http_host") if is_trusting => {
                Field::Once(
                    "unstick keeps X-Forwarded-Proto and -Host of trusted_proxies, nginx replaces them here",
                    "nothing, if those proxies say the truth",
                )
            }
            ("x-forwarded-proto", "$scheme") | ("x-forwarded-host", "$host" | "$http_host") => Field::Same,
            ("x-forwarded-proto", "https") if is_tls => Field::Same,
            ("x-forwarded-proto", "$http_x_forwarded_proto") if is_trusting => Field::Same,
            ("x-forwarded-proto", "$http_x_forwarded_proto") => {
                Field::Once("nginx passes on what any client has written into X-Forwarded-Proto", TRUST)
            }
            ("x-forwarded-for" | "x-forwarded-proto" | "x-forwarded-host" | "forwarded", _) => Field::Left(
                "unstick writes this header itself, with the client as it is known".to_owned(),
                "nothing, or see trusted_proxies",
            ),
            ("x-request-id", "$request_id") => Field::Same,
            (name, _) if OF_CONNECTION.contains(&name) => {
                Field::Left("this header belongs to the connection, which is unstick's".to_owned(), "nothing")
            }
            (_, "$server_port") => match listeners().map(|socket| socket.port).collect::<Vec<_>>()[..] {
                [Some(port)] => Field::Set(port.to_string()),
                _ => Field::Left("$server_port is different here for each listener".to_owned(), "write two routes"),
            },
            (_, "") => Field::Remove,
            (name, value) if value.strip_prefix("$http_").is_some_and(|own| own.replace('_', "-") == name) => {
                Field::Same
            }
            (_, value) => match template(value, scope) {
                Ok(value) => Field::Set(value),
                Err(why) => Field::Left(why, "let the application work it out"),
            },
        }
    }

    /// Whether a variable is that of `map $http_upgrade $connection_upgrade`.
    fn is_upgrade_map(&self, value: &str) -> bool {
        self.blocks("map").iter().any(|map| map.arg(0) == "$http_upgrade" && map.arg(1) == value)
    }

    /// What `add_header` and `proxy_hide_header` say. `status` is that of a fixed response.
    pub(super) fn response_fields(&mut self, draft: &mut Draft, scope: &Scope<'t>, status: Option<i64>) {
        let mut added: Vec<String> = Vec::new();
        for item in scope.nearest("add_header") {
            let (name, value) = (item.arg(0).to_ascii_lowercase(), item.arg(1));
            let is_always = item.args.iter().skip(2).any(|arg| arg == "always");
            if value.is_empty() || !is_always && status.is_some_and(|status| !ADDED.contains(&status)) {
                continue;
            }
            if name == "content-type" && draft.route.keys.get("respond").is_some() {
                draft.route.keys.set_in("respond", "content_type", value);
                draft.left.push(left(item, "nginx sends two Content-Type here, unstick this one", "nothing"));
                continue;
            }
            if !is_always && status.is_none() {
                let why = "without `always` nginx adds it to 2xx and 3xx only, unstick to every response";
                draft.left.push(left(item, why, "nothing, unless an error must not have it"));
            }
            if OF_CONNECTION.contains(&name.as_str()) {
                draft.left.push(left(item, "this header belongs to the connection, which is unstick's", "nothing"));
                continue;
            }
            if added.contains(&name) {
                draft.left.push(left(item, "this header is added twice here", "join the two values by a comma"));
                continue;
            }
            match template(value, scope) {
                Ok(value) => {
                    draft.route.keys.set_within("response_headers", "add", &name, &value);
                    added.push(name);
                }
                Err(why) => draft.left.push(left(item, why, "let the application send it")),
            }
        }
        let hidden = scope.nearest("proxy_hide_header");
        if status.is_none() && !hidden.is_empty() {
            let names = hidden.iter().map(|item| Value::from(item.arg(0).to_ascii_lowercase()));
            draft.route.keys.set_in("response_headers", "remove", Value::List(names.collect()));
        }
    }
}
