//! Rooms: members talk over WebSockets, each at any replica. Who hears what is said, and what is left of it when a
//! replica dies?
//!
//! In the memory of replicas members at different ones do not hear each other, and what was said at one is gone with
//! it. In Redis what is said is published, for those who are there, and kept in a stream with ids, for those who come
//! back. Replicas are killed while members talk; they come to any other one and go on after the last id that they have
//! seen.

mod frame;
mod judge;
mod member;
mod memory;
pub(super) mod part;
mod stay;
mod store;
mod stream;
mod talk;
mod theory;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use fastrand::Rng;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::stage::{Scene, Stage};
use super::{Bench, PlaceReport, Study, StudyReport};
use crate::prove::ask;
use crate::prove::sabotage::Sabotage;
use crate::prove::theory::{Prediction, percent, short};
use crate::trial::judge::Ratio;
use judge::{Findings, hearing, judge};
use member::{Crowd, Member};
use store::Said;
use talk::Account;

/// See the module.
pub(super) const STUDY: Study = Study {
    name: "rooms",
    question: "who hears what is said in a room, and what is left of it when a replica dies?",
    seconds: 7,
    run: |bench| Box::pin(run(bench)),
};

/// Replicas.
const REPLICAS: usize = 3;
/// Rooms, and members of each: a multiple of the replicas, so that round-robin spreads them evenly.
const ROOMS: usize = 4;
const MEMBERS: usize = 6;
/// Messages of each member, where nobody is killed and where replicas are.
const MESSAGES_IN_QUIET: usize = 5;
const MESSAGES: usize = 50;
/// Mean pause between two messages of a member.
const PAUSE: Duration = Duration::from_millis(80);
/// When this share of all that is to be said is kept, a replica is killed, and then another one, until none is left
/// of those that were there at first.
const KILLS_AT: [f64; REPLICAS] = [0.2, 0.45, 0.7];
/// How many messages a replica should have when it is killed: half of its members' next ones.
const HELD: usize = ROOMS * MEMBERS / REPLICAS / 2;
/// How long members may take to come, and how long nothing may be said and nothing heard until it counts as never.
const COME_WITHIN: Duration = Duration::from_secs(10);
const SAID_WITHIN: Duration = Duration::from_secs(15);
const HEARD_WITHIN: Duration = Duration::from_secs(5);

async fn run(bench: &Bench<'_>) -> anyhow::Result<StudyReport> {
    let (mut columns, mut left_out) = (Vec::new(), Vec::new());
    match bench.redis().await? {
        Ok(redis) => {
            let environment: Vec<_> = redis.variable.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let scene = Scene { part: "rooms", replicas: REPLICAS, environment: &environment, ..Scene::default() };
            // Under sabotage the control is none.
            let is_shared = bench.planted().is(Sabotage::RoomsShared);
            columns.push(in_memory(bench, if is_shared { scene } else { control() }).await?);
            columns.push(in_redis(bench, scene).await?);
        }
        Err(hint) => {
            columns.push(in_memory(bench, control()).await?);
            left_out.push(format!("rooms, redis: {hint}"));
        }
    }
    Ok(STUDY.report(columns, left_out))
}

fn control() -> Scene<'static> {
    Scene { part: "rooms-in-memory", replicas: REPLICAS, ..Scene::default() }
}

/// Everybody who talks. Dropping it ends all.
struct Company {
    crowd: Rc<Crowd>,
    _members: JoinSet<()>,
}

