//! A tunnel: bytes in both directions, of whatever protocol was agreed upon.
//!
//! A tunnel counts as a request under way on its endpoint. It has deadlines of its own (`timeouts.tunnel_idle`,
//! `timeouts.tunnel`). When its endpoint or listener drains, it is ended at a random time within the drain window; a
//! WebSocket is closed with code 1001 in both directions.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::client::Client;
use super::exchange::{ENDED_BY, Exchange};
use super::websocket::{self, Frames};
use crate::deadlines::{Alarm, Wait};
use crate::link::record::UpstreamIo;

/// Bytes that are moved at once.
const CHUNK: usize = 16 * 1024;

/// Chunks that are moved before other tasks have their turn.
const CHUNKS_IN_A_ROW: usize = 16;

/// How long both sides may take to close after a close frame was sent.
const GOODBYE: Duration = Duration::from_secs(2);

/// The share of the drain time in which both sides may say goodbye, at most [`GOODBYE`].
const GOODBYE_SHARE: f64 = 0.1;

/// The share of the drain time over which the ends of tunnels are spread; what follows is left for their goodbyes.
const WINDOW: f64 = ENDED_BY - GOODBYE_SHARE;

/// Waits whose end says that the tunnel has to end.
const ENDINGS: [Wait; 3] = [Wait::Drain, Wait::Request, Wait::Client];

/// A client and an endpoint that no longer speak HTTP with each other.
#[derive(Debug)]
pub struct Tunnel {
    pub(super) exchange: Exchange,
    pub(super) upstream: UpstreamIo,
    /// What the endpoint has sent in the new protocol already.
    pub(super) ahead: Bytes,
    pub(super) is_websocket: bool,
}

impl Tunnel {
    /// Runs over `io` until either side ends it. `ahead` was read from `io` already.
    ///
    /// # Cancel safety
    /// Dropping the future closes both connections.
    pub async fn run(self, io: impl AsyncRead + AsyncWrite + Unpin, ahead: Bytes, client: &Rc<Client>) {
        let Self { mut exchange, upstream, ahead: upstream_ahead, is_websocket } = self;
        let timeouts = exchange.timeouts().clone();
        let mut pipes = Pipes {
            down: Pipe::new(upstream_ahead, is_websocket, Wait::ClientWrite),
            up: Pipe::new(ahead, is_websocket, Wait::Upstream),
            client: io,
            upstream,
            is_ending: false,
            is_cut: !is_websocket,
        };
        let deadlines = Rc::clone(&client.deadlines);
        client.set_busy(true);
        client.set_in_head(false);
        deadlines.arm_in(Wait::Client, timeouts.tunnel_idle);
        timeouts.tunnel.inspect(|&lifetime| deadlines.arm_in(Wait::Request, lifetime));
        let (mut alarm, began) = (Alarm::default(), Instant::now());
        let mut step = |cx: &mut Context<'_>| {
            let goodbye = || GOODBYE.min(exchange.drain().mul_f64(GOODBYE_SHARE));
            let has_expired = |waits: &[Wait]| waits.iter().any(|&wait| deadlines.expired(wait));
            let is_told = has_expired(&ENDINGS);
            if has_expired(&[Wait::ClientWrite, Wait::Upstream]) || is_told && (pipes.is_ending || !is_websocket) {
                return Poll::Ready("timed out");
            }
            if is_told {
                deadlines.disarm_all(ENDINGS);
                pipes.begin_ending();
                deadlines.arm_in(Wait::Client, goodbye());
            }
            let moved = pipes.moved();
            match pipes.poll(cx, client, timeouts.client_write) {
                Poll::Ready(Ok(())) => return Poll::Ready("closed"),
                Poll::Ready(Err(_)) => return Poll::Ready("broken off"),
                Poll::Pending => {}
            }
            if pipes.is_ending && pipes.up.has_closed() && pipes.has_said_all() {
                // The client has sent its close frame too.
                return Poll::Ready("closed");
            }
            if is_websocket && pipes.has_half_ended() && !std::mem::replace(&mut pipes.is_ending, true) {
                deadlines.arm_in(Wait::Client, goodbye());
            }
            if pipes.moved() != moved && !pipes.is_ending {
                deadlines.arm_in(Wait::Client, timeouts.tunnel_idle);
            }
            match (exchange.draining_since(), deadlines.is_armed(Wait::Drain)) {
                (Some(since), false) if !pipes.is_ending => {
                    let at = ends_at(since, exchange.drain(), Instant::now(), began + goodbye(), fastrand::f64());
                    deadlines.arm(Wait::Drain, at);
                }
                (None, true) => deadlines.disarm(Wait::Drain),
                _ => {}
            }
            Poll::Pending
        };
        let why = poll_fn(|cx| alarm.poll_step(&deadlines, cx, &mut step)).await;
        tracing::debug!(client = %client.connection.peer, bytes = pipes.down.moved, why, "tunnel ended");
        pipes.is_cut &= why != "closed";
        if pipes.is_cut {
            client.cut();
        } else if why != "broken off" {
            // What was written is still on its way: without an orderly end it would be cancelled. Nobody waits for it.
            poll_fn(|cx| Poll::Ready(Pin::new(&mut pipes.client).poll_shutdown(cx).is_ready())).await;
        }
        exchange.passed_on(usize::try_from(pipes.down.moved).unwrap_or(usize::MAX));
        exchange.finish_answered();
        client.set_busy(false);
        client.begin_idling();
        deadlines.disarm_all([Wait::Drain, Wait::Request, Wait::Client, Wait::ClientWrite, Wait::Upstream]);
    }
}

