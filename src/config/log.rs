//! `[log]` of the file.

use unstick_reading::Section;

use super::key::{Key, Kind, Shown, keys};
use super::kinds::{Number, Word, quoted};
use super::model::{AccessLog, AccessLogFormat, AccessLogTarget, Level, Log, LogFormat};
use super::values;

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
const ACCESS_FORMATS: Word<AccessLogFormat> =
    Word(&[("json", AccessLogFormat::Json), ("common", AccessLogFormat::Common)]);

/// Every key of `[log]`.
pub(super) const KEYS: &[Key<Log>] = keys!(Log { level: Word(LEVELS), format: Word(FORMATS), access: Access });

/// `access`, and the keys that mean something only with it.
struct Access;

impl Kind<Option<AccessLog>> for Access {
    fn read(&self, section: &Section<'_>, key: &'static str) -> Option<Option<AccessLog>> {
        let folder = section.sink.folder();
        let target = section.parsed_or(key, None, |text| values::access_target(folder, text)).flatten();
        let format = ACCESS_FORMATS.read(section, "access_format");
        let queue = Number(1..=1_000_000).read(section, "access_queue");
        Some(target.map(|to| AccessLog {
            to,
            format: format.unwrap_or(AccessLogFormat::Json),
            queue: queue.unwrap_or(AccessLog::QUEUE),
        }))
    }

    fn show(&self, key: &str, value: &Option<AccessLog>, shown: &mut Shown) {
        let Some(AccessLog { to, format, queue }) = value else {
            shown.add(key, quoted("off"));
            return;
        };
        shown.add(
            key,
            match to {
                AccessLogTarget::Stdout => quoted("stdout"),
                AccessLogTarget::File(path) => quoted(&path.display().to_string()),
            },
        );
        ACCESS_FORMATS.show("access_format", format, shown);
        Number(1..=1_000_000).show("access_queue", queue, shown);
    }
}
