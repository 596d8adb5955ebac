//! One planted violation of each kind. A wall that cannot fail is not a wall.

use super::imports::{arrows, circles};
use super::{GUESTS, LEAVES, LINES_MAX, LOCKS, REQUEST_WAY, ROOMS, SHARED, long, names, uses, wide};

fn file(path: &str, text: &str) -> super::File {
    (path.to_owned(), text.to_owned())
}

#[test]
fn an_arrow_up_is_found() {
    for (path, text, expected) in [
        ("src/pool/pick.rs", "use crate::link::WorkerEndpoint;", "pool -> link"),
        ("src/pool/pick.rs", "use crate::{config, proxy};", "pool -> proxy"),
        ("src/link/h1.rs", "fn f(x: crate::worker::Command) {}", "link -> worker"),
        ("src/link/h1.rs", "use super::super::listen::tls;", "link -> listen"),
        ("src/config/units.rs", "use crate::net::Stream;", "config -> net"),
        ("src/proof/trial/judge.rs", "use crate::prove::arm::Arm;", "trial -> prove"),
        ("src/control/probes.rs", "use unstick_proof::prove::arm::Arm;", "control -> prove"),
        ("src/demo/mod.rs", "use crate::control::status;", "demo -> control"),
    ] {
        let found = arrows(&[file(path, text)], &ROOMS, &GUESTS, &LEAVES);
        assert!(matches!(&found[..], [one] if one.contains(expected)), "{path}: {text}: {found:?}");
    }
    for (path, text) in [
        ("src/link/h1.rs", "use crate::pool::{Pool, pick::Tried};\nuse super::record::Record;"),
        ("src/link/h1.rs", "//! Not like [`crate::proxy::respond`].\n// crate::worker"),
        ("src/link/h1.rs", "#[cfg(test)]\nmod tests {\n    use crate::proxy::client;\n}"),
        ("src/main.rs", "use unstick::app::{self, Ended};"),
    ] {
        assert!(arrows(&[file(path, text)], &ROOMS, &GUESTS, &LEAVES).is_empty(), "{path}: {text}");
    }
}

#[test]
fn a_circle_is_found() {
    let one_way = file("src/proxy/mod.rs", "use crate::link::Link;");
    let back = file("src/link/mod.rs", "use crate::pool::Pool;");
    let around = file("src/pool/mod.rs", "use crate::proxy::cause::Cause;");
    assert!(circles(&[one_way.clone(), back.clone()]).is_empty());
    assert_eq!(circles(&[one_way, back, around]).len(), 3);
}

#[test]
fn a_value_of_one_thread_among_what_all_share_is_found() {
    let found = uses(&[file("src/pool/queue.rs", "use std::sync::Arc;\nuse std::rc::Rc;")], &SHARED, &["Rc"], &[]);
    assert_eq!(found, ["src/pool/queue.rs:2: Rc"]);
}

#[test]
fn a_lock_on_the_way_of_a_request_is_found() {
    let lock = "    waiting: Mutex<Vec<Waker>>,";
    assert_eq!(uses(&[file("src/proxy/queue.rs", lock)], &REQUEST_WAY, &["Mutex"], &LOCKS).len(), 1);
    assert!(uses(&[file("src/listen/permits.rs", lock)], &REQUEST_WAY, &["Mutex"], &LOCKS).is_empty());
    assert!(uses(&[file("src/proxy/queue.rs", "// no Mutex here")], &REQUEST_WAY, &["Mutex"], &LOCKS).is_empty());
}

#[test]
fn a_wide_line_and_a_long_file_are_found() {
    let wide_line = "x".repeat(121);
    assert_eq!(wide(&[file("src/a.rs", &wide_line), file("a.md", &wide_line)]).len(), 2);
    let excepted = format!("```\n{wide_line}\n```\n|{wide_line}\n{}\n", "ü".repeat(120));
    assert!(wide(&[file("a.md", &excepted)]).is_empty());
    let lines = "x\n".repeat(LINES_MAX);
    assert!(long(&[file("src/a.rs", &format!("{lines}#[cfg(test)]\nmod tests {{\n{lines}}}"))]).is_empty());
    assert_eq!(long(&[file("src/a.rs", &format!("{lines}x\n"))]).len(), 1);
}

#[test]
fn a_name_that_nothing_bears_is_found() {
    let code =
        [file("src/pool/pick.rs", "impl Pool {\n    pub fn acquire() {}\n}"), file("tests/drain.rs", "fn ends() {}")];
    let config = [file("config/reference.toml", "[timeouts]\n# drain = \"30s\"")];
    let missing = |text: &str| names::missing(text, &code, &config).len();
    assert_eq!(
        missing("`pool/pick.rs`, `src/pool/`, `Pool::acquire`, `drain::ends`, `timeouts.drain`, `GET`, `a b`"),
        0
    );
    for name in ["`pool/choose.rs`", "`Pool::pick`", "`drain::begins`", "`timeouts.dry`", "`settle`"] {
        assert_eq!(missing(name), 1, "{name}");
    }
}
