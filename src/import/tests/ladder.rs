//! Rules of HAProxy with exceptions, addresses, rates and answers, as routes in an order.

#![cfg(test)]

mod checks;
mod reader;

use std::fs;

use checks::{check_of, imported};
use unstick_import::{Kind, import, write};

/// A frontend before two backends.
fn around(fragment: &str) -> String {
    format!(
        "defaults\n mode http\nfrontend f\n bind :80\n {fragment}\n use_backend b if {{ path_beg /b/ }}\n \
         default_backend app\nbackend app\n server a 10.0.0.1:1\nbackend b\n server b 10.0.0.2:1\n"
    )
}

fn check(rows: &[(&str, &[&str], &str)]) {
    for row in rows {
        check_of(Kind::Haproxy, around, &[(row.0, row.1, row.2)]);
    }
}

#[test]
fn an_exception_goes_on_to_the_later_rules() {
    check(&[
        (
            "http-request redirect scheme https unless { path_beg /b/ } or { path /h }",
            &[
                "path = \"/b/\"\npriority = 2\npool = \"b\"",
                "path = \"=/h\"\npriority = 1\npool = \"app\"",
                "path = \"/\"\nredirect = { to = \"https://{host}{path}{?query}\", status = 302 }",
            ],
            "",
        ),
        (
            "http-request deny deny_status 401 if { path_beg /k/ } !{ hdr(x-key) -m found }",
            &["path = \"/k/\"\npriority = 2\nheader = { x-key = \"!\" }\nrespond = { status = 401 }"],
            "",
        ),
        (
            "http-request deny if { path_beg /b/ } !METH_GET",
            &[
                "path = \"/b/\"\npriority = 2\nmethod = [\"GET\", \"HEAD\"]\npool = \"b\"",
                "path = \"/b/\"\npriority = 1\nrespond = { status = 403 }",
                "path = \"/\"\npool = \"app\"",
            ],
            "",
        ),
        (
            "http-request allow if { path /in }\n http-request deny if { path_beg /i }",
            &["path = \"=/in\"\npriority = 3\npool = \"app\"", "path = \"~^/i\"\npriority = 2\nrespond"],
            "",
        ),
        (
            "http-request set-header X-A b if METH_POST",
            &["path = \"/\"\npriority = 1\nmethod = \"POST\"\npool = \"app\"\nrequest_headers = { set = { x-a"],
            "",
        ),
    ]);
}

#[test]
fn what_a_rule_writes_is_not_what_a_later_one_asks() {
    let written = "http-request set-header X-A b if METH_POST\n";
    check(&[
        (
            &format!("{written} use_backend b if {{ hdr(x-a) b }}"),
            &["pool = \"app\""],
            "an earlier rule writes this header",
        ),
        (&format!("{written} http-request deny if !{{ hdr(x-a) b }}"), &["deny = [\"0.0.0.0/0\""], "an earlier rule"),
        (&format!("http-request deny if !{{ hdr(x-a) b }}\n {written}"), &["respond = { status = 403 }"], ""),
        ("http-request set-header Host x\n use_backend b if { hdr(host) y }", &["pool = \"app\""], "an earlier rule"),
    ]);
}

#[test]
fn addresses_are_let_in_or_kept_out() {
    check(&[
        (
            "http-request deny unless { src 10.0.0.0/8 }",
            &["path = \"/b/\"\npriority = 1\npool = \"b\"\nallow = [\"10.0.0.0/8\"]", "pool = \"app\"\nallow"],
            "",
        ),
        (
            "acl in src 10.0.0.0/8\n acl in src 192.168.0.0/16\n http-request deny if { path_beg /adm } !in",
            &[
                "path = \"~^/adm\"\npriority = 1\npool = \"app\"\nallow = [\"10.0.0.0/8\", \"192.168.0.0/16\"]",
                "path = \"/b/\"\npriority = 2\npool = \"b\"\n\n",
            ],
            "",
        ),
        ("http-request deny if { src 10.0.0.9 }", &["pool = \"b\"\ndeny = [\"10.0.0.9/32\"]"], ""),
        ("tcp-request connection reject if { src 10.0.0.9 }", &["deny = [\"10.0.0.9/32\"]"], "this one answers 403"),
        ("http-request deny deny_status 404 if { src 10.0.0.9 }", &["deny = ["], "gets a 403"),
        (
            "http-request deny if { path_sub b } !{ src 10.0.0.9 }",
            &["path = \"/b/\"\npriority = 2\npool = \"b\"\ndeny = [\"0.0.0.0/0\"", "path = \"/\"\npool = \"app\"\n\n"],
            "routes that it may mean answer 403",
        ),
    ]);
}

