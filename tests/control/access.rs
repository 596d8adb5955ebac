//! Who may change something: tokens, read-only doors, bodies that do not come.

use serde_json::Value;

use super::{JSON, path, post, refused};
use crate::cli::{Running, unstick};
use crate::support::backend::Backend;
use crate::support::client::{exchange, read_response};
use crate::support::{App, complete, connect, eventually, pool_of, send};

const FIRST: &str = "first-0123456789abcdef";
const SECOND: &str = "second-0123456789abcdef";

#[test]
fn a_token_is_needed_where_there_is_one_and_is_never_shown() {
    let a = Backend::named("a");
    let folder = tempfile::tempdir().unwrap();
    let (file, drain) = (folder.path().join("token"), path(a.address, "drain"));
    std::fs::write(&file, format!("{FIRST}\n")).unwrap();
    let admin = format!("[admin]\naddress = \"127.0.0.1:0\"\ntoken = \"${{file:{}}}\"\n", file.display());
    let app = App::start(&pool_of(&[a.address], "", &admin));
    let with = |token: &str| post(app.admin, &drain, &format!("{JSON}Authorization: Bearer {token}\r\n"), "");

    let without = post(app.admin, &drain, JSON, "");
    assert_eq!((without.status, without.field("www-authenticate")), (401, Some("Bearer")));
    assert_eq!((with("no").status, with(SECOND).status, with(&FIRST[1..]).status), (401, 401, 401));
    assert_eq!(with(&FIRST.replace("def", "deg")).status, 401);
    assert_eq!(app.endpoint(a.address).unwrap()["wanted"], "ready");
    assert_eq!(app.metric("unstick_admin_refused_total{why=\"no_token\"}"), 1.0);
    assert_eq!(app.metric("unstick_admin_refused_total{why=\"wrong_token\"}"), 4.0);
    assert_eq!(with(FIRST).status, 200);
    assert_eq!(app.endpoint(a.address).unwrap()["wanted"], "drain");

    std::fs::write(&file, SECOND).unwrap();
    app.apply(&pool_of(&[a.address], "", &admin));
    eventually("the new token holds", || with(SECOND).status == 200);
    assert_eq!(with(FIRST).status, 401, "the old one does not any more");
    let all = app.status().to_string() + &with("no").text();
    assert!(!all.contains("0123456789abcdef") && all.contains("admin.token"), "{all}");
}

/// A token of the environment is a secret like one of a file.
#[test]
fn what_is_printed_of_a_config_has_no_token() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("unstick.toml");
    let text =
        "[listen.web]\naddress = \":1\"\n[pool.app]\nbackends = [\"127.0.0.1:1\"]\n[admin]\ntoken = \"${TOKEN}\"\n";
    std::fs::write(&file, text).unwrap();
    let check = |token: &str| {
        let mut command = unstick(&["check", "--print", file.to_str().unwrap()]);
        let output = command.env("TOKEN", token).output().unwrap();
        String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
    };
    let printed = check(FIRST);
    assert!(printed.contains("token = \"${TOKEN}\"") && !printed.contains(FIRST), "{printed}");
    let refused = check("too-short-secret!");
    assert!(refused.contains("admin.token: a token has 16 to 512") && !refused.contains("too-short"), "{refused}");
}

#[test]
fn a_token_that_stands_in_the_file_is_refused_and_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("unstick.toml");
    for (token, why) in [
        (format!("\"{FIRST}\""), "stands in the file itself"),
        (format!("\"${{NO_SUCH_VARIABLE:-{FIRST}}}\""), "stands in the file itself"),
        (format!("\"{FIRST}${{PATH}}\""), "stands in the file itself"),
        (format!("[\"{FIRST}\"]"), "must be a string"),
        (FIRST.to_owned(), "token = ***"),
        (format!("\"{FIRST}"), "token = ***"),
    ] {
        let rest = "[pool.app]\nbackends = [\"127.0.0.1:1\"]\n[admin]\ntoken = ";
        std::fs::write(&file, format!("[listen.web]\naddress = \":1\"\n{rest}{token}\n")).unwrap();
        for command in [&["check"][..], &["run", "-c"]] {
            let output = unstick(&[command, &[file.to_str().unwrap()]].concat()).output().unwrap();
            let said = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
            assert!(!output.status.success() && said.contains(why), "{token}: {said}");
            assert!(!said.contains("0123456789abcdef"), "{token}: {said}");
        }
    }
}

