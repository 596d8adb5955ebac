//! What `unstick import` is made of: the grammars of other proxies, and what their words mean in `unstick.toml`.
//!
//! An importer reads one kind of file into an [`Imported`]; [`write::toml`] writes that, and [`report`] tells what was
//! left out. Nothing is silently different: what has no faithful translation is a [`LeftOut`], which is a comment in
//! the file and a line of the report. What kept somebody out and could not be translated closes the route.

mod caddy;
mod fate;
mod fields;
mod files;
mod haproxy;
pub mod imported;
mod nginx;
mod reach;
pub mod report;
mod traefik;
pub mod value;
pub mod write;

use std::path::Path;

pub use fate::{Tables, Word, markdown};
pub use imported::{Imported, LeftOut, Unreadable};

/// Whose configuration it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// nginx.conf, or a file of its conf.d; with `.template` one that `envsubst` fills in.
    Nginx,
    /// haproxy.cfg.
    Haproxy,
    /// traefik.yml or traefik.toml, or a file of its file provider.
    Traefik,
    /// A compose file with Traefik's labels.
    Compose,
    /// A Caddyfile.
    Caddy,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Nginx, Self::Haproxy, Self::Traefik, Self::Compose, Self::Caddy];

    /// Its name, as the command line has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Traefik => "traefik",
            Self::Compose => "compose",
            Self::Caddy => "caddy",
        }
    }

    /// What the name of a file says; nothing if it may be anything.
    pub fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_string_lossy().to_ascii_lowercase();
        let name = name.strip_suffix(".template").unwrap_or(&name);
        if name == "caddyfile" || name.starts_with("caddyfile.") {
            return Some(Self::Caddy);
        }
        match name.rsplit('.').next()? {
            "caddyfile" => Some(Self::Caddy),
            "conf" => Some(Self::Nginx),
            "cfg" => Some(Self::Haproxy),
            "yml" | "yaml" if name.starts_with("docker-compose") || name.starts_with("compose") => Some(Self::Compose),
            "yml" | "yaml" | "toml" if name.starts_with("traefik") => Some(Self::Traefik),
            // Others may be anything, so their keys tell.
            ending @ ("yml" | "yaml" | "toml") => traefik::is_one(&files::read(path).ok()?, ending == "toml"),
            _ => None,
        }
    }
}

/// Reads a configuration. `base` is put in front of relative paths of files that unstick will read: unstick.toml may be
/// written to another folder.
///
/// # Errors
/// A file that cannot be read or breaks its grammar. What cannot be translated is no error.
pub fn import(path: &Path, kind: Kind, base: Option<&Path>) -> Result<Imported, Unreadable> {
    match kind {
        Kind::Nginx => nginx::import(path, base),
        Kind::Haproxy => haproxy::import(path, base),
        Kind::Traefik => traefik::import(path, base),
        Kind::Compose => traefik::import_compose(path, base),
        Kind::Caddy => caddy::import(path, base),
    }
}

/// What becomes of each word of each proxy.
pub fn tables() -> Tables {
    vec![
        ("nginx", nginx::words::WORDS),
        ("haproxy", haproxy::words::WORDS),
        ("traefik", traefik::words::WORDS),
        ("compose", traefik::compose_words::WORDS),
        ("caddy", caddy::words::WORDS),
    ]
}
