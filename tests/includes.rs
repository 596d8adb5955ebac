//! A config of several files, what their strings refer to, and what `check --print` says of all of it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;
use unstick::config::{self, AccessLogTarget, Config, Loaded, Problems};

use crate::cli::{Running, unstick};
use crate::support::backend::Backend;
use crate::support::client::get;
use crate::support::{App, SOON, complete, eventually, pause, pool_of, text};

/// A folder with `unstick.toml` and these other files.
fn folder(first: &str, others: &[(&str, &str)]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    for (name, contents) in others.iter().chain([&("unstick.toml", first)]) {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
    }
    let first = folder.path().join("unstick.toml");
    (folder, first)
}

fn load(first: &str, others: &[(&str, &str)]) -> Result<Config, Problems> {
    let (_folder, file) = folder(first, others);
    config::load(&file).map(|loaded| loaded.config)
}

/// The problems as `file:line:column message`, files without their folder.
fn problems(first: &str, others: &[(&str, &str)]) -> Vec<String> {
    let (folder, file) = folder(first, others);
    let problems = config::load(&file).unwrap_err();
    let line = |problem: &config::Problem| {
        let (file, line, column) = (&problem.file, problem.line, problem.column);
        let help = problem.help.as_deref().unwrap_or_default();
        format!("{file}:{line}:{column} {} | {help}", problem.message)
    };
    let below = format!("{}/", folder.path().display());
    problems.iter().map(|problem| line(problem).replace(&below, "")).collect()
}

const LISTEN: &str = "include = [\"conf.d/*.toml\"]\n[listen.web]\naddress = \"127.0.0.1:0\"\n";
const POOL_A: &str = "[pool.a]\nbackends = [\"10.0.0.1:1\"]\n[[route]]\npath = \"/a\"\npool = \"a\"\n";
const POOL_B: &str = "[pool.b]\nbackends = [\"10.0.0.2:1\"]\n[[route]]\npath = \"/b\"\npool = \"b\"\n";

#[test]
fn several_files_are_one_config() {
    let timeouts = "[timeouts]\nconnect = \"1s\"\n";
    let others = [
        ("conf.d/20-b.toml", POOL_B),
        ("conf.d/10-a.toml", POOL_A),
        ("conf.d/.hidden.toml", "not TOML"),
        ("conf.d/c.toml.bak", "not TOML"),
        ("conf.d/folder.toml/x", ""),
        ("conf.d/30.toml", "timeouts.request = \"2s\"\n"),
        ("last.toml", "[[route]]\npool = \"a\"\n"),
    ];
    let first =
        format!("{LISTEN}{timeouts}").replace("*.toml\"]", "*.toml\", \"last.toml\", \"conf.d/1*\", \"*.toml\"]");
    let config = load(&first, &others).unwrap_or_else(|problems| panic!("{problems}"));
    let whole = format!("{LISTEN}{timeouts}request = \"2s\"\n{POOL_A}{POOL_B}[[route]]\npool = \"a\"\n");
    assert_eq!(Ok(config), load(&whole, &[]).map_err(|problems| problems.to_string()));
}

#[test]
fn a_relative_path_begins_where_the_file_is_that_names_it() {
    let tls = "tls = { cert = \"site.pem\", key = \"${file:name}\" }\n[log]\naccess = \"access.log\"\n";
    let first =
        "include = [\"conf.d/web.toml\"]\n[pool.a]\nbackends = [\"a:1\"]\nprotocol = \"https\"\ntls.ca = \"ca.pem\"\n";
    let others =
        [("conf.d/web.toml", &*format!("[listen.web]\naddress = \":0\"\n{tls}")), ("conf.d/name", "site.key\n")];
    let (folder, file) = folder(first, &others);
    let config = config::load(&file).unwrap_or_else(|problems| panic!("{problems}")).config;
    let at = |name: &str| folder.path().join(name);
    let certificate = &config.listeners[0].tls.as_ref().unwrap().certificates[0];
    assert_eq!((&certificate.cert, &certificate.key), (&at("conf.d/site.pem"), &at("conf.d/site.key")));
    assert_eq!(config.pools["a"].tls.ca, Some(at("ca.pem")));
    assert_eq!(config.log.access.map(|log| log.to), Some(AccessLogTarget::File(at("conf.d/access.log"))));
}

