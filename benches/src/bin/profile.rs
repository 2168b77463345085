//! `profile`: makes one kind of request repeatedly, for a profiler such as callgrind
//!
//! `script/profile` builds it, runs it and prints what it has found.

use authd_benches::suites::{Profiled, profile};
use clap::Parser;

/// Make one kind of request repeatedly, on one thread
#[derive(Parser)]
#[command(name = "profile")]
struct Args {
    /// The request
    #[arg(value_enum)]
    request: Profiled,
    /// How often it is made
    #[arg(long, value_name = "N", default_value_t = 200)]
    count: u64,
}

/// That of `authd`
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() {
    let Args { request, count } = Args::parse();
    profile(request, count);
}
