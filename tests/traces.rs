//! Traces: what a replica hears of the trace of a request, and what a collector gets. What the spans say is looked at
//! by tests/traces/run.py, which reads them with the published definitions.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use unstick::app::Ended;

use crate::explain::latest;
use crate::support::backend::{Backend, Seen, answer};
use crate::support::client::exchange;
use crate::support::h2_backend::H2Backend;
use crate::support::tls::Authority;
use crate::support::{App, connect, eventually, free_address, pause};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";
const TRUSTING: &str = "[listen.web]\naddress = \"127.0.0.1:0\"\ntrusted_proxies = [\"127.0.0.1\"]\n";

/// `[traces]` with this collector and these keys.
fn traces(collector: SocketAddr, keys: &str) -> String {
    format!("[traces]\nendpoint = \"http://{collector}/v1/traces\"\n{keys}\n")
}

/// Sends a request with these lines. Returns its status.
fn ask(address: SocketAddr, path: &str, lines: &str) -> u16 {
    let head = format!("GET {path} HTTP/1.1\r\nHost: test\r\n{lines}Connection: close\r\n\r\n");
    exchange(&mut connect(address), &head).status
}

fn parent(flags: &str) -> String {
    format!("traceparent: 00-{TRACE}-{SPAN}-{flags}\r\n")
}

/// The parts of `traceparent` of what a replica has seen.
fn heard(seen: &Seen) -> [String; 4] {
    let text = seen.field("traceparent").unwrap_or_else(|| panic!("no traceparent: {}", seen.head));
    let parts: Vec<String> = text.split('-').map(str::to_owned).collect();
    assert_eq!((parts.len(), text.len()), (4, 55), "{text}");
    parts.try_into().unwrap()
}

/// A collector that takes everything.
fn collector() -> Backend {
    Backend::start(|peer| peer.serve(|_| answer("")))
}

fn contains(seen: &Seen, text: &str) -> bool {
    seen.body.windows(text.len()).any(|window| window == text.as_bytes())
}

fn dropped(app: &App, why: &str) -> f64 {
    app.metric(&format!("unstick_traces_dropped_total{{why=\"{why}\"}}"))
}

#[test]
fn without_a_collector_the_fields_pass_as_they_come() {
    let replica = Backend::named("a");
    let app = App::over(&[replica.address]);
    assert_eq!(ask(app.address, "/", "traceparent: nonsense\r\ntracestate: a=1\r\ntracestate: b=2\r\n"), 200);
    assert_eq!(ask(app.address, "/", ""), 200);
    let seen = replica.seen();
    assert_eq!(seen[0].field("traceparent"), Some("nonsense"));
    assert!(seen[0].head.contains("tracestate: a=1\r\ntracestate: b=2\r\n"), "{}", seen[0].head);
    assert_eq!(seen[1].field("traceparent"), None);
}

#[test]
fn a_trace_goes_on_or_begins_and_a_stranger_does_not_decide_whether_it_is_recorded() {
    let (replica, nobody) = (Backend::named("a"), free_address());
    let state = "tracestate: a=1\r\ntracestate: b=2\r\n";
    let valid = parent("01") + state;
    for (trusting, sample, lines, goes_on, flags) in [
        ("", "0%", "", false, "00"),
        ("", "0%", &*valid, true, "00"),
        ("", "100%", "", false, "01"),
        ("", "100%", &(parent("00") + state), true, "01"),
        (TRUSTING, "0%", &valid, true, "01"),
        (TRUSTING, "100%", &(parent("00") + state), true, "00"),
        (TRUSTING, "0%", state, false, "00"),
        (TRUSTING, "0%", &format!("{}{valid}", parent("01")), false, "00"),
        (TRUSTING, "0%", &valid.replace("00-4b", "ff-4b"), false, "00"),
    ] {
        let more = trusting.to_owned() + &traces(nobody, &format!("sample = \"{sample}\""));
        let app = App::builder(&[replica.address]).more(&more).start();
        assert_eq!(ask(app.address, "/", lines), 200);
        let seen = replica.seen().pop().unwrap();
        let [version, trace, span, heard_flags] = heard(&seen);
        assert_eq!((&*version, &*heard_flags, trace == TRACE), ("00", flags, goes_on), "{trusting} {sample} {lines}");
        assert_ne!(span, SPAN, "the parent of the replica's span is a span of ours");
        assert_eq!(seen.field("tracestate"), goes_on.then_some("a=1,b=2"), "{lines}");
        assert_eq!(seen.head.matches("traceparent").count(), 1, "{}", seen.head);
    }
}

