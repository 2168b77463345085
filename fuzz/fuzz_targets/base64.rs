//! Base64 as the metadata services write it
#![no_main]

use identity_verify::test_util::fuzz;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    let Some(decoded) = fuzz::base64(text) else { return };
    // Line breaks are ignored at every position.
    let mut broken = text.to_vec();
    broken.insert(text.len() / 2, b'\n');
    assert_eq!(fuzz::base64(&broken), Some(decoded));
});
