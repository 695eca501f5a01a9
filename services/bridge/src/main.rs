//! The `glance-bridge` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    glance_runner::run("glance-bridge", glance_bridge::run)
}
