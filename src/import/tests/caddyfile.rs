//! Each translation of a Caddyfile's words, as a fragment: what is written, and what is told of it.

#![cfg(test)]

mod checks;
mod reader;

use std::path::Path;

use checks::{check_of, imported};
use unstick_import::Kind;

fn in_site(fragment: &str) -> String {
    format!("http://a.test {{\n{fragment}\n}}\n")
}

fn check(rows: &[(&str, &[&str], &str)]) {
    check_of(Kind::Caddy, in_site, rows);
}

#[test]
fn what_a_site_does_with_a_request() {
    check(&[
        ("reverse_proxy app:3000", &["host = \"a.test\"\npath = \"/\"\npool = \"app-3000\""], ""),
        (
            "reverse_proxy /api/* app:3000",
            &["path = \"~(?i)^/api/\"\npool", "path = \"/\"\nrespond = { status = 200 }"],
            "",
        ),
        ("respond /Up 204", &["path = \"~(?i)^/up$\"\nrespond = { status = 204 }"], ""),
        ("respond hello", &["content_type = \"text/plain; charset=utf-8\", body = \"hello\""], ""),
        ("respond `{\"a\": 1}` 201", &["status = 201, content_type = \"application/json\", body = '{\"a\": 1}'"], ""),
        ("respond \"I am {host}\"", &["respond = { status = 200 }"], "a fixed text has no placeholders"),
        ("error /x 410", &["path = \"~(?i)^/x$\"\nrespond = { status = 410 }"], ""),
        ("abort /x", &["path = \"~(?i)^/x$\"\nrespond = { status = 403 }"], "closes no connection"),
        ("redir https://b.test{uri}", &["to = \"https://b.test{path}{?query}\", status = 302"], ""),
        ("redir https://{host}:8443{uri} 308", &["to = \"https://{host}:8443{path}{?query}\", status = 308"], ""),
        ("redir /a /b permanent", &["path = \"~(?i)^/a$\"\nredirect = { to = \"/b\", status = 301 }"], ""),
        ("redir https://b.test html", &["status = 302"], "a redirect is one by its status"),
        ("redir https://b.test{re.x.1}", &["respond = { status = 404 }"], "unstick has no value for {re.x.1}"),
        ("redir b.test", &["respond = { status = 404 }"], "no place that a redirect can lead to"),
        (
            "handle_path /a/* {\nreverse_proxy app\n}",
            &["path = \"~(?i)^/a/\"\npool = \"app-80\"\nstrip_prefix = \"/a\""],
            "",
        ),
        (
            "handle_path /a/* {\nredir https://b.test{uri}\n}",
            &["respond = { status = 404 }"],
            "is the changed path here",
        ),
        ("handle_path /a/* {\nredir https://b.test{orig_uri}\n}", &["to = \"https://b.test{path}{?query}\""], ""),
        ("handle_path /a* {\nreverse_proxy app\n}", &["strip_prefix = \"/a\""], "strips whole segments"),
        (
            "handle_path /a/* {\nreverse_proxy /b/* b\nreverse_proxy c\n}",
            &["path = \"~(?i)^/a/b/\"\npool = \"b-80\"\nstrip_prefix = \"/a\""],
            "",
        ),
        ("uri /a/* strip_prefix /a\nreverse_proxy app", &["path = \"~(?i)^/a/\"\npool = \"app-80\"\nstrip_prefix"], ""),
        ("uri strip_prefix /a\nreverse_proxy app", &["path = \"/\"\npool"], "that all of its paths have"),
        ("uri replace a b\nreverse_proxy app", &["path = \"/\"\npool"], "strips or replaces a prefix"),
        ("rewrite * /v2{uri}\nreverse_proxy app", &["replace_prefix = { from = \"/\", to = \"/v2\" }"], ""),
        (
            "handle_path /a/* {\nrewrite * /b{uri}\nreverse_proxy app\n}",
            &["replace_prefix = { from = \"/a\", to = \"/b\" }"],
            "",
        ),
        (
            "rewrite /a /b\nreverse_proxy app",
            &["path = \"~(?i)^/a$\"\npool = \"app-80\"\nreplace_prefix = { from = \"/a\""],
            "",
        ),
        ("rewrite /a/* /b\nreverse_proxy app", &["pool = \"app-80\"\n#"], "strips or replaces a prefix"),
        ("request_body {\nmax_size 1MB\n}\nreverse_proxy app", &["limits = { request_body = \"1MB\" }"], ""),
        (
            "log_skip /up\nlog\nrespond 200",
            &["path = \"~(?i)^/up$\"\nrespond = { status = 200 }\naccess_log = false"],
            "",
        ),
        ("encode gzip\nreverse_proxy app", &["pool = \"app-80\""], "passes bodies on as they are"),
        ("file_server /x/*\nfile_server", &["path = \"~(?i)^/x/\"\nrespond = { status = 404 }"], "serves no files"),
        ("php_fastcgi unix//run/php.sock", &["respond = { status = 404 }"], "speaks HTTP to its replicas"),
        ("frobnicate on\nreverse_proxy app", &["pool = \"app-80\""], "does not know this directive"),
        ("handle_errors {\nrespond \"sorry\"\n}\nreverse_proxy app", &["[errors]\n502 = { body = \"sorry\""], ""),
        (
            "handle_errors {\nrespond \"no\"\n}\nerror /x 404\nreverse_proxy app",
            &["respond = { status = 404, body = \"no\"", "502 = { body = \"no\""],
            "",
        ),
        ("handle_errors 5xx {\nrespond \"no\"\n}\nreverse_proxy app", &["[errors]\n502 = { body = \"no\""], ""),
        ("respond 103", &["respond = { status = 500 }"], "no status of a response"),
        ("handle_errors 404 {\nrewrite * /x\nfile_server\n}\nreverse_proxy app", &[], "fixed texts or files"),
    ]);
}

