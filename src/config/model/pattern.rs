//! Regular expressions of the file. They are searched in time that is linear in the text, whatever they are.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use regex::{Regex, RegexBuilder};

/// The most memory that one may take, in bytes. `\d{1000}{1000}` would take all there is.
pub const PATTERN_BYTES_MAX: usize = 256 * 1024;
/// How deeply its groups may be nested.
const NEST_MAX: u32 = 50;

/// A regular expression. Two are equal if they are written alike.
#[derive(Debug, Clone)]
pub struct Pattern(Regex);

impl Pattern {
    /// Reads one.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(text: &str) -> Result<Self, String> {
        RegexBuilder::new(text).size_limit(PATTERN_BYTES_MAX).nest_limit(NEST_MAX).build().map(Self).map_err(|error| {
            match error {
                regex::Error::CompiledTooBig(_) => format!("`{text}` would take too much memory; repeat less in it"),
                // Its last line says what; those before show where, over several lines.
                error => {
                    let error = error.to_string();
                    let what = error.lines().last().unwrap_or_default().trim_start_matches("error: ");
                    format!("`{text}` is no regular expression: {what}")
                }
            }
        })
    }

    /// Whether it is found in `text`.
    pub fn is_in(&self, text: &str) -> bool {
        self.0.is_match(text)
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Pattern {}

impl PartialOrd for Pattern {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Pattern {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl Hash for Pattern {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}
