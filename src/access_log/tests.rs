//! Lines of the access log, in every form, and how they are written.

use super::*;
use crate::config::model::{AccessField, AccessLogFormat};

/// What the config says with these lines in `[log]`.
fn config(lines: &str) -> model::AccessLog {
    let text =
        format!("listen.web.address = ':1'\npool.app.backends = ['10.0.0.1:1']\n[log]\naccess = 'stdout'\n{lines}\n");
    let config = crate::config::parse("test.toml", &text).unwrap_or_else(|problems| panic!("{problems}"));
    config.log.access.unwrap()
}

fn layout(lines: &str) -> Arc<Layout> {
    Arc::new(Layout::new(&config(lines)))
}

fn record(layout: &Arc<Layout>, status: Option<u16>) -> AccessRecord {
    AccessRecord {
        layout: Arc::clone(layout),
        finished: SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123),
        client_ip: [192, 0, 2, 7].into(),
        peer_ip: [10, 0, 0, 9].into(),
        method: Some(Method::GET),
        target: Some(PathAndQuery::from_static("/cart?a=1")),
        authority: None,
        line: None,
        version: Version::HTTP_11,
        host: Some(HeaderValue::from_static("shop.example.com")),
        request_id: Some(HeaderValue::from_static("abc")),
        user_agent: Some(HeaderValue::from_bytes(b"a\"b\xff").unwrap()),
        referer: None,
        pool: Some("app".into()),
        endpoint: Some(([10, 0, 0, 1], 3000).into()),
        status,
        outcome: "answered",
        origin: Some("replica"),
        cause: None,
        rule: None,
        error: None,
        bytes: 129,
        duration: Duration::from_micros(1234),
        attempts: 1,
    }
}

/// The line of a record, without its end.
fn line(record: &AccessRecord) -> String {
    let mut out = Vec::new();
    write_line(&mut out, record, &mut Calendar::default());
    assert_eq!(out.pop(), Some(b'\n'));
    String::from_utf8(out).unwrap()
}

fn line_of(lines: &str) -> String {
    line(&record(&layout(lines), Some(200)))
}

/// A head that could not be read.
fn unreadable(lines: &str, first: Option<&str>) -> AccessRecord {
    AccessRecord {
        method: None,
        target: None,
        line: first.map(Into::into),
        host: None,
        request_id: None,
        user_agent: None,
        pool: None,
        endpoint: None,
        origin: Some("unstick"),
        ..record(&layout(lines), Some(400))
    }
}

#[test]
fn a_json_line_says_everything() {
    let expected = "{\"time\":\"2023-11-14T22:13:20.123Z\",\"client_ip\":\"192.0.2.7\",\"method\":\"GET\",\
        \"target\":\"/cart?a=1\",\"version\":\"HTTP/1.1\",\"host\":\"shop.example.com\",\"status\":200,\
        \"outcome\":\"answered\",\"origin\":\"replica\",\"bytes\":129,\"duration_ms\":1.234,\"pool\":\"app\",\
        \"endpoint\":\"10.0.0.1:3000\",\"attempts\":1,\"request_id\":\"abc\",\"user_agent\":\"a\\\"b\u{fffd}\"}";
    assert_eq!(line_of(""), expected);
}

#[test]
fn a_json_line_has_the_fields_that_are_asked_for() {
    assert_eq!(line_of("access_fields = ['status', 'path']"), "{\"status\":200,\"path\":\"/cart\"}");
    assert_eq!(
        line_of("access_fields = ['query', 'peer_ip', 'request', 'time_common']"),
        "{\"query\":\"a=1\",\"peer_ip\":\"10.0.0.9\",\"request\":\"GET /cart?a=1 HTTP/1.1\",\
         \"time_common\":\"14/Nov/2023:22:13:20 +0000\"}"
    );
    // What was not there is left out, or null where that says something.
    let layout = layout("access_fields = ['referer', 'status', 'pool', 'endpoint', 'line']");
    let gone = AccessRecord { pool: None, endpoint: None, ..record(&layout, None) };
    assert_eq!(line(&gone), "{\"status\":null,\"pool\":null,\"endpoint\":null}");
    assert_eq!(line_of("access_fields = ['referer']"), "{}");
}

