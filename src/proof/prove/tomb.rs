//! The place of a replica that is gone: whoever still sends requests there is written down.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::{sleep, timeout};

use super::ledger::step;
use super::shop::STEP;
use crate::trial::history::{Seen, Stage};

/// How long a request may take to arrive.
const DEADLINE: Duration = Duration::from_secs(1);
/// Bytes of its head that are read at most.
const HEAD_MAX: usize = 16 * 1024;

/// What came to graves.
pub(super) type Visitors = Rc<RefCell<Vec<(SystemTime, Seen)>>>;

/// It listens where a replica was. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Tomb(AbortHandle);

impl Drop for Tomb {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Tomb {
    /// Takes the place of a replica after a time. Until then connections are refused, as they are for a dead process.
    pub(super) fn at(address: SocketAddr, name: &str, after: Duration, visitors: Visitors) -> Self {
        let name: Arc<str> = name.into();
        let task = spawn_local(async move {
            sleep(after).await;
            // If another process has the port by now, requests to it are not ours.
            let Ok(socket) = TcpSocket::new_v4() else { return };
            socket.set_reuseaddr(true).ok();
            let Ok(listener) = socket.bind(address).and_then(|()| socket.listen(64)) else { return };
            while let Ok((stream, _)) = listener.accept().await {
                spawn_local(receive(stream, Arc::clone(&name), Rc::clone(&visitors)));
            }
        });
        Self(task.abort_handle())
    }
}

/// Reads a head, and closes the connection. Probes name no step.
async fn receive(mut stream: TcpStream, replica: Arc<str>, visitors: Visitors) {
    let mut head = Vec::new();
    let read = async {
        while head.len() < HEAD_MAX && !head.windows(4).any(|end| end == b"\r\n\r\n") {
            if stream.read_buf(&mut head).await.unwrap_or_default() == 0 {
                break;
            }
        }
    };
    // What has come by then is looked at.
    let _ = timeout(DEADLINE, read).await;
    let head = String::from_utf8_lossy(&head);
    let value = |line: &str| line.split_once(": ").filter(|(name, _)| name.eq_ignore_ascii_case(STEP))?.1.parse().ok();
    let Some(name) = head.lines().find_map(value) else { return };
    let name: String = name;
    if let Some(step) = step(&name) {
        let has_key = head.lines().any(|line| line.to_ascii_lowercase().starts_with(super::ledger::KEY));
        let seen = Seen { at: Duration::ZERO, replica, stage: Stage::Arrived, step, has_key, is_altered: false };
        visitors.borrow_mut().push((SystemTime::now(), seen));
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;
    use tokio::task::LocalSet;

    use super::*;

    #[tokio::test]
    async fn visitors_are_counted_and_probes_are_not() {
        let test = async {
            let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
            let visitors = Visitors::default();
            let _tomb = Tomb::at(address, "r1", Duration::ZERO, Rc::clone(&visitors));
            for head in ["GET /healthz HTTP/1.1\r\n\r\n", "GET /cart HTTP/1.1\r\nX-Step: 7-2\r\n\r\n"] {
                let mut stream = loop {
                    match TcpStream::connect(address).await {
                        Ok(stream) => break stream,
                        Err(_) => tokio::task::yield_now().await,
                    }
                };
                stream.write_all(head.as_bytes()).await.unwrap();
                assert_eq!(stream.read(&mut [0; 8]).await.unwrap_or_default(), 0, "nobody responds");
            }
            let steps: Vec<_> = visitors.borrow().iter().map(|(_, seen)| seen.step).collect();
            assert_eq!(steps, [(7, 2)]);
        };
        LocalSet::new().run_until(test).await;
    }
}
