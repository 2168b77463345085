use base64::{
    Engine as _,
    engine::{
        DecodePaddingMode, GeneralPurposeConfig,
        general_purpose::{NO_PAD, PAD},
    },
};
use memchr::memchr2;

/// Decodes base64 as the clouds' metadata services write it
///
/// RFC 4648 section 4 with padding. CR and LF are skipped wherever they stand,
/// because signatures come in lines, and the unused bits of the last digit may be
/// set, because the reference's decoder allows both. Nothing else is tolerated: no
/// space or tab, no URL-safe alphabet, no missing padding. One signature therefore
/// has many texts, and the text must not be used as a replay key.
pub(crate) fn decode(text: &[u8]) -> Option<Vec<u8>> {
    engine::LENIENT.decode(without_breaks(text)).ok()
}

/// Decodes base64url without padding (RFC 7515 section 2), of which nothing is tolerated
pub(crate) fn decode_url(text: &[u8]) -> Option<Vec<u8>> {
    engine::STRICT_URL.decode(text).ok()
}

/// The text without CR and LF
///
/// A line is copied as a whole: byte by byte, this took longer than decoding what is left. From a
/// short line on it is byte by byte, since a search for each of many breaks would take longer still.
fn without_breaks(text: &[u8]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = memchr2(b'\r', b'\n', rest) {
        let (line, after) = rest.split_at(at);
        kept.extend_from_slice(line);
        if at < SHORT {
            kept.extend(after.iter().copied().filter(|byte| !matches!(byte, b'\r' | b'\n')));
            return kept;
        }
        rest = after.get(1..).unwrap_or_default();
    }
    kept.extend_from_slice(rest);
    kept
}

/// Shorter than the lines of any cloud
const SHORT: usize = 32;

/// With SIMD instructions: without them, decoding is the largest part of what a message costs
/// besides the cryptography
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod engine {
    use std::sync::LazyLock;

    use base64::engine::Simd;

    use super::{NO_PAD, TRAILING_BITS};

    pub(super) static LENIENT: LazyLock<Simd> = LazyLock::new(|| Simd::standard(TRAILING_BITS));
    pub(super) static STRICT_URL: LazyLock<Simd> = LazyLock::new(|| Simd::url_safe(NO_PAD));
}

/// The crate has SIMD instructions for no other processors
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod engine {
    use base64::{
        alphabet::{STANDARD, URL_SAFE},
        engine::GeneralPurpose,
    };

    use super::{NO_PAD, TRAILING_BITS};

    pub(super) static LENIENT: GeneralPurpose = GeneralPurpose::new(&STANDARD, TRAILING_BITS);
    pub(super) static STRICT_URL: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, NO_PAD);
}

const TRAILING_BITS: GeneralPurposeConfig = PAD
    .with_decode_padding_mode(DecodePaddingMode::RequireCanonical)
    .with_decode_allow_trailing_bits(true);

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
    fn breaks_are_skipped_wherever_they_stand() {
        let digits: Vec<u8> = (0..100).map(|n| b'a' + n % 26).collect();
        for at in 0..=digits.len() {
            for line_break in [&b"\n"[..], b"\r\n", b"\n\n\n"] {
                let text = [&digits[..at], line_break, &digits[at..]].concat();
                assert_eq!(without_breaks(&text), digits, "{at}");
            }
        }
        assert_eq!(without_breaks(&b"\r\n".repeat(40)), b"");
        let lines: Vec<u8> = digits.chunks(7).flat_map(|line| [line, b"\n"].concat()).collect();
        assert_eq!(without_breaks(&lines), digits);
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
