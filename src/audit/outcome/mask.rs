//! Compares two outcomes of a step, but for what differs between two runs on one replica. Pure.

use std::collections::BTreeSet;

use unstick_proof::trial::pairs::body::{BodyDifference, Noise};

use super::parts::Parts;
use super::{Outcome, Seen};
use crate::journey::gaps;

/// Where outcomes of a step differ that should be the same.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mask {
    location: Parts,
    content_type: Parts,
    /// Cookies that are set in some runs only.
    cookies: BTreeSet<String>,
    body: Noise,
    /// Values of the run that stood in the body each time.
    markers: Option<BTreeSet<String>>,
}

/// A place in an outcome, and what stands there in the right one and in the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Differs {
    /// The place.
    pub at: String,
    /// What stands there in the first one.
    pub right: String,
    /// What stands there in the second one.
    pub wrong: String,
}

impl Mask {
    /// Adds what differs between the first run on one replica and another on the same. `false`: they do not even agree
    /// in what must never differ, so nothing can be said of the step.
    #[must_use]
    pub fn learn(&mut self, first: &Outcome, again: &Outcome) -> bool {
        let (Outcome::Response(one), Outcome::Response(other)) = (first, again) else { return first == again };
        if one.status != other.status || one.broken_off.is_some() != other.broken_off.is_some() {
            return false;
        }
        self.location.learn(one.location.as_deref(), other.location.as_deref());
        self.content_type.learn(one.content_type.as_deref(), other.content_type.as_deref());
        self.cookies.extend(one.cookies.symmetric_difference(&other.cookies).cloned());
        self.body.merge(&Noise::between(&one.body, &other.body));
        let known = self.markers.take().unwrap_or_else(|| markers(&one.body));
        self.markers = Some(known.intersection(&markers(&other.body)).cloned().collect());
        one.lacks == other.lacks
    }

    /// The first difference between the first run on one replica and any other outcome that is no noise.
    pub fn difference(&self, first: &Outcome, other: &Outcome) -> Option<Differs> {
        let (Outcome::Response(one), Outcome::Response(other)) = (first, other) else {
            return (first != other).then(|| Differs::new("status", &first.in_short(), &other.in_short()));
        };
        if one.status != other.status {
            return Some(Differs::new("status", &one.status.to_string(), &other.status.to_string()));
        }
        if one.broken_off.is_some() != other.broken_off.is_some() {
            let of = |seen: &Seen| seen.broken_off.clone().unwrap_or_else(|| "came whole".into());
            return Some(Differs::new("end of the body", &of(one), &of(other)));
        }
        let place = |at, parts: &Parts, one: &Option<String>, other: &Option<String>| {
            let differs = parts.differ(one.as_deref(), other.as_deref());
            let show = |text: &Option<String>| text.clone().unwrap_or_else(|| "nothing".into());
            differs.then(|| Differs::new(at, &show(one), &show(other)))
        };
        place("location", &self.location, &one.location, &other.location)
            .or_else(|| place("content-type", &self.content_type, &one.content_type, &other.content_type))
            .or_else(|| self.cookie(one, other))
            .or_else(|| lack(one, other))
            .or_else(|| self.marker(other))
            .or_else(|| {
                let BodyDifference { at, one, other } = self.body.difference(&one.body, &other.body)?;
                Some(Differs::new(&format!("body {at}"), &one, &other))
            })
    }

    /// A value of the run that stands in every right body and not in this one, however much of it is noise.
    fn marker(&self, other: &Seen) -> Option<Differs> {
        let there = markers(&other.body);
        let gone = self.markers.as_ref()?.iter().find(|marker| !there.contains(*marker))?;
        Some(Differs::new(&format!("text {gone:?}"), "contains it", "does not contain it"))
    }

    fn cookie(&self, one: &Seen, other: &Seen) -> Option<Differs> {
        let name = one.cookies.symmetric_difference(&other.cookies).find(|name| !self.cookies.contains(*name))?;
        let show = |seen: &Seen| if seen.cookies.contains(name) { "set" } else { "not set" };
        Some(Differs::new(&format!("cookie {name}"), show(one), show(other)))
    }
}

/// The names of values that stand in a body.
fn markers(body: &str) -> BTreeSet<String> {
    gaps(body).filter_map(|gap| body.get(gap.range)).map(str::to_owned).collect()
}