#[test]
fn problems_are_those_of_the_right_file() {
    let (a, b) = ("conf.d/a.toml", "conf.d/b.toml");
    let good = format!("{LISTEN}{POOL_A}");
    let (twice, timeouts) = ("[pool.a]\nbackends = [\"a:1\"]\n", "timeouts.connect = \"1s\"\n");
    for (first, others, expected) in [
        (&*good, &[(a, twice)][..], "conf.d/a.toml:1:7 [pool.a] is already defined in line 4 of unstick.toml | remove"),
        (
            &good,
            &[(a, "[listen.web]\n")],
            "conf.d/a.toml:1:9 [listen.web] is already defined in line 2 of unstick.toml",
        ),
        (LISTEN, &[(a, POOL_A), (b, "[pool.b\n")], "conf.d/b.toml:1:8 unclosed table, expected `]` | "),
        (
            &good,
            &[(a, timeouts), (b, "\n[timeouts]\nconnect = \"2s\"")],
            "conf.d/b.toml:3:1 `timeouts.connect` is already defined in line 1 of conf.d/a.toml | remove",
        ),
        (&good, &[(b, "workers = 1\nworkerz = 2\n")], "conf.d/b.toml:2:1 unknown key `workerz` | did you mean"),
        (&good, &[(b, "include = [\"x.toml\"]\n")], "conf.d/b.toml:1:1 a file that is included includes no others"),
        (&good, &[(b, "[[route]]\npath = \"/a\"\npool = \"a\"\n")], "line 6 of unstick.toml"),
        (
            &good,
            &[(b, "# é\nlimits.request_body = \"${NO_SUCH}\"")],
            "conf.d/b.toml:2:24 the environment variable NO_SUCH",
        ),
        ("include = [\"gone.toml\"]\n", &[], "unstick.toml:1:12 cannot read gone.toml: No such file or directory"),
        ("include = [\"a/*/b.toml\"]\n", &[], "unstick.toml:1:12 include: `a/*/b.toml` has a wildcard in a folder"),
        ("include = \"a.toml\"\n", &[], "unstick.toml:1:11 include must be a list, not a string | "),
        ("include = [\"a.toml/*\"]\n", &[("a.toml", "")], "unstick.toml:1:12 cannot look into a.toml: Not a directory"),
        ("include = [\"conf.d\"]\n", &[(a, "")], "unstick.toml:1:12 cannot read conf.d: it is no regular file | "),
    ] {
        let found = problems(first, others);
        assert!(found[0].contains(expected), "{first} {others:?}\n{found:#?}");
        assert_eq!(found.len(), 1, "{found:#?}");
    }
}

#[test]
fn a_folder_without_files_is_no_problem() {
    let config = load(&format!("{LISTEN}{POOL_A}"), &[]).unwrap();
    assert_eq!(config.pools.len(), 1);
}

#[test]
fn what_is_not_text_or_no_file_is_said_where_it_is_included() {
    let (folder, file) = folder(&format!("{LISTEN}{POOL_A}"), &[("conf.d/b.toml", "")]);
    fs::write(folder.path().join("conf.d/b.toml"), b"a = 1 # \xff").unwrap();
    let line = config::load(&file).unwrap_err().one_line();
    assert!(line.contains("unstick.toml:1:12: ") && line.contains("conf.d/b.toml is not UTF-8 (byte 8)"), "{line}");
    fs::remove_file(folder.path().join("conf.d/b.toml")).unwrap();
    std::os::unix::fs::symlink("nowhere", folder.path().join("conf.d/b.toml")).unwrap();
    let line = config::load(&file).unwrap_err().one_line();
    assert!(line.contains("conf.d/b.toml: No such file"), "{line}");
}

