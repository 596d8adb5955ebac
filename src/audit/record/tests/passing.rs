//! What passes, and what comes of it, with an application that is written out byte by byte.

use std::sync::{Arc, Mutex};

use futures_util::{SinkExt as _, StreamExt as _};
use http::Request;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;

use super::super::{BODY_KEPT_MAX, Options, RecordError, Recorder};
use super::{DEADLINE, Recording, field};
use crate::play::Trust;

/// An application that gives each request the next response, and keeps the heads.
struct Scripted {
    address: std::net::SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    running: JoinHandle<()>,
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl Scripted {
    /// The first connection of a recorder only looks whether somebody is there.
    async fn new(responses: Vec<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heads: Arc<Mutex<Vec<String>>> = Arc::default();
        let kept = Arc::clone(&heads);
        let running = tokio::spawn(async move {
            for response in responses {
                loop {
                    let (mut stream, _) = listener.accept().await.unwrap();
                    let Some(head) = head(&mut stream).await else { continue };
                    kept.lock().unwrap().push(head);
                    stream.write_all(response.as_bytes()).await.unwrap();
                    break;
                }
            }
        });
        Self { address, heads, running }
    }
}

/// A whole request; its head.
async fn head(stream: &mut TcpStream) -> Option<String> {
    let (mut reader, mut head) = (BufReader::new(stream), String::new());
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).await.unwrap() == 0 {
            return None;
        }
    }
    let length = field(&head, "content-length").parse().unwrap_or(0);
    reader.read_exact(&mut vec![0; length]).await.unwrap();
    Some(head)
}

fn response(fields: &str, body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n{fields}\r\n{body}", body.len())
}

#[tokio::test]
async fn the_browser_stays_with_the_recorder_and_the_application_with_itself() {
    let fields = "Content-Type: text/html\r\nSet-Cookie: sid=s; Secure; Path=/\r\nSet-Cookie: b=2; Domain=app.test\r\n";
    let application = Scripted::new(vec![response(fields, "hello"), response("", "")]).await;
    let recording = Recording::of(application.address).await;
    let here = format!("http://{}", recording.address);
    let sent = format!("Origin: {here}\r\nReferer: {here}/a\r\nAccept-Encoding: gzip\r\nIf-None-Match: \"1\"\r\n");
    let (head, body) = recording.ask("GET /page?q=1", &sent, "").await;
    assert_eq!(body, "hello");
    assert!(head.contains("set-cookie: sid=s; Path=/\r\nset-cookie: b=2"), "{head}");
    recording.ask("POST /x", "", &"y".repeat(BODY_KEPT_MAX + 1)).await;
    let (text, journey) = recording.written().await;
    assert_eq!(journey.steps.len(), 1, "{text}");
    assert!(text.contains("# POST /x is left out: its body has more than 4 MiB"), "{text}");
    assert!(text.contains(&format!("# play it with --host {}: what", application.address)), "{text}");
    assert!(text.starts_with(&format!("# recorded at http://{} by `unstick audit record`", application.address)));
    let heads = application.heads.lock().unwrap().clone();
    let (host, origin) = (application.address.to_string(), format!("http://{}", application.address));
    assert_eq!((field(&heads[0], "host"), field(&heads[0], "origin")), (host.as_str(), origin.as_str()));
    assert_eq!(field(&heads[0], "referer"), format!("{origin}/a"));
    for absent in ["accept-encoding", "if-none-match", "x-forwarded-for", "connection"] {
        assert_eq!(field(&heads[0], absent), "", "{absent}");
    }
}

#[tokio::test]
async fn a_long_response_passes_and_is_not_kept() {
    let long = "z".repeat(BODY_KEPT_MAX + 1);
    let application = Scripted::new(vec![response("Content-Type: text/plain\r\n", &long)]).await;
    let recording = Recording::of(application.address).await;
    let (_, body) = recording.ask("GET /long", "", "").await;
    assert!(body == long, "{} bytes of {}", body.len(), long.len());
    let (text, _) = recording.written().await;
    assert!(text.contains("# nothing is taken from the response to GET /long: its body has more than 4 MiB"), "{text}");
}

