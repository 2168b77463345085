//! Recording a visit
//!
//! `cargo bench -p authd-benches --bench audit`, with `-- --test` for a quick check that it runs.

#![allow(clippy::print_stdout)]

mod common;

use authd_benches::suites::AUDIT;

fn main() {
    common::main(&[&AUDIT]);
}
