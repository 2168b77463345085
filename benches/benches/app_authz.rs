//! Decisions and app tokens; with `--features peers` also those of other engines
//!
//! `cargo bench -p authd-benches --bench app_authz`, with `-- --test` for a quick check that it runs.

#![allow(clippy::print_stdout)]

mod common;

use authd_benches::suites::{DECISIONS, PEERS, TOKENS};

fn main() {
    common::main(&[&DECISIONS, &PEERS, &TOKENS]);
}
