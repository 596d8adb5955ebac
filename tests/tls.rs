//! TLS from clients: certificates by name and from disk, session tickets, client certificates.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use rustls::client::Resumption;
use rustls::{CipherSuite, ClientConfig, HandshakeKind, ProtocolVersion};
use tokio::time::Instant;

use crate::support::backend::{Backend, answer};
use crate::support::client::{self, exchange, read_response};
use crate::support::tls::{Authority, Pair, certificate_in, certificate_of, shake_hands};
use crate::support::{App, connect, eventually, pool_of, read_to_close, send, text};

const GET: &str = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";

/// One listener with TLS and one replica. The files are in the folder of the config.
fn over(backend: &Backend, tls: &str, folder: tempfile::TempDir, workers: usize) -> App {
    let file = folder.path().join("unstick.toml");
    std::fs::write(&file, config(backend, tls)).unwrap();
    App::start_file(folder, file, workers)
}

fn config(backend: &Backend, tls: &str) -> String {
    let listen = "[listen.web]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"127.0.0.1:0\"\n";
    format!("{listen}[listen.web.tls]\n{tls}\n{}", pool_of(&[backend.address], "", ""))
}

fn named(stem: &str) -> String {
    format!("cert = \"{stem}.pem\"\nkey = \"{stem}.key\"\n")
}

#[test]
fn a_request_in_tls_says_so_to_the_replica() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new("ca"));
    authority.issue(folder.path(), "a", &["a.test"]);
    let backend = Backend::named("one");
    let app = over(&backend, &named("a"), folder, 2);
    let config = Arc::new(authority.client(&["http/1.1"]));
    let mut stream = shake_hands(app.address, "a.test", &config).unwrap();
    assert_eq!(stream.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
    for _ in 0..2 {
        assert_eq!(exchange(&mut stream, GET).text(), "one");
    }
    let seen = backend.seen();
    assert_eq!(seen[0].field("x-forwarded-proto"), Some("https"));
    assert!(seen[0].field("forwarded").unwrap().contains("proto=https"));
    assert_eq!(seen.len(), 2);
    // This is larger than any record and any buffer, in both directions.
    let body = "x".repeat(3 << 20);
    let request = format!("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    assert_eq!(exchange(&mut stream, &request).status, 200);
    assert_eq!(backend.seen()[2].body.len(), body.len());
}

#[test]
fn the_name_asked_for_chooses_the_certificate() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new("ca"));
    let first = authority.issue(folder.path(), "first", &["first.test"]);
    let exact = authority.issue(folder.path(), "exact", &["shop.example.com"]);
    let wild = authority.issue(folder.path(), "wild", &["*.example.com", "other.test"]);
    let more: String =
        ["exact", "wild"].iter().map(|stem| format!("[[listen.web.tls.certificate]]\n{}", named(stem))).collect();
    let backend = Backend::named("one");
    let app = over(&backend, &format!("{}{more}", named("first")), folder, 1);
    let config = Arc::new(authority.client(&[]));
    for (name, expected) in [
        ("first.test", &first),
        ("shop.example.com", &exact),
        ("SHOP.Example.com", &exact),
        ("blog.example.com", &wild),
        ("other.test", &wild),
    ] {
        assert_eq!(certificate_of(app.address, name, &config).unwrap(), certificate_in(expected), "{name}");
    }
    // A wildcard matches one label. A name without a certificate gets the first one, which the client refuses.
    for name in ["a.b.example.com", "example.com", "unknown.test"] {
        assert!(certificate_of(app.address, name, &config).is_err(), "{name}");
    }
}

