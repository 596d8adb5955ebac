//! Certificates and keys on disk: what is wrong with them, where, and what to do.

use std::path::{Path, PathBuf};

use crate::support::backend::Backend;
use crate::support::tls::{Authority, certificate_in, certificate_of, self_signed};
use crate::support::{App, eventually, pool_of};

fn read(file: &Path) -> String {
    std::fs::read_to_string(file).unwrap()
}

/// Every place in the config that names certificates, with `NAME.pem` and `NAME.key`: a listener and a pool.
const PLACES: [(&str, &str, &str); 4] = [
    ("a listener", "cert = \"NAME.pem\", key = \"NAME.key\"", ""),
    ("authorities of clients", "cert = \"good.pem\", key = \"good.key\", client_ca = \"NAME.pem\"", ""),
    ("authorities of replicas", "cert = \"good.pem\", key = \"good.key\"", "ca = \"NAME.pem\""),
    (
        "a pool's own",
        "cert = \"good.pem\", key = \"good.key\"",
        "ca = \"good.pem\"\ncert = \"NAME.pem\"\nkey = \"NAME.key\"",
    ),
];

struct Folder {
    path: PathBuf,
    backend: Backend,
}

impl Folder {
    fn config(&self, tls: &str, pool: &str) -> String {
        let tls = format!("[listen.web]\naddress = \"127.0.0.1:0\"\ntls = {{ {tls} }}\n");
        let pool =
            if pool.is_empty() { String::new() } else { format!("protocol = \"https\"\n[pool.app.tls]\n{pool}") };
        format!("[admin]\naddress = \"127.0.0.1:0\"\n{tls}{}", pool_of(&[self.backend.address], &pool, ""))
    }

    fn start(folder: tempfile::TempDir) -> (Self, App) {
        let this = Self { path: folder.path().to_owned(), backend: Backend::named("one") };
        let file = this.path.join("unstick.toml");
        std::fs::write(&file, this.config("cert = \"good.pem\", key = \"good.key\"", "")).unwrap();
        (this, App::start_file(folder, file, 1))
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        std::fs::write(self.path.join(name), text).unwrap();
    }
}

/// `cat cert.pem chain.pem`, where the first file does not end with a newline, lost the chain without a word.
#[test]
fn files_that_were_joined_without_a_newline_are_refused_wherever_they_are_named() {
    let (dir, authority) = (tempfile::tempdir().unwrap(), Authority::new("ca"));
    let pair = authority.issue(dir.path(), "good", &["a.test"]);
    authority.write(&dir.path().join("ca.pem"));
    let (folder, app) = Folder::start(dir);
    let (cert, chain) = (read(&pair.cert), read(&folder.path.join("ca.pem")));
    let (line, glued) = (cert.trim_end().lines().count(), format!("{}{chain}", cert.trim_end()));
    folder.write("bad.pem", &glued);
    folder.write("bad.key", read(&pair.key));
    for (what, tls, pool) in PLACES {
        let why = app.refuse(&folder.config(&tls.replace("NAME", "bad"), &pool.replace("NAME", "bad")));
        let place = format!("bad.pem:{line}: ");
        assert!(why.contains(&place) && why.contains("put a newline before it"), "{what}: {why}");
    }
    // With the newline it is taken everywhere.
    folder.write("bad.pem", format!("{cert}{chain}"));
    for (what, tls, pool) in PLACES {
        let (before, text) =
            (app.reloads().0, folder.config(&tls.replace("NAME", "bad"), &pool.replace("NAME", "bad")));
        app.apply(&text);
        assert!(app.reloads().0 > before, "{what}");
    }
    // On disk, without an edit of the config: what is in use stays.
    let (next, client) =
        (authority.issue(&folder.path, "next", &["a.test"]), std::sync::Arc::new(authority.client(&[])));
    folder.write("good.pem", read(&next.cert).trim_end().to_owned() + &chain);
    folder.write("good.key", read(&next.key));
    eventually("it is refused", || app.metric("unstick_certificates_refused{listener=\"web\"}") == 1.0);
    assert_ne!(certificate_of(app.address, "a.test", &client).unwrap(), certificate_in(&next));
    folder.write("good.pem", read(&next.cert) + &chain);
    eventually("it is in use", || certificate_of(app.address, "a.test", &client).unwrap() == certificate_in(&next));
}

