//! `[log]` of the file.

use super::access::Access;
use super::key::{Key, keys};
use super::kinds::Word;
use super::model::{Level, Log, LogFormat};

const LEVELS: &[(&str, Level)] = &[
    ("error", Level::Error),
    ("warn", Level::Warn),
    ("warning", Level::Warn),
    ("info", Level::Info),
    ("debug", Level::Debug),
    ("trace", Level::Trace),
];
const FORMATS: &[(&str, LogFormat)] =
    &[("auto", LogFormat::Auto), ("text", LogFormat::Text), ("json", LogFormat::Json)];

/// Every key of `[log]`.
pub(super) const KEYS: &[Key<Log>] = keys!(Log { level: Word(LEVELS), format: Word(FORMATS), access: Access });