#[test]
fn directives_are_in_the_order_of_caddy() {
    check(&[
        ("reverse_proxy app\nrespond /x hi", &["path = \"~(?i)^/x$\"\nrespond", "path = \"/\"\npool"], ""),
        ("reverse_proxy app\nrespond hi", &["path = \"/\"\nrespond"], ""),
        ("route {\nreverse_proxy app\nrespond hi\n}", &["path = \"/\"\npool"], ""),
        (
            "handle /a/* {\nrespond 1\n}\nhandle_path /a/b/* {\nrespond 2\n}\nhandle {\nrespond 3\n}",
            &["a/b/\"\nrespond = { status = 200, content_type = \"text/plain; charset=utf-8\", body = \"2\" }"],
            "",
        ),
        (
            "header /x* X-A 1\nheader X-A 2\nrespond 200",
            &["path = \"/\"\nrespond = { status = 200 }\nresponse_headers = { set = { x-a = \"2\""],
            "",
        ),
        // What follows a group of `handle` is for those that do not respond.
        ("handle /a {\nheader X-A 1\n}\nhandle {\nheader X-A 2\n}\nrespond 200", &["x-a = \"1\"", "x-a = \"2\""], ""),
        // The first in the file comes first, whatever its path is, so it needs a priority.
        ("route {\nrespond /* 201\n}\nrespond /b 202", &["path = \"/\"\nrespond = { status = 201 }"], ""),
        (
            "route {\n@get method GET\nrespond @get 201\nrespond /b 202\nrespond 203\n}",
            &[
                "path = \"/\"\npriority = 1\nmethod = \"GET\"\nrespond = { status = 201 }",
                "path = \"~(?i)^/b$\"\nrespond",
            ],
            "",
        ),
        // Directives with the same matcher that follow each other are one route of Caddy, which asks it once.
        (
            "uri /a/* strip_prefix /a\nreverse_proxy /a/* app",
            &["path = \"~(?i)^/a/\"\npool = \"app-80\"\nstrip_prefix = \"/a\""],
            "",
        ),
        (
            "handle /a {\nheader X-A 1\n}\nhandle /a {\nrespond 201\n}\nhandle {\nrespond 202\n}",
            &["path = \"~(?i)^/a$\"\nrespond = { status = 201 }\nresponse_headers = { set = { x-a = \"1\" } }"],
            "",
        ),
        (
            "handle * {\nheader X-A 1\n}\nhandle {\nrespond 201\n}",
            &["{ status = 201 }\nresponse_headers = { set = { x-a"],
            "",
        ),
        (
            "handle_path /a/* {\nheader X-A 1\n}\nhandle_path /a/* {\nreverse_proxy app\n}",
            &["path = \"~(?i)^/a/\"\npool = \"app-80\"\nstrip_prefix = \"/a\""],
            "runs both blocks of this path",
        ),
    ]);
    let ordered = "{\norder respond before redir\n}\nhttp://a.test {\nredir https://b.test\nrespond 200\n}\n";
    let (toml, _) = imported(Kind::Caddy, ordered);
    assert!(toml.contains("respond = { status = 200 }") && !toml.contains("redirect"), "{toml}");
}

