//! The recorder between scripted browsers and applications, over sockets.

mod journeys;
mod passing;

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{Options, RecordError, Recorder};
use crate::journey::{Journey, Remarks, read, write};
use crate::play::Trust;

/// No wait of a test is longer.
const DEADLINE: Duration = Duration::from_secs(20);

/// A recorder that runs.
struct Recording {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    running: JoinHandle<Result<(Journey, Remarks), RecordError>>,
}

impl Recording {
    async fn of(backend: SocketAddr) -> Self {
        let listen = "127.0.0.1:0".parse().unwrap();
        let options = Options { backend: backend.to_string().parse().unwrap(), listen, trust: Trust::System };
        let recorder = Recorder::bind(options).await.unwrap();
        let address = recorder.address();
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(recorder.record(Box::pin(stopped.map(drop)), &|_| {}));
        Self { address, stop, running }
    }

    async fn end(self) -> Result<(Journey, Remarks), RecordError> {
        self.stop.send(()).unwrap();
        timeout(DEADLINE, self.running).await.expect("the recorder did not stop").unwrap()
    }

    /// The journey as a file, and as it is read back from there.
    async fn written(self) -> (String, Journey) {
        let (journey, remarks) = self.end().await.unwrap();
        let text = write(&journey, &remarks);
        let again = read("recorded.toml", &text).unwrap_or_else(|problems| panic!("{problems}\n{text}"));
        assert_eq!(format!("{:?}", again.journey), format!("{journey:?}"), "{text}");
        (text, again.journey)
    }

    /// Sends a request as a browser does; the head of the response, and its body.
    async fn ask(&self, line: &str, fields: &str, body: &str) -> (String, String) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let host = self.address;
        let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        let head = format!("{line} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{length}{fields}\r\n");
        stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        timeout(DEADLINE, stream.read_to_end(&mut bytes)).await.expect("no response").unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {text}"));
        (head.to_owned(), body.to_owned())
    }
}

/// The value of a field of a head.
fn field<'h>(head: &'h str, name: &str) -> &'h str {
    let is_named = |line: &&str| line.split_once(':').is_some_and(|(found, _)| found.eq_ignore_ascii_case(name));
    head.lines().find(is_named).and_then(|line| line.split_once(':')).map_or("", |(_, value)| value.trim())
}
