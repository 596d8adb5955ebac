//! The replica's side: a small HTTP/1.1 server on 127.0.0.1.

use std::convert::Infallible;
use std::future::Future;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::unix::pipe;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;

/// Connections served at one time: more than one for each of the most users that there can be. Beyond, a connection
/// would wait for another one's end, and the proxy, our only client, keeps them.
const CONNECTIONS_MAX: usize = 16_384;

/// Bytes that a request body may have.
const BODY_MAX: usize = 4 * 1024;

/// How long a request body may take to arrive.
const BODY_DEADLINE: Duration = Duration::from_secs(10);

/// Pause after a failed accept, so that a lack of file descriptors does not become a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A response that is being made.
pub type Responding<'a> = Pin<Box<dyn Future<Output = Response<Full<Bytes>>> + Send + 'a>>;

/// What responds to requests. It is used as an object, so that hyper's server is compiled once for all replicas.
pub trait Handler: Send + Sync + 'static {
    /// The response to one request.
    fn respond(&self, request: Request<Bytes>) -> Responding<'_>;
    /// A short response in plain text.
    fn text(&self, status: StatusCode, message: &str) -> Response<Full<Bytes>>;
    /// How many bytes it reads at one time at most.
    fn reads_at_most(&self) -> Option<usize> {
        None
    }
    /// It has read this from a connection.
    fn has_read(&self, _bytes: &[u8]) {}
}

/// A connection that is being served.
pub type Serving = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Serves on a port of 127.0.0.1 (0: a free one), and says which, until SIGTERM or the end of the parent.
///
/// # Errors
/// The port is taken, or standard input is no pipe.
pub async fn serve(port: u16, handler: Arc<dyn Handler>) -> anyhow::Result<()> {
    listen(port, &|stream| Box::pin(connection(stream, handler.clone()))).await
}

/// The same, with something else that serves a connection.
///
/// # Errors
/// The port is taken, or standard input is no pipe.
pub async fn listen(port: u16, serve: &dyn Fn(TcpStream) -> Serving) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let parent = std::io::stdin().as_fd().try_clone_to_owned().and_then(pipe::Receiver::from_owned_fd);
    let parent =
        parent.context("standard input is not the pipe that the parent holds; replicas are not started by hand")?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
    writeln!(std::io::stdout(), "{}", listener.local_addr()?.port())?;
    tokio::select! {
        () = accept(listener, serve) => {}
        () = end_of(parent) => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

async fn end_of(mut parent: pipe::Receiver) {
    let mut unused = [0; 64];
    while !matches!(parent.read(&mut unused).await, Ok(0) | Err(_)) {}
}

async fn accept(listener: TcpListener, serve: &dyn Fn(TcpStream) -> Serving) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(permit) = permits.clone().acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        // Responses are small: without this the last segment of one may wait for the acknowledgement of the first.
        let _ = stream.set_nodelay(true);
        let serving = serve(stream);
        tokio::spawn(async move {
            serving.await;
            drop(permit);
        });
    }
}

async fn connection(stream: TcpStream, handler: Arc<dyn Handler>) {
    let stream = Watched { stream, handler: handler.clone() };
    let service = service_fn(move |request| handle(handler.clone(), request));
    // A connection that breaks concerns the proxy alone.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// A connection, and who wants to know what is read from it.
struct Watched {
    stream: TcpStream,
    handler: Arc<dyn Handler>,
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { stream, handler } = &mut *self;
        let Some(most) = handler.reads_at_most() else { return Pin::new(stream).poll_read(cx, buf) };
        let most = most.min(buf.remaining());
        let mut part = ReadBuf::new(buf.initialize_unfilled_to(most));
        ready!(Pin::new(stream).poll_read(cx, &mut part))?;
        handler.has_read(part.filled());
        let read = part.filled().len();
        buf.advance(read);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

async fn handle(handler: Arc<dyn Handler>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    Ok(match tokio::time::timeout(BODY_DEADLINE, Limited::new(body, BODY_MAX).collect()).await {
        Ok(Ok(body)) => handler.respond(Request::from_parts(head, body.to_bytes())).await,
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            handler.text(StatusCode::PAYLOAD_TOO_LARGE, "a form of this shop is smaller")
        }
        Ok(Err(_)) => handler.text(StatusCode::BAD_REQUEST, "the request body broke off"),
        Err(_) => handler.text(StatusCode::REQUEST_TIMEOUT, "the request body did not arrive"),
    })
}
