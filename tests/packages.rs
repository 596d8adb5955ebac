//! What is packaged goes together with the program: its flags, its ports, its deadlines.

use std::fs;
use std::path::Path;
use std::time::Duration;

use unstick::config::{self, Config};

use crate::cli::unstick;
use crate::support::backend::Backend;
use crate::support::client::get;
use crate::support::{App, text};

#[track_caller]
fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging").join(name);
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// What stands behind `key` in the lines of a file.
fn values<'a>(file: &'a str, key: &str) -> Vec<&'a str> {
    file.lines().filter_map(|line| line.trim_start().strip_prefix(key)).map(str::trim).collect()
}

#[track_caller]
fn value<'a>(file: &'a str, key: &str) -> &'a str {
    match values(file, key)[..] {
        [value] => value,
        ref others => panic!("{key} is there {} times", others.len()),
    }
}

#[track_caller]
fn seconds(value: &str) -> Duration {
    Duration::from_secs(value.trim_end_matches('s').parse().unwrap_or_else(|_| panic!("{value} is no number")))
}

/// How long a process with this config may take until it has ended.
fn until_the_end(config: &Config) -> Duration {
    config.timeouts.shutdown_delay + config.timeouts.drain + Duration::from_secs(2)
}

/// Panics unless the program takes these words: they are a command, and flags that its help lists.
#[track_caller]
fn is_understood(words: &[&str]) {
    let help = unstick(&[words[0], "--help"]).output().unwrap();
    assert!(help.status.success(), "no command {}: {}", words[0], text(&help.stderr));
    let help = text(&help.stdout);
    let flags = words.iter().filter(|word| word.starts_with('-'));
    let is_listed = |flag: &&&str| help.split([' ', ',', '\n']).any(|word| word == **flag);
    let unknown: Vec<_> = flags.filter(|flag| !is_listed(flag)).collect();
    assert!(unknown.is_empty(), "{unknown:?} among {words:?}");
}

/// The words of a list like `["run", "-c", "a"]`.
fn listed(list: &str) -> Vec<&str> {
    list.split('"').skip(1).step_by(2).collect()
}

/// The file in the `ConfigMap` of the manifest.
fn of_kubernetes(manifest: &str) -> Config {
    let block = manifest.split("  unstick.toml: |\n").nth(1).unwrap();
    let file: Vec<_> = block.lines().take_while(|line| *line != "---").map(str::trim_start).collect();
    config::parse("unstick.yaml", &file.join("\n")).unwrap_or_else(|problems| panic!("{problems}"))
}

fn port_of(config: &Config) -> String {
    config.listeners[0].address.to_string().rsplit(':').next().unwrap().to_owned()
}

fn admin_port_of(config: &Config) -> String {
    config.admin.address.unwrap().port().to_string()
}

#[test]
fn the_unit_starts_what_there_is_and_gives_it_time_to_end() {
    let unit = read("systemd/unstick.service");
    let words: Vec<&str> = value(&unit, "ExecStart=").split(' ').collect();
    assert_eq!((words[0], words.last()), ("/usr/bin/unstick", Some(&"/etc/unstick/unstick.toml")));
    is_understood(&words[1..]);
    assert_eq!(values(&unit, "Type=").last(), Some(&"notify-reload"), "SIGHUP reloads, and the end of that is told");
    assert_eq!(value(&unit, "NotifyAccess="), "main", "a process that has handed over says no more");
    assert!(seconds(value(&unit, "TimeoutStopSec=")) > until_the_end(&Config::default()));
    let socket = Config::default().admin.socket.unwrap();
    let folder = format!("/run/{}", value(&unit, "RuntimeDirectory="));
    assert_eq!(socket.parent(), Some(Path::new(&folder)), "the admin port has its socket in a folder that is there");
    let user = format!("u {} ", value(&unit, "User="));
    assert!(read("systemd/unstick.sysusers").contains(&user), "{user}");
}

#[test]
fn the_socket_unit_binds_what_the_sample_listens_on() {
    let unit = read("systemd/unstick.socket");
    let sample = config::load(Path::new("config/unstick.toml")).unwrap().config;
    let addresses: Vec<String> = sample.listeners.iter().map(|listener| listener.address.to_string()).collect();
    assert_eq!(values(&unit, "ListenStream="), addresses);
    assert!(!unit.contains("Accept="), "unstick accepts by itself");
}

#[test]
fn a_command_that_there_is_not_is_noticed() {
    for words in [&["walk"][..], &["run", "--no-such-flag"], &["run", "-k", "a"]] {
        assert!(std::panic::catch_unwind(|| is_understood(words)).is_err(), "{words:?}");
    }
}

#[test]
fn the_image_runs_what_there_is_with_the_ports_of_its_config() {
    let (image, compose) = (read("container/Dockerfile"), read("container/compose.yaml"));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/container/unstick.toml");
    let config = config::load(&path).unwrap_or_else(|problems| panic!("{problems}")).config;
    is_understood(&listed(value(&image, "CMD ")));
    let check = image.lines().find(|line| line.starts_with("HEALTHCHECK ")).unwrap();
    is_understood(&listed(check.split("CMD ").nth(1).unwrap())[1..]);
    let ports: Vec<&str> = value(&image, "EXPOSE ").split(' ').collect();
    assert_eq!(ports, [port_of(&config), admin_port_of(&config)]);
    assert!(compose.contains(&format!("- \"8080:{}\"", port_of(&config))));
    assert!(seconds(value(&compose, "stop_grace_period: ")) > until_the_end(&config));
    assert_eq!(value(&compose, "replicas: "), "3");
    let rust = fs::read_to_string("Cargo.toml").unwrap();
    let version = value(&rust, "rust-version = ").trim_matches('"');
    assert!(image.contains(&format!("FROM rust:{version}-alpine")), "another Rust than {version}");
}

#[test]
fn the_manifest_has_the_ports_deadlines_and_probes_of_its_config() {
    let manifest = read("kubernetes/unstick.yaml");
    let config = of_kubernetes(&manifest);
    assert_eq!(values(&manifest, "containerPort: ")[..2], [port_of(&config), admin_port_of(&config)]);
    assert_eq!(value(&manifest, "prometheus.io/port: "), format!("\"{}\"", admin_port_of(&config)));
    let grace = values(&manifest, "terminationGracePeriodSeconds: ");
    assert!(seconds(grace[0]) > until_the_end(&config), "{grace:?}");
    is_understood(&listed(value(&manifest, "args: ")));
    let mounted = value(&manifest, "mountPath: ");
    assert!(value(&manifest, "args: ").contains(&format!("{mounted}/unstick.toml")));
    assert!(config.admin.address.unwrap().ip().is_unspecified(), "the probes come from outside of the pod");
    assert!(!config.timeouts.shutdown_delay.is_zero(), "the pod must be taken out of its service first");
    let probes = values(&manifest, "path: ");
    assert_eq!(probes, ["/healthz", "/healthz", "/readyz", "/healthz"], "three of unstick, one of the application");
    let backend = Backend::named("a");
    let app = App::builder(&[backend.address]).start();
    for path in &probes[..3] {
        assert_eq!(get(app.admin, path).status, 200, "{path}");
    }
}