/// Members come, one after the other.
async fn gather(bench: &Bench<'_>, stage: &Stage, quota: usize) -> anyhow::Result<Company> {
    let account = |number: usize| Account {
        member: number as u32,
        room: format!("room{}", number / MEMBERS),
        ..Account::default()
    };
    let crowd = Rc::new(Crowd {
        front: stage.front(),
        began: Instant::now(),
        pause: PAUSE,
        quota: Cell::new(0),
        planted: bench.planted(),
        accounts: RefCell::new((0..ROOMS * MEMBERS).map(account).collect()),
        news: Notify::new(),
    });
    let mut members = JoinSet::new();
    let mut rng = Rng::with_seed(bench.seed());
    for number in 0..ROOMS * MEMBERS {
        let next_at = Instant::now() + PAUSE.mul_f64(rng.f64());
        let member = Member { crowd: Rc::clone(&crowd), number: number as u32, rng: rng.fork(), next_at };
        members.spawn_local(member.run());
        let is_there = crowd.wait_until(COME_WITHIN, |accounts| accounts[number].replica().is_some()).await;
        anyhow::ensure!(is_there, "member {number} cannot enter a room");
    }
    crowd.quota.set(quota);
    Ok(Company { crowd, _members: members })
}

/// How many messages are kept.
fn kept(accounts: &[Account]) -> usize {
    accounts.iter().map(Account::kept).sum()
}

async fn in_memory(bench: &Bench<'_>, scene: Scene<'_>) -> anyhow::Result<PlaceReport> {
    let mut stage = Stage::start(bench, scene).await?;
    let company = gather(bench, &stage, MESSAGES_IN_QUIET).await?;
    let all = ROOMS * MEMBERS * MESSAGES_IN_QUIET;
    anyhow::ensure!(
        company.crowd.wait_until(SAID_WITHIN, |accounts| kept(accounts) == all).await,
        "not everything was said in time"
    );
    // Who is at the same replica hears it, or never will.
    company.crowd.wait_until(HEARD_WITHIN, |accounts| hearing(accounts).0.hits.count == 0).await;
    let accounts = company.crowd.accounts.borrow().clone();
    drop(company);
    let victim = Rng::with_seed(bench.seed()).usize(..REPLICAS);
    stage.kill(victim).await?;
    let mut left = HashSet::new();
    for number in (0..REPLICAS).filter(|number| *number != victim) {
        for (room, all) in histories(stage.replica(number).address).await? {
            left.extend(all.into_iter().map(|said| (room.clone(), said.from, said.number)));
        }
    }
    Ok(of_memory(&accounts, &left))
}

/// The histories of all rooms, as a replica or the proxy tells them.
async fn histories(address: SocketAddr) -> anyhow::Result<BTreeMap<String, Vec<Said>>> {
    let mut histories = BTreeMap::new();
    for room in 0..ROOMS {
        let name = format!("room{room}");
        let history = ask::get(address, &format!("/rooms/{name}/messages")).await?;
        histories.insert(name, serde_json::from_slice(&history)?);
    }
    Ok(histories)
}

/// What theory says of rooms in memory. `left`: what living replicas still have after one was killed.
fn of_memory(accounts: &[Account], left: &HashSet<(String, u32, u32)>) -> PlaceReport {
    let (same, other) = hearing(accounts);
    let (trials, missed) = (same.trials + other.trials, same.hits.count + other.hits.count);
    let spoken = accounts.iter().flat_map(|account| {
        (1..=account.spoken.len() as u32).map(|number| (account.room.clone(), account.member, number))
    });
    let spoken: Vec<_> = spoken.collect();
    let gone = spoken.iter().filter(|one| !left.contains(*one)).count() as u64;
    let messages = spoken.len() as u64;
    let (k, m) = (REPLICAS as u64, MEMBERS as u64);
    let shown = format!(
        "{} of what others say is not heard\n{} of what was said is gone with one of {k} replicas",
        percent(missed as f64 / trials.max(1) as f64),
        percent(gone as f64 / messages.max(1) as f64)
    );
    let figures = json!({
        "replicas": REPLICAS, "rooms": ROOMS, "members": MEMBERS, "messages": messages, "deliveries": trials,
        "missed": missed, "gone": gone,
    });
    let facts = other.hits.example().unwrap_or_default().to_vec();
    // Members come one after the other, so round-robin spreads them evenly.
    let predictions = vec![
        Prediction::exactly("deliveries to other members that do not arrive", missed, trials, theory::unheard(k, m)),
        Prediction::exactly("deliveries to another replica that do not arrive", other.hits.count, other.trials, 1.0)
            .shown_by(facts),
        Prediction::exactly("messages gone with a killed replica", gone, messages, theory::gone(k)),
    ];
    PlaceReport::control("memory", shown, figures, predictions)
}

