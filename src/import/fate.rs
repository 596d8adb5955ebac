//! What becomes of a word of another proxy's configuration. Each importer has one list of these, which it follows and
//! from which the tables of docs/import.md are made.

/// A word, and what becomes of it.
#[derive(Debug, Clone, Copy)]
pub struct Word {
    /// The word, as the other proxy calls it.
    pub name: &'static str,
    /// What becomes of it.
    pub fate: Fate,
}

/// What becomes of a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is translated to this.
    Taken(&'static str),
    /// Nothing needs to be written, for this reason.
    Needless(&'static str),
    /// It has no translation: why, and what to do.
    Left(&'static str, &'static str),
    /// The same, and it keeps somebody out: what it protects is closed.
    Guard(&'static str, &'static str),
}

/// The importers' lists, by the name of the proxy.
pub type Tables = Vec<(&'static str, &'static [Word])>;

pub(super) const fn taken(name: &'static str, becomes: &'static str) -> Word {
    Word { name, fate: Fate::Taken(becomes) }
}

pub(super) const fn needless(name: &'static str, why: &'static str) -> Word {
    Word { name, fate: Fate::Needless(why) }
}

pub(super) const fn left(name: &'static str, why: &'static str, what_to_do: &'static str) -> Word {
    Word { name, fate: Fate::Left(why, what_to_do) }
}

pub(super) const fn guard(name: &'static str, why: &'static str, what_to_do: &'static str) -> Word {
    Word { name, fate: Fate::Guard(why, what_to_do) }
}

/// The word of this name.
pub(super) fn find(words: &'static [Word], name: &str) -> Option<Fate> {
    words.iter().find(|word| word.name == name).map(|word| word.fate)
}

/// The tables of a list as Markdown: what is translated, what needs nothing, what is left out.
pub fn markdown(words: &[Word]) -> String {
    let rows = |pick: fn(Fate) -> Option<String>| -> String {
        words.iter().filter_map(|word| Some(format!("| `{}` | {} |\n", word.name, pick(word.fate)?))).collect()
    };
    let taken = rows(|fate| if let Fate::Taken(becomes) = fate { Some(becomes.to_owned()) } else { None });
    let needless = rows(|fate| if let Fate::Needless(why) = fate { Some(why.to_owned()) } else { None });
    let left = rows(|fate| match fate {
        Fate::Left(why, what_to_do) => Some(format!("{why} | {what_to_do}")),
        Fate::Guard(why, what_to_do) => Some(format!("{why}; what it protects answers 403 | {what_to_do}")),
        _ => None,
    });
    format!(
        "| translated | to |\n|---|---|\n{taken}\n| needs nothing | because |\n|---|---|\n{needless}\n\
         | left out | why | what to do |\n|---|---|---|\n{left}"
    )
}
