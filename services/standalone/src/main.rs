//! The program `glance`.

use std::process::ExitCode;

use tikv_jemallocator::Jemalloc;

/// Gives memory back to the system some seconds after a crowd of viewers has left. The system's own allocator keeps it.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    // This program is also the parent of its broker's process, see the library's `shim`.
    if let Some(code) = glance_standalone::run_shim() {
        return code;
    }
    glance_runner::run("glance", glance_standalone::run)
}