#[test]
fn a_certificate_replaced_on_disk_serves_within_two_seconds_and_garbage_never() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new("ca"));
    let (path, backend) = (folder.path().to_owned(), Backend::named("one"));
    authority.issue(&path, "a", &["a.test"]);
    let app = over(&backend, &named("a"), folder, 2);
    let config = Arc::new(authority.client(&[]));
    let (stop, requests) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        // Clients that come meanwhile get responses, on a fresh connection or on one that stays open.
        for keeps in [true, false, true, false, true, false, true, false] {
            let (config, stop, requests) = (&config, &stop, &requests);
            scope.spawn(move || {
                let mut kept = shake_hands(app.address, "a.test", config).unwrap();
                while !stop.load(Relaxed) {
                    if !keeps {
                        kept = shake_hands(app.address, "a.test", config).unwrap();
                    }
                    assert_eq!(exchange(&mut kept, GET).text(), "one");
                    requests.fetch_add(1, Relaxed);
                }
            });
        }
        let stop_at_the_end = Stop(&stop);
        let next = authority.issue(&path, "next", &["a.test"]);
        let replaced = Instant::now();
        replace(&next, &path);
        eventually("the new certificate serves", || {
            certificate_of(app.address, "a.test", &config).unwrap() == certificate_in(&next)
        });
        // It takes two seconds; the rest is allowed for a busy machine.
        assert!(replaced.elapsed() < Duration::from_secs(4), "{:?}", replaced.elapsed());

        std::fs::write(path.join("a.pem"), "-----BEGIN CERTIFICATE-----\nrubbish\n-----END CERTIFICATE-----\n")
            .unwrap();
        let refused = "unstick_certificates_refused{listener=\"web\"}";
        eventually("garbage is refused", || app.metric(refused) == 1.0);
        assert_eq!(certificate_of(app.address, "a.test", &config).unwrap(), certificate_in(&next));

        replace(&next, &path);
        eventually("the good one is good again", || app.metric(refused) == 0.0);
        // A key that does not match the certificate is refused too. Both together are accepted.
        let last = authority.issue(&path, "last", &["a.test"]);
        std::fs::copy(&last.cert, path.join("a.pem")).unwrap();
        eventually("half of a pair is refused", || app.metric(refused) == 1.0);
        assert_eq!(certificate_of(app.address, "a.test", &config).unwrap(), certificate_in(&next));
        std::fs::copy(&last.key, path.join("a.key")).unwrap();
        eventually("the pair serves", || app.metric(refused) == 0.0);
        assert_eq!(certificate_of(app.address, "a.test", &config).unwrap(), certificate_in(&last));
        drop(stop_at_the_end);
    });
    assert!(requests.load(Relaxed) > 100);
    let ends = app.metric(&format!(
        "unstick_certificate_not_after_timestamp_seconds{{listener=\"web\",file=\"{}\"}}",
        path.join("a.pem").display()
    ));
    assert!(ends > 1.0e9);
}

/// The threads must also end when the test fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

fn replace(next: &Pair, folder: &Path) {
    std::fs::copy(&next.key, folder.join("a.key")).unwrap();
    std::fs::copy(&next.cert, folder.join("a.pem")).unwrap();
}

#[test]
fn a_reload_with_a_bad_certificate_is_refused_with_its_file() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new("ca"));
    authority.issue(folder.path(), "a", &["a.test"]);
    let backend = Backend::named("one");
    let app = over(&backend, &named("a"), folder, 1);
    let why = app.refuse(&config(&backend, &named("missing")));
    assert!(why.contains("listener web: cannot read") && why.contains("missing.pem: No such file"), "{why}");
    let tls = Arc::new(authority.client(&[]));
    assert!(certificate_of(app.address, "a.test", &tls).is_ok());
}

