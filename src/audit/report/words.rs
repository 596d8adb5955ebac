//! The words that all forms of a report share: names of causes, numbers, sentences, and characters that deceive.

use std::fmt::Write as _;
use std::ops::Range;

use super::{Cause, Cell, Coverage, Dependence, Report, Side, Verdict, Witness};

/// What no audit can show; every form says it every time.
pub const NOT_SHOWN: [&str; 9] = [
    "paths that the journey does not touch",
    "differences in header fields other than Location, Content-Type and names of cookies",
    "whether two values are the same that change in each run; `must_contain` looks at a text",
    "races between users for one thing",
    "effects of time beyond the run: refresh of tokens, expiry, scheduled jobs",
    "background jobs and local files that nobody reads back",
    "that the shared store is itself safe or fast enough",
    "other applications, builds and settings than those tested here",
    "that no dependence exists: only that none was found, within the coverage and the bound given",
];

/// The word with which a report begins if there is a dependence.
pub(super) const DEPENDENT: &str = "REPLICA-DEPENDENT";

/// The word with which it begins if none was found.
pub(super) const NONE_FOUND: &str = "NONE FOUND";

/// The word with which it begins if nothing can be said.
pub(super) const INCONCLUSIVE: &str = "INCONCLUSIVE";

/// The relative distance within which a p is taken for that of the one extreme table.
const EXACT: f64 = 1e-6;

/// Below this a p is written with an exponent.
const SMALL_P: f64 = 0.001;

/// Of more steps on one replica only the first and the last are named.
const STEPS_ON_MAX: usize = 4;

/// A class of causes in words.
pub(super) struct Class {
    /// Its name for machines.
    pub(super) id: &'static str,
    /// Its name for people.
    pub(super) title: &'static str,
    /// What it is.
    pub(super) about: &'static str,
    /// How one usually gets rid of it.
    pub(super) cure: &'static str,
}

/// All classes of causes, in the order of their declaration.
pub(super) const CAUSES: [Cause; 8] = [
    Cause::Memory,
    Cause::KeyPerProcess,
    Cause::LocalDisk,
    Cause::LocalCounter,
    Cause::StaleCopy,
    Cause::ProtocolSession,
    Cause::Skew,
    Cause::Unknown,
];

/// The words of [`CAUSES`], in the same order.
static CLASSES: [Class; 8] = [
    Class {
        id: "memory",
        title: "memory",
        about: "State lies in the memory of one process. Other replicas do not know it, and it is lost when that \
                process ends.",
        cure: "Keep the state in a store that all replicas share, or in a signed cookie at the client.",
    },
    Class {
        id: "key-per-process",
        title: "key per process",
        about: "Each process signs or encrypts with a key of its own, so what one replica hands out is not accepted by \
                another.",
        cure: "Give all replicas the same key from configuration. Do not make one at the start.",
    },
    Class {
        id: "local-disk",
        title: "local disk",
        about: "State lies on the disk of one replica. Others do not see the file.",
        cure: "Keep files in object storage or in a database. A shared volume also serves, if its locks do.",
    },
    Class {
        id: "local-counter",
        title: "local counter",
        about: "Each replica counts for itself, so a limit is higher by the number of replicas.",
        cure: "Count in a store that all replicas share.",
    },
    Class {
        id: "stale-copy",
        title: "stale copy",
        about: "A replica shows an old state, for some time or until it is started again.",
        cure: "Read from the shared store, or tell all replicas when something changes.",
    },
    Class {
        id: "protocol-session",
        title: "session of the protocol",
        about: "A session of the protocol (MCP, socket.io, a WebSocket) lives in one process.",
        cure: "Use the stateless mode of the protocol, or an adapter that shares sessions and messages.",
    },
    Class {
        id: "skew",
        title: "skew",
        about: "Replicas differ in build or configuration, whatever came before.",
        cure: "Start all replicas from the same build with the same configuration, then audit again.",
    },
    Class {
        id: "unknown",
        title: "unknown",
        about: "The outcome depends on the replica, but the runs do not tell why.",
        cure: "Replay the witness and look at what the two replicas do.",
    },
];

