//! The config file: the only door between TOML and the proxy.
//!
//! [`load`] reads a file, and those that it includes, into a [`Config`] whose every value has been checked ([`model`]),
//! or into [`Problems`]: all of them, each with its place. `check`, start and reload all come through here.

mod access;
pub mod address;
mod admin;
mod affinity;
mod algorithm;
mod backend;
mod dns;
mod explain;
mod file;
mod health;
mod include;
mod key;
mod kinds;
mod limits;
mod listener;
mod log;
pub mod model;
mod origin;
mod outside;
pub mod path;
pub mod percent;
mod pool;
mod route;
mod route_actions;
mod route_checks;
mod route_kinds;
pub mod route_order;
mod route_rate;
mod traces;
mod values;

use std::path::Path;

pub use include::Pattern;
pub use key::Change;
use kinds::quoted;
pub use model::*;
pub use origin::{Link, Origin};
use outside::{System, TextAlone};
pub use unstick_reading::{Problem, Problems, Secrets, duration};

/// A config, and where it came from.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The config.
    pub config: Config,
    /// The files.
    pub origin: Origin,
}

/// Reads and checks a file, and those that it includes.
///
/// # Errors
/// Everything that is wrong with them.
pub fn load(path: &Path) -> Result<Loaded, Problems> {
    let (origin, config) = read(path);
    config.map(|config| Loaded { config, origin: origin.unwrap_or_else(|| Origin::of_file(path)) })
}

/// As [`load`]; says what was read also if something is wrong with it. The origin is `None` if `path` itself cannot be
/// read.
pub fn read(path: &Path) -> (Option<Origin>, Result<Config, Problems>) {
    let (origin, read) = read_with(path, |_, _| ());
    (origin, read.map(|read| read.config))
}

/// The config as one file of TOML: all files joined, everything filled in but the secrets, which are referred to as in
/// the files. What is not written is not there: it has the default that `config/reference.toml` shows.
///
/// # Errors
/// Everything that is wrong with the files.
pub fn print(path: &Path) -> Result<(String, Loaded), Problems> {
    let (origin, read) = read_with(path, unstick_reading::print);
    let origin = origin.unwrap_or_else(|| Origin::of_file(path));
    read.map(|read| (read.more, Loaded { config: read.config, origin }))
}

fn read_with<T>(path: &Path, more: file::More<T>) -> (Option<Origin>, Result<file::Read<T>, Problems>) {
    let (name, system) = (path.display().to_string(), System::new());
    let bytes = match system.first(path) {
        Ok(bytes) => bytes,
        Err(error) => {
            let help = "give the path of a TOML file with -c";
            return (None, Err(Problems::of_file(&name, format!("cannot read the file: {error}"), help)));
        }
    };
    let (included, read) = match String::from_utf8(bytes) {
        Ok(text) => file::read(&name, &text, &system, more),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            let help = "TOML files are UTF-8: save it as such";
            (Vec::new(), Err(Problems::of_file(&name, format!("the file is not UTF-8 (byte {at})"), help)))
        }
    };
    (Some(Origin::new(path, included, system.into_contents())), read)
}

/// Checks a text; `file_name` is what problems call it. Nothing else is read: no environment, and no other files.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse(file_name: &str, text: &str) -> Result<Config, Problems> {
    file::read(file_name, text, &TextAlone, |_, _| ()).1.map(|read| read.config)
}

/// A config without a file: one pool behind some listeners, everything else by default.
///
/// # Errors
/// Everything that is wrong with the addresses.
pub fn from_flags(listen: &[String], backends: &[String], admin: Option<&str>) -> Result<Config, Problems> {
    let mut text = String::new();
    for (nth, address) in listen.iter().enumerate() {
        let name = if nth == 0 { "web".to_owned() } else { format!("web{}", nth + 1) };
        text.push_str(&format!("[listen.{name}]\naddress = {}\n", quoted(address)));
    }
    if let Some(address) = admin {
        text.push_str(&format!("[admin]\naddress = {}\n", quoted(address)));
    }
    let backends: Vec<String> = backends.iter().map(|backend| quoted(backend)).collect();
    text.push_str(&format!("[pool.app]\nbackends = [{}]\n", backends.join(", ")));
    parse("command line", &text)
}

