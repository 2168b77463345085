use std::time::{Duration, SystemTime};

use super::key::PRECISION;
use super::{KeyHolder, LoginType, Terms};
use crate::rbac::{Action, AllowList, Object, ResourceType, ScopeName, Subject};

/// The limits of a session for apps that is created from another session
///
/// It permits no more than the other session and does not outlive it. Only
/// [`AppSession::of`] builds one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AppSession {
    /// The scope of the session: to open apps
    pub scope: ScopeName,
    /// The objects that the session may touch: those of the other session
    pub allow_list: AllowList,
    /// When the session expires: with the other session at the latest
    pub expires_at: SystemTime,
    /// By how much use extends the session; less than an hour, which is never extended, if use
    /// does not extend the other session
    pub lifetime: Duration,
}

impl AppSession {
    /// The session for apps that `holder` may create at `now`, with `subject` made of `holder`
    ///
    /// It lasts for `longest` at most. `None` if the credential may not create keys or may not
    /// open apps. The holder must have been [authenticated](super::authenticate) under the
    /// same terms; that is not checked.
    #[must_use]
    pub fn of(
        holder: &KeyHolder,
        subject: &Subject,
        terms: Terms<'_>,
        longest: Duration,
        now: SystemTime,
    ) -> Option<Self> {
        let key = &holder.key;
        let own_key = Object::new(ResourceType::ApiKey).owner(key.user);
        if !subject.is_allowed(&Action::Create, &own_key)
            || !subject.scope_grants(&Action::ApplicationConnect, &ResourceType::Workspace)
        {
            return None;
        }
        let lasts = key.expires_at.duration_since(now).unwrap_or_default().min(longest);
        // An API token may have a fixed expiry, which the sessions created with it must not
        // outlive, so they are never extended.
        let lifetime = match terms.prolongs(key) && key.login_type != LoginType::Token {
            true => key.lifetime.min(longest),
            false => lasts.min(NEVER_EXTENDED),
        };
        Some(Self {
            scope: ScopeName::ApplicationConnect,
            allow_list: key.allow_list.clone(),
            expires_at: now.checked_add(lasts)?,
            // The control plane would read a lifetime of zero as a day.
            lifetime: lifetime.max(Duration::from_secs(1)),
        })
    }
}

/// The longest lifetime that neither this crate nor a control plane extends on use
const NEVER_EXTENDED: Duration = PRECISION.saturating_sub(Duration::from_secs(1));
