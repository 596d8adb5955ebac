//! TOML as a tree, with the lines of its keys.

use std::rc::Rc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::node::{Data, Node};
use super::yaml::DEPTH_MAX;
use crate::imported::{Place, Unreadable};

/// The whole file. `spell` says how unstick writes a text.
pub(super) fn parse(file: &Rc<str>, text: &str, spell: fn(&str) -> String) -> Result<Node, Unreadable> {
    let begins = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
    let reader = Reader { file: file.clone(), begins, spell };
    let table = DeTable::parse(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        let line = reader.line(start);
        let column = start - reader.begins.get(line - 1).copied().unwrap_or_default() + 1;
        Unreadable { file: file.to_string(), at: Some((line, column)), message: error.message().to_owned() }
    })?;
    reader.table(table.get_ref(), reader.place(0), 0)
}

struct Reader {
    file: Rc<str>,
    /// Where each line begins.
    begins: Vec<usize>,
    spell: fn(&str) -> String,
}

impl Reader {
    /// The line of a byte, from 1.
    fn line(&self, at: usize) -> usize {
        self.begins.partition_point(|begin| *begin <= at).max(1)
    }

    fn place(&self, at: usize) -> Place {
        Place { file: self.file.clone(), line: self.line(at) }
    }

    fn table(&self, table: &DeTable<'_>, place: Place, depth: usize) -> Result<Node, Unreadable> {
        let mut entries = Vec::new();
        for (key, value) in table.iter() {
            let node = self.value(value, depth + 1)?;
            let place = self.place(key.span().start);
            entries.push((Rc::from(key.get_ref().as_ref()), Node { place, ..node }));
        }
        // They come sorted by their names.
        entries.sort_by_key(|(_, node): &(Rc<str>, Node)| node.place.line);
        Ok(Node { place, data: Data::Map(entries) })
    }

    fn value(&self, value: &Spanned<DeValue<'_>>, depth: usize) -> Result<Node, Unreadable> {
        let place = self.place(value.span().start);
        if depth > DEPTH_MAX {
            let message = format!("this is nested deeper than {DEPTH_MAX} levels");
            return Err(Unreadable { file: self.file.to_string(), at: Some((place.line, 1)), message });
        }
        let data = match value.get_ref() {
            DeValue::String(text) => Data::Text((self.spell)(text).into()),
            DeValue::Integer(number) => Data::Text(number.to_string().into()),
            DeValue::Float(number) => Data::Text(number.to_string().into()),
            DeValue::Boolean(switch) => Data::Text(switch.to_string().into()),
            DeValue::Datetime(time) => Data::Text(time.to_string().into()),
            DeValue::Array(array) => {
                Data::List(array.iter().map(|element| self.value(element, depth + 1)).collect::<Result<_, _>>()?)
            }
            DeValue::Table(table) => return self.table(table, place, depth),
        };
        Ok(Node { place, data })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_their_lines() {
        let text = "[z]\na = 1\n[[z.b]]\nc = ['x', \"y\"]\n[a]\nd = true\n";
        let node = parse(&"x.toml".into(), text, str::to_owned).unwrap();
        assert_eq!(node.entries().iter().map(|(key, _)| &**key).collect::<Vec<_>>(), ["z", "a"]);
        assert_eq!((node.number_at("Z.A"), node.get("a.d").unwrap().place.line), (Some(1), 6));
        let inner = &node.get("z.b").unwrap().elements()[0];
        assert_eq!((inner.texts_at("c"), inner.get("c").unwrap().place.line), (vec!["x", "y"], 4));
        let error = parse(&"x.toml".into(), "a = 1\nb = \n", str::to_owned).unwrap_err();
        assert!(error.to_string().starts_with("x.toml:2:"), "{error}");
        let deep = format!("a = {}1{}", "[".repeat(3000), "]".repeat(3000));
        assert!(parse(&"x.toml".into(), &deep, str::to_owned).is_err());
    }
}
