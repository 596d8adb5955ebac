//! YAML as a tree. Its parser brings events, so that lines are known, and nothing of a hostile file is built before it
//! is counted: aliases repeat what they name, and ten of them, which repeat ten others, soon have billions of nodes.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use super::node::{Data, Node};
use crate::imported::{Place, Unreadable};

/// How deep values may be nested.
pub(super) const DEPTH_MAX: usize = 64;
/// The most nodes of a file, those that aliases repeat included.
const NODES_MAX: usize = 200_000;

/// The first document of a file. `spell` says how unstick writes a text.
pub(super) fn parse(file: &Rc<str>, text: &str, spell: fn(&str) -> String) -> Result<Node, Unreadable> {
    let mut builder =
        Builder { file: file.clone(), spell, open: Vec::new(), anchors: HashMap::new(), nodes: 0, root: None };
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| {
            let at = error.marker();
            builder.refuse(at.line(), at.col(), error.info())
        })?;
        if builder.take(event, span)? {
            break;
        }
    }
    Ok(builder.root.unwrap_or_else(|| Node::empty(Place { file: file.clone(), line: 1 })))
}

struct Builder {
    file: Rc<str>,
    spell: fn(&str) -> String,
    open: Vec<Open>,
    /// What each anchor names, with its number of nodes.
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
    root: Option<Node>,
}

/// A list or a map that is not at its end.
struct Open {
    node: Node,
    anchor: usize,
    /// How many nodes there were before it.
    before: usize,
    /// The key whose value comes next.
    key: Option<(Rc<str>, Place)>,
    keys: HashSet<String>,
}

impl Builder {
    fn refuse(&self, line: usize, column: usize, message: &str) -> Unreadable {
        Unreadable { file: self.file.to_string(), at: Some((line, column + 1)), message: message.to_owned() }
    }

    /// Takes an event. Whether the document is at its end.
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<bool, Unreadable> {
        let place = Place { file: self.file.clone(), line: span.start.line().max(1) };
        match event {
            Event::Scalar(text, style, anchor, _) => {
                self.count(1, span)?;
                if self.is_key_next() {
                    self.key(&text, place, span)?;
                    return Ok(false);
                }
                let node = Node { place, data: scalar(text, style, self.spell) };
                self.remember(anchor, &node, 1);
                self.add(node);
            }
            Event::SequenceStart(anchor, _) => self.begin(Data::List(Vec::new()), anchor, place, span)?,
            Event::MappingStart(anchor, _) => self.begin(Data::Map(Vec::new()), anchor, place, span)?,
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(Open { mut node, anchor, before, .. }) = self.open.pop() else { return Ok(false) };
                merge(&mut node);
                let size = self.nodes.saturating_sub(before);
                if anchor != 0 {
                    // A copy is kept for each.
                    self.count(size, span)?;
                }
                self.remember(anchor, &node, size);
                self.add(node);
            }
            Event::Alias(anchor) => self.alias(anchor, place, span)?,
            Event::DocumentEnd | Event::StreamEnd => return Ok(true),
            _ => {}
        }
        Ok(false)
    }

    /// Repeats what an anchor names.
    fn alias(&mut self, anchor: usize, place: Place, span: Span) -> Result<(), Unreadable> {
        let Some((node, size)) = self.anchors.get(&anchor).cloned() else {
            let at = span.start;
            return Err(self.refuse(at.line(), at.col(), "this alias names nothing that is complete"));
        };
        self.count(size, span)?;
        if self.is_key_next() {
            let text = node.text().unwrap_or_default().to_owned();
            return self.key(&text, place, span);
        }
        self.add(Node { place, ..node });
        Ok(())
    }

    fn count(&mut self, more: usize, span: Span) -> Result<(), Unreadable> {
        self.nodes = self.nodes.saturating_add(more);
        if self.nodes > NODES_MAX {
            let message = format!("the file has more than {NODES_MAX} values, with those that aliases repeat");
            return Err(self.refuse(span.start.line(), span.start.col(), &message));
        }
        Ok(())
    }

    fn begin(&mut self, data: Data, anchor: usize, place: Place, span: Span) -> Result<(), Unreadable> {
        let at = span.start;
        self.count(1, span)?;
        if self.open.len() >= DEPTH_MAX {
            return Err(self.refuse(at.line(), at.col(), &format!("this is nested deeper than {DEPTH_MAX} levels")));
        }
        if self.is_key_next() {
            return Err(self.refuse(at.line(), at.col(), "a key is a text"));
        }
        let before = self.nodes - 1;
        self.open.push(Open { node: Node { place, data }, anchor, before, key: None, keys: HashSet::new() });
        Ok(())
    }

    /// Whether a map is open that has no key for its next value.
    fn is_key_next(&self) -> bool {
        self.open.last().is_some_and(|open| open.key.is_none() && matches!(open.node.data, Data::Map(_)))
    }

    fn key(&mut self, text: &str, place: Place, span: Span) -> Result<(), Unreadable> {
        let is_new = self.open.last_mut().is_some_and(|open| {
            open.key = Some((text.into(), place));
            text == "<<" || open.keys.insert(text.to_ascii_lowercase())
        });
        if is_new {
            return Ok(());
        }
        Err(self.refuse(span.start.line(), span.start.col(), &format!("the key `{text}` is there twice")))
    }

    fn remember(&mut self, anchor: usize, node: &Node, size: usize) {
        if anchor != 0 {
            self.anchors.insert(anchor, (node.clone(), size));
        }
    }

    fn add(&mut self, node: Node) {
        let Some(open) = self.open.last_mut() else {
            self.root.get_or_insert(node);
            return;
        };
        match &mut open.node.data {
            Data::List(list) => list.push(node),
            Data::Map(entries) => {
                if let Some((key, place)) = open.key.take() {
                    entries.push((key, Node { place, ..node }));
                }
            }
            Data::Null | Data::Text(_) => {}
        }
    }
}

