//! What is known of the names among the backends. Pure; `discover.rs` asks for them.
//!
//! Each family of addresses is known by itself, because a name server may answer for one and fail for the other. That
//! it could not be asked (no response, SERVFAIL, REFUSED) says nothing about a name: its last addresses stay in use for
//! as long as that lasts. That there is no such name, or no record, is believed when it is still said after
//! `dns.give_up`, and at once for an address whose health check fails too: the address may be somebody else's by then.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::model::Families;

/// How long a start waits for the other family when one has addresses.
const OTHER_FAMILY_MAX: Duration = Duration::from_millis(250);

/// A family of IP addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    /// Those that are asked for.
    pub(crate) fn all(wanted: Families) -> &'static [Self] {
        match wanted {
            Families::Both => &[Self::V4, Self::V6],
            Families::Ipv4 => &[Self::V4],
            Families::Ipv6 => &[Self::V6],
        }
    }
}

/// What asking for a name has brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Finding {
    /// Its addresses: sorted, never empty.
    Addresses(Vec<IpAddr>),
    /// There is no such name, or it has no address of this family.
    Denied,
    /// Nobody could be asked; why.
    Unknown(String),
}

/// A finding, and for what.
#[derive(Debug)]
pub(crate) struct Resolution {
    pub(crate) host: String,
    pub(crate) family: Family,
    pub(crate) finding: Finding,
}

/// What follows from a finding.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// Nothing that was not known.
    None,
    /// There are other addresses.
    Changed,
    /// Nobody could be asked, for the first time; so many addresses stay in use.
    Unknown { why: String, kept: usize },
    /// The name is denied for the first time; so many addresses stay in use.
    Denied { kept: usize },
    /// These addresses are not used any more.
    GivenUp(Vec<IpAddr>),
}

/// All names that were asked for.
#[derive(Debug, Default)]
pub(crate) struct Names(BTreeMap<String, [Known; 2]>);

/// What is known of one family of one name.
#[derive(Debug, Default, Clone)]
struct Known {
    addresses: Vec<IpAddr>,
    /// Addresses that were given up since the last good answer.
    given_up: Vec<IpAddr>,
    /// Since when the name is denied; a failure to ask leaves it, an answer ends it.
    denied_since: Option<Instant>,
    /// The last finding, with its time.
    last: Option<(Finding, Instant)>,
}

impl Names {
    /// The addresses in use of a name.
    pub(crate) fn addresses(&self, host: &str) -> impl Iterator<Item = IpAddr> {
        self.0.get(host).into_iter().flatten().flat_map(|known| known.addresses.iter().copied())
    }

    /// Whether an address of a name was given up, and nothing has replaced it.
    pub(crate) fn has_given_up(&self, host: &str, address: IpAddr) -> bool {
        self.0.get(host).into_iter().flatten().any(|known| known.given_up.contains(&address))
    }

    /// Forgets all names but these, and all families but these.
    pub(crate) fn keep(&mut self, names: &BTreeSet<String>, families: Families) {
        self.0.retain(|name, _| names.contains(name));
        for known in self.0.values_mut() {
            for (family, known) in [Family::V4, Family::V6].into_iter().zip(known) {
                if !Family::all(families).contains(&family) {
                    *known = Known::default();
                }
            }
        }
    }

    /// Takes in a finding. `is_failing` says whether the health check of an address of this name fails.
    pub(crate) fn learn(
        &mut self,
        Resolution { host, family, finding }: Resolution,
        now: Instant,
        give_up: Duration,
        is_failing: impl Fn(&str, IpAddr) -> bool,
    ) -> News {
        let known = &mut self.0.entry(host.clone()).or_default()[family as usize];
        let before = known.last.replace((finding.clone(), now)).map(|(finding, _)| finding);
        match finding {
            Finding::Addresses(addresses) => {
                (known.denied_since, known.given_up) = (None, Vec::new());
                let is_new = known.addresses != addresses;
                known.addresses = addresses;
                if is_new { News::Changed } else { News::None }
            }
            Finding::Unknown(why) => match before {
                Some(Finding::Unknown(_)) => News::None,
                _ => News::Unknown { why, kept: known.addresses.len() },
            },
            Finding::Denied => {
                let is_believed = now >= *known.denied_since.get_or_insert(now) + give_up;
                let is_over = |address: &IpAddr| is_believed || is_failing(&host, *address);
                let (over, kept): (Vec<_>, Vec<_>) = known.addresses.drain(..).partition(is_over);
                known.addresses = kept;
                known.given_up.extend(&over);
                match (over.is_empty(), before) {
                    (false, _) => News::GivenUp(over),
                    (true, Some(Finding::Denied)) => News::None,
                    (true, _) => News::Denied { kept: known.addresses.len() },
                }
            }
        }
    }

