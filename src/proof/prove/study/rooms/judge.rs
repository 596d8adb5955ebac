//! What can be said of what members said and heard. Pure.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use serde::Serialize;

use super::store::Said;
use super::talk::{Account, Heard, Spoken, Stay};
use crate::trial::judge::{Fact, Ratio};

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Findings {
    /// Messages.
    pub(super) messages: u64,
    /// Deliveries of messages to members of their room, and those that did not happen.
    pub(super) lost: Ratio,
    /// Messages that members were shown, and those that they had been shown before.
    pub(super) doubled: Ratio,
    /// Messages that members were shown, and those that their sender had said before one that had been shown.
    pub(super) reordered: Ratio,
    /// Messages that members were shown, and those with a smaller id than the one before.
    pub(super) ids: Ratio,
    /// Acknowledged messages, and those that the history of their room lacks, or has twice.
    pub(super) history: Ratio,
}

/// Judges everybody's account. `kept`: the histories of the rooms, as a replica tells them at the end.
pub(super) fn judge(accounts: &[Account], kept: &BTreeMap<String, Vec<Said>>) -> Findings {
    let mut findings = Findings::default();
    for account in accounts {
        let kept = kept.get(&account.room).map(Vec::as_slice).unwrap_or_default();
        delivered(&mut findings, account, (accounts, kept));
        shown(&mut findings, account);
        recorded(&mut findings, account, kept);
    }
    findings
}

/// Whether a member was shown everything that was said in its room. At the end everything should be acknowledged.
fn delivered(findings: &mut Findings, member: &Account, (accounts, kept): (&[Account], &[Said])) {
    let shown = member.shown();
    for speaker in accounts.iter().filter(|speaker| speaker.room == member.room) {
        for (number, spoken) in (1..).zip(&speaker.spoken) {
            findings.lost.trials += 1;
            if shown.contains(&(speaker.member, number)) {
                continue;
            }
            let is_kept = kept.iter().any(|said| (said.from, said.number) == (speaker.member, number));
            let mut facts = match spoken.kept {
                Some((at, id)) if is_kept => around(member, Said { id, from: speaker.member, number }, at),
                _ => unkept(speaker, number, spoken),
            };
            facts.sort_by_key(|(at, _)| *at);
            let facts = facts.into_iter().map(|(at, what)| note(at, &what));
            findings.lost.hits.add(facts);
        }
    }
}

/// Whether what a member was shown came once and in order.
fn shown(findings: &mut Findings, member: &Account) {
    let mut seen: HashMap<(u32, u32), &Heard> = HashMap::new();
    let mut latest: HashMap<u32, &Heard> = HashMap::new();
    let mut before: Option<&Heard> = None;
    for heard in &member.heard {
        for ratio in [&mut findings.doubled, &mut findings.reordered, &mut findings.ids] {
            ratio.trials += 1;
        }
        let Said { id, from, number } = heard.said;
        if let Some(first) = seen.insert((from, number), heard) {
            findings.doubled.hits.add([heard_at(member, first), heard_at(member, heard)]);
            continue;
        }
        if let Some(later) = latest.get(&from).filter(|later| later.said.number > number) {
            findings.reordered.hits.add([heard_at(member, later), heard_at(member, heard)]);
        } else {
            latest.insert(from, heard);
        }
        if let Some(greater) = before.filter(|before| before.said.id > id) {
            findings.ids.hits.add([heard_at(member, greater), heard_at(member, heard)]);
        }
        before = Some(heard);
    }
}

/// Whether the history of a room has what was acknowledged, once.
fn recorded(findings: &mut Findings, speaker: &Account, kept: &[Said]) {
    let mut counts: HashMap<u32, u32> = HashMap::new();
    for said in kept.iter().filter(|said| said.from == speaker.member) {
        *counts.entry(said.number).or_default() += 1;
    }
    findings.messages += speaker.spoken.len() as u64;
    for (number, (spoken, id)) in acknowledged(speaker) {
        findings.history.trials += 1;
        let count = counts.get(&number).copied().unwrap_or_default();
        if count != 1 {
            let count = format!("the history of room {} has it {count} times", speaker.room);
            let said = Said { id, from: speaker.member, number };
            findings.history.hits.add([note(spoken, &self::said(said)), Fact::Note(count)]);
        }
    }
}

