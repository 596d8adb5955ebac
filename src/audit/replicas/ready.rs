//! When a replica counts as started: its port accepts, and what it is asked for responds.

use std::net::Ipv6Addr;
use std::pin::pin;
use std::process::ExitStatus;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HOST};
use http::{Request, StatusCode};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::origin::{Origin, Scheme};

/// How long is waited before it is asked again: at first, and at most.
const POLL_FIRST: Duration = Duration::from_millis(20);
const POLL_MAX: Duration = Duration::from_millis(200);
/// How long is waited before it is believed that a replica has ended.
const END_PAUSE: Duration = Duration::from_millis(200);
/// How long one connection or response may take.
const TRY_DEADLINE: Duration = Duration::from_secs(5);

/// Why a replica is not ready.
#[derive(Debug)]
pub(super) enum Unready {
    /// It ended by itself.
    Ended(ExitStatus),
    /// It has not become ready in time. In words, what was tried last.
    Late(String),
}

/// What is waited for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    /// Where the replica is.
    pub(super) origin: &'a Origin,
    /// What it is asked for.
    pub(super) target: Option<&'a str>,
    /// How long is waited.
    pub(super) within: Duration,
}

/// Waits until a replica is ready. `ended` says whether it has ended by itself.
pub(super) async fn wait(wanted: Wanted<'_>, mut ended: impl FnMut() -> Option<ExitStatus>) -> Result<(), Unready> {
    let deadline = Instant::now() + wanted.within;
    let mut pause = POLL_FIRST;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let tried = timeout(left.min(TRY_DEADLINE), ask(wanted.origin, wanted.target)).await;
        // Whoever responds on the port of a process that has ended is somebody else. A daemon that is just becoming
        // another program has no environment to be known by, so what seems to have ended is looked at twice.
        if ended().is_some() {
            sleep(END_PAUSE).await;
            if let Some(status) = ended() {
                return Err(Unready::Ended(status));
            }
            continue;
        }
        let why = match tried {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(why)) => why,
            Err(_) => late(wanted),
        };
        if Instant::now() + pause >= deadline {
            return Err(Unready::Late(why + &advice(wanted.origin).await));
        }
        sleep(pause).await;
        pause = (pause * 3 / 2).min(POLL_MAX);
    }
}

/// Waits until nobody accepts at this address; `false` if somebody still does.
pub(super) async fn wait_refused(origin: &Origin, within: Duration) -> bool {
    let deadline = Instant::now() + within;
    while connect(origin).await.is_ok() {
        if Instant::now() >= deadline {
            return false;
        }
        sleep(POLL_FIRST).await;
    }
    true
}

fn late(wanted: Wanted<'_>) -> String {
    let authority = wanted.origin.authority();
    match wanted.target {
        Some(target) => format!("{authority} did not respond to GET {target} in time"),
        None => format!("{authority} did not accept a connection in time"),
    }
}

/// What may be wrong with a replica that cannot be reached at 127.0.0.1.
async fn advice(origin: &Origin) -> String {
    let six = TcpStream::connect((Ipv6Addr::LOCALHOST, origin.port));
    let is_six = origin.host == "127.0.0.1" && matches!(timeout(TRY_DEADLINE, six).await, Ok(Ok(_)));
    if is_six && connect(origin).await.is_err() {
        return ", but [::1] does: let it listen on 127.0.0.1".into();
    }
    String::new()
}

async fn connect(origin: &Origin) -> std::io::Result<TcpStream> {
    timeout(TRY_DEADLINE, TcpStream::connect((origin.host.as_str(), origin.port))).await?
}

/// Asks once. Behind TLS only the connection is tried: what is said inside is up to the player of the journey.
async fn ask(origin: &Origin, target: Option<&str>) -> Result<(), String> {
    let authority = origin.authority();
    let stream = connect(origin).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::ConnectionRefused => format!("nothing accepts connections on {authority}"),
        _ => format!("{authority} cannot be reached: {error}"),
    })?;
    let Some(target) = target.filter(|_| origin.scheme == Scheme::Http) else { return Ok(()) };
    match status(stream, &authority, target).await {
        Ok(status) if status.as_u16() < 500 => Ok(()),
        Ok(status) => Err(format!("{authority} responded {} to GET {target}", status.as_u16())),
        Err(why) => Err(format!("{authority} did not respond to GET {target}: {why}")),
    }
}

/// The status of the response to one request on a new connection.
async fn status(stream: TcpStream, authority: &str, target: &str) -> Result<StatusCode, String> {
    let request = Request::get(target).header(HOST, authority).header(CONNECTION, "close").body(Empty::<Bytes>::new());
    let request = request.map_err(|error| error.to_string())?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    // The connection is polled here and not in a task of its own, so that it ends with this future.
    let mut response = pin!(sender.send_request(request));
    let response = tokio::select! {
        response = &mut response => response,
        // It may end in the same moment in which it hands the response over.
        _ = connection => response.await,
    };
    response.map(|response| response.status()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_only_seems_to_have_ended_is_waited_for() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let origin = Origin::local(listener.local_addr().unwrap().port());
        let wanted = Wanted { origin: &origin, target: None, within: Duration::from_secs(10) };
        let mut looks = 0;
        let once = || {
            looks += 1;
            (looks == 1).then(ExitStatus::default)
        };
        wait(wanted, once).await.unwrap();
        let unready = wait(wanted, || Some(ExitStatus::default())).await.expect_err("it has ended");
        assert!(matches!(unready, Unready::Ended(_)), "{unready:?}");
    }
}
