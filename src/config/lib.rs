//! The config file: the only door between TOML and the proxy.
//!
//! [`load`] reads a file into a [`Config`] whose every value has been checked ([`model`]), or into [`Problems`]: all of
//! them, each with its place. `check`, start and reload all come through here.

mod access;
pub mod address;
mod admin;
mod affinity;
mod algorithm;
mod backend;
mod dns;
mod file;
mod health;
mod key;
mod kinds;
mod limits;
mod listener;
mod log;
pub mod model;
pub mod path;
pub mod percent;
mod pool;
mod route;
mod route_actions;
mod route_checks;
mod route_kinds;
pub mod route_order;
mod route_rate;
mod values;

use std::collections::hash_map::DefaultHasher;
use std::fs::File;
use std::hash::Hasher;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

pub use key::Change;
use kinds::quoted;
pub use model::*;
pub use unstick_reading::{Problem, Problems, duration};

/// How long reading the file may take.
const READ_MAX: Duration = Duration::from_secs(5);
/// The most bytes of the file.
const BYTES_MAX: u64 = 64 << 20;

/// A config and what identifies the text it came from.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The config.
    pub config: Config,
    /// [`hash`] of the file's contents.
    pub text_hash: u64,
}

/// Reads and checks a file.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load(path: &Path) -> Result<Loaded, Problems> {
    let name = path.display().to_string();
    let bytes = read(path).map_err(|error| {
        Problems::of_file(&name, format!("cannot read the file: {error}"), "give the path of a TOML file with -c")
    })?;
    let text_hash = hash(&bytes);
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Problems::of_file(&name, format!("the file is not UTF-8 (byte {at})"), "TOML files are UTF-8: save it as such")
    })?;
    parse(&name, &text).map(|config| Loaded { config, text_hash })
}

/// Reads a file within [`READ_MAX`]: it may be a FIFO that nobody writes to, or on a mount that hangs.
///
/// # Errors
/// The error of the system; a file that hangs or has more than [`BYTES_MAX`].
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let (done, result) = sync_channel(1);
    let path = path.to_owned();
    std::thread::Builder::new().name("unstick-config".into()).spawn(move || {
        let mut text = Vec::new();
        let read = File::open(path).and_then(|file| file.take(BYTES_MAX + 1).read_to_end(&mut text));
        done.send(read.map(|_| text)).ok();
    })?;
    let text = result.recv_timeout(READ_MAX).unwrap_or_else(|_| {
        Err(io::Error::new(io::ErrorKind::TimedOut, format!("nothing came within {READ_MAX:?}")))
    })?;
    if text.len() as u64 > BYTES_MAX { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(text) }
}

/// Tells whether the contents of a file have changed within the life of a process.
pub fn hash(contents: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(contents);
    hasher.finish()
}

/// Checks a text; `file_name` is what problems call it.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse(file_name: &str, text: &str) -> Result<Config, Problems> {
    file::read(file_name, text).map(|(config, _)| config)
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
    let read = |text| file::read("test.toml", text).unwrap_or_else(|problems| panic!("{problems}"));
    texts.into_iter().flat_map(|text| read(text).1).collect()
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