/// When a tunnel is ended that drains since `since`: at a random moment of what is left of the window. A client that
/// was told of its tunnel only a moment ago may not have read that yet, and a reset would destroy it; so a tunnel that
/// begins late lives until `earliest`.
fn ends_at(since: Instant, drain: Duration, now: Instant, earliest: Instant, dice: f64) -> Instant {
    let left = (since + drain.mul_f64(WINDOW)).saturating_duration_since(now);
    (now + left.mul_f64(dice)).max(earliest).min(since + drain.mul_f64(ENDED_BY))
}

/// Both directions of a tunnel.
struct Pipes<C> {
    client: C,
    upstream: UpstreamIo,
    down: Pipe,
    up: Pipe,
    /// Whether a close frame is being sent to both sides.
    is_ending: bool,
    /// Whether its end is to be no orderly one. Of an unknown protocol a part looks like the whole; a WebSocket ends
    /// with a close frame, so its end shows without a reset, which would destroy what was sent before.
    is_cut: bool,
}

impl<C> Drop for Pipes<C> {
    fn drop(&mut self) {
        if !self.is_cut {
            self.upstream.set_whole();
        }
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> Pipes<C> {
    /// Bytes moved in both directions so far.
    fn moved(&self) -> u64 {
        self.down.moved.wrapping_add(self.up.moved)
    }

    /// Whether one side has left and the other was told, or both have sent a close frame.
    fn has_half_ended(&self) -> bool {
        let has_left = self.down.stage == Stage::Shut || self.up.stage == Stage::Shut;
        has_left || (self.down.has_closed() && self.up.has_closed())
    }

    /// Whether everything that was read has been written.
    fn has_said_all(&self) -> bool {
        self.down.pending.is_empty() && self.up.pending.is_empty()
    }

    /// Frames under way are finished, and then each side is sent a close frame.
    fn begin_ending(&mut self) {
        self.is_ending = true;
        self.down.goodbye = Some(websocket::close());
        self.up.goodbye = Some(websocket::masked_close(fastrand::u32(..).to_be_bytes()));
    }

    /// Ready when both directions have ended.
    fn poll(&mut self, cx: &mut Context<'_>, client: &Client, patience: Duration) -> Poll<io::Result<()>> {
        let down = self.down.poll(&mut self.upstream, &mut self.client, cx, client, patience)?;
        let up = self.up.poll(&mut self.client, &mut self.upstream, cx, client, patience)?;
        if down.is_pending() || up.is_pending() { Poll::Pending } else { Poll::Ready(Ok(())) }
    }
}

/// One direction of a tunnel.
struct Pipe {
    /// What was read but not written yet.
    pending: Bytes,
    frames: Option<Frames>,
    /// A close frame, to be written when the frame under way is complete. Nothing from the other side follows it.
    goodbye: Option<Vec<u8>>,
    /// How far this direction has come to its end.
    stage: Stage,
    /// The wait for the side that is written to.
    wait: Wait,
    moved: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Open,
    /// A close frame was written; what the other side still sends is not passed on.
    Leaving,
    /// The side that is read has ended.
    Ended,
    /// The end was passed on to the side that is written to.
    Shut,
}

impl Pipe {
    fn new(ahead: Bytes, is_websocket: bool, wait: Wait) -> Self {
        let mut frames = is_websocket.then(Frames::default);
        frames.iter_mut().for_each(|frames| frames.pass(&ahead));
        Self { pending: ahead, frames, goodbye: None, stage: Stage::Open, wait, moved: 0 }
    }

    fn poll(
        &mut self,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
        client: &Client,
        patience: Duration,
    ) -> Poll<io::Result<()>> {
        for _ in 0..CHUNKS_IN_A_ROW {
            if !self.pending.is_empty() {
                let written = Pin::new(&mut *to).poll_write(cx, &self.pending);
                let written = ready!(self.watch(written, client, patience))?;
                if written == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                let _ = self.pending.split_to(written.min(self.pending.len()));
                continue;
            }
            if self.stage == Stage::Open
                && self.goodbye.is_some()
                && self.frames.as_ref().is_none_or(Frames::is_between)
            {
                self.say_goodbye();
                continue;
            }
            match self.stage {
                Stage::Open | Stage::Leaving => {
                    let mut space = [MaybeUninit::uninit(); CHUNK];
                    let mut read = ReadBuf::uninit(&mut space);
                    if Pin::new(&mut *from).poll_read(cx, &mut read)?.is_pending() {
                        let flushed = Pin::new(&mut *to).poll_flush(cx);
                        ready!(self.watch(flushed, client, patience))?;
                        return Poll::Pending;
                    }
                    self.take(read.filled());
                }
                Stage::Ended => {
                    let shut = Pin::new(&mut *to).poll_shutdown(cx);
                    ready!(self.watch(shut, client, patience))?;
                    self.stage = Stage::Shut;
                }
                Stage::Shut => return Poll::Ready(Ok(())),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Arms or disarms the deadline of the side that is written to, according to the result of a write.
    fn watch<T>(&self, polled: Poll<io::Result<T>>, client: &Client, patience: Duration) -> Poll<io::Result<T>> {
        match polled {
            Poll::Ready(_) => client.deadlines.disarm(self.wait),
            Poll::Pending if !client.deadlines.is_armed(self.wait) => client.deadlines.arm_in(self.wait, patience),
            Poll::Pending => {}
        }
        polled
    }

    /// Whether a close frame has come from the side that is read.
    fn has_closed(&self) -> bool {
        self.frames.as_ref().is_some_and(Frames::has_closed)
    }

    /// Takes in what was read. No bytes mean that the other side has ended.
    fn take(&mut self, bytes: &[u8]) {
        self.moved = self.moved.wrapping_add(bytes.len() as u64);
        if bytes.is_empty() {
            self.stage = Stage::Ended;
            return;
        }
        let passes = match (&mut self.frames, self.stage) {
            (_, Stage::Ended | Stage::Shut) | (None, Stage::Leaving) => 0,
            (None, Stage::Open) => bytes.len(),
            (Some(frames), Stage::Open) if self.goodbye.is_none() => {
                frames.pass(bytes);
                bytes.len()
            }
            (Some(frames), _) => {
                let rest = if self.stage == Stage::Open { frames.pass_rest(bytes) } else { 0 };
                self.pending = Bytes::copy_from_slice(&bytes[..rest]);
                if self.stage == Stage::Leaving || frames.is_between() {
                    self.say_goodbye();
                    // The rest is not passed on, but it may contain the close frame of the other side.
                    self.frames.iter_mut().for_each(|frames| frames.pass(&bytes[rest..]));
                }
                return;
            }
        };
        self.pending = Bytes::copy_from_slice(&bytes[..passes]);
    }

    /// Appends the close frame to what is pending, if one is due.
    fn say_goodbye(&mut self) {
        if let Some(goodbye) = self.goodbye.take() {
            self.pending = [&self.pending[..], &goodbye].concat().into();
            self.stage = Stage::Leaving;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_tunnel_lies_in_what_is_left_of_the_window() {
        let (since, drain) = (Instant::now(), Duration::from_secs(100));
        let at = |seconds: f64| since + Duration::from_secs_f64(seconds);
        let cases = [
            // It began long before the drain: anywhere in the window.
            ((0.0, -10.0, 0.0), 0.0),
            ((0.0, -10.0, 1.0), 85.0),
            // In the middle of it: not in the past, and not at once.
            ((42.0, 44.0, 0.0), 44.0),
            ((42.0, 44.0, 0.5), 63.5),
            // Behind the window: in time for the process to end.
            ((90.0, 92.0, 0.3), 92.0),
            ((94.0, 96.0, 0.3), 95.0),
        ];
        for ((now, earliest, dice), expected) in cases {
            let earliest = if earliest < 0.0 { since - Duration::from_secs_f64(-earliest) } else { at(earliest) };
            let ends = ends_at(since, drain, at(now), earliest, dice);
            let off = ends.max(at(expected)) - ends.min(at(expected));
            assert!(off < Duration::from_millis(1), "at {now}, dice {dice}: {:?}", ends - since);
        }
    }
}
