//! What kept somebody out stays closed, whether it can be translated or not.

#![cfg(test)]

mod checks;
mod reader;

use checks::check_of;
use unstick_import::Kind;

/// What a closed route has.
const CLOSED: &str = "deny = [\"0.0.0.0/0\", \"::/0\"]";

fn in_server(fragment: &str) -> String {
    let keep = "location /keep/ { proxy_set_header Host $host; proxy_pass http://k:1; }";
    let other = "server { listen 81; location / { proxy_set_header Host $host; proxy_pass http://k:1; } }";
    format!("server {{ listen 80; {fragment} {keep} }}\n{other}\n")
}

#[test]
fn a_location_that_looks_around_is_the_same_or_closed() {
    let root = "location / { proxy_set_header Host $host; proxy_pass http://k:1; }";
    let around = |fragment: &str| format!("{root} {fragment}");
    let rows: [(&str, &[&str], &str); 4] = [
        (r"location ~ /\.(?!ab) { deny all; }", &[r"path = '~/\.($|[^a]|a($|[^b]))'", "status = 403"], ""),
        (
            r"location ~ ^/(?!ab|cd)x { deny all; }",
            &["path = \"~^/x\"", "status = 403", CLOSED],
            "all of them answer 403",
        ),
        (
            r"location ~ (a)\1 { deny all; }",
            &["path = \"/\"\npool = \"k-1\"\ndeny", "path = \"/keep/\"\npool = \"k-1\"\ndeny"],
            "all of the server",
        ),
        (r"location ~ (a)\1 { proxy_pass http://k:1; }", &["path = \"/\"\npool"], "no equal that takes linear time"),
    ];
    for (fragment, written, told) in rows {
        check_of(Kind::Nginx, in_server, &[(&around(fragment), written, told)]);
    }
}

#[test]
fn tests_of_one_location_are_asked_in_their_order() {
    let pass = "proxy_set_header Host $host; proxy_pass http://k:1;";
    let tests = "if ($http_a = 1) { return 403; } if ($http_b = 1) { return 401; }";
    let all = format!("location / {{ {tests} {pass} }} location = /x {{ {pass} }} location ~ ^/y {{ {pass} }}");
    let rows: &[&str] = &[
        "path = \"/\"\npriority = 2\nheader = { a = \"1\" }",
        "path = \"/\"\npriority = 1\nheader = { b = \"1\" }",
        "path = \"/\"\npool",
        "path = \"=/x\"\npriority = 2\npool",
        "path = \"~^/y\"\npriority = 2\npool",
        "path = \"/keep/\"\npriority = 2\npool",
    ];
    check_of(Kind::Nginx, in_server, &[(&all, rows, "")]);
}

#[test]
fn a_test_that_keeps_somebody_out_is_written_or_closes() {
    let pass = "proxy_set_header Host $host; proxy_pass http://k:1;";
    let rows: [(&str, &[&str], &str); 5] = [
        ("($http_a = \"\")", &["header = { a = \"!\" }", "header = { a = \"~^$\" }"], ""),
        ("($http_a)", &["header = { a = \"~^([^0]|0.)\" }"], ""),
        ("($request_method ~ ^P)", &[CLOSED], "no plain methods"),
        ("($request_method ~ ^(PUT|PATCH)$)", &["method = [\"PUT\", \"PATCH\"]"], ""),
        ("($arg_a = 1)", &[CLOSED], "nginx takes any case"),
    ];
    for (test, written, told) in rows {
        let fragment = format!("location / {{ if {test} {{ return 403; }} {pass} }}");
        check_of(Kind::Nginx, in_server, &[(&fragment, written, told)]);
    }
    for test in ["($remote_addr != 10.0.0.1)", "( $remote_addr != 10.0.0.1 )"] {
        let hidden = format!("location / {{ if {test} {{ return 404; }} {pass} }}");
        check_of(Kind::Nginx, in_server, &[(&hidden, &[CLOSED], "what it protects answers 403")]);
    }
    let missing = format!("location / {{ if (!-f /srv/up) {{ return 404; }} {pass} }}");
    check_of(Kind::Nginx, in_server, &[(&missing, &["path = \"/\"\npool = \"k-1\"\n#"], "unstick tests no files")]);
    let server = "if ($remote_addr = 127.0.0.1) { return 403; } return 200 secret;";
    check_of(Kind::Nginx, in_server, &[(server, &["path = \"/\"\nrespond = { status = 200", CLOSED], "does not test")]);
}

#[test]
fn haproxy_compares_each_element_of_a_header() {
    fn around(fragment: &str) -> String {
        let head = "defaults\n mode http\nfrontend f\n bind :80";
        format!("{head}\n {fragment}\n default_backend app\nbackend app\n server a b:1\n")
    }
    let rows: [(&str, &[&str], &str); 3] = [
        ("http-request deny if { hdr(X-L) -i b }", &[r"header = { x-l = '~(?i)(^|,)\s*b\s*(,|$)' }"], ""),
        ("http-request deny if { req.fhdr(X-L) b }", &["header = { x-l = \"b\" }"], ""),
        ("http-request deny if { hdr_reg(X-L) (^b|c) }", &[CLOSED], "see `fhdr`"),
    ];
    check_of(Kind::Haproxy, around, &rows);
}

#[test]
fn a_router_of_traefik_that_keeps_somebody_out_is_closed_if_its_rule_cannot_be_said() {
    fn around(router: &str) -> String {
        let rule = "rule: 'Host(`a.test`) && PathPrefix(`/x/`) && !Header(`X-A`, `1`)'";
        let other = "low: {rule: 'Host(`a.test`)', service: s, priority: 1}";
        let more = ", middlewares: {auth: {basicAuth: {}}, list: {ipAllowList: {sourceRange: [10.0.0.1]}}, \
                    gz: {compress: {}}}";
        let services = "services: {s: {loadBalancer: {servers: [{url: 'http://a:1'}]}}}";
        format!(
            "entryPoints: {{web: {{address: ':80'}}}}\n\
             http: {{routers: {{r: {{{rule}, {router}}}, {other}}}, {services}{more}}}\n"
        )
    }
    let closed = "path = \"/x/\"\npriority = 2\ndeny = [\"0.0.0.0/0\", \"::/0\"]\n";
    check_of(
        Kind::Traefik,
        around,
        &[
            ("service: s, middlewares: [auth]", &[closed], "answers 403 to all"),
            ("service: s, middlewares: [list]", &[closed], "answers 403 to all"),
            ("service: noop@internal", &[closed], "answers 403 to all"),
            ("service: s, middlewares: [gz]", &["path = \"/\"\npool"], "so there is no route for it"),
        ],
    );
}
