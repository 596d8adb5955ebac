//! `unstick ctl` as an operator uses it: the real command beside a running proxy.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;

use crate::cli::unstick;
use crate::support::backend::Backend;
use crate::support::client::{get, who};
use crate::support::{App, eventually, free_address, pool_of, skipped, text};

/// A proxy with a Unix socket for its operator.
struct Steered {
    app: App,
    folder: tempfile::TempDir,
}

impl Steered {
    fn over(backends: &[SocketAddr]) -> Self {
        Self::start(|folder| config(folder, &pool_of(backends, "", "[explain]\nsample = 0\n")))
    }

    fn start(config: impl FnOnce(&Path) -> String) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let app = App::start(&config(folder.path()));
        Self { app, folder }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("ctl.sock")
    }

    /// The exit code, what it says, and what it complains of.
    fn ctl(&self, words: &[&str]) -> (Option<i32>, String, String) {
        ctl(&[&["--socket", self.socket().to_str().unwrap()], words].concat())
    }

    /// What it says if all is well.
    #[track_caller]
    fn done(&self, words: &[&str]) -> String {
        let (code, said, complaint) = self.ctl(words);
        assert_eq!((code, complaint.as_str()), (Some(0), ""), "{words:?}: {said}");
        said
    }
}

pub(crate) fn ctl(words: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = unstick(&[&["ctl"], words].concat()).output().unwrap();
    (status.code(), text(&stdout), text(&stderr))
}

/// An admin port at a port and at a file of this folder, and other tables.
fn config(folder: &Path, rest: &str) -> String {
    format!("[admin]\naddress = \"127.0.0.1:0\"\nsocket = \"{}\"\n{rest}", folder.join("ctl.sock").display())
}