#[test]
fn a_ticket_of_one_worker_is_good_for_all_and_outlives_a_reload() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new("ca"));
    authority.issue(folder.path(), "a", &["a.test"]);
    let backend = Backend::named("one");
    let app = over(&backend, &named("a"), folder, 4);
    let mut tls = authority.client(&["http/1.1"]);
    tls.resumption = Resumption::in_memory_sessions(64);
    let tls = Arc::new(tls);
    let kind = |config: &Arc<ClientConfig>| {
        let mut stream = shake_hands(app.address, "a.test", config).unwrap();
        // Tickets arrive after the handshake.
        assert_eq!(exchange(&mut stream, GET).status, 200);
        stream.conn.handshake_kind().unwrap()
    };
    assert_eq!(kind(&tls), HandshakeKind::Full);
    for _ in 0..16 {
        assert_eq!(kind(&tls), HandshakeKind::Resumed);
    }
    app.apply(&config(&backend, &named("a")).replace("[pool.app]\n", "[pool.app]\nbalance = \"random\"\n"));
    assert_eq!(kind(&tls), HandshakeKind::Resumed);
}

#[test]
fn tls_1_2_is_spoken_and_resumed_on_any_worker() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new("ca"));
    authority.issue(folder.path(), "a", &["a.test"]);
    let backend = Backend::named("one");
    let app = over(&backend, &named("a"), folder, 4);
    let tls = Arc::new(authority.old_client(&[]));
    for nth in 0..8 {
        let mut stream = shake_hands(app.address, "a.test", &tls).unwrap();
        assert_eq!(stream.conn.protocol_version(), Some(ProtocolVersion::TLSv1_2));
        let expected = if nth == 0 { HandshakeKind::Full } else { HandshakeKind::Resumed };
        assert_eq!(stream.conn.handshake_kind(), Some(expected));
        assert_eq!(exchange(&mut stream, GET).text(), "one");
    }
}

#[test]
fn one_name_may_have_a_certificate_for_each_kind_of_key() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new("ca"));
    let ecdsa = authority.issue(folder.path(), "ecdsa", &["a.test"]);
    let rsa = authority.issue_rsa(folder.path(), "rsa", &["a.test"]);
    let backend = Backend::named("one");
    let more = format!("[[listen.web.tls.certificate]]\n{}", named("rsa"));
    let app = over(&backend, &format!("{}{more}", named("ecdsa")), folder, 1);
    for (suite, expected) in [
        (CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, &ecdsa),
        (CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, &rsa),
    ] {
        let config = Arc::new(authority.old_client(&[suite]));
        let found = certificate_of(app.address, "a.test", &config).unwrap();
        assert_eq!(found, certificate_in(expected), "{suite:?}");
    }
    let config = Arc::new(authority.client(&[]));
    assert_eq!(certificate_of(app.address, "a.test", &config).unwrap(), certificate_in(&ecdsa), "the first one wins");
}

/// What costs least is taken, unless the client says by its order that ChaCha20 costs it less.
#[test]
fn the_cipher_is_the_cheapest_for_both() {
    use CipherSuite as S;
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new("ca"));
    authority.issue(folder.path(), "a", &["a.test"]);
    let backend = Backend::named("one");
    let app = over(&backend, &named("a"), folder, 1);
    let (small, large, chacha) =
        (S::TLS13_AES_128_GCM_SHA256, S::TLS13_AES_256_GCM_SHA384, S::TLS13_CHACHA20_POLY1305_SHA256);
    let old = (S::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, S::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256);
    for (offered, expected) in [
        (&[large, chacha, small][..], small),
        (&[small, chacha, large], small),
        (&[large, chacha], large),
        (&[large], large),
        (&[chacha, small, large], chacha),
        (&[old.0, old.1], old.1),
    ] {
        let config = Arc::new(authority.offering(offered));
        let mut stream = shake_hands(app.address, "a.test", &config).unwrap();
        assert_eq!(exchange(&mut stream, GET).status, 200);
        let suite = stream.conn.negotiated_cipher_suite().unwrap().suite();
        assert_eq!(suite, expected, "{offered:?}");
    }
}

