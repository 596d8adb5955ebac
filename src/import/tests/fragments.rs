//! Each translation of nginx's words, as a fragment: what is written, and what is told of it.

#![cfg(test)]

mod checks;
mod reader;

use std::fs;

use checks::check_of;
use unstick_import::{Kind, import};

/// A server around directives of a location.
fn in_location(fragment: &str) -> String {
    format!(
        "server {{ listen 80; proxy_set_header Host $host; location / {{ {fragment} }}\n\
         location = /keep {{ proxy_pass http://app; }} }}\n\
         upstream app {{ server a:1; server b:1; }}\n"
    )
}

/// Checks rows of (fragment, parts of what is written, a part of what is told or nothing).
fn check(around: fn(&str) -> String, rows: &[(&str, &[&str], &str)]) {
    check_of(Kind::Nginx, around, rows);
}

#[test]
fn what_a_location_says() {
    check(
        in_location,
        &[
            ("proxy_pass http://app;", &["pool = \"app\"", "backends = [\"a:1\", \"b:1\"]"], ""),
            ("proxy_pass http://app/;", &["pool = \"app\""], ""),
            ("proxy_pass http://app/v2/;", &["replace_prefix = { from = \"/\", to = \"/v2\" }"], ""),
            ("proxy_pass http://app$request_uri;", &["pool = \"app\""], ""),
            ("set $up app; proxy_pass http://$up;", &["pool = \"app\""], ""),
            ("proxy_pass http://$arg_up;", &["respond = { status = 404 }"], "the pool of a route is a fixed one"),
            ("proxy_pass https://c;", &["protocol = \"https\"", "backends = [\"c:443\"]"], "verifies the certificates"),
            ("proxy_pass https://c; proxy_ssl_verify on;", &["protocol = \"https\""], ""),
            ("proxy_pass http://unix:/run/a.sock;", &["backends = [\"unix:/run/a.sock\"]"], ""),
            ("proxy_pass http://app; proxy_redirect http://x/ /;", &[], "does not change the Location"),
            ("proxy_pass http://app; proxy_set_header X-A b;", &[], "sends the name of the upstream in Host"),
            (
                "proxy_pass http://app; proxy_set_header Host $host; proxy_set_header X-A '{\"b\"}';",
                &["request_headers = { set = { x-a = '{{\"b\"}}' } }"],
                "",
            ),
            (
                "proxy_pass http://app; proxy_set_header Host $host; proxy_set_header X-Forwarded-For $http_x;",
                &[],
                "unstick writes this header itself",
            ),
            ("proxy_pass http://app; proxy_next_upstream off;", &["retry = { attempts = 1 }"], ""),
            ("proxy_pass http://app; proxy_next_upstream error http_503;", &["retry = { on_status = [503] }"], ""),
            ("proxy_pass http://app; proxy_next_upstream http_500;", &[], "does not repeat a request for `http_500`"),
            ("proxy_pass http://app; proxy_read_timeout 1d;", &["response_head = \"24h\""], ""),
            ("proxy_pass http://app; client_max_body_size 0;", &["limits = { request_body = \"0B\" }"], ""),
            ("proxy_pass http://app; allow 10.0.0.0/8; deny all;", &["allow = [\"10.0.0.0/8\"]"], ""),
            ("proxy_pass http://app; deny 10.0.0.1;", &["deny = [\"10.0.0.1/32\"]"], ""),
            ("proxy_pass http://app; allow unix:; deny all;", &["deny = [\"0.0.0.0/0\", \"::/0\"]"], "answers 403"),
            ("proxy_pass http://app; auth_request /auth;", &["deny = [\"0.0.0.0/0\", \"::/0\"]"], "asks nobody"),
            ("proxy_pass http://app; access_log off;", &["access_log = false"], ""),
            ("proxy_pass http://app; proxy_cache x;", &["pool = \"app\""], "unstick keeps no responses"),
            ("proxy_pass http://app; frobnicate on;", &["pool = \"app\""], "does not know this directive"),
            ("proxy_pass http://app; add_header X-A b always;", &["add = { x-a = \"b\" }"], ""),
            ("proxy_pass http://app; add_header X-A b;", &["add = { x-a = \"b\" }"], "without `always`"),
            ("proxy_pass http://app; add_header Connection close;", &[], "belongs to the connection"),
            ("proxy_pass http://app; error_page 502 =200 /x.html;", &[], "keep the status of the error"),
            ("deny all;", &["respond = { status = 403 }"], ""),
            (
                "root /srv; error_page 403 /no.html; deny all;",
                &["respond = { status = 403, body_file = \"/srv/no.html\", content_type = \"text/html\" }"],
                "",
            ),
            (
                "error_page 503 /no.html; return 503; } location = /no.html { root /srv;",
                &["status = 503, body_file = \"/srv/no.html\""],
                "",
            ),
            (
                "error_page 503 /no.html; return 503 down; } location = /no.html { root /srv;",
                &["status = 503, body = \"down\""],
                "",
            ),
            (
                "error_page 403 https://x.test/; return 403;",
                &["respond = { status = 403 }"],
                "nginx sends this instead",
            ),
            ("return 204;", &["respond = { status = 204 }"], ""),
            ("return 301 https://$host$request_uri;", &["to = \"https://{host}{path}{?query}\", status = 301"], ""),
            ("return https://x.test/;", &["redirect = { to = \"https://x.test/\", status = 302 }"], ""),
            ("return 302 foo;", &["respond = { status = 404 }"], "a relative address"),
            ("return 302 /login?from=$uri;", &["to = \"/login?from={path}\""], "$uri is decoded there"),
            ("return 200 $remote_addr;", &["respond = { status = 200 }"], "a fixed body has no variables"),
            ("rewrite ^ https://$host$request_uri? permanent;", &["{host}{path}{?query}\", status = 301"], ""),
            ("rewrite ^(.*)$ https://x.test$1 redirect;", &["https://x.test{path}{?query}\", status = 302"], ""),
            ("rewrite ^/(.*)$ https://x.test/$1 permanent;", &["https://x.test{path}{?query}\", status = 301"], ""),
            ("rewrite ^/a/(.*)$ /b/$1 last; proxy_pass http://app;", &["pool = \"app\""], "replaces a prefix"),
            ("internal; proxy_pass http://app;", &["respond = { status = 404 }"], ""),
            ("root /srv;", &["respond = { status = 404 }"], "unstick serves no files"),
        ],
    );
}

