//! What operators have set of endpoints goes along with an upgrade, and nothing is set while one is under way.

use super::*;
use crate::control::{JSON, path, post};

#[test]
fn what_was_set_goes_along_and_nothing_is_set_meanwhile() {
    let backend = Backend::named("a");
    let mut proxy = Upgraded::start(&backend, "[timeouts]\nupgrade = \"2s\"");
    let admin = address_in(&proxy.running.line("admin on http://"), "admin on http://");
    let (drain, weight) = (path(backend.address, "drain"), path(backend.address, "weight"));
    let endpoint = || {
        let head = format!("GET /status HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
        let status: serde_json::Value = serde_json::from_str(&exchange(&mut connect(admin), &head).text()).unwrap();
        status["pools"][0]["endpoints"][0].clone()
    };
    assert_eq!(post(admin, &weight, JSON, "{\"weight\": 7}").status, 200);
    assert_eq!(post(admin, &drain, JSON, "").status, 200);
    let line = proxy.running.line("state ready -> drain");
    assert!(line.contains("changed: pool app: ") && line.contains("\"by\":\"127.0.0.1\""), "{line}");
    let before = endpoint();

    proxy.replace_by_script("exec sleep 1000");
    proxy.order();
    proxy.running.line("upgrade: starting ");
    for change in [path(backend.address, "ready"), "/v1/reload".to_owned()] {
        let refused = post(admin, &change, JSON, "");
        assert!(refused.status == 409 && refused.text().contains("an upgrade is under way"), "{}", refused.text());
    }
    proxy.running.line("upgrade refused");
    assert_eq!(endpoint()["wanted"], "drain");

    proxy.replace_by_unstick();
    let gone = proxy.upgrade();
    eventually("the one before has ended", || has_ended(gone));
    let after = endpoint();
    assert_eq!((&after["wanted"], &after["weight"]), (&"drain".into(), &7.into()));
    assert_eq!(after["override"], before["override"], "since when, and by whom");
    assert_eq!(get(proxy.address, "/").status, 503, "also for traffic");

    // The new process reads another file than the old one did.
    let edit = "sed -i 's/backends = \\[\\(.*\\)\\]/backends = [{ address = \\1, weight = 2 }]/' unstick.toml";
    proxy.replace_by_script(&format!("{edit}\nexec {} run -c unstick.toml", env!("CARGO_BIN_EXE_unstick")));
    let gone = proxy.upgrade();
    eventually("the one before has ended", || has_ended(gone));
    let after = endpoint();
    assert_eq!((&after["wanted"], &after["weight"], &after["override"]), (&"ready".into(), &2.into(), &().into()));
}
