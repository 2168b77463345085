//! Google's tokens and key sets, and PEM files
#![no_main]

use identity_verify::test_util::fuzz;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = fuzz::texts(bytes);
});
