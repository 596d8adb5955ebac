//! Whole reports, as an audit makes them, for the tests of all forms.

use std::time::Duration;

use super::{
    Cause, Cell, Coverage, CrossedPair, Dependence, Difference, Report, SCHEMA, Side, StepLine, Verdict, Witness,
};

/// What so many runs allow, if all cells came out as they should: 1 of C(20,10).
const P_EXACT: f64 = 1.0 / 184_756.0;

/// Steps of the journey: name, actor, action.
const STEPS: [(&str, &str, &str); 9] = [
    ("form", "a", "GET /login"),
    ("login", "a", "POST /login"),
    ("cart", "a", "GET /cart"),
    ("upload", "a", "POST /photos"),
    ("photo", "b", "GET /photos/1"),
    ("hit 1", "a", "GET /search?q=shoes"),
    ("hit 2", "a", "GET /search?q=shoes"),
    ("hit 3", "a", "GET /search?q=shoes"),
    ("logout", "a", "POST /logout"),
];

/// Three dependences, of three causes.
pub(crate) fn dependent() -> Report {
    let dependences = vec![of_cart(), of_photo(), of_search()];
    let pairs: Vec<(usize, usize)> =
        dependences.iter().filter_map(|found| found.needs.map(|needs| (needs, found.step))).collect();
    let mut coverage = coverage(STEPS.len(), &pairs);
    coverage.failures = 41;
    coverage.bound = None;
    coverage.untried = vec!["A delay of 5 s: the budget of 60 s was spent.".to_owned()];
    report(Verdict::Dependent { dependences }, coverage)
}

/// One dependence that is seen only when a replica is killed: the placements are without and with the kill.
pub(crate) fn after_crash() -> Report {
    let mut found = of_cart();
    found.witness.after_crash = true;
    let [quiet, loud, ..] = found.witness.cells.clone();
    let quiet = Cell { other: "B".to_owned(), ..quiet };
    found.witness.cells = [quiet.clone(), loud.clone(), quiet, loud];
    found.witness.p = 1.0 / 252.0;
    report(Verdict::Dependent { dependences: vec![found] }, coverage(STEPS.len(), &[(1, 2)]))
}

/// One replica that differs from the others whatever came before.
pub(crate) fn skewed() -> Report {
    let mut found = of_cart();
    (found.step, found.needs, found.cause) = (8, None, Cause::Skew);
    found.because = "replica B differs from A although the whole journey was played on it alone".to_owned();
    (found.witness.steps, found.witness.times) = ((0..9).collect(), vec![1; 9]);
    found.witness.sides = vec![Side::One; 9];
    let [a, b, ..] = found.witness.cells.clone();
    let b = Cell { one: "B".to_owned(), ..b };
    found.witness.cells = [a.clone(), b.clone(), b, a];
    found.witness.p = 1.0 / 252.0;
    report(Verdict::Dependent { dependences: vec![found] }, coverage(STEPS.len(), &[]))
}

/// No dependence, all pairs crossed.
pub(crate) fn none_found() -> Report {
    report(Verdict::NoneFound, coverage(STEPS.len(), &[]))
}

/// A baseline that fails.
pub(crate) fn inconclusive() -> Report {
    let why = "Step cart failed on one replica: 403 came where 200 is expected.".to_owned();
    let advice = "Log in with a user that may see /cart, or change `expect` of the step.".to_owned();
    let coverage = Coverage {
        runs: 2,
        pairs_crossed: 0,
        crossings: 0,
        bound: None,
        crash_points: 0,
        matrix: Vec::new(),
        untried: vec!["All placements: the baseline failed.".to_owned()],
        ..coverage(STEPS.len(), &[])
    };
    report(Verdict::Inconclusive { why, advice }, coverage)
}

/// A journey of so many steps, all crossed, the last one dependent on the second.
pub(crate) fn long(steps: usize) -> Report {
    let mut found = of_cart();
    (found.step, found.needs, found.witness.steps) = (steps - 1, Some(1), vec![1, steps - 1]);
    let coverage = coverage(steps, &[(1, steps - 1)]);
    let mut report = report(Verdict::Dependent { dependences: vec![found] }, coverage);
    let line = |number| StepLine {
        name: format!("step {number}"),
        actor: "a".to_owned(),
        action: format!("GET /page/{number}"),
    };
    report.steps = (1..=steps).map(line).collect();
    report
}

/// A report in which everything that an application or a user names is `text`.
pub(crate) fn saying(text: &str) -> Report {
    let text = || text.to_owned();
    let mut report = dependent();
    report.journey = text();
    report.notes = vec![text()];
    report.coverage.untried = vec![text()];
    report.steps.iter_mut().for_each(|step| (step.name, step.actor, step.action) = (text(), text(), text()));
    if let Verdict::Dependent { dependences } = &mut report.verdict {
        for found in dependences {
            (found.because, found.hint) = (text(), Some(text()));
            let (right, wrong) = (text(), format!("{}, otherwise", text()));
            let (right_whole, wrong_whole) = (format!("same\n{right}"), format!("same\n{wrong}"));
            found.difference = Difference { at: text(), right, wrong, right_whole, wrong_whole };
            found.witness.cells.iter_mut().for_each(|cell| cell.seen = text());
        }
    }
    report
}

