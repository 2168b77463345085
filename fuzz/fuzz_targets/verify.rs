//! Whole proofs against the built-in trust: only proofs of the seeds are genuine
#![no_main]

use std::{
    sync::LazyLock,
    time::{Duration, SystemTime},
};

use identity_verify::{aws, azure, google};
use libfuzzer_sys::fuzz_target;

static AWS: LazyLock<aws::Verifier> = LazyLock::new(aws::Verifier::builtin);
static AZURE: LazyLock<azure::Verifier> = LazyLock::new(azure::Verifier::builtin);

fuzz_target!(|bytes: &[u8]| {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000);
    let cut = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    let (document, signature) = bytes.split_at(cut);
    let signed = AWS.verify(&aws::SignedDocument { document, signature }, now);
    assert!(signed.is_err());
    let azure = AZURE.verify(&azure::AttestedData { signature: bytes }, now);
    assert!(azure.is_err(), "the certificates of all captured signers have expired by then");
    let token = google::IdentityToken { token: bytes };
    let google = google::Verifier::default().verify(&token, now, &google::Jwks::none());
    assert!(google.is_err());
    if let Ok(instance) = AWS.verify_pkcs7(&aws::Pkcs7 { pkcs7: bytes, document: None }, now) {
        assert_eq!(instance.id().as_str(), "i-078517ca8a70a1dde");
    }
});
