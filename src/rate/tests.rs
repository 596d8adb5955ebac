//! A limiter as its route sees it, and the bound of its memory.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;
use tokio::time::Instant;

use super::rule::{Rule, Verdict};
use super::table::{BYTES_MAX, PLACES_MAX, Table};
use super::{BYTES_ALL_MAX, Limiter, Limiters, Memory, Per, Wanted};

const MINUTE: Duration = Duration::from_secs(60);

fn rule(requests: u32, per: Duration, burst: u32) -> Rule {
    Rule::new(NonZeroU32::new(requests).unwrap(), per, burst)
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn keyed(values: &[&'static str]) -> HeaderMap {
    let field = |value: &&'static str| (HeaderName::from_static("x-api-key"), HeaderValue::from_static(value));
    values.iter().map(field).collect()
}

fn by_key() -> Per {
    Per::Header(HeaderName::from_static("x-api-key"))
}

/// How many of `count` requests at once are allowed.
fn allowed(limiter: &Limiter, client: &str, fields: &HeaderMap, count: usize, now: Instant) -> usize {
    (0..count).filter(|_| limiter.decide(0, limiter.hashed(address(client)), fields, now).is_ok()).count()
}

#[test]
fn a_rate_is_counted_by_what_it_says() {
    let (now, plain) = (Instant::now(), HeaderMap::new());
    let limiter = |per| Limiter::new(per, rule(10, MINUTE, 3), 1, &Memory::default());
    let route = limiter(Per::Route);
    assert_eq!([allowed(&route, "192.0.2.1", &plain, 2, now), allowed(&route, "192.0.2.2", &plain, 2, now)], [2, 1]);

    let by_address = limiter(Per::Address);
    for (client, expected) in [
        ("192.0.2.1", 3),
        ("::ffff:192.0.2.1", 0),
        ("192.0.2.2", 3),
        ("2001:db8::1", 3),
        ("2001:db8::ffff:0:0:2", 0),
        ("2001:db8:0:1::1", 3),
    ] {
        assert_eq!(allowed(&by_address, client, &plain, 4, now), expected, "{client}");
    }

    let by_value = limiter(by_key());
    for (client, fields, expected) in [
        ("192.0.2.1", keyed(&["a"]), 3),
        ("192.0.2.2", keyed(&["a"]), 0),
        ("192.0.2.1", keyed(&["b"]), 3),
        ("192.0.2.1", keyed(&[""]), 3),
        // Without the field, or with several, it is the address.
        ("192.0.2.1", keyed(&[]), 3),
        ("192.0.2.1", keyed(&["c", "d"]), 0),
        ("192.0.2.2", keyed(&["d", "c"]), 3),
    ] {
        assert_eq!(allowed(&by_value, client, &fields, 4, now), expected, "{client} {fields:?}");
    }
}

#[test]
fn a_refused_client_waits_as_told_and_nobody_else_does() {
    let (now, plain) = (Instant::now(), HeaderMap::new());
    let limiter = Limiter::new(Per::Address, rule(10, MINUTE, 1), 2, &Memory::default());
    assert_eq!(limiter.decide(0, limiter.hashed(address("192.0.2.1")), &plain, now), Ok(()));
    let wait = limiter.decide(1, limiter.hashed(address("192.0.2.1")), &plain, now).unwrap_err();
    assert_eq!(wait.seconds(), 6);
    assert_eq!(limiter.decide(1, limiter.hashed(address("192.0.2.2")), &plain, now), Ok(()));
    assert_eq!(limiter.decide(1, limiter.hashed(address("192.0.2.1")), &plain, now + wait.duration()), Ok(()));
    assert_eq!((limiter.allowed(), limiter.refused(), limiter.evicted()), (3, 1, 0));
    // A worker without a counter is limited all the same.
    assert!(limiter.decide(7, limiter.hashed(address("192.0.2.2")), &plain, now).is_err());
}

/// One route, `per`, and `burst` requests at once.
fn wanted(per: Per, requests: u32, burst: u32) -> [Wanted; 1] {
    [Wanted { route: "shop".to_owned(), per, rule: rule(requests, MINUTE, burst) }]
}

#[test]
fn a_reload_keeps_what_was_used() {
    let (now, fields, client) = (Instant::now(), keyed(&["a"]), "192.0.2.1");
    for per in [Per::Route, Per::Address, by_key()] {
        for (requests, burst, left) in
            [(10, 50, 20), (10, 60, 30), (10, 40, 10), (10, 20, 0), (100, 50, 20), (1, 60, 30)]
        {
            let before = Limiters::carry_over(&Limiters::default(), wanted(per.clone(), 10, 50), 1, now);
            assert_eq!(allowed(before.of("shop").unwrap(), client, &fields, 30, now), 30);
            let after = Limiters::carry_over(&before, wanted(per.clone(), requests, burst), 1, now);
            let limiter = after.of("shop").unwrap();
            let found = allowed(limiter, client, &fields, 100, now);
            assert_eq!(found, left, "by {per}: {requests} per minute, burst {burst}");
            assert_eq!(limiter.allowed(), 30 + left as u64, "the counters go on");
        }
    }
}

/// A connection keeps the hash of its client for as long as it lives, over reloads and for all routes.
#[test]
fn a_hash_that_was_kept_is_that_of_the_same_client_everywhere() {
    let (now, fields) = (Instant::now(), HeaderMap::new());
    let (client, other) = (address("192.0.2.1"), address("192.0.2.2"));
    let [shop] = wanted(Per::Address, 10, 2);
    let before = Limiters::carry_over(&Limiters::default(), [shop.clone()], 1, now);
    let kept = before.of("shop").unwrap().hashed(client);
    assert_eq!(before.of("shop").unwrap().decide(0, kept, &fields, now), Ok(()));
    let api = Wanted { route: "api".to_owned(), ..shop.clone() };
    let after = Limiters::carry_over(&before, [shop, api], 1, now);
    for (route, left) in [("shop", 1), ("api", 2)] {
        let limiter = after.of(route).unwrap();
        assert_eq!((0..9).filter(|_| limiter.decide(0, kept, &fields, now).is_ok()).count(), left, "{route}");
        assert!(limiter.decide(0, limiter.hashed(client), &fields, now).is_err(), "{route}: by another connection");
        assert_eq!(limiter.decide(0, limiter.hashed(other), &fields, now), Ok(()), "{route}: another client");
    }
}

#[test]
fn another_route_and_another_kind_begin_anew() {
    let (now, fields, client) = (Instant::now(), keyed(&["a"]), "192.0.2.1");
    let before = Limiters::carry_over(&Limiters::default(), wanted(Per::Address, 10, 2), 1, now);
    assert_eq!(allowed(before.of("shop").unwrap(), client, &fields, 3, now), 2);
    let after = Limiters::carry_over(&before, wanted(by_key(), 10, 2), 1, now);
    assert_eq!(allowed(after.of("shop").unwrap(), client, &fields, 3, now), 2);
    let [wanted] = wanted(Per::Address, 10, 2);
    let other = Limiters::carry_over(&before, [Wanted { route: "api".to_owned(), ..wanted }], 1, now);
    assert_eq!(allowed(other.of("api").unwrap(), client, &fields, 3, now), 2);
    assert!(other.of("shop").is_none());
    assert_eq!(other.iter().map(|(route, _)| route).collect::<Vec<_>>(), ["api"]);
}

/// A client of a set whose number has these lower bits, in all generations.
fn hash(client: u64, set: u64) -> u64 {
    (client << 38) | set
}

#[test]
fn a_rule_that_sees_few_clients_is_small() {
    let (rule, table) = (rule(10, MINUTE, 3), Table::default());
    for client in 1..=10 {
        assert!(table.decide(hash(client, client), &rule, rule.moment(0)).result.is_ok());
    }
    assert!(table.bytes() < 1024, "{} bytes", table.bytes());
}

/// Clients that come one after the other, each when the one before is forgotten, do not make the table grow.
#[test]
fn what_has_passed_takes_no_room() {
    let (rule, table) = (rule(1000, Duration::from_secs(1), 1), Table::default());
    for client in 1..=100_000 {
        let decided = table.decide(hash(client, 0), &rule, rule.moment(client * 1_100_000));
        assert!(decided.result.is_ok() && !decided.has_evicted);
    }
    assert!(table.bytes() < 1024, "{} bytes", table.bytes());
}

/// More clients than a set of the largest generation has words: the one that would be free first is forgotten.
#[test]
fn at_its_bound_a_set_forgets_the_client_that_has_used_least() {
    let (rule, table, now) = (rule(1, MINUTE, 5), Table::default(), 1);
    let decide = |client| table.decide(hash(client, 0), &rule, rule.moment(now));
    // Six generations of eight words. What was in the older ones is remembered there.
    for client in 1..=40 {
        assert!(!decide(client).has_evicted, "client {client}");
    }
    for (client, requests) in (41..=48).zip([2, 3, 1, 4, 5, 2, 3, 4]) {
        (0..requests).for_each(|_| assert!(!decide(client).has_evicted, "client {client}"));
    }
    let decided = decide(49);
    assert!(decided.result.is_ok() && decided.has_evicted);
    assert!((0..4).all(|_| decide(49).result.is_ok()) && decide(49).result.is_err());
    // Client 43 had used 1 of 5. It has all of them again; the others have what they had.
    let left = |client| (0..9).take_while(|_| decide(client).result.is_ok()).count();
    assert_eq!([41, 42, 44, 45, 46, 47, 48].map(left), [3, 2, 1, 0, 3, 2, 1]);
    assert_eq!(left(43), 5);
    assert_eq!(left(7), 4, "from an older generation");
}

#[test]
fn a_table_that_has_grown_to_its_bound_keeps_within_it() {
    let (rule, table) = (rule(1, MINUTE, 1), Table::default());
    for client in 1..=49 {
        table.decide(hash(client, 0), &rule, rule.moment(1));
    }
    // Now in each part of the largest generation.
    for set in 0..PLACES_MAX as u64 / 8 / 512 {
        table.decide(hash(1, set * 512), &rule, rule.moment(1));
    }
    let bytes = table.bytes();
    assert!(bytes <= BYTES_MAX && bytes > BYTES_MAX - 4096, "{bytes} of {BYTES_MAX} bytes");
}

/// All rules together have a bound too. What one gives back, another one can take.
#[test]
fn a_table_does_not_grow_beyond_the_memory_of_all() {
    let (rule, memory) = (rule(1, MINUTE, 1), Memory::default());
    let full = || {
        let table = Table::new(&memory);
        let evicted = (1..=49).filter(|client| table.decide(hash(*client, 0), &rule, rule.moment(1)).has_evicted);
        let evicted = evicted.count();
        (table, evicted)
    };
    let mut tables: Vec<(Table, usize)> = (0..9).map(|_| full()).collect();
    assert!(memory.in_use() <= BYTES_ALL_MAX && memory.in_use() > BYTES_ALL_MAX - BYTES_MAX, "{}", memory.in_use());
    let evicted: Vec<usize> = tables.iter().map(|(_, evicted)| *evicted).collect();
    assert_eq!(evicted, [1, 1, 1, 1, 1, 1, 1, 33, 41], "seven have all generations, what is left is for a small one");
    let before = memory.in_use();
    let translated = tables[0].0.translated(&rule, &rule, 1);
    tables.remove(0);
    assert_eq!(memory.in_use(), before, "one in the place of the other");
    drop(translated);
    assert!(memory.in_use() < before - BYTES_MAX / 2);
    assert_eq!(full().1, 1);
    drop(tables);
    assert_eq!(memory.in_use(), 0);
}

/// Many distinct addresses, each of which sends its burst.
fn flood(addresses: u32, now: Instant) -> Limiter {
    let (limiter, fields) = (Limiter::new(Per::Address, rule(1, MINUTE, 1), 1, &Memory::default()), HeaderMap::new());
    for number in 0..addresses {
        // What is refused is counted.
        _ = limiter.decide(0, limiter.hashed(IpAddr::from(Ipv4Addr::from_bits(number))), &fields, now);
    }
    assert!(limiter.refused() <= 2, "two clients are hardly ever taken for one");
    limiter
}

#[test]
fn many_addresses_are_all_limited() {
    let (fields, now) = (HeaderMap::new(), Instant::now());
    let limiter = flood(10_000, now);
    let again = (0..10_000).filter(|number| {
        let client = IpAddr::V6(Ipv4Addr::from_bits(*number).to_ipv6_mapped());
        limiter.decide(0, limiter.hashed(client), &fields, now).is_err()
    });
    assert_eq!((again.count(), limiter.evicted()), (10_000, 0));
    assert!(limiter.bytes() <= 10_000 * 340, "{} bytes", limiter.bytes());
    assert!(limiter.decide(0, limiter.hashed(IpAddr::from(Ipv6Addr::LOCALHOST)), &fields, now).is_ok());
}

/// Real threads, which all want the same while the table grows.
#[test]
fn threads_together_get_what_the_rule_says() {
    const THREADS: usize = 4;
    let (limiter, now) = (Limiter::new(Per::Address, rule(1, MINUTE, 3), THREADS, &Memory::default()), Instant::now());
    std::thread::scope(|scope| {
        for worker in 0..THREADS {
            let limiter = &limiter;
            scope.spawn(move || {
                for request in 0..2000_u32 {
                    let client = Ipv4Addr::from_bits((request + worker as u32 * 250) % 500);
                    _ = limiter.decide(worker, limiter.hashed(IpAddr::from(client)), &HeaderMap::new(), now);
                }
            });
        }
    });
    let allowed = limiter.allowed();
    assert!((1497..=1500).contains(&allowed), "{allowed}: two clients are hardly ever taken for one");
    assert_eq!(limiter.refused(), THREADS as u64 * 2000 - allowed);
}

/// Takes some seconds without optimisation.
#[test]
#[ignore = "`cargo test --lib a_million -- --ignored`"]
fn a_million_addresses_stay_within_the_bound() {
    let limiter = flood(1_000_000, Instant::now());
    let (bytes, evicted) = (limiter.bytes(), limiter.evicted());
    println!("{bytes} bytes of {BYTES_MAX}, {evicted} forgotten");
    assert!(bytes <= BYTES_MAX && evicted < 10_000);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// One client among others decides as its rule says, whatever the table does.
    #[test]
    fn a_table_decides_as_the_rule(
        requests in prop::collection::vec((1..60_u64, 0..2000_u64), 1..400),
        burst in 1..5_u32,
    ) {
        let (rule, table) = (rule(10, Duration::from_secs(1), burst), Table::default());
        let (mut tats, mut at) = (std::collections::HashMap::new(), 1 << 40);
        for (client, pause_ms) in requests {
            // The first generation has one set for all of them, the second one 8, the third one enough.
            let set = (client % 12) << 3;
            // Mostly many within an interval, so that the sets fill up.
            at += if pause_ms > 1900 { pause_ms * 1_000_000 } else { pause_ms * 1000 };
            let (hash, now) = (hash(client, set), rule.moment(at));
            let tat = tats.entry(hash).or_insert(0);
            let expected = match rule.decide(*tat, now) {
                Verdict::Allowed { tat: next } => {
                    *tat = next;
                    Ok(())
                }
                Verdict::Refused(wait) => Err(wait),
            };
            let decided = table.decide(hash, &rule, now);
            prop_assert_eq!((decided.result, decided.has_evicted), (expected, false));
        }
    }
}