/// A replica that was killed.
struct Kill {
    at: Duration,
    replica: String,
    /// Messages that it had under way.
    held: Vec<String>,
}

async fn in_redis(bench: &Bench<'_>, scene: Scene<'_>) -> anyhow::Result<PlaceReport> {
    let mut stage = Stage::start(bench, scene).await?;
    let company = gather(bench, &stage, MESSAGES).await?;
    let crowd = &company.crowd;
    let all = ROOMS * MEMBERS * MESSAGES;
    let first = Rng::with_seed(bench.seed()).usize(..REPLICAS);
    let mut kills = Vec::new();
    for (number, share) in (first..).zip(KILLS_AT) {
        let enough = (share * all as f64) as usize;
        crowd.wait_until(SAID_WITHIN, |accounts| kept(accounts) >= enough).await;
        kills.push(kill(&mut stage, number % REPLICAS, crowd.began).await?);
        stage.put_in_place_of(number % REPLICAS).await?;
    }
    // As long as something comes: that is slow on a machine that is.
    crowd.wait_for(all, SAID_WITHIN, kept).await;
    let heard = |accounts: &[Account]| accounts.iter().map(|account| account.shown().len()).sum();
    crowd.wait_for(all * MEMBERS, HEARD_WITHIN, heard).await;
    let accounts = crowd.accounts.borrow().clone();
    let findings = judge(&accounts, &histories(stage.front()).await?);
    Ok(of_redis(&accounts, &findings, &kills))
}

/// Kills a replica that has messages under way.
async fn kill(stage: &mut Stage, number: usize, began: Instant) -> anyhow::Result<Kill> {
    let replica = stage.replica(number).clone();
    let held = ask::get(replica.address, &format!("/control/hold/{HELD}")).await?;
    let held: Vec<String> = serde_json::from_slice(&held)?;
    stage.kill(number).await?;
    anyhow::ensure!(
        !held.is_empty(),
        "no message was under way at {} when it was killed; try again where nothing else runs",
        replica.name
    );
    Ok(Kill { at: began.elapsed(), replica: replica.name, held })
}

/// What is claimed of rooms in Redis.
fn of_redis(accounts: &[Account], findings: &Findings, kills: &[Kill]) -> PlaceReport {
    let away = away(accounts);
    let (back, longest) = (away.len(), away.iter().max().map_or(0.0, Duration::as_secs_f64));
    let held = kills.iter().map(|kill| kill.held.len()).sum::<usize>();
    let sum = |figure: fn(&Account) -> u64| accounts.iter().map(figure).sum::<u64>();
    let (dropped, again) = (sum(|account| account.duplicates), sum(|account| account.sent_again));
    let shown = format!(
        "{} of {} deliveries lost, {} doubled, {} out of order\n{} replicas killed with {held} messages under way: \
         {back} times a member came back, within {} s\n{again} messages sent again, {dropped} came twice and \
         were dropped",
        findings.lost.hits.count,
        findings.lost.trials,
        findings.doubled.hits.count,
        findings.reordered.hits.count,
        kills.len(),
        short(longest, 2),
    );
    let killed =
        |Kill { at, replica, held }: &Kill| json!({ "at_s": at.as_secs_f64(), "replica": replica, "held": held });
    let figures = json!({
        "replicas": REPLICAS, "rooms": ROOMS, "members": MEMBERS, "messages": findings.messages,
        "deliveries": findings.lost.trials, "kills": kills.iter().map(killed).collect::<Value>(), "came_back": back,
        "longest_away_s": longest, "sent_again": again, "duplicates_dropped": dropped, "findings": findings,
    });
    PlaceReport::claim("redis", shown, figures, claims(findings))
}

