//! The access log: one line for each finished request, on stdout or in a file.
//!
//! A separate thread writes the lines. A bounded queue leads to it, so a full disk never delays a request: when the
//! queue is full, a line is dropped and counted.

mod calendar;
mod format;
mod layout;

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, SystemTime};

use http::uri::{Authority, PathAndQuery};
use http::{HeaderValue, Method, Version};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::Instant;

use crate::config::address::Address;
use crate::config::model::{self, AccessLogTarget};
use calendar::Calendar;
use format::write_line;
pub(crate) use layout::Layout;

/// One finished request. What its layout does not want may be left out.
#[derive(Debug)]
pub struct AccessRecord {
    /// How its line looks.
    pub layout: Arc<Layout>,
    /// When it ended.
    pub finished: SystemTime,
    /// The address of the client; behind a trusted proxy the one that it names.
    pub client_ip: IpAddr,
    /// The address at the other end of the connection, or the one that a PROXY header named.
    pub peer_ip: IpAddr,
    /// The method of the request; `None` if its head could not be read.
    pub method: Option<Method>,
    /// Path and query; `None` for `OPTIONS *` and `CONNECT`.
    pub target: Option<PathAndQuery>,
    /// The target of `CONNECT`, which has neither.
    pub authority: Option<Authority>,
    /// The first line of a head that could not be read, if it is known.
    pub line: Option<Box<str>>,
    /// The HTTP version that the client speaks.
    pub version: Version,
    /// `Host` as the replica received it.
    pub host: Option<HeaderValue>,
    /// `X-Request-Id` as the replica received it.
    pub request_id: Option<HeaderValue>,
    /// The `User-Agent` field of the request.
    pub user_agent: Option<HeaderValue>,
    /// The `Referer` field of the request.
    pub referer: Option<HeaderValue>,
    /// The pool it was routed to; `None` if it was refused before.
    pub pool: Option<Arc<str>>,
    /// The endpoint that responded, or the last one that was tried.
    pub endpoint: Option<Address>,
    /// The status of the response; `None` if the client closed before the response was whole.
    pub status: Option<u16>,
    /// `answered`, `cut` or `client-gone`.
    pub outcome: &'static str,
    /// Who made the response, `replica` or `unstick`; `None` if there was none.
    pub origin: Option<&'static str>,
    /// Why the proxy responded in place of the application.
    pub cause: Option<&'static str>,
    /// The rule that the request breaks, if it was not valid.
    pub rule: Option<&'static str>,
    /// What the system, or a library, says of the failure.
    pub error: Option<Box<str>>,
    /// Bytes of the response body.
    pub bytes: u64,
    /// The time from the request head to the end of the response.
    pub duration: Duration,
    /// The number of attempts.
    pub attempts: u32,
}

/// The pause before [`AccessLog::flush`] tries a full queue again.
const FLUSH_POLL: Duration = Duration::from_millis(5);

/// The sending end of the access log. Each worker has one.
#[derive(Debug, Clone)]
pub struct AccessLog {
    queue: SyncSender<Message>,
    /// Whether the writer must open the file again before the next line.
    wants_reopening: Arc<AtomicBool>,
    /// Lines that could not be written.
    lost: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Message {
    Line(Box<AccessRecord>),
    /// Wakes the writer, so that it looks at `wants_reopening`.
    Wake,
    Flush(SyncSender<()>),
}

impl AccessLog {
    /// Opens the destination and starts the thread that writes to it.
    ///
    /// # Errors
    /// The file cannot be opened, or the thread cannot be started.
    pub fn open(config: &model::AccessLog) -> io::Result<Self> {
        let wants_reopening = Arc::new(AtomicBool::default());
        let (sink, target) = (Sink::open(&config.to)?, config.to.clone());
        let lost = Arc::<AtomicU64>::default();
        let writer = Writer {
            sink,
            target,
            wants_reopening: Arc::clone(&wants_reopening),
            lost: Arc::clone(&lost),
            line: Vec::new(),
            calendar: Calendar::default(),
            busy_from: if config.queue < QUEUE_MIN { 0 } else { config.queue / QUEUE_SHARE },
            unflushed: 0,
        };
        let (queue, receiver) = sync_channel(config.queue);
        std::thread::Builder::new().name("unstick-access".into()).spawn(move || writer.run(&receiver))?;
        Ok(Self { queue, wants_reopening, lost })
    }

    /// The number of lines that could not be written, because the disk was full, say.
    pub fn lost(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.lost)
    }

    /// Queues a record. Returns `false` if the queue was full and the record was dropped. It never blocks.
    pub fn submit(&self, record: AccessRecord) -> bool {
        self.queue.try_send(Message::Line(Box::new(record))).is_ok()
    }

    /// Opens the file again under its name, after a log rotation has moved it away.
    pub fn reopen(&self) {
        self.wants_reopening.store(true, Relaxed);
        // If the queue is full, the writer is awake or will be when its output is no longer blocked.
        self.queue.try_send(Message::Wake).ok();
    }