#[test]
fn every_file_counts_when_a_change_is_looked_for() {
    let first = format!("{LISTEN}{POOL_A}[log]\naccess = \"${{file:secret}}\"\n");
    let (folder, file) = folder(&first, &[("conf.d/b.toml", POOL_B), ("secret", "a.log"), ("other", "")]);
    let at = |name: &str| folder.path().join(name);
    std::os::unix::fs::symlink("b.toml", at("conf.d/same.toml")).unwrap();
    let Loaded { origin, .. } = config::load(&file).unwrap();
    let look = || origin.look().unwrap().unwrap();
    let mut known: BTreeSet<u64> = [origin.text_hash()].into();
    let mut check = |what: &str, is_changed: bool| {
        assert_eq!(known.insert(look().text_hash()), is_changed, "{what}");
        assert_eq!(look().text_hash(), look().text_hash(), "{what}");
    };
    check("nothing", false);
    let write = |name: &str, text: &str| fs::write(at(name), text).unwrap();
    write("other", "x");
    write("conf.d/c.toml.bak", "x");
    check("files that are no part of it", false);
    write("conf.d/b.toml", &format!("{POOL_B}# edited"));
    check("a file that is included", true);
    write("conf.d/c.toml", "# new");
    check("a new file", true);
    fs::rename(at("conf.d/c.toml"), at("conf.d/d.toml")).unwrap();
    check("a new name, which may change the order", true);
    write("secret", "b.log");
    check("a secret", true);
    fs::remove_file(at("secret")).unwrap();
    check("a secret that is gone", true);
    fs::remove_dir_all(at("conf.d")).unwrap();
    check("the folder is gone", true);
    write("unstick.toml", "x");
    check("the first file", true);
    fs::remove_file(&file).unwrap();
    assert!(origin.look().is_err());
}

/// What is wrong is remembered, so that it is told once, and mended when it is mended.
#[test]
fn what_was_read_is_known_although_it_is_not_valid() {
    let (folder, file) = folder(LISTEN, &[("conf.d/b.toml", "x")]);
    let (origin, config) = config::read(&file);
    let origin = origin.unwrap();
    assert!(config.is_err());
    assert_eq!(origin.look().unwrap().unwrap().text_hash(), origin.text_hash());
    fs::write(folder.path().join("conf.d/b.toml"), POOL_B).unwrap();
    assert_ne!(origin.look().unwrap().unwrap().text_hash(), origin.text_hash());
}

#[test]
fn a_secret_is_small_and_a_regular_file() {
    let with = |path: &str| format!("{LISTEN}{POOL_A}[log]\naccess = \"${{file:{path}}}\"\n");
    let big = "x".repeat((64 << 10) + 1);
    let found = problems(&with("big"), &[("big", &big)]);
    assert!(found[0].contains("unstick.toml:10:11 cannot read big: file too large"), "{found:?}");
    let began = Instant::now();
    let (folder, file) = folder(&with("fifo"), &[]);
    assert!(std::process::Command::new("mkfifo").arg(folder.path().join("fifo")).status().unwrap().success());
    let line = config::load(&file).unwrap_err().one_line();
    assert!(line.contains("fifo: it is no regular file") && began.elapsed() < SOON, "{line}");
}

/// The printed config of these files, which must mean the same as they do.
fn printed(file: &Path) -> String {
    // Paths are absolute in what is printed.
    let file = std::path::absolute(file).unwrap();
    let (printed, Loaded { config, .. }) = config::print(&file).unwrap_or_else(|problems| panic!("{problems}"));
    let elsewhere = tempfile::tempdir().unwrap();
    let copy = elsewhere.path().join("printed.toml");
    fs::write(&copy, &printed).unwrap();
    let again = config::load(&copy).unwrap_or_else(|problems| panic!("{problems}\n{printed}"));
    assert_eq!(again.config, config, "{printed}");
    printed
}

#[test]
fn what_is_printed_means_the_same_elsewhere() {
    let samples = ["tests/config/valid", "config"].map(|folder| fs::read_dir(folder).unwrap());
    let files = samples.into_iter().flatten().map(|entry| entry.unwrap().path());
    let files: Vec<_> = files.filter(|path| path.extension().is_some_and(|end| end == "toml")).collect();
    assert!(files.len() >= 12, "where are they? {files:?}");
    files.iter().for_each(|file| _ = printed(file));
}

#[test]
fn secrets_are_printed_as_what_they_are_read_from() {
    let log = "[log]\naccess = \"logs/${file:secret} $${X}\"\nlevel = \"${NONE_SUCH:-warn}\"\n";
    let b = "[pool.b]\nbackends = [\"b:1\"]\n[pool.b.queue]\n[[route]]\npool = \"b\"\n";
    let c = "[pool.c]\nbackends = [\"c:1\"]\nhealth.body = \"a ${file:../secret} b \\\" $${c}\"\n\
             [[route]]\npool = \"c\"\nhost = \"a.test\"\n";
    let others = [("conf.d/b.toml", b), ("conf.d/c.toml", c), ("secret", "hunter2\n")];
    let (folder, file) = folder(&format!("{LISTEN}{log}"), &others);
    let printed = printed(&file);
    let at = folder.path().display();
    assert!(!printed.contains("hunter2"), "{printed}");
    for part in [
        &format!("access = \"{at}/logs/${{file:{at}/secret}} $${{X}}\"\n"),
        "level = \"warn\"\n",
        &format!("\n# {at}/conf.d/b.toml\n[pool.b]\n"),
        "\n[pool.b.queue]\n",
        &format!("body = \"a ${{file:{at}/conf.d/../secret}} b \\\" $${{c}}\"\n"),
        &format!("\n# {at}/conf.d/c.toml\n[[route]]\npool = \"c\"\nhost = \"a.test\"\n"),
    ] {
        assert!(printed.contains(part), "{part}\n{printed}");
    }
}

