//! Maps of nginx that choose an upstream, and tests of what must not be.

#![cfg(test)]

mod checks;
mod reader;

use checks::check_of;
use unstick_import::Kind;

/// A server whose upstream a map chooses.
fn around(map: &str) -> String {
    let server = "server { listen 80; server_name *.a.test; proxy_set_header Host $host; \
                  location / { proxy_pass http://$up; } location /x/ { proxy_pass http://b; } }";
    let upstreams = "upstream a { server a:1; } upstream b { server b:1; }";
    format!("server {{ listen 80 default_server; return 404; }} map {map} {server} {upstreams}\n")
}

#[test]
fn a_map_chooses_by_host_path_header_cookie_or_argument() {
    let rows: &[(&str, &[&str], &str)] = &[
        (
            "$host $up { default a; b.a.test b; c.test b; }",
            &[
                "host = \"b.a.test\"\npath = \"/\"\npool = \"b\"",
                "host = \"*.a.test\"\npath = \"/\"\npool = \"a\"",
                "host = [\"b.a.test\", \"*.a.test\"]\npath = \"/x/\"\npool = \"b\"",
            ],
            "",
        ),
        (
            "$host $up { hostnames; default a; .b.a.test b; }",
            &["host = \"b.a.test\"\npath = \"/\"\npool = \"b\"", "host = \"*.b.a.test\"\npath = \"/\"\npool = \"b\""],
            "",
        ),
        ("$http_x_v $up { default a; 2 b; }", &["header = { x-v = \"2\" }\npool = \"b\""], ""),
        ("$http_x_v $up { default a; beta b; }", &["header = { x-v = \"~(?i)^beta$\" }\npool = \"b\""], ""),
        (
            "$http_x_v $up { default a; ~^2 b; 2 a; }",
            &[
                "path = \"/\"\npriority = 2\nheader = { x-v = \"2\" }\npool = \"a\"",
                "path = \"/\"\npriority = 1\nheader = { x-v = \"~^2\" }\npool = \"b\"",
                "path = \"/\"\npool = \"a\"",
                "path = \"/x/\"\npriority = 2\npool = \"b\"",
            ],
            "",
        ),
        ("$cookie_v $up { default a; 2 b; }", &["cookie = \"~(?:^|[;,] *)(?i:v) *= *2(?:;|$)\""], ""),
        ("$arg_v $up { default a; 2 b; }", &["query = { v = \"2\" }\npool = \"b\""], ""),
        // Another location may be that of the path.
        (
            "$uri $up { default a; /1 b; }",
            &["path = \"/\"\nrespond = { status = 404 }"],
            "the pool of a route is a fixed",
        ),
        (
            "$remote_addr $up { default a; 10.0.0.1 b; }",
            &["respond = { status = 404 }"],
            "the pool of a route is a fixed",
        ),
    ];
    for row in rows {
        check_of(Kind::Nginx, around, &[(row.0, row.1, row.2)]);
    }
    let alone = |map: &str| {
        let map = around(map);
        map.replace("location /x/ { proxy_pass http://b; }", "")
    };
    let written: &[&str] = &["path = '~(?i)^/one$'\npool = \"b\"", "path = \"~^/2/\"\npool = \"b\""];
    let text = alone("$uri $up { default a; /one b; ~^/2/ b; }");
    let written: Vec<String> = written.iter().map(|part| part.replace('\'', "\"")).collect();
    let (toml, told) = checks::imported(Kind::Nginx, &text);
    assert!(written.iter().all(|part| toml.contains(part)) && told.is_empty(), "{toml}{told}");
}

