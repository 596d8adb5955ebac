//! `unstick import` as a user sees it: what is written where, and with which exit code.

use std::fs;
use std::path::Path;

use crate::cli::unstick;
use crate::support::text;

const WHOLE: &str = "server { listen 8080; location / {
    proxy_pass http://10.0.0.1:3000; proxy_set_header Host $host; access_log off; } }";

/// The exit code, standard output and standard error.
fn run(folder: &Path, args: &[&str]) -> (Option<i32>, String, String) {
    let output = unstick(&[&["import"], args].concat()).current_dir(folder).output().unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn what_was_translated_is_a_config() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("nginx.conf"), WHOLE).unwrap();
    let (code, out, report) = run(folder.path(), &["nginx.conf", "-o", "unstick.toml"]);
    assert_eq!((code, out.as_str()), (Some(0), ""), "{report}");
    assert_eq!(report, "1 listener, 1 route, 1 pool; everything was translated\n");
    let check = unstick(&["check", "-c", "unstick.toml"]).current_dir(folder.path()).output().unwrap();
    assert_eq!(check.status.code(), Some(0), "{}", text(&check.stderr));
    let (code, out, _) = run(folder.path(), &["nginx.conf"]);
    assert_eq!((code, out), (Some(0), fs::read_to_string(folder.path().join("unstick.toml")).unwrap()));
}

#[test]
fn what_was_left_out_is_told() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("site"), WHOLE.replace("access_log", "gzip on; access_log")).unwrap();
    let (code, out, report) = run(folder.path(), &["site", "--from", "nginx", "-o", "unstick.toml", "--json"]);
    assert_eq!((code, report.as_str()), (Some(1), ""));
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    let left = &json["left_out"][0];
    assert_eq!((&left["file"], &left["line"], &left["directive"]), (&"site".into(), &2.into(), &"gzip on".into()));
    let (code, _, report) = run(folder.path(), &["site", "--from", "nginx"]);
    assert!(code == Some(1) && report.starts_with("site:2: gzip on\n"), "{report}");
}

#[test]
fn what_cannot_be_read_is_told_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("nginx.conf"), "server {\n  listen 80\n}\n").unwrap();
    let (code, out, report) = run(folder.path(), &["nginx.conf"]);
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert_eq!(report, "error: nginx.conf:3:2: `listen` has no `;` before this `}`\n");
    let (code, _, report) = run(folder.path(), &["site"]);
    assert!(code == Some(2) && report.contains("add --from (nginx"), "{report}");
}

#[test]
fn files_are_named_from_the_folder_of_the_config() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("from")).unwrap();
    let tls = WHOLE.replace("listen 8080;", "listen 8443 ssl; ssl_certificate a.pem; ssl_certificate_key a.key;");
    fs::write(folder.path().join("from/nginx.conf"), tls).unwrap();
    for (output, expected) in [("from/u.toml", "cert = \"a.pem\"".to_owned()), ("u.toml", "/from/a.pem\"".to_owned())] {
        let (code, _, report) = run(folder.path(), &["from/nginx.conf", "-o", output]);
        let written = fs::read_to_string(folder.path().join(output)).unwrap();
        assert!(code == Some(0) && written.contains(&expected), "{report}{written}");
    }
}
