//! Compose files: the labels of their services are routers, services and middlewares, and the flags of the service that
//! is Traefik are its static configuration.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::labels::{flags, insert};
use super::node::{Data, Node};
use super::sources::{Sources, find, read};
use super::text::{interpolated, refers};
use super::{left, yaml};
use crate::fate::{self, Fate};
use crate::files;
use crate::imported::{Place, Unreadable};

/// The words that concern routing, and have no translation.
const OF_SERVICES: [&str; 2] = ["network_mode", "extends"];

/// Reads a compose file, and those that Traefik's service has mounted.
pub(super) fn load(path: &Path) -> Result<Sources, Unreadable> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let name: Rc<str> = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned()).into();
    let parsed = yaml::parse(&name, &files::read(path)?, interpolated);
    let root = parsed.map_err(|error| Unreadable { file: path.display().to_string(), ..error })?;
    let place = Place { file: name, line: 1 };
    let mut compose = Compose { sources: Sources::empty(&place), exposes: true };
    if let Some(node) = root.get("include") {
        compose.word("include", &node.place, "include");
    }
    let services = root.get("services").map(Node::entries).unwrap_or_default();
    let traefik = services.iter().find(|(name, node)| is_traefik(name, node));
    let mut mounts = Vec::new();
    if let Some((_, node)) = traefik {
        mounts = mounts_of(node, folder);
        compose.program(node, folder, &mounts)?;
    }
    for (name, node) in services {
        compose.service(name, node, traefik.is_some_and(|(known, _)| known == name));
    }
    compose.sources.follow(folder, &mounts)?;
    Ok(compose.sources)
}

struct Compose {
    sources: Sources,
    /// Whether services that do not say so have routes.
    exposes: bool,
}

/// The service that is Traefik itself.
fn is_traefik(name: &str, node: &Node) -> bool {
    let image = node.text_at("image").unwrap_or_default().rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
    let image = image.split([':', '@']).next().unwrap_or_default();
    image == "traefik" || image.is_empty() && matches!(name, "traefik" | "reverse-proxy")
}

/// Folders and files of the container, with where they come from.
fn mounts_of(node: &Node, folder: &Path) -> Vec<(String, PathBuf)> {
    let volumes = node.get("volumes").map(Node::elements).unwrap_or_default();
    let pair = |volume: &Node| match &volume.data {
        Data::Text(text) => text.split_once(':').map(|(from, to)| (from.to_owned(), to.to_owned())),
        _ => volume.text_at("source").zip(volume.text_at("target")).map(|(from, to)| (from.to_owned(), to.to_owned())),
    };
    let pairs = volumes.iter().filter_map(pair).filter(|(from, _)| from.starts_with(['.', '/']));
    pairs.map(|(from, to)| (to.split(':').next().unwrap_or_default().to_owned(), folder.join(from))).collect()
}

impl Compose {
    /// Tells of a word that has no translation.
    fn word(&mut self, word: &str, place: &Place, said: &str) {
        if let Some(Fate::Left(why, what_to_do)) = fate::find(super::compose_words::WORDS, word) {
            self.sources.left.push(left(place, said, why, what_to_do));
        }
    }

    /// The static configuration: a file, variables of the environment, or flags. Traefik takes the first of them.
    fn program(&mut self, node: &Node, folder: &Path, mounts: &[(String, PathBuf)]) -> Result<(), Unreadable> {
        let words = words_of(node);
        let named = words.iter().find_map(|(word, _)| {
            let (flag, value) = word.trim_start_matches('-').split_once('=')?;
            flag.eq_ignore_ascii_case("configFile").then(|| value.to_owned())
        });
        let standard = ["yml", "yaml", "toml"].map(|ending| format!("/etc/traefik/traefik.{ending}"));
        let is_mounted = |path: &str| mounts.iter().any(|(inside, _)| Path::new(path).starts_with(inside));
        let mut candidates = named.into_iter().chain(standard.into_iter().filter(|path| is_mounted(path)));
        let file = candidates.find_map(|written| find(folder, &written, mounts)).filter(|file| file.is_file());
        let mut fixed = Node::empty(node.place.clone());
        if let Some(file) = file {
            let name = file.strip_prefix(folder).unwrap_or(&file).display().to_string();
            let (node, template) = read(&file, &name)?;
            self.sources.left.extend(template);
            fixed.join(node);
        } else {
            self.environment(node, &mut fixed);
            let words: Vec<(&str, Place)> = words.iter().map(|(word, place)| (word.as_str(), place.clone())).collect();
            for (odd, place) in flags(&mut fixed, &words) {
                let why = "this is no flag of Traefik";
                self.sources.left.push(left(&place, odd, why, "write its static configuration, and import that"));
            }
        }
        if let Some(constraints) = fixed.get("providers.docker.constraints") {
            let why = "which services have routes is not asked of their labels: all of them have";
            let said = "providers.docker.constraints";
            self.sources.left.push(left(&constraints.place, said, why, "remove the routes that are not meant"));
        }
        self.exposes = !fixed.get("providers.docker.exposedByDefault").is_some_and(Node::is_off);
        // It is this file that has the labels.
        if let Data::Map(entries) = &mut fixed.child_mut("providers", &node.place).data {
            entries.retain(|(key, _)| !key.eq_ignore_ascii_case("docker") && !key.eq_ignore_ascii_case("swarm"));
        }
        self.sources.knows_entries = true;
        self.sources.fixed.join(fixed);
        Ok(())
    }

