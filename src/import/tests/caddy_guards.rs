//! What a Caddyfile keeps out stays out, and no file of it is without bounds.

#![cfg(test)]

mod checks;
mod reader;

use std::fs;
use std::path::Path;

use checks::{check_of, imported};
use unstick_import::{Kind, import};

/// What a closed route has.
const CLOSED: &str = "deny = [\"0.0.0.0/0\", \"::/0\"]";

fn in_site(fragment: &str) -> String {
    format!("http://a.test {{\n{fragment}\n}}\n")
}

fn check(rows: &[(&str, &[&str], &str)]) {
    check_of(Kind::Caddy, in_site, rows);
}

#[test]
fn what_keeps_somebody_out_stays_closed() {
    let pass = "\nreverse_proxy app";
    let rows: [(&str, &[&str], &str); 17] = [
        ("@m not remote_ip 10.0.0.0/8\nrespond @m 403", &["allow = [\"10.0.0.0/8\"]\npool"], ""),
        ("@m remote_ip 10.0.0.1\nrespond @m 403", &["deny = [\"10.0.0.1/32\"]\npool"], ""),
        ("@m not client_ip private_ranges\nabort @m", &["allow = [\"192.168.0.0/16\""], "answers 403 to clients"),
        (
            "@m {\npath /x/*\nnot remote_ip ::1\n}\nrespond @m 403",
            &["path = \"~(?i)^/x/\"\nallow = [\"::1/128\"]\npool"],
            "",
        ),
        (
            "@m remote_ip 10.0.0.1\nhandle @m {\nreverse_proxy b\n}\nhandle {\nrespond 403\n}",
            &["allow = [\"10.0.0.1/32\"]\npool = \"b-80\""],
            "",
        ),
        (
            "@m not remote_ip ::1\nhandle @m {\nreverse_proxy b\n}\nhandle {\nrespond 403\n}",
            &["deny = [\"::1/128\"]\npool = \"b-80\""],
            "",
        ),
        ("@m remote_ip {$NETS}\nrespond @m 403", &[CLOSED], "this is no network; what it protects answers 403"),
        ("@m expression x\nrespond @m 403", &[CLOSED], "what it protects answers 403"),
        (
            "@m {\npath /x\nvars a b\n}\nerror @m 404",
            &["path = \"~(?i)^/x$\"\ndeny", "path = \"/\"\npool"],
            "does not test `vars`",
        ),
        ("@m not {\npath /x\nremote_ip ::1\n}\nrespond @m 401", &[CLOSED], "several things at once"),
        ("respond @nobody 403", &[CLOSED], "there is no matcher @nobody"),
        ("basic_auth {\na b\n}", &[CLOSED], "asks nobody who he is"),
        ("basic_auth /x/* {\na b\n}", &["path = \"~(?i)^/x/\"\ndeny", "path = \"/\"\npool"], "asks nobody"),
        ("forward_auth b:1 {\nuri /\n}", &[CLOSED], "asks nobody"),
        ("@m expression x\nhandle @m {\nbasic_auth {\na b\n}\nreverse_proxy c\n}", &[CLOSED], "runs no expressions"),
        (
            "route {\n@m path_regexp ^/a.b\nrespond @m 403\nreverse_proxy /a/* c\n}",
            &["path = \"~^/a.b\"\nrespond = { status = 403 }"],
            "",
        ),
        (
            "@m not remote_ip ::1\nhandle @m {\nreverse_proxy c\n}\nhandle {\nrespond /x 403\nrespond 200\n}",
            &[CLOSED],
            "where a request goes",
        ),
    ];
    for (fragment, written, told) in rows {
        check(&[(&format!("{fragment}{pass}"), written, told)]);
    }
    let trusting = "{\nservers {\ntrusted_proxies static 10.0.0.0/8\ntrusted_proxies_strict\n}\n}\n";
    let site = in_site("@m not remote_ip 10.1.0.0/16\nrespond @m 403\nreverse_proxy app");
    let (toml, told) = imported(Kind::Caddy, &format!("{trusting}{site}"));
    assert!(toml.contains(CLOSED) && told.contains("this is the address of a proxy"), "{toml}\n{told}");
}

#[test]
fn a_listener_trusts_only_its_own_proxies() {
    let servers = "servers :8080 {\ntrusted_proxies static 10.0.0.0/8\ntrusted_proxies_strict\n}\n";
    let sites = "http://a.test:8080 {\nrespond 200\n}\nhttp://a.test {\nrespond 200\n}\n";
    let (toml, told) = imported(Kind::Caddy, &format!("{{\n{servers}}}\n{sites}"));
    let own = "address = \":8080\"\ntrusted_proxies = [\"10.0.0.0/8\"]\n";
    assert!(toml.contains(own) && toml.contains("address = \":80\"\n\n") && told.is_empty(), "{toml}\n{told}");
}

