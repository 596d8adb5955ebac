//! The log of the process: lines on stderr.
//!
//! A separate thread writes the lines. A bounded queue leads to it, so a slow terminal never delays a request: when the
//! queue is full, a line is dropped and counted.

use std::io::{self, IsTerminal};

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::prelude::*;
use tracing_subscriber::{Registry, fmt, reload};

use crate::config::model::{Level, Log, LogFormat};

/// The most log lines that wait to be written.
const LOG_LINES_MAX: usize = 16_384;

/// Changes the level while the process runs. Dropping it writes the lines that still wait.
pub struct Telemetry {
    level: reload::Handle<LevelFilter, Registry>,
    _flush: WorkerGuard,
}

/// Sends the log lines of the process to stderr. Call it once.
///
/// # Errors
/// The process already has a subscriber.
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
    /// Sets the least severe level that is written.
    pub fn set_level(&self, level: Level) {
        // This fails only if the layer is gone, and it lives as long as the process.
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
