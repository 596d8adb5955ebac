//! The replica's side of a study: the hidden subcommand `prove-part`, which serves one *part*.

use std::convert::Infallible;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use anyhow::Context as _;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::{basket, beats, caches, files, jobs, keys, limits, retries, rooms};
use crate::prove::arm::Work;
use crate::prove::sabotage::{Planted, Sabotage};
use crate::replica::runtime;
use crate::replica::serve::{Serving, listen};

/// All parts by their names, and what serves them.
static PARTS: [(&str, Part); 12] = [
    ("basket", basket::part::serve),
    ("caches", caches::part::serve),
    ("files", files::part::serve),
    ("idle", beats::serve),
    ("keys", keys::part::serve),
    ("limits", limits::part::serve),
    ("rooms", rooms::part::in_redis),
    ("rooms-in-memory", rooms::part::in_memory),
    ("jobs", jobs::part::in_redis),
    ("jobs-in-memory", jobs::part::in_memory),
    ("jobs-in-postgres", jobs::part::in_postgres),
    ("orders", retries::part::serve),
];

/// The life of one replica.
type Part = fn(PartReplica) -> Work<'static, ()>;

/// Bytes of a request that [`whole`] reads at most.
const WHOLE_MAX: usize = 64 * 1024;

/// One request in so many fails, under sabotage.
const ERRS_ONE_IN: u32 = 40;

/// What the parent says on the command line.
#[derive(Debug, Clone)]
pub struct PartReplica {
    /// Name shown in `x-replica`.
    pub name: String,
    /// The part that it serves.
    pub part: String,
    /// A directory that all replicas of the stage share.
    pub directory: PathBuf,
    /// What is broken on purpose.
    pub planted: Planted,
}

/// Serves the part until SIGTERM or the end of the parent.
///
/// # Errors
/// There is no such part, or what it needs cannot be used.
pub fn run(replica: PartReplica) -> anyhow::Result<()> {
    let part = PARTS.iter().find(|(name, _)| *name == replica.part);
    let (_, serve) = part.with_context(|| format!("there is no part {}", replica.part))?;
    runtime::run(serve(replica))
}

/// Environment variable that names the place of the state, for parts that serve several.
pub(super) const PLACE_VARIABLE: &str = "UNSTICK_PROVE_PLACE";

/// The place of the state that this replica was told of.
pub(super) fn place() -> String {
    std::env::var(PLACE_VARIABLE).unwrap_or_default()
}

/// The body of a part's response: a whole one (see `text` and `bytes`) or a stream.
pub(super) type PartBody = UnsyncBoxBody<Bytes, io::Error>;

/// A response that is being made.
pub(super) type Responding<'a> = Pin<Box<dyn Future<Output = Response<PartBody>> + Send + 'a>>;

/// What responds to requests. Health checks do not come here. A request can be upgraded (`hyper::upgrade::on`).
pub(super) trait Responder: Send + Sync + 'static {
    /// The response to one request.
    fn respond(&self, request: Request<Incoming>) -> Responding<'_>;
}

impl PartReplica {
    /// Serves on a free port of 127.0.0.1 and says which, until SIGTERM or the end of the parent.
    pub(super) async fn serve(self, responder: impl Responder) -> anyhow::Result<()> {
        let name = HeaderValue::from_str(&self.name).context("this name cannot stand in a header field")?;
        let errs = self.planted.is(Sabotage::PartErrs);
        let server = Arc::new(Server { name, responder: Box::new(responder), errs, requests: AtomicU32::new(0) });
        listen(0, &|stream| connection(stream, Arc::clone(&server))).await
    }
}

/// What all connections share.
struct Server {
    name: HeaderValue,
    responder: Box<dyn Responder>,
    /// Whether some requests fail, under sabotage.
    errs: bool,
    requests: AtomicU32,
}

impl Server {
    async fn respond(&self, request: Request<Incoming>) -> Response<PartBody> {
        let mut response = if request.uri().path() == "/healthz" {
            text(StatusCode::OK, "well")
        } else if self.errs && self.requests.fetch_add(1, Relaxed) % ERRS_ONE_IN == ERRS_ONE_IN - 1 {
            text(StatusCode::INTERNAL_SERVER_ERROR, "this replica does not want to")
        } else {
            self.responder.respond(request).await
        };
        response.headers_mut().insert("x-replica", self.name.clone());
        response
    }
}

fn connection(stream: TcpStream, server: Arc<Server>) -> Serving {
    let service = service_fn(move |request| {
        let server = Arc::clone(&server);
        async move { Ok::<_, Infallible>(server.respond(request).await) }
    });
    Box::pin(async move {
        // A connection that breaks concerns the proxy alone.
        let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades().await;
    })
}

/// A short response in plain text.
pub(super) fn text(status: StatusCode, message: &str) -> Response<PartBody> {
    bytes(status, Bytes::copy_from_slice(message.as_bytes()))
}

/// A response with this body.
pub(super) fn bytes(status: StatusCode, body: impl Into<Bytes>) -> Response<PartBody> {
    let mut response = Response::new(Full::new(body.into()).map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = status;
    response
}

/// The whole body of a request, if it is short.
pub(super) async fn whole(body: Incoming) -> anyhow::Result<Bytes> {
    let whole = Limited::new(body, WHOLE_MAX).collect().await;
    Ok(whole.map_err(|error| anyhow::anyhow!("the request body broke off or is too long: {error}"))?.to_bytes())
}

/// The value of a field of a request, if it is text.
pub(super) fn field<'a, B>(request: &'a Request<B>, name: &str) -> Option<&'a str> {
    request.headers().get(name)?.to_str().ok()
}
