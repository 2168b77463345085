use std::borrow::Cow;

/// Reads one ASN.1 value after the other
///
/// DER as in X.690 section 10, or BER where lengths may be indefinite or longer
/// than needed (sections 8.1.3 and 8.1.4). Tags have one byte; no structure of this
/// crate has longer ones. Nothing is copied, and how deep values nest is bounded by
/// [`MAX_DEPTH`].
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    rules: Rules,
    depth: usize,
}

/// How strict the encoding must be
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rules {
    /// Definite lengths in their shortest form
    Der,
    /// Any length form
    Ber,
}

/// The bytes are not what they should encode
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8], rules: Rules) -> Self {
        Self { rest: bytes, rules, depth: 0 }
    }

    /// The next value, which must have `tag`
    pub(crate) fn read(&mut self, tag: u8) -> Result<Value<'a>, Malformed> {
        self.optional(tag)?.ok_or(Malformed)
    }

    /// The next value if it has `tag`
    pub(crate) fn optional(&mut self, tag: u8) -> Result<Option<Value<'a>>, Malformed> {
        if self.rest.first() == Some(&tag) { self.any().map(Some) } else { Ok(None) }
    }

    /// The next value, of any tag
    pub(crate) fn any(&mut self) -> Result<Value<'a>, Malformed> {
        let header = Header::parse(self.rest, self.rules)?;
        let after_header = self.rest.get(header.len..).ok_or(Malformed)?;
        let (body, trailer) = match header.body_len {
            Some(len) => (len, 0),
            None => (indefinite_len(after_header)?, END_OF_CONTENTS.len()),
        };
        let (raw, rest) =
            self.rest.split_at_checked(header.len + body + trailer).ok_or(Malformed)?;
        self.rest = rest;
        let body = after_header.get(..body).ok_or(Malformed)?;
        Ok(Value { tag: header.tag, body, raw, rules: self.rules, depth: self.depth })
    }

    /// The bytes of the next value, an OCTET STRING, joined if BER has split it
    pub(crate) fn octet_string(&mut self) -> Result<Cow<'a, [u8]>, Malformed> {
        if let Some(whole) = self.optional(OCTET_STRING)? {
            return Ok(Cow::Borrowed(whole.body));
        }
        if self.rules == Rules::Der {
            return Err(Malformed);
        }
        let mut parts = self.read(OCTET_STRING | CONSTRUCTED)?.open()?;
        let mut joined = Cow::Borrowed(&[][..]);
        while !parts.is_empty() {
            let part = parts.octet_string()?;
            if joined.is_empty() { joined = part } else { joined.to_mut().extend_from_slice(&part) }
        }
        Ok(joined)
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Refuses bytes that follow the last value
    pub(crate) const fn finish(&self) -> Result<(), Malformed> {
        if self.is_empty() { Ok(()) } else { Err(Malformed) }
    }
}

/// One value: a tag and the bytes it encloses
#[derive(Clone, Copy, Debug)]
pub(crate) struct Value<'a> {
    pub(crate) tag: u8,
    /// The bytes between header and end
    pub(crate) body: &'a [u8],
    /// The whole encoding, header included
    pub(crate) raw: &'a [u8],
    rules: Rules,
    depth: usize,
}

impl<'a> Value<'a> {
    /// Reads the values inside a constructed one
    pub(crate) const fn open(&self) -> Result<Reader<'a>, Malformed> {
        if self.tag & CONSTRUCTED == 0 || self.depth >= MAX_DEPTH {
            return Err(Malformed);
        }
        Ok(Reader { rest: self.body, rules: self.rules, depth: self.depth + 1 })
    }

    /// The magnitude of an INTEGER that must be positive and in its shortest form
    pub(crate) fn positive_integer(&self) -> Result<&'a [u8], Malformed> {
        match *self.body {
            [0, ref rest @ ..] if rest.first().is_some_and(|b| b & 0x80 != 0) => Ok(rest),
            [1..=0x7f, ..] => Ok(self.body),
            _ => Err(Malformed),
        }
    }

    /// The bytes of a BIT STRING that has no unused bits
    pub(crate) fn whole_bits(&self) -> Result<&'a [u8], Malformed> {
        self.body.strip_prefix(&[0]).ok_or(Malformed)
    }
}