#[test]
fn each_attempt_is_the_parent_of_what_its_replica_does() {
    let unwell = || Backend::start(|peer| peer.serve(|_| b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n".to_vec()));
    let (replicas, collector) = ([unwell(), unwell()], collector());
    let addresses = replicas.each_ref().map(|replica| replica.address);
    let more = traces(collector.address, "sample = \"100%\"\nservice = \"shop\"");
    let app = App::builder(&addresses).pool("retry = { on_status = [503] }").more(&more).workers(1).start();
    assert_eq!(ask(app.address, "/cart?token=hunter2", &parent("01")), 503);
    eventually("the batch has come", || app.metric("unstick_traces_exported_total") == 1.0);
    let spans: Vec<String> = replicas.iter().flat_map(Backend::seen).map(|seen| heard(&seen)[2].clone()).collect();
    assert!(spans.len() >= 2 && spans[0] != spans[1], "{spans:?}");
    let batch = collector.seen().remove(0);
    assert_eq!(batch.field("content-type"), Some("application/x-protobuf"));
    assert_eq!(batch.line(), "POST /v1/traces HTTP/1.1");
    let bytes = |hex: &str| u64::from_str_radix(hex, 16).unwrap().to_be_bytes();
    for id in spans.iter().map(|span| bytes(span)).chain([bytes(SPAN)]) {
        assert!(batch.body.windows(8).any(|window| window == id), "{id:x?} is a span of the batch, or a parent");
    }
    assert!(contains(&batch, "shop") && contains(&batch, "/cart") && !contains(&batch, "hunter2"));
}

#[test]
fn refusals_and_requests_that_nobody_asks_about_are_traced_too() {
    let (collector, more) = (collector(), "[explain]\nkeep = 0\n[[route]]\npath = \"/a\"\npool = \"app\"\n");
    let more = more.to_owned() + &traces(collector.address, "sample = \"100%\"");
    let app = App::builder(&[free_address()]).more(&more).start();
    assert_eq!([ask(app.address, "/a", ""), ask(app.address, "/nowhere", "")], [502, 404]);
    eventually("both are exported", || app.metric("unstick_traces_exported_total") == 2.0);
    let all: Vec<u8> = collector.seen().into_iter().flat_map(|seen| seen.body).collect();
    for text in ["connect-failed", "no-route", "/nowhere"] {
        assert!(all.windows(text.len()).any(|window| window == text.as_bytes()), "{text}");
    }
    assert_eq!(app.metric("unstick_explain_dropped_total"), 0.0);
}

#[test]
fn a_batch_is_sent_again_if_the_collector_has_no_time_and_not_if_it_refuses() {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let later = "HTTP/1.1 503 Later\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n";
    let never = "HTTP/1.1 400 Never\r\nContent-Length: 2\r\n\r\nno";
    let collector = Backend::start(move |peer| {
        peer.serve(move |_| match ASKED.fetch_add(1, Relaxed) {
            0 | 1 => later.into(),
            2 => answer(""),
            3 => never.into(),
            _ => answer("\n\u{2}\u{8}\u{1}"),
        })
    });
    let replica = Backend::named("a");
    let keys = "sample = \"100%\"\nheaders = { authorization = \"Bearer a\" }";
    let app = App::builder(&[replica.address]).more(&traces(collector.address, keys)).start();
    for (exported, refused) in [(1.0, 0.0), (1.0, 1.0), (1.0, 2.0)] {
        assert_eq!(ask(app.address, "/", ""), 200);
        eventually("the batch is settled", || {
            (app.metric("unstick_traces_exported_total"), dropped(&app, "refused")) == (exported, refused)
        });
    }
    let seen = collector.seen();
    assert_eq!(seen.len(), 5, "the last one is taken, but for its only span");
    assert!(seen[0].body == seen[1].body && seen[1].body == seen[2].body && seen[2].body != seen[3].body);
    assert!(seen.iter().all(|seen| seen.field("authorization") == Some("Bearer a")));
}

#[test]
fn a_stop_exports_what_is_left_and_does_not_wait_for_a_collector_that_hangs() {
    let (taking, hanging) = (collector(), Backend::start(|peer| peer.wait_for_close()));
    for (collector, expected) in [(&taking, 1), (&hanging, 0)] {
        let replica = Backend::named("a");
        let more = traces(collector.address, "sample = \"100%\"\ntimeout = \"60s\"");
        let app = App::builder(&[replica.address]).more(&more).start();
        assert_eq!(ask(app.address, "/", ""), 200);
        app.stop();
        assert_eq!(app.wait(), Ended::Drained);
        assert_eq!(collector.seen().len(), expected);
    }
    assert!(hanging.connections() > 0, "it was asked");
}

#[test]
fn edits_hold_at_once() {
    let (replica, collector) = (Backend::named("a"), collector());
    let app = App::over(&[replica.address]);
    let with = |more: &str| App::builder(&[replica.address]).more(more).config();
    let flags = |lines: &str| {
        assert_eq!(ask(app.address, "/", lines), 200);
        replica.seen().pop().unwrap().field("traceparent").map(|text| text[53..].to_owned())
    };
    assert_eq!(flags(""), None);
    app.apply(&with(&traces(collector.address, "sample = \"100%\"")));
    assert_eq!(flags("").as_deref(), Some("01"));
    eventually("it is exported", || app.metric("unstick_traces_exported_total") == 1.0);
    app.apply(&with(&traces(collector.address, "sample = \"0%\"")));
    assert_eq!(flags(&parent("01")).as_deref(), Some("00"));
    app.apply(&with(""));
    assert_eq!(flags(""), None);
    pause("nothing more comes", 1500);
    assert_eq!((collector.seen().len(), app.metric("unstick_traces_exported_total")), (1, 1.0));
}

/// Certificates that cannot be read would lose every span, and nobody would know before.
#[test]
fn a_collector_that_can_never_be_believed_is_refused_where_it_is_written() {
    let (replica, folder) = (Backend::named("a"), tempfile::tempdir().unwrap());
    let app = App::over(&[replica.address]);
    let with = |more: &str| App::builder(&[replica.address]).more(more).config();
    let ca = folder.path().join("ca.pem");
    let traced = format!("[traces]\nendpoint = \"https://127.0.0.1:9/v1/traces\"\nca = \"{}\"\n", ca.display());
    let why = app.refuse(&with(&traced));
    assert!(why.contains("traces: ") && why.contains("ca.pem"), "{why}");
    std::fs::write(&ca, "no certificate").unwrap();
    assert!(app.refuse(&with(&(traced.clone() + "timeout = \"2s\"\n"))).contains("ca.pem"));
    Authority::new("ca").write(&ca);
    app.apply(&with(&traced));
    // It is in use, so other edits do not look at it.
    std::fs::remove_file(&ca).unwrap();
    app.apply(&with(&("[limits]\nreplay = \"8KiB\"\n".to_owned() + &traced)));
}

#[test]
fn a_route_has_the_last_word_about_what_a_client_says() {
    let (replica, nobody) = (Backend::named("a"), free_address());
    let route = "[[route]]\npool = \"app\"\nrequest_headers = { remove = [\"traceparent\"] }\n";
    let app = App::builder(&[replica.address]).more(&(route.to_owned() + &traces(nobody, ""))).start();
    assert_eq!(ask(app.address, "/", &(parent("01") + "tracestate: a=1\r\n")), 200);
    let seen = replica.seen().pop().unwrap();
    assert_ne!(heard(&seen)[1], TRACE);
    assert_eq!(seen.field("tracestate"), None);
}

#[test]
fn a_replica_of_http2_hears_it_too() {
    let replica = H2Backend::start(|call| async move {
        let text = format!("{:?}", call.request.headers()["traceparent"]);
        call.say(&text);
    });
    let app = App::builder(&[replica.address]).pool("protocol = \"h2c\"").more(&traces(free_address(), "")).start();
    let head = format!("GET / HTTP/1.1\r\nHost: test\r\n{}Connection: close\r\n\r\n", parent("01"));
    let heard = exchange(&mut connect(app.address), &head).text();
    assert!(heard.contains(&format!("\"00-{TRACE}-")) && !heard.contains(SPAN), "{heard}");
}

#[test]
fn secrets_are_masked_in_what_is_exported_and_in_what_is_told_of_the_same_request() {
    let (replica, collector, folder) = (Backend::named("a"), collector(), tempfile::tempdir().unwrap());
    std::fs::write(folder.path().join("token"), "hunter2secret").unwrap();
    let token = format!("${{file:{}}}", folder.path().join("token").display());
    let keys = format!("sample = \"100%\"\nheaders = {{ x-key = \"{token}\" }}\n[explain]\nsample = 1");
    let app = App::builder(&[replica.address]).more(&traces(collector.address, &keys)).start();
    assert_eq!(ask(app.address, "/reset/hunter2secret/x", ""), 200);
    eventually("it is exported", || app.metric("unstick_traces_exported_total") == 1.0);
    let batch = collector.seen().remove(0);
    assert!(contains(&batch, "/reset/***/x") && !contains(&batch, "hunter2"));
    assert_eq!(batch.field("x-key"), Some("hunter2secret"), "the collector is meant to get this one");
    let told = latest(&app, "any");
    assert_eq!(told["path"], "/reset/***/x", "{told}");
    assert_eq!(told["trace_id"].as_str().map(str::len), Some(32), "{told}");
}
