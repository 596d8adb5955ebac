//! Five points by which one knows a stateless application, each answered by what this run measured.

use super::losses::Losses;
use super::questions::{NO_TRIPS, in_words, of_old_users, scale_out};
use super::{Answer, Evidence, Grade, Line, Played, Source, a_request, sum, worst};
use crate::prove::arm::Role;
use crate::prove::event::Event;
use crate::prove::repeats::KEYED;
use crate::prove::report::bound;
use crate::prove::theory::{Verdict, percent};
use crate::trial::judge::Findings;

/// In the order in which they are usually asked.
pub(super) const POINTS: [Line; 5] = [
    ("all context in the request?", "nothing depends on the replica, and nothing has to be fetched", context),
    ("state outside?", "replicas that end take nothing along", outside),
    ("retries safe?", "a write that is sent again takes effect once, at any replica", retries),
    ("scaling without stickiness?", "new replicas help all users at once, and nothing is lost", scaling),
    ("authentication stateless?", "any replica knows who asks, without asking anybody", authentication),
];

/// Whether responses depend on the replica.
struct Dependence {
    has_any: bool,
    text: String,
    evidence: Vec<Evidence>,
}

/// By pairs of runs. Of arms that keep their users to a replica there are none, so by what replicas take along when
/// they end; of others that says nothing.
fn dependence(played: &Played<'_>) -> Result<Dependence, String> {
    let pairs = played.cells(Event::Pairs);
    if let Some(shown) = worst(&pairs, |cell| cell.pairs.as_ref().map_or(0, |one| one.runs.hits.count)) {
        let all = || pairs.iter().filter_map(|source| source.cell.pairs.as_ref());
        let (runs, differ) =
            all().fold((0, 0), |(runs, differ), one| (runs + one.runs.trials, differ + one.runs.hits.count));
        let crossings: u64 = all().map(|one| one.crossings.trials).sum();
        let text = match differ {
            0 => format!("0 of {crossings} responses behind a move differ{}", bound(0, crossings)),
            _ => format!("{differ} of {runs} runs on several replicas differ"),
        };
        let predicted = shown.prediction(|what| what.starts_with("responses that dep") || what.starts_with("runs on"));
        let evidence = predicted.unwrap_or_else(|| shown.figure("pairs/runs/hits/count"));
        return Ok(Dependence { has_any: differ > 0, text, evidence: vec![evidence] });
    }
    let ended = ended(played);
    let losses = Losses::of(played, &ended).filter(|_| played.arm.role() == Role::Sticky);
    let losses = losses.ok_or_else(|| played.missing(Event::Pairs))?;
    let text = format!("{} when replicas ended", losses.lost());
    Ok(Dependence { has_any: losses.has_lost(), text, evidence: losses.evidence })
}

/// Cells in which replicas end.
fn ended<'a>(played: &Played<'a>) -> Vec<Source<'a>> {
    let events = [Event::Crash, Event::CrashAllButOne, Event::Rolling];
    events.into_iter().flat_map(|event| played.cells(event)).collect()
}

/// Trips to a store of a request, and where that was counted.
fn trips(played: &Played<'_>) -> Result<(f64, Evidence), String> {
    let users = played.of_users();
    let shown = users.first().ok_or("nobody used it")?;
    Ok((a_request(&users, |cell| cell.measures.store_trips), shown.figure("measures/store_trips")))
}

fn say(played: &Played<'_>, grade: Grade, why: &str, evidence: Vec<Evidence>) -> Answer {
    played.answer(grade, format!("{}\n{why}", grade.word()), evidence)
}

/// No, if responses depend on the replica; else by what is said of so many trips to a store, beside that they do not.
fn by_trips(played: &Played<'_>, judge: impl FnOnce(f64, &str) -> (Grade, String)) -> Answer {
    let known = dependence(played).and_then(|dependence| Ok((dependence, trips(played)?)));
    match known {
        Err(why) => played.not_measured(&why),
        Ok((Dependence { has_any: true, text, evidence }, _)) => say(played, Grade::Bad, &text, evidence),
        Ok((Dependence { text, mut evidence, .. }, (trips, of_trips))) => {
            evidence.push(of_trips);
            let (grade, why) = judge(trips, &text);
            say(played, grade, &why, evidence)
        }
    }
}

fn context(played: &Played<'_>) -> Answer {
    by_trips(played, |trips, text| match trips < NO_TRIPS {
        true => (Grade::Good, format!("{text}; {}", in_words(trips))),
        false => (Grade::Partly, format!("{text}; {} for the rest", in_words(trips))),
    })
}

