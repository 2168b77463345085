use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use josekit::jwe::{JweContext, JweHeader};
use serde::Deserialize;

use super::claims::{Audience, SealedClaims, Times, numeric_date};
use super::{KeyRing, SealKey, TokenError, compact};
use crate::Error;
use crate::credential::SessionToken;

impl KeyRing<SealKey> {
    /// Seals a session, so that a URL can carry it to an app's host
    ///
    /// The result is a JWE (RFC 7516) in compact form with A256GCMKW, A256GCM and DEFLATE. It
    /// can be opened for a minute, any number of times:
    /// [`OpenedSeals`](super::OpenedSeals) makes it once. The control plane's proxies ignore the
    /// host, the nonce, and whether the session is for a program.
    ///
    /// # Errors
    ///
    /// [`Error::NoSigningKey`] if no key may seal at `now`.
    pub fn seal(&self, session: &SealedSession, now: SystemTime) -> Result<String, Error> {
        self.seal_claims(
            now,
            &SealedClaims {
                iss: ISSUER.to_owned(),
                aud: Audience::Several(vec![AUDIENCE.to_owned()]),
                exp: numeric_date(now + LIFETIME),
                nbf: numeric_date(now - LIFETIME),
                iat: None,
                api_key: session.token.reveal().to_owned(),
                nonce: session.nonce.as_ref().map(ToString::to_string),
                host: session.host.clone(),
                program: session.is_for_program,
            },
        )
    }

    /// Seals a session for a cookie of that host, which has no port
    ///
    /// The result has the form of [`seal`](Self::seal), and no other server reads it. It can be
    /// opened for a month, if its key lasts as long.
    ///
    /// # Errors
    ///
    /// [`Error::NoSigningKey`] if no key may seal at `now`.
    pub fn seal_cookie(
        &self,
        (token, host): (&SessionToken, &str),
        now: SystemTime,
    ) -> Result<String, Error> {
        self.seal_claims(
            now,
            &SealedClaims {
                iss: ISSUER.to_owned(),
                aud: Audience::Several(vec![COOKIE_AUDIENCE.to_owned()]),
                exp: numeric_date(now + COOKIE_LIFETIME),
                nbf: numeric_date(now - LIFETIME),
                iat: None,
                api_key: token.reveal().to_owned(),
                nonce: None,
                host: Some(host.to_owned()),
                program: false,
            },
        )
    }

    fn seal_claims(&self, now: SystemTime, claims: &SealedClaims) -> Result<String, Error> {
        let (sequence, key) = self.signing(now)?;
        let payload = serde_json::to_vec(claims).map_err(|_| Error::SigningFailed)?;
        let mut header = JweHeader::new();
        header.set_content_encryption(CONTENT_ENCRYPTION);
        header.set_compression(COMPRESSION);
        header.set_key_id(sequence.to_string());
        JweContext::new()
            .serialize_compact(&payload, &header, &key.encrypter)
            .map_err(|_| Error::SigningFailed)
    }

    /// Opens a sealed session
    ///
    /// Proves that the session was sealed with a key of the ring, and that the seal has not
    /// expired. Whether the session is good is not checked, nor whether the seal is for the host
    /// at hand, nor whether the browser holds the nonce, nor whether the seal was opened before
    /// ([`OpenedSeals`](super::OpenedSeals)).
    ///
    /// # Errors
    ///
    /// The [`TokenError`] that is found first.
    pub fn open(
        &self,
        sealed: &str,
        now: SystemTime,
        leeway: Duration,
    ) -> Result<SealedSession, TokenError> {
        let claims = self.open_claims((sealed, AUDIENCE), now, leeway)?;
        let token = claims.api_key.parse().map_err(|_| TokenError::Claims)?;
        let nonce = claims.nonce.map(|nonce| nonce.parse()).transpose();
        let nonce = nonce.map_err(|_| TokenError::Claims)?;
        Ok(SealedSession { token, nonce, host: claims.host, is_for_program: claims.program })
    }

    /// Opens a session that was sealed for a cookie of that host, which has no port
    ///
    /// Proves that [`seal_cookie`](Self::seal_cookie) has sealed it for the host. Whether the
    /// session is good is not checked.
    ///
    /// # Errors
    ///
    /// The [`TokenError`] that is found first; [`TokenError::Audience`] for another host.
    pub fn open_cookie(
        &self,
        (sealed, host): (&str, &str),
        now: SystemTime,
        leeway: Duration,
    ) -> Result<SessionToken, TokenError> {
        let claims = self.open_claims((sealed, COOKIE_AUDIENCE), now, leeway)?;
        if !claims.host.is_some_and(|own| own.eq_ignore_ascii_case(host)) {
            return Err(TokenError::Audience);
        }
        claims.api_key.parse().map_err(|_| TokenError::Claims)
    }

