//! What replicas see, in a file for each: a line when a request has arrived whole, another when it has been executed. A
//! line is in the kernel's hands before the replica goes on, so SIGKILL loses none.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use http::HeaderMap;

use super::shop::STEP;
use crate::trial::history::{Seen, SessionId, Stage};

/// Says that a request may be sent again.
pub(super) const KEY: &str = "idempotency-key";

/// Stands in the line of a probe.
const PROBE: &str = "p";

/// The file of one replica.
#[derive(Debug)]
pub(super) struct Ledger(File);

impl Ledger {
    /// Opens that of a replica by name.
    pub(super) fn open(directory: &Path, name: &str) -> anyhow::Result<Self> {
        let path = directory.join(format!("seen-{name}"));
        let file = File::options().create(true).append(true).open(&path);
        file.map(Self).with_context(|| path.display().to_string())
    }

    /// A request arrived, as it was sent or not.
    pub(super) fn arrived(&self, headers: &HeaderMap, is_altered: bool) {
        self.line('a', headers, is_altered);
    }

    /// A request was executed.
    pub(super) fn executed(&self, headers: &HeaderMap) {
        self.line('x', headers, false);
    }

    /// A probe arrived.
    pub(super) fn probed(&self) {
        self.write(&format!("{PROBE} - - -"));
    }

    fn line(&self, stage: char, headers: &HeaderMap, is_altered: bool) {
        let Some(step) = headers.get(STEP).and_then(|step| step.to_str().ok()) else { return };
        let key = if headers.contains_key(KEY) { 'k' } else { '-' };
        let altered = if is_altered { 'c' } else { '-' };
        self.write(&format!("{stage} {step} {key} {altered}"));
    }

    fn write(&self, text: &str) {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        // One write, so that lines of different threads do not mix. A full disk is not what this is about.
        let _ = (&self.0).write_all(format!("{} {text}\n", since.as_nanos()).as_bytes());
    }
}

/// What a replica saw of requests, and when it was probed.
pub(super) fn read(directory: &Path, name: &Arc<str>) -> (Vec<(SystemTime, Seen)>, Vec<SystemTime>) {
    let text = std::fs::read_to_string(directory.join(format!("seen-{name}"))).unwrap_or_default();
    let (mut seen, mut probes) = (Vec::new(), Vec::new());
    for line in text.lines() {
        match parse(line, name) {
            Some((at, Some(request))) => seen.push((at, request)),
            Some((at, None)) => probes.push(at),
            None => {}
        }
    }
    (seen, probes)
}

/// A line: of a request, or of a probe.
fn parse(line: &str, replica: &Arc<str>) -> Option<(SystemTime, Option<Seen>)> {
    let mut words = line.split(' ');
    let at = SystemTime::UNIX_EPOCH + Duration::from_nanos(words.next()?.parse().ok()?);
    let stage = match words.next()? {
        PROBE => return Some((at, None)),
        "x" => Stage::Executed,
        _ => Stage::Arrived,
    };
    let step = step(words.next()?)?;
    let (has_key, is_altered) = (words.next()? == "k", words.next()? == "c");
    let replica = Arc::clone(replica);
    Some((at, Some(Seen { at: Duration::ZERO, replica, stage, step, has_key, is_altered })))
}

/// The step that a request names.
pub(super) fn step(text: &str) -> Option<(SessionId, u32)> {
    let (session, number) = text.split_once('-')?;
    Some((session.parse().ok()?, number.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(directory.path(), "r1").unwrap();
        let mut headers = HeaderMap::new();
        ledger.arrived(&headers, false);
        headers.insert(STEP, HeaderValue::from_static("12-3"));
        ledger.arrived(&headers, true);
        ledger.probed();
        headers.insert(KEY, HeaderValue::from_static("x"));
        ledger.executed(&headers);
        let (seen, probes) = read(directory.path(), &"r1".into());
        let short = |seen: &Seen| (seen.stage, seen.step, seen.has_key, seen.is_altered);
        let all: Vec<_> = seen.iter().map(|(_, seen)| short(seen)).collect();
        assert_eq!(all, [(Stage::Arrived, (12, 3), false, true), (Stage::Executed, (12, 3), true, false)]);
        assert!(seen[0].0 <= probes[0] && probes[0] <= seen[1].0 && seen[1].0 <= SystemTime::now());
        assert_eq!(probes.len(), 1);
        assert!(read(directory.path(), &"r2".into()).0.is_empty());
    }
}
