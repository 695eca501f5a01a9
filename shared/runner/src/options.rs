//! Flags that all services share, and how flags and variables are read.

mod broker;

use clap::{
    Parser,
    error::{ContextKind, ContextValue, ErrorKind},
    parser::ValueSource,
};
use glance_protocol::ConfigError;

pub use self::broker::{ApiPrefix, BrokerOptions, NatsUrl};
use crate::{
    Environment,
    metrics::{self, MetricsAddress},
};

/// Flags of every service.
#[derive(Debug, Clone, clap::Args)]
pub struct CommonOptions {
    /// Where the broker is.
    #[command(flatten)]
    pub broker: BrokerOptions,

    /// How log lines look.
    #[arg(
        long,
        env = "GLANCE_LOG_FORMAT",
        value_name = "FORMAT",
        default_value = "human"
    )]
    pub log_format: LogFormat,

    /// What is logged: a level (error, warn, info, debug, trace), or a filter such as 'info,async_nats=debug'.
    #[arg(
        long,
        env = "GLANCE_LOG",
        value_name = "FILTER",
        default_value = "info"
    )]
    pub log: String,

    /// How many seconds a stop may take before the process ends anyway.
    #[arg(long, env = "GLANCE_GRACE", value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=300))]
    pub grace: u64,

    /// Where to tell metrics and health, as 'host:port': /metrics, /healthz and /readyz. Keep it from the public.
    #[arg(long, env = "GLANCE_METRICS_ADDRESS", value_name = "ADDRESS")]
    pub metrics_address: Option<MetricsAddress>,

    /// Ask the one that runs, at GLANCE_METRICS_ADDRESS, whether it is ready, and end with 0 or 1.
    #[arg(long)]
    pub check_health: bool,
}

/// The flag of [`CommonOptions::check_health`].
const CHECK_HEALTH: &str = "--check-health";

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Human,
    /// One JSON object a line, for machines.
    Json,
}

/// The options that are taken from variables alone.
const SECRETS: [&str; 1] = [broker::PASSWORD];

/// Why the options could not be read.
pub(crate) enum OptionsError {
    /// Help or the version was asked for; not an error.
    Shown(clap::Error),
    /// Something is wrong.
    Config(ConfigError),
}

/// Reads flags and variables; a flag wins over a variable.
pub(crate) fn parse<O: Parser>(
    arguments: impl IntoIterator<Item = std::ffi::OsString>,
    environment: &Environment,
) -> Result<O, OptionsError> {
    let mut command = with_environment(O::command(), environment);
    command
        .try_get_matches_from_mut(arguments)
        .and_then(without_positional)
        .and_then(|matches| O::from_arg_matches(&matches))
        .map_err(refused::<O>)
}

fn refused<O: Parser>(error: clap::Error) -> OptionsError {
    match error.kind() {
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayVersion
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => OptionsError::Shown(error),
        // Asked of a fresh one: the command that failed no longer knows the variables that are set.
        _ => OptionsError::Config(explain(&error, &O::command())),
    }
}

/// Where to ask for the health, if that is what the flags want. Nothing else has to be given then.
pub(crate) fn health_to_check<O: Parser>(
    arguments: &[std::ffi::OsString],
    environment: &Environment,
) -> Result<Option<MetricsAddress>, OptionsError> {
    if !arguments.iter().any(|argument| argument == CHECK_HEALTH) {
        return Ok(None);
    }
    let command = with_environment(O::command(), environment);
    let mut command = command.mut_args(|arg| arg.required(false));
    let matches = command
        .try_get_matches_from_mut(arguments)
        .map_err(refused::<O>)?;
    match matches.get_one::<MetricsAddress>("metrics_address") {
        Some(address) => Ok(Some(address.clone())),
        None => Err(OptionsError::Config(ConfigError::new(
            metrics::VARIABLE,
            "",
            format!("is required for {CHECK_HEALTH}; set it to the same as for the one that runs"),
        ))),
    }
}

/// No program takes anything but flags: an argument that has none stands for a secret, which only the environment may
/// hold.
fn without_positional(matches: clap::ArgMatches) -> Result<clap::ArgMatches, clap::Error> {
    let given =
        |id: &&clap::Id| matches.value_source(id.as_str()) == Some(ValueSource::CommandLine);
    let is_secret = |id: &clap::Id| SECRETS.contains(&id.as_str());
    if matches.ids().filter(given).any(is_secret) {
        // Not repeated: it may be one.
        let problem = "unexpected argument; flags begin with '--'";
        return Err(clap::Error::raw(ErrorKind::UnknownArgument, problem));
    }
    Ok(matches)
}

/// Lets the environment decide what an unset flag is. clap itself would take an
/// empty variable for a value, and does not know the `.env` file.
fn with_environment(command: clap::Command, environment: &Environment) -> clap::Command {
    command.mut_args(|arg| {
        let Some(name) = arg
            .get_env()
            .map(|name| name.to_string_lossy().into_owned())
        else {
            return arg;
        };
        let arg = if std::env::var_os(&name).is_some() {
            arg.env(None::<&str>)
        } else {
            arg
        };
        match environment.get(&name) {
            Some(value) => arg
                .required(false)
                .default_value(value.to_owned())
                .hide_default_value(true),
            None => arg,
        }
    })
}