#[test]
fn the_formats_of_apache() {
    let common = "192.0.2.7 - - [14/Nov/2023:22:13:20 +0000] \"GET /cart?a=1 HTTP/1.1\" 200 129";
    assert_eq!(line_of("access_format = 'common'"), common);
    assert_eq!(line_of("access_format = 'combined'"), format!("{common} \"-\" \"a\\x22b\\xff\""));
    assert!(line(&record(&layout("access_format = 'common'"), None)).ends_with("\" 499 129"));
    for (first, expected) in [(None, "\"-\" 400 129"), (Some("G\0T \"/\""), "\"G\\x00T \\x22/\\x22\" 400 129")] {
        let found = line(&unreadable("access_format = 'common'", first));
        assert!(found.ends_with(expected), "{found}");
    }
}

#[test]
fn templates_are_filled_in() {
    for (template, expected) in [
        ("{client_ip} {method} {target} {status} {duration_ms}", "192.0.2.7 GET /cart?a=1 200 1.234"),
        ("{{{path}}} [{pool}/{endpoint}]", "{/cart} [app/10.0.0.1:3000]"),
        ("{user_agent}|{referer}", "a\\x22b\\xff|-"),
        ("é {status}ms", "é 200ms"),
        // Only what ends a field is escaped in it.
        ("path={path} query={query}", "path=/cart query=a=1"),
        ("{query}={status}", "a\\x3d1=200"),
        ("{endpoint}:{status}", "10.0.0.1\\x3a3000:200"),
        ("{query}={status} {query}", "a\\x3d1=200 a=1"),
        ("{status}a{query}", "200aa=1"),
    ] {
        assert_eq!(line_of(&format!("access_format = '{template}'")), expected);
    }
}

/// Every field that somebody else has written, filled with what could end a field or a line.
fn hostile(layout: &Arc<Layout>) -> AccessRecord {
    let bytes = b"x 200\t\"|,;]'\\\x9b\xe2\x80\xa8y";
    let header = || Some(HeaderValue::from_bytes(bytes).unwrap());
    let text = || Some("x 200\r\n\t\"|,;]'\\\u{1b}\u{7f}\u{85}\u{9b}\u{2028}\u{2029}y".into());
    AccessRecord {
        target: Some(PathAndQuery::try_from("/x|,;]'200?x|,;]'y").unwrap()),
        host: header(),
        request_id: header(),
        user_agent: header(),
        referer: header(),
        error: text(),
        line: text(),
        method: Some(Method::from_bytes(b"G'|T").unwrap()),
        pool: Some("a b|\"".into()),
        endpoint: Some((std::net::Ipv6Addr::LOCALHOST, 3000).into()),
        ..record(layout, Some(404))
    }
}