#[test]
fn what_others_can_reach_is_read_only_without_a_token() {
    let a = Backend::named("a");
    let config = |control: &str| pool_of(&[a.address], "", &format!("[admin]\naddress = \"0.0.0.0:0\"\n{control}"));
    let app = App::start(&config(""));
    let admin = ([127, 0, 0, 1], app.admin.port()).into();
    let drain = path(a.address, "drain");
    let (status, why) = refused(&post(admin, &drain, JSON, ""));
    assert!(status == 403 && why.contains("read-only") && why.contains("set admin.token"), "{status} {why}");
    assert_eq!(app.metric("unstick_admin_refused_total{why=\"read_only\"}"), 1.0);
    assert!(app.refuse(&config("control = true\n")).contains("admin.control = true without a token"));
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("token");
    std::fs::write(&secret, FIRST).unwrap();
    app.apply(&config(&format!("token = \"${{file:{}}}\"\ncontrol = true\n", secret.display())));
    let fields = format!("{JSON}Authorization: Bearer {FIRST}\r\n");
    assert_eq!(post(admin, &drain, &fields, "").status, 200);

    let file = folder.path().join("unstick.toml");
    std::fs::write(&file, complete(&config(""))).unwrap();
    let mut running = Running::of(unstick(&["run", "-c", file.to_str().unwrap()]));
    let line = running.line("admin on http://0.0.0.0:");
    assert!(line.contains("(read-only, because it can be reached from elsewhere: set admin.token"), "{line}");
}

#[test]
fn nobody_changes_anything_where_that_is_switched_off() {
    let a = Backend::named("a");
    let app = App::start(&pool_of(&[a.address], "", "[admin]\naddress = \"127.0.0.1:0\"\ncontrol = false\n"));
    let (status, why) = refused(&post(app.admin, "/v1/reload", JSON, ""));
    assert!(status == 403 && why.contains("admin.control is false"), "{status} {why}");
    assert_eq!(app.admin_get("/status").status, 200);
}

/// Which host is meant has to be clear, or a page of another site could be taken for that of the admin port.
#[test]
fn a_request_says_once_for_whom_it_is() {
    let a = Backend::named("a");
    let app = App::over(&[a.address]);
    let own = app.admin;
    let ask = |line: &str, hosts: &str| {
        let rest = format!("{hosts}{JSON}Connection: close\r\nContent-Length: 0\r\n\r\n");
        exchange(&mut connect(own), &format!("{line}\r\n{rest}")).status
    };
    let host = format!("Host: {own}\r\n");
    for (target, version, hosts, expected) in [
        ("", "1.1", host.clone(), 200),
        (&format!("http://{own}"), "1.1", host.clone(), 200),
        ("", "1.0", String::new(), 200),
        ("", "1.1", String::new(), 400),
        ("", "1.1", "Host: \r\n".to_owned(), 400),
        ("", "1.1", format!("{host}Host: evil.test\r\n"), 400),
        ("", "1.1", format!("{host}{host}"), 400),
        (&format!("http://evil.test:1@{own}"), "1.1", host.clone(), 400),
        (&format!("http://{own}@evil.test"), "1.1", host.clone(), 400),
        ("http://evil.test:1", "1.1", host.clone(), 421),
    ] {
        for what in ["GET {}/status", "POST {}/v1/reload"] {
            let line = format!("{} HTTP/{version}", what.replace("{}", target));
            assert_eq!(ask(&line, &hosts), expected, "{line} {hosts:?}");
        }
    }
    assert_eq!(ask("GET /readyz HTTP/1.1", ""), 200, "a probe needs none");
}

/// A body that does not come holds a connection for a while, and nothing else.
#[test]
fn a_body_is_not_waited_for_for_long() {
    let a = Backend::named("a");
    let app = App::over(&[a.address]);
    let (mut slow, drain) = (connect(app.admin), path(a.address, "drain"));
    send(&mut slow, format!("POST {drain} HTTP/1.1\r\nHost: {}\r\n{JSON}Content-Length: 2\r\n\r\n{{", app.admin));
    assert_eq!(
        post(app.admin, &path(a.address, "weight"), JSON, "{\"weight\": 2}").status,
        200,
        "others are not held up"
    );
    let response = read_response(&mut slow, false);
    let why: Value = serde_json::from_str(&response.text()).unwrap();
    assert_eq!((response.status, response.field("connection")), (408, Some("close")), "{why}");
    assert_eq!(app.endpoint(a.address).unwrap()["wanted"], "ready");
}