#[test]
fn client_certificates_are_asked_for_and_their_subject_cannot_be_made_up() {
    let (folder, authority, clients) = (tempfile::tempdir().unwrap(), Authority::new("ca"), Authority::new("clients"));
    authority.issue(folder.path(), "a", &["a.test"]);
    clients.write(&folder.path().join("clients.pem"));
    let (alice, mallory) = (
        clients.issue(folder.path(), "alice, admin", &[]),
        Authority::new("others").issue(folder.path(), "mallory", &[]),
    );
    let backend = Backend::named("one");
    let tls = format!("{}client_ca = \"clients.pem\"\n", named("a"));
    let app = over(&backend, &tls, folder, 1);
    let ask = |own: Option<&Pair>| {
        let config = Arc::new(authority.client_with(&[], own));
        let mut stream = shake_hands(app.address, "a.test", &config)?;
        let forged = "X-Client-Cert-Subject: CN=root\r\nClient-Cert: :AAAA:\r\nClient-Cert-Chain: :AAAA:\r\n";
        stream.write_all(format!("GET / HTTP/1.1\r\nHost: a.test\r\n{forged}\r\n").as_bytes())?;
        // A refusal shows at the first read: in TLS 1.3 the client has finished before the server has checked.
        stream.conn.complete_io(&mut stream.sock)?;
        Ok::<_, std::io::Error>(read_response(&mut stream, false).status)
    };
    assert_eq!(ask(Some(&alice)).unwrap(), 200);
    let seen = backend.seen();
    // The subject is written as in RFC 4514: a comma within a name is escaped.
    assert_eq!(seen[0].field("x-client-cert-subject"), Some(r"CN=alice\, admin"));
    let der = seen[0].field("client-cert").unwrap();
    assert!(der.starts_with(':') && der.ends_with(':') && der.len() > 100, "{der}");
    assert_eq!(seen[0].field("client-cert-chain"), None);
    assert!(ask(None).is_err() && ask(Some(&mallory)).is_err());
    assert_eq!(backend.seen().len(), 1);

    app.apply(&config(&backend, &format!("{tls}client_auth = \"optional\"\n")));
    eventually("who has none is served too", || ask(None).is_ok_and(|status| status == 200));
    let seen = backend.seen();
    let last = seen.last().unwrap();
    assert_eq!((last.field("x-client-cert-subject"), last.field("client-cert")), (None, None));
    assert!(ask(Some(&mallory)).is_err());
}

/// A ticket outlives the certificate that was verified for it.
#[test]
fn a_client_certificate_that_has_expired_is_not_told_on_resumption() {
    let (folder, authority, clients) = (tempfile::tempdir().unwrap(), Authority::new("ca"), Authority::new("clients"));
    authority.issue(folder.path(), "a", &["a.test"]);
    clients.write(&folder.path().join("clients.pem"));
    let backend = Backend::named("one");
    let path = folder.path().to_owned();
    let app = over(&backend, &format!("{}client_ca = \"clients.pem\"\n", named("a")), folder, 1);
    let end = std::time::SystemTime::now() + Duration::from_secs(5);
    let alice = clients.issue_with(&path, "alice", &[], |params| params.not_after = end.into());
    let mut tls = authority.client_with(&[], Some(&alice));
    tls.resumption = Resumption::in_memory_sessions(64);
    let tls = Arc::new(tls);
    let ask = || {
        let mut stream = shake_hands(app.address, "a.test", &tls)?;
        let kind = stream.conn.handshake_kind().unwrap();
        // A refusal shows at the first read: in TLS 1.3 the client has finished before the server has checked.
        let mut status = [0; 12];
        let is_read = stream.write_all(GET.as_bytes()).is_ok() && stream.read_exact(&mut status).is_ok();
        Ok::<_, std::io::Error>((kind, is_read && &status == b"HTTP/1.1 200"))
    };
    assert_eq!(ask().unwrap(), (HandshakeKind::Full, true));
    assert_eq!(ask().unwrap(), (HandshakeKind::Resumed, true));
    eventually("the certificate has expired", || std::time::SystemTime::now() > end);
    assert_eq!(ask().unwrap(), (HandshakeKind::Resumed, false));
    assert_eq!(backend.seen().len(), 2);
}

