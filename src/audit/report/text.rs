//! A report as text for people: the witness first, then how much was tried, then what that cannot show.

use unicode_width::UnicodeWidthStr as _;

use super::words::{self, DEPENDENT, INCONCLUSIVE, NONE_FOUND, NOT_SHOWN, visible_line};
use super::{Cell, Dependence, Report, Verdict, Witness};

/// The widest line.
pub const WIDTH_MAX: usize = 120;

/// The narrowest line that is still kept to.
const WIDTH_MIN: usize = 40;

/// Between two columns.
const GAP: &str = "   ";

/// How much of a value is shown that differs.
const VALUE_CHARACTERS_MAX: usize = 60;

/// Whether a text has colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colours {
    /// It has none: a file, a pipe, `NO_COLOR`.
    Plain,
    /// Those of ANSI terminals.
    Ansi,
}

/// What a colour says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tone {
    Good,
    Bad,
    Unsure,
    Label,
}

/// Where lines are put together.
struct Page {
    width: usize,
    colours: Colours,
    text: String,
}

/// A report as text, in lines of at most `width` columns and at most [`WIDTH_MAX`].
pub fn render(report: &Report, width: usize, colours: Colours) -> String {
    let mut page = Page::new(width, colours);
    match &report.verdict {
        Verdict::NoneFound => page.none_found(report),
        Verdict::Dependent { dependences } => page.dependent(report, dependences),
        Verdict::Inconclusive { why, advice } => {
            let mut lines = why.lines();
            let first = lines.next().unwrap_or_default();
            page.item(0, (Tone::Unsure, &format!("{INCONCLUSIVE}:")), &visible_line(first));
            lines.for_each(|line| page.item(2, (Tone::Label, ""), &visible_line(line.trim())));
            page.item(2, (Tone::Label, "what to do:"), &visible_line(advice));
            page.item(0, (Tone::Label, "coverage:"), &words::coverage(&report.coverage));
        }
    }
    page.foot(report);
    page.text
}

/// One dependence without colours, as it stands in other forms of the report.
pub(super) fn witness(report: &Report, dependence: &Dependence) -> String {
    let mut page = Page::new(WIDTH_MAX, Colours::Plain);
    page.dependence(report, dependence);
    page.text
}

impl Page {
    fn new(width: usize, colours: Colours) -> Self {
        Self { width: width.clamp(WIDTH_MIN, WIDTH_MAX), colours, text: String::new() }
    }

    fn none_found(&mut self, report: &Report) {
        let coverage = &report.coverage;
        let found = format!("{}, {}", words::coverage(coverage), words::crossings(coverage));
        self.item(0, (Tone::Good, &format!("{NONE_FOUND}:")), &found);
        if coverage.failures > 0 {
            self.item(2, (Tone::Label, "but:"), "outcomes differed that no replica explains; see the notes");
        }
    }

    fn dependent(&mut self, report: &Report, dependences: &[Dependence]) {
        let is_like = |one: &Dependence, other: &Dependence| {
            one.cause == other.cause && (one.needs == other.needs || one.step == other.step)
        };
        let mut shown = 0;
        for (place, found) in dependences.iter().enumerate() {
            if dependences[..place].iter().any(|earlier| is_like(earlier, found)) {
                continue;
            }
            if shown > 0 {
                self.text.push('\n');
            }
            shown += 1;
            self.dependence(report, found);
            let alike = dependences[place + 1..].iter().filter(|later| is_like(found, later));
            let alike: Vec<String> = alike.map(|later| likewise(report, found, later)).collect();
            if !alike.is_empty() {
                self.item(2, (Tone::Label, "likewise:"), &alike.join(", "));
            }
        }
        let mut tried = words::coverage(&report.coverage);
        tried.push_str(match dependences.len() {
            1 => "; 1 dependence",
            _ => "; ",
        });
        if dependences.len() != 1 {
            tried.push_str(&format!("{} dependences", dependences.len()));
        }
        if shown < dependences.len() {
            tried.push_str(&format!(", {shown} of them shown"));
        }
        self.item(0, (Tone::Label, "coverage:"), &tried);
    }

    fn dependence(&mut self, report: &Report, found: &Dependence) {
        self.item(0, (Tone::Bad, DEPENDENT), &format!(" {}", words::headline(report, found)));
        self.cells(report, &found.witness);
        let difference = &found.difference;
        let value = |text: &str| match words::shortened(&visible_line(text), VALUE_CHARACTERS_MAX) {
            text if text.is_empty() => "nothing".to_owned(),
            text => text,
        };
        let (right, wrong) = (value(&difference.right), value(&difference.wrong));
        let (here, there) = words::sides(found);
        let differs = format!("{}: {right} {here}, {wrong} {there}", visible_line(&difference.at));
        self.item(2, (Tone::Label, "differs:"), &differs);
        let cause = format!("{} ({})", words::class(found.cause).title, visible_line(&found.because));
        self.item(2, (Tone::Label, "cause:"), &cause);
        let cure = words::class(found.cause).cure;
        self.item(2, (Tone::Label, "hint:"), &found.hint.as_deref().map_or_else(|| cure.to_owned(), visible_line));
        if let Some(again) = found.needs.and(report.again.as_deref()) {
            self.item(2, (Tone::Label, "again:"), &visible_line(again));
        }
    }