#[test]
fn who_is_not_what_is_asked_for_goes_elsewhere() {
    fn around(fragment: &str) -> String {
        let pass = "proxy_set_header Host $host; proxy_pass http://k:1;";
        format!("server {{ listen 80; location / {{ {fragment} {pass} }} location /x/ {{ {pass} }} }}\n")
    }
    let rows: &[(&str, &[&str], &str)] = &[
        (
            "if ($http_x_forwarded_proto != \"https\") { return 301 https://$host$request_uri; }",
            &[
                "path = \"/\"\nheader = { x-forwarded-proto = \"https\" }\npool = \"k-1\"",
                "path = \"/\"\nredirect = { to = \"https://{host}{path}{?query}\", status = 301 }",
                "path = \"/x/\"\npool = \"k-1\"",
            ],
            "",
        ),
        (
            "if ($http_referer !~* \"^https://a\") { return 403; }",
            &["header = { referer = \"~(?i)^https://a\" }\npool", "path = \"/\"\nrespond = { status = 403 }"],
            "",
        ),
        (
            "if ($cookie_a != 1) { return 401; }",
            &["header = { cookie = \"~(?:^|[;,] *)(?i:a) *= *1(?:;|$)\" }\npool"],
            "",
        ),
        (
            "if ($http_a != 1) { return 403; } if ($http_a = 2) { return 401; }",
            &["path = \"/\"\nheader = { a = \"1\" }\npool = \"k-1\"\ndeny"],
            "two tests of the same thing",
        ),
        ("if ($arg_a != 1) { return 403; }", &["path = \"/\"\npool = \"k-1\"\ndeny"], "nginx takes any case"),
    ];
    for row in rows {
        check_of(Kind::Nginx, around, &[(row.0, row.1, row.2)]);
    }
}

#[test]
fn methods_that_are_excepted_have_a_route_of_their_own() {
    fn around(fragment: &str) -> String {
        format!(
            "server {{ listen 80; proxy_set_header Host $host; location / {{ proxy_pass http://k:1; {fragment} }} }}\n"
        )
    }
    let rows: &[(&str, &[&str], &str)] = &[
        (
            "limit_except GET { deny all; }",
            &["path = \"/\"\nmethod = [\"GET\", \"HEAD\"]\npool = \"k-1\"", "path = \"/\"\nrespond = { status = 403 }"],
            "",
        ),
        (
            "deny 10.0.0.9; limit_except GET POST { allow 10.0.0.0/8; deny all; }",
            &[
                "method = [\"GET\", \"POST\", \"HEAD\"]\ndeny = [\"10.0.0.9/32\"]\npool",
                "path = \"/\"\nallow = [\"10.0.0.0/8\"]\npool = \"k-1\"",
            ],
            "",
        ),
        (
            "if ($http_a = 1) { return 403; } limit_except GET { allow 10.0.0.0/8; deny all; }",
            &["path = \"/\"\npriority = 1\nheader = { a = \"1\" }\nrespond = { status = 403 }"],
            "",
        ),
        (
            "limit_except GET { auth_basic x; }",
            &["method = [\"GET\", \"HEAD\"]\npool = \"k-1\"\ndeny = [\"0.0.0.0/0\", \"::/0\"]"],
            "it asks for more than addresses",
        ),
    ];
    for row in rows {
        check_of(Kind::Nginx, around, &[(row.0, row.1, row.2)]);
    }
}

#[test]
fn a_page_may_be_the_text_of_another_location() {
    fn around(fragment: &str) -> String {
        let server = "listen 80; default_type application/json; proxy_set_header Host $host;";
        format!(
            "server {{ {server} {fragment} location / {{ proxy_pass http://k:1; }} location /n/ {{ return 404; }} }}\n"
        )
    }
    let page = "body = \"no\", content_type = \"application/json\"";
    let (errors, respond) = (format!("404 = {{ {page} }}"), format!("respond = {{ status = 404, {page} }}"));
    let rows: &[(&str, &[&str], &str)] = &[
        ("error_page 404 @n; location @n { return 404 no; }", &[&errors, &respond], ""),
        ("error_page 404 = @n; location @n { return 404 no; }", &[&errors, &respond], ""),
        ("error_page 404 /n.json; location = /n.json { internal; return 410 no; }", &[&errors, &respond], ""),
        (
            "error_page 404 /n.json; location = /n.json { internal; root /srv; }",
            &["path = \"=/n.json\"\nrespond = { status = 404, body_file = \"/srv/n.json\""],
            "",
        ),
        ("error_page 404 = @n; location @n { return 410 no; }", &["pool"], "keep the status of the error"),
        ("error_page 404 @n; location @n { return 302 /; }", &["pool"], "keep the status of the error"),
        ("error_page 404 @n; location @n { return 404 $uri; }", &["pool"], "keep the status of the error"),
        ("error_page 404 @n; location @n { proxy_pass http://k:1; }", &["pool"], "`fallback` if it names other"),
    ];
    for row in rows {
        check_of(Kind::Nginx, around, &[(row.0, row.1, row.2)]);
    }
}

