//! HTTP/2 clients: a real one, and one that writes any frames a test wants.

use std::future::Future;
use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpStream};

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, Response};

use super::{SOON, connect};

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// Runs a client, within the common deadline.
#[track_caller]
pub(crate) fn run<T>(client: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(SOON, client).await }).expect("in time")
}

/// A client with prior knowledge of HTTP/2.
pub(crate) async fn client(address: SocketAddr) -> SendRequest<Bytes> {
    client_with(address, &h2::client::Builder::new()).await
}

/// Streams that a client opens before it knows how many it may have (RFC 9113 section 6.5.2 recommends no smaller one).
/// Without a bound of its own h2 opens any number, and the proxy refuses those beyond its limit.
const STREAMS_AT_FIRST: usize = 100;

/// As [`client`], with its own settings.
pub(crate) async fn client_with(address: SocketAddr, builder: &h2::client::Builder) -> SendRequest<Bytes> {
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let mut builder = builder.clone();
    let (client, connection) = builder.initial_max_send_streams(STREAMS_AT_FIRST).handshake(stream).await.unwrap();
    tokio::spawn(async move { connection.await.ok() });
    client
}

/// Starts a request without waiting for its response.
pub(crate) async fn begin(
    client: &SendRequest<Bytes>,
    request: Request<()>,
    ends: bool,
) -> (ResponseFuture, SendStream<Bytes>) {
    let mut client = client.clone().ready().await.unwrap();
    client.send_request(request, ends).unwrap()
}

/// Sends a GET and reads its whole response.
pub(crate) async fn get(client: &SendRequest<Bytes>, path: &str) -> Result<(u16, String), h2::Error> {
    let request = Request::get(format!("http://a.test{path}")).body(()).unwrap();
    whole(begin(client, request, true).await.0)
        .await
        .map(|(parts, body, _)| (parts.status().as_u16(), String::from_utf8_lossy(&body).into_owned()))
}

/// Reads a whole response with its trailers.
pub(crate) async fn whole(response: ResponseFuture) -> Result<(Response<()>, Vec<u8>, Option<HeaderMap>), h2::Error> {
    let (parts, mut body) = response.await?.into_parts();
    let bytes = read(&mut body).await?;
    let trailers = body.trailers().await?;
    Ok((Response::from_parts(parts, ()), bytes, trailers))
}

/// Reads a body to its end.
pub(crate) async fn read(body: &mut RecvStream) -> Result<Vec<u8>, h2::Error> {
    let mut bytes = Vec::new();
    while let Some(part) = body.data().await {
        let part = part?;
        body.flow_control().release_capacity(part.len())?;
        bytes.extend_from_slice(&part);
    }
    Ok(bytes)
}

/// One frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// The header list of `GET http://a.test/`, without compression.
pub(crate) fn get_list() -> Vec<u8> {
    [&[0x82, 0x86, 0x84, 0x41, 6][..], b"a.test"].concat()
}

/// A client that has sent only its preface and settings.
pub(crate) fn raw(address: SocketAddr) -> TcpStream {
    let mut stream = connect(address);
    stream.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).unwrap();
    stream
}

/// Reads the next frame: its kind, flags, stream and payload. `None` when the peer has closed.
pub(crate) fn next_frame(stream: &mut impl Read) -> Option<(u8, u8, u32, Vec<u8>)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).ok()?;
    let [a, b, c, kind, flags, id @ ..] = head;
    let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
    stream.read_exact(&mut payload).ok()?;
    Some((kind, flags, u32::from_be_bytes(id), payload))
}
