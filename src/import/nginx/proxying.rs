//! `proxy_pass` and `grpc_pass`: the pool, and what becomes of the path.

use super::grammar::Directive;
use super::locations::{Found, Kind};
use super::rewriting::prefix_rewrite;
use super::scope::Scope;
use super::text::resolved;
use super::{Draft, Importer, left};

/// What a `proxy_pass` names.
struct Url {
    protocol: &'static str,
    /// The upstream, or the address of a replica.
    source: String,
    /// The path that replaces that of the location.
    uri: Option<String>,
}

impl<'t> Importer<'t> {
    /// Sends the requests of a route to the pool.
    pub(super) fn proxied(
        &mut self,
        draft: &mut Draft,
        pass: &'t Directive,
        found: &Found<'t>,
        rewrite: Option<(String, String)>,
    ) {
        let scope = &found.scope;
        let written = found.target.as_deref().unwrap_or_else(|| pass.arg(0));
        let written = resolved(written, scope);
        let captured = captured(&found.kind, &written);
        let target = captured.as_ref().map_or(written.as_str(), |captured| captured.target);
        let url = url(target, pass.name == "grpc_pass").and_then(|url| {
            let mut upstreams = self.blocks("upstream").into_iter().filter(|upstream| upstream.arg(0) == url.source);
            let is_empty = upstreams.any(|upstream| !upstream.items().iter().any(|item| item.name == "server"));
            if is_empty { Err("this upstream has no servers in the file".to_owned()) } else { Ok(url) }
        });
        let url = match url {
            Ok(url) => url,
            Err(why) => {
                draft.route.keys.set_in("respond", "status", 404);
                draft.left.push(left(pass, why, "write a route for each pool, with conditions; it answers 404 now"));
                return;
            }
        };
        let made = self.pool(&url.source, url.protocol, scope);
        draft.route.keys.set("pool", made.name.as_str());
        if let Some(backup) = made.backup {
            draft.route.keys.set("fallback", backup);
        }
        if captured.as_ref().is_some_and(|captured| captured.drops_query) {
            draft.left.push(left(pass, "nginx leaves out the query here, unstick passes it on", "nothing"));
        }
        match (rewrite.or(captured.map(|captured| captured.rewrite)), &url.uri) {
            (Some((from, to)), _) => draft.route.keys.replace_prefix(&from, &to),
            (None, Some(uri)) => path(draft, pass, &found.kind, uri),
            (None, None) => {}
        }
        let verifies = scope.one("proxy_ssl_verify").is_some_and(|item| item.arg(0) == "on");
        if url.protocol == "https" && !verifies {
            let why = "unstick verifies the certificates of replicas, and nginx does not here";
            draft.left.push(left(pass, why, "see [pool.NAME.tls]: ca and server_name"));
        }
        if let Some(item) = scope.one("proxy_redirect").filter(|item| !matches!(item.arg(0), "off" | "default")) {
            let what_to_do = "let the application know its public address, by X-Forwarded-Host and -Proto";
            draft.left.push(left(item, "unstick does not change the Location of a response", what_to_do));
        }
        self.request_fields(draft, pass, scope);
        self.response_fields(draft, scope, None);
        self.options(draft, scope);
        Self::retries(draft, scope);
        self.logging(draft, scope);
        self.error_pages(draft, scope);
    }
}

/// What a target makes of the path that a regular expression has found.
struct Captured<'a> {
    /// The target without a path.
    target: &'a str,
    /// The prefix that is replaced, and by what.
    rewrite: (String, String),
    drops_query: bool,
}

/// `^/api/(.*)$` and `http://app/v2/$1$is_args$args`.
fn captured<'a>(kind: &Kind, written: &'a str) -> Option<Captured<'a>> {
    let Kind::Regex(pattern) = kind else { return None };
    let ends = ["${is_args}${args}", "?${args}", "${is_args}${query_string}", "?${query_string}"];
    let with_query = ends.iter().find_map(|end| written.strip_suffix(end));
    let bare = with_query.unwrap_or(written);
    let path_at = bare.find("://").map_or(0, |at| at + 3);
    let path_at = path_at + bare[path_at..].find('/')?;
    let rewrite = prefix_rewrite(pattern, &bare[path_at..].replace("${1}", "$1"))?;
    Some(Captured { target: &bare[..path_at], rewrite, drops_query: with_query.is_none() })
}

/// Takes the target apart.
fn url(text: &str, is_grpc: bool) -> Result<Url, String> {
    let (scheme, rest) = text.split_once("://").unwrap_or((if is_grpc { "grpc" } else { "http" }, text));
    let protocol = match scheme {
        "http" => "",
        "grpc" => "h2c",
        "https" | "grpcs" => "https",
        _ => return Err(format!("the scheme {scheme} is not known before a request comes")),
    };
    let same = ["${request_uri}", "${uri}${is_args}${args}"];
    let rest = same.iter().find_map(|same| rest.strip_suffix(same)).unwrap_or(rest);
    if rest.contains('$') {
        return Err("the pool of a route is a fixed one".to_owned());
    }
    let (source, uri) = match rest.strip_prefix("unix:") {
        Some(socket) => match socket.split_once(':') {
            Some((file, uri)) => (format!("unix:{file}"), (!uri.is_empty()).then(|| uri.to_owned())),
            None => (rest.to_owned(), None),
        },
        None => match rest.find('/') {
            Some(at) => (rest[..at].to_owned(), Some(rest[at..].to_owned())),
            None => (rest.to_owned(), None),
        },
    };
    if source.is_empty() { Err("it names nobody".to_owned()) } else { Ok(Url { protocol, source, uri }) }
}

/// Replaces the path of the location by that of the target.
fn path(draft: &mut Draft, pass: &Directive, kind: &Kind, uri: &str) {
    match kind {
        Kind::Prefix(from) | Kind::Final(from) if from == uri => {}
        Kind::Exact(from) if from == uri => {}
        Kind::Exact(from) => draft.route.keys.replace_prefix(from, uri),
        Kind::Prefix(from) | Kind::Final(from) => match (from.ends_with('/'), uri.ends_with('/')) {
            (true, true) | (false, false) => draft.route.keys.replace_prefix(from, uri),
            (false, true) => {
                draft.route.keys.replace_prefix(from, uri);
                let why = format!("nginx makes {from}/x to {uri}/x with two slashes, unstick with one");
                draft.left.push(left(pass, why, "nothing, if replicas expect one slash"));
            }
            (true, false) => {
                let why = format!("nginx makes {from}x to {uri}x; unstick replaces whole segments");
                draft.left.push(left(pass, why, "end both with a slash, or neither; the path is passed on as it is"));
            }
        },
        Kind::Regex(_) | Kind::Named(_) => {
            draft.left.push(left(pass, "a path here needs a prefix to replace", "write it without the path"));
        }
    }
}

/// Whether the location asks for WebSockets.
pub(super) fn is_tunnel(scope: &Scope<'_>) -> bool {
    scope.nearest("proxy_set_header").iter().any(|item| item.arg(0).eq_ignore_ascii_case("upgrade"))
}
