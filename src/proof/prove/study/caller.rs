//! A client of a study: one connection to a proxy, which is opened anew when it was closed.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::header::HOST;
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::stage::HOST_OF_ALL;

/// How long a response may take.
pub(super) const DEADLINE: Duration = Duration::from_secs(10);
/// Bytes of a response that are read at most.
const RESPONSE_MAX: usize = 1 << 20;

/// See the module.
pub(in crate::prove) struct Caller {
    address: SocketAddr,
    connection: Option<SendRequest<Full<Bytes>>>,
}

impl Caller {
    /// Connects when it first sends something.
    pub(in crate::prove) fn to(address: SocketAddr) -> Self {
        Self { address, connection: None }
    }

    /// The response to a request, which goes to any replica unless it names one as `Host`. It is sent again on a new
    /// connection only if nothing of it was sent on the kept one.
    ///
    /// # Errors
    /// There was no response, only half of one, or none in time. A response of any status is no error.
    pub(in crate::prove) async fn send(&mut self, mut request: Request<Bytes>) -> anyhow::Result<Response<Bytes>> {
        request.headers_mut().entry(HOST).or_insert(HeaderValue::from_static(HOST_OF_ALL));
        let path = request.uri().path().to_owned();
        let sent = timeout(DEADLINE, self.exchange(request.map(Full::from))).await;
        let result = sent.with_context(|| format!("no response to {path} in time")).flatten();
        if result.is_err() {
            self.connection = None;
        }
        result
    }

    async fn exchange(&mut self, request: Request<Full<Bytes>>) -> anyhow::Result<Response<Bytes>> {
        let is_kept = self.connection.as_ref().is_some_and(|kept| !kept.is_closed());
        let request = match self.attempt(request).await? {
            Ok(response) => return Ok(response),
            Err(unsent) if is_kept => unsent,
            Err(_) => bail!("the connection was closed before the request was sent"),
        };
        self.connection = None;
        self.attempt(request).await?.map_err(|_| anyhow::anyhow!("the connection was closed twice"))
    }

    /// The response, or the request if nothing of it was sent.
    async fn attempt(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> anyhow::Result<Result<Response<Bytes>, Request<Full<Bytes>>>> {
        self.connection.take_if(|kept| kept.is_closed());
        let connection = match &mut self.connection {
            Some(kept) => kept,
            none => none.insert(connect(self.address).await?),
        };
        if connection.ready().await.is_err() {
            return Ok(Err(request));
        }
        let (head, body) = match connection.try_send_request(request).await {
            Ok(response) => response.into_parts(),
            Err(mut error) => match error.take_message() {
                Some(unsent) => return Ok(Err(unsent)),
                None => return Err(error.into_error().into()),
            },
        };
        let body = Limited::new(body, RESPONSE_MAX).collect().await;
        let body = body.map_err(|error| anyhow::anyhow!("the response broke off: {error}"))?;
        Ok(Ok(Response::from_parts(head, body.to_bytes())))
    }
}

async fn connect(address: SocketAddr) -> anyhow::Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(address).await.context("cannot connect")?;
    stream.set_nodelay(true).ok();
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

/// The replica that responded.
pub(super) fn replica_of<B>(response: &Response<B>) -> Option<String> {
    Some(response.headers().get("x-replica")?.to_str().ok()?.to_owned())
}
