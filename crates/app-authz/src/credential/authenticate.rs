use std::borrow::Borrow;
use std::time::SystemTime;

use thiserror::Error;

use super::audience::is_for;
use super::{ApiKey, KeyHolder, KeyUpdate, LoginType, SessionToken, UserStatus};

/// Verifies that `token` is good at `now` for the key and the user in `holder`
///
/// The holder must be that of the key with the token's id. A key that is expired is
/// refused before anything is asked of a provider.
///
/// # Errors
///
/// A [`Refusal`], the first that applies in the order of its variants.
pub fn authenticate(
    token: &SessionToken,
    holder: Option<&KeyHolder>,
    terms: Terms<'_>,
    now: SystemTime,
) -> Result<Session, Refusal> {
    let holder = holder.filter(|holder| holder.key.id == token.id()).ok_or(Refusal::UnknownKey)?;
    let key = &holder.key;
    if !token.has_secret_of(&key.secret_digest) {
        return Err(Refusal::WrongSecret);
    }
    if key.expires_at < now {
        return Err(Refusal::Expired);
    }
    if key.login_type == LoginType::Oauth2ProviderApp
        && key.audience.as_deref().is_some_and(|audience| !is_for(audience, terms.audience))
    {
        return Err(Refusal::WrongAudience);
    }
    let mut refresh_link = false;
    if key.login_type.has_link() {
        let link = holder.link.ok_or(Refusal::NoLink)?;
        refresh_link = link.expires_at.is_some_and(|end| end < now);
        if refresh_link && !link.can_refresh {
            return Err(Refusal::LinkExpired);
        }
    }
    match holder.status {
        UserStatus::Active => {}
        UserStatus::Dormant if terms.activate_dormant => {}
        inactive => return Err(Refusal::Inactive(inactive)),
    }
    Ok(Session {
        update: key.update(now, terms.prolongs(key)),
        refresh_link,
        activate: holder.status == UserStatus::Dormant,
    })
}

/// Finds the first of a request's tokens that is good, and who holds it
///
/// For requests that anybody may make: tokens that are merely no good leave the visitor
/// unknown. One whose provider's token [must be refreshed](Session::refresh_link) first is
/// the answer only if no other is good as it is. `holders` are those the directory has for
/// the tokens' ids, in any order.
///
/// # Errors
///
/// A [`Refusal`] that [stops](Refusal::is_final) even such a request, if no token is
/// good and one met it.
pub fn identify<'a>(
    tokens: &[SessionToken],
    holders: &'a [impl Borrow<KeyHolder>],
    terms: Terms<'_>,
    now: SystemTime,
) -> Result<Option<(&'a KeyHolder, Session)>, Refusal> {
    let (mut waiting, mut stopped) = (None, None);
    for token in tokens {
        let mut holders = holders.iter().map(Borrow::borrow);
        let holder = holders.find(|holder| holder.key.id == token.id());
        match (authenticate(token, holder, terms, now), holder) {
            (Ok(session), Some(holder)) if session.refresh_link => {
                waiting = waiting.or(Some((holder, session)));
            }
            (Ok(session), Some(holder)) => return Ok(Some((holder, session))),
            (Err(refusal), _) if refusal.is_final() => stopped = stopped.or(Some(refusal)),
            _ => {}
        }
    }
    match (waiting, stopped) {
        (None, Some(refusal)) => Err(refusal),
        (waiting, _) => Ok(waiting),
    }
}

/// On what terms a deployment takes session tokens
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms<'a> {
    /// Never extend a key by its use
    pub disable_expiry_refresh: bool,
    /// Never extend an API token by its use, whatever the control plane's release does
    pub disable_token_expiry_refresh: bool,
    /// Take a dormant user and make them active, as the dashboard does and apps do not
    pub activate_dormant: bool,
    /// What this server is called in a key's audience: the URL of its dashboard
    pub audience: &'a str,
}

impl Terms<'_> {
    /// Whether use puts off the end of `key`
    ///
    /// If not, neither must it put off the end of a session that is made from the key.
    #[must_use]
    pub fn prolongs(self, key: &ApiKey) -> bool {
        let never = self.disable_expiry_refresh
            || self.disable_token_expiry_refresh && key.login_type == LoginType::Token;
        key.is_prolonged && !never
    }
}

/// A good session, and what has to be done for it
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Session {
    /// What is to be written back
    pub update: Option<KeyUpdate>,
    /// Whether the provider's token has ended and must be refreshed before the session
    /// counts; if that fails, the request is refused
    pub refresh_link: bool,
    /// Whether the user is to be made active
    pub activate: bool,
}

/// Why a token is not taken
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// No key has that id
    #[error("no such session")]
    UnknownKey,
    /// The key has another secret
    #[error("no such session")]
    WrongSecret,
    /// The key has ended
    #[error("the session has expired")]
    Expired,
    /// The key was issued for another server
    #[error("the session is for another audience")]
    WrongAudience,
    /// The user signed in with a provider that is no longer linked
    #[error("the user has no link to the provider they signed in with")]
    NoLink,
    /// The provider's token has ended, and there is none to refresh it with
    #[error("the provider's token has expired and cannot be refreshed")]
    LinkExpired,
    /// The user may not be here
    #[error("the user is {}", .0.as_str())]
    Inactive(UserStatus),
}

impl Refusal {
    /// Whether it stops a request that anybody may make
    ///
    /// Whoever proves to be a suspended user is not let in as nobody.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Inactive(_))
    }

    /// Whether the bearer is known and merely not allowed here
    #[must_use]
    pub const fn is_forbidden(self) -> bool {
        matches!(self, Self::WrongAudience)
    }
}
