//! Each kind of proof, and forged ones
//!
//! `cargo bench -p authd-benches --bench identity`, with `-- --test` for a quick check that it runs.

#![allow(clippy::print_stdout)]

mod common;

use authd_benches::suites::{PROOFS, REFUSALS};

fn main() {
    common::main(&[&PROOFS, &REFUSALS]);
}
