//! What would become of a request, found by the same code that serves it, without a byte being sent: `unstick route`.

use std::rc::Rc;

use http::header::{HeaderMap, LOCATION};
use http::{Request, StatusCode};
use tokio::time::Instant;

use super::cause::Cause;
use super::client::Client;
use super::connection::Connection;
use super::headers::{self, FieldsSeen};
use super::{Routed, prepare, redirect, route};
use crate::link::request_body::RequestBody;
use crate::link::view::View;

/// What would become of a request.
#[derive(Debug)]
pub struct Explained {
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
    let outcome = match route(&mut parts, &body, view, &client, (0, Instant::now()), &mut planned) {
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
        Ok(Routed::Pool(host, pool)) => {
            let pool = &view.snapshot.pools[pool];
            let via = pool.config.via.then(|| headers::via(parts.version));
            prepare(&mut parts, &body, seen, via, host, None, &client.connection);
            if let Some(planned) = &mut planned {
                planned.edit_request(&mut parts, &client.connection);
            }
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
    Explained { outcome, target: parts.uri.to_string(), request: parts.headers }
}

fn refused(cause: Cause) -> Outcome {
    Outcome::Refused(cause.status(), cause.name(), cause.explanation())
}
