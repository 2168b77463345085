//! The candidate lookup of a sign-in
//!
//! `cargo bench -p authd-benches --bench auth_path`, with `-- --test` for a quick check that it runs.

#![allow(clippy::print_stdout)]

mod common;

use authd_benches::suites::SIGN_IN;

fn main() {
    common::main(&[&SIGN_IN]);
}
