use std::time::{Duration, SystemTime};

use super::key::PRECISION;
use super::{KeyHolder, LoginType, Terms};
use crate::rbac::{Action, AllowList, Object, ResourceType, ScopeName, Subject};

/// What a session for apps may be that is made from another session: no wider and no longer
///
/// Only [`AppSession::of`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AppSession {
    /// What it may do: open apps
    pub scope: ScopeName,
    /// What it may touch: what the other session may
    pub allow_list: AllowList,
    /// When it ends: with the other session, at the latest
    pub expires_at: SystemTime,
    /// How far use extends it; less than an hour, and so not at all, if use does not extend
    /// the other session
    pub lifetime: Duration,
}

impl AppSession {
    /// What `holder`, who is `subject`, may be given; nothing if the credential in use may
    /// neither create keys nor open apps
    ///
    /// The session is made at `now` and lasts for `longest` at most. The holder must have
    /// been [authenticated](super::authenticate) under the same terms.
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
        // What is made with an API token is never extended: such a token may have a fixed end,
        // which its sessions must not outlive.
        let lifetime = match terms.prolongs(key) && key.login_type != LoginType::Token {
            true => key.lifetime.min(longest),
            false => lasts.min(NEVER_EXTENDED),
        };
        Some(Self {
            scope: ScopeName::ApplicationConnect,
            allow_list: key.allow_list.clone(),
            expires_at: now.checked_add(lasts)?,
            // The control plane takes zero for a day.
            lifetime: lifetime.max(Duration::from_secs(1)),
        })
    }
}

/// The longest lifetime that use does not extend, neither here nor at a control plane
const NEVER_EXTENDED: Duration = PRECISION.saturating_sub(Duration::from_secs(1));