/// A class of causes in words.
pub(super) fn class(cause: Cause) -> &'static Class {
    // Causes have no discriminants of their own, so they are numbered in the order of their declaration.
    &CLASSES[cause as usize]
}

/// The name of a step. A place that the report does not have is shown as its number.
pub(super) fn step_name(report: &Report, place: usize) -> String {
    report.steps.get(place).map_or_else(|| format!("step {}", place + 1), |step| visible_line(&step.name))
}

/// What depends on what, in one sentence without an end.
pub(super) fn headline(report: &Report, dependence: &Dependence) -> String {
    let step = step_name(report, dependence.step);
    let needs = match dependence.needs {
        Some(needs) => format!("{step} needs the replica that served {}", step_name(report, needs)),
        None => format!("{step} differs from replica to replica, whatever came before"),
    };
    let needs = if dependence.witness.after_crash { format!("{needs} to stay alive") } else { needs };
    if dependence.witness.is_steady { needs } else { format!("{needs} (not in every run)") }
}

/// What the two outcomes of a difference are of.
pub(super) fn sides(dependence: &Dependence) -> (String, String) {
    let Witness { cells, after_crash, .. } = &dependence.witness;
    if *after_crash {
        ("without a kill".to_owned(), "after a kill".to_owned())
    } else if dependence.needs.is_none() {
        (format!("on {}", visible_line(&cells[0].other)), format!("on {}", visible_line(&cells[1].other)))
    } else {
        ("on one replica".to_owned(), "across replicas".to_owned())
    }
}

/// The placements of a witness, each once. Some are there twice, since fewer than four tell it: a replica that differs
/// from the others, or one that is killed.
pub(super) fn cells(witness: &Witness) -> Vec<(usize, &Cell)> {
    let all = witness.cells.iter().enumerate();
    all.filter(|(place, cell)| !witness.cells[..*place].contains(cell)).collect()
}

/// One placement of a witness, as in `login@A cart@B 401 (0/5)`. Where a replica is killed, it is one of those on the
/// right.
pub(super) fn placement(report: &Report, witness: &Witness, place: usize) -> String {
    let cell = &witness.cells[place];
    let killed = if witness.after_crash && place % 2 == 1 { format!("({} killed)", cell.one) } else { String::new() };
    let mut parts = Vec::new();
    let mut from = 0;
    for steps in witness.sides.chunk_by(|one, other| one == other) {
        let range = from..from + steps.len();
        from = range.end;
        let replica = if steps[0] == Side::One { &cell.one } else { &cell.other };
        parts.push(steps_on(report, witness, range, replica));
        // A replica is killed once, behind the steps that it has served.
        if steps[0] == Side::One && from < witness.sides.len() {
            parts.push(visible_line(&killed));
        }
    }
    let result = format!("{} ({}/{})", visible_line(&cell.seen), cell.right, cell.runs);
    parts.push(result);
    parts.iter().filter(|part| !part.is_empty()).map(String::as_str).collect::<Vec<_>>().join(" ")
}

/// Steps of a witness on one replica; of many the first and the last.
fn steps_on(report: &Report, witness: &Witness, range: Range<usize>, replica: &str) -> String {
    let replica = visible_line(replica);
    let one = |place: usize| {
        let name = witness.steps.get(place).map(|step| step_name(report, *step)).unwrap_or_default();
        match witness.times.get(place) {
            Some(times) if *times > 1 => format!("{times}x {name}@{replica}"),
            _ => format!("{name}@{replica}"),
        }
    };
    let range = range.start..range.end.min(witness.steps.len());
    if range.len() <= STEPS_ON_MAX {
        return range.map(one).collect::<Vec<_>>().join(" ");
    }
    let hidden = count(range.len() - 2, "step");
    format!("{} ({hidden}) {}", one(range.start), one(range.end - 1))
}

/// The dependences of a report; none unless it is dependent.
pub(super) fn dependences(report: &Report) -> &[Dependence] {
    match &report.verdict {
        Verdict::Dependent { dependences } => dependences,
        Verdict::NoneFound | Verdict::Inconclusive { .. } => &[],
    }
}