/// One sentence that names the variable, the entry and the fix.
fn explain(error: &clap::Error, command: &clap::Command) -> ConfigError {
    let cause = std::error::Error::source(error);
    if let Some(config) = cause.and_then(|cause| cause.downcast_ref::<ConfigError>()) {
        return config.clone();
    }
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => texts.join(", "),
        _ => String::new(),
    };
    let flag = text(ContextKind::InvalidArg);
    let variable = variable_of(command, &flag).unwrap_or_else(|| flag.clone());
    let entry = text(ContextKind::InvalidValue);
    match error.kind() {
        ErrorKind::MissingRequiredArgument => {
            let problem = format!("is required; set the variable or give {flag}");
            ConfigError::new(&variable, "", problem)
        }
        ErrorKind::InvalidValue if !entry.is_empty() => {
            let problem = format!("write one of: {}", text(ContextKind::ValidValue));
            ConfigError::new(&variable, &entry, problem)
        }
        ErrorKind::ValueValidation => {
            let problem = cause.map_or("is not valid".to_owned(), ToString::to_string);
            let problem = format!("{problem}; correct the variable or give {flag}");
            ConfigError::new(&variable, &entry, problem)
        }
        _ => {
            let rendered = error.render().to_string();
            let line = rendered.lines().next().unwrap_or_default();
            let line = line.trim_start_matches("error: ");
            ConfigError::new("flags", "", format!("{line}; see --help"))
        }
    }
}

fn variable_of(command: &clap::Command, flag: &str) -> Option<String> {
    let arg = command.get_arguments().find(|arg| {
        let long = arg.get_long().map(|long| format!("--{long}"));
        long.is_some_and(|long| flag.split([' ', '=']).next() == Some(long.as_str()))
    })?;
    Some(arg.get_env()?.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Parser)]
    struct Options {
        #[command(flatten)]
        common: CommonOptions,
        #[arg(long, env = "GLANCE_PORT", default_value_t = 3000)]
        port: u16,
        #[arg(long, env = "GLANCE_BOTS")]
        bots: String,
    }

    fn parse_with(flags: &[&str], pairs: &[(&str, &str)]) -> Result<Options, String> {
        let environment = Environment::from_pairs(pairs.iter().copied());
        let arguments = std::iter::once("test")
            .chain(flags.iter().copied())
            .map(Into::into);
        parse(arguments, &environment).map_err(|error| match error {
            OptionsError::Shown(shown) => shown.to_string(),
            OptionsError::Config(config) => config.to_string(),
        })
    }

    #[test]
    fn a_flag_wins_over_a_variable_and_empty_counts_as_unset() {
        let pairs = [("GLANCE_PORT", "80"), ("GLANCE_BOTS", "main:1")];
        assert_eq!(parse_with(&[], &pairs).unwrap().port, 80);
        assert_eq!(parse_with(&["--port", "81"], &pairs).unwrap().port, 81);
        let pairs = [("GLANCE_PORT", ""), ("GLANCE_BOTS", "main:1")];
        assert_eq!(parse_with(&[], &pairs).unwrap().port, 3000);
    }

    #[test]
    fn errors_are_one_line_that_names_the_variable() {
        let bots = ("GLANCE_BOTS", "main:1");
        for (flags, pairs, wanted) in [
            (vec![], vec![], "GLANCE_BOTS: is required"),
            (
                vec![],
                vec![bots, ("GLANCE_PORT", "x")],
                "GLANCE_PORT: entry 'x'",
            ),
            (
                vec![],
                vec![bots, ("GLANCE_PORT", "70000")],
                "GLANCE_PORT: entry '70000'",
            ),
            (
                vec!["--log-format", "xml"],
                vec![bots],
                "GLANCE_LOG_FORMAT: entry 'xml'",
            ),
            (
                vec!["--nope"],
                vec![bots],
                "flags: unexpected argument '--nope'",
            ),
        ] {
            let error = parse_with(&flags, &pairs).unwrap_err();
            assert!(error.starts_with(wanted), "{error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn help_shows_no_secret() {
        let pairs = [
            ("GLANCE_NATS_URL", "nats://u:hunter2@h:1"),
            ("GLANCE_BOTS", "main:1"),
        ];
        let help = parse_with(&["--help"], &pairs).unwrap_err();
        assert!(help.contains("--nats-url") && !help.contains("hunter2"));
        let options = parse_with(&[], &pairs).unwrap();
        assert!(!format!("{options:?}").contains("hunter2"));
        let error =
            parse_with(&[], &[("GLANCE_NATS_URL", "nats://u:hunter2@"), pairs[1]]).unwrap_err();
        assert!(!error.contains("hunter2"), "{error}");
    }
}
