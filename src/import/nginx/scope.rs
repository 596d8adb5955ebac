//! A block with all that is around it: what it says itself, and what it inherits.

use super::grammar::Directive;

/// The directives of a block and of those around it, the outermost first.
#[derive(Debug, Clone)]
pub(super) struct Scope<'t> {
    levels: Vec<&'t [Directive]>,
}

impl<'t> Scope<'t> {
    pub(super) fn new(outermost: &'t [Directive]) -> Self {
        Self { levels: vec![outermost] }
    }

    /// A block within.
    pub(super) fn within(&self, items: &'t [Directive]) -> Self {
        let mut levels = self.levels.clone();
        levels.push(items);
        Self { levels }
    }

    /// The directives of this name at the nearest level that has any. nginx inherits lists so: one `add_header` of a
    /// location hides all of its server.
    pub(super) fn nearest(&self, name: &str) -> Vec<&'t Directive> {
        let of = |items: &'t [Directive]| items.iter().filter(|item| item.name == name).collect::<Vec<_>>();
        self.levels.iter().rev().map(|items| of(items)).find(|found| !found.is_empty()).unwrap_or_default()
    }

    /// The nearest directive of this name, of which there is one at most in a block.
    pub(super) fn one(&self, name: &str) -> Option<&'t Directive> {
        self.nearest(name).last().copied()
    }

    /// The directives of this name at any of these names, at the nearest level that has one of them.
    pub(super) fn nearest_of(&self, names: &[&str]) -> Vec<&'t Directive> {
        let of = |items: &'t [Directive]| {
            items.iter().filter(|item| names.contains(&item.name.as_str())).collect::<Vec<_>>()
        };
        self.levels.iter().rev().map(|items| of(items)).find(|found| !found.is_empty()).unwrap_or_default()
    }

    /// The server around a location, or the location's own server if it is within another one.
    pub(super) fn outer(&self) -> Option<Self> {
        (self.levels.len() >= 2).then(|| Self { levels: self.levels[..2].to_vec() })
    }

    /// What the block itself says.
    pub(super) fn own(&self) -> &'t [Directive] {
        self.levels.last().copied().unwrap_or_default()
    }

    /// The value of a variable that a `set` gives it, here or around.
    pub(super) fn variable(&self, name: &str) -> Option<&'t str> {
        let sets = self.levels.iter().rev().flat_map(|items| items.iter().rev());
        let set = sets.filter(|item| item.name == "set").find(|set| set.arg(0).trim_start_matches('$') == name);
        set.map(|set| set.arg(1))
    }
}
