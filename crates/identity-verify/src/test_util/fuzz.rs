//! The parsers of unverified bytes, for fuzz targets and property tests
//!
//! In the library most of them see only what a signature protects.

use crate::{
    asn1::{Reader, Rules},
    aws, azure, base64,
    cms::SignedData,
    google, pem, time,
    x509::Certificate,
};

/// Walks the values in `bytes` as deep as the reader goes; counts them
#[must_use]
pub fn asn1(bytes: &[u8], ber: bool) -> usize {
    let rules = if ber { Rules::Ber } else { Rules::Der };
    walk(Reader::new(bytes, rules))
}

fn walk(mut reader: Reader<'_>) -> usize {
    let mut count = 0;
    while let Ok(value) = reader.any() {
        count += 1 + value.open().map_or(0, walk);
        let _ = (value.positive_integer(), value.whole_bits());
        let _ = Reader::new(value.raw, Rules::Ber).octet_string();
    }
    count
}

/// Whether `bytes` are a SignedData, and one that says what is signed
#[must_use]
pub fn signed_data(bytes: &[u8], ber: bool) -> bool {
    let rules = if ber { Rules::Ber } else { Rules::Der };
    SignedData::parse(bytes, rules).is_ok_and(|message| {
        let signed = message.signed_bytes().is_ok();
        for certificate in message.certificates() {
            let _ = self::certificate(certificate);
        }
        signed
    })
}

/// Whether `bytes` are a certificate
#[must_use]
pub fn certificate(bytes: &[u8]) -> bool {
    Certificate::parse(bytes).is_ok_and(|certificate| {
        let _ = (certificate.validity(), certificate.common_names());
        let _ = (certificate.is_authority(), certificate.issuer_urls());
        true
    })
}

/// Whether `bytes` are an AWS document, Azure's attested data, Google's claims
#[must_use]
pub fn documents(bytes: &[u8]) -> [bool; 3] {
    let _ = aws::region_hint(bytes);
    [
        aws::Document::parse(bytes).is_ok(),
        azure::Document::parse(bytes).is_ok(),
        google::Payload::parse(bytes).is_ok(),
    ]
}

/// Whether `bytes` are a token, a key set, a PEM file
#[must_use]
pub fn texts(bytes: &[u8]) -> [bool; 3] {
    [
        google::Token::parse(bytes).is_ok(),
        google::Jwks::parse(bytes).is_ok(),
        pem::blocks(bytes).is_ok(),
    ]
}

/// The bytes that base64 `text` encodes
#[must_use]
pub fn base64(text: &[u8]) -> Option<Vec<u8>> {
    base64::decode(text)
}

/// Whether `text` is a date in any of the forms
#[must_use]
pub fn date(text: &str) -> bool {
    let bytes = text.as_bytes();
    time::rfc3339(text).is_some()
        | time::azure(text).is_some()
        | time::utc_time(bytes).is_some()
        | time::generalized_time(bytes).is_some()
}
