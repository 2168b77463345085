use std::borrow::Borrow;
use std::time::SystemTime;

use serde::Serialize;
use thiserror::Error;

use super::audience::is_for;
use super::{ApiKey, KeyHolder, KeyUpdate, LoginType, SessionToken, Source, UserStatus};

/// Verifies that `token` is good at `now` for the key and the user in `holder`
///
/// `holder` is the one whose key has the token's id; `None` if the id is unknown. What the
/// session may do is not checked: that depends on the holder's
/// [subject](KeyHolder::subject).
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
/// the visitor anonymous. `tokens` are in the order of [`Source`], and `holders` are those that
/// the directory has for the tokens' ids, in any order.
///
/// If the good tokens that [sibling hosts can set](Source::is_shared) belong to different users,
/// none of these counts: one was set by an app of another user.
///
/// If no token is good as it is, a session whose provider's token
/// [must be refreshed](Session::refresh_link) is the answer, and otherwise the first user whose
/// account is not active.
pub fn identify<'a>(
    tokens: &[(Source, SessionToken)],
    holders: &'a [impl Borrow<KeyHolder>],
    terms: Terms<'_>,
    now: SystemTime,
) -> Identified<'a> {
    let (mut shared, mut waiting, mut blocked) = (Shared::None, None, None);
    for (source, token) in tokens {
        if let (Shared::One(holder, session), false) = (shared, source.is_shared()) {
            return Identified::User(holder, session);
        }
        let mut holders = holders.iter().map(Borrow::borrow);
        let Some(holder) = holders.find(|holder| holder.key.id == token.id()) else { continue };
        match authenticate(token, Some(holder), terms, now) {
            Ok(session) if session.refresh_link => {
                waiting = waiting.or(Some(Identified::User(holder, session)));
            }
            Ok(session) if source.is_shared() => shared = shared.and(holder, session),
            Ok(session) => return Identified::User(holder, session),
            Err(SessionDenial::Inactive(status)) => {
                blocked = blocked.or(Some(Identified::Blocked(holder, status)));
            }
            Err(_) => {}
        }
    }
    match shared {
        Shared::None => waiting.or(blocked).unwrap_or(Identified::Anonymous),
        Shared::One(holder, session) => Identified::User(holder, session),
        Shared::Several => Identified::Ambiguous,
    }
}

/// Checks that a request is made with a good session, by the first of its tokens that is good
///
/// For requests that need a session. Tokens and holders are as for [`identify`], and so is what
/// counts of them.
///
/// # Errors
///
/// The [`SessionDenial`] of the first token if none is good, and
/// [`SessionDenial::SeveralUsers`] if they are those of several users.
pub fn authenticate_first<'a>(
    tokens: &[(Source, SessionToken)],
    holders: &'a [impl Borrow<KeyHolder>],
    terms: Terms<'_>,
    now: SystemTime,
) -> Result<(Source, &'a KeyHolder, Session), SessionDenial> {
    let (mut found, mut denied) = (None, None);
    for (source, token) in tokens {
        let mut holders = holders.iter().map(Borrow::borrow);
        let holder = holders.find(|holder| holder.key.id == token.id());
        match (authenticate(token, holder, terms, now), holder, found) {
            (Ok(session), Some(holder), None) if source.is_shared() => {
                found = Some((*source, holder, session));
            }
            (Ok(session), Some(holder), None) => return Ok((*source, holder, session)),
            (Ok(_), Some(holder), Some((_, known, _)))
                if source.is_shared() && holder.key.user != known.key.user =>
            {
                return Err(SessionDenial::SeveralUsers);
            }
            (Ok(_), ..) => {}
            (Err(denial), ..) => denied = denied.or(Some(denial)),
        }
    }
    found.ok_or_else(|| denied.unwrap_or(SessionDenial::UnknownKey))
}

/// The users of good tokens that sibling hosts can set
#[derive(Clone, Copy)]
enum Shared<'a> {
    None,
    One(&'a KeyHolder, Session),
    Several,
}

impl<'a> Shared<'a> {
    fn and(self, holder: &'a KeyHolder, session: Session) -> Self {
        match self {
            Self::None => Self::One(holder, session),
            Self::One(known, session) if known.key.user == holder.key.user => {
                Self::One(known, session)
            }
            Self::One(..) | Self::Several => Self::Several,
        }
    }
}

