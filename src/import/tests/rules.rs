//! Each translation of HAProxy's words, as a fragment: what is written, and what is told of it.

#![cfg(test)]

mod checks;
mod reader;

use checks::check_of;
use unstick_import::Kind;

#[test]
fn what_a_frontend_says() {
    fn around(fragment: &str) -> String {
        format!(
            "defaults\n mode http\nfrontend f\n bind :80\n {fragment}\n default_backend app\n\
             backend app\n server a 10.0.0.1:1\nbackend b\n server b 10.0.0.2:1\n"
        )
    }
    check_of(
        Kind::Haproxy,
        around,
        &[
            ("use_backend b if { path_beg /b/ }", &["path = \"/b/\"\npriority = 1\npool = \"b\""], ""),
            ("use_backend b if { path_beg /b }", &["path = \"~^/b\"\npriority = 1\npool = \"b\""], ""),
            ("use_backend b if { hdr(host) b.test }", &["host = \"*\"", "host = \"b.test\""], ""),
            ("use_backend b if METH_POST", &["method = \"POST\"\npool = \"b\""], ""),
            ("use_backend b if { src 10.0.0.1 }", &["pool = \"app\""], "only who is kept out depends on"),
            ("use_backend b if { path /b }\n http-request deny if { src -f /x }", &["deny = ["], "answer 403"),
            ("use_backend b if { path /b }\n http-request deny if METH_TRACE", &["pool = \"b\""], ""),
            ("use_backend b if { path /b }\n http-request auth", &["deny = ["], "asks nobody who he is"),
            ("use_backend b if { path /b }\n http-request deny if { path /x }", &["status = 403"], ""),
            (
                "use_backend b if { path /b }\n redirect prefix https://x.test code 301 if METH_GET",
                &["https://x.test{path"],
                "",
            ),
            ("use_backend b if { path /b }\n http-request set-header X-A %[src]", &["x-a = \"{client_ip}\""], ""),
            ("use_backend b if { path /b }\n http-response set-header X-A b if METH_GET", &[], "have no conditions"),
            ("use_backend b if { path /b }\n http-response del-header Server", &["remove = [\"server\"]"], ""),
            ("use_backend b if { path /b }\n frobnicate", &[], "does not know this keyword"),
        ],
    );
}

#[test]
fn edits_of_a_field_are_done_in_their_order() {
    fn around(fragment: &str) -> String {
        let front = format!("frontend f\n bind :80\n default_backend app\n {fragment}");
        format!(
            "defaults\n mode http\n{front}\nbackend app\n http-response set-header X-A back\n \
                 http-request set-header X-B back\n server a 10.0.0.1:1\n"
        )
    }
    let once = "set or added once";
    check_of(
        Kind::Haproxy,
        around,
        &[
            ("http-response set-header X-A front", &["response_headers = { set = { x-a = \"front\" } }"], ""),
            ("http-request set-header X-B front", &["request_headers = { set = { x-b = \"back\" } }"], ""),
            ("http-response del-header X-A", &["response_headers = { remove = [\"x-a\"] }"], ""),
            ("http-request del-header X-C\n http-request add-header X-C 1", &["set = { x-c = \"1\", x-b"], ""),
            ("http-request add-header X-C 1\n http-request add-header X-C 2", &["add = { x-c = \"1\" }"], once),
        ],
    );
}

#[test]
fn what_a_backend_says() {
    fn around(fragment: &str) -> String {
        let front = "defaults\n mode http\n timeout connect 5s\nfrontend f\n bind :80\n default_backend app\n";
        format!("{front}backend app\n {fragment}\n")
    }
    check_of(
        Kind::Haproxy,
        around,
        &[
            ("server a 10.0.0.1:1 weight 3\n server b b.test:2", &["{ address = \"10.0.0.1:1\", weight = 3 }"], ""),
            (
                "server a 10.0.0.1:1\n server b 10.0.0.2:1 backup",
                &["fallback = \"app-backup\"", "[pool.app.eject]\nshare = \"100%\"", "[pool.app-backup]\nbackends"],
                "",
            ),
            ("balance leastconn\n server a 10.0.0.1:1", &["balance = \"least-connections\""], ""),
            ("balance source\n server a 10.0.0.1:1", &["backends"], "run `unstick audit`"),
            ("cookie S insert\n server a 10.0.0.1:1 cookie a", &["backends"], "run `unstick audit`"),
            ("server a 10.0.0.1:1 check inter 500", &["kind = \"tcp\"", "interval = \"500ms\""], ""),
            ("option httpchk GET /h\n server a 10.0.0.1:1 check", &["kind = \"http\"\npath = \"/h\""], ""),
            ("option httpchk\n server a 10.0.0.1:1 check", &["path = \"/\""], "unstick probes with GET"),
            ("server a 10.0.0.1:1 maxconn 5", &["max_requests = 5", "timeout = \"5s\""], ""),
            ("server a 10.0.0.1:1 maxconn 5\n server b 10.0.0.1:2", &["max_requests = 5"], "hold for a whole pool"),
            ("server a 10.0.0.1:1 ssl verify none", &["protocol = \"https\""], "verifies the certificates"),
            ("retries 1\n server a 10.0.0.1:1", &["attempts = 2"], ""),
        ],
    );
}