/// The line about an endpoint.
#[track_caller]
fn row(status: &str, endpoint: SocketAddr) -> String {
    let line = status.lines().find(|line| line.trim_start().starts_with(&endpoint.to_string()));
    line.unwrap_or_else(|| panic!("no {endpoint} in\n{status}")).split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn status_shows_every_endpoint_and_why_it_gets_nothing() {
    let (a, gone) = (Backend::named("a"), free_address());
    let check = "[pool.app.health]\npath = \"/\"\ninterval = \"100ms\"\nfall = 1\n";
    let steered = Steered::start(|folder| config(folder, &pool_of(&[a.address, gone], check, "")));
    steered.app.wait_for(gone, "unhealthy");
    assert_eq!(get(steered.app.address, "/").status, 200);
    let said = steered.done(&["status"]);
    assert!(said.starts_with("unstick ") && said.contains("  ready  up ") && !said.contains('\x1b'), "{said}");
    assert!(said.contains("pool app  round-robin  1 request  0 failed (0 %)\n"), "{said}");
    assert!(row(&said, a.address).starts_with(&format!("{} healthy ", a.address)), "{said}");
    let down = row(&said, gone);
    assert!(down.starts_with(&format!("{gone} unhealthy ")) && down.contains("refused"), "{down}");
    let json: Value = serde_json::from_str(&steered.done(&["status", "--json"])).unwrap();
    assert_eq!(json["pools"][0]["endpoints"][0]["address"], a.address.to_string());
    // The port says the same, however it is written.
    for address in [steered.app.admin.to_string(), format!("http://{}/", steered.app.admin)] {
        let (code, by_port, _) = ctl(&["--admin", &address, "status"]);
        assert_eq!((code, by_port.lines().count()), (Some(0), said.lines().count()), "{by_port}");
    }
}

#[test]
fn an_endpoint_is_taken_out_and_put_back() {
    let (a, b) = (Backend::named("a"), Backend::named("b"));
    let steered = Steered::over(&[a.address, b.address]);
    let responders = || who(steered.app.address, "/", 8).into_keys().collect::<Vec<_>>();
    let named = format!("app/{}", a.address);
    let said = steered.done(&["drain", &named]);
    assert!(said.contains(&a.address.to_string()), "{said}");
    assert_eq!(responders(), ["b"]);
    let line = row(&steered.done(&["status"]), a.address);
    assert!(line.contains(" draining ") && line.contains("drain set at ") && line.ends_with(" by unix"), "{line}");
    steered.done(&["ready", &a.address.to_string()]);
    assert_eq!(responders(), ["a", "b"]);
    steered.done(&["down", &named]);
    assert_eq!(responders(), ["b"]);
    steered.done(&["ready", &named]);
    steered.done(&["weight", &named, "3"]);
    assert_eq!(who(steered.app.address, "/", 8)["a"], 6);
    let (code, _, why) = steered.ctl(&["weight", &named, "100000"]);
    assert_eq!((code, why.starts_with("error: ")), (Some(1), true), "{why}");
}

#[test]
fn an_endpoint_that_is_not_clear_is_not_guessed() {
    let (a, b) = (Backend::named("a"), Backend::named("b"));
    let routes = format!(
        "[pool.api]\nbackends = [\"{}\"]\n[[route]]\npath = \"/api\"\npool = \"api\"\n[[route]]\npool = \"app\"\n",
        a.address
    );
    let steered = Steered::start(|folder| config(folder, &pool_of(&[a.address, b.address], "", &routes)));
    let (code, _, why) = steered.ctl(&["drain", &a.address.to_string()]);
    assert_eq!(code, Some(2), "{why}");
    for pool in ["api", "app"] {
        assert!(why.contains(&format!("{pool}/{}", a.address)), "{why}");
    }
    let (code, _, why) = steered.ctl(&["drain", "app/127.0.0.1:1"]);
    assert_eq!(code, Some(2), "{why}");
    assert!(why.contains("near it: ") && why.contains(&format!("app/{}", b.address)), "{why}");
    assert_eq!(steered.app.endpoint(b.address).unwrap()["override"], Value::Null);
    assert_eq!(steered.ctl(&["weight", "app/x", "heavy"]).0, Some(2));
    assert_eq!(steered.ctl(&["explain"]).0, Some(2));
}

#[test]
fn a_reload_says_what_has_changed_or_why_it_is_refused() {
    let a = Backend::named("a");
    let steered = Steered::over(&[a.address]);
    let good = pool_of(&[a.address], "balance = \"p2c\"", "");
    steered.app.edit(&config(steered.folder.path(), &good));
    let said = steered.done(&["reload"]);
    // The file may have been noticed before.
    assert!(said.contains("p2c") || said.contains("nothing changed"), "{said}");
    steered.app.edit("[pool.app]\nbackends = [\"127.0.0.1\"]\n");
    let (code, _, why) = steered.ctl(&["reload"]);
    assert_eq!(code, Some(1), "{why}");
    assert!(why.contains("needs a port"), "{why}");
    let status = steered.done(&["status"]);
    assert!(status.contains("the file on disk was refused") && status.contains("needs a port"), "{status}");
}

#[test]
fn the_last_failure_is_explained_without_its_identifier() {
    let gone = free_address();
    let steered = Steered::over(&[gone]);
    let (code, _, why) = steered.ctl(&["explain", "--last", "failed"]);
    assert_eq!((code, why.as_str()), (Some(1), "error: no request has failed (among those that are kept)\n"));
    let response = get(steered.app.address, "/cart?secret=1");
    assert_eq!(response.status, 502);
    eventually("it is kept", || steered.ctl(&["explain", "--last", "failed"]).0 == Some(0));
    let story = steered.done(&["explain", "--last", "failed"]);
    for part in
        ["GET test/cart  ->  502 by unstick itself\n", "Candidates\n", "chosen by the algorithm", "refused", " end "]
    {
        assert!(story.contains(part), "{part} in\n{story}");
    }
    assert!(!story.contains("secret"), "{story}");
    let id = story.split("request  ").nth(1).unwrap().split(' ').next().unwrap();
    assert_eq!(steered.done(&["explain", id]), story);
    let json: Value = serde_json::from_str(&steered.done(&["explain", id, "--json"])).unwrap();
    assert_eq!((&json["id"], &json["status"]), (&id.into(), &502.into()));
    let (code, _, why) = steered.ctl(&["explain", "../../status"]);
    assert_eq!(code, Some(1), "{why}");
    assert!(why.contains("request `../../status` is not known"), "{why}");
}

#[test]
fn a_route_is_that_of_the_running_proxy() {
    let a = Backend::named("a");
    let routes = "[[route]]\npath = \"/api\"\npool = \"app\"\n";
    let steered = Steered::start(|folder| config(folder, &pool_of(&[a.address], "", routes)));
    let asked = ["route", "GET", "http://a.test/api/x?y=1&z=%20", "-H", "x-a: b c"];
    let said = steered.done(&asked);
    for part in ["pool      app\n", "/api/x?y=1&z=%20\n", "\nx-a: b c\n", "\nhost: "] {
        assert!(said.contains(part), "{part:?} in\n{said}");
    }
    let json: Value = serde_json::from_str(&steered.done(&[&asked[..], &["--json"]].concat())).unwrap();
    assert_eq!((&json["pool"], &json["listener"]), (&"app".into(), &"web".into()));
    let (code, said, why) = steered.ctl(&["route", "GET", "http://a.test/"]);
    assert_eq!((code, why.as_str()), (Some(1), ""), "{said}");
    assert!(said.contains("response  404, no-route: "), "{said}");
    let (code, _, why) = steered.ctl(&["route", "GET", "/x"]);
    assert_eq!((code, why.contains("has no host")), (Some(1), true), "{why}");
}

#[test]
fn what_cannot_be_reached_has_an_exit_code_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = folder.path().join("none.sock");
    let (code, _, why) = ctl(&["--socket", nowhere.to_str().unwrap(), "status"]);
    assert_eq!(code, Some(3));
    assert!(why.contains(nowhere.to_str().unwrap()) && why.contains("is unstick running?"), "{why}");
    let (code, _, why) = ctl(&["--admin", &free_address().to_string(), "drain", "app/a"]);
    assert_eq!((code, why.contains("refused")), (Some(3), true), "{why}");
    let other = Backend::named("not a proxy");
    let (code, _, why) = ctl(&["--admin", &other.address.to_string(), "status"]);
    assert_eq!((code, why.contains("is not the admin port of unstick")), (Some(3), true), "{why}");
    // One that closes at once.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let closer = std::thread::spawn(move || drop(listener.accept().unwrap()));
    let (code, _, why) = ctl(&["status", "--admin", &address.to_string()]);
    closer.join().unwrap();
    assert_eq!(code, Some(3), "{why}");
}

