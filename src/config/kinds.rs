//! The kinds of values that several keys have: how each is read, and how the file would say it.

use std::fmt::Display;
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

pub(super) use unstick_reading::quoted;
use unstick_reading::{Section, one_of, path, show_duration, show_size, strings};

use super::key::{self, Key, Kind, Shown};

/// A duration. An optional one is written `"0s"` when there is none.
pub(super) struct Time(pub(super) RangeInclusive<Duration>);

/// A size in bytes. An optional one is written `"0B"` when there is none.
pub(super) struct Size(pub(super) RangeInclusive<u64>);

/// A whole number. An optional one is written 0 when there is none.
pub(super) struct Number(pub(super) RangeInclusive<u64>);

/// A share in percent.
pub(super) struct Share;

/// True or false.
pub(super) struct Switch;

/// One of a few words, the proper spelling of each value before its others.
pub(super) struct Word<V: 'static>(pub(super) &'static [(&'static str, V)]);

/// A word that [`str::parse`] knows.
pub(super) struct Parsed;

/// A string that a function makes sense of.
pub(super) struct Text<V>(pub(super) fn(&str) -> Result<V, String>);

/// A list of such strings.
pub(super) struct List<V>(pub(super) fn(&str) -> Result<V, String>);

/// The path of a file.
pub(super) struct FilePath;

/// What is written by leaving the key out when there is none.
pub(super) struct Optional<K>(pub(super) K);

/// A table of keys, each with a default.
pub(super) struct Table<T: 'static>(pub(super) &'static [Key<T>]);

impl Kind<Duration> for Time {
    fn read(&self, section: &Section<'_>, key: &'static str) -> Option<Duration> {
        section.duration(key, self.0.clone())
    }

    fn show(&self, key: &str, value: &Duration, shown: &mut Shown) {
        shown.add(key, show_duration(*value));
    }
}

impl Kind<Option<Duration>> for Time {
    fn read(&self, section: &Section<'_>, key: &'static str) -> Option<Option<Duration>> {
        section.duration(key, self.0.clone()).map(|duration| (!duration.is_zero()).then_some(duration))
    }

    fn show(&self, key: &str, value: &Option<Duration>, shown: &mut Shown) {
        shown.add(key, show_duration(value.unwrap_or_default()));
    }
}

impl<V: Whole> Kind<V> for Size {
    fn read(&self, section: &Section<'_>, key: &'static str) -> Option<V> {
        section.size(key, self.0.clone()).map(V::from_whole)
    }

    fn show(&self, key: &str, value: &V, shown: &mut Shown) {
        shown.add(key, show_size(value.whole()));
    }
}

impl<V: Whole> Kind<V> for Number {
    fn read(&self, section: &Section<'_>, key: &'static str) -> Option<V> {
        section.integer(key, self.0.clone()).map(V::from_whole)
    }

    fn show(&self, key: &str, value: &V, shown: &mut Shown) {
        shown.add(key, value.whole().to_string());
    }
}

impl Kind<u8> for Share {
    fn read(&self, section: &Section<'_>, key: &'static str) -> Option<u8> {
        section.share(key)
    }

    fn show(&self, key: &str, value: &u8, shown: &mut Shown) {
        shown.add(key, format!("{value}%"));
    }
}

impl Kind<bool> for Switch {
    fn read(&self, section: &Section<'_>, key: &'static str) -> Option<bool> {
        section.boolean(key)
    }

    fn show(&self, key: &str, value: &bool, shown: &mut Shown) {
        shown.add(key, value.to_string());
    }
}

impl<V: Copy + PartialEq + 'static> Kind<V> for Word<V> {
    fn read(&self, section: &Section<'_>, key: &'static str) -> Option<V> {
        section.parsed(key, |text| one_of(text, self.0))
    }

    fn show(&self, key: &str, value: &V, shown: &mut Shown) {
        shown.add(key, self.name(*value));
    }
}

impl<V: Copy + PartialEq + 'static> Word<V> {
    /// The proper spelling of a value.
    pub(super) fn name(&self, value: V) -> &'static str {
        self.0.iter().find(|(_, known)| *known == value).map_or("", |(word, _)| word)
    }
}

impl<V: Display + FromStr<Err = String>> Kind<V> for Parsed {
    fn read(&self, section: &Section<'_>, key: &'static str) -> Option<V> {
        section.parsed(key, str::parse)
    }

    fn show(&self, key: &str, value: &V, shown: &mut Shown) {
        shown.add(key, value.to_string());
    }
}

impl<V: Display> Kind<V> for Text<V> {
    fn read(&self, section: &Section<'_>, key: &'static str) -> Option<V> {
        section.parsed(key, self.0)
    }

    fn show(&self, key: &str, value: &V, shown: &mut Shown) {
        shown.add(key, quoted(&value.to_string()));
    }
}

impl<V: Display> Kind<Vec<V>> for List<V> {
    fn read(&self, section: &Section<'_>, key: &'static str) -> Option<Vec<V>> {
        Some(strings(section, key, self.0))
    }

    fn show(&self, key: &str, value: &Vec<V>, shown: &mut Shown) {
        shown.add(key, list(value.iter().map(|element| quoted(&element.to_string()))));
    }
}

impl Kind<PathBuf> for FilePath {
    fn read(&self, section: &Section<'_>, key: &'static str) -> Option<PathBuf> {
        path(section, key)
    }

    fn show(&self, key: &str, value: &PathBuf, shown: &mut Shown) {
        shown.add(key, quoted(&value.display().to_string()));
    }
}

impl<V, K: Kind<V>> Kind<Option<V>> for Optional<K> {
    fn read(&self, section: &Section<'_>, key: &'static str) -> Option<Option<V>> {
        self.0.read(section, key).map(Some)
    }

    fn show(&self, key: &str, value: &Option<V>, shown: &mut Shown) {
        if let Some(value) = value {
            self.0.show(key, value, shown);
        }
    }
}

impl<T: Default + 'static> Kind<T> for Table<T> {
    fn read(&self, section: &Section<'_>, key: &'static str) -> Option<T> {
        let section = section.section(key)?;
        let mut model = T::default();
        key::read(&section, self.0, &mut model);
        section.finish();
        Some(model)
    }

    fn show(&self, key: &str, value: &T, shown: &mut Shown) {
        shown.within(key, |shown| key::show(self.0, value, shown));
    }
}

/// What holds a whole number. One that is too large for it becomes the largest.
pub(super) trait Whole {
    fn from_whole(number: u64) -> Self;
    fn whole(&self) -> u64;
}

macro_rules! whole {
    ($($integer:ty),+) => {
        $(impl Whole for $integer {
            fn from_whole(number: u64) -> Self {
                Self::try_from(number).unwrap_or(Self::MAX)
            }

            fn whole(&self) -> u64 {
                *self as u64
            }
        })+
    };
}
whole!(u16, u32, u64, usize);

impl Whole for NonZeroUsize {
    fn from_whole(number: u64) -> Self {
        Self::new(usize::from_whole(number)).unwrap_or(Self::MIN)
    }

    fn whole(&self) -> u64 {
        self.get().whole()
    }
}

impl<W: Whole> Whole for Option<W> {
    fn from_whole(number: u64) -> Self {
        (number != 0).then(|| W::from_whole(number))
    }

    fn whole(&self) -> u64 {
        self.as_ref().map_or(0, Whole::whole)
    }
}

/// A list in one line.
pub(super) fn list(elements: impl Iterator<Item = String>) -> String {
    format!("[{}]", elements.collect::<Vec<_>>().join(", "))
}
