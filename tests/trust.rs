//! Certificates of replicas and clients that are themselves among the trusted ones.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, IsCa};

use crate::support::App;
use crate::support::backend::Backend;
use crate::support::client::{self, read_response};
use crate::support::h2_backend::{H2Backend, tls};
use crate::support::pool_of;
use crate::support::tls::{Authority, Pair, self_signed, shake_hands};

fn ended(params: &mut CertificateParams) {
    params.not_after = (SystemTime::now() - Duration::from_secs(3600)).into();
}

fn not_begun(params: &mut CertificateParams) {
    params.not_before = (SystemTime::now() + Duration::from_secs(3600)).into();
}

fn for_clients(params: &mut CertificateParams) {
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
}

fn for_servers(params: &mut CertificateParams) {
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
}

fn no_authority(params: &mut CertificateParams) {
    params.is_ca = IsCa::NoCa;
}

/// `openssl req -x509` makes an authority that has signed itself. Many replicas have such a certificate.
#[test]
fn a_replica_whose_certificate_is_trusted_by_itself_is_believed() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    let make = |stem: &str, more: fn(&mut CertificateParams)| self_signed(folder, stem, &["replica.test"], more);
    let own = make("own", |_| {});
    let signed = Authority::new("unknown").issue(folder, "signed", &["replica.test"]);
    let (servers, clients) = (make("servers", for_servers), make("clients", for_clients));
    let (ended, early) = (make("ended", ended), make("early", not_begun));
    let plain = make("plain", no_authority);
    let named = "server_name = \"replica.test\"\n";
    for (what, pair, trusted, name, why) in [
        ("an authority of its own", &own, &own, named, None),
        ("for servers", &servers, &servers, named, None),
        ("no authority", &plain, &plain, named, None),
        ("the certificate of an authority that is unknown", &signed, &signed, named, None),
        ("another name", &own, &own, "server_name = \"other.test\"\n", Some("set tls.server_name")),
        ("no name", &own, &own, "", Some("set tls.server_name")),
        ("ended", &ended, &ended, named, Some("expired")),
        ("not begun", &early, &early, named, Some("not valid yet")),
        ("for clients", &clients, &clients, named, Some("InvalidPurpose")),
        ("another one", &own, &servers, named, Some("add it to tls.ca")),
        ("another one, and no authority", &plain, &servers, named, Some("tls.ca")),
        ("another one, and signed by others", &signed, &own, named, Some("to tls.ca")),
    ] {
        let replica =
            H2Backend::start_with(h2::server::Builder::new(), Some(tls(pair, &["h2"], None)), |call| async move {
                call.say("in");
            });
        let (ca, log) = (trusted.cert.display(), folder.join("access.log"));
        let pool = format!("protocol = \"https\"\n[pool.app.tls]\nca = \"{ca}\"\n{name}");
        let rest = format!("[log]\naccess = \"{}\"", log.display());
        let app = App::start(&pool_of(&[replica.address], &pool, &rest));
        let response = client::get(app.address, "/");
        drop(app);
        let line = std::fs::read_to_string(&log).unwrap();
        std::fs::remove_file(&log).unwrap();
        match why {
            None => assert_eq!((response.status, response.text().as_str()), (200, "in"), "{what}: {line}"),
            Some(why) => {
                assert_eq!(response.field("x-unstick-error"), Some("tls-failed"), "{what}");
                assert!(line.contains(why), "{what}: {line}");
            }
        }
    }
}

#[test]
fn a_client_whose_certificate_is_trusted_by_itself_is_believed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    let authority = Authority::new("ca");
    authority.issue(&path, "a", &["a.test"]);
    let make = |stem: &str, more: fn(&mut CertificateParams)| self_signed(&path, stem, &[], more);
    let stranger = make("stranger", |_| {});
    let all = [
        ("alice", make("alice", |_| {}), true),
        ("for clients", make("client", for_clients), true),
        ("signed by others", Authority::new("others").issue(&path, "signed", &[]), true),
        ("for servers", make("server", for_servers), false),
        ("ended", make("ended", ended), false),
    ];
    let trusted: String = all.iter().map(|(_, pair, _)| std::fs::read_to_string(&pair.cert).unwrap()).collect();
    std::fs::write(path.join("clients.pem"), trusted).unwrap();
    let backend = Backend::named("one");
    let tls = "[listen.web]\naddress = \"127.0.0.1:0\"\n\
               tls = { cert = \"a.pem\", key = \"a.key\", client_ca = \"clients.pem\" }\n";
    let config = format!("[admin]\naddress = \"127.0.0.1:0\"\n{tls}{}", pool_of(&[backend.address], "", ""));
    std::fs::write(path.join("unstick.toml"), config).unwrap();
    let app = App::start_file(folder, path.join("unstick.toml"), 1);
    let is_let_in = |own: &Pair| {
        let config = Arc::new(authority.client_with(&[], Some(own)));
        let Ok(mut stream) = shake_hands(app.address, "a.test", &config) else { return false };
        let is_sent = stream.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").is_ok();
        // A refusal shows at the first read: in TLS 1.3 the client has finished before the server has checked.
        is_sent && stream.conn.complete_io(&mut stream.sock).is_ok() && read_response(&mut stream, false).status == 200
    };
    for (what, pair, expected) in &all {
        assert_eq!(is_let_in(pair), *expected, "{what}");
    }
    assert!(!is_let_in(&stranger));
    // It has the same name and key as one that is trusted, but it is another certificate.
    assert!(!is_let_in(&Pair { cert: again(&path, "alice"), key: path.join("alice.key") }));
}

/// A second certificate for the key of `stem`.
fn again(folder: &Path, stem: &str) -> std::path::PathBuf {
    let key = rcgen::KeyPair::from_pem(&std::fs::read_to_string(folder.join(format!("{stem}.key"))).unwrap()).unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, "somebody else");
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let file = folder.join("again.pem");
    std::fs::write(&file, params.self_signed(&key).unwrap().pem()).unwrap();
    file
}

/// A peer that speaks no TLS, or wants none of what is offered, often says nothing. There was a connection.
#[test]
fn a_handshake_that_ends_without_an_alert_is_a_failure_of_tls() {
    for how in ["with the hello unread", "after the hello"] {
        let backend = Backend::start(move |peer| {
            if how == "after the hello" {
                std::io::Read::read(&mut peer.stream, &mut [0; 4096]).unwrap();
            }
            peer.stream.shutdown(std::net::Shutdown::Both).ok();
        });
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("access.log");
        let pool = "protocol = \"https\"\n[pool.app.tls]\nserver_name = \"replica.test\"\n";
        let rest = format!("[log]\naccess = \"{}\"", log.display());
        let app = App::start(&pool_of(&[backend.address], pool, &rest));
        let response = client::get(app.address, "/");
        drop(app);
        assert_eq!((response.status, response.field("x-unstick-error")), (502, Some("tls-failed")), "{how}");
        let line = std::fs::read_to_string(&log).unwrap();
        assert!(line.contains("\"error\":\"the connection ended during the handshake ("), "{how}: {line}");
    }
}