    /// Until when a start waits for this name; `None` if it need not wait.
    ///
    /// A name that nobody could be asked for may come yet. One that does not exist is not waited for.
    pub(crate) fn awaited_until(&self, host: &str, families: Families) -> Option<Wait> {
        let Some(known) = self.0.get(host) else { return Some(Wait::Open) };
        let last = |family: &Family| known[*family as usize].last.as_ref();
        let findings: Vec<_> = Family::all(families).iter().map(last).collect();
        let found = findings.iter().flatten().filter(|(finding, _)| matches!(finding, Finding::Addresses(_)));
        if findings.iter().all(Option::is_some) && found.clone().next().is_some() {
            return None;
        }
        if let Some((_, at)) = found.min_by_key(|(_, at)| *at) {
            return Some(Wait::Until(*at + OTHER_FAMILY_MAX));
        }
        let is_denied = |finding: &Option<&(Finding, Instant)>| matches!(finding, Some((Finding::Denied, _)));
        (!findings.iter().all(is_denied)).then_some(Wait::Open)
    }
}

#[cfg(any(test, feature = "sim"))]
impl Names {
    /// One name with these addresses of IPv4.
    pub(crate) fn of(host: &str, addresses: &[IpAddr]) -> Self {
        let mut names = Self::default();
        let finding = Finding::Addresses(addresses.to_vec());
        let resolution = Resolution { host: host.to_owned(), family: Family::V4, finding };
        names.learn(resolution, Instant::now(), Duration::ZERO, |_, _| false);
        names
    }
}