#[tokio::test]
async fn events_pass_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let recording = Recording::of(listener.local_addr().unwrap()).await;
    let mut browser = TcpStream::connect(recording.address).await.unwrap();
    browser.write_all(b"GET /events HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n").await.unwrap();
    let mut application = loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        if head(&mut stream).await.is_some() {
            break stream;
        }
    };
    let start = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
    application.write_all(start).await.unwrap();
    let mut seen = String::new();
    for number in 1..=3 {
        // The next event is sent when the one before has come out at the other end.
        application.write_all(format!("data: event {number}\n\n").as_bytes()).await.unwrap();
        while !seen.contains(&format!("event {number}")) {
            let mut piece = [0; 1024];
            let length = timeout(DEADLINE, browser.read(&mut piece)).await.expect("held back").unwrap();
            assert!(length > 0, "closed after {seen:?}");
            seen.push_str(std::str::from_utf8(&piece[..length]).unwrap());
        }
    }
    let (text, _) = recording.written().await;
    assert!(text.contains("sse = \"/events\"") && text.contains("# review: say which event"), "{text}");
}

#[tokio::test]
async fn a_websocket_passes_and_its_messages_are_recorded() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let application = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else { continue };
            while let Some(Ok(Message::Text(text))) = socket.next().await {
                socket.send(Message::text(format!("you said {text}"))).await.unwrap();
            }
            return;
        }
    });
    let recording = Recording::of(address).await;
    let stream = TcpStream::connect(recording.address).await.unwrap();
    let request = Request::get(format!("ws://{}/chat?room=1", recording.address))
        .header("host", recording.address.to_string())
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .body(())
        .unwrap();
    let (mut socket, _) = client_async(request, stream).await.unwrap();
    for text in ["hello", "again"] {
        socket.send(Message::text(text)).await.unwrap();
        let said = timeout(DEADLINE, socket.next()).await.expect("nothing came back").unwrap().unwrap();
        assert_eq!(said, Message::text(format!("you said {text}")));
    }
    socket.close(None).await.unwrap();
    timeout(DEADLINE, application).await.expect("the application does not hear of the end").unwrap();
    let (text, _) = recording.written().await;
    for part in [
        "websocket = \"/chat?room=1\"",
        "send = [\"hello\", \"again\"]",
        "# review: 2 messages came back (the last one: you said again)",
    ] {
        assert!(text.contains(part), "{part}:\n{text}");
    }
}

#[tokio::test]
async fn an_application_that_breaks_off_is_told() {
    let application = Scripted::new(vec![String::new(), response("", "")]).await;
    let recording = Recording::of(application.address).await;
    let (head, body) = recording.ask("GET /gone", "", "").await;
    assert!(head.starts_with("HTTP/1.1 502") && body.contains("the application gave no response"), "{head}\n{body}");
    recording.ask("GET /there", "", "").await;
    let (text, journey) = recording.written().await;
    assert_eq!(journey.steps.len(), 1, "{text}");
    assert!(text.contains("GET /gone is left out: it got no response"), "{text}");
}

#[tokio::test]
async fn what_cannot_be_recorded_is_said() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken = free.local_addr().unwrap();
    let options = |backend: &str| Options { backend: backend.parse().unwrap(), listen: taken, trust: Trust::System };
    let nobody = Recorder::bind(options("127.0.0.1:1")).await.err().unwrap().to_string();
    assert!(nobody.starts_with("no application is at http://127.0.0.1:1: cannot connect"), "{nobody}");
    let twice = Recorder::bind(options(&taken.to_string())).await.err().unwrap().to_string();
    assert!(twice.starts_with(&format!("cannot listen on {taken}: ")), "{twice}");
    let nothing = Recording::of(taken).await.end().await;
    assert!(matches!(nothing, Err(RecordError::Nothing(_))), "{nothing:?}");
}