#[test]
fn what_a_matcher_asks_for() {
    let then = "\nreverse_proxy @m b\nreverse_proxy a";
    let rows: [(&str, &[&str], &str); 10] = [
        ("@m method GET HEAD", &["method = [\"GET\", \"HEAD\"]\npool = \"b-80\"", "path = \"/\"\npool = \"a-80\""], ""),
        ("@m header X-A *b*", &["header = { x-a = \"~b\" }\npool = \"b-80\""], ""),
        ("@m query a=1", &["query = { a = \"1\" }\npool = \"b-80\""], ""),
        ("@m path /x/* *.js", &["path = \"~(?i)^/x/\"\npool", "path = '~(?i)\\.js$'\npool"], ""),
        ("@m path_regexp ^/v[12]/", &["path = \"~^/v[12]/\"\npool = \"b-80\""], ""),
        ("@m not path /x/*", &["path = \"~(?i)^/x/\"\npool = \"a-80\"", "path = \"/\"\npool = \"b-80\""], ""),
        (
            "@m {\nmethod GET\nnot header X-A 1\n}",
            &["method = \"GET\"\nheader = { x-a = \"1\" }\npool = \"a-80\"", "method = \"GET\"\npool = \"b-80\""],
            "",
        ),
        ("@m protocol https", &["path = \"/\"\npool = \"a-80\""], ""),
        ("@m `{path} == \"/x\"`", &["path = \"/\"\npool = \"a-80\""], "runs no expressions"),
        ("@m remote_ip 10.0.0.0/8", &["path = \"/\"\npool = \"a-80\""], "not where a request goes"),
    ];
    for (matcher, written, told) in rows {
        check(&[(&format!("{matcher}{then}"), written, told)]);
    }
}

#[test]
fn what_a_reverse_proxy_says() {
    let rows: [(&str, &[&str], &str); 29] = [
        ("to b:2", &["backends = [\"a:1\", \"b:2\"]\nbalance = \"random\""], ""),
        ("to b:2\nlb_policy round_robin", &["backends = [\"a:1\", \"b:2\"]\n"], ""),
        ("lb_policy least_conn", &["balance = \"least-connections\""], ""),
        ("lb_policy random_choose 2", &["balance = \"p2c\""], ""),
        ("to b:2\nlb_policy weighted_round_robin 3 1", &["{ address = \"a:1\", weight = 3 }"], ""),
        ("lb_policy ip_hash", &["backends = [\"a:1\"]"], "run `unstick audit`"),
        ("lb_policy cookie lb", &["backends = [\"a:1\"]"], "run `unstick audit`"),
        ("lb_policy first", &["backends = [\"a:1\"]"], "has no first replica"),
        ("lb_retries 3", &["[pool.a-1.retry]\nattempts = 4"], ""),
        ("lb_try_duration 5s", &["backends = [\"a:1\"]"], "bounded by their number"),
        ("health_uri /up\nhealth_status 200", &["path = \"/up\"\nstatus = \"200\"", "interval = \"30s\""], ""),
        ("health_interval 5s", &["backends = [\"a:1\"]\n"], ""),
        ("health_uri /up\nhealth_headers {\nHost b.test\n}", &["host = \"b.test\""], ""),
        ("fail_duration 10s", &["[pool.a-1.eject]\nfailures = 1\nduration = \"10s\""], "failures in a row"),
        ("max_fails 3", &["backends = [\"a:1\"]\n"], ""),
        ("unhealthy_request_count 9", &["max_requests = 9\n\n[pool.a-1.queue]\nsize = 0"], ""),
        ("header_up X-A b\nheader_up -X-C", &["request_headers = { set = { x-a = \"b\" }, remove = [\"x-c\"] }"], ""),
        ("header_up X-Real-IP {remote_host}", &["set = { x-real-ip = \"{client_ip}\" }"], ""),
        ("header_up X-Forwarded-Proto {scheme}\nheader_up Host {host}", &["pool = \"a-1\"\n\n"], ""),
        ("header_up Host {upstream_hostport}", &["request_headers = { set = { host = \"a:1\" } }"], ""),
        ("to b:1\nheader_up Host {upstream_hostport}", &["pool = \"a-1\"\n#"], "the address of the replica in Host"),
        ("header_up X-Forwarded-For x", &["pool = \"a-1\"\n#"], "writes this header itself"),
        (
            "header_down -Server\nheader_down X-A b",
            &["response_headers = { set = { x-a = \"b\" }, remove = [\"server\"] }"],
            "",
        ),
        ("transport http {\ntls\n}", &["protocol = \"https\"", "set = { host = \"a:1\" }"], ""),
        ("transport http {\ntls_insecure_skip_verify\n}", &["protocol = \"https\""], "does not here"),
        ("transport http {\nversions h2c 2\n}", &["protocol = \"h2c\""], ""),
        (
            "transport http {\ndial_timeout 1s\nread_timeout 2m\n}",
            &["timeouts = { connect = \"1s\", response_body = \"2m\" }"],
            "",
        ),
        ("transport fastcgi", &["backends = [\"a:1\"]"], "speaks HTTP to its replicas"),
        ("flush_interval -1", &["backends = [\"a:1\"]"], ""),
    ];
    for (options, written, told) in rows {
        check(&[(&format!("reverse_proxy a:1 {{\n{options}\n}}"), written, told)]);
    }
    check(&[
        ("reverse_proxy https://b.test", &["backends = [\"b.test:443\"]", "set = { host = \"b.test\" }"], ""),
        ("reverse_proxy unix//run/a.sock", &["backends = [\"unix:/run/a.sock\"]"], ""),
        ("reverse_proxy {\ndynamic a app 80\n}", &["backends = [\"app:80\"]\nbalance = \"random\""], ""),
        ("reverse_proxy {\ndynamic srv _x._tcp.b\n}", &["respond = { status = 404 }"], "A and AAAA"),
        ("reverse_proxy {http.request.host}:80", &["respond = { status = 404 }"], "fixed before a request comes"),
        ("reverse_proxy {$UP:app:80}", &["backends = [\"${UP:-app:80}\"]"], ""),
    ]);
}

