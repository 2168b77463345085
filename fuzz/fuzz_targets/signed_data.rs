//! Messages of AWS and Azure, up to the signed bytes
#![no_main]

use identity_verify::test_util::fuzz;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let der = fuzz::signed_data(bytes, false);
    let ber = fuzz::signed_data(bytes, true);
    assert!(ber || !der, "DER is valid BER");
});
