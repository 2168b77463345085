//! The statement of app access
//!
//! `cargo bench -p authd-benches --bench app_access`, with `-- --test` for a quick check that it runs.

#![allow(clippy::print_stdout)]

mod common;

use authd_benches::suites::APP_ACCESS;

fn main() {
    common::main(&[&APP_ACCESS]);
}
