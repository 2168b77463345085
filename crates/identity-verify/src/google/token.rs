use std::borrow::Cow;

use serde::{Deserialize, Deserializer, de::IgnoredAny};

use crate::{Error, base64, json};

/// A JSON Web Signature in compact form (RFC 7515, 7.1), unverified
pub(crate) struct Token<'a> {
    kid: String,
    /// What the signature is made over: header and payload, as they came
    signed: &'a [u8],
    payload: Vec<u8>,
    signature: Vec<u8>,
}

impl<'a> Token<'a> {
    /// Reads the header, which must name RS256 and one key, and nothing to heed
    ///
    /// The algorithm is fixed before a key is looked at (RFC 8725, 3.1). A header
    /// parameter that must be understood (`crit`) is not. Keys, and places of keys,
    /// that the token itself offers are not looked at. ASCII whitespace around the token
    /// is not part of it: files and pipes add a final line break.
    pub(crate) fn parse(text: &'a [u8]) -> Result<Self, Error> {
        let text = text.trim_ascii();
        // A dot between these two is refused with the segment it stands in.
        let dot = |b: &u8| *b == b'.';
        let (first, last) = text
            .iter()
            .position(dot)
            .zip(text.iter().rposition(dot))
            .filter(|(first, last)| first != last)
            .ok_or(Error::malformed("the token does not have three segments"))?;
        let segment = |range| text.get(range).unwrap_or_default();
        let header = decode(segment(0..first))?;
        let header: Header<'_> = json::object(&header)
            .ok_or(Error::malformed("the token's header is not that of a signed token"))?;
        if header.alg != "RS256" {
            return Err(Error::AlgorithmNotAllowed {
                algorithm: "a token algorithm other than RS256",
            });
        }
        if header.crit || header.b64 {
            return Err(Error::malformed("the token's header demands an extension"));
        }
        if header.typ.is_some_and(|typ| !typ.eq_ignore_ascii_case("JWT")) {
            return Err(Error::malformed("the token is of another type"));
        }
        let kid = header.kid.filter(|kid| matches!(kid.len(), 1..=MAX_KID));
        Ok(Self {
            kid: kid.ok_or(Error::malformed("the token names no key"))?.into_owned(),
            signed: segment(0..last),
            payload: decode(segment(first + 1..last))?,
            signature: decode(segment(last + 1..text.len()))?,
        })
    }

    pub(super) fn kid(&self) -> &str {
        &self.kid
    }

    pub(super) const fn signed(&self) -> &'a [u8] {
        self.signed
    }

    pub(super) fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// The payload's bytes
    pub(super) fn payload(&self) -> &[u8] {
        &self.payload
    }
}

#[derive(Deserialize)]
struct Header<'a> {
    #[serde(borrow)]
    alg: Cow<'a, str>,
    kid: Option<Cow<'a, str>>,
    typ: Option<Cow<'a, str>>,
    #[serde(default, deserialize_with = "present")]
    crit: bool,
    #[serde(default, deserialize_with = "present")]
    b64: bool,
}

/// Whether a field is there, `null` included
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}

fn decode(segment: &[u8]) -> Result<Vec<u8>, Error> {
    base64::decode_url(segment).ok_or(Error::malformed("a segment of the token is not base64url"))
}

/// Google's have 40 digits
pub(super) const MAX_KID: usize = 256;
