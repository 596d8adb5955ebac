//! A short question to a process of the experiment.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long a reply may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// A connection for several questions.
pub(super) struct Line(SendRequest<Full<Bytes>>);

impl Line {
    /// Connects.
    pub(super) async fn to(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self(sender))
    }

    /// The body of the response.
    pub(super) async fn get(&mut self, path: &str) -> anyhow::Result<Bytes> {
        let request = Request::get(path).header("host", "localhost").body(Full::default())?;
        Ok(self.send(request).await?.into_body())
    }

    /// The response to a request.
    pub(super) async fn send(&mut self, request: Request<Full<Bytes>>) -> anyhow::Result<Response<Bytes>> {
        let path = request.uri().path().to_owned();
        let exchange = async {
            self.0.ready().await?;
            let (head, body) = self.0.send_request(request).await?.into_parts();
            anyhow::Ok(Response::from_parts(head, body.collect().await?.to_bytes()))
        };
        timeout(DEADLINE, exchange).await.with_context(|| format!("no response to {path}"))?
    }
}

/// The body of a response, on a new connection.
pub(super) async fn get(address: SocketAddr, path: &str) -> anyhow::Result<Bytes> {
    Line::to(address).await?.get(path).await
}

/// One question on a line that is kept, or on a new one, which is there for the next one. What comes late has taken its
/// time, whether it comes or not.
pub(super) async fn beat(line: Option<Line>, address: SocketAddr) -> Option<Line> {
    let mut line = match line {
        Some(line) => line,
        None => Line::to(address).await.ok()?,
    };
    line.get("/healthz").await.ok()?;
    Some(line)
}