    /// The placements in rows of two, or one below the other where they are too wide.
    fn cells(&mut self, report: &Report, witness: &Witness) {
        let cells: Vec<(Tone, String)> = words::cells(witness)
            .into_iter()
            .map(|(place, cell)| (tone_of(cell), words::placement(report, witness, place)))
            .collect();
        let certainty = format!("{}{GAP}seed {:#x}", words::p_value(report, witness), report.seed);
        let widths = [0, 1].map(|column| cells.iter().skip(column).step_by(2).map(|cell| cell.1.width()).max());
        let [left, right] = widths.map(Option::unwrap_or_default);
        let row_width = 2 + left + GAP.len() + right;
        if row_width > self.width {
            cells.iter().for_each(|(tone, text)| self.item(2, (*tone, text), ""));
            return self.item(2, (Tone::Label, ""), &certainty);
        }
        let is_beside = row_width + 2 * GAP.len() + certainty.width() <= self.width;
        for (place, row) in cells.chunks(2).enumerate() {
            let columns = row.iter().zip([left, right]).map(|((tone, text), width)| {
                let padding = " ".repeat(width - text.width());
                format!("{}{padding}", self.paint(*tone, text))
            });
            let mut line = format!("  {}", columns.collect::<Vec<_>>().join(GAP));
            if (place + 1) * 2 >= cells.len() && is_beside {
                line.push_str(&format!("{GAP}{GAP}{certainty}"));
            }
            self.text.push_str(line.trim_end());
            self.text.push('\n');
        }
        if !is_beside {
            self.item(2, (Tone::Label, ""), &certainty);
        }
    }

    fn foot(&mut self, report: &Report) {
        for untried in &report.coverage.untried {
            self.item(0, (Tone::Label, "not tried:"), &visible_line(untried));
        }
        for note in &report.notes {
            self.item(0, (Tone::Label, "note:"), &visible_line(note));
        }
        let replicas: Vec<String> = report.replicas.iter().map(|name| visible_line(name)).collect();
        let replicas = if replicas.is_empty() { String::new() } else { format!(" on {}", replicas.join(", ")) };
        let runs = words::count(report.coverage.runs, "run");
        let run = format!("{runs}{replicas} in {:.1} s, seed {:#x}", report.took.as_secs_f64(), report.seed);
        self.item(0, (Tone::Label, "run:"), &run);
        self.item(0, (Tone::Label, "what this cannot show:"), "");
        for text in NOT_SHOWN {
            self.item(2, (Tone::Label, "-"), text);
        }
    }

    /// A label and what it labels, broken into lines; those after the first are indented further.
    fn item(&mut self, indent: usize, (tone, label): (Tone, &str), text: &str) {
        let hang = indent + if label == "-" { 2 } else { 4 };
        let full = if label.is_empty() { text.to_owned() } else { format!("{label} {text}") };
        for (number, line) in wrapped(full.trim_end(), self.width, (indent, hang)).iter().enumerate() {
            self.text.push_str(&" ".repeat(if number == 0 { indent } else { hang }));
            match line.strip_prefix(label) {
                Some(rest) if number == 0 => {
                    let label = self.paint(tone, label);
                    self.text.push_str(&format!("{label}{rest}"));
                }
                _ => self.text.push_str(line),
            }
            self.text.push('\n');
        }
    }

    fn paint(&self, tone: Tone, text: &str) -> String {
        let code = match (self.colours, tone) {
            (Colours::Plain, _) | (Colours::Ansi, Tone::Label) => return text.to_owned(),
            (Colours::Ansi, Tone::Good) => "32",
            (Colours::Ansi, Tone::Bad) => "31",
            (Colours::Ansi, Tone::Unsure) => "33",
        };
        format!("\u{1b}[1;{code}m{text}\u{1b}[0m")
    }
}

/// What is said of a dependence that is like one that is shown: the step, or what else it needs.
fn likewise(report: &Report, shown: &Dependence, like: &Dependence) -> String {
    match like.needs {
        Some(needs) if like.step == shown.step => format!("it needs that of {}", words::step_name(report, needs)),
        _ => words::step_name(report, like.step),
    }
}

fn tone_of(cell: &Cell) -> Tone {
    match cell.right {
        right if right == cell.runs => Tone::Good,
        0 => Tone::Bad,
        _ => Tone::Unsure,
    }
}