/// The p of a witness, and what it means.
pub(super) fn p_value(report: &Report, witness: &Witness) -> String {
    let (runs, right) = cells(witness)
        .iter()
        .fold((0_u64, 0_u64), |(runs, right), (_, cell)| (runs + u64::from(cell.runs), right + u64::from(cell.right)));
    let show = |p: f64| if p < SMALL_P { format!("{p:.1e}") } else { format!("{p:.3}") };
    if (witness.p * choose(runs, right) - 1.0).abs() < EXACT {
        return format!("p = {} (one-sided, 1 of C({runs},{right}))", show(witness.p));
    }
    // A correction makes it larger; a report that is older than the corrected value has 0 there.
    let corrected = witness.p_corrected.max(witness.p);
    format!("p = {} (one-sided, Fisher, Holm over {})", show(corrected), count(report.coverage.steps, "step"))
}

/// In how many ways `right` of `all` runs can be the right ones.
fn choose(all: u64, right: u64) -> f64 {
    (0..right.min(all)).fold(1.0, |ways, taken| ways * (all - taken) as f64 / (taken + 1) as f64)
}

/// What was tried, in one sentence without an end.
pub(super) fn coverage(coverage: &Coverage) -> String {
    let Coverage { pairs, pairs_crossed, crash_points, crash_points_max, .. } = *coverage;
    let crashes = match (crash_points, crash_points_max) {
        (0, _) => "no crash points".to_owned(),
        (tried, max) if tried >= max => count(tried, "crash point"),
        (tried, max) => format!("{tried} of {}", count(max, "crash point")),
    };
    format!("{}, {pairs_crossed} of {} crossed, {crashes}", count(coverage.steps, "step"), count(pairs, "pair"))
}

/// How many crossings failed, and the bound if none did.
pub(super) fn crossings(coverage: &Coverage) -> String {
    let Coverage { failures, crossings, bound, .. } = *coverage;
    let mut text = format!("{} in {}", count(failures, "failure"), count(crossings, "crossing"));
    if let Some(bound) = bound {
        let _ = write!(text, " (below {} per crossing, 95 %)", percent_up(bound));
    }
    text
}

/// A share in per cent with two significant digits, rounded up, so that a bound stays one.
fn percent_up(share: f64) -> String {
    let percent = share * 100.0;
    let digits = match percent {
        percent if percent <= 0.0 => 0,
        percent if percent >= 10.0 => 0,
        percent => (1 - percent.log10().floor() as i32).max(0) as usize,
    };
    let unit = 10_f64.powi(digits as i32);
    // What is within rounding of a digit is that digit.
    let up = (percent * unit - 1e-9).ceil() / unit;
    format!("{up:.digits$} %")
}

/// A number with its noun.
pub(super) fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// Whether a character shows nothing where it stands, or changes how its neighbours are shown: control characters,
/// marks that turn the direction of text, and those of no width.
pub(super) fn is_deceptive(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{fffe}' | '\u{ffff}'
            | '\u{e0000}'..='\u{e007f}')
}

/// A text in which deceptive characters are written as escapes. Line feeds and tabs stay.
pub(super) fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' | '\t' => shown.push(character),
            _ if is_deceptive(character) => shown.extend(character.escape_default()),
            _ => shown.push(character),
        }
    }
    shown
}

/// As [`visible`], and on one line.
pub(super) fn visible_line(text: &str) -> String {
    visible(text).replace('\n', "\\n").replace('\t', "\\t")
}