    fn environment(&mut self, node: &Node, fixed: &mut Node) {
        let Some(environment) = node.get("environment") else { return };
        for (name, value, place) in pairs(environment) {
            let Some(path) = name.strip_prefix("TRAEFIK_") else { continue };
            if let Err(why) = insert(fixed, path, '_', &value, &place) {
                self.sources.left.push(left(&place, name, why, "write it as a flag, and import that"));
            }
        }
    }

    /// The labels of a service.
    fn service(&mut self, name: &str, node: &Node, is_traefik: bool) {
        let own = node.get("labels").or_else(|| node.get("deploy.labels"));
        let labels: Vec<(String, String, Place)> = own
            .map(pairs)
            .unwrap_or_default()
            .into_iter()
            .filter(|(label, ..)| label.get(..8).is_some_and(|begin| begin.eq_ignore_ascii_case("traefik.")))
            .collect();
        let enabled = labels.iter().find(|(label, ..)| label.eq_ignore_ascii_case("traefik.enable"));
        let is_enabled = match enabled {
            Some((_, value, _)) => matches!(&*value.to_ascii_lowercase(), "true" | "1"),
            None => self.exposes && (!labels.is_empty() || !is_traefik),
        };
        if !is_enabled || is_traefik && labels.len() <= 1 {
            return;
        }
        let mut tree = Node::empty(node.place.clone());
        for (label, value, place) in &labels {
            self.label(&mut tree, label, value, place);
        }
        for word in OF_SERVICES.iter().filter(|word| node.has(word)) {
            self.word(word, &node.place, &format!("services.{name}.{word}"));
        }
        if !is_traefik {
            self.check_routers(name, &node.place, &tree);
        }
        self.complete(name, node, &mut tree);
        let http = Node { place: node.place.clone(), data: Data::Map(vec![("http".into(), tree)]) };
        self.sources.dynamic.join(http);
    }

    fn label(&mut self, tree: &mut Node, label: &str, value: &str, place: &Place) {
        let path = label.get(8..).unwrap_or_default();
        let lower = path.to_ascii_lowercase();
        if let Some(inner) = lower.strip_prefix("http.").and(path.get(5..)) {
            if let Err(why) = insert(tree, inner, '.', value, place) {
                self.sources.left.push(left(place, label, why, "write it in the route"));
            }
            return;
        }
        let words = ["docker.network", "docker.lbswarm", "docker.allownonrunning", "swarm", "tcp", "udp"];
        match words.iter().find(|word| lower == **word || lower.starts_with(&format!("{word}."))) {
            Some(word) => self.word(&format!("traefik.{word}"), place, label),
            None if lower == "enable" => {}
            None => {
                let why = "the importer does not know this label; those of Traefik 1 are others than those of 2 and 3";
                self.sources.left.push(left(place, label, why, "see what it does, and write it in the route"));
            }
        }
    }

    /// What Traefik makes of a service that does not say all: its load balancer, and the router's service.
    fn complete(&mut self, name: &str, node: &Node, tree: &mut Node) {
        let place = &node.place;
        let routers = tree.child_mut("routers", place);
        if let Data::Map(entries) = &mut routers.data {
            entries.retain(|(_, router)| router.text_at("rule").is_some());
        }
        let unnamed: Vec<Rc<str>> = routers
            .entries()
            .iter()
            .filter(|(_, router)| !router.has("service"))
            .map(|(name, _)| name.clone())
            .collect();
        let services = tree.child_mut("services", place);
        if services.entries().is_empty() && !unnamed.is_empty() {
            let _ = services.child_mut(name, place).child_mut("loadBalancer", place);
        }
        let names: Vec<Rc<str>> = services.entries().iter().map(|(name, _)| name.clone()).collect();
        for service in &names {
            let balancer = services.child_mut(service, place).child_mut("loadBalancer", place);
            if server(name, node, balancer) {
                let why = "no label and no `expose` says its port: it is that which the image exposes; here it is 80";
                let what_to_do = "write the port of the replica in its pool";
                self.sources.left.push(left(place, format!("services.{name}"), why, what_to_do));
            }
        }
        let [only] = &names[..] else { return };
        let routers = tree.child_mut("routers", place);
        for router in unnamed {
            let router = routers.child_mut(&router, place);
            let place = router.place.clone();
            router.child_mut("service", &place).data = Data::Text(only.clone());
        }
    }

