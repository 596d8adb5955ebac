//! A journey: what users of an application do, one step after the other.
//!
//! `{{name}}` in a text stands for a value that an earlier step of the same run has captured, `{{unique}}` for one that
//! is different in every run.

mod act;
mod check;
mod content;
mod fields;
mod har;
mod packs;
mod path;
mod read;
mod sent;
mod source;
mod step;
mod target;
mod template;
mod texts;
mod toml_text;
mod write;

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, Method, StatusCode};
use regex::Regex;

pub use har::{BYTES_MAX as HAR_BYTES_MAX, HarError, Imported, Recorded, from_recorded, read_har};
pub use packs::{Pack, find as find_pack, list as packs};
pub use read::{Written, read};
pub use sent::sent;
pub use source::regex;
pub use target::fill_target;
pub use template::{Gap, fill, fill_json, gaps, is_name};
pub use write::{Remarks, write};

/// The name of the value that is different in every run.
pub const UNIQUE: &str = "unique";

/// The most steps of a journey.
pub const STEPS_MAX: usize = 200;

/// The most times that a step is repeated.
pub const REPEAT_MAX: u32 = 50;

/// The actor of a step that names none.
pub const FIRST_ACTOR: &str = "a";

/// A text with gaps, as it was written.
pub type Template = String;

/// What users do, in order.
#[derive(Debug, Clone)]
pub struct Journey {
    /// What it is called in reports.
    pub name: String,
    /// At least one, at most [`STEPS_MAX`].
    pub steps: Vec<Step>,
}

/// One thing that a user does.
#[derive(Debug, Clone)]
pub struct Step {
    /// Its name, which no other step has.
    pub name: String,
    /// Who does it. Each actor has cookies of its own.
    pub actor: String,
    /// What is done.
    pub act: Act,
    /// What is taken from the response.
    pub captures: Vec<Capture>,
    /// The status it must have in the baseline, if that is said.
    pub status: Option<StatusCode>,
    /// Texts that the response must contain.
    pub must_contain: Vec<Template>,
    /// Parts of the response that are not compared.
    pub ignore: Vec<Ignored>,
    /// How often it is done, from 1 to [`REPEAT_MAX`].
    pub repeat: u32,
    /// It is not repeated any more when a response has this status.
    pub until: Option<StatusCode>,
}

/// What a step does.
#[derive(Debug, Clone)]
pub enum Act {
    /// A request and its response.
    Request(Request),
    /// A WebSocket is opened (RFC 6455), with what is said on it at once. It stays open under the name of the step.
    WebSocket(Request, Talk),
    /// An event stream is opened (`text/event-stream`). It stays open under the name of the step.
    EventStream(Request, Talk),
    /// Something is said on what an earlier step, given by its place in the journey, has opened.
    Talk(usize, Talk),
}

/// One request.
#[derive(Debug, Clone)]
pub struct Request {
    /// Its method.
    pub method: Method,
    /// Its target in origin form.
    pub target: Template,
    /// Its fields, but for `Host`, `Cookie` of the jar and those of the content.
    pub fields: Vec<(HeaderName, Template)>,
    /// Its content.
    pub content: Content,
    /// Whether redirects are followed, within the step and on its replica.
    pub follow: bool,
}

/// The content of a request. What needs a `Content-Type` brings it, unless the fields have one.
#[derive(Debug, Clone)]
pub enum Content {
    /// There is none.
    None,
    /// A text as it is.
    Text(Template),
    /// Bytes as they are.
    Bytes(Bytes),
    /// JSON, with gaps in its strings.
    Json(serde_json::Value),
    /// `application/x-www-form-urlencoded`: names and values, which are encoded when the gaps are filled.
    Form(Vec<(String, Template)>),
    /// `multipart/form-data` (RFC 7578).
    Multipart(Vec<Part>),
}

/// One part of a multipart form.
#[derive(Debug, Clone)]
pub struct Part {
    /// The name of the form's field.
    pub name: String,
    /// The name of the file, if it is one.
    pub filename: Option<Template>,
    /// Its media type, if it says one.
    pub media_type: Option<String>,
    /// Its content.
    pub content: Template,
}

/// What is said on a WebSocket or an event stream. First everything is sent, then something is awaited.
#[derive(Debug, Clone, Default)]
pub struct Talk {
    /// Text messages, in order. An event stream has none.
    pub send: Vec<Template>,
    /// What is awaited.
    pub receive: Option<Receive>,
}

/// What is awaited on a WebSocket or an event stream.
#[derive(Debug, Clone)]
pub struct Receive {
    /// A message that matches ends the wait. Gaps are filled before it is compiled.
    pub until: Template,
    /// The wait is over after this time, which is a failure.
    pub within: Duration,
}

/// A value that is taken from a response.
#[derive(Debug, Clone)]
pub struct Capture {
    /// The name under which later steps use it.
    pub name: String,
    /// Where it stands.
    pub source: Source,
}

/// Where a value stands in a response.
#[derive(Debug, Clone)]
pub enum Source {
    /// The first group of the first match in the body, or the whole match if there is no group.
    Regex(Regex),
    /// A string, number or boolean at this path.
    Json(JsonPath),
    /// The first field of this name.
    Header(HeaderName),
    /// The cookie of this name, as the response sets it.
    Cookie(String),
    /// As [`Source::Regex`], in the messages that came over a WebSocket or an event stream.
    Messages(Regex),
}

/// A path in JSON: `$.a.b[0]`, with `[*]` for any element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonPath(pub Vec<PathPart>);

/// One part of a path in JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathPart {
    /// The value of a key.
    Key(String),
    /// The element of this number, counted from 0.
    Index(usize),
    /// Any element or value.
    Any,
}

/// A part of a response that is not compared.
#[derive(Debug, Clone)]
pub enum Ignored {
    /// At this path of JSON, and below.
    Json(JsonPath),
    /// Whatever matches in the body.
    Regex(Regex),
    /// The field of this name.
    Header(HeaderName),
    /// The cookie of this name.
    Cookie(String),
    /// The whole body.
    Body,
}