#[test]
fn a_handshake_has_its_deadline_and_plain_text_is_no_handshake() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new("ca"));
    authority.issue(folder.path(), "a", &["a.test"]);
    let backend = Backend::named("one");
    let file = folder.path().join("unstick.toml");
    std::fs::write(&file, format!("{}\n[timeouts]\ntls_handshake = \"200ms\"\n", config(&backend, &named("a"))))
        .unwrap();
    let app = App::start_file(folder, file, 1);
    let mut silent = connect(app.address);
    let began = Instant::now();
    assert_eq!(silent.read(&mut [0; 9]).unwrap_or(0), 0);
    assert!(began.elapsed() >= Duration::from_millis(150), "{:?}", began.elapsed());
    let mut plain = connect(app.address);
    send(&mut plain, GET);
    let (bytes, _) = read_to_close(&mut plain);
    assert!(!text(&bytes).contains("HTTP"), "{}", text(&bytes));
    assert!(backend.seen().is_empty());
}

#[test]
fn a_handshake_that_has_begun_is_finished_although_its_listener_goes() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new("ca"));
    authority.issue(folder.path(), "a", &["a.test"]);
    let backend = Backend::named("one");
    let app = over(&backend, &named("a"), folder, 1);
    let mut hello = Vec::new();
    let config_of_client = Arc::new(authority.client(&[]));
    let mut client = rustls::ClientConnection::new(config_of_client, "a.test".try_into().unwrap()).unwrap();
    client.write_tls(&mut hello).unwrap();
    let (mut silent, mut stream) = (connect(app.address), connect(app.address));
    stream.write_all(&hello[..100]).unwrap();
    // Earlier connections may speak what is no longer spoken, so they are drained.
    let edit = "protocols = [\"h2\"]\n[timeouts]\ndrain_idle = \"600ms\"\n[admin]";
    let next = config(&backend, &named("a")).replace("[admin]", edit);
    let began = Instant::now();
    app.apply(&next);
    assert_eq!(silent.read(&mut [0; 9]).unwrap_or(0), 0, "who says nothing is not waited for");
    assert!(began.elapsed() >= Duration::from_millis(500), "{:?}", began.elapsed());
    stream.write_all(&hello[100..]).unwrap();
    while client.is_handshaking() {
        client.complete_io(&mut stream).unwrap();
    }
    assert_eq!(exchange(&mut rustls::StreamOwned::new(client, stream), GET).text(), "one");
}

#[test]
fn an_answer_cut_short_is_never_taken_for_whole() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new("ca"));
    authority.issue(folder.path(), "a", &["a.test"]);
    let backend = Backend::start(|peer| {
        peer.next();
        send(&mut peer.stream, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
        peer.stream.shutdown(std::net::Shutdown::Both).ok();
    });
    let app = over(&backend, &named("a"), folder, 1);
    let mut stream = shake_hands(app.address, "a.test", &Arc::new(authority.client(&[]))).unwrap();
    stream.write_all(GET.as_bytes()).unwrap();
    let mut seen = Vec::new();
    assert!(stream.read_to_end(&mut seen).is_err(), "no close_notify: {}", text(&seen));
}

#[test]
fn a_plain_listener_sends_its_clients_to_the_one_with_tls() {
    let backend = Backend::named("one");
    let listen = "[listen.web]\naddress = \"127.0.0.1:0\"\nredirect_to_https = 8443\n";
    let app = App::start(&format!("{listen}{}", pool_of(&[backend.address], "", "")));
    let response = client::get(app.address, "/a?b=c");
    assert_eq!((response.status, response.field("location")), (308, Some("https://test:8443/a?b=c")));
    let nowhere = exchange(&mut connect(app.address), "GET /a HTTP/1.0\r\n\r\n");
    assert_eq!(
        (nowhere.status, nowhere.field("x-unstick-error")),
        (400, Some("bad-request")),
        "not to a replica's name"
    );
    assert!(backend.seen().is_empty());
    eventually("it is counted", || app.metric("unstick_requests_total{pool=\"app\",outcome=\"3xx\"}") == 1.0);
}