    /// Waits until every record submitted so far is written, at most for `timeout`. It blocks the thread.
    pub fn flush(&self, timeout: Duration) {
        let (done, wait) = sync_channel(1);
        let (deadline, mut message) = (Instant::now() + timeout, Message::Flush(done));
        while let Err(TrySendError::Full(back)) = self.queue.try_send(message) {
            if Instant::now() >= deadline {
                return;
            }
            message = back;
            pause_for_the_writer();
        }
        wait.recv_timeout(deadline.saturating_duration_since(Instant::now())).ok();
    }
}

/// The pause of the writer between looks at its queue, so long as lines come one after the other.
const REST: Duration = Duration::from_millis(5);

/// The writer rests only if less than this part of the queue was filled since it last looked.
const QUEUE_SHARE: usize = 8;

/// And only if the queue has room for this many lines: a smaller one may be full before the rest is over.
const QUEUE_MIN: usize = 8192;

/// Only a process that ends waits like this, and on the control thread, where nothing else is left to do.
#[expect(clippy::disallowed_methods, reason = "the queue cannot wake whoever waits for room in it")]
fn pause_for_the_writer() {
    std::thread::sleep(FLUSH_POLL);
}

#[expect(
    clippy::disallowed_methods,
    reason = "the thread has nothing else to do, and to be woken for each line is dear"
)]
fn rest() {
    std::thread::sleep(REST);
}

enum Sink {
    Stdout(io::BufWriter<io::Stdout>),
    File(io::BufWriter<File>),
}

impl Sink {
    fn open(target: &AccessLogTarget) -> io::Result<Self> {
        Ok(match target {
            AccessLogTarget::Stdout => Self::Stdout(io::BufWriter::new(io::stdout())),
            AccessLogTarget::File(path) => {
                Self::File(io::BufWriter::new(OpenOptions::new().append(true).create(true).open(path)?))
            }
        })
    }

    fn writer(&mut self) -> &mut dyn Write {
        match self {
            Self::Stdout(out) => out,
            Self::File(out) => out,
        }
    }
}

struct Writer {
    sink: Sink,
    target: AccessLogTarget,
    wants_reopening: Arc<AtomicBool>,
    lost: Arc<AtomicU64>,
    /// The line that is being made.
    line: Vec<u8>,
    calendar: Calendar,
    /// Messages at once from which on it does not rest, lest the queue is full before it goes on.
    busy_from: usize,
    /// Lines that wait in the buffer.
    unflushed: u64,
}

impl Writer {
    /// Writes until all senders are dropped. It flushes whenever the queue is empty. Then it rests: woken for every
    /// line, it would take more CPU to wake and to flush than to write.
    fn run(mut self, messages: &Receiver<Message>) {
        let mut failing = false;
        while let Ok(first) = messages.recv() {
            let (mut result, mut taken) = (self.take(first), 1);
            while result.is_ok()
                && let Ok(next) = messages.try_recv()
            {
                result = self.take(next);
                taken += 1;
            }
            let result = result.and_then(|()| self.flush());
            if let (Err(error), false) = (&result, failing) {
                let to = match &self.target {
                    AccessLogTarget::Stdout => "standard output".to_owned(),
                    AccessLogTarget::File(path) => path.display().to_string(),
                };
                tracing::error!("access log: cannot write to {to}: {error}; lines are lost until this is fixed");
            }
            failing = result.is_err();
            if taken < self.busy_from && !failing {
                rest();
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.writer().flush()?;
        self.unflushed = 0;
        Ok(())
    }

    /// Opens the file again. What the old one does not take is lost: it must not keep the new one from being used.
    fn reopen(&mut self) -> io::Result<()> {
        let flushed = self.flush();
        self.lost.fetch_add(std::mem::take(&mut self.unflushed), Relaxed);
        self.sink = Sink::open(&self.target).inspect_err(|_| self.wants_reopening.store(true, Relaxed))?;
        flushed
    }

    fn write(&mut self, record: &AccessRecord) -> io::Result<()> {
        self.line.clear();
        write_line(&mut self.line, record, &mut self.calendar);
        self.sink.writer().write_all(&self.line)
    }

    fn take(&mut self, message: Message) -> io::Result<()> {
        let reopened = if self.wants_reopening.swap(false, Relaxed) { self.reopen() } else { Ok(()) };
        match message {
            Message::Line(record) => {
                let result = reopened.and_then(|()| self.write(&record));
                match result {
                    Ok(()) => self.unflushed += 1,
                    Err(_) => _ = self.lost.fetch_add(1, Relaxed),
                }
                result
            }
            Message::Wake => reopened,
            Message::Flush(done) => {
                let result = self.flush();
                done.send(()).ok();
                result
            }
        }
    }
}

/// A moment as RFC 3339 writes it, in UTC, with as many digits of the second as are not zero.
pub(crate) fn rfc3339(at: SystemTime) -> String {
    utc(at).format(&Rfc3339).unwrap_or_default()
}

/// A moment in the calendar; 1970 for one before it or after the year 9999.
fn utc(at: SystemTime) -> OffsetDateTime {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let since = time::Duration::try_from(since).unwrap_or_default();
    OffsetDateTime::UNIX_EPOCH.checked_add(since).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests;