fn claims(Findings { messages: _, lost, doubled, reordered, ids, history }: &Findings) -> Vec<Prediction> {
    let never = |what, ratio: &Ratio| Prediction::never(what, ratio.hits.count, ratio.trials, ratio.hits.example());
    vec![
        never("messages lost", lost).by_the_clock(),
        never("messages doubled", doubled),
        never("messages of one sender out of order", reordered),
        never("ids out of order", ids),
        never("messages that the history lacks or has twice", history),
    ]
}

/// How long members were away, each time that one came back.
fn away(accounts: &[Account]) -> Vec<Duration> {
    let pairs = accounts.iter().flat_map(|account| account.stays.windows(2));
    pairs.filter_map(|pair| Some(pair[1].came.saturating_sub(pair[0].left?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prove::study::rooms::talk::{Heard, Spoken, Stay};
    use crate::prove::theory::Verdict;
    use crate::trial::judge::{Fact, Tally};

    /// Members of rooms, spread by round-robin, each of whom says five things; those at the same replica hear it, or
    /// all do.
    fn talk(is_shared: bool) -> Vec<Account> {
        let at = Duration::from_millis(1);
        let all = ROOMS * MEMBERS;
        let account = |number: usize| {
            let others = (0..all).filter(|other| other / MEMBERS == number / MEMBERS);
            let near = others.filter(|other| is_shared || other % REPLICAS == number % REPLICAS);
            let said = near.flat_map(|from| (1..=5).map(move |n| Said { id: n.into(), from: from as u32, number: n }));
            Account {
                member: number as u32,
                room: format!("room{}", number / MEMBERS),
                stays: vec![Stay { replica: format!("r{}", number % REPLICAS), came: at, after: 0, left: None }],
                spoken: vec![Spoken { at, kept: Some((at, 1)) }; 5],
                heard: said.map(|said| Heard { said, at, stay: 0 }).collect(),
                ..Account::default()
            }
        };
        (0..all).map(account).collect()
    }

    #[test]
    fn a_control_must_fail_as_much_as_theory_says() {
        let said = |is_left: fn(u32) -> bool| {
            let members = (0..(ROOMS * MEMBERS) as u32).filter(move |member| is_left(*member));
            let all = members.flat_map(|from| (1..=5).map(move |number| (from, number)));
            all.map(|(from, number)| (format!("room{}", from / MEMBERS as u32), from, number)).collect()
        };
        for (is_shared, is_left, expected) in [
            (false, (|member| member % 3 != 1) as fn(u32) -> bool, [Verdict::Held; 3]),
            (true, |member| member % 3 != 1, [Verdict::Broken, Verdict::Broken, Verdict::Held]),
            (false, |_| true, [Verdict::Held, Verdict::Held, Verdict::Broken]),
        ] {
            let report = of_memory(&talk(is_shared), &said(is_left));
            let verdicts: Vec<Verdict> = report.predictions.iter().map(|one| one.verdict).collect();
            assert_eq!(verdicts, expected, "{is_shared}: {:?}", report.predictions);
        }
    }

    #[test]
    fn each_finding_breaks_one_claim() {
        for broken in 0..5 {
            let of = |place| {
                let examples = (place == broken).then(|| vec![Fact::Note("so it was".into())]);
                let hits = Tally { count: u64::from(place == broken), examples: examples.into_iter().collect() };
                Ratio { trials: 100, hits }
            };
            let [lost, doubled, reordered, ids, history] = [0, 1, 2, 3, 4].map(of);
            let claims = claims(&Findings { messages: 100, lost, doubled, reordered, ids, history });
            for (place, claim) in claims.iter().enumerate() {
                let expected = if place == broken { Verdict::Broken } else { Verdict::Held };
                assert_eq!((claim.verdict, claim.counterexample.len()), (expected, usize::from(place == broken)));
            }
        }
    }
}