fn scalar(text: Cow<'_, str>, style: ScalarStyle, spell: fn(&str) -> String) -> Data {
    match (style, &*text) {
        (ScalarStyle::Plain, "" | "~" | "null" | "Null" | "NULL") => Data::Null,
        (_, text) => Data::Text(spell(text).into()),
    }
}

/// `<<: *other` takes over the entries of another map, or of a list of maps, that are not there already.
fn merge(node: &mut Node) {
    let Data::Map(entries) = &mut node.data else { return };
    let (merged, own): (Vec<_>, Vec<_>) = std::mem::take(entries).into_iter().partition(|(key, _)| &**key == "<<");
    let mut known: HashSet<Rc<str>> = own.iter().map(|(key, _)| key.clone()).collect();
    *entries = own;
    for (_, other) in merged {
        let others = if let Data::List(others) = other.data { others } else { vec![other] };
        for (key, value) in others.into_iter().flat_map(|other| other.entries().to_vec()) {
            if known.insert(key.clone()) {
                entries.push((key, value));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Node, String> {
        parse(&"x.yml".into(), text, str::to_owned).map_err(|error| error.to_string())
    }

    #[test]
    fn values_have_their_lines() {
        let node = parsed("a:\n  - b\n  - c: d\n    E: 'null'\nf: null\n").unwrap();
        let list = node.get("a").unwrap();
        assert_eq!((list.place.line, list.elements()[0].place.line, list.elements()[0].text()), (1, 2, Some("b")));
        let inner = list.elements()[1].get("e").unwrap();
        assert_eq!((inner.place.line, inner.text()), (4, Some("null")));
        assert!(matches!(node.get("F").unwrap().data, Data::Null));
    }

    #[test]
    fn merged_keys_are_taken_over() {
        let node = parsed("x: &x {a: 1, b: 2}\ny:\n  <<: *x\n  b: 3\nz:\n  <<: [*x, {c: 4}]\n").unwrap();
        assert_eq!((node.text_at("y.a"), node.text_at("y.b")), (Some("1"), Some("3")));
        assert_eq!((node.text_at("z.b"), node.text_at("z.c")), (Some("2"), Some("4")));
    }

    #[test]
    fn hostile_files_end_in_an_error() {
        let mut bomb = "a0: &a0 [x]\n".to_owned();
        for level in 1..40 {
            bomb.push_str(&format!("a{level}: &a{level} [{}]\n", vec![format!("*a{}", level - 1); 10].join(", ")));
        }
        for (text, part) in [
            (bomb.as_str(), "more than 200000 values"),
            (&"[".repeat(10_000), ""),
            (&format!("a: {}x{}", "[".repeat(70), "]".repeat(70)), "nested deeper"),
            ("a: &a [*a]", "names nothing"),
            ("a: *b", ""),
            ("a: 1\nA: 2", "x.yml:2:1: the key `A` is there twice"),
            ("[a]: 1\n", "a key is a text"),
            ("a: 'b", ""),
        ] {
            let error = parsed(text).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
        assert!(parsed("").is_ok() && parsed("x").is_ok());
    }
}