fn report(verdict: Verdict, coverage: Coverage) -> Report {
    let line = |(name, actor, action): (&str, &str, &str)| StepLine {
        name: name.to_owned(),
        actor: actor.to_owned(),
        action: action.to_owned(),
    };
    Report {
        schema: SCHEMA,
        version: "0.1.0".to_owned(),
        journey: "log in, upload, search".to_owned(),
        steps: STEPS.into_iter().map(line).collect(),
        replicas: vec!["A".to_owned(), "B".to_owned()],
        seed: 0x7f3a,
        verdict,
        coverage,
        notes: vec!["The working directory is shared: a copy of it would be larger than 1 GiB.".to_owned()],
        again: Some("unstick audit --replay witness.json".to_owned()),
        took: Duration::from_millis(12_340),
    }
}

fn coverage(steps: usize, dependent: &[(usize, usize)]) -> Coverage {
    let pair = |one: usize, other: usize| CrossedPair {
        one,
        other,
        crossed: 1 + ((one * 7 + other * 3) % 5) as u32,
        is_dependent: dependent.contains(&(one, other)),
    };
    let matrix: Vec<CrossedPair> = (0..steps).flat_map(|other| (0..other).map(move |one| pair(one, other))).collect();
    let crossings = matrix.iter().map(|pair| pair.crossed as usize).sum();
    Coverage {
        steps,
        pairs: matrix.len(),
        pairs_crossed: matrix.len(),
        matrix,
        crash_points: steps,
        crash_points_max: steps,
        runs: 64,
        crossings,
        failures: 0,
        bound: Some(3.0 / crossings as f64),
        untried: Vec::new(),
    }
}

fn witness(steps: [usize; 2], seen: [&str; 2]) -> Witness {
    let cell = |one: &str, other: &str| {
        let is_right = one == other;
        Cell {
            one: one.to_owned(),
            other: other.to_owned(),
            runs: 5,
            right: if is_right { 5 } else { 0 },
            seen: seen[usize::from(!is_right)].to_owned(),
        }
    };
    let cells = [cell("A", "A"), cell("A", "B"), cell("B", "B"), cell("B", "A")];
    Witness {
        steps: steps.to_vec(),
        times: vec![1; steps.len()],
        sides: vec![Side::One, Side::Other],
        cells,
        p: P_EXACT,
        p_corrected: P_EXACT * STEPS.len() as f64,
        after_crash: false,
        is_steady: true,
    }
}

fn of_cart() -> Dependence {
    Dependence {
        step: 2,
        needs: Some(1),
        witness: witness([1, 2], ["200", "401"]),
        cause: Cause::Memory,
        because: "a fresh replica with the same key does not know the session; lost when A is killed".to_owned(),
        hint: Some(
            "set-cookie connect.sid: express-session keeps sessions in memory unless it is given a store".into(),
        ),
        difference: Difference {
            at: "status".to_owned(),
            right: "200".to_owned(),
            wrong: "401".to_owned(),
            right_whole:
                "HTTP/1.1 200 OK\ncontent-type: application/json\n\n{\"items\":[{\"name\":\"shoes\",\"count\":1}],\
                          \"user\":\"u-7\"}"
                    .to_owned(),
            wrong_whole: "HTTP/1.1 401 Unauthorized\ncontent-type: application/json\n\n{\"error\":\"not logged in\"}"
                .to_owned(),
        },
    }
}

fn of_photo() -> Dependence {
    let page = |title: &str, text: &str| {
        format!(
            "HTTP/1.1 200 OK\ncontent-type: text/html\n\n<html>\n<body>\n<h1>{title}</h1>\n<p>{text}</p>\n</body>\n"
        )
    };
    Dependence {
        step: 4,
        needs: Some(3),
        witness: witness([3, 4], ["200", "200, another page"]),
        cause: Cause::LocalDisk,
        because: "the same two replicas with one disk for both agree in 5 of 5 runs".to_owned(),
        hint: None,
        difference: Difference {
            at: "body word 12".to_owned(),
            right: "beach".to_owned(),
            wrong: "missing".to_owned(),
            right_whole: page("Your photos", "The photo of the beach was taken in June."),
            wrong_whole: page("Your photos", "The photo is missing. It was taken in June."),
        },
    }
}

fn of_search() -> Dependence {
    let mut witness = witness([5, 7], ["429", "200"]);
    (witness.cells[1].right, witness.p, witness.is_steady) = (1, 0.000_54, false);
    witness.p_corrected = 0.004_86;
    witness.times = vec![2, 1];
    Dependence {
        step: 7,
        needs: Some(5),
        witness,
        cause: Cause::LocalCounter,
        because: "each replica refuses after 2 requests of its own; a killed one counts from 0 again".to_owned(),
        hint: Some("retry-after and ratelimit-limit: the limiter counts in memory unless it is given a store".into()),
        difference: Difference {
            at: "status".to_owned(),
            right: "429".to_owned(),
            wrong: "200".to_owned(),
            right_whole: "HTTP/1.1 429 Too Many Requests\nretry-after: 60\n\nToo many requests".to_owned(),
            wrong_whole: "HTTP/1.1 200 OK\n\n12 shoes".to_owned(),
        },
    }
}

/// Compares a text with the file of this name in `golden/`. With `UNSTICK_WRITE_GOLDEN=1` it is written instead.
pub(crate) fn golden(name: &str, text: &str) {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("report/golden").join(name);
    if std::env::var_os("UNSTICK_WRITE_GOLDEN").is_some() {
        std::fs::write(&file, text).unwrap();
    }
    let expected = std::fs::read_to_string(&file).unwrap_or_default();
    for (number, (line, expected)) in text.lines().zip(expected.lines()).enumerate() {
        assert_eq!(line, expected, "{name}, line {}", number + 1);
    }
    assert_eq!(text.lines().count(), expected.lines().count(), "{name}: lines");
}