#[test]
fn pipelined_requests_and_an_orderly_end_pass_in_tls() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new("ca"));
    authority.issue(folder.path(), "a", &["a.test"]);
    let backend = Backend::start(|peer| peer.serve(|seen| answer(seen.line())));
    let app = over(&backend, &named("a"), folder, 1);
    let mut stream = shake_hands(app.address, "a.test", &Arc::new(authority.client(&[]))).unwrap();
    let last = "GET /2 HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
    stream.write_all(format!("GET /1 HTTP/1.1\r\nHost: a.test\r\n\r\n{last}").as_bytes()).unwrap();
    assert_eq!(read_response(&mut stream, false).text(), "GET /1 HTTP/1.1");
    assert_eq!(read_response(&mut stream, false).text(), "GET /2 HTTP/1.1");
    assert_eq!(stream.read(&mut [0; 9]).unwrap(), 0, "with close_notify");
}

#[test]
fn a_certificate_that_has_ended_or_is_gone_does_not_keep_others_from_being_renewed() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new("ca"));
    let path = folder.path().to_owned();
    authority.issue(&path, "a", &["a.test"]);
    authority.issue(&path, "b", &["b.test"]);
    let ended = |params: &mut rcgen::CertificateParams| {
        params.not_after = (std::time::SystemTime::now() - Duration::from_secs(3600)).into();
    };
    authority.issue_with(&path, "old", &["old.test"], ended);
    let more: String =
        ["b", "old"].iter().map(|stem| format!("[[listen.web.tls.certificate]]\n{}", named(stem))).collect();
    let backend = Backend::named("one");
    let app = over(&backend, &format!("{}{more}", named("a")), folder, 1);
    let config = Arc::new(authority.client(&[]));
    std::fs::remove_file(path.join("b.pem")).unwrap();
    let renewed = authority.issue(&path, "a", &["a.test"]);
    eventually("a is renewed", || certificate_of(app.address, "a.test", &config).unwrap() == certificate_in(&renewed));
    assert!(certificate_of(app.address, "b.test", &config).is_ok(), "what is gone from the disk goes on serving");
    assert_eq!(app.metric("unstick_certificates_refused{listener=\"web\"}"), 1.0);
    let told = &app.status()["certificates"][0];
    let ends = |at: usize| told["files"][at]["not_after"].as_str().unwrap().to_owned();
    assert!(&*ends(0) > app.status()["started"].as_str().unwrap() && ends(2) < ends(0), "{told}");
    assert!(told["refused"].as_str().unwrap().contains("b.pem"), "{told}");
    // An expired certificate never replaces a valid one.
    authority.issue_with(&path, "a", &["a.test"], ended);
    let renewed_b = authority.issue(&path, "b", &["b.test"]);
    eventually("b is renewed", || {
        certificate_of(app.address, "b.test", &config).unwrap() == certificate_in(&renewed_b)
    });
    assert!(certificate_of(app.address, "a.test", &config).is_ok());
}

