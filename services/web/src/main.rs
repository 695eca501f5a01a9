//! The program `glance-web`.

use std::process::ExitCode;

fn main() -> ExitCode {
    glance_runner::run("glance-web", glance_web::run)
}
