//! Certificates from a message or from the network
#![no_main]

use identity_verify::test_util::fuzz;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = fuzz::certificate(bytes);
});