#[test]
fn what_is_wrong_with_a_pair_is_said_with_what_to_do() {
    let (dir, authority) = (tempfile::tempdir().unwrap(), Authority::new("ca"));
    let pair = authority.issue(dir.path(), "good", &["a.test"]);
    let other = self_signed(dir.path(), "other", &["a.test"], |_| {});
    authority.write(&dir.path().join("ca.pem"));
    let (folder, app) = Folder::start(dir);
    let (cert, key) = (read(&pair.cert), read(&pair.key));
    let (other_cert, chain) = (read(&other.cert), read(&folder.path.join("ca.pem")));
    let short_rsa = "-----BEGIN RSA PRIVATE KEY-----\nMAUCAQACAQM=\n-----END RSA PRIVATE KEY-----\n";
    let relabelled = |text: &str, from: &str, to: &str| text.replace(from, to);
    for (what, cert, key, why) in [
        ("not together", &other_cert, &key, "bad.key: the key is not that of the first certificate in "),
        ("not together", &other_cert, &key, "openssl pkey -pubout -in "),
        ("wrong order", &format!("{chain}{cert}"), &key, "it is that of certificate 2 there, which must come first"),
        ("swapped", &key, &cert, "there is no certificate (BEGIN CERTIFICATE) in it, only PRIVATE KEY"),
        ("no key", &cert, &cert, "there is no private key (BEGIN PRIVATE KEY) in it, only CERTIFICATE"),
        ("a key that is none", &cert, &short_rsa.to_owned(), "bad.key: the private key cannot be used: it must be RSA"),
        (
            "the form of ssh",
            &cert,
            &relabelled(&key, "PRIVATE", "OPENSSH PRIVATE"),
            "bad.key:1: OPENSSH PRIVATE KEY is not read: write it as PRIVATE KEY (openssl pkey",
        ),
        (
            "openssl's own form",
            &relabelled(&cert, "CERT", "TRUSTED CERT"),
            &key,
            "bad.pem:1: TRUSTED CERTIFICATE is not read: `openssl x509 -in OLD -out NEW`",
        ),
        ("damaged", &relabelled(&cert, "MII", "M!I"), &key, "bad.pem:1: CERTIFICATE is damaged, write the file again"),
        ("no certificate", &relabelled(&cert, "MII", "AAA"), &key, "the first certificate cannot be used"),
        ("cut off", &cert[..cert.len() - 60].to_owned(), &key, "bad.pem:1: -----BEGIN CERTIFICATE----- has no end"),
        ("indented", &cert.replace("-----BEGIN", "  -----BEGIN"), &key, "bad.pem:1: -----BEGIN must be at the start"),
        ("empty", &String::new(), &key, "bad.pem: there is no certificate (BEGIN CERTIFICATE) in it"),
    ] {
        folder.write("bad.pem", cert);
        folder.write("bad.key", key);
        // The same text twice is no edit.
        let text = folder.config("cert = \"bad.pem\", key = \"bad.key\"", "");
        let said = app.refuse(&format!("{text}# {what}: {why}\n"));
        assert!(said.contains(why), "{what}: {said}");
    }
    // DER, which is what some authorities send.
    folder.write("bad.pem", certificate_in(&pair));
    let said = app.refuse(&folder.config("cert = \"bad.pem\", key = \"good.key\"", ""));
    assert!(said.contains("it is in DER, convert it into PEM (openssl x509 -inform der"), "{said}");
    // What is not a certificate is no root of trust either.
    folder.write("bad.pem", format!("{chain}{}", relabelled(&cert, "MII", "AAA")));
    let line = chain.lines().count() + 1;
    let said = app.refuse(&folder.config("cert = \"good.pem\", key = \"good.key\", client_ca = \"bad.pem\"", ""));
    assert!(said.contains(&format!("bad.pem:{line}: this is no valid certificate")), "{said}");
}
