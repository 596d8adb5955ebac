use std::time::Duration;

use fastrand::Rng;

use super::*;
use crate::prove::theory::Verdict;

#[test]
fn a_write_that_was_done_where_it_was_cut_is_met_behind_its_effect() {
    use Stage::{Arrived, Executed};
    let line = |second, replica: &str, stage, write| {
        let (at, replica) = (SystemTime::UNIX_EPOCH + Duration::from_secs(second), replica.into());
        (at, Seen { at: Duration::ZERO, replica, stage, step: (0, write), has_key: false, is_altered: false })
    };
    let seen = [
        // Cut behind the effect.
        [line(1, "r0", Arrived, 1), line(2, "r0", Executed, 1), line(3, "r1", Arrived, 1)],
        // Before it; the replica of the second attempt is killed later.
        [line(1, "r0", Arrived, 2), line(2, "r2", Arrived, 2), line(3, "r2", Executed, 2)],
        // Not at all.
        [line(1, "r0", Arrived, 3), line(2, "r0", Executed, 3), line(3, "r0", Executed, 3)],
        [line(1, "r1", Arrived, 4), line(2, "r1", Executed, 4), line(3, "r2", Arrived, 4)],
    ];
    let met = met(&seen.concat(), &["r0".into(), "r2".into()]);
    assert_eq!(met, HashMap::from([(WRITES_MAX + 1, true), (WRITES_MAX + 2, false)]));
}

fn acknowledged(number: u64) -> Write {
    Write { number, end: End::Acknowledged, was_late: false }
}

/// Twenty writes that a kill met behind their effect and thirty others, of which so many are there twice, or not.
fn history(has_keys: bool, [twice, other, missing]: [u64; 3]) -> History {
    let cart = (0..50 - missing).chain(0..twice).chain((0..other).map(|number| 20 + number)).collect();
    let account = |has_keys, cart: Vec<u64>| Account { has_keys, writes: (0..50).map(acknowledged).collect(), cart };
    let honest = (0..50).chain(0..if has_keys { 20 } else { 0 }).collect();
    let accounts: Vec<Account> = [account(has_keys, cart), account(!has_keys, honest)]
        .into_iter()
        .chain((0..20).map(|_| account(true, (0..50).collect())))
        .collect();
    let recorder = Recorder::begin();
    count(&accounts, &(0..20).map(|number| (number, true)).collect(), &recorder);
    recorder.into_history()
}

#[test]
fn what_is_done_twice_is_judged_by_where_the_effect_is() {
    for (has_keys, figures, is_in_store, broken) in [
        (false, [20, 0, 0], true, None),
        (false, [19, 0, 0], true, Some(BARE)),
        (false, [20, 1, 0], true, Some(OTHERS)),
        (false, [20, 0, 1], true, Some(MISSING)),
        (true, [1, 0, 0], true, Some(KEYED)),
        (true, [0, 0, 0], true, None),
    ] {
        let all = predict(&history(has_keys, figures), is_in_store);
        let of: Vec<&Prediction> = all.iter().filter(|one| one.verdict == Verdict::Broken).collect();
        assert_eq!(of.first().map(|one| one.what.as_str()), broken, "{figures:?} {all:?}");
        assert!(of.len() <= 1 && of.iter().all(|one| (1..=4).contains(&one.counterexample.len())), "{all:?}");
    }
    let all = predict(&history(false, [1, 0, 0]), false);
    assert!(all.iter().any(|one| one.what == BARE && one.verdict == Verdict::Broken), "{all:?}");
}

#[test]
fn who_does_not_wait_does_twice_what_only_was_late() {
    let broken = |has_keys, was_late, is_met: bool| {
        let writes = (0..50).map(|number| Write { was_late, ..acknowledged(number) }).collect();
        let accounts = [Account { has_keys, writes, cart: (0..50).chain([7]).collect() }];
        let met = if is_met { HashMap::from([(7, false)]) } else { HashMap::new() };
        let recorder = Recorder::begin();
        count(&accounts, &met, &recorder);
        let all = predict(&recorder.into_history(), true);
        all.iter().any(|one| one.what == OTHERS && one.verdict == Verdict::Broken)
    };
    assert!(broken(false, false, false) && !broken(false, true, false));
    assert!(broken(true, true, false) && broken(true, true, true), "a key is a key, however late");
}

