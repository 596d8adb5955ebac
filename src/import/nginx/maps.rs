//! A `map` that chooses an upstream: a route for each of its values.

use super::Importer;
use super::grammar::Directive;
use super::locations::Found;
use super::rewriting::Spot;
use super::text::{Part, parts, resolved};
use crate::imported::Keys;
use crate::value::Value;

impl<'t> Importer<'t> {
    /// The route of a location, behind those for the values of a `map` that chooses its upstream.
    pub(super) fn mapped(
        &mut self,
        found: &Found<'t>,
        spot: &Spot,
        rewrite: Option<(String, String)>,
        is_closed: bool,
    ) -> Option<super::Draft> {
        let Some((target, map)) = self.chosen(found) else { return self.content(found, spot, rewrite, is_closed) };
        let mut default = None;
        for entry in map.items() {
            let found = Found { target: Some(target.replace(VALUE, entry.arg(0))), ..found.clone() };
            if entry.name == "default" {
                default = Some(found);
                continue;
            }
            let spot = Spot {
                place: entry.place.clone(),
                origin: format!("{} for {}", spot.origin, entry.name),
                ..spot.clone()
            };
            if let Some(mut draft) = self.content(&found, &spot, rewrite.clone(), is_closed) {
                let (table, name) = subject(map.arg(0)).unwrap_or_default();
                let mut test = Keys::default();
                test.set(name, if entry.name.is_empty() { "!" } else { entry.name.as_str() });
                draft.route.keys.0.insert(0, (table.to_owned(), Value::Table(test)));
                self.push(draft);
            }
        }
        self.content(&default.unwrap_or_else(|| found.clone()), spot, rewrite, is_closed)
    }

    /// The target of a location with a mark where the value belongs, and the map that it is from.
    fn chosen(&self, found: &Found<'t>) -> Option<(String, &'t Directive)> {
        let pass = found.scope.own().iter().find(|item| item.name == "proxy_pass")?;
        let target = resolved(pass.arg(0), &found.scope);
        let variables = parts(&target).into_iter().filter_map(|part| match part {
            Part::Variable(name) => Some(name),
            Part::Literal(_) => None,
        });
        let maps = self.blocks("map");
        for name in variables {
            let map = maps.iter().find(|map| map.arg(1).trim_start_matches('$') == name);
            if let Some(map) = map.filter(|map| subject(map.arg(0)).is_some() && map.items().iter().all(is_plain)) {
                return Some((target.replace(&format!("${{{name}}}"), VALUE), *map));
            }
        }
        None
    }
}

/// Stands for the value of a map within a target.
const VALUE: &str = "\u{1}";

/// What a map looks at: the table of conditions, and the name in it.
fn subject(variable: &str) -> Option<(&'static str, String)> {
    let header = variable.strip_prefix("$http_").map(|name| ("header", name.replace('_', "-")));
    header.or_else(|| variable.strip_prefix("$arg_").map(|name| ("query", name.to_owned())))
}

/// Whether an entry is one value and one upstream.
fn is_plain(entry: &Directive) -> bool {
    let is_pattern = entry.name.starts_with(['~', '*', '!', '\\']);
    entry.args.len() == 1
        && !entry.arg(0).contains('$')
        && !is_pattern
        && !matches!(entry.name.as_str(), "include" | "hostnames" | "volatile")
}
