//! One request and its response, whatever it looks like.

use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::uri::{Authority, Scheme as UriScheme};
use http::{Request, Response, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};

use super::connection::{Connector, Sender};
use super::{BODY_KEPT_MAX, BODY_MAX};
use crate::outcome::{Body, Hash, Received};
use crate::replicas::{Origin, Scheme};

/// Sends a request to a replica and reads the whole response.
///
/// # Errors
/// Why there is no response.
pub(super) async fn exchange(
    connector: &Connector,
    origin: &Origin,
    request: Request<Bytes>,
    within: Duration,
) -> Result<Received, String> {
    let until = Instant::now() + within;
    let late = |_| format!("no response within {} s", within.as_secs());
    let response = timeout_at(until, respond(connector, origin, request)).await.map_err(late)??;
    Ok(received(response, until).await)
}

/// Sends a request and awaits the head of its response.
///
/// # Errors
/// Why there is none.
pub(super) async fn respond(
    connector: &Connector,
    origin: &Origin,
    request: Request<Bytes>,
) -> Result<Response<Incoming>, String> {
    let failed = |error: hyper::Error| {
        if error.is_incomplete_message() {
            "the connection was closed before a response came".into()
        } else {
            format!("no response: {error}")
        }
    };
    match connector.connect(origin).await? {
        Sender::Http1(mut sender) => sender.send_request(request.map(Full::new)).await.map_err(failed),
        Sender::Http2(mut sender) => {
            let request = absolute(request, origin).map_err(|error| error.to_string())?;
            sender.send_request(request.map(Full::new)).await.map_err(failed)
        }
    }
}

/// HTTP/2 says the host in a field of its own, which is made from the target (RFC 9113 section 8.3.1).
fn absolute(request: Request<Bytes>, origin: &Origin) -> Result<Request<Bytes>, http::Error> {
    let (mut parts, body) = request.into_parts();
    let host = parts.headers.remove(HOST);
    let mut uri = std::mem::take(&mut parts.uri).into_parts();
    let authority = host.as_ref().and_then(|host| host.to_str().ok()).map(str::to_owned);
    uri.authority = Some(Authority::try_from(authority.unwrap_or_else(|| origin.authority()))?);
    uri.scheme = Some(if origin.scheme == Scheme::Http { UriScheme::HTTP } else { UriScheme::HTTPS });
    parts.uri = Uri::from_parts(uri)?;
    Ok(Request::from_parts(parts, body))
}

/// Reads the body of a response. A body that breaks off, or is too long, is kept as far as it came.
pub(super) async fn received(response: Response<Incoming>, until: Instant) -> Received {
    let (parts, mut body) = response.into_parts();
    let (mut kept, mut length, mut hash) = (Vec::new(), 0, Hash::default());
    let broken_off = loop {
        match timeout_at(until, body.frame()).await {
            Err(_) => break Some("the body did not end in time".into()),
            Ok(None) => break None,
            // The reason says how the library met it, which differs from run to run.
            Ok(Some(Err(_))) => break Some("the body broke off".into()),
            Ok(Some(Ok(frame))) => {
                let Ok(data) = frame.into_data() else { continue };
                length += data.len() as u64;
                hash.add(&data);
                kept.extend_from_slice(&data[..data.len().min(BODY_KEPT_MAX - kept.len())]);
                if length > BODY_MAX {
                    break Some(format!("the body is longer than {} MiB", BODY_MAX >> 20));
                }
            }
        }
    };
    let kept = Bytes::from(kept);
    let body = if length > kept.len() as u64 { Body::Long(kept, length, hash.value()) } else { Body::Whole(kept) };
    let body = if broken_off.is_none() { super::unpack::unpacked(&parts.headers, body) } else { body };
    Received { status: parts.status, headers: parts.headers, body, broken_off }
}
