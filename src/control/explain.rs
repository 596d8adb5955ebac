//! A config and a request, to what would become of it.

use std::net::{IpAddr, SocketAddr};
use std::rc::{Rc, Weak};
use std::sync::Arc;

use http::Request;

use super::build::build;
use super::names::Names;
use super::reading::{Contents, ListenerTls};
use crate::config::model::{Config, Listener};
use crate::link::view::Viewer;
use crate::proxy::Proof;
use crate::proxy::connection::{Arrival, Connection};
use crate::proxy::explain::{Explained, explain};
use crate::proxy::rules::Rules;
use crate::resources::Resources;
use crate::snapshot::SharedSnapshot;

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

/// Finds out what would become of a request. It blocks while it reads the files that the config names.
///
/// # Errors
/// Why that cannot be said: a file that is not usable, or a listener that is not there.
pub(crate) fn answer(config: &Config, question: Question) -> Result<Answer, String> {
    let contents = Contents::read(config, &Default::default(), &ListenerTls::new()).map_err(|why| why.join("; "))?;
    let snapshot = build(config, &Names::default(), &contents.material, None, 1, &Resources::BOUNDLESS);
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