/// Who makes a request that does not require a session
#[derive(Clone, Copy, Debug)]
#[must_use]
pub enum Identified<'a> {
    /// None of the tokens is good
    Anonymous,
    /// The tokens that count are those of different users, so the visitor is not known
    ///
    /// The visitor counts as signed out.
    Ambiguous,
    /// The holder of a good token, and the session
    User(&'a KeyHolder, Session),
    /// A user whose token is good but whose account is not active
    ///
    /// The request must be refused: such a user is not let in as an anonymous visitor either.
    Blocked(&'a KeyHolder, UserStatus),
}

/// The terms on which a deployment accepts session tokens
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Terms<'a> {
    /// Do not extend keys on use
    pub disable_expiry_refresh: bool,
    /// Do not extend API tokens on use, even for a release of the control plane that does
    pub disable_token_expiry_refresh: bool,
    /// Accept dormant users, because the caller [activates](Session::activate) them
    ///
    /// The dashboard does, and apps do not.
    pub activate_dormant: bool,
    /// Accept a session whose provider's token has expired if there is a refresh token, because
    /// the caller [refreshes it](Session::refresh_link) before the session counts
    pub can_refresh: bool,
    /// The name of this server in the audience of a key: the URL of its dashboard
    ///
    /// Only keys that an OAuth2 app received for one server have an audience. If the name is
    /// empty, which is the default, such keys are refused.
    pub audience: &'a str,
}

impl<'a> Terms<'a> {
    /// The same terms, with [`disable_expiry_refresh`](Self::disable_expiry_refresh) as given
    #[must_use]
    pub const fn disable_expiry_refresh(mut self, disable: bool) -> Self {
        self.disable_expiry_refresh = disable;
        self
    }

    /// The same terms, with
    /// [`disable_token_expiry_refresh`](Self::disable_token_expiry_refresh) as given
    #[must_use]
    pub const fn disable_token_expiry_refresh(mut self, disable: bool) -> Self {
        self.disable_token_expiry_refresh = disable;
        self
    }

    /// The same terms, with [`activate_dormant`](Self::activate_dormant) as given
    #[must_use]
    pub const fn activate_dormant(mut self, activate: bool) -> Self {
        self.activate_dormant = activate;
        self
    }

    /// The same terms, with [`can_refresh`](Self::can_refresh) as given
    #[must_use]
    pub const fn can_refresh(mut self, can_refresh: bool) -> Self {
        self.can_refresh = can_refresh;
        self
    }

    /// The same terms for a server with this name
    #[must_use]
    pub const fn audience(mut self, audience: &'a str) -> Self {
        self.audience = audience;
        self
    }

    /// Whether use extends `key`
    ///
    /// If not, use must not extend a session that is created from the key either.
    #[must_use]
    pub fn prolongs(self, key: &ApiKey) -> bool {
        let never = self.disable_expiry_refresh
            || self.disable_token_expiry_refresh && key.login_type == LoginType::Token;
        key.is_prolonged && !never
    }
}

/// A good session, and what its caller has to do for it
///
/// Only [`authenticate`] builds one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
#[non_exhaustive]
pub struct Session {
    /// The columns of the key to write back, if use changed any
    pub update: Option<KeyUpdate>,
    /// Whether the provider's token has expired and must be refreshed before the session counts
    ///
    /// If that fails, the request must be refused. Set only under [`Terms::can_refresh`].
    pub refresh_link: bool,
    /// Whether the user is dormant and must be made active
    ///
    /// Set only under [`Terms::activate_dormant`].
    pub activate: bool,
}

/// Why a session token is not accepted
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SessionDenial {
    /// No key has the id of the token
    #[error("no such session")]
    UnknownKey,
    /// The secret is not that of the key
    #[error("no such session")]
    WrongSecret,
    /// The key has expired
    #[error("the session has expired")]
    Expired,
    /// The key was issued for another server
    #[error("the session is for another audience")]
    WrongAudience,
    /// The account is no longer linked to the provider with which the user signed in
    #[error("the user has no link to the provider they signed in with")]
    NoLink,
    /// The provider's token has expired and cannot be refreshed, or not by this caller
    #[error("the provider's token has expired and cannot be refreshed")]
    LinkExpired,
    /// The user's account is suspended or dormant
    #[error("the user is {}", .0.as_str())]
    Inactive(UserStatus),
    /// The request has good tokens of different users, which sibling hosts can set
    #[error("the request has sessions of several users")]
    SeveralUsers,
}

impl SessionDenial {
    /// Whether signing in again does not help
    ///
    /// A suspended user stays suspended, and a cookie that an app has set stays set.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Inactive(_) | Self::SeveralUsers)
    }

    /// Whether the token is good, but not for this server
    #[must_use]
    pub const fn is_forbidden(self) -> bool {
        matches!(self, Self::WrongAudience)
    }
}