/// A look at it never ended, and was the last one.
#[test]
fn a_certificate_file_that_hangs_is_refused_and_renewed_when_it_is_a_file_again() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new("ca"));
    let path = folder.path().to_owned();
    let first = authority.issue(&path, "a", &["a.test"]);
    let backend = Backend::named("one");
    let app = over(&backend, &named("a"), folder, 1);
    let config = Arc::new(authority.client(&[]));
    let refused = "unstick_certificates_refused{listener=\"web\"}";
    let serving = || certificate_of(app.address, "a.test", &config).unwrap();
    let before = certificate_in(&first);
    let fifo = path.join("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    std::fs::rename(&fifo, path.join("a.pem")).unwrap();
    eventually("it is refused", || app.metric(refused) == 1.0);
    assert_eq!(serving(), before, "the old one stays in use");
    std::fs::remove_file(path.join("a.pem")).unwrap();
    let next = authority.issue(&path, "next", &["a.test"]);
    replace(&next, &path);
    eventually("the new one is in use", || serving() == certificate_in(&next));
    assert_eq!(app.metric(refused), 0.0);
}

#[test]
fn a_key_that_may_be_read_after_all_is_read() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new("ca"));
    let path = folder.path().to_owned();
    authority.issue(&path, "a", &["a.test"]);
    let backend = Backend::named("one");
    let app = over(&backend, &named("a"), folder, 1);
    let config = Arc::new(authority.client(&[]));
    let refused = "unstick_certificates_refused{listener=\"web\"}";
    let renewed = authority.issue(&path, "next", &["a.test"]);
    // Permissions do not stop root from reading. A dangling link has the same effect, and it can be repaired without
    // changing the times of the file.
    std::fs::rename(&renewed.key, path.join("away")).unwrap();
    std::os::unix::fs::symlink(path.join("nowhere"), path.join("link")).unwrap();
    std::fs::rename(path.join("link"), path.join("a.key")).unwrap();
    std::fs::copy(&renewed.cert, path.join("a.pem")).unwrap();
    eventually("it is refused", || app.metric(refused) == 1.0);
    std::fs::rename(path.join("away"), path.join("nowhere")).unwrap();
    eventually("it serves", || app.metric(refused) == 0.0);
    assert_eq!(certificate_of(app.address, "a.test", &config).unwrap(), certificate_in(&renewed));
}

#[test]
fn an_encrypted_key_is_called_so() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new("ca"));
    authority.issue(folder.path(), "a", &["a.test"]);
    std::fs::write(
        folder.path().join("locked.key"),
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    )
    .unwrap();
    let backend = Backend::named("one");
    let app = over(&backend, &named("a"), folder, 1);
    let why = app.refuse(&config(&backend, "cert = \"a.pem\"\nkey = \"locked.key\"\n"));
    assert!(why.contains("the key is encrypted") && why.contains("openssl pkey"), "{why}");
}

#[test]
fn on_a_listener_that_asks_for_certificates_not_even_a_trusted_proxy_says_who_a_client_is() {
    let (folder, authority, clients) = (tempfile::tempdir().unwrap(), Authority::new("ca"), Authority::new("clients"));
    authority.issue(folder.path(), "a", &["a.test"]);
    clients.write(&folder.path().join("clients.pem"));
    let backend = Backend::named("one");
    let file = folder.path().join("unstick.toml");
    let tls = format!("{}client_ca = \"clients.pem\"\nclient_auth = \"optional\"\n", named("a"));
    let text = config(&backend, &tls).replacen("[admin]", "trusted_proxies = [\"127.0.0.0/8\"]\n[admin]", 1);
    std::fs::write(&file, text).unwrap();
    let app = App::start_file(folder, file, 1);
    let mut stream = shake_hands(app.address, "a.test", &Arc::new(authority.client(&[]))).unwrap();
    let forged =
        "GET / HTTP/1.1\r\nHost: a.test\r\nX-Client-Cert-Subject: CN=root\r\nX-Forwarded-For: 10.0.0.1\r\n\r\n";
    assert_eq!(exchange(&mut stream, forged).status, 200);
    let seen = backend.seen();
    assert_eq!(seen[0].field("x-client-cert-subject"), None);
    assert_eq!(seen[0].field("x-forwarded-for").map(|list| list.starts_with("10.0.0.1")), Some(true), "it is trusted");
}
