//! Google Compute Engine: the identity token of an instance
//!
//! Format: "Verify the identity of VM instances", a JSON Web Token (RFC 7519) in
//! format `full`. It lives for an hour and names its audience: another service that
//! asks for the same audience could present it here, so choose one of your own where
//! the machines allow it.

mod claims;
mod find_key;
mod jwks;
mod token;

use std::{fmt, time::SystemTime};

pub use claims::Claims;
pub(crate) use claims::Payload;
pub use find_key::{BoxedKey, DynFindKey, FindKey, Unavailable};
pub use jwks::{Jwks, VerifyingKey};
pub(crate) use token::Token;

use crate::{
    Error, Policy, Rejection, VerifiedInstance, error::bound, rejection::Failed, rsa::Sha2,
};

/// An identity token, as a client sent it
///
/// Served by the metadata server at
/// `/computeMetadata/v1/instance/service-accounts/default/identity`. Nothing of it
/// is verified. `Debug` shows its size only.
#[derive(Clone, Copy)]
pub struct IdentityToken<'a> {
    /// The token in compact form, with nothing before or after it
    pub token: &'a [u8],
}

impl fmt::Debug for IdentityToken<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdentityToken").field("token", &self.token.len()).finish()
    }
}

/// Decides whether Google signed a proof, and for which instance
///
/// Keys are arguments of each verification, because Google's change within days.
#[derive(Clone, Debug, Default)]
pub struct Verifier {
    policy: Policy,
}

impl Verifier {
    /// A verifier that demands `policy`
    #[must_use]
    pub const fn new(policy: Policy) -> Self {
        Self { policy }
    }

    /// Verifies a token with the keys at hand
    ///
    /// Proves that the key of `keys` which the token names signed it with RS256 (RFC
    /// 7518, 3.3), that its issuer is Google, its audience ours, its dates good at
    /// `now`, and that the policy allows what it says. Not checked: whether the
    /// instance runs now, and whether the presenter is that instance.
    ///
    /// # Errors
    ///
    /// The first of: a token too large or not of compact form; an algorithm other
    /// than RS256; a header that demands more; a key that is not in `keys`; a
    /// signature that does not verify; claims that are not an identity token's;
    /// another issuer; not in force now; a lifetime too long; another audience; no
    /// instance in it; a project, service account or age the policy refuses; and
    /// [`Error::InvalidInstanceId`].
    pub fn verify(
        &self,
        proof: &IdentityToken<'_>,
        now: SystemTime,
        keys: &Jwks,
    ) -> Result<VerifiedInstance, Error> {
        self.examine(proof, now, keys).map_err(Error::from)
    }

    /// Verifies a token with a key that `keys` finds
    ///
    /// As [`verify`](Self::verify). `keys` is asked once, and only for tokens that
    /// could be good.
    ///
    /// # Errors
    ///
    /// As [`verify`](Self::verify), and [`Error::KeysUnavailable`].
    pub async fn verify_with(
        &self,
        proof: &IdentityToken<'_>,
        now: SystemTime,
        keys: &(impl FindKey + ?Sized),
    ) -> Result<VerifiedInstance, Error> {
        self.examine_with(proof, now, keys).await.map_err(Error::from)
    }

    /// As [`verify`](Self::verify), with a refusal that says more
    ///
    /// # Errors
    ///
    /// A [`Rejection`] with the error of [`verify`](Self::verify).
    pub fn examine(
        &self,
        proof: &IdentityToken<'_>,
        now: SystemTime,
        keys: &Jwks,
    ) -> Result<VerifiedInstance, Rejection> {
        let token = parse(proof)?;
        let decided = self.accept(&token, keys.get(token.kid()), now);
        decided.map_err(|failed| rejection(&token, failed))
    }

    /// As [`verify_with`](Self::verify_with), with a refusal that says more
    ///
    /// # Errors
    ///
    /// A [`Rejection`] with the error of [`verify_with`](Self::verify_with).
    pub async fn examine_with(
        &self,
        proof: &IdentityToken<'_>,
        now: SystemTime,
        keys: &(impl FindKey + ?Sized),
    ) -> Result<VerifiedInstance, Rejection> {
        let token = parse(proof)?;
        let decided = self.decide_with(&token, now, keys).await;
        decided.map_err(|failed| rejection(&token, failed))
    }

    async fn decide_with(
        &self,
        token: &Token<'_>,
        now: SystemTime,
        keys: &(impl FindKey + ?Sized),
    ) -> Result<VerifiedInstance, Failed> {
        let key = keys.find_key(token.kid(), now).await.map_err(Error::from)?;
        self.accept(token, key.as_ref(), now)
    }

    fn accept(
        &self,
        token: &Token<'_>,
        key: Option<&VerifyingKey>,
        now: SystemTime,
    ) -> Result<VerifiedInstance, Failed> {
        let key = key.ok_or(Error::UnknownKey)?.key();
        if !key.verify(Sha2::Sha256, token.signed(), token.signature()) {
            return Err(Error::BadSignature.into());
        }
        let payload = Payload::parse(token.payload()).map_err(Failed::genuine)?;
        payload.check(&self.policy, now).map_err(Failed::genuine)
    }
}

/// What a refused token says of its machine
fn rejection(token: &Token<'_>, failed: Failed) -> Rejection {
    let payload = failed.readable(token.payload());
    let payload = payload.and_then(|payload| Payload::parse(payload).ok());
    let claimed = payload.as_ref().map(Payload::claimed).unwrap_or_default();
    let denied = payload.and_then(|payload| payload.denied(&failed.error, &claimed));
    Rejection::new(failed, claimed, denied)
}

fn parse<'a>(proof: &IdentityToken<'a>) -> Result<Token<'a>, Error> {
    bound("the token", proof.token, MAX_TOKEN)?;
    Token::parse(proof.token)
}

/// Real tokens have some 1,100 bytes, more with many licences
const MAX_TOKEN: usize = 8 << 10;
