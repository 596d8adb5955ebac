//! One member in a room, from the replica's side.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{interval, sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::frame::Frame;
use super::store::{Rooms, Said};
use crate::prove::sabotage::{Planted, Sabotage};
use crate::prove::study::hold::{Held, Hold};

/// A member stays this long at most.
const STAY_MAX: Duration = Duration::from_secs(120);
/// How often a member looks whether it has missed something. What is published may be lost, also the last of it.
const LOOK: Duration = Duration::from_secs(1);
/// Two messages in so many change places, under sabotage.
const SWAPPED_ONE_IN: u64 = 10;
/// How long what is acknowledged is not kept yet, under sabotage.
const KEPT_LATER: Duration = Duration::from_millis(200);

/// A connection.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

/// Where a member is, and who it is.
pub(super) struct Stay<R> {
    pub(super) rooms: Arc<R>,
    pub(super) hold: Arc<Hold>,
    pub(super) replica: String,
    pub(super) room: String,
    pub(super) member: u32,
    /// The last id that it has seen.
    pub(super) last: u64,
    pub(super) planted: Planted,
    /// What is sent after the next one, under sabotage.
    pub(super) late: Option<Said>,
}

impl<R: Rooms> Stay<R> {
    /// Until the member leaves.
    pub(super) async fn run(mut self, stream: impl Stream) -> anyhow::Result<()> {
        let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
        timeout(STAY_MAX, self.stay(&mut socket)).await.context("it stays too long")?
    }

    async fn stay(&mut self, socket: &mut WebSocketStream<impl Stream>) -> anyhow::Result<()> {
        // Heard before the rest is read, so that nothing falls between the two.
        let mut live = self.rooms.live(&self.room);
        socket.send(Frame::Joined(self.replica.clone()).to_message()).await?;
        if self.planted.is(Sabotage::ResumesFromNow) {
            let all = self.rooms.after(&self.room, self.last).await?;
            self.last = all.last().map_or(self.last, |said| said.id);
        }
        self.catch_up(socket).await?;
        let mut look = interval(LOOK);
        loop {
            tokio::select! {
                biased;
                said = live.recv() => match said {
                    Ok(said) if said.id <= self.last => {}
                    Ok(said) if said.id == self.last + 1 => self.tell(socket, said).await?,
                    Ok(_) | Err(RecvError::Lagged(_)) => self.catch_up(socket).await?,
                    Err(RecvError::Closed) => return Ok(()),
                },
                message = socket.next() => {
                    let Some(message) = message.transpose()? else { return Ok(()) };
                    if let Some(Frame::Say(number)) = Frame::of(&message) {
                        self.hear(socket, number).await?;
                    }
                }
                _ = look.tick() => self.catch_up(socket).await?,
            }
        }
    }

    /// Tells the member what was said after the last id that it has seen.
    async fn catch_up(&mut self, socket: &mut WebSocketStream<impl Stream>) -> anyhow::Result<()> {
        for said in self.rooms.after(&self.room, self.last).await? {
            self.tell(socket, said).await?;
        }
        Ok(())
    }

    async fn tell(&mut self, socket: &mut WebSocketStream<impl Stream>, said: Said) -> anyhow::Result<()> {
        self.last = said.id;
        if self.planted.is(Sabotage::IdsSwapped) && said.id.is_multiple_of(SWAPPED_ONE_IN) {
            self.late = Some(said);
            return Ok(());
        }
        socket.send(Frame::Said(said).to_message()).await?;
        if let Some(said) = self.late.take() {
            socket.send(Frame::Said(said).to_message()).await?;
        }
        Ok(())
    }

    /// The member says something. It is told when that is kept.
    async fn hear(&mut self, socket: &mut WebSocketStream<impl Stream>, number: u32) -> anyhow::Result<()> {
        if self.planted.is(Sabotage::KeptLater) {
            socket.send(Frame::Kept { number, id: 0 }.to_message()).await?;
            sleep(KEPT_LATER).await;
        }
        let held = self.hold.place();
        if held == Some(Held::Undone) {
            self.hold.keep(format!("{number} of {}", self.member)).await;
        }
        let id = self.rooms.say(&self.room, self.member, number).await?;
        if held == Some(Held::Done) {
            self.hold.keep(format!("{number} of {}", self.member)).await;
        }
        socket.send(Frame::Kept { number, id }.to_message()).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    use tokio::io::DuplexStream;
    use tokio::sync::broadcast::{Receiver, Sender, channel};

    use super::*;

    /// A room in which everything is kept, and little is published.
    struct Lossy {
        kept: AtomicU64,
        live: Sender<Said>,
    }

    fn said(id: u64) -> Said {
        Said { id, from: 1, number: id as u32 }
    }

    impl Rooms for Lossy {
        /// Three messages come. What the number says is published: all, the first and the last, or nothing.
        async fn say(&self, _: &str, _: u32, number: u32) -> anyhow::Result<u64> {
            let last = self.kept.fetch_add(3, Relaxed) + 3;
            let published: &[u64] = match number {
                1 => &[last - 2, last - 1, last],
                2 => &[last - 3, last - 2, last, last],
                _ => &[],
            };
            for id in published {
                self.live.send(said(*id)).ok();
            }
            Ok(last)
        }

        async fn after(&self, _: &str, id: u64) -> anyhow::Result<Vec<Said>> {
            Ok((id + 1..=self.kept.load(Relaxed)).map(said).collect())
        }

        fn live(&self, _: &str) -> Receiver<Said> {
            self.live.subscribe()
        }
    }

    async fn next(socket: &mut WebSocketStream<DuplexStream>) -> Frame {
        let message = timeout(Duration::from_secs(10), socket.next()).await.unwrap().unwrap().unwrap();
        Frame::of(&message).unwrap()
    }

    #[tokio::test]
    async fn a_member_is_told_everything_once_and_in_order_whatever_is_published() {
        for last in [0, 4, 10] {
            let (near, far) = tokio::io::duplex(4096);
            let rooms = Arc::new(Lossy { kept: 10.into(), live: channel(8).0 });
            let (hold, replica, room, planted) = (Arc::default(), "r0".to_owned(), "a".to_owned(), Planted::NOTHING);
            let stay = Stay { rooms, hold, replica, room, member: 2, last, planted, late: None };
            let task = tokio::spawn(stay.run(far));
            let mut socket = WebSocketStream::from_raw_socket(near, Role::Client, None).await;
            assert_eq!(next(&mut socket).await, Frame::Joined("r0".into()));
            let mut told = last;
            for number in 0..=3 {
                while told < 10 + 3 * u64::from(number) {
                    told += 1;
                    assert_eq!(next(&mut socket).await, Frame::Said(said(told)), "{last} {number}");
                }
                if number < 3 {
                    let number = number + 1;
                    socket.send(Frame::Say(number).to_message()).await.unwrap();
                    let kept = Frame::Kept { number, id: 10 + 3 * u64::from(number) };
                    assert_eq!(next(&mut socket).await, kept, "{last} {number}");
                }
            }
            task.abort();
        }
    }
}
