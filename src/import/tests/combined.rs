//! Whatever is said together: what is written is a config that unstick takes.

#![cfg(test)]

mod reader;

use std::fs;

use unstick_import::{Kind, import, write};

/// Every fragment behind every other one.
fn pairs(kind: Kind, around: fn(&str) -> String, fragments: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("other.conf");
    for one in fragments {
        for other in fragments {
            fs::write(&file, around(&format!("{one}\n{other}"))).unwrap();
            let toml = write::toml(&import(&file, kind, None).unwrap(), "other.conf");
            let problems = reader::problems(&toml);
            assert!(problems.is_empty(), "{one}\n{other}\n{problems:?}\n{toml}");
        }
    }
}

#[test]
fn rules_of_haproxy() {
    fn around(fragment: &str) -> String {
        let stick = "stick-table type ip size 1m expire 1m store http_req_rate(10s)\n http-request track-sc0 src";
        let acls = "acl in src 10.0.0.0/8\n acl api path_beg /api\n acl get method GET";
        format!(
            "defaults\n mode http\nfrontend f\n bind :80\n bind :81\n {stick}\n {acls}\n {fragment}\n \
             use_backend b if api\n default_backend app\nbackend app\n http-request deny if {{ path_beg /x }} !get\n \
             http-request set-path %[path,regsub(^/v1/,/v2/)]\n server a 10.0.0.1:1\nbackend b\n server b 10.0.0.2:1\n"
        )
    }
    pairs(
        Kind::Haproxy,
        around,
        &[
            "http-request deny if api !in",
            "http-request deny unless in",
            "http-request deny if { src 10.1.0.0/16 } !get",
            "http-request deny if { hdr(host) a.test } !{ path /y }",
            "http-request deny deny_status 429 if { sc_http_req_rate(0) gt 5 }",
            "http-request allow if { hdr_end(host) .a.test }",
            "http-request redirect scheme https unless { dst_port 81 } or { path_beg /api/ }",
            "http-request redirect location / if { path_end .php }",
            "http-request return status 404 if { url_param(a) -m found }",
            "http-request set-header X-A b unless get",
            "http-request replace-path /api/(.*) /\\1",
            "http-request set-path /all%[path]",
            "redirect prefix https://b.test if { hdr(host) b.test } get",
            "use_backend b if { path_beg / }",
            "use_backend b unless { path_reg -i ^/[ab] }",
            "use_backend b if { nbsrv(app) lt 1 } get",
            "use_backend b if { cook(a) 1 } || { hdr(x-a) -m found }",
            "use_backend nobody if get",
            "monitor-uri /alive",
        ],
    );
}

#[test]
fn directives_of_a_server_of_nginx() {
    fn around(fragment: &str) -> String {
        let maps = "map $host $up { default app; x.a.test b; } map $http_v $by { default app; a b; ~^c b; }";
        let upstreams = "upstream app { server a:1; server c:1 backup; } upstream b { server b:1; }";
        let other = "server { listen 80 default_server; location /only { proxy_pass http://b; } }";
        format!(
            "proxy_set_header Host $host; {maps} {upstreams} {other} server {{ listen 80;\n\
             server_name a.test *.a.test;\n{fragment}\nlocation / {{ proxy_pass http://app; }} }}\n"
        )
    }
    let pass = [
        "if ($scheme != https) { return 301 https://$host$request_uri; }",
        "if ($host = a.test) { return 301 https://b.test$request_uri; }",
        "if ($http_x_forwarded_proto != https) { return 302 https://$host$request_uri; }",
        "if ($request_method !~ ^(GET|POST)$) { return 405; }",
        "if ($request_method = POST) { return 403; }",
        "if ($cookie_a = 1) { return 401; }",
        "if ($http_a !~* b) { return 403; }",
        "rewrite ^/old$ /new permanent;",
        "error_page 404 = @n; location @n { return 404 no; }",
        "location /adm { allow 10.0.0.0/8; deny all; proxy_pass http://b; }",
        "location /admin { deny all; }",
        "location ^~ /adm/x { limit_except GET { deny all; } proxy_pass http://b; }",
        "location /v/ { proxy_pass http://$up; }",
        "location = /w { proxy_pass http://$by; }",
        "location ~ ^/w { if ($http_a = 1) { return 403; } if ($http_b != 1) { return 401; } proxy_pass http://$by; }",
        "location /r { rewrite ^/r/(.*)$ /$1 break; proxy_pass http://app; }",
        "location ~* \\.php$ { deny all; }",
        "location /deep/ { proxy_pass http://b/; location /deep/er { return 200 x; } }",
    ];
    pairs(Kind::Nginx, around, &pass);
}
