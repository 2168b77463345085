use std::time::{Duration, SystemTime};

use josekit::jwe::{JweContext, JweHeader};
use serde::Deserialize;

use super::claims::{Audience, SealedClaims, Times, numeric_date};
use super::{KeyRing, SealKey, TokenError, compact};
use crate::Error;
use crate::credential::SessionToken;

impl KeyRing<SealKey> {
    /// Seals a session token, so that a URL can carry it to an app's host
    ///
    /// The result is a JWE (RFC 7516) in compact form with A256GCMKW, A256GCM and DEFLATE. It
    /// can be opened for a minute, any number of times.
    ///
    /// # Errors
    ///
    /// [`Error::NoSigningKey`] if no key may seal at `now`.
    pub fn seal(&self, token: &SessionToken, now: SystemTime) -> Result<String, Error> {
        let (sequence, key) = self.signing(now)?;
        let claims = SealedClaims {
            iss: ISSUER.to_owned(),
            aud: Audience::Several(vec![AUDIENCE.to_owned()]),
            exp: numeric_date(now + LIFETIME),
            nbf: numeric_date(now - LIFETIME),
            iat: None,
            api_key: token.reveal().to_owned(),
        };
        let payload = serde_json::to_vec(&claims).map_err(|_| Error::SigningFailed)?;
        let mut header = JweHeader::new();
        header.set_content_encryption(CONTENT_ENCRYPTION);
        header.set_compression(COMPRESSION);
        header.set_key_id(sequence.to_string());
        JweContext::new()
            .serialize_compact(&payload, &header, &key.encrypter)
            .map_err(|_| Error::SigningFailed)
    }

    /// Opens a sealed session token
    ///
    /// Proves that the token was sealed with a key of the ring and has not expired. Whether the
    /// session is good is not checked, and neither is whether the token was opened before.
    ///
    /// # Errors
    ///
    /// The [`TokenError`] that is found first.
    pub fn open(
        &self,
        sealed: &str,
        now: SystemTime,
        leeway: Duration,
    ) -> Result<SessionToken, TokenError> {
        let [header, wrapped_key, nonce, content, tag] = compact::parts(sealed)?;
        let sequence = sequence(header)?;
        let key = self.verifying(sequence, now)?;
        // OpenSSL accepts a tag of any length, and a short one is easy to guess.
        let lengths = [(wrapped_key, KEY_LEN), (nonce, NONCE_LEN), (tag, TAG_LEN)];
        for (part, length) in lengths {
            if compact::decode(part)?.len() != length {
                return Err(TokenError::Malformed);
            }
        }
        // DEFLATE expands one byte to about a thousand at most, so the bound on the token also
        // bounds the claims.
        compact::decode(content)?;
        let (payload, _) = JweContext::new()
            .deserialize_compact(sealed, &key.decrypter)
            .map_err(|_| TokenError::Forged)?;

        let claims: SealedClaims =
            serde_json::from_slice(&payload).map_err(|_| TokenError::Claims)?;
        if claims.iss != ISSUER {
            return Err(TokenError::Issuer);
        }
        if !claims.aud.includes(AUDIENCE) {
            return Err(TokenError::Audience);
        }
        let times = Times { exp: claims.exp, nbf: Some(claims.nbf), iat: claims.iat };
        times.check(now, leeway)?;
        claims.api_key.parse().map_err(|_| TokenError::Claims)
    }
}

/// Path and query of a request without the parameter [`API_KEY_PARAMETER`], as the address to
/// send its visitor to once the sealed session token has been opened
///
/// The path starts with exactly one slash, because browsers take `//host` and `/\host` for
/// another host. The other parameters stay as they were written.
#[must_use]
pub fn without_api_key(path: &str, query: &str) -> String {
    let is_other = |pair: &&str| {
        let name = pair.split_once('=').map_or(*pair, |(name, _)| name);
        !decoded(name).eq(API_KEY_PARAMETER.bytes())
    };
    let query: Vec<&str> =
        query.split('&').filter(|pair| !pair.is_empty()).filter(is_other).collect();
    let path = path.trim_start_matches(['/', '\\']);
    if query.is_empty() { format!("/{path}") } else { format!("/{path}?{}", query.join("&")) }
}

fn sequence(header: &str) -> Result<i32, TokenError> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Header<'a> {
        alg: &'a str,
        enc: &'a str,
        kid: &'a str,
        iv: &'a str,
        tag: &'a str,
        #[serde(default)]
        zip: Option<&'a str>,
        #[serde(default)]
        typ: Option<&'a str>,
        #[serde(default)]
        cty: Option<&'a str>,
    }

    let bytes = compact::decode(header)?;
    let header: Header<'_> = compact::header(&bytes)?;
    if header.alg != KEY_ENCRYPTION
        || header.enc != CONTENT_ENCRYPTION
        || header.zip.is_some_and(|zip| zip != COMPRESSION)
    {
        return Err(TokenError::Algorithm);
    }
    let is_jwt = |name: Option<&str>| name.is_none_or(|name| name.eq_ignore_ascii_case("JWT"));
    if compact::decode(header.iv)?.len() != NONCE_LEN
        || compact::decode(header.tag)?.len() != TAG_LEN
        || !is_jwt(header.typ)
        || !is_jwt(header.cty)
    {
        return Err(TokenError::Malformed);
    }
    compact::key_id(header.kid)
}

/// The percent-decoded bytes of the name of a parameter
fn decoded(name: &str) -> impl Iterator<Item = u8> {
    let mut bytes = name.bytes();
    std::iter::from_fn(move || match bytes.next()? {
        b'%' => {
            let mut digit = || char::from(bytes.next()?).to_digit(16);
            let (high, low) = (digit()?, digit()?);
            u8::try_from(high * 16 + low).ok()
        }
        byte => Some(byte),
    })
}

/// The query parameter that carries a sealed session token to an app's host
pub const API_KEY_PARAMETER: &str = "coder_application_connect_api_key_35e783";

const LIFETIME: Duration = Duration::from_secs(60);
const ISSUER: &str = "coderd";
const AUDIENCE: &str = "wsproxy";

/// RFC 7518, sections 4.7 and 5.3, and RFC 7516, section 4.1.3
const KEY_ENCRYPTION: &str = "A256GCMKW";
const CONTENT_ENCRYPTION: &str = "A256GCM";
const COMPRESSION: &str = "DEF";
const KEY_LEN: usize = 32;
const NONCE_LEN: usize = 12;
const TAG_LEN: usize = 16;