#[test]
fn counters_are_rates() {
    let table = "stick-table type ip size 1m expire 1m store http_req_rate(10s)\n http-request track-sc0 src\n";
    let of = |rule: &str| format!("{table} {rule}");
    let rate = "rate = { per = \"address\", requests = 20, in = \"10s\", burst = 20 }";
    check(&[
        (&of("http-request deny deny_status 429 if { sc_http_req_rate(0) gt 20 }"), &[rate], "counts refused requests"),
        (&of("http-request deny if { sc0_http_req_rate ge 21 } { path_beg /b/ }"), &[rate], "counts refused requests"),
        ("http-request deny if { sc_http_req_rate(0) gt 20 }", &["path = \"/\"\npool = \"app\"\n"], "what is counted"),
        (
            &of("http-request deny if { sc_conn_rate(0) gt 20 }"),
            &["path = \"/\"\npool = \"app\"\n"],
            "does not test sc",
        ),
    ]);
}

#[test]
fn a_pool_without_servers_has_another_one() {
    check(&[
        ("use_backend b if { nbsrv(app) lt 1 }", &["path = \"/\"\npool = \"app\"\nfallback = \"b\""], ""),
        (
            "use_backend b if { hdr_dom(host) b.test }",
            &["host = [\"b.test\", \"*.b.test\"]"],
            "in which these labels are",
        ),
        ("acl down nbsrv(nobody) lt 1\n use_backend b if down", &["pool = \"app\""], ""),
    ]);
}

#[test]
fn a_prefix_is_replaced_by_a_route_of_its_own() {
    let rest = "http-request set-path %[path,regsub(^/v1/,/v2/)]";
    check(&[
        (rest, &["path = \"/\"\npool = \"app\""], "a later rule tests the path"),
        ("http-request set-path /x", &["path = \"/\"\npool = \"app\""], "replaces a prefix"),
    ]);
    fn around(fragment: &str) -> String {
        let front = "defaults\n mode http\nfrontend f\n bind :80\n default_backend app\n";
        format!("{front}backend app\n {fragment}\n server a 10.0.0.1:1\n")
    }
    for (fragment, written, told) in [
        (
            "http-request replace-path ^/api/(.*) /\\1",
            "path = \"/api/\"\npriority = 1\npool = \"app\"\nstrip_prefix",
            "",
        ),
        (rest, "replace_prefix = { from = \"/v1\", to = \"/v2\" }", ""),
        ("http-request set-path /v2%[path]", "replace_prefix = { from = \"/\", to = \"/v2\" }", ""),
        ("http-request replace-path /api/(.*) /\\1", "strip_prefix = \"/api\"", "wherever it is in the path"),
        (
            "http-request set-path %[path,regsub(^/a/?,/)]",
            "path = \"=/a\"\npriority = 1\npool = \"app\"\nstrip_prefix = \"/a\"",
            "whole segments",
        ),
        ("http-request deny if { path_beg /x/ }", "path = \"/x/\"\npriority = 1\nrespond = { status = 403 }", ""),
        ("http-request auth", "path = \"/\"\npool = \"app\"\ndeny = [\"0.0.0.0/0\", \"::/0\"]", "asks nobody"),
    ] {
        check_of(Kind::Haproxy, around, &[(fragment, &[written], told)]);
    }
}

