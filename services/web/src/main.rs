//! The program `glance-web`.

use std::process::ExitCode;

use tikv_jemallocator::Jemalloc;

/// Gives memory back to the system some seconds after a crowd of viewers has left. The system's own allocator keeps it.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    glance_runner::run("glance-web", glance_web::run)
}
