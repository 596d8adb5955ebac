//! What the access log says of each request, in which form.

use std::fmt;
use std::path::PathBuf;

/// Where and how finished requests are logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessLog {
    /// Destination. Cannot change live.
    pub to: AccessLogTarget,
    /// Form of a line.
    pub format: AccessLogFormat,
    /// The share of the requests that is logged. Errors always are.
    pub sample: Sample,
    /// Lines waiting to be written; more are dropped and counted. Cannot change live.
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessLogFormat {
    /// One JSON object with these fields, in this order, each once. At least one.
    Json(Vec<AccessField>),
    /// NCSA common log format.
    Common,
    /// The same with `Referer` and `User-Agent`, as Apache has it.
    Combined,
    /// Text with fields in it.
    Template(LineTemplate),
}

impl Default for AccessLogFormat {
    fn default() -> Self {
        Self::Json(AccessField::DEFAULT.to_vec())
    }
}

/// A text that names fields. At least one, and every quote has its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineTemplate(pub(crate) Vec<LinePiece>);

impl LineTemplate {
    /// Its parts, from left to right.
    pub fn pieces(&self) -> &[LinePiece] {
        &self.0
    }
}

impl fmt::Display for LineTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|piece| match piece {
            LinePiece::Text(text) => f.write_str(&text.replace('{', "{{").replace('}', "}}")),
            LinePiece::Field(field) => write!(f, "{{{field}}}"),
        })
    }
}

/// A part of a [`LineTemplate`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinePiece {
    /// Text that stands in every line. Never empty, and without control characters.
    Text(String),
    /// What a field says.
    Field(AccessField),
}

/// A share that may be small, in millionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    pub(crate) millionths: u32,
}

impl Sample {
    /// Everything.
    pub const ALL: Self = Self { millionths: 1_000_000 };

    /// Whether it takes what has drawn this number, of those below a million.
    pub fn takes(self, drawn: u32) -> bool {
        drawn < self.millionths
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.millionths / 10_000, self.millionths % 10_000);
        let rest = if rest == 0 { String::new() } else { format!(".{rest:04}") };
        write!(f, "{whole}{}%", rest.trim_end_matches('0'))
    }
}

/// Declares the fields with their names in the file and in JSON.
macro_rules! access_fields {
    ($($(#[$doc:meta])* $field:ident = $name:literal),+ $(,)?) => {
        /// What a line can say of a request.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum AccessField {
            $($(#[$doc])* $field),+
        }

        impl AccessField {
            /// All of them, by name.
            pub const NAMES: &[(&str, Self)] = &[$(($name, Self::$field)),+];

            /// Its name.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$field => $name),+
                }
            }
        }
    };
}

access_fields! {
    /// When the response ended, as RFC 3339 writes it.
    Time = "time",
    /// The same as the common log format writes it, without brackets.
    TimeCommon = "time_common",
    /// The address of the client; behind a trusted proxy the one that it names.
    ClientIp = "client_ip",
    /// The address at the other end of the connection.
    PeerIp = "peer_ip",
    /// The method.
    Method = "method",
    /// Path and query.
    Target = "target",
    /// The target without its query.
    Path = "path",
    /// The query, without its question mark.
    Query = "query",
    /// Method, target and version.
    Request = "request",
    /// The first line of a head that could not be read.
    Line = "line",
    /// The version of HTTP.
    Version = "version",
    /// The host.
    Host = "host",
    /// The status of the response.
    Status = "status",
    /// How the request ended.
    Outcome = "outcome",
    /// Who made the response.
    Origin = "origin",
    /// Why the proxy made it.
    Cause = "cause",
    /// The rule that the request breaks.
    Rule = "rule",
    /// What the system or a library says of a failure.
    Error = "error",
    /// Bytes of the response body.
    Bytes = "bytes",
    /// From the request's head to the end of the response, in milliseconds.
    DurationMs = "duration_ms",
    /// The pool.
    Pool = "pool",
    /// The endpoint that responded or was tried last.
    Endpoint = "endpoint",
    /// How many attempts were made.
    Attempts = "attempts",
    /// `X-Request-Id` as the replica received it.
    RequestId = "request_id",
    /// `User-Agent`.
    UserAgent = "user_agent",
    /// `Referer`.
    Referer = "referer",
}

impl AccessField {
    /// Those of a line in JSON unless the file says otherwise: everything, and nothing twice.
    pub const DEFAULT: [Self; 21] = [
        Self::Time,
        Self::ClientIp,
        Self::Method,
        Self::Target,
        Self::Line,
        Self::Version,
        Self::Host,
        Self::Status,
        Self::Outcome,
        Self::Origin,
        Self::Cause,
        Self::Rule,
        Self::Error,
        Self::Bytes,
        Self::DurationMs,
        Self::Pool,
        Self::Endpoint,
        Self::Attempts,
        Self::RequestId,
        Self::UserAgent,
        Self::Referer,
    ];
}

impl fmt::Display for AccessField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