#[test]
fn what_a_named_location_says() {
    fn around(fragment: &str) -> String {
        let named = format!("location @app {{ proxy_pass http://app; {fragment} }}");
        let server = "listen 80; proxy_set_header Host $host; location / { try_files $uri @app; }";
        format!("server {{ {server} {named} }} upstream app {{ server a:1; }}\n")
    }
    check(
        around,
        &[
            ("", &["path = \"/\"\npool = \"app\""], "no files are tried"),
            ("deny all;", &["deny = [\"0.0.0.0/0\", \"::/0\"]"], "the named location keeps somebody out"),
            ("auth_basic x;", &["deny = [\"0.0.0.0/0\", \"::/0\"]"], "asks nobody who he is"),
            ("gzip on;", &["pool = \"app\""], "gzip on"),
        ],
    );
}

#[test]
fn what_a_rate_says() {
    fn around(fragment: &str) -> String {
        let zone = "limit_req_zone $binary_remote_addr zone=z:1m rate=5r/s; limit_req_status 429;";
        let pass = "proxy_set_header Host $host; proxy_pass http://k:1;";
        format!("{zone} server {{ listen 80; location / {{ {pass} }} location /x/ {{ {pass} {fragment} }} }}\n")
    }
    let again = "limit_req zone=z burst=9 nodelay; } location /y/ { return 204; limit_req zone=z nodelay;";
    check(
        around,
        &[
            ("limit_req zone=z burst=9 nodelay;", &["requests = 5, in = \"1s\", burst = 10"], ""),
            ("limit_req zone=z;", &["burst = 1 }"], ""),
            ("limit_req zone=z burst=9;", &["burst = 10 }"], "makes requests of the burst wait"),
            (again, &["burst = 10 }"], "each route counts for itself, nginx all of this zone together"),
        ],
    );
}

#[test]
fn what_an_upstream_says() {
    fn around(fragment: &str) -> String {
        let server = "server { listen 80; proxy_set_header Host $host; location / { proxy_pass http://app; } }";
        format!("upstream app {{ {fragment} }}\n{server}\n")
    }
    check(
        around,
        &[
            ("server a:1 weight=3; server b:1;", &["[{ address = \"a:1\", weight = 3 }, { address = \"b:1\" }]"], ""),
            ("server a; server [::1]:8080;", &["backends = [\"a:80\", \"[::1]:8080\"]"], ""),
            (
                "server a:1; server b:1 backup;",
                &["fallback = \"app-backup\"", "[pool.app-backup]", "[pool.app.eject]\nshare = \"100%\""],
                "that all of the others have failed",
            ),
            ("least_conn; server a:1;", &["balance = \"least-connections\""], ""),
            ("random two least_conn; server a:1;", &["balance = \"p2c\""], ""),
            ("ip_hash; server a:1;", &["backends = [\"a:1\"]"], "run `unstick audit`"),
            ("hash $request_uri consistent; server a:1;", &["backends = [\"a:1\"]"], "run `unstick audit`"),
            ("sticky cookie srv; server a:1;", &["backends = [\"a:1\"]"], "run `unstick audit`"),
            ("server a:1 max_fails=0; server b:1 max_fails=0;", &["failures = 0"], ""),
            ("server a:1 max_fails=2; server b:1;", &["backends"], "holds for a whole pool"),
            ("server a:1 max_conns=9;", &["max_requests = 9", "[pool.app.queue]", "size = 0"], ""),
            ("server a:1 weight=1000;", &["weight = 256"], "weights are from 1 to 256"),
            ("server a:1 route=x;", &["backends = [\"a:1\"]"], "`route` has no translation"),
            ("zone z 64k;", &["respond = { status = 404 }"], "has no servers in the file"),
            ("keepalive 16; zone z 64k; server a:1;", &["backends = [\"a:1\"]"], ""),
        ],
    );
}

