//! Whole files of other proxies, what is made of them, and what is told of it. `BLESS=1` writes the expected texts
//! anew; read the difference before you commit it.

#![cfg(test)]

mod reader;

use std::fs;
use std::path::{Path, PathBuf};

use unstick_import::{Kind, import, report, write};

/// The folders of examples, sorted.
fn examples(kind: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(kind);
    let mut found: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

fn check(file: &Path, kind: Kind) {
    let imported = import(file, kind, None).unwrap_or_else(|error| panic!("{error}"));
    let name = file.file_name().unwrap().to_string_lossy();
    let toml = write::toml(&imported, &name);
    let read: toml::Table = toml.parse().unwrap_or_else(|error| panic!("{}: {error}\n{toml}", file.display()));
    assert_eq!(read.get("route").and_then(toml::Value::as_array).map_or(0, Vec::len), imported.routes.len());
    let problems = reader::problems(&toml);
    assert!(problems.is_empty(), "{}: {problems:?}\n{toml}", file.display());
    for (ending, text) in [("unstick.toml", toml), ("report.txt", report::text(&imported))] {
        let path = file.with_file_name(ending);
        if std::env::var_os("BLESS").is_some() {
            fs::write(&path, &text).unwrap();
        }
        let expected = fs::read_to_string(&path).unwrap_or_default();
        assert!(expected == text, "{} is not what it should be:\n{text}", path.display());
    }
    for left in &imported.left_out {
        assert!(!left.why.is_empty() && !left.what_to_do.is_empty(), "{left:?}");
        let shown = fs::read_to_string(file.with_file_name("unstick.toml")).unwrap();
        let flat: String = shown.lines().map(|line| line.trim_start_matches(['#', ' '])).collect::<Vec<_>>().join(" ");
        let place = left.place.to_string();
        assert!(flat.contains(&place), "no comment for {place}");
    }
}

#[test]
fn nginx() {
    let examples = examples("nginx");
    assert!(examples.len() >= 8, "{examples:?}");
    examples.iter().for_each(|folder| check(&folder.join("nginx.conf"), Kind::Nginx));
}

#[test]
fn haproxy() {
    let examples = examples("haproxy");
    examples.iter().for_each(|folder| check(&folder.join("haproxy.cfg"), Kind::Haproxy));
}

#[test]
fn traefik() {
    for folder in examples("traefik") {
        let file = ["traefik.yml", "traefik.toml"].map(|name| folder.join(name)).into_iter().find(|file| file.exists());
        check(&file.unwrap(), Kind::Traefik);
    }
}

#[test]
fn compose() {
    examples("compose").iter().for_each(|folder| check(&folder.join("compose.yaml"), Kind::Compose));
}

#[test]
fn caddy() {
    let examples = examples("caddy");
    assert!(examples.len() >= 4, "{examples:?}");
    examples.iter().for_each(|folder| check(&folder.join("Caddyfile"), Kind::Caddy));
}

/// Whatever a file says, it ends in an error or in valid TOML.
#[test]
fn no_beginning_of_a_file_is_taken_amiss() {
    let folder = tempfile::tempdir().unwrap();
    for example in examples("nginx") {
        let text = fs::read_to_string(example.join("nginx.conf")).unwrap();
        let file = folder.path().join("nginx.conf");
        for end in (0..text.len()).step_by(23) {
            // The blocks that are open there are closed, so that most beginnings are whole files.
            let open = text[..end].matches('{').count().saturating_sub(text[..end].matches('}').count());
            fs::write(&file, format!("{};{}", &text[..end], "}".repeat(open))).unwrap();
            if let Ok(imported) = import(&file, Kind::Nginx, None) {
                let toml = write::toml(&imported, "nginx.conf");
                let _: toml::Table = toml.parse().unwrap_or_else(|error| panic!("{error}\n{toml}"));
            }
        }
    }
    for example in examples("caddy") {
        let text = fs::read_to_string(example.join("Caddyfile")).unwrap();
        let file = folder.path().join("Caddyfile");
        for end in (0..text.len()).step_by(11) {
            let open = text[..end].matches("{\n").count().saturating_sub(text[..end].matches("}\n").count());
            fs::write(&file, format!("{}\n{}", &text[..end], "}\n".repeat(open))).unwrap();
            if let Ok(imported) = import(&file, Kind::Caddy, None) {
                let toml = write::toml(&imported, "Caddyfile");
                let _: toml::Table = toml.parse().unwrap_or_else(|error| panic!("{error}\n{toml}"));
            }
        }
    }
    for example in examples("haproxy") {
        let text = fs::read_to_string(example.join("haproxy.cfg")).unwrap();
        let file = folder.path().join("haproxy.cfg");
        for end in (0..text.len()).step_by(5) {
            fs::write(&file, &text[..end]).unwrap();
            if let Ok(imported) = import(&file, Kind::Haproxy, None) {
                let toml = write::toml(&imported, "haproxy.cfg");
                let _: toml::Table = toml.parse().unwrap_or_else(|error| panic!("{error}\n{toml}"));
            }
        }
    }
}

/// The same of Traefik and of compose files.
#[test]
fn no_beginning_of_a_tree_is_taken_amiss() {
    let folder = tempfile::tempdir().unwrap();
    for (kind, name) in
        [(Kind::Traefik, "traefik.yml"), (Kind::Traefik, "traefik.toml"), (Kind::Compose, "compose.yaml")]
    {
        for example in examples(kind.name()) {
            let Ok(text) = fs::read_to_string(example.join(name)) else { continue };
            let file = folder.path().join(name);
            for end in (0..text.len()).step_by(5) {
                fs::write(&file, &text[..end]).unwrap();
                if let Ok(imported) = import(&file, kind, None) {
                    let toml = write::toml(&imported, name);
                    let _: toml::Table = toml.parse().unwrap_or_else(|error| panic!("{error}\n{toml}"));
                }
            }
        }
    }
}