#[test]
fn no_value_can_add_a_line_or_a_field() {
    let names: Vec<&str> = AccessField::NAMES.iter().map(|(name, _)| *name).collect();
    for separator in [" ", "|", ",", ";", ", ", " ; "] {
        let template = names.iter().map(|name| format!("{{{name}}}")).collect::<Vec<_>>().join(separator);
        let found = line(&hostile(&layout(&format!("access_format = \"{template}\""))));
        // The time of the common log format is the only one of ours with a space.
        let found = found.replace(":20 +0000", ":20");
        assert_eq!(found.split(separator).count(), names.len(), "{found}");
        assert!(found.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{found}");
    }
    for (open, close) in [("\"", "\""), ("[", "]"), ("'", "'")] {
        let template = names.iter().map(|name| format!("{open}{{{name}}}{close}")).collect::<Vec<_>>().join(" ");
        let found = line(&hostile(&layout(&format!("access_format = '''{template}'''"))));
        assert_eq!(found.matches(close).count(), names.len() * if open == close { 2 } else { 1 }, "{found}");
        assert!(found.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{found}");
    }
    let combined = line(&hostile(&layout("access_format = 'combined'")));
    assert_eq!(combined.matches('"').count(), 6, "{combined}");
    assert!(combined.ends_with("\"x 200\\x09\\x22|,;]'\\x5c\\x9b\\xe2\\x80\\xa8y\""), "{combined}");
}

#[test]
fn json_is_json_whatever_is_in_it() {
    let list = AccessField::NAMES.iter().map(|(name, _)| format!("'{name}'")).collect::<Vec<_>>().join(", ");
    let found = line(&hostile(&layout(&format!("access_fields = [{list}]"))));
    assert!(!found.chars().any(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')), "{found}");
    let object: serde_json::Value = serde_json::from_str(&found).unwrap();
    assert_eq!(object["error"], "x 200\r\n\t\"|,;]'\\\u{1b}\u{7f}\u{85}\u{9b}\u{2028}\u{2029}y");
    assert_eq!(object["user_agent"], "x 200\t\"|,;]'\\\u{fffd}\u{2028}y");
    assert_eq!(object["method"], "G'|T");
    let without = ["cause", "rule"];
    let expected = AccessField::NAMES.iter().map(|(name, _)| *name).filter(|name| !without.contains(name));
    let object = object.as_object().unwrap();
    assert!(expected.clone().all(|name| object.contains_key(name)), "{found}");
    assert_eq!(object.len(), expected.count());
}

#[test]
fn a_layout_wants_what_is_in_its_lines() {
    for (lines, expected) in [
        ("access_fields = ['status', 'host']", &["host", "status"][..]),
        ("access_format = 'common'", &["time_common", "client_ip", "request", "status", "bytes"]),
        ("access_format = '{path} {path} {user_agent}'", &["path", "user_agent"]),
    ] {
        let layout = layout(lines);
        for (name, field) in AccessField::NAMES {
            assert_eq!(layout.wants(*field), expected.contains(name), "{lines} {name}");
        }
    }
    assert!(!layout("access_fields = ['status']").wants_target() && layout("access_fields = ['query']").wants_target());
    assert!(layout("access_format = 'common'").wants_line() && !layout("access_fields = ['path']").wants_line());
}

#[test]
fn a_sample_is_a_share_of_what_is_drawn() {
    let taken = |sample: &str| {
        let layout = layout(&format!("access_sample = '{sample}'"));
        (0..1_000_000).step_by(100).filter(|drawn| layout.takes(|| *drawn)).count()
    };
    assert_eq!((taken("1%"), taken("0%"), taken("100%"), taken("33.5%")), (100, 0, 10_000, 3350));
}

#[test]
fn moments_are_written_in_utc_and_no_clock_is_too_far_off() {
    let cases = [
        (Duration::ZERO, "1970-01-01T00:00:00Z"),
        (Duration::from_secs(1_709_210_096), "2024-02-29T12:34:56Z"),
        (Duration::new(1_709_210_096, 120_000), "2024-02-29T12:34:56.00012Z"),
        (Duration::from_secs(253_402_300_800), "1970-01-01T00:00:00Z"), // the year 10000
    ];
    for (since, expected) in cases {
        assert_eq!(rfc3339(SystemTime::UNIX_EPOCH + since), expected);
    }
    assert_eq!(rfc3339(SystemTime::UNIX_EPOCH - Duration::from_secs(1)), "1970-01-01T00:00:00Z");
}

/// A log that is written to `path`, and the layout of its lines.
fn open(path: &std::path::Path, queue: usize) -> (AccessLog, Arc<Layout>) {
    let to = AccessLogTarget::File(path.to_owned());
    let config = model::AccessLog { to, queue, format: AccessLogFormat::Common, ..config("") };
    (AccessLog::open(&config).unwrap(), Arc::new(Layout::new(&config)))
}

#[test]
fn a_moved_file_is_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let (path, moved) = (dir.path().join("access.log"), dir.path().join("access.log.1"));
    let (log, layout) = open(&path, 10);
    assert!(log.submit(record(&layout, Some(200))));
    log.flush(Duration::from_secs(5));
    std::fs::rename(&path, &moved).unwrap();
    log.reopen();
    assert!(log.submit(record(&layout, Some(404))));
    log.flush(Duration::from_secs(5));
    assert!(std::fs::read_to_string(&moved).unwrap().ends_with("200 129\n"));
    assert!(std::fs::read_to_string(&path).unwrap().ends_with("404 129\n"));
}

#[test]
fn lines_that_a_full_disk_does_not_take_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("access.log");
    std::os::unix::fs::symlink("/dev/full", &path).unwrap();
    let (log, layout) = open(&path, 1000);
    for _ in 0..500 {
        assert!(log.submit(record(&layout, Some(200))));
    }
    log.flush(Duration::from_secs(5));
    let lost = log.lost().load(Relaxed);
    assert!(lost > 300 && lost < 500, "all but what is in the buffer: {lost}");
    std::fs::remove_file(&path).unwrap();
    log.reopen();
    assert!(log.submit(record(&layout, Some(404))));
    log.flush(Duration::from_secs(5));
    assert_eq!(log.lost().load(Relaxed), 500, "the rest was in the buffer of the old file");
    assert!(std::fs::read_to_string(&path).unwrap().ends_with("404 129\n"));
}