#[test]
fn what_a_server_says() {
    fn around(fragment: &str) -> String {
        let keep = "location = /keep { proxy_pass http://k:1; proxy_set_header Host $host; }";
        format!("server {{ {fragment} location / {{ return 204; }} {keep} }}\n")
    }
    check(
        around,
        &[
            ("listen 8080;", &["[listen.port-8080]\naddress = \"0.0.0.0:8080\"\nprotocols = [\"h1\"]"], ""),
            ("listen 80; listen [::]:80;", &["[listen.http]\naddress = \":80\""], ""),
            ("listen [::]:80;", &["address = \"[::]:80\""], "the wildcard of IPv6 takes IPv4 too"),
            ("listen [::]:80 ipv6only=off;", &["address = \":80\""], ""),
            ("listen unix:/run/n.sock;", &["[listen.unix]\naddress = \"unix:/run/n.sock\""], ""),
            ("listen 443 ssl; ssl_certificate a; ssl_certificate_key b;", &["cert = \"a\"\nkey = \"b\""], ""),
            ("listen 443 ssl;", &["[listen.https]"], "has no certificate"),
            ("listen 80; listen 443 quic;", &[], "`quic` has no translation"),
            ("listen 80 proxy_protocol;", &[], "from `trusted_proxies` only"),
            (
                "listen 80 proxy_protocol; set_real_ip_from 10.0.0.1; real_ip_header proxy_protocol;",
                &["trusted_proxies = [\"10.0.0.1\"]", "proxy_protocol = \"require\""],
                "",
            ),
            (
                "listen 80; set_real_ip_from 10.0.0.1; real_ip_header CF-Connecting-IP;",
                &[],
                "from X-Forwarded-For, Forw",
            ),
            ("listen 80; set_real_ip_from 10.0.0.1; real_ip_header X-Forwarded-For;", &[], "takes the last address"),
            (
                "listen 80; if ($host = a.test) { return 403; }",
                &["host = \"a.test\"\npath = \"/\"\npriority = 1000"],
                "",
            ),
            (
                "listen 80; if ($bad) { return 403; }",
                &["deny = [\"0.0.0.0/0\", \"::/0\"]"],
                "what it protects answers 403",
            ),
            (
                "listen 80; if ($request_method !~ ^(GET|POST|TRACE)$) { return 405; }\n\
                 location /x/ { if ($request_method = POST) { return 204; } \
                  proxy_set_header Host $host; proxy_pass http://k:1; }",
                &["path = \"/x/\"\nmethod = \"POST\"\nrespond", "path = \"/x/\"\nmethod = \"GET\"\npool"],
                "",
            ),
            (
                "listen 80; if ($request_method = TRACE) { return 405; }",
                &["path = \"/\"\nrespond = { status = 204 }"],
                "",
            ),
            ("listen 80; if ($http_host = a.test:81) { return 403; }", &["deny = ["], "a host of a route has no port"),
            ("listen 80; if (-f /srv/down) { return 503; }", &["status = 204"], "unstick tests no files"),
            ("listen 80; rewrite ^/a$ /b permanent;", &["path = \"~^/a$\"", "to = \"/b{?query}\", status = 301"], ""),
        ],
    );
}

#[test]
fn a_host_that_a_server_redirects_goes_nowhere_else() {
    fn around(fragment: &str) -> String {
        let first = "server { listen 80; location / { proxy_set_header Host $host; proxy_pass http://k:1; } }";
        format!("{first} server {{ listen 80; server_name a.test b.test; {fragment} return 404; }}\n")
    }
    let a = "if ($host = a.test) { return 301 https://$host$request_uri; }";
    let b = a.replace("a.test", "b.test");
    check(
        around,
        &[
            (a, &["host = \"a.test\"\npath = \"/\"\npriority = 1000", "host = \"b.test\"\npath = \"/\"\nrespond"], ""),
            (&format!("{a} {b}"), &["host = \"b.test\"\npath = \"/\"\npriority = 999\nredirect"], ""),
            (&a.replace("a.test", "c.test"), &["host = [\"a.test\", \"b.test\"]\npath = \"/\"\nrespond"], ""),
        ],
    );
}

#[test]
fn what_cannot_be_read_says_where() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("nginx.conf");
    for (text, expected) in [
        ("server {\n  listen 80\n}\n", "nginx.conf:3:2: `listen` has no `;` before this `}`"),
        ("a 'b", "nginx.conf:1:3: this quote is not closed"),
        ("include nginx.conf;", "includes deeper than"),
    ] {
        fs::write(&file, text).unwrap();
        let error = import(&file, Kind::Nginx, None).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
    fs::write(&file, [0xff, 0xfe]).unwrap();
    assert!(import(&file, Kind::Nginx, None).unwrap_err().to_string().contains("not UTF-8"));
    assert!(import(folder.path(), Kind::Nginx, None).unwrap_err().to_string().contains("not a regular file"));
    let missing = import(&folder.path().join("x"), Kind::Nginx, None).unwrap_err().to_string();
    assert!(missing.contains("cannot read the file"), "{missing}");
}
