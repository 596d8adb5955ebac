//! Header fields: Caddy changes them one after the other, unstick has one edit for each name.

use super::text::{Paths, template};
use super::tree::Line;
use crate::fields::OF_CONNECTION;
use crate::imported::{Keys, LeftOut};

/// What becomes of the fields of a request and its response.
#[derive(Debug, Clone, Default)]
pub(super) struct Edits {
    fields: Vec<Field>,
}

/// Whose fields they are, and when they are changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    /// Those of the request.
    Request,
    /// Those of the response, before there is one: a replica's are added to these.
    Early,
    /// Those of the replica, before they are added to those.
    Replica,
    /// Those of the response, when it is there.
    Late,
}

#[derive(Debug, Clone)]
struct Field {
    name: String,
    of: Of,
    base: Base,
    added: Vec<String>,
    said: LeftOut,
}

/// The fields that were there.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Base {
    Kept,
    Removed,
    Replaced(String),
    /// Kept, or this if there is none.
    Default(String),
}

/// An operation, as `+X-A b`.
struct Operation<'a> {
    verb: Verb,
    name: String,
    value: &'a str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Verb {
    Add,
    Set,
    Default,
    Remove,
    Replace,
}

impl Edits {
    /// `header`: a line with one operation, or a block of them.
    pub(super) fn header(&mut self, line: &Line, args: &[String], paths: Paths) -> Vec<LeftOut> {
        let mut left = Vec::new();
        let mut all: Vec<(&Line, Operation<'_>)> = operation(args).into_iter().map(|one| (line, one)).collect();
        let is_late = |args: &[String]| args.first().is_some_and(|field| field.starts_with(['-', '>']));
        let mut is_deferred = is_late(args);
        for inner in line.lines() {
            let words: Vec<String> = [inner.name.clone()].into_iter().chain(inner.args.iter().cloned()).collect();
            is_deferred |= is_late(&words) || inner.name == "defer";
            match inner.name.as_str() {
                "defer" => {}
                "match" => left.push(super::left(inner, "fields of a route have no conditions", "write two routes")),
                _ => all.extend(owned(inner).map(|one| (inner, one))),
            }
        }
        // Of one block Caddy adds first, then sets, then removes.
        all.sort_by_key(|(_, operation)| operation.verb);
        for (line, operation) in all {
            let of = if is_deferred || operation.verb == Verb::Default { Of::Late } else { Of::Early };
            left.extend(self.apply(line, operation, of, paths));
        }
        left
    }

    /// `request_header`, `header_up` and `header_down`.
    pub(super) fn one(&mut self, line: &Line, args: &[String], of: Of, paths: Paths) -> Option<LeftOut> {
        self.apply(line, operation(args)?, of, paths)
    }

    fn apply(&mut self, line: &Line, operation: Operation<'_>, of: Of, paths: Paths) -> Option<LeftOut> {
        let (verb, name, value) = match checked(operation, of, paths) {
            Ok(checked) => checked,
            Err((why, what_to_do)) => return Some(super::left(line, why, what_to_do)),
        };
        let said = super::left(line, "", "");
        let at = self.fields.iter().position(|field| field.name == name && field.of == of).unwrap_or_else(|| {
            self.fields.push(Field { name, of, base: Base::Kept, added: Vec::new(), said: said.clone() });
            self.fields.len() - 1
        });
        let field = &mut self.fields[at];
        // What Caddy defers is done by the last directive first, so that the first one decides.
        let is_decided = of == Of::Late && !matches!(field.base, Base::Kept);
        match verb {
            Verb::Add => field.added.push(value),
            _ if is_decided && field.said.place != said.place => {}
            Verb::Default => field.base = Base::Default(value),
            _ => {
                field.added.clear();
                field.base = if verb == Verb::Set { Base::Replaced(value) } else { Base::Removed };
            }
        }
        field.said = said;
        None
    }

    /// Writes the edits of a route that leads to a pool, and tells what they cannot say. unstick removes, then sets,
    /// then adds.
    pub(super) fn write(&self, keys: &mut Keys) -> Vec<LeftOut> {
        let mut left = Vec::new();
        let mut removed: [(&str, Vec<String>); 2] = [("request_headers", Vec::new()), ("response_headers", Vec::new())];
        let mut all_added: Vec<(&str, &str)> = Vec::new();
        for Field { name, of, base, added, said } in &self.fields {
            let mut note = |why: &str, what_to_do: &str| {
                left.push(LeftOut { why: why.to_owned(), what_to_do: what_to_do.to_owned(), ..said.clone() });
            };
            if matches!(of, Of::Early | Of::Replica) && self.is_overwritten(name) {
                continue;
            }
            let (table, names) = &mut removed[usize::from(*of != Of::Request)];
            let mut more: Vec<&String> = added.iter().collect();
            match base {
                Base::Replaced(value) if *of == Of::Early => more.insert(0, value),
                Base::Replaced(value) => keys.set_within(table, "set", name, value),
                Base::Default(_) => {
                    note("a field cannot be set only where the replica has none", "let the replicas send it");
                }
                Base::Removed if *of != Of::Early => names.push(name.clone()),
                // Before there is a response, nothing is there.
                Base::Removed | Base::Kept => {}
            }
            for value in more {
                if all_added.contains(&(*table, name)) {
                    note("a field is added once in a route", "join the values by a comma");
                } else {
                    all_added.push((*table, name));
                    keys.set_within(table, "add", name, value);
                }
            }
        }
        for (table, names) in removed {
            if !names.is_empty() {
                keys.set_in(table, "remove", names);
            }
        }
        left
    }

    /// Whether a field is overwritten or removed when the response is there.
    fn is_overwritten(&self, name: &str) -> bool {
        let mut late = self.fields.iter().filter(|field| field.name == name && field.of == Of::Late);
        late.any(|field| matches!(field.base, Base::Removed | Base::Replaced(_)))
    }

    /// Writes the edits of a fixed response. Its type is one of its own keys.
    pub(super) fn write_fixed(&self, keys: &mut Keys) {
        let respond = keys.get("respond").is_some();
        for Field { name, of, base, added, .. } in self.fields.iter().filter(|field| field.of != Of::Request) {
            let is_early = |field: &&Field| field.name == *name && field.of == Of::Early;
            let is_there = *of == Of::Late && self.fields.iter().any(|field| is_early(&field));
            let value = match base {
                Base::Default(_) if is_there => None,
                Base::Replaced(value) | Base::Default(value) => Some(value),
                Base::Kept => added.first(),
                Base::Removed => None,
            };
            let Some(value) = value.filter(|_| *of == Of::Late || !self.is_overwritten(name)) else { continue };
            if name == "content-type" && respond {
                keys.set_in("respond", "content_type", value.as_str());
            } else {
                keys.set_within("response_headers", "set", name, value);
            }
        }
    }

    /// The value that a field of the request is set to.
    pub(super) fn sets(&self, name: &str) -> bool {
        self.fields.iter().any(|field| field.name == name && field.of == Of::Request)
    }

    /// Sets a field of the request.
    pub(super) fn set_request(&mut self, line: &Line, name: &str, value: &str) {
        let args = [name.to_owned(), value.to_owned()];
        self.one(line, &args, Of::Request, Paths::Same);
    }
}

/// An operation that a route can have: its verb, name and value.
///
/// # Errors
/// Why it cannot, and what to do.
fn checked(operation: Operation<'_>, of: Of, paths: Paths) -> Result<(Verb, String, String), (String, &'static str)> {
    let Operation { verb, name, value } = operation;
    let is_name_byte = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let (why, what_to_do) = match name.as_str() {
        _ if verb == Verb::Replace => {
            ("fields are set, added or removed, and nothing is replaced in them", "let the application do it")
        }
        name if name.is_empty() || !name.bytes().all(is_name_byte) => {
            ("this is no name of one field", "name each field")
        }
        name if OF_CONNECTION.contains(&name) => {
            ("this header belongs to the connection, which is unstick's", "nothing")
        }
        "host" if of == Of::Request && verb != Verb::Set => ("a request has one Host", "nothing"),
        _ => {
            let value = if verb == Verb::Remove { Ok(String::new()) } else { template(value, paths) };
            let value = value.map_err(|why| (why, "let the application work it out"))?;
            return Ok((verb, name, value));
        }
    };
    Err((why.to_owned(), what_to_do))
}

fn operation(args: &[String]) -> Option<Operation<'_>> {
    let (field, rest) = args.split_first()?;
    Some(parsed(field, rest))
}

/// The operation of a line in a block.
fn owned(line: &Line) -> Option<Operation<'_>> {
    Some(parsed(&line.name, &line.args))
}

fn parsed<'a>(field: &str, rest: &'a [String]) -> Operation<'a> {
    let field = field.strip_suffix(':').unwrap_or(field);
    let (verb, name) = match field.chars().next() {
        Some('+') => (Verb::Add, &field[1..]),
        Some('-') => (Verb::Remove, &field[1..]),
        Some('?') => (Verb::Default, &field[1..]),
        Some('>') => (Verb::Set, &field[1..]),
        _ => (Verb::Set, field),
    };
    let verb = if rest.len() > 1 { Verb::Replace } else { verb };
    Operation { verb, name: name.to_ascii_lowercase(), value: rest.first().map_or("", String::as_str) }
}
