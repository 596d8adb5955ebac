//! What is logged, where, in which form.

use super::AccessLog;

/// What is logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// Least severe level that is written to stderr.
    pub level: Level,
    /// Form of the lines on stderr. Cannot change live.
    pub format: LogFormat,
    /// The access log; `None` when switched off. It cannot be switched on or off live.
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