/// What a member said and was told that it is kept: numbers, when that was, ids.
fn acknowledged(speaker: &Account) -> impl Iterator<Item = (u32, (Duration, u64))> {
    (1..).zip(&speaker.spoken).filter_map(|(number, spoken)| Some((number, spoken.kept?)))
}

/// Something that happened.
type Event = (Duration, String);

fn note(at: Duration, what: &str) -> Fact {
    Fact::Note(format!("{:.3} s: {what}", at.as_secs_f64()))
}

fn said(Said { id, from, number }: Said) -> String {
    format!("member {from} is told that its message {number} is kept, with id {id}")
}

fn heard(member: &Account, heard: &Heard) -> Event {
    let (Said { id, from, number }, who) = (heard.said, member.member);
    let replica = member.stays.get(heard.stay).map_or("nobody", |stay| stay.replica.as_str());
    (heard.at, format!("member {who} is shown message {number} of member {from}, id {id}, by {replica}"))
}

fn heard_at(member: &Account, one: &Heard) -> Fact {
    let (at, what) = heard(member, one);
    note(at, &what)
}

/// What a member was shown before and after a message that it was not shown, and how it came to where it was then.
fn around(member: &Account, lost: Said, at: Duration) -> Vec<Event> {
    let before = member.heard.iter().filter(|heard| heard.said.id < lost.id).max_by_key(|heard| heard.said.id);
    let after = member.heard.iter().filter(|heard| heard.said.id > lost.id).min_by_key(|heard| heard.said.id);
    let stay = after.map_or(member.stays.last(), |after| member.stays.get(after.stay));
    let came = stay.map(|Stay { came, replica, after, .. }| {
        (*came, format!("member {} comes to {replica} and asks for what is after id {after}", member.member))
    });
    let shown = [before, after].into_iter().flatten().map(|one| heard(member, one));
    [(at, said(lost))].into_iter().chain(came).chain(shown).collect()
}

/// What became of a message that is not in the history of its room: its sender's connection may have ended.
fn unkept(speaker: &Account, number: u32, spoken: &Spoken) -> Vec<Event> {
    let who = speaker.member;
    let (told, what) = match spoken.kept {
        Some((at, id)) => (at, said(Said { id, from: who, number })),
        None => (spoken.at, format!("member {who} says message {number}; it is never acknowledged")),
    };
    let left = speaker.stays.iter().find_map(|stay| {
        let left = stay.left.filter(|left| *left >= told)?;
        Some((left, format!("{} is gone, where member {who} was", stay.replica)))
    });
    let end = left.as_ref().map_or(told, |(at, _)| *at);
    let lacks = (end, format!("from then on the history of room {} lacks it", speaker.room));
    [(told, what)].into_iter().chain(left).chain([lacks]).collect()
}

