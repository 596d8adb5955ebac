//! A configuration as a tree, whatever it was written in: YAML, TOML, labels or flags. Each node knows its line.
//!
//! Keys are compared without case, as Traefik does. Texts are as unstick writes them: `${` refers to the environment,
//! and one that means nothing is `$${`.

use std::collections::HashMap;
use std::rc::Rc;

use crate::imported::Place;

/// A value, and where it was said. The place of an entry of a map is that of its key.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) data: Data,
}

/// What a value is.
#[derive(Debug, Clone)]
pub(super) enum Data {
    Null,
    Text(Rc<str>),
    List(Vec<Node>),
    Map(Vec<(Rc<str>, Node)>),
}

impl Node {
    /// A map without entries.
    pub(super) fn empty(place: Place) -> Self {
        Self { place, data: Data::Map(Vec::new()) }
    }

    /// The entries, if it is a map.
    pub(super) fn entries(&self) -> &[(Rc<str>, Node)] {
        if let Data::Map(entries) = &self.data { entries } else { &[] }
    }

    /// The elements, if it is a list.
    pub(super) fn elements(&self) -> &[Node] {
        if let Data::List(elements) = &self.data { elements } else { &[] }
    }

    /// What a dotted path leads to.
    pub(super) fn get(&self, path: &str) -> Option<&Node> {
        path.split('.').try_fold(self, |node, key| node.child(key))
    }

    /// The entry of this key.
    pub(super) fn child(&self, key: &str) -> Option<&Node> {
        self.entries().iter().find(|(known, _)| known.eq_ignore_ascii_case(key)).map(|(_, node)| node)
    }

    pub(super) fn text(&self) -> Option<&str> {
        if let Data::Text(text) = &self.data { Some(text) } else { None }
    }

    /// The text at a path, if it is not empty.
    pub(super) fn text_at(&self, path: &str) -> Option<&str> {
        self.get(path).and_then(Node::text).filter(|text| !text.is_empty())
    }

    /// A list of texts. In a label or a flag it is one text with commas.
    pub(super) fn texts(&self) -> Vec<&str> {
        match &self.data {
            Data::List(elements) => elements.iter().filter_map(Node::text).collect(),
            Data::Text(text) => text.split(',').map(str::trim).filter(|text| !text.is_empty()).collect(),
            Data::Null | Data::Map(_) => Vec::new(),
        }
    }

    /// The list of texts at a path.
    pub(super) fn texts_at(&self, path: &str) -> Vec<&str> {
        self.get(path).map(Node::texts).unwrap_or_default()
    }

    /// The whole number at a path.
    pub(super) fn number_at(&self, path: &str) -> Option<i64> {
        self.text_at(path)?.trim().parse().ok()
    }

    /// Whether the text at a path says yes.
    pub(super) fn is_true(&self, path: &str) -> bool {
        self.text_at(path).is_some_and(|text| matches!(&*text.to_ascii_lowercase(), "true" | "1" | "yes" | "on"))
    }

    /// Whether it says no, so that it is as good as absent.
    pub(super) fn is_off(&self) -> bool {
        self.text().is_some_and(|text| matches!(&*text.to_ascii_lowercase(), "false" | "0" | "no" | "off"))
    }

    /// Whether something is set at a path. `tls: {}` and the label `tls=true` set it, `tls=false` does not.
    pub(super) fn has(&self, path: &str) -> bool {
        self.get(path).is_some_and(|node| !node.is_off())
    }

    /// Takes over what `other` has and this one has not; lists follow each other.
    pub(super) fn join(&mut self, other: Node) {
        match (&mut self.data, other.data) {
            (Data::Map(own), Data::Map(more)) => {
                let mut places: HashMap<String, usize> = HashMap::new();
                own.iter().enumerate().for_each(|(at, (key, _))| _ = places.insert(key.to_ascii_lowercase(), at));
                for (key, node) in more {
                    match places.get(&key.to_ascii_lowercase()) {
                        Some(at) => own[*at].1.join(node),
                        None => own.push((key, node)),
                    }
                }
            }
            (Data::List(own), Data::List(more)) => own.extend(more),
            (own @ Data::Null, more) => *own = more,
            _ => {}
        }
    }

    /// The entry of this key, made if it is not there. What is no map becomes one.
    pub(super) fn child_mut(&mut self, key: &str, place: &Place) -> &mut Node {
        if !matches!(self.data, Data::Map(_)) {
            self.data = Data::Map(Vec::new());
        }
        let Data::Map(entries) = &mut self.data else { unreachable!("it was made a map") };
        let at = entries.iter().position(|(known, _)| known.eq_ignore_ascii_case(key)).unwrap_or_else(|| {
            entries.push((key.into(), Node { place: place.clone(), data: Data::Null }));
            entries.len() - 1
        });
        &mut entries[at].1
    }
}
