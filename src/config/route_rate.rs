//! The rate of a route: `rate = { per = "address", requests = 100, in = "1m", burst = 50 }`.

use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::time::Duration;

use unstick_reading::{Section, show_duration};

use super::key::{Kind, Shown};
use super::kinds::quoted;
use super::model::{Rate, RatePer};
use super::values;

/// How long the time of a rate may be.
const WITHIN: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(24 * 3600);
/// The most requests in that time, and at once.
const REQUESTS_MAX: u64 = 1_000_000;

/// The table `rate`.
pub(super) struct RateKeys;

impl Kind<Rate> for RateKeys {
    fn read(&self, section: &Section<'_>, key: &'static str) -> Option<Rate> {
        let section = section.section(key)?;
        let per = section.parsed_or("per", RatePer::Address, rate_per);
        let number = |key| section.integer(key, 1..=REQUESTS_MAX).and_then(|number| NonZeroU32::new(number as u32));
        let requests = number("requests");
        let within = section.duration("in", WITHIN);
        let burst = number("burst").or(requests);
        section.finish();
        for (key, help) in [("requests", "add requests = 100"), ("in", "add in = \"1m\"")] {
            section.missing(key, section.span.clone(), &format!("{} has no `{key}`", section.name), help);
        }
        Some(Rate { per: per?, requests: requests?, within: within?, burst: burst? })
    }

    fn show(&self, key: &str, value: &Rate, shown: &mut Shown) {
        let Rate { per, requests, within, burst } = value;
        shown.within(key, |shown| {
            shown.add("per", quoted(&shown_per(per)));
            shown.add("requests", requests.to_string());
            shown.add("in", quoted(&show_duration(*within)));
            shown.add("burst", burst.to_string());
        });
    }
}

fn shown_per(per: &RatePer) -> String {
    match per {
        RatePer::Route => "route".to_owned(),
        RatePer::Address => "address".to_owned(),
        RatePer::Header(name) => format!("header:{name}"),
    }
}

fn rate_per(text: &str) -> Result<RatePer, String> {
    match (text, text.strip_prefix("header:")) {
        ("route", _) => Ok(RatePer::Route),
        ("address", _) => Ok(RatePer::Address),
        (_, Some(name)) => values::field_name(name).map(RatePer::Header),
        _ => Err(format!("a rate is not counted by `{text}`; write \"address\", \"route\" or \"header:x-api-key\"")),
    }
}