#[test]
fn what_headers_become() {
    let pass = "\nreverse_proxy app";
    let rows: [(&str, &[&str], &str); 13] = [
        ("header X-A b", &["response_headers = { add = { x-a = \"b\" } }"], ""),
        ("header >X-A b", &["response_headers = { set = { x-a = \"b\" } }"], ""),
        ("header +X-A b", &["response_headers = { add = { x-a = \"b\" } }"], ""),
        ("header -X-A", &["response_headers = { remove = [\"x-a\"] }"], ""),
        ("header {\nX-A b\n-Server\n}", &["set = { x-a = \"b\" }, remove = [\"server\"] }"], ""),
        (
            "header X-A b\nreverse_proxy /x app {\nheader_down X-A c\n}",
            &["pool = \"app-80\"\nresponse_headers = { add = { x-a = \"b\" }, set = { x-a = \"c\" } }"],
            "",
        ),
        (
            "header >X-A b\nreverse_proxy /x app {\nheader_down X-A c\n}",
            &["path = \"~(?i)^/x$\"\npool = \"app-80\"\nresponse_headers = { set = { x-a = \"b\" } }"],
            "",
        ),
        ("header {\n+X-A b\n+X-A c\n}", &["response_headers = { add = { x-a = \"b\" } }"], "added once"),
        ("header ?X-A b", &["pool = \"app-80\"\n#"], "only where the replica has none"),
        ("header X-A b c", &["pool = \"app-80\"\n#"], "nothing is replaced in them"),
        ("header -X-*", &["pool = \"app-80\"\n#"], "no name of one field"),
        ("header X-A {re.b.1}", &["pool = \"app-80\"\n#"], "no value for {re.b.1}"),
        ("request_header X-A {uuid}", &["request_headers = { set = { x-a = \"{request_id}\" } }"], ""),
    ];
    for (fragment, written, told) in rows {
        check(&[(&format!("{fragment}{pass}"), written, told)]);
    }
    check(&[
        ("header Content-Type text/html\nrespond hi", &["content_type = \"text/html\", body = \"hi\""], ""),
        ("header ?X-A b\nrespond hi", &["response_headers = { set = { x-a = \"b\" } }"], ""),
    ]);
}

