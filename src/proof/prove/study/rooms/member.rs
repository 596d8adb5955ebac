//! One member of a room, from its own side: a client that comes to any replica, and comes again when its connection
//! breaks. It asks for what is after the last id that it has seen, and says again what it was not told to be kept.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::frame::Frame;
use super::talk::{Account, Heard, Spoken, Stay};
use crate::prove::sabotage::{Planted, Sabotage};

/// How long coming to a room may take.
const DEADLINE: Duration = Duration::from_secs(5);
/// How long a count may grow.
const ALL_WITHIN: Duration = Duration::from_secs(60);
/// Pause before a member comes again.
const AGAIN: Duration = Duration::from_millis(50);

type Socket = WebSocketStream<TcpStream>;

/// What all members share.
pub(super) struct Crowd {
    pub(super) front: SocketAddr,
    pub(super) began: Instant,
    /// Mean pause between two messages of a member.
    pub(super) pause: Duration,
    /// How many messages each says.
    pub(super) quota: Cell<usize>,
    pub(super) planted: Planted,
    pub(super) accounts: RefCell<Vec<Account>>,
    /// Something has been written into an account.
    pub(super) news: Notify,
}

/// One member. Its account is the one with its number.
pub(super) struct Member {
    pub(super) crowd: Rc<Crowd>,
    pub(super) number: u32,
    pub(super) rng: fastrand::Rng,
    pub(super) next_at: Instant,
}

impl Crowd {
    /// Waits until a count has come to a goal, as long as it grows within a time; `false`: it does not any more.
    pub(super) async fn wait_for(&self, goal: usize, within: Duration, count: impl Fn(&[Account]) -> usize) -> bool {
        let end = Instant::now() + ALL_WITHIN;
        let (mut most, mut deadline) = (0, Instant::now() + within);
        loop {
            let now = count(&self.accounts.borrow());
            if now > most {
                (most, deadline) = (now, (Instant::now() + within).min(end));
            }
            if now >= goal {
                return true;
            }
            tokio::select! {
                () = self.news.notified() => {}
                () = sleep_until(deadline) => return false,
            }
        }
    }

    /// Waits until all accounts are as they should be; `false`: they are not in time.
    pub(super) async fn wait_until(&self, within: Duration, is_so: impl Fn(&[Account]) -> bool) -> bool {
        let deadline = Instant::now() + within;
        while !is_so(&self.accounts.borrow()) {
            tokio::select! {
                () = self.news.notified() => {}
                () = sleep_until(deadline) => return false,
            }
        }
        true
    }
}

impl Member {
    /// Comes, stays, and comes again, without end.
    pub(super) async fn run(mut self) {
        loop {
            if let Ok(Ok(mut socket)) = timeout(DEADLINE, self.enter()).await {
                // Whatever ends it, it comes again.
                self.stay(&mut socket).await.ok();
                let left = self.crowd.began.elapsed();
                self.write(|account| account.stays.last_mut().map(|stay| stay.left = Some(left)));
            }
            sleep(AGAIN).await;
        }
    }

    fn write<T>(&self, change: impl FnOnce(&mut Account) -> T) -> T {
        let result = change(&mut self.crowd.accounts.borrow_mut()[self.number as usize]);
        self.crowd.news.notify_one();
        result
    }

    async fn enter(&self) -> anyhow::Result<Socket> {
        let stream = TcpStream::connect(self.crowd.front).await?;
        stream.set_nodelay(true)?;
        let (room, after) = self.write(|account| (account.room.clone(), account.last()));
        let url = format!("ws://rooms.test/rooms/{room}?member={}&after={after}", self.number);
        let (mut socket, _) = client_async(url, stream).await?;
        let first = socket.next().await.context("it is closed at once")??;
        let Some(Frame::Joined(replica)) = Frame::of(&first) else { bail!("another word is expected: {first}") };
        let came = self.crowd.began.elapsed();
        self.write(|account| account.stays.push(Stay { replica, came, after, left: None }));
        Ok(socket)
    }

    async fn stay(&mut self, socket: &mut Socket) -> anyhow::Result<()> {
        let mut open: Vec<u32> = self.write(|account| {
            let open = (1..).zip(&account.spoken).filter(|(_, spoken)| spoken.kept.is_none());
            let open: Vec<u32> = open.map(|(number, _)| number).collect();
            account.sent_again += open.len() as u64;
            open
        });
        // What it would have said in the meantime.
        while let Some(number) = self.due() {
            open.push(number);
        }
        if self.crowd.planted.is(Sabotage::SaysBackwards) {
            open.reverse();
        }
        for number in open {
            socket.send(Frame::Say(number).to_message()).await?;
        }
        loop {
            tokio::select! {
                message = socket.next() => {
                    let message = message.context("it is closed")??;
                    if let Some(frame) = Frame::of(&message) {
                        self.hear(frame);
                    }
                }
                () = sleep_until(self.next_at) => if let Some(number) = self.due() {
                    socket.send(Frame::Say(number).to_message()).await?;
                },
            }
        }
    }

    /// The number of its next message, if it is time for one.
    fn due(&mut self) -> Option<u32> {
        if self.next_at > Instant::now() {
            return None;
        }
        let (at, quota) = (self.crowd.began.elapsed(), self.crowd.quota.get());
        let number = self.write(|account| {
            let is_silent = account.spoken.len() >= quota;
            (!is_silent).then(|| {
                account.spoken.push(Spoken { at, kept: None });
                account.spoken.len() as u32
            })
        });
        self.next_at += self.crowd.pause.mul_f64(0.5 + self.rng.f64());
        number
    }

    fn hear(&self, frame: Frame) {
        let at = self.crowd.began.elapsed();
        self.write(|account| match frame {
            Frame::Kept { number, id } => {
                let spoken = (number as usize).checked_sub(1).and_then(|place| account.spoken.get_mut(place));
                if let Some(spoken) = spoken {
                    spoken.kept.get_or_insert((at, id));
                }
            }
            Frame::Said(said) if account.heard.iter().any(|heard| heard.said.id == said.id) => {
                account.duplicates += 1;
            }
            Frame::Said(said) => account.heard.push(Heard { said, at, stay: account.stays.len() - 1 }),
            Frame::Joined(_) | Frame::Say(_) => {}
        });
    }
}