#[test]
fn a_token_is_read_from_a_file() {
    let (a, token) = (Backend::named("a"), "0123456789abcdef0123456789abcdef");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, format!("{token}\n")).unwrap();
    let admin =
        format!("[admin]\naddress = \"127.0.0.1:0\"\nsocket = \"off\"\ntoken = \"${{file:{}}}\"\n", file.display());
    let app = App::start(&format!("{admin}{}", pool_of(&[a.address], "", "")));
    let (admin, named) = (app.admin.to_string(), format!("app/{}", a.address));
    let (code, _, why) = ctl(&["--admin", &admin, "drain", &named]);
    assert_eq!((code, why.contains("--token-file")), (Some(1), true), "{why}");
    let (code, said, why) = ctl(&["--admin", &admin, "--token-file", file.to_str().unwrap(), "drain", &named]);
    assert_eq!((code, why.as_str()), (Some(0), ""), "{said}");
    assert_eq!(app.endpoint(a.address).unwrap()["wanted"], "drain");
    assert_eq!(ctl(&["--admin", &admin, "--token-file", "/none", "drain", &named]).0, Some(2));
}

#[test]
fn top_is_live_and_leaves_the_terminal_as_it_was() {
    let python = |words: &[&str]| std::process::Command::new("python3").args(words).output();
    if python(&["-c", "import termios"]).is_ok_and(|output| !output.status.success()) {
        return skipped("there is no python3 with termios");
    }
    let a = Backend::named("a");
    let steered = Steered::over(&[a.address]);
    assert_eq!(get(steered.app.address, "/").status, 200);
    let (socket, program) = (steered.socket(), env!("CARGO_BIN_EXE_unstick"));
    for key in ["q", "\\x03", "\\x1a", "\\x1c", "SIGTERM", "SIGHUP", "SIGINT", "SIGQUIT", "SIGTSTP"] {
        let command = [program, "ctl", "--socket", socket.to_str().unwrap(), "top"];
        let script = ["tests/support/terminal.py", "requests/s", key];
        let Output { status, stdout, .. } = python(&[&script[..], &command].concat()).unwrap();
        let shown = text(&stdout);
        assert_eq!(status.code(), Some(0), "{key}: {shown}");
        assert!(shown.starts_with("\x1b[?1049h") && shown.trim_end().ends_with("\x1b[?1049l"), "{shown:?}");
        assert!(shown.contains(&a.address.to_string()) && shown.contains("p99 "), "{shown}");
    }
    let (code, _, why) = steered.ctl(&["top"]);
    assert_eq!((code, why.contains("needs a terminal")), (Some(2), true), "{why}");
}
