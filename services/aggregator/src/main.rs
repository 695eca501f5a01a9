//! The binary `glance-aggregator`.

use std::process::ExitCode;

fn main() -> ExitCode {
    glance_runner::run("glance-aggregator", glance_aggregator::run)
}
