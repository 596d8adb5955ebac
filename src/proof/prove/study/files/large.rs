//! A file that is made while it is sent and summed while it comes, so that nobody here has it whole.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::Context as _;
use aws_lc_rs::digest;
use bytes::Bytes;
use fastrand::Rng;
use http::header::{CONTENT_LENGTH, HOST};
use http::{HeaderValue, Request, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Body, Frame, SizeHint};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::sign::hex;
use crate::prove::study::caller::replica_of;
use crate::prove::study::stage::HOST_OF_ALL;

/// Bytes of a piece.
const PIECE: u64 = 64 * 1024;
/// How long a transfer may take.
const DEADLINE: Duration = Duration::from_secs(60);

/// What came of a transfer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Transfer {
    pub(super) replica: String,
    pub(super) status: StatusCode,
    /// SHA-256 of the file, and its length.
    pub(super) sum: String,
    pub(super) length: u64,
}

/// Sends a file of random bytes.
pub(super) async fn put(front: SocketAddr, name: &str, length: u64, seed: u64) -> anyhow::Result<Transfer> {
    let sum = Arc::new(Mutex::new(digest::Context::new(&digest::SHA256)));
    let body = Made { rng: Rng::with_seed(seed), left: length, sum: Arc::clone(&sum) };
    let request = Request::put(format!("/{name}")).header(CONTENT_LENGTH, length).body(body.boxed_unsync())?;
    let mut transfer = exchange(front, request).await?;
    let sum = sum.lock().unwrap_or_else(PoisonError::into_inner).clone();
    (transfer.sum, transfer.length) = (hex(sum.finish().as_ref()), length);
    Ok(transfer)
}

/// Reads a file.
pub(super) async fn get(front: SocketAddr, name: &str) -> anyhow::Result<Transfer> {
    exchange(front, Request::get(format!("/{name}")).body(Empty::new().boxed_unsync())?).await
}

pub(super) async fn exchange(
    front: SocketAddr,
    mut request: Request<UnsyncBoxBody<Bytes, Infallible>>,
) -> anyhow::Result<Transfer> {
    request.headers_mut().entry(HOST).or_insert(HeaderValue::from_static(HOST_OF_ALL));
    let exchange = async {
        let stream = TcpStream::connect(front).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let response = sender.send_request(request).await?;
        let (status, replica) = (response.status(), replica_of(&response).unwrap_or_default());
        let (mut body, mut sum, mut length) = (response.into_body(), digest::Context::new(&digest::SHA256), 0);
        while let Some(frame) = body.frame().await.transpose()? {
            let piece = frame.data_ref().map(Bytes::as_ref).unwrap_or_default();
            sum.update(piece);
            length += piece.len() as u64;
        }
        anyhow::Ok(Transfer { replica, status, sum: hex(sum.finish().as_ref()), length })
    };
    timeout(DEADLINE, exchange).await.context("a transfer took too long")?
}

/// See the module.
struct Made {
    rng: Rng,
    left: u64,
    sum: Arc<Mutex<digest::Context>>,
}

impl Body for Made {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let mut piece = vec![0; self.left.min(PIECE) as usize];
        self.rng.fill(&mut piece);
        self.left -= piece.len() as u64;
        self.sum.lock().unwrap_or_else(PoisonError::into_inner).update(&piece);
        Poll::Ready(Some(Ok(Frame::data(piece.into()))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
