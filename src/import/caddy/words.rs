//! Every word of a Caddyfile that the importer knows, and what becomes of it. Words of `reverse_proxy` and `tls` that
//! are those of a directive too have that before them.

use super::tree::Line;
use crate::fate::{self, Fate, Word, guard, left, needless, taken};
use crate::imported::LeftOut;

const APPLICATION: &str = "do it in the application";
const STATIC: &str = "let the replicas serve their files, or a CDN or a server of files behind unstick";
const NO_FILES: &str = "unstick serves no files";
const AUTH: &str = "unstick asks nobody who he is";
const AUTH_INSTEAD: &str = "let the replicas ask, or an authenticating proxy in front, then remove the 403";
const NO_CERTIFICATES: &str = "unstick gets no certificates";
const GET_ONE: &str = "get them with certbot, lego or acme.sh, and name their files in [listen.NAME.tls]";
const CIPHERS: &str = "TLS 1.2 and 1.3 have a fixed list of good ciphers (rustls)";
const FIXED: &str = "unstick has no variables";
const NO_BUFFERS: &str = "bodies are streamed";
const HOW: &str = "it says how, not what";
const PROBES: &str = "probes are GET requests to the address of the replica";
const SEE_HEALTH: &str = "see [pool.NAME.health]";
const CONNECTIONS: &str = "connections to replicas are kept";
const BY_NUMBER: &str = "attempts are bounded by their number, not by time";

