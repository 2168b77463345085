use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, SHA512, digest};

use crate::error::TokenError;
use crate::json;

/// A JSON Web Signature in compact form (RFC 7515, section 7.1), not verified
pub(crate) struct Jws<'a> {
    pub(crate) algorithm: Algorithm,
    /// The id of the key, if the header names one
    pub(crate) kid: Option<String>,
    /// What the signature is made over: header and payload, as they came
    pub(crate) signed: &'a [u8],
    pub(crate) payload: Vec<u8>,
    pub(crate) signature: Vec<u8>,
}

/// An algorithm that a provider may sign with (RFC 7518, section 3.1; RFC 8037, section 3.1)
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Algorithm {
    Rs256,
    Ps256,
    Es256,
    EdDsa,
}

impl Algorithm {
    pub(crate) fn parse(name: &str) -> Option<Self> {
        match name {
            "RS256" => Some(Self::Rs256),
            "PS256" => Some(Self::Ps256),
            "ES256" => Some(Self::Es256),
            // RFC 9864 has the second name.
            "EdDSA" | "Ed25519" => Some(Self::EdDsa),
            _ => None,
        }
    }

    /// The left half of the hash of an access token, as `at_hash` has it
    /// (OpenID Connect Core 1.0, section 3.1.3.6)
    pub(crate) fn half_hash(self, text: &str) -> String {
        let algorithm = match self {
            // Ed25519 hashes with SHA-512 (RFC 8032, section 5.1).
            Self::EdDsa => &SHA512,
            Self::Rs256 | Self::Ps256 | Self::Es256 => &SHA256,
        };
        let hash = digest(algorithm, text.as_bytes());
        let half = hash.as_ref().get(..hash.as_ref().len() / 2).unwrap_or_default();
        URL_SAFE_NO_PAD.encode(half)
    }
}

impl<'a> Jws<'a> {
    /// Reads the header, which must name one of the known algorithms and one of these types, or no
    /// type
    ///
    /// The algorithm is fixed before a key is looked at (RFC 8725, section 3.1). A header with a
    /// parameter that must be understood (`crit`, `b64`) is refused. Keys, and places of keys, that
    /// the token itself offers are not looked at.
    pub(crate) fn parse(text: &'a str, types: &[&str]) -> Result<Self, TokenError> {
        if text.len() > MAX_TOKEN {
            return Err(TokenError::Malformed("the token is larger than 64 KiB"));
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(SEGMENTS)?;
        let (header, payload) = signed.split_once('.').ok_or(SEGMENTS)?;
        let header = json::object(&decode(header)?)
            .ok_or(TokenError::Malformed("the header of the token is not a JSON object"))?;
        let algorithm = json::text(&header, "alg").and_then(Algorithm::parse);
        let algorithm = algorithm.ok_or(TokenError::Algorithm)?;
        if header.contains_key("crit") || header.contains_key("b64") {
            return Err(TokenError::Malformed("the header of the token demands an extension"));
        }
        let kid = match header.get("kid") {
            None => None,
            Some(kid) => Some(kid.as_str().filter(|kid| matches!(kid.len(), 1..=MAX_KID)).ok_or(
                TokenError::Malformed("the id of the key is not a text of at most 256 bytes"),
            )?),
        };
        let is_known = |typ: &str| types.iter().any(|known| typ.eq_ignore_ascii_case(known));
        if header.get("typ").is_some_and(|typ| !typ.as_str().is_some_and(is_known)) {
            return Err(TokenError::Malformed("the token is of another type"));
        }
        Ok(Self {
            algorithm,
            kid: kid.map(str::to_owned),
            signed: signed.as_bytes(),
            payload: decode(payload)?,
            signature: decode(signature)?,
        })
    }
}

/// Decodes one segment: base64url without padding (RFC 7515, section 2)
fn decode(segment: &str) -> Result<Vec<u8>, TokenError> {
    let decoded = URL_SAFE_NO_PAD.decode(segment);
    decoded.map_err(|_| TokenError::Malformed("a segment of the token is not base64url"))
}

const SEGMENTS: TokenError = TokenError::Malformed("the token does not have three segments");

/// More than tokens with hundreds of groups have
const MAX_TOKEN: usize = 64 << 10;

pub(crate) const MAX_KID: usize = 256;
