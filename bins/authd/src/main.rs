//! The command `authd`

use std::process::ExitCode;

/// Gives memory back once the connections of a storm have ended; the C library's keeps it
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    authd::run()
}