#[test]
fn a_write_that_is_refused_or_gone_with_its_session_is_found() {
    let broken = |end, cart: &[u64]| {
        let writes = (0..50).map(|number| Write { end, ..acknowledged(number) }).collect();
        let recorder = Recorder::begin();
        count(&[Account { has_keys: true, writes, cart: cart.to_vec() }], &HashMap::new(), &recorder);
        let all = predict(&recorder.into_history(), true);
        all.into_iter().filter(|one| one.verdict == Verdict::Broken).map(|one| one.what).collect::<Vec<_>>()
    };
    let all: Vec<u64> = (0..50).collect();
    assert_eq!(broken(End::Acknowledged, &all), [""; 0]);
    assert_eq!(broken(End::NoRoom, &[]), [""; 0]);
    assert_eq!(broken(End::Unknown, &[]), [""; 0]);
    assert_eq!(broken(End::Refused, &[]), [REFUSED]);
    assert_eq!(broken(End::Acknowledged, &[]), [MISSING]);
}

/// What becomes of writes.
#[derive(Clone, Copy, PartialEq)]
enum Effects {
    InStore,
    InToken,
    /// In a store that knows no keys.
    Keyless,
}

/// Clients that write, and replicas that take a request, make its effect, write that down and respond, each with a
/// pause in between; five of six are killed. Knows nothing of how that is judged.
fn simulated(effects: Effects, seed: u64) -> Vec<Prediction> {
    const KILLED: usize = 5;
    let mut rng = Rng::with_seed(seed);
    // In milliseconds.
    let killed_at: Vec<u64> = (1..=KILLED as u64).map(|number| number * 500).chain([u64::MAX]).collect();
    let name = |replica: usize| -> Arc<str> { format!("r{replica}").into() };
    let (mut seen, mut accounts) = (Vec::new(), Vec::new());
    for client in 0..1000 {
        let has_keys = client % 2 == 0;
        let (mut account, mut now) = (Account { has_keys, ..Account::default() }, 0);
        for write in 1..20 {
            let number = u64::from(client + 1) * WRITES_MAX + u64::from(write);
            now += rng.u64(0..200);
            loop {
                let replica = rng.usize(..=KILLED);
                if killed_at[replica] <= now {
                    continue;
                }
                let [arrives, acts, is_written, responds] = std::array::from_fn(|_| {
                    now += rng.u64(1..30);
                    now < killed_at[replica]
                });
                let is_known = has_keys && effects == Effects::InStore && account.cart.contains(&number);
                if acts && !is_known && (effects != Effects::InToken || responds) {
                    account.cart.push(number);
                }
                let lines = [(Stage::Arrived, arrives), (Stage::Executed, is_written)];
                for (stage, _) in lines.into_iter().filter(|(_, is_there)| *is_there) {
                    let (replica, step) = (name(replica), (client, write));
                    let line = Seen { at: Duration::ZERO, replica, stage, step, has_key: has_keys, is_altered: false };
                    seen.push((SystemTime::UNIX_EPOCH + Duration::from_millis(now), line));
                }
                if responds {
                    break;
                }
            }
            account.writes.push(acknowledged(number));
        }
        accounts.push(account);
    }
    let killed: Vec<Arc<str>> = (0..KILLED).map(name).collect();
    let recorder = Recorder::begin();
    count(&accounts, &met(&seen, &killed), &recorder);
    predict(&recorder.into_history(), effects != Effects::InToken)
}

#[test]
fn what_is_done_twice_is_that_of_a_simulation() {
    for seed in 0..5 {
        for effects in [Effects::InStore, Effects::InToken] {
            let all = simulated(effects, seed);
            assert!(all.iter().all(|one| one.verdict == Verdict::Held), "{seed}: {all:?}");
        }
        let all = simulated(Effects::Keyless, seed);
        let broken = all.iter().filter(|one| one.verdict == Verdict::Broken).map(|one| one.what.as_str());
        assert_eq!(broken.filter(|what| *what == KEYED).count(), 1, "{seed}: {all:?}");
    }
}
