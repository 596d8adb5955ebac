//! A Caddyfile, with all that it imports.
//!
//! `tokens`, `include` and `tree` are its grammar. It is our own: the crates that read a Caddyfile (`caddyfile-rs`,
//! `caddyfile`) had one release each, and know neither `import` nor arguments. `sites` and `listeners` say where a
//! request arrives, `steps` in which order Caddy runs the directives, and `flow` follows a request through them.

mod clients;
mod conditions;
mod edits;
mod environment;
mod flow;
mod globals;
mod include;
mod leaves;
mod listeners;
mod logs;
mod matchers;
mod paths;
mod proxying;
mod routes;
mod sites;
mod steps;
mod text;
mod tokens;
mod transport;
mod tree;
mod units;
mod upstreams;
pub(crate) mod words;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use conditions::Test;
use flow::{Flow, State};
use globals::{Globals, OfListeners};
use listeners::{Socket, head};
use matchers::Named;
use proxying::Proxying;
use routes::Spot;
use sites::{Address, Site};
use steps::{Order, Step};
use tree::{Block, Line};

use crate::imported::{At, Imported, Keys, LeftOut, Route, Unreadable};
use crate::value::Value;

/// The most blocks of a file with all that it imports.
const BLOCKS_MAX: usize = 10_000;
/// Everybody.
const ALL: [&str; 2] = ["0.0.0.0/0", "::/0"];

/// Reads a Caddyfile. `base` is put in front of relative paths of files that unstick will read.
///
/// # Errors
/// A file that cannot be read or breaks the grammar. What cannot be translated is no error.
pub(super) fn import(path: &Path, base: Option<&Path>) -> Result<Imported, Unreadable> {
    let mut out = Imported::default();
    let blocks = tree::parse(&include::read(path, &mut out)?)?;
    let mut importer = Importer {
        out,
        sockets: Vec::new(),
        trusted: Vec::new(),
        errors: Keys::default(),
        is_tls_only: false,
        redirects: Vec::new(),
        base: base.map(Path::to_owned),
    };
    importer.run(&blocks)?;
    let mut out = importer.out;
    environment(&mut out);
    Ok(out)
}

/// What is being made of a file.
#[derive(Debug)]
struct Importer {
    out: Imported,
    sockets: Vec<Socket>,
    /// The peers that are trusted, and by which listeners.
    trusted: Vec<(OfListeners, String)>,
    /// The pages for errors of the site that is being read.
    errors: Keys,
    /// Whether all listeners of that site speak TLS.
    is_tls_only: bool,
    /// The routes from HTTP to HTTPS, which come last.
    redirects: Vec<Route>,
    base: Option<PathBuf>,
}

/// Listeners of a site where it has the same hosts, and what all requests there meet.
struct Group {
    listen: Vec<String>,
    hosts: Option<Vec<String>>,
    path: String,
}

impl Importer {
    fn run(&mut self, blocks: &[Block]) -> Result<(), Unreadable> {
        let options = options(blocks)?;
        let route = |block: &&Block| block.keys.len() == 1 && block.keys[0].starts_with("&(");
        let named = blocks.iter().filter(route).map(|block| {
            let name = block.keys[0].trim_start_matches("&(").trim_end_matches(')');
            (name, &block.lines[..])
        });
        let order = Order::new(options, named.collect());
        let globals = self.globals(options);
        let mut sites: Vec<Site<'_>> = Vec::new();
        for block in blocks.iter().filter(|block| !block.keys.is_empty() && !route(block)) {
            sites.push(self.site(block, &globals));
        }
        self.logs(&sites);
        let listened = sites.iter().enumerate().map(|(number, site)| groups(self.listen(number, site, &globals)));
        let groups: Vec<Vec<Group>> = listened.collect();
        self.redirects(&sites, &globals);
        let has_log = sites.iter().any(Site::is_logged);
        for (number, (site, groups)) in sites.iter().zip(groups).enumerate() {
            let steps = order.steps(&site.block.lines, &Named::new())?;
            self.errors = self.error_pages(site);
            for group in groups {
                let is_open = self.client_auth(number, site, &group.listen);
                let is_logged = (has_log && !site.is_logged()).then_some(false);
                let state = State { is_closed: !is_open, is_logged, ..State::default() };
                self.group(number, site, group, state, &steps)?;
            }
        }
        let redirects = std::mem::take(&mut self.redirects);
        self.out.routes.extend(redirects);
        self.write_listeners(&globals);
        self.shared_errors();
        self.forget_pools();
        self.out.left_out.sort_by(|one, other| one.place.cmp(&other.place));
        Ok(())
    }

