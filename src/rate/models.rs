//! What the workers share of a rate limit, under many schedules; see `sync::model`.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use shuttle::thread::spawn;

use super::rule::Rule;
use super::set::WORDS;
use super::table::Table;
use super::{Counts, Limiter, Memory, Per, decide_alone};
use crate::sync::model::{exhaust, explore};
use crate::sync::{AtomicU64, AtomicUsize};

/// A time at which nothing of what the models count has passed.
const NOW_NS: u64 = 3_600_000_000_000;
const HOUR_NS: u64 = 3_600_000_000_000;

/// At most `burst` at once, and one per minute.
fn rule(burst: u32) -> Rule {
    Rule::new(NonZeroU32::MIN, Duration::from_secs(60), burst)
}

/// The hash of a client. The first hundred clients meet in one set of each generation, the second hundred in another.
fn hash(client: u64) -> u64 {
    ((client % 100) << 38) | (client / 100)
}

/// The requests of one thread: clients, and the time.
type Requests = &'static [(u64, u64)];

/// Runs these threads over `table`, and counts what each client was allowed.
fn together(table: &Arc<Table>, rule: Rule, threads: &[Requests]) -> HashMap<u64, usize> {
    let worker = |requests: &Requests| {
        let (table, requests) = (Arc::clone(table), *requests);
        let is_allowed = move |(client, now_ns): &&(u64, u64)| {
            table.decide(hash(*client), &rule, rule.moment(*now_ns)).result.is_ok()
        };
        spawn(move || requests.iter().filter(is_allowed).map(|(client, _)| *client).collect::<Vec<u64>>())
    };
    let workers: Vec<_> = threads.iter().map(worker).collect();
    let mut counts = HashMap::new();
    for client in workers.into_iter().flat_map(|worker| worker.join().unwrap()) {
        *counts.entry(client).or_default() += 1;
    }
    counts
}

/// A table in which each of `clients` has had a request at `now_ns`.
fn known(rule: &Rule, clients: impl IntoIterator<Item = u64>, now_ns: u64) -> Arc<Table> {
    let table = Table::default();
    for client in clients {
        assert!(table.decide(hash(client), rule, rule.moment(now_ns)).result.is_ok(), "client {client}");
    }
    Arc::new(table)
}

#[test]
fn a_route_lets_through_what_its_rule_says() {
    exhaust(100_000, || {
        let (tat, allowed) = (Arc::new(AtomicU64::default()), Arc::new(AtomicUsize::default()));
        let worker = || {
            let (tat, allowed) = (Arc::clone(&tat), Arc::clone(&allowed));
            spawn(move || {
                let rule = rule(1);
                if decide_alone(&tat, &rule, rule.moment(NOW_NS)).is_ok() {
                    allowed.fetch_add(1, Relaxed);
                }
            })
        };
        let workers = [worker(), worker()];
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        assert_eq!(allowed.load(Relaxed), 1);
    });
}

/// New clients come into one set from several threads, so that a client could get two words.
#[test]
fn a_new_client_gets_no_more_than_its_rule_says() {
    const A: Requests = &[(1, NOW_NS), (2, NOW_NS), (1, NOW_NS)];
    const B: Requests = &[(2, NOW_NS), (1, NOW_NS), (2, NOW_NS)];
    const C: Requests = &[(3, NOW_NS), (1, NOW_NS), (3, NOW_NS)];
    explore(3000, || {
        let allowed = together(&Arc::default(), rule(2), &[A, B, C]);
        assert_eq!(allowed, HashMap::from([(1, 2), (2, 2), (3, 2)]));
    });
}

/// The words of a set are free, or have to be kept, in an order that makes the hand pass some of them.
#[test]
fn a_client_gets_no_more_where_others_are_passed_and_replaced() {
    const LATER: u64 = NOW_NS + HOUR_NS;
    const A: Requests = &[(11, LATER), (12, LATER), (11, LATER)];
    const B: Requests = &[(12, LATER), (11, LATER), (3, LATER), (12, LATER)];
    const C: Requests = &[(13, LATER), (3, LATER), (11, LATER)];
    explore(1500, || {
        let rule = rule(2);
        let table = known(&rule, 1..=WORDS as u64, NOW_NS);
        for client in [1, 2, 4, 6] {
            assert!(table.decide(hash(client), &rule, rule.moment(LATER)).result.is_ok());
        }
        let allowed = together(&table, rule, &[A, B, C]);
        assert_eq!(allowed, HashMap::from([(3, 2), (11, 2), (12, 2), (13, 1)]));
    });
}

/// One thread reads the words of a set while another one takes two of them, the second of which is soon free again.
#[test]
fn words_that_never_stood_beside_each_other_are_not_believed() {
    // The clocks of workers are less than a second apart, which is what a TAT allows for.
    const LATER: u64 = NOW_NS + 900_000_000;
    const A: Requests = &[(1, LATER), (1, LATER)];
    const B: Requests = &[(1, NOW_NS), (1, NOW_NS), (2, NOW_NS)];
    explore(3000, || {
        let rule = Rule::new(NonZeroU32::MIN, Duration::from_millis(600), 2);
        let allowed = together(&Arc::default(), rule, &[A, B]);
        assert!(allowed[&1] <= 3, "two at once and one after 600 ms, not {}", allowed[&1]);
    });
}

/// The ninth client makes the table grow, while others are known in the old generation and come anew into it.
#[test]
fn a_client_gets_no_more_while_the_table_grows() {
    const A: Requests = &[(11, NOW_NS), (1, NOW_NS), (12, NOW_NS)];
    const B: Requests = &[(1, NOW_NS), (12, NOW_NS), (11, NOW_NS), (1, NOW_NS)];
    const C: Requests = &[(12, NOW_NS), (1, NOW_NS), (11, NOW_NS)];
    for known_before in [7, 8] {
        explore(3000, move || {
            let table = known(&rule(2), 1..=known_before, NOW_NS);
            let allowed = together(&table, rule(2), &[A, B, C]);
            assert_eq!(allowed, HashMap::from([(1, 1), (11, 2), (12, 2)]));
        });
    }
}

/// A thread that has the old generation in mind changes a set of it, while the client comes into the new generation.
#[test]
fn nothing_is_lost_in_a_set_that_another_one_takes_over_from() {
    const A: Requests = &[(9, NOW_NS), (101, NOW_NS)];
    const B: Requests = &[(101, NOW_NS), (101, NOW_NS)];
    explore(3000, || {
        let table = known(&rule(2), (1..=8).chain([101]), NOW_NS);
        let allowed = together(&table, rule(2), &[A, B]);
        assert_eq!(allowed, HashMap::from([(9, 1), (101, 1)]));
    });
}

/// A reload with another burst: both snapshots decide for a while.
#[test]
fn two_snapshots_with_one_rate_count_together() {
    explore(500, || {
        let per = Per::Route;
        let before = Arc::new(Limiter::new(per, rule(2), 1, &Memory::default()));
        let after = Arc::new(before.with_rule(rule(3), NOW_NS));
        let worker = |limiter: &Arc<Limiter>| {
            let limiter = Arc::clone(limiter);
            spawn(move || {
                let Counts::Route(tat) = &*limiter.counts else { return 0 };
                let decide = || decide_alone(tat, &limiter.rule, limiter.rule.moment(NOW_NS)).is_ok();
                (0..3).map(|_| usize::from(decide())).sum()
            })
        };
        let workers = [worker(&before), worker(&after)];
        let allowed: usize = workers.into_iter().map(|worker| worker.join().unwrap()).sum();
        assert_eq!(allowed, 3, "no more than the larger burst, and no less");
    });
}
