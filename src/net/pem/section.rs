//! Finds the sections of a PEM file (RFC 7468), and refuses what would lose one of them without a word.
//!
//! Other readers pass over every line that does not begin with `-----BEGIN`. After `cat cert.pem chain.pem`, with no
//! newline at the end of `cert.pem`, the chain begins in the middle of a line and its first certificate is gone.

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";
const DASHES: &[u8] = b"-----";
/// What some editors put in front of a text in UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A section, with its first and its last line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Section<'a> {
    /// What it is, for example `CERTIFICATE`.
    pub(super) label: &'a [u8],
    /// The number of its first line.
    pub(super) line: usize,
    /// All its lines.
    pub(super) text: &'a [u8],
}

/// Why a file is no sequence of sections.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Problem {
    /// The number of the line.
    pub(super) line: usize,
    /// What is wrong there, and what to do.
    pub(super) what: String,
}

/// What a line is to the sections.
enum Marker<'a> {
    /// Nothing: contents, or a comment.
    None,
    Begin(&'a [u8]),
    End(&'a [u8]),
    /// The begin of a section shares its line with something else.
    Glued,
}

/// The sections of a text, in their order. What is between them is a comment.
///
/// # Errors
/// A section shares its first line with something else, lacks its begin or its end, or ends as another one.
pub(super) fn sections(text: &[u8]) -> Result<Vec<Section<'_>>, Problem> {
    let mut rest = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    let mut found = Vec::new();
    // The section whose end has not been seen yet; its text is all that follows.
    let mut open: Option<Section<'_>> = None;
    let mut line = 1;
    while !rest.is_empty() {
        let length = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')).map_or(rest.len(), |end| end + 1);
        let (present, next) = rest.split_at(length);
        match (marker(present), open.take()) {
            (Marker::Begin(label), None) => open = Some(Section { label, line, text: rest }),
            (Marker::End(label), Some(mut section)) if label == section.label => {
                let length = section.text.len().saturating_sub(next.len());
                section.text = section.text.get(..length).unwrap_or_default();
                found.push(section);
            }
            (Marker::None, kept) => open = kept,
            (marker, open) => return Err(Problem { line, what: misplaced(&marker, open.as_ref()) }),
        }
        // A carriage return before a line feed ends no line of its own.
        line += usize::from(present.ends_with(b"\n") || present.ends_with(b"\r") && !next.starts_with(b"\n"));
        rest = next;
    }
    match open {
        None => Ok(found),
        Some(Section { line, label, .. }) => {
            Err(Problem { line, what: format!("{} has no end: the file is cut off", begin(label)) })
        }
    }
}

fn marker(line: &[u8]) -> Marker<'_> {
    let line = line.trim_ascii_end();
    let holds = |text: &[u8], word: &[u8]| text.windows(word.len()).any(|window| window == word);
    match line.strip_prefix(BEGIN).map(|label| label.strip_suffix(DASHES)) {
        Some(Some(label)) if !holds(label, DASHES) => return Marker::Begin(label),
        Some(_) => return Marker::Glued,
        // A sentence that quotes the marker goes on behind it.
        None if holds(line, BEGIN) && line.ends_with(DASHES) => return Marker::Glued,
        None => {}
    }
    let Some(rest) = line.strip_prefix(END) else { return Marker::None };
    let length = rest.windows(DASHES.len()).position(|window| window == DASHES).unwrap_or(rest.len());
    Marker::End(rest.get(..length).unwrap_or_default())
}

/// Why a marker must not be here.
fn misplaced(marker: &Marker<'_>, open: Option<&Section<'_>>) -> String {
    match (marker, open) {
        (Marker::End(label), None) => format!("{} has no begin", end(label)),
        (Marker::End(label), Some(open)) => {
            format!("{} ends what began as {} in line {}", end(label), begin(open.label), open.line)
        }
        (Marker::Begin(label), Some(open)) => {
            format!("{} begins before what began in line {} has ended", begin(label), open.line)
        }
        _ => "-----BEGIN must be at the start of a line, and nothing may follow in that line: put a newline before it \
              (`cat one.pem two.pem` needs one at the end of one.pem)"
            .to_owned(),
    }
}

fn begin(label: &[u8]) -> String {
    format!("-----BEGIN {}-----", label.escape_ascii())
}

fn end(label: &[u8]) -> String {
    format!("-----END {}-----", label.escape_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "-----BEGIN A-----\nAAAA\n-----END A-----\n";

    #[test]
    fn sections_with_comments_and_other_ends_of_lines() {
        let sentence = "Put -----BEGIN A----- below this line.\n";
        for text in [
            format!("{A}{A}"),
            format!("Subject: CN=a\n\n{A}{sentence}\n{A}\n\n"),
            format!("\u{feff}{A}{A}"),
            format!("{A}{A}").replace('\n', "\r\n"),
            format!("{A}{A}").replace('\n', "\r"),
            format!("{A}{A}").replace("-----\n", "----- \t\n"),
            format!("{A}{}", A.trim_end()),
        ] {
            let found = sections(text.as_bytes()).unwrap();
            let labels: Vec<_> = found.iter().map(|section| section.label).collect();
            assert_eq!(labels, [b"A", b"A"], "{text:?}");
            for Section { text, .. } in found {
                assert!(text.starts_with(b"-----BEGIN A") && text.trim_ascii().ends_with(b"END A-----"), "{text:?}");
            }
        }
        let lines = |text: &str| sections(text.as_bytes()).unwrap().iter().map(|one| one.line).collect::<Vec<_>>();
        assert_eq!(lines(&format!("{A}{A}")), [1, 4]);
        assert_eq!(lines(&format!("{A}{A}").replace('\n', "\r\n")), [1, 4]);
        assert_eq!(lines(""), [0_usize; 0]);
    }

    #[test]
    fn what_would_lose_a_section_is_refused_with_its_place() {
        for (text, line, what) in [
            (format!("{}{A}", A.trim_end()), 3, "put a newline before it"),
            (format!("{A}subject=CN = x{A}"), 4, "put a newline before it"),
            (format!("{A}  {A}"), 4, "at the start of a line"),
            (format!("{A}-----BEGIN A----- x\nAAAA\n"), 4, "nothing may follow"),
            ("-----BEGIN A-----\nAAAA-----BEGIN B-----\n".to_owned(), 2, "put a newline before it"),
            (
                format!("-----BEGIN A-----\nAA\n{A}"),
                3,
                "-----BEGIN A----- begins before what began in line 1 has ended",
            ),
            ("-----BEGIN A-----\n-----END B-----\n".to_owned(), 2, "ends what began as -----BEGIN A----- in line 1"),
            (format!("{A}AAAA\n-----END A-----\n"), 5, "-----END A----- has no begin"),
            (format!("{A}-----BEGIN A-----\nAAAA\n-----END"), 4, "has no end"),
        ] {
            let problem = sections(text.as_bytes()).unwrap_err();
            assert_eq!(problem.line, line, "{text:?}: {}", problem.what);
            assert!(problem.what.contains(what), "{text:?}: {}", problem.what);
        }
    }
}
