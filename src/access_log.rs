//! The access log: one line for each finished request, on stdout or in a file.
//!
//! A separate thread writes the lines. A bounded queue leads to it, so a full disk never delays a request: when the
//! queue is full, a line is dropped and counted.

mod format;

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, SystemTime};

use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Version};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::Instant;

use crate::config::address::Address;
use crate::config::model::{self, AccessLogFormat, AccessLogTarget};
use format::{JsonLine, common};

/// One finished request.
#[derive(Debug)]
pub struct AccessRecord {
    /// When it ended.
    pub finished: SystemTime,
    /// The address of the client; behind a trusted proxy the one that it names.
    pub client: IpAddr,
    /// The method of the request; `None` if its head could not be read.
    pub method: Option<Method>,
    /// Path and query; `None` for `OPTIONS *`.
    pub target: Option<PathAndQuery>,
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
            format: config.format,
            wants_reopening: Arc::clone(&wants_reopening),
            lost: Arc::clone(&lost),
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

/// Only a process that ends waits like this, and on the control thread, where nothing else is left to do.
#[expect(clippy::disallowed_methods, reason = "the queue cannot wake whoever waits for room in it")]
fn pause_for_the_writer() {
    std::thread::sleep(FLUSH_POLL);
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
    format: AccessLogFormat,
    wants_reopening: Arc<AtomicBool>,
    lost: Arc<AtomicU64>,
    /// Lines that wait in the buffer.
    unflushed: u64,
}

impl Writer {
    /// Writes until all senders are dropped. It flushes whenever the queue is empty.
    fn run(mut self, messages: &Receiver<Message>) {
        let mut failing = false;
        while let Ok(first) = messages.recv() {
            let mut result = self.take(first);
            while result.is_ok()
                && let Ok(next) = messages.try_recv()
            {
                result = self.take(next);
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
        let mut line = match self.format {
            AccessLogFormat::Json => serde_json::to_string(&JsonLine::of(record)).map_err(io::Error::other)?,
            AccessLogFormat::Common => common(record),
        };
        line.push('\n');
        self.sink.writer().write_all(line.as_bytes())
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
mod tests {
    use super::*;

    fn record(status: Option<u16>) -> AccessRecord {
        AccessRecord {
            finished: SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123),
            client: [192, 0, 2, 7].into(),
            method: Some(Method::GET),
            target: Some(PathAndQuery::from_static("/cart?a=1")),
            line: None,
            version: Version::HTTP_11,
            host: Some(HeaderValue::from_static("shop.example.com")),
            request_id: Some(HeaderValue::from_static("abc")),
            user_agent: Some(HeaderValue::from_bytes(b"a\"b\xff").unwrap()),
            referer: None,
            pool: Some("app".into()),
            endpoint: Some(([10, 0, 0, 1], 3000).into()),
            status,
            outcome: "answered",
            origin: Some("replica"),
            cause: None,
            rule: None,
            error: None,
            bytes: 129,
            duration: Duration::from_micros(1234),
            attempts: 1,
        }
    }

    #[test]
    fn a_json_line_says_everything() {
        let line = serde_json::to_value(JsonLine::of(&record(Some(200)))).unwrap();
        let expected = serde_json::json!({
            "time": "2023-11-14T22:13:20.123Z", "client": "192.0.2.7", "method": "GET", "target": "/cart?a=1",
            "version": "HTTP/1.1", "host": "shop.example.com", "status": 200, "outcome": "answered", "bytes": 129,
            "origin": "replica",
            "duration_ms": 1.234, "pool": "app", "endpoint": "10.0.0.1:3000", "attempts": 1, "request_id": "abc",
            "user_agent": "a\"b\u{fffd}",
        });
        assert_eq!(line, expected);
    }

    #[test]
    fn a_common_line_is_common() {
        let expected = "192.0.2.7 - - [14/Nov/2023:22:13:20 +0000] \"GET /cart?a=1 HTTP/1.1\" 200 129";
        assert_eq!(common(&record(Some(200))), expected);
        assert!(common(&record(None)).ends_with("499 129"));
    }

    #[test]
    fn moments_are_written_in_utc_and_no_clock_is_too_far_off() {
        let cases = [
            (Duration::ZERO, "1970-01-01T00:00:00Z"),
            (Duration::from_secs(1_709_210_096), "2024-02-29T12:34:56Z"),
            (Duration::new(1_709_210_096, 120_000), "2024-02-29T12:34:56.00012Z"),
            (Duration::from_secs(253_402_300_800), "1970-01-01T00:00:00Z"), // the year 10000
        ];
        for (since, expected) in cases {
            assert_eq!(rfc3339(SystemTime::UNIX_EPOCH + since), expected);
        }
        assert_eq!(rfc3339(SystemTime::UNIX_EPOCH - Duration::from_secs(1)), "1970-01-01T00:00:00Z");
    }

    #[test]
    fn a_moved_file_is_opened_again() {
        let dir = tempfile::tempdir().unwrap();
        let (path, moved) = (dir.path().join("access.log"), dir.path().join("access.log.1"));
        let to = AccessLogTarget::File(path.clone());
        let log = AccessLog::open(&model::AccessLog { to, format: AccessLogFormat::Common, queue: 10 }).unwrap();
        assert!(log.submit(record(Some(200))));
        log.flush(Duration::from_secs(5));
        std::fs::rename(&path, &moved).unwrap();
        log.reopen();
        assert!(log.submit(record(Some(404))));
        log.flush(Duration::from_secs(5));
        assert!(std::fs::read_to_string(&moved).unwrap().ends_with("200 129\n"));
        assert!(std::fs::read_to_string(&path).unwrap().ends_with("404 129\n"));
    }

    #[test]
    fn lines_that_a_full_disk_does_not_take_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access.log");
        std::os::unix::fs::symlink("/dev/full", &path).unwrap();
        let to = AccessLogTarget::File(path.clone());
        let log = AccessLog::open(&model::AccessLog { to, format: AccessLogFormat::Common, queue: 1000 }).unwrap();
        for _ in 0..500 {
            assert!(log.submit(record(Some(200))));
        }
        log.flush(Duration::from_secs(5));
        let lost = log.lost().load(Relaxed);
        assert!(lost > 300 && lost < 500, "all but what is in the buffer: {lost}");
        std::fs::remove_file(&path).unwrap();
        log.reopen();
        assert!(log.submit(record(Some(404))));
        log.flush(Duration::from_secs(5));
        assert_eq!(log.lost().load(Relaxed), 500, "the rest was in the buffer of the old file");
        assert!(std::fs::read_to_string(&path).unwrap().ends_with("404 129\n"));
    }
}