    /// The routes of a site on some of its listeners.
    fn group(
        &mut self,
        number: usize,
        site: &Site<'_>,
        group: Group,
        state: State,
        steps: &[Rc<Step<'_>>],
    ) -> Result<(), Unreadable> {
        let Some(path) = self.old_path(site, &group.path) else { return Ok(()) };
        let test = Test { host: group.hosts.clone(), path, ..Test::default() };
        self.is_tls_only = group.listen.iter().all(|name| self.is_tls(name));
        let said = left(&head(site), "", "");
        let mut flow = Flow { importer: self, site: said, drafts: Vec::new(), ways: 0, depth: 0 };
        flow.run(State { test, ..state }, steps)?;
        let drafts = flow.drafts;
        let claimed = self.claimed(number, &group.listen, &drafts);
        self.routes(&Spot { listen: group.listen, claimed, hosts: group.hosts }, drafts);
        Ok(())
    }

    /// Forgets the pools of routes that were not kept. What was told of them is kept.
    fn forget_pools(&mut self) {
        let Imported { routes, pools, left_out, .. } = &mut self.out;
        let used: HashSet<&str> = routes.iter().filter_map(|route| text_of(route.keys.get("pool")?)).collect();
        pools.retain(|pool| used.contains(pool.name.as_str()));
        for left in left_out {
            if matches!(&left.at, At::Pool(name) if !used.contains(name.as_str())) {
                left.at = At::Top;
            }
        }
    }

    /// Pages that all routes to pools have are those of the whole file.
    fn shared_errors(&mut self) {
        let of_pools = self.out.routes.iter().filter(|route| route.keys.get("pool").is_some());
        let mut all = of_pools.map(|route| route.keys.get("errors").cloned());
        let Some(Some(Value::Table(first))) = all.next() else { return };
        if all.all(|other| other == Some(Value::Table(first.clone()))) {
            self.out.errors = first;
            self.out.routes.iter_mut().for_each(|route| route.keys.remove("errors"));
        }
    }

    /// A site with the addresses that unstick can have.
    fn site<'t>(&mut self, block: &'t Block, globals: &Globals) -> Site<'t> {
        let has_tls = block.lines.iter().any(|line| line.name == "tls");
        let mut site = Site { block, addresses: Vec::new() };
        for key in &block.keys {
            match sites::address(key, &globals.ports, has_tls) {
                Ok(address) => {
                    if key.starts_with("{$") && environment::defaults(key).is_none() {
                        let said = Line { name: key.clone(), args: Vec::new(), ..head(&site) };
                        let why = "what the environment says here is taken for a host, which Caddy serves by HTTPS";
                        self.out.leave_out(left(&said, why, "write another listener if it has a scheme or a port"));
                    }
                    site.addresses.push(address);
                }
                Err(why) => {
                    let said = Line { name: key.clone(), args: Vec::new(), ..head(&site) };
                    self.out.leave_out(left(&said, why, "write [listen.NAME], and `host` in its routes"));
                }
            }
        }
        for option in block.lines.iter().filter(|line| line.name == "tls").flat_map(Line::lines) {
            if option.name == "client_auth" {
                continue;
            }
            let mut notes = Vec::new();
            words::note_option("tls", option, &mut notes);
            notes.into_iter().for_each(|note| self.out.leave_out(note));
        }
        site
    }

    /// The path of an address, as old versions had it; nothing if it cannot be one.
    fn old_path(&mut self, site: &Site<'_>, path: &str) -> Option<Option<paths::Path>> {
        if path.is_empty() {
            return Some(None);
        }
        match paths::pattern(path) {
            Ok(path) => Some(path),
            Err(why) => {
                self.out.leave_out(left(&head(site), why, "write a route with that path"));
                None
            }
        }
    }

    /// The name of a pool, made unless there is one like it.
    fn pool(&mut self, mut found: Proxying) -> String {
        found.without_probes();
        let is_taken = |name: &str| self.out.pools.iter().any(|pool| pool.name == name);
        let pool = found.pool(is_taken);
        if let Some(known) = self.out.pools.iter().find(|known| known.keys == pool.keys) {
            return known.name.clone();
        }
        let name = pool.name.clone();
        self.out.pools.push(pool);
        name
    }

    /// A path of a file that unstick will read.
    fn file(&self, written: &str) -> String {
        self.base.as_ref().map_or_else(|| written.to_owned(), |base| base.join(written).display().to_string())
    }
}

