//! App access over HTTP
//!
//! `cargo bench -p authd-benches --bench http`, with `-- --test` for a quick check that it runs.

#![allow(clippy::print_stdout)]

mod common;

use authd_benches::suites::{FORWARD_AUTH, ISSUING};

fn main() {
    common::main(&[&ISSUING, &FORWARD_AUTH]);
}
