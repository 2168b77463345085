//! Names in the address of an app below a path

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// The name that a segment of a path stands for
///
/// Escapes are decoded once. `None` if the segment is empty, or is not a name: it holds an escape
/// that is not valid, bytes that are not UTF-8, a control character, or a slash of either kind,
/// which other servers take for the end of a segment.
pub(super) fn name(segment: &str) -> Option<String> {
    let name = decode(segment)?;
    let is_name = !name.is_empty() && !name.chars().any(|c| c.is_control() || "/\\".contains(c));
    is_name.then(|| name.into_owned())
}

/// Decodes the escapes of a text (RFC 3986, section 2.1); `None` if one of them is not valid
fn decode(text: &str) -> Option<Cow<'_, str>> {
    let is_escape = |behind: &str| {
        behind.as_bytes().get(..2).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    let is_valid = text.split('%').skip(1).all(is_escape);
    percent_decode_str(text).decode_utf8().ok().filter(|_| is_valid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_its_segment_decodes_to() {
        for (segment, expected) in [
            ("code", "code"),
            ("Code%20Server", "Code Server"),
            ("Code Server", "Code Server"),
            ("%61lice", "alice"),
            ("dev%2Emain", "dev.main"),
            ("dev%2emain", "dev.main"),
            ("%40alice", "@alice"),
            ("a+b", "a+b"),
            ("caf%C3%A9", "caf\u{e9}"),
            ("caf\u{e9}", "caf\u{e9}"),
            ("%2561", "%61"),
            ("%25", "%"),
        ] {
            assert_eq!(name(segment).as_deref(), Some(expected), "{segment}");
        }
    }

    #[test]
    fn other_segments_are_not_names() {
        for segment in [
            "",
            "%",
            "a%",
            "a%2",
            "%zz",
            "%+1",
            "%\u{e9}a",
            "code%2Fx",
            "code%2fx",
            "code%5Cx",
            "code\\x",
            "code%00",
            "%0a",
            "%7F",
            "%C2%85",
            // A single byte of two, an overlong slash, a surrogate, and beyond Unicode
            "caf%E9",
            "code%C0%AF",
            "%ED%A0%80",
            "%F4%90%80%80",
        ] {
            assert_eq!(name(segment), None, "{segment}");
        }
    }
}
