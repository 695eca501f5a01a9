//! Log lines, on standard error.

use glance_protocol::ConfigError;
use tracing_subscriber::EnvFilter;

use crate::{CommonOptions, options::LogFormat};

/// Sets up logging for the process.
pub(crate) fn start(options: &CommonOptions) -> Result<(), ConfigError> {
    // That no connection can be made is told by us, and not twice a second.
    let client = "async_nats=warn,async_nats::connector=off";
    let filter = EnvFilter::builder()
        .parse(format!("{client},{}", options.log))
        .map_err(|error| {
            let problem = format!("{error}; write a level such as 'info'");
            ConfigError::new("GLANCE_LOG", &options.log, problem)
        })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // A line that cannot be written, as after the terminal was closed, would be told on the same standard error,
        // and to fail there is a panic.
        .log_internal_errors(false)
        .with_writer(std::io::stderr);
    // A second start in one process, as in tests, keeps the first.
    let _ = match options.log_format {
        LogFormat::Human => builder
            .with_target(false)
            .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
            .try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    Ok(())
}