#[test]
fn a_backend_has_its_own_rules_deadlines_and_spare_servers() {
    fn around(fragment: &str) -> String {
        let front = "defaults\n mode http\n timeout server 30s\nfrontend f\n bind :80\n \
                     use_backend b if { path_reg -i ^/[x] }\n default_backend app\nbackend b\n server b 10.0.0.2:1\n";
        format!("{front}backend app\n {fragment}\n")
    }
    let server = "server a 10.0.0.1:1 check";
    for (fragment, written) in [
        ("http-request deny if { path_beg /n }", "path = \"~^/n\"\npriority = 1\nrespond = { status = 403 }"),
        ("timeout server 5m", "timeouts = { response_head = \"5m\", response_body = \"5m\" }"),
        ("server s 10.0.0.3:1 backup", "[pool.app-backup]\nbackends = [\"10.0.0.3:1\"]\n\n"),
    ] {
        check_of(Kind::Haproxy, around, &[(&format!("{server}\n {fragment}"), &[written], "")]);
    }
}

#[test]
fn answers_are_written() {
    check(&[
        (
            "http-request return status 200 content-type text/plain string \"ok\\n\" if { path /h }",
            &["path = \"=/h\"\npriority = 2\nrespond = { status = 200, content_type = \"text/plain\", body"],
            "",
        ),
        (
            "http-request return status 503 file down.html hdr Retry-After 60 if { path /h }",
            &["body_file = \"down.html\" }\n", "response_headers = { set = { retry-after = \"60\" } }"],
            "",
        ),
        ("http-request return lf-string %[src]", &["respond = { status = 200 }"], "a fixed body has no variables"),
        ("monitor-uri /alive", &["path = \"=/alive\"", "Service ready."], ""),
        (
            "redirect prefix https://x.test drop-query code 301 if { path /r }",
            &["to = \"https://x.test{path}\", status = 301"],
            "",
        ),
        ("redirect location https://%[hdr(host)]/x if { path /r }", &["to = \"https://{host}/x\", status = 302"], ""),
        ("redirect location %[path,lower] if { path /r }", &["pool = \"app\""], "no value for this expression"),
        ("redirect prefix / append-slash if { path /r }", &["pool = \"app\""], "does more than a route can"),
    ]);
}

#[test]
fn pages_of_errors_are_read() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("503.http"), "HTTP/1.0 503 x\r\nContent-Type: text/plain\r\n\r\nsoon").unwrap();
    fs::write(folder.path().join("403.http"), "HTTP/1.0 403 x\r\n\r\nno").unwrap();
    let file = folder.path().join("haproxy.cfg");
    let pages = "errorfile 503 503.http\n errorfile 403 403.http\n errorfile 400 nowhere.http";
    fs::write(&file, around(&format!("{pages}\n http-request deny if {{ path /x }}"))).unwrap();
    let imported = import(&file, Kind::Haproxy, None).unwrap();
    let toml = write::toml(&imported, "haproxy.cfg");
    assert!(reader::problems(&toml).is_empty(), "{toml}");
    assert!(toml.contains("status = 403, body = \"no\", content_type = \"text/html\""), "{toml}");
    assert!(toml.contains("[errors]\n502 = { body = \"soon\", content_type = \"text/plain\" }"), "{toml}");
    assert_eq!(imported.left_out.len(), 1, "{:?}", imported.left_out);
    assert!(imported.left_out[0].why.contains("cannot be read"));
}

#[test]
fn the_environment_is_referred_to() {
    let text = "global\n setenv A 10.0.0.7\n presetenv B 81\n".to_owned()
        + &around("http-request set-header X-A \"${NAME-x}\"\n http-request set-header X-B '${NAME}'")
            .replace("10.0.0.1:1", "\"${A}:${B}\"")
            .replace(":80", "\":${PORT-80}\"");
    let (toml, told) = imported(Kind::Haproxy, &text);
    for part in [
        "x-a = \"${NAME:-x}\"",
        "x-b = \"$${{NAME}}\" }",
        "backends = [\"10.0.0.7:${B:-81}\"]",
        "address = \"0.0.0.0:${PORT:-80}\"",
    ] {
        assert!(toml.contains(part), "no {part} in {toml}");
    }
    assert_eq!(told, "");
}