/// An AlgorithmIdentifier (RFC 5280, 4.1.1.2)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AlgorithmIdentifier<'a> {
    pub(crate) oid: &'a [u8],
    /// Whether its parameters are absent or NULL
    pub(crate) plain: bool,
}

impl<'a> AlgorithmIdentifier<'a> {
    /// Reads the fields of a SEQUENCE, or of a tag that stands for one
    pub(crate) fn read(value: Value<'a>) -> Result<Self, Malformed> {
        let mut fields = value.open()?;
        let oid = fields.read(OBJECT_IDENTIFIER)?.body;
        let plain = match fields.is_empty() {
            true => true,
            false => fields.any().map(|value| value.tag == NULL && value.body.is_empty())?,
        };
        fields.finish()?;
        Ok(Self { oid, plain })
    }
}

struct Header {
    tag: u8,
    len: usize,
    /// `None` if indefinite
    body_len: Option<usize>,
}

impl Header {
    fn parse(bytes: &[u8], rules: Rules) -> Result<Self, Malformed> {
        let &[tag, first, ref after @ ..] = bytes else {
            return Err(Malformed);
        };
        if tag & TAG_NUMBER == TAG_NUMBER {
            return Err(Malformed);
        }
        if first < 0x80 {
            return Ok(Self { tag, len: 2, body_len: Some(usize::from(first)) });
        }
        if first == 0x80 {
            let allowed = rules == Rules::Ber && tag & CONSTRUCTED != 0;
            return if allowed { Ok(Self { tag, len: 2, body_len: None }) } else { Err(Malformed) };
        }
        let count = usize::from(first & 0x7f);
        let digits = after.get(..count).filter(|_| count <= 4).ok_or(Malformed)?;
        let value = digits.iter().fold(0_u64, |value, &b| value << 8 | u64::from(b));
        let shortest = value >= 0x80 && digits.first() != Some(&0);
        if rules == Rules::Der && !shortest {
            return Err(Malformed);
        }
        let value = usize::try_from(value).ok().filter(|&v| v <= MAX_LEN).ok_or(Malformed)?;
        Ok(Self { tag, len: 2 + count, body_len: Some(value) })
    }
}

/// How many bytes precede the end-of-contents that closes `body`
fn indefinite_len(body: &[u8]) -> Result<usize, Malformed> {
    let mut open = 0_usize;
    let mut at = 0_usize;
    loop {
        let rest = body.get(at..).ok_or(Malformed)?;
        if rest.starts_with(END_OF_CONTENTS) {
            if open == 0 {
                return Ok(at);
            }
            open -= 1;
            at += END_OF_CONTENTS.len();
            continue;
        }
        let header = Header::parse(rest, Rules::Ber)?;
        at += header.len;
        match header.body_len {
            Some(len) => at += len,
            None if open < MAX_DEPTH => open += 1,
            None => return Err(Malformed),
        }
    }
}

pub(crate) const BOOLEAN: u8 = 0x01;
pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const NULL: u8 = 0x05;
pub(crate) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(crate) const UTF8_STRING: u8 = 0x0c;
pub(crate) const PRINTABLE_STRING: u8 = 0x13;
pub(crate) const IA5_STRING: u8 = 0x16;
pub(crate) const UTC_TIME: u8 = 0x17;
pub(crate) const GENERALIZED_TIME: u8 = 0x18;
pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;

/// The constructed tag `[n]` of a context
pub(crate) const fn context(n: u8) -> u8 {
    0xa0 | n
}

const CONSTRUCTED: u8 = 0x20;
const TAG_NUMBER: u8 = 0x1f;
const END_OF_CONTENTS: &[u8] = &[0, 0];