/// Who hears whom while nothing happens: deliveries to others at the same replica, and at other replicas; and those of
/// them that did not happen.
pub(super) fn hearing(accounts: &[Account]) -> (Ratio, Ratio) {
    let (mut same, mut other) = (Ratio::default(), Ratio::default());
    for member in accounts {
        let shown = member.shown();
        let others = accounts.iter().filter(|one| one.room == member.room && one.member != member.member);
        for speaker in others {
            let ratio = if speaker.replica() == member.replica() { &mut same } else { &mut other };
            for (number, (spoken, id)) in acknowledged(speaker) {
                ratio.trials += 1;
                if !shown.contains(&(speaker.member, number)) {
                    let said = Said { id, from: speaker.member, number };
                    let place = |who: &Account| {
                        let replica = who.replica().unwrap_or("nobody");
                        Fact::Note(format!("member {} of room {} is at {replica}", who.member, who.room))
                    };
                    let nothing = format!("member {} is not shown it", member.member);
                    ratio.hits.add([
                        place(speaker),
                        place(member),
                        note(spoken, &self::said(said)),
                        Fact::Note(nothing),
                    ]);
                }
            }
        }
    }
    (same, other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Member 1 says three things, ids 1 to 3. Member 2 hears these; it has moved to another replica after the first.
    fn accounts(heard: &[(u64, u32)]) -> Vec<Account> {
        let stay = |replica: &str, came, after, left: Option<u64>| Stay {
            replica: replica.into(),
            came: ms(came),
            after,
            left: left.map(ms),
        };
        let spoken = (1..=3).map(|id| Spoken { at: ms(10 * id), kept: Some((ms(10 * id + 1), id)) }).collect();
        let said = |(id, number)| Said { id, from: 1, number };
        let heard_by = |said, at, stay| Heard { said, at: ms(at), stay };
        let own = (1..=3).map(|n| heard_by(said((n, n as u32)), 10 * n + 1, 0)).collect();
        let theirs = heard.iter().zip(20..).map(|(one, at)| heard_by(said(*one), at, usize::from(at > 20))).collect();
        let account = |member, stays, spoken, heard| Account {
            member,
            room: "a".into(),
            stays,
            spoken,
            heard,
            ..Account::default()
        };
        vec![
            account(1, vec![stay("r1", 1, 0, None)], spoken, own),
            account(2, vec![stay("r0", 1, 0, Some(20)), stay("r1", 21, 1, None)], Vec::new(), theirs),
        ]
    }

    fn history(entries: &[(u64, u32)]) -> BTreeMap<String, Vec<Said>> {
        let said = entries.iter().map(|(id, number)| Said { id: *id, from: 1, number: *number });
        BTreeMap::from([("a".to_owned(), said.collect())])
    }

    #[test]
    fn what_is_wrong_is_found_and_nothing_else() {
        let whole: &[(u64, u32)] = &[(1, 1), (2, 2), (3, 3)];
        for (heard, kept, expected) in [
            (whole, whole, [0, 0, 0, 0, 0]),
            (&[(1, 1), (3, 3)], whole, [1, 0, 0, 0, 0]),
            (&[], whole, [3, 0, 0, 0, 0]),
            (&[(1, 1), (2, 2), (3, 3), (4, 3)], whole, [0, 1, 0, 0, 0]),
            (&[(1, 1), (3, 3), (2, 2)], whole, [0, 0, 1, 1, 0]),
            (&[(1, 2), (2, 1), (3, 3)], whole, [0, 0, 1, 0, 0]),
            (whole, &[(1, 1), (3, 3)], [0, 0, 0, 0, 1]),
            (whole, &[(1, 1), (2, 2), (3, 3), (4, 3)], [0, 0, 0, 0, 1]),
        ] {
            let findings = judge(&accounts(heard), &history(kept));
            let Findings { messages, lost, doubled, reordered, ids, history } = &findings;
            assert_eq!((*messages, lost.trials), (3, 6));
            let all = [lost, doubled, reordered, ids, history];
            assert_eq!(all.map(|ratio| ratio.hits.count), expected, "{heard:?} {kept:?}");
            assert!(all.iter().all(|ratio| ratio.hits.example().is_none_or(|facts| (2..=4).contains(&facts.len()))));
        }
    }

    #[test]
    fn a_loss_is_shown_in_four_steps() {
        let findings = judge(&accounts(&[(1, 1), (3, 3)]), &history(&[(1, 1), (2, 2), (3, 3)]));
        let notes = [
            "0.020 s: member 2 is shown message 1 of member 1, id 1, by r0",
            "0.021 s: member 1 is told that its message 2 is kept, with id 2",
            "0.021 s: member 2 comes to r1 and asks for what is after id 1",
            "0.021 s: member 2 is shown message 3 of member 1, id 3, by r1",
        ];
        let expected: Vec<Fact> = notes.into_iter().map(|note| Fact::Note(note.into())).collect();
        assert_eq!(findings.lost.hits.example(), Some(&expected[..]));
    }

    #[test]
    fn what_is_never_acknowledged_and_never_shown_is_lost() {
        let mut all = accounts(&[(1, 1), (2, 2)]);
        all[0].heard.pop();
        all[0].spoken[2].kept = None;
        let findings = judge(&all, &history(&[(1, 1), (2, 2)]));
        assert_eq!((findings.lost.hits.count, findings.history.hits.count), (2, 0));
        let notes = [
            "0.030 s: member 1 says message 3; it is never acknowledged",
            "0.030 s: from then on the history of room a lacks it",
        ];
        let expected: Vec<Fact> = notes.into_iter().map(|note| Fact::Note(note.into())).collect();
        assert_eq!(findings.lost.hits.example(), Some(&expected[..]));
    }

    #[test]
    fn who_hears_whom_depends_on_the_replica() {
        let mut all = accounts(&[(1, 1), (3, 3)]);
        let (same, other) = hearing(&all);
        assert_eq!((same.trials, same.hits.count, other.trials), (3, 1, 0), "both are at r1");
        all[1].stays[1].replica = "r2".into();
        let (same, other) = hearing(&all);
        assert_eq!((same.trials, other.trials, other.hits.count), (0, 3, 1));
    }
}