/// A text in lines that fit into `width` after an indent: that of the first line, and that of the others. A word that
/// is too long by itself is broken.
fn wrapped(text: &str, width: usize, (first, others): (usize, usize)) -> Vec<String> {
    let mut lines = vec![String::new()];
    let room = |number: usize| width - if number == 1 { first } else { others };
    for word in words_of(text) {
        let used = lines.last().map_or(0, |line| line.width());
        if used > 0 && used + word.trim_end().width() > room(lines.len()) {
            lines.push(String::new());
        }
        for character in word.chars() {
            let number = lines.len();
            let Some(line) = lines.last_mut() else { continue };
            if character != ' ' && line.width() + character.to_string().width() > room(number) {
                lines.push(String::new());
            }
            if let Some(line) = lines.last_mut() {
                line.push(character);
            }
        }
    }
    lines.iter().map(|line| line.trim_end().to_owned()).collect()
}

/// The words of a text, each with the blank behind it. A number and its `%` are one.
fn words_of(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for word in text.split_inclusive(' ') {
        match words.last_mut() {
            Some(last) if word.starts_with('%') => last.push_str(word),
            _ => words.push(word.to_owned()),
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::super::Cause;
    use super::super::sample::{self, golden};
    use super::*;

    const PLAIN: Colours = Colours::Plain;

    #[test]
    fn each_verdict_as_it_is_printed() {
        golden("dependent.txt", &render(&sample::dependent(), 120, PLAIN));
        golden("dependent-80.txt", &render(&sample::dependent(), 80, PLAIN));
        golden("dependent-colours.txt", &render(&sample::dependent(), 120, Colours::Ansi).replace('\u{1b}', "ESC"));
        golden("after-crash.txt", &render(&sample::after_crash(), 120, PLAIN));
        golden("skewed.txt", &render(&sample::skewed(), 120, PLAIN));
        golden("none-found.txt", &render(&sample::none_found(), 120, PLAIN));
        golden("inconclusive.txt", &render(&sample::inconclusive(), 120, PLAIN));
    }

    #[test]
    fn the_first_line_is_the_verdict_and_what_it_cannot_show_is_said_every_time() {
        let cases = [
            (sample::dependent(), "REPLICA-DEPENDENT  cart needs the replica that served login\n"),
            (sample::none_found(), "NONE FOUND: 9 steps, 36 of 36 pairs crossed, 9 crash points, 0 failures in "),
            (
                sample::inconclusive(),
                "INCONCLUSIVE: Step cart failed on one replica: 403 came where 200 is expected.\n",
            ),
        ];
        for (report, first) in cases {
            let text = render(&report, 120, PLAIN);
            assert!(text.starts_with(first), "{text}");
            assert!(NOT_SHOWN.iter().all(|said| text.contains(said)), "{text}");
        }
    }

    #[test]
    fn no_line_is_wider_than_asked_for_and_none_than_120() {
        let texts = ["word ".repeat(80), "x".repeat(500), "日本語".repeat(90), "short".to_owned()];
        for text in texts {
            for (width, most) in [(40, 40), (80, 80), (120, 120), (300, 120), (3, 40)] {
                let shown = render(&sample::saying(text.trim()), width, PLAIN);
                let widest = shown.lines().map(|line| line.width()).max().unwrap();
                assert!(widest <= most, "{widest} of {most}:\n{shown}");
            }
        }
    }

    #[test]
    fn colours_are_there_only_if_asked_for_and_change_nothing_else() {
        for report in [sample::dependent(), sample::none_found(), sample::inconclusive()] {
            let (plain, ansi) = (render(&report, 100, PLAIN), render(&report, 100, Colours::Ansi));
            assert!(!plain.contains('\u{1b}') && ansi.contains('\u{1b}'));
            let codes = ["1;31", "1;32", "1;33", "0"].map(|code| format!("\u{1b}[{code}m"));
            assert_eq!(codes.iter().fold(ansi, |text, code| text.replace(code, "")), plain);
        }
    }

    #[test]
    fn what_an_application_says_cannot_steer_the_terminal() {
        let text = render(&sample::saying("a\u{1b}[2Jb\rc\u{202e}d\ne"), 120, PLAIN);
        assert!(text.chars().all(|character| character == '\n' || !words::is_deceptive(character)), "{text}");
        assert!(text.contains("\\u{1b}[2Jb\\rc\\u{202e}d\\ne"), "{text}");
    }

    #[test]
    fn steps_that_need_the_same_for_the_same_cause_are_named_in_one_line() {
        let mut report = sample::dependent();
        if let Verdict::Dependent { dependences } = &mut report.verdict {
            let again = Dependence { step: 8, ..dependences[0].clone() };
            let other = Dependence { step: 6, cause: Cause::Skew, needs: None, ..dependences[0].clone() };
            let too = Dependence { needs: Some(0), ..dependences[0].clone() };
            *dependences = vec![dependences[0].clone(), other, again, too];
        }
        let text = render(&report, 120, PLAIN);
        assert!(text.contains("  likewise: logout, it needs that of form\n"), "{text}");
        assert!(text.contains("9 crash points; 4 dependences, 2 of them shown\n"), "{text}");
        assert!(text.contains("hit 2 differs from replica to replica, whatever came before"), "{text}");
    }

    #[test]
    fn without_a_hint_the_usual_cure_is_one() {
        let text = render(&sample::dependent(), 120, PLAIN);
        assert!(text.contains("  hint: Keep files in object storage"), "{text}");
    }
}