/// The words.
pub(crate) const WORDS: &[Word] = &[
    // Of the grammar.
    taken("import", "snippets and files are put in its place, with `{args[0]}`, `{block}` and `{blocks.NAME}`"),
    taken("{$NAME:default}", "`${NAME:-default}`"),
    taken("@name", "conditions of routes; those with `not` are routes of their own, which are tried first"),
    taken("path", "`path`, as a regular expression that takes any case"),
    taken("path_regexp", "`path`"),
    taken("host", "`host`"),
    taken("protocol", "`listen`; `grpc` is a condition of Content-Type"),
    taken("header_regexp", "`header`"),
    taken("query", "`query`"),
    taken("remote_ip", "`allow` or `deny`, if others are refused"),
    taken("client_ip", "the same"),
    taken("not", "a route for what is excluded, which is tried first"),
    left("expression", "unstick runs no expressions", "write a route with conditions"),
    left("file", NO_FILES, APPLICATION),
    left("vars_regexp", FIXED, APPLICATION),
    // Of sites.
    taken("handle", "the first that fits; longer paths come first"),
    taken("handle_path", "the same, with `strip_prefix`"),
    taken("route", "the order in which it is written"),
    taken("invoke", "the named route is put in its place"),
    taken("reverse_proxy", "`pool`"),
    taken("respond", "`respond`; a refusal of addresses is `allow` or `deny`"),
    taken("redir", "`redirect`"),
    taken("error", "`respond`"),
    taken("abort", "`respond` with 403"),
    taken("rewrite", "`replace_prefix`, if it puts a prefix there or replaces one path"),
    taken("uri", "`strip_prefix`, if all paths of the route have the prefix"),
    taken("header", "`response_headers`: `add` for what is set before there is a response, else `set` and `remove`"),
    taken("request_header", "`request_headers`"),
    taken("request_body", "`limits.request_body`"),
    taken("method", "as a matcher `method`; unstick does not change the method of a request"),
    taken("log", "`[log] access`; sites without it have `access_log = false`"),
    taken("log_skip", "`access_log = false`"),
    taken("skip_log", "`access_log = false`"),
    taken("handle_errors", "`errors`, if it is a `respond` with a fixed text"),
    taken("bind", "`[listen.NAME] address`"),
    taken("tls", "`[listen.NAME.tls]`; without files it names those where certificates are expected"),
    taken("client_auth", "`client_ca` and `client_auth`, if the listener has no other site"),
    needless("root", "unstick serves no files"),
    needless("log_name", "there is one access log"),
    needless("fs", "unstick serves no files"),
    needless("tracing", "X-Request-Id and traceparent pass"),
    left("map", FIXED, "write a route for each value"),
    left("vars", FIXED, APPLICATION),
    left("log_append", "the access log has fields of its own", "see `access_fields` of [log]"),
    left("encode", "unstick passes bodies on as they are", "let the replicas compress, or a CDN"),
    left("templates", "unstick passes bodies on as they are", APPLICATION),
    left("push", "browsers no longer take it", "send 103 (Early Hints), which is passed on"),
    left("intercept", "responses of replicas pass as they are", APPLICATION),
    left("copy_response", "responses of replicas pass as they are", APPLICATION),
    left("copy_response_headers", "responses of replicas pass as they are", APPLICATION),
    left("timeouts", "deadlines are those of a route", "see `timeouts` of the route"),
    left("try_files", NO_FILES, STATIC),
    left("file_server", NO_FILES, STATIC),
    left("php_fastcgi", "unstick speaks HTTP to its replicas", "put the HTTP server of the application there"),
    left("metrics", "the admin port has /metrics", "scrape that"),
    left("acme_server", NO_CERTIFICATES, "keep Caddy for that"),
    left("rate_limit", "its zones have keys of their own", "write `rate` in the route; it is not limited now"),
    guard("basic_auth", AUTH, AUTH_INSTEAD),
    guard("basicauth", AUTH, AUTH_INSTEAD),
    guard("forward_auth", AUTH, AUTH_INSTEAD),
    guard("authenticate", AUTH, AUTH_INSTEAD),
    guard("authorize", AUTH, AUTH_INSTEAD),
    guard("jwtauth", AUTH, AUTH_INSTEAD),
    guard("crowdsec", "unstick is no firewall of applications", "put one in front, then remove the 403"),
    guard("appsec", "unstick is no firewall of applications", "put one in front, then remove the 403"),
    guard("coraza_waf", "unstick is no firewall of applications", "put one in front, then remove the 403"),
    guard("geoip", "unstick knows no countries", "do it in the application, then remove the 403"),
    guard("maxmind_geolocation", "unstick knows no countries", "do it in the application, then remove the 403"),
    // Of reverse_proxy.
    taken("to", "`backends`"),
    taken("dynamic", "`a` is a backend with a name; its records are asked for"),
    taken("lb_policy", "`balance`; without it Caddy's is `random`"),
    taken("lb_retries", "`[pool.NAME.retry] attempts`, one more"),
    taken("health_uri", "`[pool.NAME.health] path`"),
    taken("health_path", "`[pool.NAME.health] path`"),
    taken("health_interval", "`[pool.NAME.health] interval`"),
    taken("health_timeout", "`[pool.NAME.health] timeout`"),
    taken("health_status", "`[pool.NAME.health] status`"),
    taken("health_passes", "`[pool.NAME.health] rise`"),
    taken("health_fails", "`[pool.NAME.health] fall`"),
    taken("health_body", "`[pool.NAME.health] body`, if it is a plain text"),
    taken("health_headers", "`[pool.NAME.health] host`"),
    taken("fail_duration", "`[pool.NAME.eject] duration`"),
    taken("max_fails", "`[pool.NAME.eject] failures`"),
    taken("unhealthy_request_count", "`max_requests` with a queue of 0"),
    taken("header_up", "`request_headers`, unless unstick does the same anyway"),
    taken("header_down", "`response_headers`"),
    taken("transport", "`http`: `protocol`, `[pool.NAME.tls]` and `timeouts`"),
    taken("dial_timeout", "`timeouts.connect`"),
    taken("response_header_timeout", "`timeouts.response_head`"),
    taken("read_timeout", "`timeouts.response_body`"),
    taken("tls_server_name", "`[pool.NAME.tls] server_name`"),
    taken("tls_trust_pool", "`[pool.NAME.tls] ca`, if it is one file"),
    taken("tls_trusted_ca_certs", "`[pool.NAME.tls] ca`, if it is one file"),
    taken("tls_client_auth", "`[pool.NAME.tls] cert` and `key`"),
    taken("versions", "`protocol = \"h2c\"`"),
    taken("proxy_protocol", "`proxy_protocol`, of a pool and of listeners"),
    needless("flush_interval", NO_BUFFERS),
    needless("request_buffers", NO_BUFFERS),
    needless("response_buffers", NO_BUFFERS),
    needless("stream_buffer_size", NO_BUFFERS),
    needless("stream_close_delay", "connections run on when the config changes"),
    needless("verbose_logs", "see `[log] level`"),
    needless("lb_try_interval", HOW),
    needless("read_buffer", HOW),
    needless("write_buffer", HOW),
    needless("dial_fallback_delay", HOW),
    needless("expect_continue_timeout", HOW),
    needless("tls_timeout", "`timeouts.connect`"),
    needless("tls_curves", CIPHERS),
    needless("tls_renegotiation", "TLS 1.3 has none"),
    needless("compression", "unstick asks for none by itself"),
    needless("keepalive", CONNECTIONS),
    needless("keepalive_interval", CONNECTIONS),
    needless("keepalive_idle", CONNECTIONS),
    needless("keepalive_count", CONNECTIONS),
    needless("keepalive_idle_conns", CONNECTIONS),
    needless("keepalive_idle_conns_per_host", CONNECTIONS),
    left("lb_try_duration", BY_NUMBER, "see [pool.NAME.retry] and `timeouts.request`"),
    left("lb_retry_match", "idempotent requests are repeated", "see [pool.NAME.retry] for what may be"),
    left("health_port", PROBES, "let the replica answer at its own port"),
    left("health_upstream", PROBES, "let the replica answer at its own port"),
    left("health_method", PROBES, SEE_HEALTH),
    left("health_request_body", PROBES, SEE_HEALTH),
    left("health_follow_redirects", PROBES, "see `status` of [pool.NAME.health]"),
    left("unhealthy_status", "responses are no failures, unless they are listed", "see `retry.on_status`: 502 to 504"),
    left(
        "unhealthy_latency",
        "slow responses are no failures",
        "see `timeouts.response_head`, or balance = \"peak-ewma\"",
    ),
    left("stream_timeout", "it holds for what is upgraded", "see `timeouts.tunnel`"),
    left("handle_response", "responses of replicas pass as they are", APPLICATION),
    left("replace_status", "responses of replicas pass as they are", APPLICATION),
    left("reverse_proxy trusted_proxies", "it holds for listeners", "see `trusted_proxies` of [listen.NAME]"),
    left("reverse_proxy method", "unstick does not change the method", APPLICATION),
    left("reverse_proxy rewrite", "a route strips or replaces a prefix", "write strip_prefix or replace_prefix"),
    left("tls_insecure_skip_verify", "unstick verifies the certificates of replicas", "see [pool.NAME.tls]"),
    left("tls_except_ports", "a pool speaks one protocol", "write two pools"),
    left("write_timeout", "a replica that does not read is cut off by `timeouts.response_head`", "see [timeouts]"),
    left("max_response_header", "heads of responses have a fixed bound", "nothing"),
    left("max_conns_per_host", "requests are bounded, not connections", "see `max_requests` of [pool.NAME]"),
    left("forward_proxy_url", "unstick connects to its replicas itself", "set a route of the system"),
    left("network_proxy", "unstick connects to its replicas itself", "set a route of the system"),
    left("local_address", "the system chooses the source address", "set a route of the system"),
    left("resolvers", "name servers hold for all pools", "see [dns]"),
    // Of tls.
    needless("tls alpn", "see `protocols` of [listen.NAME]"),
    left("tls protocols", "unstick speaks TLS 1.2 and 1.3", "see whether clients need another"),
    left("ciphers", CIPHERS, "remove it"),
    left("curves", CIPHERS, "remove it"),
    left("load", "certificates are named one by one", "name each in [listen.NAME.tls]"),
    left("ca", NO_CERTIFICATES, GET_ONE),
    left("ca_root", NO_CERTIFICATES, GET_ONE),
    left("dns", NO_CERTIFICATES, GET_ONE),
    left("issuer", NO_CERTIFICATES, GET_ONE),
    left("get_certificate", NO_CERTIFICATES, GET_ONE),
    left("on_demand", NO_CERTIFICATES, GET_ONE),
    // Of the whole file.
    taken("http_port", "the port of listeners without TLS"),
    taken("https_port", "the port of listeners with TLS"),
    taken("auto_https", "whether there is a route from HTTP to HTTPS"),
    taken("default_bind", "`[listen.NAME] address`"),
    taken("order", "the order of directives"),
    taken("debug", "`[log] level`"),
    taken("grace_period", "`timeouts.drain`"),
    taken("shutdown_delay", "`timeouts.shutdown_delay`"),
    taken("servers", "`trusted_proxies`, `protocols`, `timeouts` and `limits.request_head`"),
    taken("trusted_proxies", "`trusted_proxies`, if it is `static`"),
    taken("trusted_proxies_strict", "what unstick does"),
    taken("protocols", "`protocols`"),
    taken("read_body", "`timeouts.request_body`"),
    taken("read_header", "`timeouts.request_head`"),
    taken("write", "`timeouts.client_write`"),
    taken("idle", "`timeouts.client_idle`"),
    taken("max_header_size", "`limits.request_head`"),
    taken("listener_wrappers", "`proxy_protocol`, with its `allow` as `trusted_proxies`"),
    needless("email", NO_CERTIFICATES),
    needless("admin", "the admin port of unstick changes endpoints, not the config; see [admin]"),
    needless("persist_config", "the file is the config"),
    needless("storage", NO_CERTIFICATES),
    needless("storage_check", NO_CERTIFICATES),
    needless("storage_clean_interval", NO_CERTIFICATES),
    needless("acme_ca", NO_CERTIFICATES),
    needless("acme_ca_root", NO_CERTIFICATES),
    needless("acme_dns", NO_CERTIFICATES),
    needless("acme_eab", NO_CERTIFICATES),
    needless("tls_resolvers", NO_CERTIFICATES),
    needless("eab", NO_CERTIFICATES),
    needless("dns_ttl", NO_CERTIFICATES),
    needless("dns_challenge_override_domain", NO_CERTIFICATES),
    needless("propagation_delay", NO_CERTIFICATES),
    needless("propagation_timeout", NO_CERTIFICATES),
    needless("reuse_private_keys", NO_CERTIFICATES),
    needless("insecure_secrets_log", "it is for debugging"),
    needless("on_demand_tls", NO_CERTIFICATES),
    needless("cert_issuer", NO_CERTIFICATES),
    needless("cert_lifetime", NO_CERTIFICATES),
    needless("renew_interval", NO_CERTIFICATES),
    needless("renewal_window_ratio", NO_CERTIFICATES),
    needless("key_type", NO_CERTIFICATES),
    needless("local_certs", NO_CERTIFICATES),
    needless("skip_install_trust", NO_CERTIFICATES),
    needless("preferred_chains", NO_CERTIFICATES),
    needless("pki", NO_CERTIFICATES),
    needless("ocsp_interval", NO_CERTIFICATES),
    needless("strict_sni_host", "a route is chosen by Host"),
    needless("enable_full_duplex", NO_BUFFERS),
    needless("log_credentials", "the access log has no such fields"),
    needless("name", "it has no effect"),
    left("ocsp_stapling", "responses of OCSP are not stapled", "remove it; short-lived certificates need none"),
    left("default_sni", "a client without a name gets the first certificate", "write that one as `cert`"),
    left("fallback_sni", "a client without a name gets the first certificate", "write that one as `cert`"),
    left(
        "client_ip_headers",
        "unstick reads X-Forwarded-For and Forwarded",
        "let the proxy in front send one of these",
    ),
    left("events", "unstick runs nothing", "watch /metrics"),
    left("filesystem", NO_FILES, STATIC),
    left("layer4", "unstick balances HTTP only", "keep Caddy for that"),
];

/// Whether a directive keeps somebody out, in a way that has no translation.
pub(super) fn is_guard(name: &str) -> bool {
    matches!(fate::find(WORDS, name), Some(Fate::Guard(..)))
}

/// Notes a line of a block that has no translation, or that nobody knows. `of` is the directive of the block.
pub(super) fn note_option(of: &str, line: &Line, left: &mut Vec<LeftOut>) {
    let special = fate::find(WORDS, &format!("{of} {}", line.name));
    let found = special.or_else(|| fate::find(WORDS, &line.name));
    match found {
        Some(Fate::Needless(_)) => {}
        Some(Fate::Left(why, what_to_do) | Fate::Guard(why, what_to_do)) => {
            left.push(super::left(line, why, what_to_do));
        }
        Some(Fate::Taken(_)) => {
            let why = "this value has no translation";
            left.push(super::left(line, why, "see docs/import.md, and the table that it belongs to"));
        }
        None => {
            let why = "the importer does not know this word";
            left.push(super::left(line, why, "see what it does, and whether unstick has it"));
        }
    }
}
