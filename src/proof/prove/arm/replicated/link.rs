//! What lies between a primary and its standby: it can be held, so that the standby falls behind, and cut, so that what
//! is in it is lost with the machine of the primary.

use std::net::Ipv4Addr;

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch::{Receiver, Sender, channel};
use tokio::task::{JoinHandle, JoinSet};

/// Bytes on their way at one time.
const CHUNK: usize = 16 << 10;

/// What becomes of the primary's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Open,
    Held,
    Cut,
}

/// A link to a primary. Dropping it closes it.
pub(super) struct Link {
    pub(super) port: u16,
    flow: Sender<Flow>,
    task: JoinHandle<()>,
}

impl Link {
    /// Leads to the primary at this port, as often as somebody connects.
    pub(super) async fn to(primary: u16) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("no port for the link")?;
        let port = listener.local_addr()?.port();
        let (flow, state) = channel(Flow::Open);
        Ok(Self { port, flow, task: tokio::spawn(accept(listener, primary, state)) })
    }

    /// From now on nothing that the primary says gets through; what the standby says does.
    pub(super) fn hold(&self) {
        self.flow.send_replace(Flow::Held);
    }

    /// What was held is lost, and so are all connections.
    pub(super) fn cut(&self) {
        self.flow.send_replace(Flow::Cut);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, primary: u16, state: Receiver<Flow>) {
    let mut connections = JoinSet::new();
    while let Ok((standby, _)) = listener.accept().await {
        // Those that are over are not kept.
        while connections.try_join_next().is_some() {}
        connections.spawn(carry(standby, primary, state.clone()));
    }
}

/// Carries one connection until one end closes it, or the link is cut.
async fn carry(standby: TcpStream, primary: u16, state: Receiver<Flow>) {
    let Ok(primary) = TcpStream::connect((Ipv4Addr::LOCALHOST, primary)).await else { return };
    // Without this a confirmation would wait for more bytes. If it cannot be set, it comes later.
    _ = (primary.set_nodelay(true), standby.set_nodelay(true));
    let ((from_primary, mut to_primary), (mut from_standby, to_standby)) = (primary.into_split(), standby.into_split());
    tokio::select! {
        () = carry_down(from_primary, to_standby, state) => {}
        _ = copy(&mut from_standby, &mut to_primary) => {}
    }
}

async fn carry_down(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut state: Receiver<Flow>) {
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = tokio::select! {
            read = from.read(&mut chunk) => read.unwrap_or_default(),
            _ = state.wait_for(|flow| *flow == Flow::Cut) => return,
        };
        let is_open = state.wait_for(|flow| *flow != Flow::Held).await.is_ok_and(|flow| *flow == Flow::Open);
        if read == 0 || !is_open || to.write_all(&chunk[..read]).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    async fn listener() -> (TcpListener, u16) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        (listener, port)
    }

    #[tokio::test]
    async fn what_is_held_when_it_is_cut_is_lost() {
        let (listener, port) = listener().await;
        let link = Link::to(port).await.unwrap();
        let mut standby = TcpStream::connect((Ipv4Addr::LOCALHOST, link.port)).await.unwrap();
        let (mut primary, _) = listener.accept().await.unwrap();
        primary.write_all(b"1").await.unwrap();
        assert_eq!(standby.read_u8().await.unwrap(), b'1');
        link.hold();
        primary.write_all(b"2").await.unwrap();
        standby.write_all(b"a").await.unwrap();
        assert_eq!(primary.read_u8().await.unwrap(), b'a', "the standby is heard");
        assert!(timeout(Duration::from_millis(50), standby.read_u8()).await.is_err(), "the primary is not");
        link.cut();
        assert!(standby.read_u8().await.is_err(), "it is closed, and nothing came");
    }
}
