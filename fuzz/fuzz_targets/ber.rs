//! The ASN.1 reader, in BER and in DER
#![no_main]

use identity_verify::test_util::fuzz;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for ber in [false, true] {
        assert!(fuzz::asn1(bytes, ber) <= bytes.len() * 16);
    }
});