fn outside(played: &Played<'_>) -> Answer {
    let ended = ended(played);
    let Some(losses) = Losses::of(played, &ended) else { return played.not_measured(&without_end(played)) };
    if losses.has_lost() {
        return say(played, Grade::Bad, &format!("{} when replicas ended", losses.lost()), losses.evidence);
    }
    let users = played.of_users();
    let broken = sum(&users, guarantees_broken);
    if broken > 0 {
        let shown = worst(&users, |cell| guarantees_broken(&cell.findings));
        let text = format!("{}; but {broken} guarantees broken", losses.lost());
        let evidence = shown.map(|source| source.told("read your writes broken", "findings/violations"));
        return say(played, Grade::Partly, &text, losses.evidence.into_iter().chain(evidence).collect());
    }
    match dependence(played) {
        Ok(Dependence { has_any: true, text, evidence }) => {
            let text = format!("{}; but {text}", losses.lost());
            say(played, Grade::Partly, &text, losses.evidence.into_iter().chain(evidence).collect())
        }
        _ => say(played, Grade::Good, &format!("{} when replicas ended", losses.lost()), losses.evidence),
    }
}

fn without_end(played: &Played<'_>) -> String {
    let is_played = ended(played).first().map(|source| source.cell.event);
    is_played.map_or_else(|| "no replica ended".to_owned(), |event| played.missing(event))
}

fn guarantees_broken(findings: &Findings) -> u64 {
    let Findings { violations, shared, follows, .. } = findings;
    violations.values().chain(shared.values()).map(|tally| tally.count).sum::<u64>() + follows.hits.count
}

fn retries(played: &Played<'_>) -> Answer {
    let kills = played.cells(Event::Repeats);
    let doubled_there =
        |one: &&Source<'_>| one.cell.predictions.iter().any(|one| one.what == KEYED && one.verdict == Verdict::Broken);
    if let Some(shown) = kills.iter().find(doubled_there) {
        let evidence = shown.prediction(|what| what == KEYED).into_iter().collect();
        return say(played, Grade::Bad, "writes with a key took effect twice, through kills", evidence);
    }
    // Where replicas respond with errors on purpose, repeats are not acknowledged either.
    let is_calm = |source: &Source<'_>| !matches!(source.cell.event, Event::Errors | Event::Partition);
    let users: Vec<Source<'_>> = played.of_users().into_iter().filter(is_calm).collect();
    let repeats =
        |place: fn(&(u64, u64)) -> u64| users.iter().map(|one| place(&one.cell.measures.repeats)).sum::<u64>();
    let (sent, refused) = (repeats(|one| one.0), repeats(|one| one.1));
    let elsewhere = sum(&users, |findings| findings.sent_again.1);
    let doubled = |findings: &Findings| findings.doubled.count + findings.bare.hits.count;
    let twice = sum(&users, doubled);
    if sent == 0 {
        return played.not_measured("no write was sent again");
    }
    let shown = worst(&users, |cell| (doubled(&cell.findings), cell.measures.repeats.1));
    let predicted = shown.and_then(|source| source.prediction(|what| what == "writes doubled"));
    let counted = users.iter().map(|source| source.figure("measures/repeats"));
    let evidence = || predicted.clone().into_iter().chain(counted.clone()).collect();
    if twice > 0 {
        return say(played, Grade::Bad, &format!("{twice} writes took effect twice"), evidence());
    }
    if refused > 0 {
        let text = format!("{refused} of {sent} repeats were not acknowledged");
        return say(played, Grade::Bad, &text, evidence());
    }
    if elsewhere == 0 {
        let text = format!("0 doubled, but none of {sent} repeats met another replica");
        return say(played, Grade::Partly, &text, evidence());
    }
    let text = format!("with a key: 0 doubled, {sent} repeats, {elsewhere} at another replica");
    say(played, Grade::Good, &text, evidence())
}

fn scaling(played: &Played<'_>) -> Answer {
    let answer = scale_out(played);
    if answer.grade == Grade::NotMeasured {
        return answer;
    }
    let cells = played.cells(Event::ScaleOut);
    let old = of_old_users(&cells).unwrap_or_default();
    let lost =
        Losses::of(played, &cells).map(|losses| format!("{}, {}", losses.lost(), losses.failed())).unwrap_or_default();
    let text = format!("{lost}; new replicas get {} of old users' requests", percent(old));
    say(played, answer.grade, &text, answer.evidence)
}

fn authentication(played: &Played<'_>) -> Answer {
    by_trips(played, |trips, text| match (trips < NO_TRIPS, played.arm.has_tokens()) {
        (true, _) => (Grade::Good, format!("{}; {text}", in_words(trips))),
        (false, true) => (Grade::Partly, format!("{}, to ask whether the token is over", in_words(trips))),
        (false, false) => (Grade::Bad, format!("{}, to look the session up", in_words(trips))),
    })
}
