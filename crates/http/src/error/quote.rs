use std::fmt::Write;

/// `text` in double quotes, escaped as Go's `%q` verb does
///
/// Clients match on the messages of the reference, which is written in Go. Quotes, backslashes
/// and characters that are not printable are escaped. Source: <https://pkg.go.dev/strconv#Quote>.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\u{07}' => quoted.push_str("\\a"),
            '\u{08}' => quoted.push_str("\\b"),
            '\u{0c}' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{0b}' => quoted.push_str("\\v"),
            c if is_printable(c) => quoted.push(c),
            c => {
                let code = u32::from(c);
                // Writing to a `String` cannot fail.
                let _ = match code {
                    0..=0x7f => write!(quoted, "\\x{code:02x}"),
                    0x80..=0xffff => write!(quoted, "\\u{code:04x}"),
                    _ => write!(quoted, "\\U{code:08x}"),
                };
            }
        }
    }
    quoted.push('"');
    quoted
}

/// Whether Go would print `c` as it is
///
/// `escape_debug` of the standard library uses the same table, but also escapes a combining mark
/// at the start of a text, so `c` is checked after a letter. An apostrophe is the one character
/// that only `escape_debug` escapes, and only in a `char`.
fn is_printable(c: char) -> bool {
    let mut text = [0; 8];
    let mut buffer = String::from("a");
    buffer.push_str(c.encode_utf8(&mut text));
    buffer.escape_debug().count() == 2 || c == '\''
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_like_go() {
        for (text, expected) in [
            ("", r#""""#),
            ("i-076e9b91f7c420782", r#""i-076e9b91f7c420782""#),
            ("it's", r#""it's""#),
            (r#"a"b\c"#, r#""a\"b\\c""#),
            ("\u{7}\u{8}\u{c}\n\r\t\u{b}", r#""\a\b\f\n\r\t\v""#),
            ("\0\u{1b}\u{7f}", r#""\x00\x1b\x7f""#),
            ("é漢😀", r#""é漢😀""#),
            ("e\u{301}", "\"e\u{301}\""),
            ("\u{80}\u{a0}\u{2028}\u{feff}", r#""\u0080\u00a0\u2028\ufeff""#),
            ("\u{e0001}", r#""\U000e0001""#),
        ] {
            assert_eq!(quote(text), expected);
        }
    }
}
