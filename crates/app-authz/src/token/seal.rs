use std::fmt;
use std::time::{Duration, SystemTime};

use josekit::jwe::alg::aesgcmkw::{AesgcmkwJweDecrypter, AesgcmkwJweEncrypter};
use josekit::jwe::{A256GCMKW, JweContext, JweHeader};
use serde::{Deserialize, Serialize};

use super::cache::Fetched;
use super::claims::{Times, numeric_date};
use super::keys::fitting;
use super::{
    Feature, KeyCache, KeyMaterial, KeyRing, KeyStore, SealedSession, Secret, TokenError, compact,
};
use crate::Error;
use crate::credential::SessionToken;

/// A key that seals session tokens and opens them again
pub struct SealKey {
    encrypter: AesgcmkwJweEncrypter,
    decrypter: AesgcmkwJweDecrypter,
}

impl KeyMaterial for SealKey {
    const FEATURE: Feature = Feature::WorkspaceAppsApiKey;

    fn prepare(_sequence: i32, secret: &Secret) -> Result<Self, Error> {
        let secret = fitting::<Self>(secret)?;
        Ok(Self {
            encrypter: A256GCMKW.encrypter_from_bytes(secret).map_err(|_| Error::InvalidSecret)?,
            decrypter: A256GCMKW.decrypter_from_bytes(secret).map_err(|_| Error::InvalidSecret)?,
        })
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealKey(..)")
    }
}

impl KeyRing<SealKey> {
    /// Seals a session, so that a URL can carry it to an app's host
    ///
    /// The result is a JWE (RFC 7516) in compact form with A256GCMKW, A256GCM and DEFLATE. It
    /// can be opened for a minute, any number of times. The control plane's proxies ignore the
    /// host, the nonce, and whether the session is for a program.
    ///
    /// # Errors
    ///
    /// [`Error::NoSigningKey`] if no key may seal at `now`.
    pub fn seal(&self, session: &SealedSession, now: SystemTime) -> Result<String, Error> {
        self.seal_for((AUDIENCE, LIFETIME), session, now)
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
        let session = SealedSession::from(token.clone()).with_host(host);
        self.seal_for((COOKIE_AUDIENCE, COOKIE_LIFETIME), &session, now)
    }

    fn seal_for(
        &self,
        (audience, lifetime): (&str, Duration),
        session: &SealedSession,
        now: SystemTime,
    ) -> Result<String, Error> {
        let (sequence, key) = self.signing(now)?;
        let claims = SealedClaims {
            iss: ISSUER.to_owned(),
            aud: Audience::Several(vec![audience.to_owned()]),
            exp: numeric_date(now + lifetime),
            nbf: numeric_date(now - LIFETIME),
            iat: None,
            api_key: session.token.reveal().to_owned(),
            nonce: session.nonce.as_ref().map(ToString::to_string),
            host: session.host.clone(),
            program: session.is_for_program,
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

    /// Opens a sealed session
    ///
    /// Proves that the session was sealed with a key of the ring, and that the seal has not
    /// expired. Whether the session is good is not checked, nor whether the seal is for the host
    /// at hand, nor whether the browser holds the nonce, nor whether the seal was opened before.
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
        self.open_for((sealed, AUDIENCE), now, leeway)
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
        let session = self.open_for((sealed, COOKIE_AUDIENCE), now, leeway)?;
        if session.is_for_host(host) { Ok(session.token) } else { Err(TokenError::Audience) }
    }

    fn open_for(
        &self,
        (sealed, audience): (&str, &str),
        now: SystemTime,
        leeway: Duration,
    ) -> Result<SealedSession, TokenError> {
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
        let token = claims.api_key.parse().map_err(|_| TokenError::Claims)?;
        let nonce = claims.nonce.map(|nonce| nonce.parse()).transpose();
        let nonce = nonce.map_err(|_| TokenError::Claims)?;
        Ok(SealedSession { token, nonce, host: claims.host, is_for_program: claims.program })
    }
}

impl KeyCache<SealKey> {
    /// Seals a session token as [`KeyRing::seal`] does, and fetches the keys once if none may
    /// seal
    ///
    /// # Errors
    ///
    /// [`Error::NoSigningKey`] if no key may seal after that, and [`Error::KeysUnavailable`]
    /// if the fetch failed.
    pub async fn seal<S: KeyStore>(
        &self,
        store: &S,
        session: &SealedSession,
        now: SystemTime,
    ) -> Result<String, Error> {
        self.retried(store, now, |keys| keys.ring.seal(session, now)).await
    }

    /// Opens a sealed session token as [`KeyRing::open`] does, and fetches the keys once if the
    /// token's is missing
    ///
    /// # Errors
    ///
    /// [`Error::InvalidToken`] if the token cannot be opened, and [`Error::KeysUnavailable`]
    /// if the fetch failed.
    pub async fn open<S: KeyStore>(
        &self,
        store: &S,
        sealed: &str,
        now: SystemTime,
        leeway: Duration,
    ) -> Result<SealedSession, Error> {
        let open = |keys: &Fetched<_>| keys.ring.open(sealed, now, leeway).map_err(Error::from);
        self.retried(store, now, open).await
    }

    /// Seals a session for a cookie as [`KeyRing::seal_cookie`] does, and fetches the keys once if
    /// none may seal
    ///
    /// # Errors
    ///
    /// Those of [`seal`](Self::seal).
    pub async fn seal_cookie<S: KeyStore>(
        &self,
        store: &S,
        session: (&SessionToken, &str),
        now: SystemTime,
    ) -> Result<String, Error> {
        self.retried(store, now, |keys| keys.ring.seal_cookie(session, now)).await
    }

    /// Opens a session from a cookie as [`KeyRing::open_cookie`] does, and fetches the keys once if
    /// the one that sealed it is missing
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open).
    pub async fn open_cookie<S: KeyStore>(
        &self,
        store: &S,
        sealed: (&str, &str),
        now: SystemTime,
        leeway: Duration,
    ) -> Result<SessionToken, Error> {
        let open =
            |keys: &Fetched<_>| keys.ring.open_cookie(sealed, now, leeway).map_err(Error::from);
        self.retried(store, now, open).await
    }
}

/// The claims of a sealed session token
///
/// `nonce`, `host` and `program` are our own, and the control plane's proxies ignore them. Those
/// and `iat` may be missing.
#[derive(Serialize, Deserialize)]
struct SealedClaims {
    iss: String,
    aud: Audience,
    exp: u64,
    nbf: u64,
    #[serde(default, skip_serializing)]
    iat: Option<u64>,
    api_key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nonce: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    program: bool,
}

/// The audience of a token: one, or any of several (RFC 7519, section 4.1.3)
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

impl Audience {
    fn includes(&self, name: &str) -> bool {
        match self {
            Self::One(only) => only == name,
            Self::Several(several) => several.iter().any(|one| one == name),
        }
    }
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
