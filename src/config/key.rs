//! A key of the file, declared once: how its value is read, and how the file would say it.
//!
//! Each table of the file has one list of [`Key`]s, made by [`keys!`]: `slow_start: Time(...)` names a field of the
//! model and the [`Kind`] of its value. Reading a table asks for every key of its list. Comparing two configs shows
//! every key of both. So a key of the list is read, is missed by a test if `reference.toml` lacks it, and is named in
//! the log when an edit changes it.

use std::fmt;

use unstick_reading::{Section, join};

/// One key of a table whose values make a `T`.
pub(super) struct Key<T: 'static> {
    pub(super) name: &'static str,
    pub(super) read: fn(&Section<'_>, &'static str, &mut T),
    pub(super) show: fn(&T, &str, &mut Shown),
}

/// How the values of a key are read and shown.
pub(super) trait Kind<V> {
    /// The value of `key`; `None` if it is absent, or wrong, which was reported then.
    fn read(&self, section: &Section<'_>, key: &'static str) -> Option<V>;

    /// Adds what the file would say. A value that is written by leaving the key out adds nothing.
    fn show(&self, key: &str, value: &V, shown: &mut Shown);
}

/// The list of a table's keys: `keys!(Model { field: kind, field = "key": kind })`. A key has the name of its field
/// unless another one is given.
macro_rules! keys {
    ($model:ty { $($field:ident $(= $name:literal)?: $kind:expr),+ $(,)? }) => {
        &[$($crate::key::Key {
            name: $crate::key::keys!(@name $field $($name)?),
            read: |section, key, model: &mut $model| {
                if let Some(value) = $crate::key::Kind::read(&$kind, section, key) {
                    model.$field = value;
                }
            },
            show: |model: &$model, key, shown| $crate::key::Kind::show(&$kind, key, &model.$field, shown),
        }),+]
    };
    (@name $field:ident) => { stringify!($field) };
    (@name $field:ident $name:literal) => { $name };
}
pub(super) use keys;

/// Reads every key of the list; what is absent or wrong leaves `model` as it is.
pub(super) fn read<T: 'static>(section: &Section<'_>, keys: &[Key<T>], model: &mut T) {
    for key in keys {
        (key.read)(section, key.name, model);
    }
}

/// Shows every key of the list.
pub(super) fn show<T: 'static>(keys: &[Key<T>], model: &T, shown: &mut Shown) {
    for key in keys {
        (key.show)(model, key.name, shown);
    }
}

/// What an edit has changed, in the order of the list.
pub(super) fn changes<T: 'static>(keys: &[Key<T>], before: &T, after: &T) -> Vec<Change> {
    let [before, after] = [before, after].map(|model| {
        let mut shown = Shown::default();
        show(keys, model, &mut shown);
        shown.lines
    });
    let value = |lines: &[(String, String)], key: &str| {
        lines.iter().find(|(known, _)| known == key).map_or_else(|| ABSENT.to_owned(), |(_, value)| value.clone())
    };
    let added = after.iter().filter(|(key, _)| before.iter().all(|(known, _)| known != key));
    let names = before.iter().chain(added).map(|(key, _)| key);
    let changes = names.map(|key| Change { key: key.clone(), before: value(&before, key), after: value(&after, key) });
    changes.filter(|change| change.before != change.after).collect()
}

/// What stands for the value of a key that is not there.
const ABSENT: &str = "absent";

/// The keys of a table, dotted below it, with their values as the file would say them.
#[derive(Debug, Default)]
pub(super) struct Shown {
    table: String,
    lines: Vec<(String, String)>,
}

impl Shown {
    /// Adds a key of the present table.
    pub(super) fn add(&mut self, key: &str, value: impl Into<String>) {
        self.lines.push((join(&self.table, key), value.into()));
    }

    /// Adds what `fill` adds, as keys of the table `key`.
    pub(super) fn within(&mut self, key: &str, fill: impl FnOnce(&mut Self)) {
        let inner = join(&self.table, key);
        let outer = std::mem::replace(&mut self.table, inner);
        fill(self);
        self.table = outer;
    }
}

/// A key that an edit has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The key, dotted below its table.
    pub key: String,
    before: String,
    after: String,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} -> {}", self.key, self.before, self.after)
    }
}
