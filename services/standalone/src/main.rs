//! The program `glance`.

use std::process::ExitCode;

fn main() -> ExitCode {
    // This program is also the parent of its broker's process, see the library's `shim`.
    if let Some(code) = glance_standalone::run_shim() {
        return code;
    }
    glance_runner::run("glance", glance_standalone::run)
}
