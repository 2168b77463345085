//! Percent-encoding (RFC 3986, section 2.1)

use std::borrow::Cow;

/// Decodes the escapes of a text once
///
/// `None` if an escape is not valid, or the result is not UTF-8.
pub(crate) fn decode(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text));
    }
    let mut parts = text.split('%');
    let mut decoded = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (byte, rest) = escape(part.as_bytes())?;
        decoded.push(byte);
        decoded.extend(rest);
    }
    String::from_utf8(decoded).ok().map(Cow::Owned)
}

/// The bytes of a name or a value in a form (`application/x-www-form-urlencoded`)
///
/// A plus is a space. What is not a valid escape stays as it is, as in the URL standard
/// (<https://url.spec.whatwg.org/#urlencoded-parsing>).
pub(crate) fn form_bytes(text: &str) -> impl Iterator<Item = u8> {
    let mut rest = text.as_bytes();
    std::iter::from_fn(move || {
        let (byte, behind) = rest.split_first()?;
        let (byte, behind) = match byte {
            b'+' => (b' ', behind),
            b'%' => escape(behind).unwrap_or((b'%', behind)),
            byte => (*byte, behind),
        };
        rest = behind;
        Some(byte)
    })
}

/// The byte that the two hexadecimal digits at the start stand for, and what follows them
fn escape(text: &[u8]) -> Option<(u8, &[u8])> {
    let (digits, rest) = text.split_first_chunk::<2>()?;
    let [high, low] = digits.map(|digit| char::from(digit).to_digit(16));
    Some((u8::try_from(high? * 16 + low?).ok()?, rest))
}
