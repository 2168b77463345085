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
/// A [`SessionDenial`], the first that applies in the order of its variants. A provider's
/// token that could be refreshed, but not [by this caller](Terms::can_refresh), counts as
/// expired only after the user's status has been checked.
pub fn authenticate(
    token: &SessionToken,
    holder: Option<&KeyHolder>,
    terms: Terms<'_>,
    now: SystemTime,
) -> Result<Session, SessionDenial> {
    let holder =
        holder.filter(|holder| holder.key.id == token.id()).ok_or(SessionDenial::UnknownKey)?;
    let key = &holder.key;
    if !token.has_secret_of(&key.secret_digest) {
        return Err(SessionDenial::WrongSecret);
    }
    if key.expires_at < now {
        return Err(SessionDenial::Expired);
    }
    if key.login_type == LoginType::Oauth2ProviderApp
        && key.audience.as_deref().is_some_and(|audience| !is_for(audience, terms.audience))
    {
        return Err(SessionDenial::WrongAudience);
    }
    let mut refresh_link = false;
    if key.login_type.has_link() {
        let link = holder.link.ok_or(SessionDenial::NoLink)?;
        refresh_link = link.expires_at.is_some_and(|end| end < now);
        if refresh_link && !link.can_refresh {
            return Err(SessionDenial::LinkExpired);
        }
    }
    match holder.status {
        UserStatus::Active => {}
        UserStatus::Dormant if terms.activate_dormant => {}
        inactive => return Err(SessionDenial::Inactive(inactive)),
    }
    if refresh_link && !terms.can_refresh {
        return Err(SessionDenial::LinkExpired);
    }
    Ok(Session {
        update: key.update(now, terms.prolongs(key)),
        refresh_link,
        activate: holder.status == UserStatus::Dormant,
    })
}

/// Finds out who makes a request, by the first of its tokens that is good
///
/// For requests that a visitor may make without signing in: a token that is not good leaves
/// the visitor anonymous. A session whose provider's token
/// [must be refreshed](Session::refresh_link) first is the answer only if no other token is
/// good as it is. `holders` are those that the directory has for the tokens' ids, in any order.
pub fn identify<'a>(
    tokens: &[SessionToken],
    holders: &'a [impl Borrow<KeyHolder>],
    terms: Terms<'_>,
    now: SystemTime,
) -> Identified<'a> {
    let (mut waiting, mut blocked) = (None, None);
    for token in tokens {
        let mut holders = holders.iter().map(Borrow::borrow);
        let Some(holder) = holders.find(|holder| holder.key.id == token.id()) else { continue };
        match authenticate(token, Some(holder), terms, now) {
            Ok(session) if session.refresh_link => {
                waiting = waiting.or(Some(Identified::User(holder, session)));
            }
            Ok(session) => return Identified::User(holder, session),
            Err(SessionDenial::Inactive(status)) => {
                blocked = blocked.or(Some(Identified::Blocked(holder, status)));
            }
            Err(_) => {}
        }
    }
    waiting.or(blocked).unwrap_or(Identified::Anonymous)
}

/// Who makes a request that a visitor may make without signing in
#[derive(Clone, Copy, Debug)]
#[must_use]
pub enum Identified<'a> {
    /// None of the tokens is good
    Anonymous,
    /// The holder of a good token, and the session
    User(&'a KeyHolder, Session),
    /// A user whose token is good but whose account is not active
    ///
    /// The request must be refused: such a user is not let in as an anonymous visitor either.
    Blocked(&'a KeyHolder, UserStatus),
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
    /// Take a session whose provider's token has expired if there is a refresh token, because
    /// the caller [refreshes it](Session::refresh_link) before the session counts
    pub can_refresh: bool,
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
#[non_exhaustive]
pub struct Session {
    /// What is to be written back
    pub update: Option<KeyUpdate>,
    /// Whether the provider's token has ended and must be refreshed before the session
    /// counts; if that fails, the request is refused. Only under [`Terms::can_refresh`].
    pub refresh_link: bool,
    /// Whether the user is to be made active
    pub activate: bool,
}

/// Why a token is not taken
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SessionDenial {
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
    /// The provider's token has ended, and it cannot be refreshed, or not by this caller
    #[error("the provider's token has expired and cannot be refreshed")]
    LinkExpired,
    /// The user may not be here
    #[error("the user is {}", .0.as_str())]
    Inactive(UserStatus),
}

impl SessionDenial {
    /// Whether it stops a request that anybody may make
    ///
    /// A suspended user is not let in as an anonymous visitor.
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