/// How long a start waits for a name.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// As long as it waits at all.
    Open,
    /// Until then: one family is there.
    Until(Instant),
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIVE_UP: Duration = Duration::from_secs(30);

    fn ip(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    fn six() -> IpAddr {
        [0xfd00, 0, 0, 0, 0, 0, 0, 1].into()
    }

    /// Names with one name, `a`; a finding in a second of the test.
    struct Walk {
        names: Names,
        start: Instant,
        failing: Vec<IpAddr>,
    }

    impl Walk {
        fn new() -> Self {
            Self { names: Names::default(), start: Instant::now(), failing: Vec::new() }
        }

        fn at(&mut self, second: u64, family: Family, finding: Finding) -> News {
            let now = self.start + Duration::from_secs(second);
            let failing = self.failing.clone();
            let resolution = Resolution { host: "a".into(), family, finding };
            self.names.learn(resolution, now, GIVE_UP, |_, address| failing.contains(&address))
        }

        fn used(&self) -> Vec<IpAddr> {
            self.names.addresses("a").collect()
        }
    }

    fn unknown() -> Finding {
        Finding::Unknown("SERVFAIL".into())
    }

    #[test]
    fn a_family_that_cannot_be_asked_for_keeps_its_addresses_whatever_the_other_says() {
        let mut walk = Walk::new();
        assert_eq!(walk.at(0, Family::V4, Finding::Addresses(vec![ip(1), ip(2)])), News::Changed);
        assert_eq!(walk.at(0, Family::V6, Finding::Addresses(vec![six()])), News::Changed);
        assert_eq!(walk.at(1, Family::V4, unknown()), News::Unknown { why: "SERVFAIL".into(), kept: 2 });
        assert_eq!(walk.at(3, Family::V4, unknown()), News::None, "it is said once");
        assert_eq!(walk.at(3600, Family::V6, Finding::Addresses(vec![six()])), News::None);
        assert_eq!(walk.at(86_400, Family::V4, unknown()), News::None);
        assert_eq!(walk.used(), [ip(1), ip(2), six()]);
    }

    #[test]
    fn a_denial_is_believed_when_it_is_still_said_after_the_time_to_give_up() {
        let mut walk = Walk::new();
        walk.at(0, Family::V4, Finding::Addresses(vec![ip(1)]));
        assert_eq!(walk.at(10, Family::V4, Finding::Denied), News::Denied { kept: 1 });
        assert_eq!(walk.at(39, Family::V4, Finding::Denied), News::None);
        assert_eq!(walk.at(41, Family::V4, unknown()), News::Unknown { why: "SERVFAIL".into(), kept: 1 });
        assert_eq!(walk.used(), [ip(1)], "nobody has said so again");
        assert_eq!(walk.at(43, Family::V4, Finding::Denied), News::GivenUp(vec![ip(1)]));
        assert_eq!((walk.used(), walk.names.has_given_up("a", ip(1))), (vec![], true));
        assert_eq!(walk.at(45, Family::V4, Finding::Denied), News::None);
        assert_eq!(walk.at(50, Family::V4, Finding::Addresses(vec![ip(1)])), News::Changed);
        assert_eq!((walk.used(), walk.names.has_given_up("a", ip(1))), (vec![ip(1)], false));
        assert_eq!(walk.at(52, Family::V4, Finding::Denied), News::Denied { kept: 1 }, "the time begins anew");
    }

    #[test]
    fn a_denial_and_a_failing_check_together_are_believed_at_once() {
        let mut walk = Walk::new();
        walk.at(0, Family::V4, Finding::Addresses(vec![ip(1), ip(2)]));
        walk.failing = vec![ip(2)];
        assert_eq!(walk.at(1, Family::V4, unknown()), News::Unknown { why: "SERVFAIL".into(), kept: 2 });
        assert_eq!(walk.at(2, Family::V4, Finding::Denied), News::GivenUp(vec![ip(2)]));
        assert_eq!(walk.used(), [ip(1)]);
        walk.failing = vec![];
        assert_eq!(walk.at(4, Family::V4, Finding::Denied), News::None, "what was given up does not come back");
        assert_eq!(walk.used(), [ip(1)]);
    }

    #[test]
    fn a_start_waits_for_what_may_come_and_for_nothing_else() {
        use Families::{Both, Ipv4};
        let wait = |findings: &[(Family, Finding)], families| {
            let mut walk = Walk::new();
            for (family, finding) in findings {
                walk.at(0, *family, finding.clone());
            }
            let grace = Wait::Until(walk.start + OTHER_FAMILY_MAX);
            walk.names.awaited_until("a", families).map(|wait| if wait == grace { "briefly" } else { "long" })
        };
        let found = Finding::Addresses(vec![ip(1)]);
        assert_eq!(wait(&[], Both), Some("long"));
        assert_eq!(wait(&[(Family::V4, found.clone())], Both), Some("briefly"));
        assert_eq!(wait(&[(Family::V4, found.clone()), (Family::V6, unknown())], Both), None);
        assert_eq!(wait(&[(Family::V4, found)], Ipv4), None);
        assert_eq!(wait(&[(Family::V4, Finding::Denied)], Both), Some("long"));
        assert_eq!(wait(&[(Family::V4, Finding::Denied), (Family::V6, unknown())], Both), Some("long"));
        assert_eq!(wait(&[(Family::V4, Finding::Denied), (Family::V6, Finding::Denied)], Both), None);
    }

    #[test]
    fn a_name_or_family_that_is_not_wanted_any_more_is_forgotten() {
        let mut walk = Walk::new();
        walk.at(0, Family::V4, Finding::Addresses(vec![ip(1)]));
        walk.at(0, Family::V6, Finding::Addresses(vec![six()]));
        walk.names.keep(&BTreeSet::from(["a".into()]), Families::Ipv4);
        assert_eq!(walk.used(), [ip(1)]);
        walk.names.keep(&BTreeSet::new(), Families::Both);
        assert_eq!(walk.used(), Vec::<IpAddr>::new(), "old addresses must not be used when the name comes back");
    }
}