/// The lines of the global options.
fn options(blocks: &[Block]) -> Result<&[Line], Unreadable> {
    let refuse = |block: &Block, message: String| {
        let at = Some((block.place.line, 1));
        Err(Unreadable { file: block.place.file.to_string(), at, message })
    };
    if let Some(block) = blocks.get(BLOCKS_MAX) {
        return refuse(block, format!("more than {BLOCKS_MAX} blocks"));
    }
    if let Some(block) = blocks.iter().skip(1).find(|block| block.keys.is_empty()) {
        let message = "a block without an address holds global options, and must be the first";
        return refuse(block, message.to_owned());
    }
    Ok(blocks.first().filter(|block| block.keys.is_empty()).map_or(&[], |block| &block.lines))
}

impl Site<'_> {
    fn is_logged(&self) -> bool {
        self.block.lines.iter().any(|line| line.name == "log")
    }
}

/// The groups of a site: listeners where it has the same hosts are one.
fn groups(found: Vec<(String, Address)>) -> Vec<Group> {
    let mut all: Vec<Group> = Vec::new();
    for (listener, Address { host, path, .. }) in found {
        match all.iter_mut().find(|group| group.listen[0] == listener && group.path == path) {
            Some(group) => match (&mut group.hosts, host) {
                (Some(hosts), Some(host)) if !hosts.contains(&host) => hosts.push(host),
                (Some(_), Some(_)) => {}
                (hosts, _) => *hosts = None,
            },
            None => all.push(Group { listen: vec![listener], hosts: host.map(|host| vec![host]), path }),
        }
    }
    let mut joined: Vec<Group> = Vec::new();
    for group in all {
        match joined.iter_mut().find(|other| other.hosts == group.hosts && other.path == group.path) {
            Some(other) => other.listen.extend(group.listen),
            None => joined.push(group),
        }
    }
    joined
}

/// What was left out there. It is put in its place later.
fn left(line: &Line, why: impl Into<String>, what_to_do: impl Into<String>) -> LeftOut {
    LeftOut {
        place: line.place.clone(),
        directive: line.written(),
        why: why.into(),
        what_to_do: what_to_do.into(),
        at: At::Top,
    }
}

/// Writes references to the environment as unstick has them.
fn environment(out: &mut Imported) {
    let each = |keys: &mut Keys| keys.0.iter_mut().for_each(|(_, value)| refer(value));
    out.listeners.iter_mut().for_each(|listener| each(&mut listener.keys));
    out.pools.iter_mut().for_each(|pool| each(&mut pool.keys));
    out.tables.iter_mut().for_each(|(_, keys)| each(keys));
    for route in &mut out.routes {
        each(&mut route.keys);
        route.path = environment::written(&route.path);
        route.host.iter_mut().for_each(|host| *host = environment::written(host));
    }
}

fn text_of(value: &Value) -> Option<&str> {
    if let Value::Text(text) = value { Some(text) } else { None }
}

fn refer(value: &mut Value) {
    match value {
        Value::Text(text) => *text = environment::written(text),
        Value::List(list) => list.iter_mut().for_each(refer),
        Value::Table(Keys(keys)) => keys.iter_mut().for_each(|(_, value)| refer(value)),
        Value::Number(_) | Value::Switch(_) => {}
    }
}
