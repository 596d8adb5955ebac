//! What is compared of a text that is made of parts: a URL (RFC 3986 section 3), a media type (RFC 9110 section 8.3.1).
//! Pure.

use std::collections::BTreeSet;

/// What stands between two parts.
const BETWEEN: [char; 8] = ['/', '?', '#', '&', '=', ';', ',', ' '];

/// Which parts do not change between runs on one replica.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Parts {
    extent: Extent,
    /// The parts that change.
    changing: BTreeSet<usize>,
}

/// How much of the text has as many parts in each run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Extent {
    #[default]
    Whole,
    /// What stands before its query or parameters.
    Beginning,
    Nothing,
}

impl Parts {
    /// Adds what differs between two runs on one replica.
    pub(super) fn learn(&mut self, one: Option<&str>, other: Option<&str>) {
        let known = self.extent;
        let extents = [Extent::Whole, Extent::Beginning, Extent::Nothing].into_iter();
        for extent in extents.filter(|extent| *extent >= known) {
            self.extent = extent;
            let (one, other) = (extent.of(one), extent.of(other));
            if one.len() == other.len() {
                self.changing.extend((0..one.len()).filter(|at| one[*at] != other[*at]));
                return;
            }
        }
    }

    /// Whether two texts differ in what does not change.
    pub(super) fn differ(&self, one: Option<&str>, other: Option<&str>) -> bool {
        let (one, other) = (self.extent.of(one), self.extent.of(other));
        let mut same = one.iter().zip(&other).enumerate();
        one.len() != other.len() || same.any(|(at, (one, other))| one != other && !self.changing.contains(&at))
    }
}

impl Extent {
    /// The parts, each with what stands behind it. There are none if there is no text.
    fn of(self, text: Option<&str>) -> Vec<&str> {
        let text = match self {
            Self::Whole => text,
            Self::Beginning => text.and_then(|text| text.split(['?', '#', ';']).next()),
            Self::Nothing => None,
        };
        let Some(text) = text else { return Vec::new() };
        // An empty text has one part, which is empty.
        text.split_inclusive(BETWEEN).chain(text.is_empty().then_some(text)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_that_change_are_not_compared() {
        for (runs, same, others) in [
            (&["/a/1", "/a/2"][..], &["/a/3"][..], &["/b/1", "/a", "/a/1/2", "/a/1?b"][..]),
            (&["/a?t=1&n=x", "/a?t=2&n=x"], &["/a?t=3&n=x"], &["/a?t=3&n=y", "/a?t=3", "/b?t=3&n=x"]),
            // Not in each run as many.
            (&["/a/1?b", "/a/2"], &["/a/3", "/a/4?c=d"], &["/b/1", "/a?b"]),
            (&["/a", "/a/b", "/a"], &["/c", "/d/e/f"], &[]),
            (&["text/html", "text/html"], &["text/html"], &["text/plain", "text/html; charset=utf-8"]),
            (&["multipart/a; boundary=1", "multipart/a; boundary=2"], &["multipart/a; boundary=3"], &["multipart/b"]),
        ] {
            let mut parts = Parts::default();
            runs[1..].iter().for_each(|run| parts.learn(Some(runs[0]), Some(run)));
            let differ = |other: &&str| parts.differ(Some(runs[0]), Some(other));
            assert!(!same.iter().any(&differ), "{runs:?} {parts:?}");
            assert!(others.iter().all(differ), "{runs:?} {parts:?}");
        }
        let mut parts = Parts::default();
        assert!(parts.differ(None, Some("")) && !parts.differ(None, None));
        parts.learn(None, Some("/a"));
        assert!(!parts.differ(None, Some("/b")));
    }
}