/// A text that one contains and the other does not.
fn lack(one: &Seen, other: &Seen) -> Option<Differs> {
    let is_lacking = |seen: &Seen, text: &String| seen.lacks.contains(text);
    let differs = |text: &&String| is_lacking(one, text) != is_lacking(other, text);
    let text = one.lacks.iter().chain(&other.lacks).find(differs)?;
    let show = |seen: &Seen| if is_lacking(seen, text) { "does not contain it" } else { "contains it" };
    Some(Differs::new(&format!("text {text:?}"), show(one), show(other)))
}

impl Differs {
    fn new(at: &str, right: &str, wrong: &str) -> Self {
        Self { at: at.to_owned(), right: right.to_owned(), wrong: wrong.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(status: u16, body: &str) -> Seen {
        Seen {
            status,
            location: None,
            cookies: BTreeSet::new(),
            content_type: Some("text/plain".into()),
            broken_off: None,
            lacks: Vec::new(),
            body: body.into(),
        }
    }

    fn place(first: &Seen, again: &[Seen], other: &Seen) -> Option<String> {
        let [first, other] = [first, other].map(|seen| Outcome::Response(seen.clone()));
        let mut mask = Mask::default();
        for again in again {
            assert!(mask.learn(&first, &Outcome::Response(again.clone())));
        }
        mask.difference(&first, &other).map(|differs| differs.at)
    }

    #[test]
    fn outcomes_are_compared_but_for_noise() {
        let plain = || seen(200, "cart: 5");
        let to = |location: &str| Seen { location: Some(location.into()), ..seen(302, "") };
        let sets = |name: &str| Seen { cookies: BTreeSet::from([name.to_owned()]), ..plain() };
        let broken = || Seen { broken_off: Some("the body broke off".into()), ..plain() };
        let lacking = || Seen { lacks: vec!["u-{{unique}}".into()], ..plain() };
        let json = || Seen { content_type: Some("application/json".into()), ..plain() };
        for (first, again, other, expected) in [
            (plain(), vec![], plain(), None),
            (plain(), vec![], seen(401, "cart: 5"), Some("status")),
            (plain(), vec![], seen(200, "cart: 6"), Some("body word 2")),
            (plain(), vec![seen(200, "cart: 6")], seen(200, "cart: 7"), None),
            (plain(), vec![seen(200, "cart: 6")], seen(200, "list: 7"), Some("body word 0")),
            (plain(), vec![], broken(), Some("end of the body")),
            (plain(), vec![], lacking(), Some("text \"u-{{unique}}\"")),
            (plain(), vec![], json(), Some("content-type")),
            (plain(), vec![], sets("sid"), Some("cookie sid")),
            (sets("sid"), vec![plain()], plain(), None),
            (sets("sid"), vec![plain()], sets("other"), Some("cookie other")),
            (to("/home?a=1"), vec![to("/home?a=2")], to("/home?a=3"), None),
            (to("/home?a=1"), vec![to("/home?a=2")], to("/login?a=3"), Some("location")),
            (to("/1"), vec![to("/2")], to("/3"), None),
            (to("/1"), vec![], seen(302, ""), Some("location")),
            (to("/orders/1"), vec![to("/orders/2")], to("/signin"), Some("location")),
            (to("/go?t=1&to=home"), vec![to("/go?t=2&to=home")], to("/go?t=3&to=signin"), Some("location")),
            // What the run has written is missing, though everything around it changes.
            (seen(200, "[1, {{a}}]"), vec![seen(200, "[{{a}}, 2, 3]")], seen(200, "[4]"), Some("text \"{{a}}\"")),
            (seen(200, "[1, {{a}}]"), vec![seen(200, "[2, 3]")], seen(200, "[4]"), None),
        ] {
            assert_eq!(place(&first, &again, &other).as_deref(), expected, "{first:?} {again:?} {other:?}");
        }
    }

    #[test]
    fn what_must_not_differ_on_one_replica_is_no_noise() {
        let outcome = |seen: Seen| Outcome::Response(seen);
        let broken = Seen { broken_off: Some("x".into()), ..seen(200, "") };
        let lacking = Seen { lacks: vec!["x".into()], ..seen(200, "") };
        for (one, other, expected) in [
            (outcome(seen(200, "1")), outcome(seen(200, "2")), true),
            (outcome(seen(200, "")), outcome(seen(500, "")), false),
            (outcome(seen(200, "")), outcome(broken), false),
            (outcome(seen(200, "")), outcome(lacking), false),
            (outcome(seen(200, "")), Outcome::Failed("x".into()), false),
            (Outcome::Skipped, Outcome::Skipped, true),
            (Outcome::Skipped, outcome(seen(200, "")), false),
        ] {
            assert_eq!(Mask::default().learn(&one, &other), expected, "{one:?} {other:?}");
        }
    }
}