/// The beginning of a text: so many characters at most, the last one `…` if there were more.
pub(super) fn shortened(text: &str, characters_max: usize) -> String {
    match text.char_indices().nth(characters_max) {
        None => text.to_owned(),
        Some(_) => text.chars().take(characters_max.saturating_sub(1)).chain(['…']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn p_says_whether_it_is_that_of_the_one_extreme_table() {
        let report = sample::dependent();
        let witness = |p: f64, right: [u32; 4]| {
            let mut witness = Witness { p, p_corrected: 0.0, ..dependences(&report)[0].witness.clone() };
            witness.cells.iter_mut().zip(right).for_each(|(cell, right)| cell.right = right);
            witness
        };
        let cases = [
            (1.0 / 184_756.0, [5, 0, 5, 0], "p = 5.4e-6 (one-sided, 1 of C(20,10))"),
            (9.0 / 184_756.0, [5, 0, 5, 0], "p = 4.9e-5 (one-sided, Fisher, Holm over 9 steps)"),
            (0.012, [5, 2, 5, 1], "p = 0.012 (one-sided, Fisher, Holm over 9 steps)"),
        ];
        for (p, right, expected) in cases {
            assert_eq!(p_value(&report, &witness(p, right)), expected);
        }
    }

    #[test]
    fn placements_are_shown_once_and_say_who_is_killed() {
        let shown = |report: &Report| {
            let witness = &dependences(report)[0].witness;
            cells(witness).iter().map(|(place, _)| placement(report, witness, *place)).collect::<Vec<_>>()
        };
        let (crash, skew) = (sample::after_crash(), sample::skewed());
        assert_eq!(shown(&crash), ["login@A cart@B 200 (5/5)", "login@A (A killed) cart@B 401 (0/5)"]);
        assert_eq!(shown(&skew), ["form@A (7 steps) logout@A 200 (5/5)", "form@B (7 steps) logout@B 401 (0/5)"]);
        for report in [&crash, &skew] {
            assert_eq!(p_value(report, &dependences(report)[0].witness), "p = 0.004 (one-sided, 1 of C(10,5))");
        }
        assert_eq!(sides(&dependences(&crash)[0]), ("without a kill".to_owned(), "after a kill".to_owned()));
        assert_eq!(sides(&dependences(&skew)[0]), ("on A".to_owned(), "on B".to_owned()));
        assert_eq!(headline(&crash, &dependences(&crash)[0]), "cart needs the replica that served login to stay alive");
    }

    #[test]
    fn each_step_is_shown_on_its_replica() {
        let report = sample::dependent();
        let mut witness = dependences(&report)[0].witness.clone();
        (witness.steps, witness.times) = (vec![0, 1, 2], vec![1, 3, 1]);
        let (one, other) = (Side::One, Side::Other);
        let cases = [
            ([one, one, other], "form@A 3x login@A cart@B 401 (0/5)"),
            ([other, one, other], "form@B 3x login@A cart@B 401 (0/5)"),
            ([other, other, other], "form@B 3x login@B cart@B 401 (0/5)"),
        ];
        for (sides, expected) in cases {
            witness.sides = sides.to_vec();
            assert_eq!(placement(&report, &witness, 1), expected);
        }
    }

    #[test]
    fn a_bound_is_rounded_up() {
        let cases =
            [(3.0 / 930.0, "0.33 %"), (0.5, "50 %"), (0.0312, "3.2 %"), (0.03, "3.0 %"), (0.000_041, "0.0041 %")];
        for (share, expected) in cases {
            assert_eq!(percent_up(share), expected, "{share}");
        }
    }

    #[test]
    fn what_deceives_is_shown() {
        let cases = [
            ("a\u{1b}[31mb", "a\\u{1b}[31mb"),
            ("x\u{202e}fdp", "x\\u{202e}fdp"),
            ("null\0 \u{feff}end\u{200b}", "null\\u{0} \\u{feff}end\\u{200b}"),
            ("one\r\n\ttwo", "one\\r\n\ttwo"),
            ("עברית, français, 日本", "עברית, français, 日本"),
        ];
        for (text, expected) in cases {
            assert_eq!(visible(text), expected);
        }
        assert_eq!(visible_line("one\n\ttwo"), "one\\n\\ttwo");
    }

    #[test]
    fn every_class_has_words_of_its_own() {
        let ids: std::collections::BTreeSet<&str> = CAUSES.iter().map(|cause| class(*cause).id).collect();
        assert_eq!(ids.len(), CAUSES.len());
        for cause in CAUSES {
            let name = serde_json::to_string(&cause).unwrap().replace('"', "");
            assert_eq!(class(cause).id, name.replace('_', "-"));
        }
        assert!(CAUSES.iter().all(|cause| class(*cause).about.ends_with('.') && class(*cause).cure.ends_with('.')));
    }

    #[test]
    fn a_long_text_ends_with_an_ellipsis() {
        assert_eq!(shortened("four", 4), "four");
        assert_eq!(shortened("fiver", 4), "fiv…");
    }
}
