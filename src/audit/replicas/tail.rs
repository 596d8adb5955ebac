//! The last lines that a replica wrote.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// So many lines are kept of each stream, and shown of both.
pub(super) const LINES: usize = 20;
/// So many characters of a line are kept.
const LINE_MAX: usize = 400;
/// So many bytes of a line are read before it is cut: enough for [`LINE_MAX`] characters of four bytes.
const BYTES_MAX: usize = 4 * LINE_MAX;
/// So much is read at once.
const CHUNK: usize = 8 << 10;

/// Where a line was written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    Output,
    Error,
}

/// The last lines of both streams, shared between those who read and those who show them.
#[derive(Debug, Clone, Default)]
pub(super) struct Tail(Arc<Mutex<Lines>>);

#[derive(Debug, Default)]
struct Lines {
    /// Lines so far.
    count: u64,
    output: VecDeque<(u64, String)>,
    error: VecDeque<(u64, String)>,
}

impl Tail {
    /// The last lines in the order in which they came. Standard output fills what standard error leaves: a busy log of
    /// requests must not push out why an application failed.
    pub(super) fn lines(&self) -> Vec<String> {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = LINES - lines.error.len();
        let output = lines.output.iter().skip(lines.output.len().saturating_sub(room));
        let mut last: Vec<&(u64, String)> = output.chain(&lines.error).collect();
        last.sort_by_key(|(number, _)| *number);
        last.into_iter().map(|(_, line)| line.clone()).collect()
    }

    fn push(&self, stream: Stream, bytes: &[u8]) {
        let line = clean(&String::from_utf8_lossy(bytes));
        if line.is_empty() {
            return;
        }
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.count += 1;
        let entry = (lines.count, line);
        let kept = if stream == Stream::Error { &mut lines.error } else { &mut lines.output };
        if kept.len() == LINES {
            kept.pop_front();
        }
        kept.push_back(entry);
    }

    /// Reads a stream to its end.
    pub(super) async fn follow(self, mut reader: impl AsyncRead + Unpin, stream: Stream) {
        let (mut chunk, mut line) = (vec![0; CHUNK], Vec::new());
        while let Ok(read @ 1..) = reader.read(&mut chunk).await {
            for part in chunk[..read].split_inclusive(|byte| *byte == b'\n') {
                let room = BYTES_MAX.saturating_sub(line.len());
                line.extend_from_slice(&part[..part.len().min(room)]);
                if part.ends_with(b"\n") {
                    self.push(stream, &line);
                    line.clear();
                }
            }
        }
        self.push(stream, &line);
    }
}

/// A line without what would make a terminal do something: colours, control characters, other directions of writing.
/// Of a line that was written over (a progress bar), the last state is kept.
fn clean(line: &str) -> String {
    let line = line.trim_end();
    let line = line.rsplit('\r').next().unwrap_or(line);
    let mut chars = line.chars().peekable();
    let mut clean = String::new();
    let mut kept = 0;
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => skip_escape(&mut chars),
            '\t' => clean.push(' '),
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => continue,
            c if c.is_control() => continue,
            c => clean.push(c),
        }
        kept += 1;
        if kept == LINE_MAX {
            clean.push('…');
            break;
        }
    }
    clean
}

/// Passes over the rest of an escape sequence (ECMA-48): `[` up to a letter, `]` up to a bell or another escape, or one
/// character.
fn skip_escape(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    match chars.next() {
        Some('[') => while chars.next().is_some_and(|c| !('\u{40}'..='\u{7e}').contains(&c)) {},
        Some(']') => {
            while chars.peek().is_some_and(|c| *c != '\u{1b}') {
                if chars.next() == Some('\u{7}') {
                    break;
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_a_terminal_is_taken_out() {
        let table = [
            ("plain", "plain"),
            ("\u{1b}[31mred\u{1b}[0m text\r\n", "red text"),
            ("\u{1b}]0;title\u{7}after", "after"),
            ("\u{1b}]8;;http://x\u{1b}\\link", "link"),
            ("10 %\r50 %\r100 %", "100 %"),
            ("a\tb\u{8}\u{0}c", "a bc"),
            ("\u{202e}txet", "txet"),
            ("\u{1b}[", ""),
            ("\u{1b}", ""),
        ];
        for (written, kept) in table {
            assert_eq!(clean(written), kept, "{written:?}");
        }
        assert_eq!(clean(&"ä".repeat(1000)).chars().count(), LINE_MAX + 1);
    }

    #[tokio::test]
    async fn the_last_lines_are_kept_and_none_is_long() {
        let tail = Tail::default();
        let mut written: Vec<u8> = (0..100).flat_map(|n| format!("line {n}\n").into_bytes()).collect();
        written.extend(vec![b'x'; 1 << 20]);
        written.extend(b"\nlast, without an end");
        tail.clone().follow(written.as_slice(), Stream::Output).await;
        let lines = tail.lines();
        assert_eq!(lines.len(), LINES);
        assert_eq!(lines[0], "line 82");
        assert_eq!(lines[LINES - 2].chars().count(), LINE_MAX + 1);
        assert_eq!(lines[LINES - 1], "last, without an end");
    }

    #[tokio::test]
    async fn errors_are_not_pushed_out_by_a_busy_log() {
        let tail = Tail::default();
        tail.clone().follow("why it failed\n".as_bytes(), Stream::Error).await;
        tail.clone().follow("GET / 200\n".repeat(100).as_bytes(), Stream::Output).await;
        let lines = tail.lines();
        assert_eq!((lines.len(), lines[0].as_str()), (LINES, "why it failed"));
        tail.clone().follow("trace\n".repeat(100).as_bytes(), Stream::Error).await;
        assert_eq!(tail.lines(), vec!["trace"; LINES]);
    }
}