#[test]
fn a_prefix_that_ends_within_a_segment_is_told_once_or_kept_closed() {
    fn around(fragment: &str) -> String {
        format!(
            "server {{ listen 80; proxy_set_header Host $host; {fragment} location / {{ proxy_pass http://k:1; }} }}\n"
        )
    }
    let open = "location /a { proxy_pass http://k:1; } location /b { proxy_pass http://k:1; }";
    let closed = "location /adm { deny all; proxy_pass http://k:1; }";
    let inner = format!("{closed} location /admin {{ proxy_pass http://k:1; }}");
    let rows: &[(&str, &[&str], &str)] = &[
        (
            open,
            &["path = \"/a\"", "path = \"/b\""],
            "nginx takes /ax too, unstick only /a and what is below it; so with /b",
        ),
        (
            closed,
            &["path = \"/adm\"\nrespond = { status = 403 }", "path = \"~^/adm[^/]\"\nrespond = { status = 403 }"],
            "",
        ),
        (
            &inner,
            &["path = \"/adm\"\nrespond", "path = \"~^/adm($|[^/i]|i($|[^n]))\"\nrespond = { status = 403 }"],
            "nginx takes /adminx too",
        ),
    ];
    for row in rows {
        check_of(Kind::Nginx, around, &[(row.0, row.1, row.2)]);
    }
    let (_, told) = checks::imported(Kind::Nginx, &around(open));
    assert_eq!(told.matches("nginx takes").count(), 1, "{told}");
}

#[test]
fn keys_with_an_address_are_limited_by_it() {
    fn around(key: &str) -> String {
        let map = "map $http_x $key { default $binary_remote_addr; 1 \"\"; }";
        let zone = format!("limit_req_zone {key} zone=z:1m rate=5r/s; limit_req_status 429;");
        let pass = "proxy_set_header Host $host; proxy_pass http://k:1;";
        format!("{map} {zone} server {{ listen 80; location / {{ {pass} limit_req zone=z nodelay; }} }}\n")
    }
    let rows: &[(&str, &[&str], &str)] = &[
        ("$binary_remote_addr", &["rate = { per = \"address\""], ""),
        ("$binary_remote_addr$uri", &["rate = { per = \"address\""], "requests of an address count together"),
        ("$key", &["rate = { per = \"address\""], "requests of an address count together"),
        ("$http_x_key", &["rate = { per = \"header:x-key\""], "without the header"),
        ("$request_uri", &["pool"], "nothing is limited here"),
        ("$server_name", &["pool"], "nothing is limited here"),
    ];
    for row in rows {
        check_of(Kind::Nginx, around, &[(row.0, row.1, row.2)]);
    }
}

#[test]
fn paths_are_written_as_clients_send_them() {
    fn around(fragment: &str) -> String {
        let pass = "proxy_set_header Host $host; proxy_pass http://k:1;";
        format!("server {{ listen 80; {fragment} {{ {pass} }} location / {{ {pass} }} }}\n")
    }
    let pass = "proxy_set_header Host $host; proxy_pass http://k:1;";
    let bare = format!("location /api {{ rewrite ^/api/(.*)$ /$1 break; {pass} }}");
    let rows: &[(&str, &[&str], &str)] = &[
        ("location \"/sp ace/\"", &["path = \"/sp%20ace/\"", "path = \"=/sp%20ace\""], ""),
        ("location = /caf\u{e9}", &["path = \"=/caf%C3%A9\""], ""),
        ("location = /a%2F", &["path = \"=/a%252F\""], ""),
        ("location ~ \"^/a b[ c]\"", &["path = \"~^/a%20b[ c]\""], ""),
        ("location ~ ^//x", &["path = \"/\""], "so that none fits"),
        (
            &format!("{bare} location = /x"),
            &["path = \"/api\"\npool = \"k-1\"\nstrip_prefix = \"/api\"", "path = \"=/api\"\npool = \"k-1\"\n\n"],
            "nginx takes /apix too",
        ),
    ];
    for row in rows {
        check_of(Kind::Nginx, around, &[(row.0, row.1, row.2)]);
    }
}

