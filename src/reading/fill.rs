//! Fills in what the strings of a file refer to: `${NAME}`, `${NAME:-default}`, `${file:path}`, `${credential:name}`.
//!
//! It works on values that were parsed, so nothing that is filled in can add a key, a line or a quote. Keys, and values
//! that are no strings, are left alone. The first two forms mean what they mean to a shell. None of the libraries for
//! them knows the other two, or says where in the string a mistake is.

use std::borrow::Cow;
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::outside::Outside;
use crate::problem::Sink;
use crate::secrets::Kind;

/// The most bytes that all strings of a file may have after they were filled.
const FILLED_MAX: usize = 64 << 20;
/// The variable in which systemd names the folder of a service's credentials.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";
const FORMS: &str =
    "write ${NAME}, ${NAME:-default}, ${file:/path} or ${credential:name}; $${ stands for ${ that means nothing";

/// Fills every string of a table. What cannot be filled in is reported, and its string is left as it is.
pub fn fill(table: &mut DeTable<'_>, sink: &Sink<'_>, outside: &dyn Outside) {
    Filler { sink, outside, bytes: 0 }.table(table);
}

struct Filler<'s, 't> {
    sink: &'s Sink<'t>,
    outside: &'s dyn Outside,
    /// The bytes of the strings that were filled so far.
    bytes: usize,
}

/// What a string becomes.
#[derive(Default)]
struct Becomes {
    value: String,
    /// How it is shown if a secret is part of it.
    shown: String,
    secrets: Vec<String>,
}

/// Why something cannot be filled in, and what to do about it.
type Refused = (String, String);

impl Filler<'_, '_> {
    fn table(&mut self, table: &mut DeTable<'_>) {
        for (_, value) in table {
            self.value(value);
        }
    }

    fn value(&mut self, value: &mut Spanned<DeValue<'_>>) {
        let span = value.span();
        match value.get_mut() {
            DeValue::Table(table) => self.table(table),
            DeValue::Array(array) => array.iter_mut().for_each(|element| self.value(element)),
            DeValue::String(text) if text.contains("${") => {
                let becomes = self.string(text, &span);
                let mut filled = self.sink.filled.borrow_mut();
                let Some(becomes) = becomes else { return filled.note(&span, Kind::Broken) };
                becomes.secrets.iter().for_each(|secret| filled.secrets.add(secret));
                let is_secret = !becomes.secrets.is_empty();
                filled.note(&span, if is_secret { Kind::Secret(becomes.shown) } else { Kind::Plain });
                *text = Cow::Owned(becomes.value);
            }
            _ => {}
        }
    }

    /// What the string at `span` becomes; `None` if it cannot be filled, which is reported.
    fn string(&mut self, text: &str, span: &Range<usize>) -> Option<Becomes> {
        let (mut becomes, mut is_good) = (Becomes::default(), true);
        let (raw, mut after) = (self.sink.text_at(span), 0);
        for (written, piece) in pieces(text) {
            let filled = match piece {
                Piece::Text => becomes.add(written),
                Piece::Literal => becomes.add("${"),
                Piece::Reference(inner) => self.reference(inner, self.sink.folder_of(span.start), &mut becomes),
                Piece::Endless => Err(("there is no } for this ${".to_owned(), FORMS.to_owned())),
            };
            // It is written as it is, unless there are escapes in it.
            let place =
                raw.get(after..).and_then(|rest| rest.find(written)).map(|at| after + at..after + at + written.len());
            if let (false, Some(place)) = (matches!(piece, Piece::Text), &place) {
                after = place.end;
            }
            if let Err((message, help)) = filled {
                let place = place.map_or(span.clone(), |place| span.start + place.start..span.start + place.end);
                self.sink.report(place, message, Some(help));
                is_good = false;
            }
            if self.bytes + becomes.value.len() > FILLED_MAX {
                let message =
                    format!("the strings of this file have more than {} MiB once they are filled", FILLED_MAX >> 20);
                self.sink.report(span.clone(), message, Some("refer to less, or less often".to_owned()));
                return None;
            }
        }
        self.bytes += becomes.value.len();
        is_good.then_some(becomes)
    }

    /// Adds what a reference stands for; `inner` is what its braces hold.
    fn reference(&self, inner: &str, folder: &Path, becomes: &mut Becomes) -> Result<(), Refused> {
        match Reference::of(inner)? {
            Reference::Variable { name, default } => becomes.add(&self.variable(name, default)?)?,
            Reference::File(path) => {
                let path = folder.join(path);
                let shown = std::path::absolute(&path).unwrap_or_else(|_| path.clone());
                becomes.add_secret(self.secret(&path)?, &format!("${{file:{}}}", shown.display()));
            }
            Reference::Credential(name) => {
                let Some(folder) = self.outside.variable(CREDENTIALS) else {
                    let help = format!("systemd sets it for services with LoadCredential={name}:/path/of/the/file");
                    return Err((format!("there are no credentials: {CREDENTIALS} is not set"), help));
                };
                becomes.add_secret(self.secret(&Path::new(&folder).join(name))?, &format!("${{credential:{name}}}"));
            }
        }
        Ok(())
    }

