//! Values that a response brought and a later request sends again: they become captures, for in the next run they are
//! others.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::body::{decode, pairs};
use super::origin::Seen;
use super::replace::{Spot, each, is_whole, numbers, put_gap, sends};
use crate::journey::target::path_of;
use crate::journey::{Act, Capture, Source, Step, UNIQUE, template};

/// The fewest letters of a value that is looked for: shorter ones are met by chance.
const LENGTH_MIN: usize = 6;
/// The most letters.
const LENGTH_MAX: usize = 1024;
/// The most values that are looked for.
const VALUES_MAX: usize = 5000;

/// A step, and the response that was recorded.
pub(super) struct Exchange {
    pub(super) step: Step,
    pub(super) seen: Seen,
}

/// Makes captures of values that return. Says which, by the place of the step that takes them.
pub(super) fn link(exchanges: &mut [Exchange]) -> BTreeMap<usize, Vec<String>> {
    let mut links = Links::default();
    // These come first: a body that names the place as well may do so with the host that was recorded.
    for birth in 0..exchanges.len() {
        links.location(exchanges, birth);
    }
    let values = sent(exchanges);
    let births = births(exchanges, &values);
    // The longer first: a shorter one may be a part of it.
    let mut order: Vec<_> = births.into_iter().collect();
    order.sort_by_key(|(value, birth)| (std::cmp::Reverse(value.len()), *birth));
    for (value, birth) in order {
        let Some(first) = exchanges.iter_mut().position(|exchange| sends(&mut exchange.step, value)) else { continue };
        // What was sent before comes from the user, not from the application.
        if first <= birth {
            continue;
        }
        if let Some((source, hint)) = exchanges.get(birth).and_then(|exchange| exchange.seen.source(value)) {
            let name = links.take(exchanges, birth, source, &hint);
            let later = exchanges.iter_mut().skip(birth + 1);
            later.for_each(|exchange| put_gap(&mut exchange.step, value, &name));
        }
    }
    links.remarks
}

/// What was linked so far.
#[derive(Default)]
struct Links {
    names: BTreeSet<String>,
    remarks: BTreeMap<usize, Vec<String>>,
}

impl Links {
    /// Adds a capture to a step; its name.
    fn take(&mut self, exchanges: &mut [Exchange], place: usize, source: Source, hint: &str) -> String {
        let name = self.name(hint);
        if let Some(exchange) = exchanges.get_mut(place) {
            let remark = format!("review: `{name}` was taken because later steps send it again");
            self.remarks.entry(place).or_default().push(remark);
            exchange.step.captures.push(Capture { name: name.clone(), source });
        }
        name
    }

    /// A name that no other value has.
    fn name(&mut self, hint: &str) -> String {
        let letters = hint.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' });
        let letters: String = letters.collect();
        let base: String = letters.trim_matches('_').chars().take(32).collect();
        let base = if template::is_name(&base) && base != UNIQUE { base } else { format!("value_{base}") };
        let base = base.trim_end_matches('_').to_owned();
        let numbered = (2..).map(|number| format!("{base}_{number}"));
        let free = std::iter::once(base.clone()).chain(numbered).find(|name| !self.names.contains(name));
        let name = free.unwrap_or(base);
        self.names.insert(name.clone());
        name
    }

    /// Later requests that go where a `Location` leads, if that is a place of its own.
    fn location(&mut self, exchanges: &mut [Exchange], birth: usize) {
        let Some(location) = exchanges.get(birth).and_then(|exchange| {
            let (_, value) = exchange.seen.fields.iter().find(|(name, _)| name == "location")?;
            Some(path_of(value)).filter(|path| words(path).iter().any(|word| is_unique(word)))
        }) else {
            return;
        };
        let rest = |target: &str| {
            let rest = target.strip_prefix(location.as_str())?;
            (rest.is_empty() || rest.starts_with(['/', '?', '&'])).then(|| rest.to_owned())
        };
        let first =
            exchanges.iter_mut().position(|exchange| target(&mut exchange.step).is_some_and(|to| rest(to).is_some()));
        if first.is_none_or(|first| first <= birth) {
            return;
        }
        let name = self.take(exchanges, birth, Source::Header(http::header::LOCATION), "location");
        for exchange in exchanges.iter_mut().skip(birth + 1) {
            let Some(target) = target(&mut exchange.step) else { continue };
            if let Some(rest) = rest(target) {
                *target = format!("{{{{{name}}}}}{rest}");
            }
        }
    }
}