#[test]
fn check_prints_the_config_of_all_files() {
    let first = format!("{LISTEN}{POOL_A}").replace("127.0.0.1:0", "${UNSTICK_TEST_ADDRESS}");
    let (folder, _) = folder(&first, &[("conf.d/b.toml", POOL_B)]);
    let check = |args: &[&str]| {
        let mut command = unstick(&[&["check"], args].concat());
        command.current_dir(folder.path()).env("UNSTICK_TEST_ADDRESS", "127.0.0.1:8080").env("EMPTY", "");
        let output = command.output().unwrap();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let ok = "unstick.toml: ok: 1 listener, 2 routes, 2 pools, 2 backends\n";
    let (code, stdout, stderr) = check(&["unstick.toml"]);
    assert_eq!((code, &*stdout, stderr.lines().count()), (Some(0), ok, 1), "{stderr}");
    let (code, stdout, stderr) = check(&["--print", "-c", "unstick.toml"]);
    assert_eq!((code, &*stderr), (Some(0), ""));
    assert!(stdout.starts_with(&format!("# {ok}")), "{stdout}");
    assert!(stdout.contains("[listen.web]\naddress = \"127.0.0.1:8080\"\n") && stdout.contains("[pool.b]"), "{stdout}");
    fs::write(folder.path().join("conf.d/b.toml"), "x").unwrap();
    let (code, stdout, stderr) = check(&["--print", "unstick.toml"]);
    assert_eq!((code, &*stdout), (Some(2), ""));
    assert!(stderr.contains("--> conf.d/b.toml:1:2"), "{stderr}");
    for args in [&[][..], &["a.toml", "-c", "b.toml"]] {
        assert_eq!(check(args).0, Some(2), "{args:?}");
    }
}

/// A proxy over this backend, whose pool is in `conf.d/pool.toml`.
fn over(backend: &Backend) -> App {
    let first = format!("include = [\"conf.d/*.toml\"]\n{}", complete(""));
    let (folder, file) = folder(&first, &[("conf.d/pool.toml", &pool_of(&[backend.address], "", ""))]);
    App::start_file(folder, file, 1)
}

#[test]
fn editing_adding_and_removing_a_file_reloads() {
    let [a, b, c] = ["a", "b", "c"].map(Backend::named);
    let app = over(&a);
    let at = |name: &str| app.dir.path().join("conf.d").join(name);
    assert_eq!(get(app.address, "/").text(), "a");
    fs::write(at("pool.toml"), pool_of(&[b.address], "", "")).unwrap();
    eventually("the edit is in force", || get(app.address, "/").text() == "b");

    let more = pool_of(&[c.address], "", "[[route]]\npath = \"/c\"\npool = \"c\"\n[[route]]\npool = \"app\"\n");
    fs::write(at("new"), more.replace("[pool.app]", "[pool.c]")).unwrap();
    fs::rename(at("new"), at("site-c.toml")).unwrap();
    eventually("the new file is in force", || get(app.address, "/c").text() == "c");
    assert_eq!(get(app.address, "/").text(), "b");

    fs::write(at("site-c.toml"), "[pool.app]\n").unwrap();
    eventually("the edit is refused", || app.reloads().1 == 1);
    let why = app.status()["reloads"]["last"]["message"].to_string();
    assert!(why.contains("conf.d/site-c.toml:1:7: [pool.app] is already defined in line 1 of"), "{why}");
    assert_eq!(get(app.address, "/c").text(), "c");

    fs::remove_file(at("site-c.toml")).unwrap();
    eventually("the file is gone", || get(app.address, "/c").text() == "b");
    let files = app.status()["config"]["files"].clone();
    assert_eq!(files, serde_json::json!([app.file, at("pool.toml")]));
    let reloads = app.reloads();
    fs::write(at("site-c.toml.bak"), "x").unwrap();
    pause("no part of the config has changed", 2500);
    assert_eq!(app.reloads(), reloads);
}

/// Half of a file that is included is not read, as half of the first one is not.
#[test]
fn a_file_that_is_included_is_read_when_its_writer_closes_it() {
    use std::io::Write as _;
    let a = Backend::named("a");
    let app = over(&a);
    // What has brought a reload is watched by then.
    fs::write(app.dir.path().join("conf.d/first.toml"), "").unwrap();
    eventually("it is watched", || app.reloads() == (1, 0));
    let mut writer = fs::File::create(app.dir.path().join("conf.d/more.toml")).unwrap();
    writer.write_all(b"limits.connections = 7").unwrap();
    pause("half of the file could be read meanwhile", 4500);
    assert_eq!(app.reloads(), (1, 0));
    writer.write_all(b"00\n").unwrap();
    drop(writer);
    eventually("it is read", || app.reloads() == (2, 0));
    assert!(app.status()["reloads"]["last"]["message"].to_string().contains("limits.connections 0 -> 700 "));
}

#[test]
fn what_is_logged_of_an_edit_shows_no_secret() {
    let pool = "[pool.app]\nbackends = [\"127.0.0.1:1\"]\n[pool.app.health]\nbody = \"is ${file:secret}\"\n";
    let first = complete(pool)
        .replace("address = \"127.0.0.1:0\"\n[admin]", "address = \"127.0.0.1:0\"\n[log]\nformat = \"text\"\n[admin]");
    let (folder, file) = folder(&first, &[("secret", "hunter1\n")]);
    let mut running = Running::of(unstick(&["run", "-c", &file.display().to_string(), "--workers", "1"]));
    running.line("serving web on");
    fs::write(folder.path().join("secret"), "hunter2\n").unwrap();
    let line = running.line("reloaded: ");
    assert!(line.contains("health.body \"is ***\" -> \"is ***\""), "{line}");
}

/// The bound is generous: debug builds and busy machines are slow. A release build takes some milliseconds.
#[test]
fn a_hundred_files_are_read_in_no_time() {
    let route = |nth: usize, path: usize| format!("[[route]]\npath = \"/{nth}/{path}\"\npool = \"p{nth}\"\n");
    let others: Vec<(String, String)> = (0..100)
        .map(|nth| {
            let routes: String = (0..10).map(|path| route(nth, path)).collect();
            (format!("conf.d/{nth}.toml"), format!("[pool.p{nth}]\nbackends = [\"10.0.0.1:1\"]\n{routes}"))
        })
        .collect();
    let others: Vec<_> = others.iter().map(|(name, text)| (&**name, &**text)).collect();
    let (_folder, file) = folder(LISTEN, &others);
    let times = (0..5).map(|_| {
        let began = Instant::now();
        assert_eq!(config::load(&file).unwrap().config.routes.len(), 1000);
        began.elapsed()
    });
    let least = times.min().unwrap();
    println!("100 files with 1,000 routes: {least:?}");
    assert!(least < Duration::from_millis(500), "{least:?}");
}

#[test]
fn the_admin_port_and_unstick_route_show_no_secret() {
    let backend = Backend::named("a");
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    fs::write(&secret, "hunter2\n").unwrap();
    let route = |method: &str| {
        format!(
            "[[route]]\nmethod = '{method}'\nheader = {{ x-key = '${{file:{0}}}' }}\npath = '/${{file:{0}}}'\n\
             rate = {{ requests = 5, in = '1h' }}\n\
             request_headers = {{ set = {{ authorization = 'Bearer ${{file:{0}}}' }} }}\n",
            secret.display()
        )
    };
    let pool = format!("[pool.a]\nbackends = ['{}']\n[[route]]\n", backend.address);
    let app = App::start(&format!("{pool}{}{}", route("GET"), route("POST")));
    let metrics = app.admin_get("/metrics").text();
    let labels = metrics.lines().filter(|line| line.starts_with("unstick_rate_allowed_total{")).count();
    assert_eq!(labels, 2, "{metrics}");
    let said =
        unstick(&["route", "-c", &app.file.display().to_string(), "GET", "http://a/hunter2", "-H", "x-key: hunter2"])
            .output()
            .unwrap();
    for text in [metrics, app.admin_get("/status").text(), text(&said.stdout)] {
        assert!(text.contains("***") && !text.contains("hunter2"), "{text}");
    }
}
