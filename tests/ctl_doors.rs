//! Whom `unstick ctl` believes, whom it tells its token, and how long it waits.

use crate::ctl::ctl;
use crate::support::backend::{Backend, answer};
use crate::support::send;

/// Something that says the same to everybody.
fn parrot(json: &'static str) -> Backend {
    Backend::start(move |peer| {
        while peer.next().is_some() {
            send(&mut peer.stream, answer(json));
        }
    })
}

#[test]
fn json_of_something_else_is_not_that_of_unstick() {
    for json in ["{}", "[]", "1", "{\"status\": \"ok\"}", "{\"version\": \"1\"}"] {
        let other = parrot(json);
        let admin = other.address.to_string();
        for words in [
            &["status"][..],
            &["status", "--json"],
            &["reload"],
            &["drain", "app/a:1"],
            &["explain", "--last", "failed"],
            &["explain", "1"],
            &["route", "GET", "http://a.test/"],
        ] {
            let (code, said, why) = ctl(&[&["--admin", &admin], words].concat());
            assert_eq!((code, said.as_str()), (Some(3), ""), "{json} {words:?}: {why}");
            assert!(why.contains("is not the admin port of unstick"), "{json} {words:?}: {why}");
        }
    }
}
