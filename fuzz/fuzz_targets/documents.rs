//! Signed content, parsed after verification: AWS's and Azure's documents, Google's claims
#![no_main]

use identity_verify::test_util::fuzz;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = fuzz::documents(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = fuzz::date(text);
    }
});
