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

    /// A request arrived.
    pub(super) fn arrived(&self, headers: &HeaderMap) {
        self.line('a', headers);
    }

    /// A request was executed.
    pub(super) fn executed(&self, headers: &HeaderMap) {
        self.line('x', headers);
    }

    fn line(&self, stage: char, headers: &HeaderMap) {
        let Some(step) = headers.get(STEP).and_then(|step| step.to_str().ok()) else { return };
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let key = if headers.contains_key(KEY) { 'k' } else { '-' };
        // One write, so that lines of different threads do not mix. A full disk is not what this is about.
        let _ = (&self.0).write_all(format!("{} {stage} {step} {key}\n", since.as_nanos()).as_bytes());
    }
}

/// What a replica saw.
pub(super) fn read(directory: &Path, name: &str) -> Vec<(SystemTime, Seen)> {
    let text = std::fs::read_to_string(directory.join(format!("seen-{name}"))).unwrap_or_default();
    let replica: Arc<str> = name.into();
    text.lines().filter_map(|line| parse(line, &replica)).collect()
}

fn parse(line: &str, replica: &Arc<str>) -> Option<(SystemTime, Seen)> {
    let mut words = line.split(' ');
    let at = SystemTime::UNIX_EPOCH + Duration::from_nanos(words.next()?.parse().ok()?);
    let stage = if words.next()? == "x" { Stage::Executed } else { Stage::Arrived };
    let step = step(words.next()?)?;
    let has_key = words.next()? == "k";
    Some((at, Seen { at: Duration::ZERO, replica: Arc::clone(replica), stage, step, has_key }))
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
        ledger.arrived(&headers);
        headers.insert(STEP, HeaderValue::from_static("12-3"));
        ledger.arrived(&headers);
        headers.insert(KEY, HeaderValue::from_static("x"));
        ledger.executed(&headers);
        let seen = read(directory.path(), "r1");
        let short: Vec<_> = seen.iter().map(|(_, seen)| (seen.stage, seen.step, seen.has_key)).collect();
        assert_eq!(short, [(Stage::Arrived, (12, 3), false), (Stage::Executed, (12, 3), true)]);
        assert!(seen[0].0 <= seen[1].0 && seen[1].0 <= SystemTime::now());
        assert!(read(directory.path(), "r2").is_empty());
    }
}
