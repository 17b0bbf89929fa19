//! Log messages, on standard error.

use farrow_config::{Loaded, LogFormat, LogLevel, Origin};
use std::io::IsTerminal;
use tracing::level_filters::LevelFilter;

/// Starts logging as configured. `quiet`: without a configured level, only what is wrong is logged: a tool's own
/// output says the rest.
pub fn start(loaded: &Loaded, quiet: bool) {
    let level = match loaded.origin("log", "level") {
        Origin::Default if quiet => LogLevel::Warn,
        _ => loaded.config.log.level,
    };
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let builder = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(level)
        .with_target(level >= LevelFilter::DEBUG);
    // Fails when something has started logging before, which then logs for us too.
    let _ = match loaded.config.log.format {
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
}
