//! Makes one document of several files.
//!
//! The tables at the top are joined by their keys, so each file may bring pools, say, or some of the timeouts. What
//! stands in such a table, and any other key at the top, stands in one file only: nobody should have to know which file
//! wins. Lists of tables are put one behind the other, in the order of the files.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use crate::problem::Sink;
use crate::syntax::Document;
use crate::value::join as path;

/// Adds what a further file says. What is there already is reported, with both places.
pub fn join<'t>(whole: &mut Document<'t>, part: Document<'t>, sink: &Sink<'_>) {
    whole.is_readable &= part.is_readable;
    let table = whole.table.get_mut();
    for (key, value) in part.table.into_inner() {
        let Some(there) = table.get_mut(&**key.get_ref()) else {
            table.insert(key, value);
            continue;
        };
        let span = value.span();
        match (there.get_mut(), value.into_inner()) {
            (DeValue::Table(there), DeValue::Table(more)) => join_tables(key.get_ref(), there, more, sink),
            (DeValue::Array(there), DeValue::Array(more)) if is_of_tables(there) && is_of_tables(&more) => {
                more.into_iter().for_each(|element| there.push(element));
            }
            (_, value) => {
                let first = table.get_key_value(&**key.get_ref()).map_or(0, |(first, _)| first.span().start);
                report(key.get_ref(), &Spanned::new(span, value), key.span(), first, sink);
            }
        }
    }
}

fn join_tables<'t>(name: &str, there: &mut DeTable<'t>, more: DeTable<'t>, sink: &Sink<'_>) {
    for (key, value) in more {
        match there.get_key_value(&**key.get_ref()) {
            Some((first, _)) => report(&path(name, key.get_ref()), &value, key.span(), first.span().start, sink),
            None => _ = there.insert(key, value),
        }
    }
}

fn is_of_tables(array: &DeArray<'_>) -> bool {
    array.iter().all(|element| element.get_ref().is_table())
}

fn report(key: &str, value: &Spanned<DeValue<'_>>, span: Range<usize>, first: usize, sink: &Sink<'_>) {
    let written = if value.get_ref().is_table() { format!("[{key}]") } else { format!("`{key}`") };
    let place = sink.line_seen_from(first, span.start);
    sink.report(span, format!("{written} is already defined in {place}"), Some("remove one of the two".to_owned()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Section, document};

    /// The names that were read below `key`, or the problems, of several files.
    fn read(texts: &[&str], key: &'static str) -> Result<Vec<String>, Vec<String>> {
        let names: Vec<String> = (0..texts.len()).map(|nth| format!("{nth}.toml")).collect();
        let mut sink = Sink::new(&names[0], texts[0], &[]);
        for (name, text) in names.iter().zip(texts).skip(1) {
            sink.add(name, text);
        }
        let mut whole = document(&sink, 0);
        for nth in 1..texts.len() {
            join(&mut whole, document(&sink, nth), &sink);
        }
        assert!(whole.is_readable || !sink.is_clean());
        let top = Section::new("", "", whole.table.get_ref(), whole.table.span(), &sink);
        let named = top.get(key).and_then(|value| match value.value {
            DeValue::Array(_) => value.array().map(|elements| {
                elements.iter().map(|element| format!("{:?}", sink.place(element.span.start))).collect()
            }),
            _ => value.entries().map(|entries| entries.iter().map(|(name, _)| (*name).to_owned()).collect()),
        });
        let problems = sink.into_problems();
        let line = |problem: &crate::Problem| {
            format!("{}:{}:{} {}", problem.file, problem.line, problem.column, problem.message)
        };
        if problems.iter().count() == 0 {
            Ok(named.unwrap_or_default())
        } else {
            Err(problems.iter().map(line).collect())
        }
    }

    #[test]
    fn tables_are_joined_and_lists_follow_each_other() {
        let first = "[pool.a]\nx = 1\n[[route]]\nn = 1\n[limits]\na = 1\n";
        let second = "[[route]]\nn = 2\n[[route]]\nn = 3\n[pool.c]\n[pool.b]\nlimits = 3\n";
        let third = "limits.b = 1\npool = { d = {} }\nroute = [{ n = 4 }]";
        let all = [first, second, third];
        assert_eq!(read(&all, "pool"), Ok(["a", "c", "b", "d"].map(String::from).into()));
        assert_eq!(read(&all, "limits"), Ok(["a", "b"].map(String::from).into()));
        assert_eq!(read(&all, "route"), Ok(["(3, 1)", "(1, 1)", "(3, 1)", "(3, 10)"].map(String::from).into()));
    }

    #[test]
    fn what_two_files_say_is_a_problem_with_both_places() {
        for (first, second, expected) in [
            ("[pool.a]\n", "\n[pool.a]\n", "1.toml:2:7 [pool.a] is already defined in line 1 of 0.toml"),
            ("\n[pool.a]\n", "[pool.a.tls]\n", "1.toml:1:7 [pool.a] is already defined in line 2 of 0.toml"),
            ("n = 1\n", "n = 1\n", "1.toml:1:1 `n` is already defined in line 1 of 0.toml"),
            ("t.a = 1\n", "t.b = 1\nt.a = 1\n", "1.toml:2:3 `t.a` is already defined in line 1 of 0.toml"),
            ("[[r]]\n", "[r]\n", "1.toml:1:2 [r] is already defined in line 1 of 0.toml"),
            ("l = [1]\n", "l = [2]\n", "1.toml:1:1 `l` is already defined in line 1 of 0.toml"),
            ("a = 1\na = 2\n", "b = 1\n", "0.toml:2:1 `a` is already defined"),
            ("a = 1\n", "b = \n", "1.toml:1:5 string values must be quoted, expected literal string"),
        ] {
            assert_eq!(read(&[first, second], "x"), Err(vec![expected.to_owned()]), "{first} {second}");
        }
    }
}
