//! What the process says of itself: log lines on stderr.
//!
//! A thread of its own writes them behind a bounded queue, so that a slow terminal never delays a request: a line that finds the
//! queue full is dropped and counted.

use std::io::{self, IsTerminal};

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::prelude::*;
use tracing_subscriber::{Registry, fmt, reload};

use crate::config::model::{Level, Log, LogFormat};

/// Log lines that wait for stderr at most.
const LOG_LINES_MAX: usize = 16_384;

/// Writes what waits when dropped, and changes the level while the process runs.
pub struct Telemetry {
    level: reload::Handle<LevelFilter, Registry>,
    _flush: WorkerGuard,
}

/// Sends the process's log lines to stderr. Call it once; a second subscriber is refused.
///
/// # Errors
/// When the process has a subscriber already.
pub fn init(log: &Log) -> Result<Telemetry, tracing_subscriber::util::TryInitError> {
    let (writer, flush) = NonBlockingBuilder::default().buffered_lines_limit(LOG_LINES_MAX).finish(io::stderr());
    let (filter, level) = reload::Layer::new(filter_of(log.level));
    let terminal = io::stderr().is_terminal();
    let json = match log.format {
        LogFormat::Json => true,
        LogFormat::Text => false,
        LogFormat::Auto => !terminal,
    };
    let registry = tracing_subscriber::registry().with(filter);
    if json {
        registry.with(fmt::layer().json().flatten_event(true).with_writer(writer)).try_init()?;
    } else {
        let color = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        registry.with(fmt::layer().with_ansi(color).with_target(false).with_writer(writer)).try_init()?;
    }
    Ok(Telemetry { level, _flush: flush })
}

impl Telemetry {
    /// Changes the least severe level that is written.
    pub fn set_level(&self, level: Level) {
        // The layer lives as long as the process.
        self.level.reload(filter_of(level)).ok();
    }
}

fn filter_of(level: Level) -> LevelFilter {
    match level {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
        Level::Trace => LevelFilter::TRACE,
    }
}