    /// An empty variable has its default, as in a shell.
    fn variable(&self, name: &str, default: Option<&str>) -> Result<String, Refused> {
        let value = self.outside.variable(name).filter(|value| !value.is_empty() || default.is_none());
        match (value, default) {
            (Some(value), _) => value.into_string().map_err(|_| {
                (format!("the environment variable {name} is not UTF-8"), "set it to something else".to_owned())
            }),
            (None, Some(default)) => Ok(default.to_owned()),
            (None, None) => {
                let help = format!("set it, or write ${{{name}:-default}} for when it is not set");
                Err((format!("the environment variable {name} is not set"), help))
            }
        }
    }

    /// The contents of a file, without the line end that editors and `echo` add.
    fn secret(&self, path: &Path) -> Result<String, Refused> {
        let file = path.display();
        let contents = self.outside.secret(path).map_err(|error| {
            (format!("cannot read {file}: {error}"), "name a file that holds nothing but the secret".to_owned())
        })?;
        let text = String::from_utf8(contents).map_err(|_| {
            (format!("{file} is not UTF-8"), "a secret is text: encode it, in base64 for example".to_owned())
        })?;
        let whole = text.strip_suffix('\n').map(|text| text.strip_suffix('\r').unwrap_or(text));
        Ok(whole.map_or_else(|| text.clone(), str::to_owned))
    }
}

impl Becomes {
    /// Adds a text, which cannot be refused.
    fn add(&mut self, text: &str) -> Result<(), Refused> {
        self.value.push_str(text);
        self.shown.push_str(&escaped(text));
        Ok(())
    }

    fn add_secret(&mut self, secret: String, shown: &str) {
        self.value.push_str(&secret);
        self.shown.push_str(shown);
        self.secrets.push(secret);
    }
}

/// The text of a string that means this text, and refers to nothing.
pub(crate) fn escaped(text: &str) -> String {
    text.replace("${", "$${")
}

/// A piece of a string.
enum Piece<'t> {
    Text,
    /// `$${`.
    Literal,
    /// What stands in the braces.
    Reference(&'t str),
    /// A `${` behind which there is no `}`.
    Endless,
}

/// The pieces of a string, each as it is written.
fn pieces(text: &str) -> Vec<(&str, Piece<'_>)> {
    let (mut pieces, mut rest) = (Vec::new(), text);
    while !rest.is_empty() {
        let (length, piece) = first(rest);
        let (written, after) = rest.split_at(length);
        pieces.push((written, piece));
        rest = after;
    }
    pieces
}

/// The first piece of a string that is not empty, and its length.
fn first(text: &str) -> (usize, Piece<'_>) {
    if text.starts_with("$${") {
        return (3, Piece::Literal);
    }
    if let Some(inner) = text.strip_prefix("${") {
        return match inner.find('}') {
            Some(end) => (end + 3, Piece::Reference(&inner[..end])),
            None => (text.len(), Piece::Endless),
        };
    }
    match text.find("${") {
        Some(at) if text[..at].ends_with('$') => (at - 1, Piece::Text),
        Some(at) => (at, Piece::Text),
        None => (text.len(), Piece::Text),
    }
}

/// What the braces refer to.
#[derive(Debug, PartialEq, Eq)]
enum Reference<'t> {
    Variable { name: &'t str, default: Option<&'t str> },
    File(&'t str),
    Credential(&'t str),
}

impl<'t> Reference<'t> {
    fn of(inner: &'t str) -> Result<Self, Refused> {
        let refused = |why: &str, help: &str| Err((format!("`${{{inner}}}` {why}"), help.to_owned()));
        let (head, tail) = inner.split_once(':').map_or((inner, None), |(head, tail)| (head, Some(tail)));
        match (head, tail) {
            _ if inner.contains("${") => refused("has another ${ in it", "a default is a text that refers to nothing"),
            (name, None) if is_name(name) => Ok(Self::Variable { name, default: None }),
            (name, Some(tail)) if is_name(name) && tail.starts_with('-') => {
                Ok(Self::Variable { name, default: tail.strip_prefix('-') })
            }
            ("file", Some("")) => refused("names no file", "write ${file:/run/secrets/name}"),
            ("file", Some(path)) => Ok(Self::File(path)),
            ("credential", Some(name)) if name.is_empty() || name.starts_with('.') || name.contains('/') => {
                refused("names no credential", "write the name alone, as in LoadCredential=name:/path/of/the/file")
            }
            ("credential", Some(name)) => Ok(Self::Credential(name)),
            _ => refused("refers to nothing", FORMS),
        }
    }
}

/// Whether it can be the name of a variable.
fn is_name(text: &str) -> bool {
    !text.starts_with(|c: char| c.is_ascii_digit())
        && !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests;
