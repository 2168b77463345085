//! The fuzz targets, bounded: arbitrary and nearly right bytes for every parser

use identity_verify::test_util::{
    Key,
    azure::{Authority, LeafOptions},
    cms::Message,
    fuzz,
};
use proptest::prelude::*;
use std::sync::LazyLock;

/// Bytes that look like ASN.1 more often than chance would have it
fn asn1_like() -> impl Strategy<Value = Vec<u8>> {
    let token = prop_oneof![
        Just(vec![0x30, 0x80]),
        Just(vec![0x24, 0x80]),
        Just(vec![0xa0, 0x80]),
        Just(vec![0, 0]),
        Just(vec![0x06, 0x01, 0x2a]),
        Just(vec![0x05, 0x00]),
        Just(vec![0x02, 0x01, 0x01]),
        Just(vec![0x30, 0x84, 0xff, 0xff, 0xff, 0xff]),
        any::<[u8; 2]>().prop_map(Vec::from),
        any::<[u8; 7]>().prop_map(Vec::from),
    ];
    prop::collection::vec(token, 0..200).prop_map(|tokens| tokens.concat())
}

static MESSAGE: LazyLock<(Key, Message, Vec<u8>)> = LazyLock::new(|| {
    let leaf = Authority::root("Root").issue_leaf(&LeafOptions::default());
    let mut message = leaf.message(b"{\"vmId\":\"\"}");
    message.signed_attributes = true;
    (leaf.key().clone(), message, leaf.der())
});

/// A real message with some bytes overwritten, removed or inserted
fn nearly(original: &[u8], edits: &[(prop::sample::Index, u8, u8)]) -> Vec<u8> {
    let mut bytes = original.to_vec();
    for (at, kind, value) in edits {
        let at = at.index(bytes.len());
        match kind % 3 {
            0 => bytes[at] = *value,
            1 => bytes.insert(at, *value),
            _ if bytes.len() > 1 => drop(bytes.remove(at)),
            _ => {}
        }
    }
    bytes
}

fn edits() -> impl Strategy<Value = Vec<(prop::sample::Index, u8, u8)>> {
    prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), any::<u8>()), 0..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn asn1(bytes in asn1_like(), ber: bool) {
        // Each value has a header of two bytes, and stands in at most 16 others.
        prop_assert!(fuzz::asn1(&bytes, ber) <= bytes.len() * 16);
        let _ = fuzz::signed_data(&bytes, ber);
        let _ = fuzz::certificate(&bytes);
    }

    #[test]
    fn messages(edits in edits(), ber: bool) {
        let (key, message, _) = &*MESSAGE;
        let message = Message { ber, ..message.clone() };
        let bytes = nearly(&message.with_signature(Some(&message.attributes(b"{}")), &key.sign(b"")), &edits);
        let _ = fuzz::signed_data(&bytes, ber);
    }

    #[test]
    fn certificates(edits in edits()) {
        let bytes = nearly(&MESSAGE.2, &edits);
        prop_assert!(fuzz::certificate(&bytes) || !edits.is_empty());
    }

    #[test]
    fn documents(bytes in prop::collection::vec(any::<u8>(), 0..300), text in "\\PC{0,100}") {
        let _ = fuzz::documents(&bytes);
        let _ = fuzz::documents(text.as_bytes());
        let _ = fuzz::texts(&bytes);
        let _ = fuzz::texts(text.as_bytes());
        let _ = fuzz::date(&text);
    }

    #[test]
    fn json_like_documents(text in r#"\{("(vmId|instanceId|region|timeStamp|iss|aud|exp|google)":("[a-z\\]{0,3}"|[0-9]{1,22}|null|\{\}|\[\]),?){0,4}\}?"#) {
        let _ = fuzz::documents(text.as_bytes());
    }

    #[test]
    fn tokens(text in r"[A-Za-z0-9_=-]{0,40}\.[A-Za-z0-9_-]{0,40}\.?[A-Za-z0-9_-]{0,40}") {
        let _ = fuzz::texts(text.as_bytes());
    }

    #[test]
    fn base64_is_the_inverse_of_itself(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        use base64::Engine as _;
        let text = base64::engine::general_purpose::STANDARD.encode(&bytes);
        prop_assert_eq!(fuzz::base64(text.as_bytes()), Some(bytes));
    }

    #[test]
    fn base64_of_anything(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        if let Some(decoded) = fuzz::base64(&bytes) {
            prop_assert!(decoded.len() <= bytes.len());
        }
    }

    #[test]
    fn dates(text in r"[0-9/]{2,10}[T ]?[0-9:.]{0,12}(Z| -0000|[+-][0-9:]{0,6})?") {
        let _ = fuzz::date(&text);
    }
}