fn target(step: &mut Step) -> Option<&mut String> {
    match &mut step.act {
        Act::Request(request) | Act::WebSocket(request, _) | Act::EventStream(request, _) => Some(&mut request.target),
        Act::Talk(..) => None,
    }
}

/// All that requests send and that looks like a value of an application.
fn sent(exchanges: &mut [Exchange]) -> BTreeSet<String> {
    let mut values = BTreeSet::new();
    for exchange in exchanges {
        let mut note = |word: String| {
            if is_unique(&word) && values.len() < VALUES_MAX {
                values.insert(word);
            }
        };
        numbers(&exchange.step).into_iter().for_each(&mut note);
        each(&mut exchange.step, &mut |spot, text| {
            if spot == Spot::Plain {
                return words(text).into_iter().for_each(&mut note);
            }
            let (path, query) = text.split_once('?').unwrap_or((text, ""));
            let segments = path.split('/').filter_map(|segment| decode(&segment.replace('+', "%2B")));
            let query = pairs(query).unwrap_or_default().into_iter().map(|(_, value)| value);
            segments.chain(query).flat_map(|value| words(&value)).for_each(&mut note);
        });
    }
    values
}

/// A text, and its parts between spaces and other marks.
fn words(text: &str) -> Vec<String> {
    let is_quote = |c: char| c.is_whitespace() || "\"'<>,;&(){}[]".contains(c);
    let is_mark = |c: char| is_quote(c) || "=?/:".contains(c);
    let mut words: Vec<_> = text.split(is_quote).chain(text.split(is_mark)).map(str::to_owned).collect();
    words.push(text.to_owned());
    words.dedup();
    words
}

/// Whether a value is probably not met by chance: it has digits, or many letters large and small.
fn is_unique(text: &str) -> bool {
    let has = |is: fn(char) -> bool| text.contains(is);
    let is_long = text.len() >= 20 && has(|c| c.is_ascii_uppercase()) && has(|c| c.is_ascii_lowercase());
    (LENGTH_MIN..=LENGTH_MAX).contains(&text.len())
        && !has(|c| c.is_whitespace() || c.is_control())
        && !text.contains("://")
        && !text.contains("{{")
        && (has(|c| c.is_ascii_digit()) || is_long)
}

/// For each value that a response brought, the first that did. Each response is read once, however many values there
/// are: only where the first letters of one stand, the rest is compared.
fn births<'v>(exchanges: &[Exchange], values: &'v BTreeSet<String>) -> BTreeMap<&'v str, usize> {
    let mut starts: HashMap<&[u8], Vec<&'v str>> = HashMap::new();
    let mut pairs = vec![false; 1 << 16];
    for value in values {
        let Some(start) = value.as_bytes().get(..LENGTH_MIN) else { continue };
        starts.entry(start).or_default().push(value);
        if let Some(is_start) = pairs.get_mut(pair(start)) {
            *is_start = true;
        }
    }
    let mut births = BTreeMap::new();
    for (place, exchange) in exchanges.iter().enumerate() {
        for text in exchange.seen.texts() {
            for (at, window) in text.as_bytes().windows(LENGTH_MIN).enumerate() {
                if !pairs.get(pair(window)).copied().unwrap_or_default() {
                    continue;
                }
                for value in starts.get(window).into_iter().flatten() {
                    let rest = text.as_bytes().get(at..).unwrap_or_default();
                    if rest.starts_with(value.as_bytes()) && is_whole(&text, at, value) {
                        births.entry(*value).or_insert(place);
                    }
                }
            }
        }
    }
    births
}

/// The first two bytes as a number.
fn pair(bytes: &[u8]) -> usize {
    match bytes {
        [one, other, ..] => usize::from(*one) << 8 | usize::from(*other),
        _ => 0,
    }
}
