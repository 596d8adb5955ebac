//! What is logged, where, in which form.

use std::path::PathBuf;

/// What is logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// Least severe level that is written to stderr.
    pub level: Level,
    /// Form of the lines on stderr. Cannot change live.
    pub format: LogFormat,
    /// The access log; `None` when switched off. Cannot change live.
    pub access: Option<AccessLog>,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: Level::Info, format: LogFormat::Auto, access: None }
    }
}

/// Severity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Failures a person must act on.
    Error,
    /// Things that went wrong and were survived.
    Warn,
    /// Start, reload, health changes, stop.
    Info,
    /// Connections and attempts.
    Debug,
    /// Everything.
    Trace,
}

/// Form of the lines on stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Where and how finished requests are logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessLog {
    /// Destination.
    pub to: AccessLogTarget,
    /// Form of a line.
    pub format: AccessLogFormat,
    /// Lines waiting to be written; more are dropped and counted.
    pub queue: usize,
}

impl AccessLog {
    /// Lines that may wait unless the file says otherwise.
    pub(crate) const QUEUE: usize = 8192;
}

/// Destination of the access log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessLogTarget {
    /// Standard output.
    Stdout,
    /// A file that is appended to, opened again on SIGUSR1.
    File(PathBuf),
}

/// Form of an access-log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessLogFormat {
    /// One JSON object.
    Json,
    /// NCSA common log format.
    Common,
}
