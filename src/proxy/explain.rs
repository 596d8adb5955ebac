//! What would become of a request, found by the same code that serves it, without a byte being sent: `unstick route`.

use std::rc::Rc;

use http::header::{HOST, HeaderMap, LOCATION};
use http::request::Parts;
use http::{Request, StatusCode};
use tokio::time::Instant;

use super::admit::{Routed, prepare, route};
use super::cause::Cause;
use super::client::Client;
use super::connection::Connection;
use super::headers::{self, FieldsSeen};
use super::redirect;
use crate::config::path;
use crate::link::request_body::RequestBody;
use crate::link::view::View;
use crate::snapshot::asked::Asked;

/// What would become of a request.
#[derive(Debug)]
pub struct Explained {
    /// The place of its route among those of the file, counted from 0; `None` if no route fits.
    pub route: Option<usize>,
    /// The normal form of its path, which routes compare.
    pub path: String,
    /// Who would respond.
    pub outcome: Outcome,
    /// The target that the replica would get, or the client's if no replica gets the request.
    pub target: String,
    /// The header fields that the replica would get.
    pub request: HeaderMap,
}

/// Who would respond.
#[derive(Debug)]
pub enum Outcome {
    /// The endpoints of the pool with this name.
    Pool(String),
    /// The proxy, as the route or the listener says.
    Here(StatusCode, HeaderMap),
    /// The proxy, because it refuses the request: the status, the cause, and a sentence.
    Refused(StatusCode, &'static str, &'static str),
}

/// Explains a request of a client without a body.
pub(crate) fn explain(view: &Rc<View>, connection: Rc<Connection>, request: Request<()>) -> Explained {
    let client = Client::new(connection);
    client.connection.follow_rules();
    let (mut parts, ()) = request.into_parts();
    let (seen, body, mut planned) = (FieldsSeen::of(&parts.headers), RequestBody::default(), None);
    let host = parts.uri.authority().map(|authority| authority.to_string());
    let routed = route(&mut parts, &body, view, &client, (0, Instant::now()), &mut planned);
    // The target is in the form now in which routes look at it.
    let (place, path) = (find(view, &client, host, &parts), path::normal(parts.uri.path()).into_owned());
    let outcome = match routed {
        Ok(Routed::Pool(host, _)) if client.connection.rules.redirect_to_https().is_some() => {
            let port = client.connection.rules.redirect_to_https().unwrap_or_default();
            let location = redirect::location(host.value.to_str().unwrap_or_default(), port, &parts.uri);
            let mut headers: HeaderMap = location.map(|location| (LOCATION, location)).into_iter().collect();
            if let Some(planned) = &mut planned {
                planned.look_at(&parts, &client.connection);
                planned.edit_response(&mut headers);
            }
            Outcome::Here(StatusCode::PERMANENT_REDIRECT, headers)
        }
        Ok(Routed::Pool(host, found)) => {
            let pool = &view.snapshot.pools[found.pool];
            let via = pool.config.via.then(|| headers::via(parts.version));
            let mut added = prepare(&mut parts, seen, via, host, None, &client.connection);
            if let Some(planned) = &mut planned {
                planned.edit_request(&mut parts, &mut added, &client.connection);
            }
            added.extend(&mut parts.headers);
            Outcome::Pool(pool.name.to_string())
        }
        Ok(Routed::Here(local)) => {
            let mut headers = local.headers;
            if let Some(planned) = &mut planned {
                planned.look_at(&parts, &client.connection);
                planned.edit_response(&mut headers);
            }
            Outcome::Here(local.status, headers)
        }
        Err(cause) => refused(cause),
    };
    Explained { route: place, path, outcome, target: parts.uri.to_string(), request: parts.headers }
}

/// The place of the route. `host` is the one of an absolute target, if it had one.
fn find(view: &View, client: &Client, host: Option<String>, parts: &Parts) -> Option<usize> {
    let of_field = || parts.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let asked = Asked {
        listener: &client.connection.rules.listener(),
        host: host.as_deref().unwrap_or_else(of_field),
        path: parts.uri.path(),
        query: parts.uri.query(),
        method: &parts.method,
        headers: &parts.headers,
    };
    view.snapshot.routes.find(&asked).ok().map(|found| found.route)
}

fn refused(cause: Cause) -> Outcome {
    Outcome::Refused(cause.status(), cause.name(), cause.explanation())
}
