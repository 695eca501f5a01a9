//! Binary `glance-simulator`.

use std::process::ExitCode;

fn main() -> ExitCode {
    glance_runner::run("glance-simulator", glance_simulator::run)
}