#[test]
fn what_a_regular_expression_has_found_may_be_the_rest_of_the_path() {
    fn around(fragment: &str) -> String {
        let pass = "proxy_set_header Host $host;";
        format!("server {{ listen 80; {pass} {fragment} location / {{ proxy_pass http://k:1; }} }}\n")
    }
    let strip = "strip_prefix = \"/api\"";
    let rows: &[(&str, &[&str], &str)] = &[
        ("location ~ ^/api/(.*)$ { proxy_pass http://k:1/$1$is_args$args; }", &["path = \"~^/api/(.*)$\"", strip], ""),
        ("location ~ ^/api/(.*) { proxy_pass http://k:1/$1; }", &[strip], "nginx leaves out the query"),
        (
            "location ~ ^/api/(.+)$ { proxy_pass http://k:1/v2/$1?$args; }",
            &["replace_prefix = { from = \"/api\", to = \"/v2\" }"],
            "",
        ),
        ("location ~ ^/api(/.*)$ { rewrite ^/api(/.*)$ $1 break; proxy_pass http://k:1; }", &[strip], ""),
        ("location /api/ { rewrite ^/api(/.*)$ /v2$1 break; proxy_pass http://k:1; }", &["to = \"/v2\" }"], ""),
        ("location ~ ^/(a|b)/(.*)$ { proxy_pass http://k:1/$2; }", &["respond = { status = 404 }"], "a fixed one"),
        ("location /u { return 301 https://$host$uri; }", &["to = \"https://{host}{path}\""], "$uri is decoded there"),
    ];
    for row in rows {
        check_of(Kind::Nginx, around, &[(row.0, row.1, row.2)]);
    }
}

#[test]
fn a_pattern_of_hosts_means_those_of_the_server() {
    fn around(fragment: &str) -> String {
        let pass = "proxy_set_header Host $host; proxy_pass http://k:1;";
        let other = format!("server {{ listen 80; location / {{ {pass} }} }}");
        format!("{other} server {{ listen 80; server_name a.test www.a.test; {fragment} location / {{ {pass} }} }}\n")
    }
    let rows: &[(&str, &[&str], &str)] = &[
        (
            "if ($host ~* ^www\\.) { return 301 https://a.test$request_uri; }",
            &[
                "host = \"www.a.test\"\npath = \"/\"\npriority = 1000\nredirect",
                "host = \"a.test\"\npath = \"/\"\npool",
            ],
            "",
        ),
        (
            "if ($host !~ ^www) { return 403; }",
            &["host = \"a.test\"\npath = \"/\"\npriority = 1000\nrespond = { status = 403 }"],
            "",
        ),
        ("server_name *.b.test; if ($host ~ ^x) { return 403; }", &["deny = ["], "this server has any"),
    ];
    for row in rows {
        check_of(Kind::Nginx, around, &[(row.0, row.1, row.2)]);
    }
}

#[test]
fn what_a_server_asks_first_is_asked_of_all_its_hosts() {
    fn around(fragment: &str) -> String {
        let maps = "map $http_a $by { default app; b b; } upstream app { server a:1; } upstream b { server b:1; }";
        let routes = "location / { proxy_pass http://app; } location = /w { proxy_pass http://$by; }";
        format!("proxy_set_header Host $host; {maps} server {{ listen 80; {fragment} {routes} }}\n")
    }
    let first = "if ($cookie_a = 1) { return 401; } if ($host = b.test) { return 301 https://c.test/; }";
    let rows: &[(&str, &[&str], &str)] = &[
        (
            first,
            &[
                "host = [\"b.test\", \"*\"]\npath = \"/\"\npriority = 1000\nheader",
                "host = \"b.test\"\npath = \"/\"\npriority = 999\nredirect",
                "host = \"*\"\npath = \"/\"\npool = \"app\"",
            ],
            "",
        ),
        (
            "if ($http_a !~ ^c) { return 403; }",
            &["path = \"=/w\"\nheader = { a = \"~^c\" }\nrespond = { status = 404 }"],
            "the pool of a route is a fixed one",
        ),
    ];
    for row in rows {
        check_of(Kind::Nginx, around, &[(row.0, row.1, row.2)]);
    }
}
