//! A replica as a server of HTTP/1.1 on 127.0.0.1.

use std::convert::Infallible;
use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::copies::{self, LocalCopy, Seen};
use super::http::{Asked, Responding, error, respond};
use super::keys::{self, Key};
use super::store::Store;
use super::{Fault, Planted, Replica, drafts, files, jobs, poll, room, sessions};

/// Connections served at one time. The next ones wait.
const CONNECTIONS_MAX: usize = 256;

/// Bytes that a request body may have.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// How long a request body may take to arrive.
const BODY_DEADLINE: Duration = Duration::from_secs(10);

/// Pause after a failed accept, so that a lack of file descriptors does not become a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves on a port of 127.0.0.1.
///
/// # Errors
/// The port is taken, or a folder cannot be made.
pub fn serve(replica: Replica, port: u16) -> LocalBoxFuture<'static, io::Result<()>> {
    Box::pin(async move { serve_on(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?, replica).await })
}

/// Serves on a listener until the future is dropped, which ends all that it had begun, as the end of a process does.
///
/// # Errors
/// A folder cannot be made, or the jobs of the store cannot be read.
pub async fn serve_on(listener: TcpListener, replica: Replica) -> io::Result<()> {
    let application = Arc::new(Application::of(&replica)?);
    if let Application::Jobs(store) = &*application {
        tokio::try_join!(accept(listener, &application), jobs::work(store))?;
        return Ok(());
    }
    accept(listener, &application).await
}

async fn accept(listener: TcpListener, application: &Arc<Application>) -> io::Result<()> {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, application.clone()));
                }
                Err(_) => sleep(ACCEPT_PAUSE).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// A WebSocket that was accepted, and its room.
type Entered = (String, OnUpgrade);

async fn connection(stream: TcpStream, application: Arc<Application>) {
    let _ = stream.set_nodelay(true);
    let entered: Arc<Mutex<Option<Entered>>> = Arc::default();
    let service = service_fn(|request| handle(application.clone(), entered.clone(), request));
    // A connection that breaks concerns its client alone; so does a WebSocket.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades().await;
    let taken = entered.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let (Some((room, upgrade)), Application::Room(store)) = (taken, &*application)
        && let Ok(stream) = upgrade.await
    {
        let _ = room::stay(store, &room, stream).await;
    }
}

async fn handle(
    application: Arc<Application>,
    entered: Arc<Mutex<Option<Entered>>>,
    mut request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let upgrade = hyper::upgrade::on(&mut request);
    let (head, body) = request.into_parts();
    let Ok(Ok(body)) = timeout(BODY_DEADLINE, Limited::new(body, BODY_BYTES_MAX).collect()).await else {
        return Ok(respond(StatusCode::BAD_REQUEST, "text/plain", "the body is too long or did not arrive"));
    };
    let asked = Asked(Request::from_parts(head, body.to_bytes()));
    let response = application.respond(&asked).await;
    if let (Ok(response), Some(room)) = (&response, room::named(&asked))
        && response.status() == StatusCode::SWITCHING_PROTOCOLS
    {
        *entered.lock().unwrap_or_else(PoisonError::into_inner) = Some((room, upgrade));
    }
    Ok(response.unwrap_or_else(|error| respond(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", error.to_string())))
}

/// What serves the requests of a fault, and what its state lies in.
enum Application {
    Session(Store),
    Form(Key),
    Oauth(Store),
    Token(Key),
    Upload(Store),
    Limit(Store),
    Notes(LocalCopy),
    Wizard(Store),
    Room(Store),
    Poll(Store),
    Jobs(Store),
    Settings(LocalCopy),
}

impl Application {
    fn of(replica: &Replica) -> io::Result<Self> {
        let shared = || Store::folder(replica.shared.clone());
        let store = || match replica.planted {
            Planted::Faulty => Ok(Store::memory()),
            Planted::Clean => shared(),
        };
        let copy = |late| {
            let seen = if replica.planted == Planted::Faulty { late } else { Seen::AtOnce };
            io::Result::Ok(LocalCopy::new(shared()?, seen))
        };
        Ok(match replica.fault {
            Fault::MemorySession => Self::Session(store()?),
            Fault::CsrfSecret => Self::Form(Key::of(replica)),
            Fault::OauthState => Self::Oauth(store()?),
            Fault::SigningKey => Self::Token(Key::of(replica)),
            Fault::Upload => Self::Upload(match replica.planted {
                Planted::Faulty => Store::folder(replica.dir.join("uploads"))?,
                Planted::Clean => shared()?,
            }),
            Fault::RateLimiter => Self::Limit(store()?),
            Fault::LaggingCache => Self::Notes(copy(Seen::AfterLag)?),
            Fault::WizardDraft => Self::Wizard(store()?),
            Fault::WebsocketRoom => Self::Room(store()?),
            Fault::LongPoll => Self::Poll(store()?),
            Fault::JobQueue => Self::Jobs(store()?),
            Fault::StaleCopy => Self::Settings(copy(Seen::Never)?),
        })
    }

    async fn respond(&self, asked: &Asked) -> Responding {
        match self {
            Self::Session(store) => sessions::session(store, asked),
            Self::Form(key) => keys::form(key, asked),
            Self::Oauth(store) => sessions::oauth(store, asked),
            Self::Token(key) => keys::token(key, asked),
            Self::Upload(store) => files::upload(store, asked),
            Self::Limit(store) => files::limit(store, asked),
            Self::Notes(copy) => copies::notes(copy, asked),
            Self::Wizard(store) => drafts::wizard(store, asked),
            Self::Room(_) if room::named(asked).is_some() => room::accept(asked),
            Self::Room(_) => error(StatusCode::NOT_FOUND, "there is no such room"),
            Self::Poll(store) => poll::poll(store, asked).await,
            Self::Jobs(store) => jobs::jobs(store, asked).await,
            Self::Settings(copy) => copies::settings(copy, asked),
        }
    }
}