/// Every key, as in `pool.*.slow_start`. The texts together have every table, and a table asks for all of its keys.
pub fn known_keys() -> std::collections::BTreeSet<String> {
    let tls = "listen.web = { address = ':1', tls = { cert = 'a', key = 'b', certificate = [{ cert = 'a', key = 'b' \
        }] } }\n\
               pool.app = { backends = ['10.0.0.11:3000'], protocol = 'https', tls = { ca = 'a' } }\n";
    let routes = "listen.web.address = ':1'\npool.app.backends = ['10.0.0.11:3000']\nroute = [\
        { path = '/a', pool = 'app', timeouts = {}, limits = {}, retry = {}, rate = { requests = 1, in = '1m' }, \
          request_headers = {}, response_headers = {}, replace_prefix = { from = '/a', to = '/b' } }, \
        { path = '/b', respond = {} }, { path = '/c', redirect = { to = '/' } }]\n";
    let texts = [include_str!("../../config/reference.toml"), tls, routes];
    let read =
        |text| file::read("test.toml", text, &TextAlone, |_, _| ()).1.unwrap_or_else(|problems| panic!("{problems}"));
    texts.into_iter().flat_map(|text| read(text).known).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFERENCE: &str = include_str!("../../config/reference.toml");

    #[test]
    fn the_reference_file_equals_the_defaults() {
        let reference = parse("config/reference.toml", REFERENCE).unwrap_or_else(|problems| panic!("{problems}"));
        let minimal = "[listen.web]\naddress = \"0.0.0.0:8080\"\n[pool.app]\nbackends = [\"10.0.0.11:3000\"]\n\
                       backend = [{ address = \"app.internal:3000\" }]\n[pool.app.health]\n";
        assert_eq!(reference, parse("minimal.toml", minimal).unwrap(), "a value in reference.toml is not the default");
        for path in known_keys() {
            let key = path.rsplit('.').next().unwrap_or_default();
            let is_shown = REFERENCE.lines().map(|line| line.trim_start_matches(['#', ' '])).any(|line| {
                let opens = line.strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with('='));
                let is_table = line.starts_with('[') && line.split(['[', '.', ']']).any(|name| name == key);
                let is_within = line.contains(&format!(" {key} ="));
                opens || is_table || is_within
            });
            assert!(is_shown, "{path} is missing from config/reference.toml");
        }
    }

    #[test]
    fn the_smallest_useful_file_is_valid() {
        let config = parse("config/unstick.toml", include_str!("../../config/unstick.toml")).unwrap();
        assert_eq!((config.listeners.len(), config.pools.len(), config.routes.len()), (1, 1, 1));
    }

    #[test]
    fn a_proxy_that_only_redirects_needs_no_pool() {
        let text = "listen.web.address = ':1'\n[[route]]\nredirect = { to = 'https://b.test{path}' }\n";
        assert!(parse("test.toml", text).unwrap().pools.is_empty());
        let without = parse("test.toml", "listen.web.address = ':1'\n[[route]]\npool = 'app'\n").unwrap_err();
        assert!(without.to_string().contains("there is no pool"), "{without}");
    }

    #[test]
    fn flags_make_a_config() {
        let config =
            from_flags(&[":8080".into(), "127.0.0.1:8081".into()], &["127.0.0.1:3001".into()], Some("off")).unwrap();
        let names: Vec<&str> = config.listeners.iter().map(|listener| listener.name.as_str()).collect();
        assert_eq!((names, config.pools["app"].backends.len()), (vec!["web", "web2"], 1));
        assert!(from_flags(&["\"]\nevil".into()], &["x\\".into()], None).is_err_and(|problems| problems.len() == 2));
    }

    #[test]
    fn a_file_that_cannot_be_read_says_so() {
        let problems = load(Path::new("/nonexistent/unstick.toml")).unwrap_err();
        assert!(problems.one_line().starts_with("/nonexistent/unstick.toml: cannot read the file: No such file"));
    }
}