    fn open_claims(
        &self,
        (sealed, audience): (&str, &str),
        now: SystemTime,
        leeway: Duration,
    ) -> Result<SealedClaims, TokenError> {
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
        if !claims.aud.includes(audience) {
            return Err(TokenError::Audience);
        }
        let times = Times { exp: claims.exp, nbf: Some(claims.nbf), iat: claims.iat };
        times.check(now, leeway)?;
        Ok(claims)
    }
}

/// A session on its way to an app's host
///
/// Opening one proves neither that the session is good, nor that it is for the host and the
/// browser at hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedSession {
    /// The session token
    pub token: SessionToken,
    /// What the browser holds that the session is for; `None` if the seal does not say which
    pub nonce: Option<Nonce>,
    /// The host that the session is for, without a port; `None` if the seal does not say which
    pub host: Option<String>,
    /// Whether the session is for a program and no browser
    ///
    /// Set only if the request for it had a credential that no link and no page can make a browser
    /// send.
    pub is_for_program: bool,
}

impl SealedSession {
    /// Whether the session is for that host, which has no port
    #[must_use]
    pub fn is_for_host(&self, host: &str) -> bool {
        self.host.as_ref().is_some_and(|own| own.eq_ignore_ascii_case(host))
    }
}

impl From<SessionToken> for SealedSession {
    /// The session, for no particular host or browser, as the control plane seals it
    fn from(token: SessionToken) -> Self {
        Self { token, nonce: None, host: None, is_for_program: false }
    }
}

/// A random value that a browser is given when it leaves an app's host to sign in, and shows when
/// it returns
///
/// A browser that returns without it does not keep the cookies of that host, or follows a link
/// that was made for another browser. It can be sent away once [`again`](Self::again).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nonce {
    digits: String,
    is_again: bool,
}

impl Nonce {
    /// Makes a nonce of 128 random bits; `fill` fills a slice with random bytes
    pub fn generate(fill: impl FnOnce(&mut [u8])) -> Self {
        let mut bytes = [0; 16];
        fill(&mut bytes);
        let digits = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        Self { digits, is_again: false }
    }

    /// The same value, for a browser that has returned without one
    #[must_use]
    pub fn again(self) -> Self {
        Self { is_again: true, ..self }
    }

    /// Whether the browser had returned without a nonce before it was given this one
    #[must_use]
    pub const fn is_again(&self) -> bool {
        self.is_again
    }

    /// Whether the random values are equal
    #[must_use]
    pub fn has_value_of(&self, other: &Self) -> bool {
        self.digits == other.digits
    }
}

impl FromStr for Nonce {
    type Err = Error;

    /// Parses 32 lower-case hexadecimal digits, which `.again` may follow
    ///
    /// # Errors
    ///
    /// [`TokenError::Malformed`] for any other text.
    fn from_str(text: &str) -> Result<Self, Error> {
        let (digits, is_again) = match text.strip_suffix(AGAIN) {
            Some(digits) => (digits, true),
            None => (text, false),
        };
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if digits.len() != 32 || !digits.bytes().all(is_digit) {
            return Err(Error::InvalidToken(TokenError::Malformed));
        }
        Ok(Self { digits: digits.to_owned(), is_again })
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.digits)?;
        f.write_str(if self.is_again { AGAIN } else { "" })
    }
}

const AGAIN: &str = ".again";

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

/// The query parameter that carries a [`Nonce`] to the dashboard
pub const NONCE_PARAMETER: &str = "authd_nonce";

pub(super) const LIFETIME: Duration = Duration::from_secs(60);
const ISSUER: &str = "coderd";
const AUDIENCE: &str = "wsproxy";

/// The audience of a session in a cookie, which only authd reads
const COOKIE_AUDIENCE: &str = "authd-cookie";

/// Longer than most sessions; a browser whose cookie has expired gets a new one without a question
const COOKIE_LIFETIME: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// RFC 7518, sections 4.7 and 5.3, and RFC 7516, section 4.1.3
const KEY_ENCRYPTION: &str = "A256GCMKW";
const CONTENT_ENCRYPTION: &str = "A256GCM";
const COMPRESSION: &str = "DEF";
const KEY_LEN: usize = 32;
const NONCE_LEN: usize = 12;
const TAG_LEN: usize = 16;
