//! The cost of questions in a larger deployment
//!
//! `cargo bench -p authd-benches --bench scale`, with `-- --test` for a quick check that it runs.

#![allow(clippy::print_stdout)]

mod common;

use authd_benches::suites::GROWTH;

fn main() {
    common::main(&[&GROWTH]);
}
