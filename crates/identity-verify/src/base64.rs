use base64::{
    Engine as _,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

/// Decodes base64 as the clouds' metadata services write it
///
/// RFC 4648 section 4 with padding. CR and LF are skipped wherever they stand,
/// because signatures come in lines, and the unused bits of the last digit may be
/// set, because the reference's decoder allows both. Nothing else is tolerated: no
/// space or tab, no URL-safe alphabet, no missing padding. One signature therefore
/// has many texts, and the text must not be used as a replay key.
pub(crate) fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut digits = Vec::with_capacity(text.len());
    for line in text.split(|b| matches!(b, b'\r' | b'\n')) {
        digits.extend_from_slice(line);
    }
    LENIENT.decode(digits).ok()
}

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical)
        .with_decode_allow_trailing_bits(true),
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_breaks_and_trailing_bits_are_tolerated() {
        for text in ["YWI=", "YW\nI=", "\r\nYWI=\r\n", "YWI\n=", "YWJ=", "YWK="] {
            assert_eq!(decode(text.as_bytes()).as_deref(), Some(&b"ab"[..]), "{text:?}");
        }
        assert_eq!(decode(b"").as_deref(), Some(&b""[..]));
        assert_eq!(decode(b"YQ\n=\n=").as_deref(), Some(&b"a"[..]));
    }

    #[test]
    fn nothing_else_is() {
        for text in [
            "YWI",
            "YWI ",
            "YWI= ",
            "\tYWI=",
            "YWI==",
            "YW=I",
            "YWI=YWI=",
            "Y-_=",
            "=",
            "YWI\u{b}=",
            "YWI\0=",
        ] {
            assert_eq!(decode(text.as_bytes()), None, "{text:?}");
        }
    }
}