#[test]
fn what_cannot_be_joined_closes_what_it_protects() {
    // Of these two paths none is a part of the other.
    let rows: [(&str, &[&str], &str); 3] = [
        (
            "handle /a/* {\n@m path_regexp b$\nrespond @m 403\nreverse_proxy app\n}",
            &["path = \"~(?i)^/a/\"\ndeny"],
            "answers 403",
        ),
        (
            "handle /a/* {\n@m path_regexp b$\nreverse_proxy @m b\nreverse_proxy app\n}",
            &["path = \"~(?i)^/a/\"\npool = \"app-80\""],
            "these two are not one",
        ),
        // It ends the choice between the two, and what comes behind that keeps everybody out.
        (
            "@m path_regexp b$\nhandle /a/* {\nhandle @m {\nheader X-A 1\n}\nhandle {\nrespond 200\n}\nrespond 403\n}",
            &["path = \"~(?i)^/a/\"\ndeny"],
            "answers 403",
        ),
    ];
    check(&rows);
}

#[test]
fn certificates_of_clients_are_asked_for_or_the_site_is_closed() {
    let auth = "tls c.pem c.key {\nclient_auth {\nmode require_and_verify\ntrust_pool file ca.pem\n}\n}\nrespond 200\n";
    let (toml, told) = imported(Kind::Caddy, &format!("a.test {{\n{auth}}}\n"));
    assert!(toml.contains("client_ca = \"ca.pem\"\nclient_auth = \"required\"") && told.is_empty(), "{toml}\n{told}");
    let other = "b.test {\ntls c.pem c.key\nrespond 200\n}\n";
    let (toml, told) = imported(Kind::Caddy, &format!("a.test {{\n{auth}}}\n{other}"));
    assert!(toml.contains(CLOSED) && told.contains("all of the site answers 403"), "{toml}\n{told}");
}

/// What is wrong with a file, or nothing.
fn problem(folder: &Path, text: &str) -> String {
    let file = folder.join("Caddyfile");
    fs::write(&file, text).unwrap();
    let error = import(&file, Kind::Caddy, None).err().map(|error| error.to_string()).unwrap_or_default();
    error.replace(&format!("{}/", folder.display()), "")
}

#[test]
fn what_cannot_be_read_says_where() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("loop"), "import loop\n").unwrap();
    let twice = |n: usize| format!("import s{n} \"{{args[0]}}{{args[0]}}\"\n").repeat(2);
    let double = |n: usize| format!("(s{n}) {{\n{}}}\n", twice(n + 1));
    let bomb: String = (0..15).map(double).collect();
    for (text, expected) in [
        ("a.test {\n  respond \"x\n}\n", "Caddyfile:2:1: this quote is not closed"),
        ("a.test {\n  respond x\n", "Caddyfile:2:1: a block is not closed"),
        ("a.test {\n respond x\n}\n}\n", "Caddyfile:4:1: this `}` closes nothing"),
        ("a.test{\n}\n", "Caddyfile:1:1: an address and its `{` need a space between them"),
        ("a.test {\n respond x\n {\n}\n}\n", "Caddyfile:3:1: a `{` stands at the end of the line that it belongs to"),
        ("a.test,b.test {\n}\n", "Caddyfile:1:1: addresses are separated by a comma and a space"),
        ("a.test {\n}\n{\n debug\n}\n", "Caddyfile:3:1: a block without an address holds global options"),
        ("import loop\n", "loop:1:1: imports are deeper than 16"),
        (
            &format!("{bomb}(s15) {{\nrespond {{args[0]}}\n}}\nimport s0 aaaaaaaaaaaaaaaaaaaaaaaa\n"),
            "imports make more than 500000 words",
        ),
        (&format!("{}\n", "a {\n".repeat(40)), "blocks are deeper than 32"),
        (&format!("a {{\n{}}}\n", "respond /x 200\n".repeat(3001)), "more than 3000 directives in one block"),
    ] {
        let problem = problem(folder.path(), text);
        assert!(problem.contains(expected), "{text}: {problem}");
    }
}

#[test]
fn no_combination_of_conditions_is_without_a_bound() {
    let folder = tempfile::tempdir().unwrap();
    let lines = |line: fn(usize) -> String, count: usize| (0..count).map(line).collect::<String>();
    let header = |n: usize| format!("@m{n} header X-{n} 1\nheader @m{n} X-A-{n} 1\n");
    let guard = |n: usize| format!("@m{n} header X-{n} 1\nbasic_auth @m{n} {{\na b\n}}\n");
    let invoke = |n: usize| format!("&(r{n}) {{\n{}}}\n", format!("invoke r{}\n", n + 1).repeat(50));
    for (text, expected) in [
        (in_site(&format!("{}reverse_proxy a", lines(header, 40))), ""),
        (in_site(&format!("{}reverse_proxy a", "request_header X-A b\n".repeat(2000))), ""),
        (in_site(&format!("{}reverse_proxy a", lines(guard, 40))), "ways through this site"),
        ((0..10_001).map(|n| format!("http://h{n}.test {{\nrespond 200\n}}\n")).collect(), "more than 10000 blocks"),
        (format!("{}http://a.test {{\ninvoke r0\n}}\n", lines(invoke, 12)), "with each `invoke`"),
    ] {
        let problem = problem(folder.path(), &text);
        assert!(problem.contains(expected), "{problem}");
        assert_eq!(problem.is_empty(), expected.is_empty(), "{problem}");
    }
}
