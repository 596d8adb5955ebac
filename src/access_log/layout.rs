//! How a line of the access log looks, and so what it needs to know of a request.
//!
//! Each request keeps the layout with which it began. So an edit changes no line halfway, and loses none.

use crate::config::model::{self, AccessField, AccessLogFormat, LinePiece, Sample};

/// The common log format of NCSA, which Apache and nginx write: `host ident user [time] "request" status bytes`.
const COMMON: &str = "{client_ip} - - [{time_common}] \"{request}\" {status} {bytes}";
/// What the combined log format has behind it.
const COMBINED: &str = " \"{referer}\" \"{user_agent}\"";

/// How a line looks; see the module.
#[derive(Debug)]
pub struct Layout {
    pub(super) form: Form,
    /// The fields in it, a bit each.
    wanted: u32,
    sample: Sample,
}

#[derive(Debug)]
pub(super) enum Form {
    /// One object with these fields.
    Json(Box<[AccessField]>),
    Text(Box<[Step]>),
}

/// A part of a line of text.
#[derive(Debug)]
pub(super) enum Step {
    Text(Box<str>),
    /// A field, and the printable bytes that must not be in it, a bit each.
    Field(AccessField, u128),
}

/// The bytes that no field may have: with them a client could end a quoted field. Control bytes and what is not ASCII
/// are escaped anyway.
const QUOTED: u128 = 1 << b'"' | 1 << b'\\';

impl Layout {
    /// The layout that the config asks for.
    pub fn new(config: &model::AccessLog) -> Self {
        let form = match &config.format {
            AccessLogFormat::Json(fields) => Form::Json(fields.as_slice().into()),
            AccessLogFormat::Common => Form::Text(steps(&pieces(COMMON))),
            AccessLogFormat::Combined => Form::Text(steps(&pieces(&format!("{COMMON}{COMBINED}")))),
            AccessLogFormat::Template(template) => Form::Text(steps(template.pieces())),
        };
        let bit = |field: &AccessField| 1 << *field as u32;
        let wanted = match &form {
            Form::Json(fields) => fields.iter().map(bit).sum(),
            Form::Text(steps) => steps.iter().fold(0, |wanted, step| match step {
                Step::Field(field, _) => wanted | bit(field),
                Step::Text(_) => wanted,
            }),
        };
        Self { form, wanted, sample: config.sample }
    }

    /// Whether a line has this field.
    #[inline]
    pub fn wants(&self, field: AccessField) -> bool {
        self.wanted & 1 << field as u32 != 0
    }

    /// Whether a line needs the target.
    #[inline]
    pub fn wants_target(&self) -> bool {
        [AccessField::Target, AccessField::Path, AccessField::Query, AccessField::Request]
            .iter()
            .any(|field| self.wants(*field))
    }

    /// Whether a line needs the first line of a head that could not be read.
    pub fn wants_line(&self) -> bool {
        self.wants(AccessField::Line) || self.wants(AccessField::Request)
    }

    /// Whether a request is logged that is no error. `draw` gives a number below a million.
    #[inline]
    pub fn takes(&self, draw: impl FnOnce() -> u32) -> bool {
        self.sample == Sample::ALL || self.sample.takes(draw())
    }
}

/// The pieces of a template of ours, which has no braces of its own.
fn pieces(template: &str) -> Vec<LinePiece> {
    let mut pieces = Vec::new();
    for part in template.split_inclusive('}') {
        let (text, name) = part.split_once('{').unwrap_or((part, ""));
        if !text.is_empty() {
            pieces.push(LinePiece::Text(text.to_owned()));
        }
        let known = AccessField::NAMES.iter().find(|(known, _)| name.strip_suffix('}') == Some(known));
        pieces.extend(known.map(|(_, field)| LinePiece::Field(*field)));
    }
    pieces
}

/// What targets are full of. It separates fields only where it stands right behind one.
const OF_TARGETS: &[u8] = b"/:.-_~?&=%+#@!*";

/// Finds out for each field what must not be in it. Within quotes that are quotes. Outside that are also spaces, what
/// follows this field, and what separates others: a reader takes it for the end of a field.
fn steps(pieces: &[LinePiece]) -> Box<[Step]> {
    let end = |at: usize| match pieces.get(at + 1) {
        Some(LinePiece::Text(text)) => text.bytes().next().filter(u8::is_ascii_punctuation),
        _ => None,
    };
    let ends = (0..pieces.len()).filter(|at| matches!(pieces[*at], LinePiece::Field(_))).filter_map(end);
    let separators = ends.filter(|end| !OF_TARGETS.contains(end)).fold(QUOTED | 1 << b' ', |all, end| all | 1 << end);
    let mut is_quoted = false;
    let step = |(at, piece): (usize, &LinePiece)| match piece {
        LinePiece::Text(text) => {
            is_quoted ^= text.matches('"').count() % 2 == 1;
            Step::Text(text.as_str().into())
        }
        LinePiece::Field(field) if is_quoted => Step::Field(*field, QUOTED),
        LinePiece::Field(field) => Step::Field(*field, separators | end(at).map_or(0, |end| 1 << end)),
    };
    pieces.iter().enumerate().map(step).collect()
}
