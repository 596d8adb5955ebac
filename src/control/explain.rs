//! A config and a request, to what would become of it.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::{Rc, Weak};
use std::sync::Arc;

use http::header::HOST;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use serde_json::{Value, json};

use super::build::build;
use super::names::Names;
use super::reading::Contents;
use super::reload::Instance;
use crate::config::address::Address;
use crate::config::model::{Config, Listener};
use crate::link::view::Viewer;
use crate::pool::Member;
use crate::pool::health::Machine;
use crate::proxy::Proof;
use crate::proxy::connection::{Arrival, Connection};
use crate::proxy::explain::{Explained, Outcome, explain};
use crate::proxy::rules::Rules;
use crate::resources::Resources;
use crate::snapshot::{SharedSnapshot, Snapshot};

/// A request that is only talked about.
#[derive(Debug)]
pub struct Question {
    /// Name of the listener; `None` for the first that speaks as the URL says, or the first of all.
    pub listener: Option<String>,
    /// The address of the peer.
    pub peer: IpAddr,
    /// Method, URL in absolute form, and fields.
    pub request: Request<()>,
}

/// What would become of it.
#[derive(Debug)]
pub struct Answer {
    /// The listener that it would come to.
    pub listener: String,
    /// What is found out about it.
    pub explained: Explained,
}

/// A request of these parts, that is only talked about. Its host is that of the URL, or of a field if there is only a
/// path or `*`.
///
/// # Errors
/// Why it is no request.
pub fn request(method: Method, url: Uri, fields: Vec<(HeaderName, HeaderValue)>) -> Result<Request<()>, String> {
    let (named, others): (Vec<_>, Vec<_>) = fields.into_iter().partition(|(name, _)| *name == HOST);
    let host = match (url.authority(), &named[..]) {
        (Some(host), []) if url.scheme().is_some() => {
            HeaderValue::from_str(host.as_str()).map_err(|error| error.to_string())?
        }
        (None, [(_, host)]) => host.clone(),
        (Some(_), [_, ..]) => return Err(format!("{url} names the host already; leave out the field `host`")),
        (None, [_, _, ..]) => return Err("a request has one host".to_owned()),
        _ => return Err(format!("{url} has no host; write a whole URL, as in https://shop.example.com/api")),
    };
    let mut request = Request::builder().method(method).uri(url).header(HOST, host);
    for (name, value) in others {
        request = request.header(name, value);
    }
    request.body(()).map_err(|error| format!("this is no request: {error}"))
}

/// Finds out what would become of a request. It blocks while it reads the files that the config names.
///
/// # Errors
/// Why that cannot be said: a file that is not usable, or a listener that is not there.
pub(crate) fn answer(config: &Config, question: Question) -> Result<Answer, String> {
    let contents = Contents::read(config, None).map_err(|why| why.join("; "))?;
    let snapshot = build(config, &Names::default(), &contents.material, None, 1, &Resources::BOUNDLESS);
    within(snapshot, config, question)
}

impl Instance {
    /// Finds out what would become of a request now. It is asked of a copy: no split or rate counts it.
    pub(super) fn answer(&self, question: Question) -> Result<Answer, String> {
        let (config, material, live) = (&self.config, &self.material, self.shared.load());
        let copy = build(config, &self.names, material, None, 1, &Resources::BOUNDLESS);
        for pool in &copy.pools {
            let known: HashMap<&Address, &Member> = live
                .pool(&pool.name)
                .into_iter()
                .flat_map(|pool| &pool.members)
                .map(|member| (&member.endpoint.address, member))
                .collect();
            for member in &pool.members {
                if let Some(live) = known.get(&member.endpoint.address) {
                    member.endpoint.update_health(|machine| *machine = Machine::new(live.endpoint.health()));
                }
            }
            pool.refresh_mode();
        }
        within(copy, config, question)
    }
}

fn within(snapshot: Snapshot, config: &Config, question: Question) -> Result<Answer, String> {
    let viewer = Viewer::new(Arc::new(SharedSnapshot::new(Arc::new(snapshot))), 0, Rc::default());
    let view = viewer.current();
    let listener = listener(config, &question)?;
    let rules = Rc::<Rules>::default();
    rules.renew(&listener.name, &listener.trusted_proxies, listener.redirect_to_https);
    let connection = Connection::new(Arrival {
        peer: SocketAddr::new(question.peer, 0),
        socket: Weak::new(),
        is_anonymous: false,
        is_tls: listener.tls.is_some(),
        proof: Proof::NotAskedFor,
        rules,
        draining_since: Rc::default(),
    });
    let explained = explain(&view, connection, question.request);
    Ok(Answer { listener: listener.name.clone(), explained })
}

impl Answer {
    /// The place of the route, counted from 1, and its conditions.
    pub fn route(&self, config: &Config) -> Option<(usize, String)> {
        let place = self.explained.route?;
        Some((place + 1, config.routes.get(place)?.to_string()))
    }

    /// As JSON. Secrets of the config may be part of it.
    pub fn to_json(&self, config: &Config) -> Value {
        let list = |headers: &HeaderMap| -> Value {
            let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
            headers.iter().map(|(name, value)| json!([name.as_str(), text(value)])).collect()
        };
        let Self { listener, explained } = self;
        let route = self.route(config).map(|(place, route)| json!({ "place": place, "conditions": route }));
        let mut all = json!({ "listener": listener, "path": explained.path, "route": route });
        let more = match &explained.outcome {
            Outcome::Pool(pool) => {
                let request = json!({ "target": explained.target, "fields": list(&explained.request) });
                json!({ "pool": pool, "request": request })
            }
            Outcome::Here(status, headers) => {
                json!({ "response": { "status": status.as_u16(), "fields": list(headers) } })
            }
            Outcome::Refused(status, cause, why) => {
                json!({ "response": { "status": status.as_u16(), "cause": cause, "message": why } })
            }
        };
        if let (Some(all), Value::Object(more)) = (all.as_object_mut(), more) {
            all.extend(more);
        }
        all
    }
}

fn listener<'c>(config: &'c Config, question: &Question) -> Result<&'c Listener, String> {
    let is_tls = question.request.uri().scheme_str() == Some("https");
    let found = match &question.listener {
        Some(name) => config.listeners.iter().find(|listener| listener.name == *name),
        None => {
            let fitting = config.listeners.iter().find(|listener| listener.tls.is_some() == is_tls);
            fitting.or(config.listeners.first())
        }
    };
    let names = || config.listeners.iter().map(|listener| listener.name.as_str()).collect::<Vec<_>>().join(", ");
    found.ok_or_else(|| {
        let name = question.listener.as_deref().unwrap_or_default();
        format!("there is no listener `{name}`; known listeners: {}", names())
    })
}