/// The deepest nesting: a SignedData in use has about ten levels
const MAX_DEPTH: usize = 16;

/// The longest value, far above every cap on a proof, so that sums cannot overflow
const MAX_LEN: usize = 1 << 24;

#[cfg(test)]
mod tests {
    use super::*;

    fn ber(bytes: &[u8]) -> Result<Value<'_>, Malformed> {
        Reader::new(bytes, Rules::Ber).any()
    }

    fn der(bytes: &[u8]) -> Result<Value<'_>, Malformed> {
        Reader::new(bytes, Rules::Der).any()
    }

    #[test]
    fn lengths_must_fit_the_rules() {
        assert_eq!(der(&[4, 1, 7]).unwrap().body, [7]);
        for longer in [&[4, 0x81, 1, 7][..], &[4, 0x82, 0, 1, 7]] {
            assert_eq!(ber(longer).unwrap().body, [7]);
            assert_eq!(der(longer).unwrap_err(), Malformed);
        }
        for broken in [
            &[][..],
            &[4],
            &[4, 1],
            &[4, 0x80, 0, 0],
            &[4, 0x85, 0, 0, 0, 0, 1, 7],
            &[0x1f, 1, 7],
            &[4, 0xff],
        ] {
            assert_eq!(ber(broken).unwrap_err(), Malformed, "{broken:?}");
        }
    }

    #[test]
    fn indefinite_lengths_end_at_their_own_end_of_contents() {
        let nested = [0x30, 0x80, 0x30, 0x80, 4, 2, 0, 0, 0, 0, 4, 1, 9, 0, 0, 5];
        let outer = ber(&nested).unwrap();
        assert_eq!(outer.raw.len(), nested.len() - 1);
        let mut inside = outer.open().unwrap();
        assert_eq!(inside.read(SEQUENCE).unwrap().body, [4, 2, 0, 0]);
        assert_eq!(inside.read(4).unwrap().body, [9]);
        inside.finish().unwrap();
        assert_eq!(der(&nested).unwrap_err(), Malformed);
        assert_eq!(ber(&nested[..13]).unwrap_err(), Malformed);
    }

    #[test]
    fn split_strings_are_joined_in_ber_alone() {
        let split = [0x24, 0x80, 4, 1, 1, 0x24, 4, 4, 2, 2, 3, 4, 0, 0, 0];
        let read = |rules| Reader::new(&split, rules).octet_string();
        assert_eq!(read(Rules::Ber).unwrap().as_ref(), [1, 2, 3]);
        assert_eq!(read(Rules::Der).unwrap_err(), Malformed);
        for broken in [&[0x24, 2, 5, 0][..], &[0x24, 1, 4], &[5, 0]] {
            assert_eq!(Reader::new(broken, Rules::Ber).octet_string().unwrap_err(), Malformed);
        }
    }

    #[test]
    fn depth_is_bounded() {
        let mut bytes = [0x30, 0x80].repeat(MAX_DEPTH + 2);
        bytes.extend([0, 0].repeat(MAX_DEPTH + 2));
        assert_eq!(ber(&bytes).unwrap_err(), Malformed);

        let mut value = der(&[0x30, 0]).unwrap();
        value.depth = MAX_DEPTH;
        assert_eq!(value.open().unwrap_err(), Malformed);
    }

    #[test]
    fn integers_are_positive_and_shortest() {
        let value = |bytes: &'static [u8]| der(bytes).unwrap().positive_integer();
        assert_eq!(value(&[2, 1, 1]), Ok(&[1][..]));
        assert_eq!(value(&[2, 2, 0, 0x80]), Ok(&[0x80][..]));
        for bad in [&[2, 0][..], &[2, 1, 0], &[2, 1, 0x80], &[2, 2, 0, 1]] {
            assert_eq!(value(bad), Err(Malformed), "{bad:?}");
        }
    }
}