    /// Tells of routers that Docker's provider would make a rule for, and of those that another service has, too.
    fn check_routers(&mut self, name: &str, place: &Place, tree: &Node) {
        let routers = tree.get("routers").map(Node::entries).unwrap_or_default();
        if routers.is_empty() || routers.iter().any(|(_, router)| router.text_at("rule").is_none()) {
            let said = format!("services.{name}");
            let why = "it has a router without a rule: Docker's provider makes one of the name of the container";
            let what_to_do = "write a route with the host that is meant, or the label traefik.enable=false";
            self.sources.left.push(left(place, said, why, what_to_do));
        }
        for (name, router) in routers {
            let known = self.sources.dynamic.get("http.routers").and_then(|routers| routers.child(name));
            let rule = |router: &Node| router.text_at("rule").map(str::to_owned);
            if known.is_some_and(|known| rule(known) != rule(router)) {
                let why =
                    "this router is there twice, with different rules: Traefik has none then, here it is the first";
                let said = format!("http.routers.{name}");
                self.sources.left.push(left(&router.place, said, why, "give it another name"));
            }
        }
    }
}

/// Writes the servers of a load balancer: the name of the service, with its port. Whether the port is a guess.
fn server(name: &str, node: &Node, balancer: &mut Node) -> bool {
    let place = balancer.place.clone();
    let own = |key: &str| balancer.text_at(&format!("server.{key}")).map(str::to_owned);
    let in_list = |key: &str| {
        let first = balancer.get("servers").and_then(|servers| servers.elements().first());
        first.and_then(|first| first.text_at(key)).map(str::to_owned)
    };
    let of = |key: &str| own(key).or_else(|| in_list(key));
    let port = of("port").or_else(|| exposed(node).map(|port| port.to_string()));
    let is_guessed = port.is_none() && of("url").is_none();
    let scheme = of("scheme").unwrap_or_else(|| "http".to_owned());
    let url = of("url").unwrap_or_else(|| format!("{scheme}://{name}:{}", port.unwrap_or_else(|| "80".to_owned())));
    let mut server = Node::empty(place.clone());
    server.child_mut("url", &place).data = Data::Text(url.as_str().into());
    for key in ["weight", "preservePath"] {
        if let Some(value) = of(key) {
            server.child_mut(key, &place).data = Data::Text(value.as_str().into());
        }
    }
    if let Data::Map(entries) = &mut balancer.data {
        entries.retain(|(key, _)| !key.eq_ignore_ascii_case("server") && !key.eq_ignore_ascii_case("servers"));
    }
    balancer.child_mut("servers", &place).data = Data::List(vec![server]);
    is_guessed
}

/// The lowest port that a service exposes or publishes.
fn exposed(node: &Node) -> Option<u16> {
    let inner = |port: &Node| -> Option<u16> {
        let text = match &port.data {
            Data::Text(text) => text.to_string(),
            _ => port.text_at("target")?.to_owned(),
        };
        // `127.0.0.1:8080:80/tcp`, of which the last is that of the container; a range begins with the lowest.
        let last = text.rsplit(':').next()?.split(['/', '-']).next()?.to_owned();
        last.parse().ok()
    };
    let ports = ["expose", "ports"].iter().filter_map(|key| node.get(key)).flat_map(|list| list.elements());
    ports.filter_map(inner).min()
}

/// The entries of a list `NAME=value`, or of a map.
fn pairs(node: &Node) -> Vec<(String, String, Place)> {
    let of_text = |element: &Node| {
        let (name, value) = element.text()?.split_once('=').unwrap_or((element.text()?, ""));
        Some((name.trim().to_owned(), value.to_owned(), element.place.clone()))
    };
    let of_entry = |(name, value): &(Rc<str>, Node)| {
        (name.to_string(), value.text().unwrap_or_default().to_owned(), value.place.clone())
    };
    match &node.data {
        Data::List(elements) => elements.iter().filter_map(of_text).collect(),
        _ => node.entries().iter().map(of_entry).collect(),
    }
}

/// The words of a command, which is a list or one text.
fn words_of(node: &Node) -> Vec<(String, Place)> {
    let Some(command) = node.get("command") else { return Vec::new() };
    let clean = |word: &str| word.trim_matches(['"', '\'']).to_owned();
    match &command.data {
        Data::List(elements) => {
            elements.iter().filter_map(|word| Some((clean(word.text()?), word.place.clone()))).collect()
        }
        _ => command
            .text()
            .unwrap_or_default()
            .split_whitespace()
            .filter(|word| !word.is_empty() && !refers(word) || word.starts_with('-'))
            .map(|word| (clean(word), command.place.clone()))
            .collect(),
    }
}