#[test]
fn what_addresses_become() {
    fn around(fragment: &str) -> String {
        format!("{fragment}\nrespond 200\n")
    }
    let tls = "Caddy gets a certificate by itself";
    check_of(
        Kind::Caddy,
        around,
        &[
            (":80", &["[listen.http]\naddress = \":80\""], ""),
            ("http://a.test, http://b.test:8080", &["[listen.port-8080]", "host = \"b.test\""], ""),
            (
                "a.test",
                &["cert = \"a.test.crt\"", "redirect = { to = \"https://{host}{path}{?query}\", status = 308 }"],
                tls,
            ),
            ("*.a.test", &["cert = \"wildcard_.a.test.crt\"", "host = \"*.a.test\""], tls),
            ("a.test:8443", &["to = \"https://{host}:8443{path}{?query}\""], tls),
            ("http://a.test\nbind 127.0.0.1 ::1", &["address = \"127.0.0.1:80\"", "address = \"[::1]:80\""], ""),
            ("http://a.test\nbind tcp4/0.0.0.0 tcp6/[::]", &["address = \"0.0.0.0:80\"", "address = \"[::]:80\""], ""),
            (
                "http://a.test\nbind 127.0.0.1 fd/3",
                &["address = \"127.0.0.1:80\""],
                "no address that unstick can listen at",
            ),
            (
                "a.test\ntls c.pem c.key\nroute {\nreverse_proxy app {\nheader_up X-Forwarded-Proto https\n}\n}",
                &["pool = \"app-80\""],
                "",
            ),
            ("{$SITE:a.test}", &["host = \"${SITE:-a.test}\"", "cert = \"${SITE:-a.test}.crt\""], tls),
            (":{$PORT:8080}", &["address = \":${PORT:-8080}\""], ""),
            ("a.test\ntls c.pem c.key", &["cert = \"c.pem\"\nkey = \"c.key\""], ""),
            ("a.test/x/*\ntls c.pem c.key", &["path = \"~(?i)^/x/\""], ""),
            ("https://a.test, http://a.test\ntls c.pem c.key", &["host = \"a.test\"\npath = \"/\"\nrespond"], ""),
            ("http://a.*.test, :80", &["[listen.http]"], "is no host"),
        ],
    );
}

#[test]
fn a_host_that_another_site_has_is_of_that_one() {
    let text = "http://*.a.test {\n@b host b.a.test c.a.test\nhandle @b {\nrespond 201\n}\nrespond 202\n}\n\
                http://b.a.test {\nrespond 203\n}\n";
    let (toml, told) = imported(Kind::Caddy, text);
    assert!(toml.contains("host = \"c.a.test\"\npath = \"/\"\nrespond = { status = 201 }"), "{toml}");
    assert!(toml.contains("host = \"*.a.test\"\npath = \"/\"\nrespond = { status = 202 }"), "{toml}");
    assert!(
        toml.contains("host = \"b.a.test\"\npath = \"/\"\nrespond = { status = 203 }") && told.is_empty(),
        "{toml}"
    );
}

#[test]
fn a_named_route_is_put_in_its_place() {
    let text = "&(app) {\nheader X-A 1\nrespond 201\n}\nhttp://a.test {\ninvoke /x app\nrespond 202\n}\n";
    let (toml, told) = imported(Kind::Caddy, text);
    let named = "path = \"~(?i)^/x$\"\nrespond = { status = 201 }\nresponse_headers = { set = { x-a = \"1\" } }";
    assert!(toml.contains(named) && told.is_empty(), "{toml}\n{told}");
}

#[test]
fn what_is_for_a_wildcard_is_for_the_hosts_below_it_too() {
    let text = "http://*.a.test {\nredir /old /new\n@b host b.a.test\nhandle @b {\nrespond 201\n}\nrespond 202\n}\n";
    let (toml, told) = imported(Kind::Caddy, text);
    let hosts = "host = [\"*.a.test\", \"b.a.test\"]\npath = \"~(?i)^/old$\"\n";
    assert!(toml.contains(hosts) && told.is_empty(), "{toml}\n{told}");
}

#[test]
fn files_are_known_by_their_names() {
    for (name, expected) in [
        ("Caddyfile", Some(Kind::Caddy)),
        ("/etc/caddy/Caddyfile", Some(Kind::Caddy)),
        ("Caddyfile.prod", Some(Kind::Caddy)),
        ("shop.caddyfile", Some(Kind::Caddy)),
        ("nginx.conf", Some(Kind::Nginx)),
        ("caddy", None),
    ] {
        assert_eq!(Kind::of(Path::new(name)), expected, "{name}");
    }
}
